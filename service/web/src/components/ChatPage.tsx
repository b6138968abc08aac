/** The page of somebody who is signed in: conversations on the left, the open one beside them. */
import { useEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";
import type { Chat, ChatState } from "../chat.ts";
import type { Welcome } from "../protocol.ts";
import { usePage } from "../useChat.ts";
import { ConnectionNote } from "./ConnectionNote.tsx";
import { Conversation } from "./Conversation.tsx";
import { PresenceList } from "./PresenceList.tsx";
import { Sidebar } from "./Sidebar.tsx";

const NOBODY = { users: [], count: 0 };

interface ChatPageProps {
  readonly chat: Chat;
  readonly state: ChatState;
  readonly welcome: Welcome;
  /** What is written and not sent, by conversation. */
  readonly drafts: Map<string, string>;
  readonly onSignOut: () => void;
  readonly onSignIn: () => void;
}

export function ChatPage({ chat, state, welcome, drafts, onSignOut, onSignIn }: ChatPageProps) {
  usePage(chat, state);
  const [drawer, setDrawer] = useState<"none" | "rooms" | "people">("none");
  const finder = useRef<HTMLInputElement>(null);
  const { conversations, open, present, status, note } = state;
  const room = open === undefined ? undefined : conversations.get(open);
  // The list stands there before it is known who is in it: what comes later must not push the messages aside.
  const people = open === undefined || open.startsWith("@") ? undefined : (present.get(open) ?? NOBODY);
  const show = (id: string) => {
    chat.show(id);
    setDrawer("none");
  };

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        flushSync(() => setDrawer("rooms"));
        // At once, so that what is typed next goes there; the drawer of a small screen cannot take the focus before it shows.
        finder.current?.focus();
        requestAnimationFrame(() => finder.current?.focus());
      } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        event.preventDefault();
        const ids = ordered(chat.state);
        const at = ids.indexOf(chat.state.open ?? "");
        const next = ids[(at + (event.key === "ArrowUp" ? ids.length - 1 : 1)) % ids.length];
        if (next !== undefined) chat.show(next);
      } else if (event.key === "Escape") {
        setDrawer("none");
      }
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, [chat]);

  return (
    <div className="app" data-drawer={drawer}>
      <a className="skip" href="#composer" onClick={(event) => (event.preventDefault(), document.getElementById("composer")?.focus())}>
        Skip to writing a message
      </a>
      <Sidebar
        state={state}
        welcome={welcome}
        ids={ordered(state)}
        finder={finder}
        onShow={show}
        onSignOut={onSignOut}
      />
      <main className="stage">
        {room === undefined ? (
          <div className="nothing">
            <p>No conversation is open. Join a room on the left, or write to somebody.</p>
          </div>
        ) : (
          <Conversation
            key={room.id}
            chat={chat}
            room={room}
            welcome={welcome}
            status={status}
            typing={state.typing.get(room.id) ?? []}
            people={people?.count}
            drafts={drafts}
            unreadElsewhere={[...conversations.values()].some(({ id, unread }) => id !== open && unread > 0)}
            onRooms={() => setDrawer(drawer === "rooms" ? "none" : "rooms")}
            onPeople={() => setDrawer(drawer === "people" ? "none" : "people")}
          />
        )}
        <ConnectionNote note={note} status={status} onSignIn={onSignIn} />
      </main>
      {people !== undefined && (
        <PresenceList
          users={people.users}
          count={people.count}
          me={welcome.user}
          outside={room?.phase === "left" || room?.phase === "refused"}
          onWrite={(user) => show(`@${user}`)}
        />
      )}
      {drawer !== "none" && <button className="veil" type="button" aria-label="Close" onClick={() => setDrawer("none")} />}
    </div>
  );
}

/** Rooms in the order in which they were joined, then people, those with the latest message first. */
function ordered({ conversations }: ChatState): string[] {
  const rooms = [...conversations.values()];
  const latest = (id: string) => {
    const room = conversations.get(id);
    const last = room?.entries.findLast((entry) => entry.kind === "message");
    return Math.max(last?.at ?? 0, room?.pending.at(-1)?.at ?? 0);
  };
  const people = rooms.map(({ id }) => id).filter((id) => id.startsWith("@"));
  const times = new Map(people.map((id) => [id, latest(id)]));
  people.sort((a, b) => (times.get(b) ?? 0) - (times.get(a) ?? 0));
  return [...rooms.map(({ id }) => id).filter((id) => !id.startsWith("@")), ...people];
}
