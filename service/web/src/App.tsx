/** The page as a whole: signed in or not, and one connection for as long as one is. */
import { useEffect, useState } from "react";
import { Chat } from "./chat.ts";
import { ChatPage } from "./components/ChatPage.tsx";
import { SignIn } from "./components/SignIn.tsx";
import { Connection } from "./connection.ts";
import type { Identity, Memory } from "./memory.ts";
import { roomInAddress, tokenInAddress } from "./address.ts";
import { useChat } from "./useChat.ts";

interface Session {
  readonly chat: Chat;
  readonly identity: Identity;
}

function begin(memory: Memory, identity: Identity): Session {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const connection = new Connection({ url: url.href, token: () => identity.token });
  const chat = new Chat({ connection, memory, schedule: soon });
  const room = roomInAddress();
  if (room !== undefined) chat.show(room);
  connection.start();
  return { chat, identity };
}

/** With the next frame; a page in the background has none, and is told all the same. */
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
  const [session, setSession] = useState<Session | undefined>(() => {
    const token = tokenInAddress();
    const identity = token === undefined ? memory.identity() : ({ kind: "token", token } as const);
    return identity && begin(memory, identity);
  });
  const signIn = (identity: Identity) => {
    session?.chat.stop();
    setSession(begin(memory, identity));
  };
  const signOut = () => {
    session?.chat.stop();
    memory.keepIdentity(undefined);
    setSession(undefined);
  };
  if (session === undefined) return <SignIn name={memory.name()} onSignIn={signIn} />;
  return <Signed key={session.identity.token} session={session} memory={memory} onSignIn={signIn} onSignOut={signOut} />;
}

interface SignedProps {
  readonly session: Session;
  readonly memory: Memory;
  readonly onSignIn: (identity: Identity) => void;
  readonly onSignOut: () => void;
}

function Signed({ session, memory, onSignIn, onSignOut }: SignedProps) {
  const { chat, identity } = session;
  const state = useChat(chat);
  const { status, welcome } = state;
  useEffect(() => {
    if (welcome !== undefined) memory.keepIdentity(identity);
  }, [welcome, memory, identity]);
  if (welcome === undefined) {
    return <SignIn name={identity.kind === "name" ? identity.token : memory.name()} status={status} kind={identity.kind} onSignIn={onSignIn} />;
  }
  return <ChatPage chat={chat} state={state} welcome={welcome} onSignOut={onSignOut} onSignIn={() => onSignIn(identity)} />;
}
