/** The open conversation: its head, its messages, who types, and the field to write in. */
import { useCallback, useState } from "react";
import type { Chat } from "../chat.ts";
import type { Status } from "../events.ts";
import { sentence } from "../names.ts";
import type { Welcome } from "../protocol.ts";
import type { RoomState } from "../room.ts";
import { Avatar } from "./Avatar.tsx";
import { Composer } from "./Composer.tsx";
import { Confirm } from "./Confirm.tsx";
import { Close, Menu, People } from "./icons.tsx";
import { MessageList } from "./MessageList.tsx";

interface ConversationProps {
  readonly chat: Chat;
  readonly room: RoomState;
  readonly welcome: Welcome;
  readonly status: Status;
  readonly typing: readonly string[];
  /** How many are in the room, where that is known. */
  readonly people: number | undefined;
  readonly drafts: Map<string, string>;
  readonly unreadElsewhere: boolean;
  readonly onRooms: () => void;
  readonly onPeople: () => void;
}

export function Conversation(props: ConversationProps) {
  const { chat, room, welcome, status, typing, people, drafts, unreadElsewhere, onRooms, onPeople } = props;
  const direct = room.id.startsWith("@");
  const name = direct ? room.id.slice(1) : room.id;
  const [asked, setAsked] = useState(false);
  const unsent = room.pending.filter(({ progress }) => progress.state !== "sent").length;
  const close = () => chat.close(room.id);
  const lost = room.phase === "left" || room.phase === "refused";
  // The same ones every time, or every line would be drawn anew whenever anything happens.
  const onOlder = useCallback(() => void chat.loadOlder(room.id), [chat, room.id]);
  const onRetry = useCallback((key: string) => chat.retry(key), [chat]);
  const onDiscard = useCallback((key: string) => chat.discard(room.id, key), [chat, room.id]);
  return (
    <section className="conversation" aria-label={direct ? `Direct messages with ${name}` : `Room ${name}`}>
      <header className="head">
        <button type="button" className="icon-button head-menu" onClick={onRooms} aria-label="Conversations" data-unread={unreadElsewhere}>
          <Menu />
        </button>
        {direct ? <Avatar name={name} size="small" /> : <span className="head-sign" aria-hidden="true">#</span>}
        <h1 title={name}>{name}</h1>
        <span className="head-space" />
        {people !== undefined && (
          <button type="button" className="icon-button head-people" onClick={onPeople} aria-label={`People here: ${people}`}>
            <People />
            <span>{people}</span>
          </button>
        )}
        <button
          type="button"
          className="icon-button"
          onClick={unsent > 0 ? () => setAsked(true) : close}
          aria-label={direct ? "Close conversation" : "Leave room"}
          title={direct ? "Close conversation" : "Leave room"}
        >
          <Close />
        </button>
      </header>
      {asked && (
        <Confirm
          title={direct ? `Close the conversation with ${name}?` : `Leave ${name}?`}
          yes={`${unsent > 0 ? "Discard and " : ""}${direct ? "close" : "leave"}`}
          no="Stay"
          onYes={close}
          onNo={() => setAsked(false)}
        >
          {unsent === 0
            ? "Everything was sent meanwhile."
            : `${unsent === 1 ? "1 message was" : `${unsent} messages were`} not sent, and would be lost.`}
        </Confirm>
      )}
      <MessageList
        room={room}
        me={welcome.user}
        onOlder={onOlder}
        onRetry={onRetry}
        onDiscard={onDiscard}
      />
      {lost ? (
        <div className="lost">
          <span>{sentence(room.why)}</span>
          <button type="button" className="secondary" onClick={() => chat.show(room.id)}>
            Join again
          </button>
        </div>
      ) : (
        <Composer
          id={room.id}
          placeholder={direct ? `Message ${name}` : `Message #${name}`}
          most={welcome.limits.message_bytes}
          offline={status.phase !== "online"}
          typing={typing}
          drafts={drafts}
          onTyping={() => chat.typing(room.id)}
          onSend={(text) => chat.send(room.id, text)}
        />
      )}
    </section>
  );
}
