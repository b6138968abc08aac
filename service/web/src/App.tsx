/** The page as a whole: signed in or not, and one session for as long as one is. */
import { useEffect, useState } from "react";
import { roomInAddress, tokenInAddress } from "./address.ts";
import { TOKEN_EXPIRED, UNAUTHENTICATED } from "./closeCodes.ts";
import { ChatPage } from "./components/ChatPage.tsx";
import { SignIn } from "./components/SignIn.tsx";
import type { Status } from "./events.ts";
import type { Identity, Memory } from "./memory.ts";
import { Session } from "./session.ts";
import { useChat } from "./useChat.ts";

/** With the next frame; a page in the background has none, and is told all the same, after 100 ms. */
function soon(run: () => void): void {
  let done = false;
  const once = () => {
    if (!done) run();
    done = true;
  };
  requestAnimationFrame(once);
  setTimeout(once, 100);
}

export function App({ memory }: { memory: Memory }) {
  const begin = (identity: Identity): Session => {
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const options = { identity, memory, open: roomInAddress(), connection: { url: url.href }, schedule: soon };
    return new Session(options, (other) => setSession(begin(other)));
  };
  const [session, setSession] = useState<Session | undefined>(() => {
    const token = tokenInAddress();
    const identity = token === undefined ? memory.identity() : ({ kind: "token", token } as const);
    return identity && begin(identity);
  });
  const signIn = (identity: Identity) => {
    session?.end();
    setSession(begin(identity));
  };
  const signOut = () => {
    session?.end();
    memory.keepIdentity(undefined);
    setSession(undefined);
  };
  if (session === undefined) return <SignIn name={memory.name()} onSignIn={signIn} />;
  return <Signed session={session} memory={memory} onSignIn={signIn} onSignOut={signOut} />;
}

interface SignedProps {
  readonly session: Session;
  readonly memory: Memory;
  readonly onSignIn: (identity: Identity) => void;
  readonly onSignOut: () => void;
}

function Signed({ session, memory, onSignIn, onSignOut }: SignedProps) {
  const { chat, drafts, identity } = session;
  const state = useChat(chat);
  const { status, welcome } = state;
  const online = status.phase === "online";
  useEffect(() => {
    if (online) memory.keepIdentity(identity);
  }, [online, memory, identity]);
  // From the refusal on until another sign-in has succeeded.
  const [asking, setAsking] = useState(false);
  const asks = asking ? !online : isRefused(status);
  if (asks !== asking) setAsking(asks);
  if (welcome === undefined || asks) {
    const name = identity.kind === "name" ? identity.token : memory.name();
    const resume = (fresh: Identity) => session.signIn(fresh);
    return (
      <SignIn key={identity.token} name={name} status={status} kind={identity.kind} onSignIn={welcome === undefined ? onSignIn : resume} />
    );
  }
  return (
    <ChatPage chat={chat} state={state} welcome={welcome} drafts={drafts} onSignOut={onSignOut} onSignIn={() => session.signIn(identity)} />
  );
}

/** Whether there is no point in coming back as the same. */
function isRefused(status: Status): boolean {
  return status.phase === "stopped" && (status.code === TOKEN_EXPIRED || status.code === UNAUTHENTICATED);
}
