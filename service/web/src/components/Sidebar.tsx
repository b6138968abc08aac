/** All conversations, a field to find or begin one, and where one is connected. */
import type { RefObject } from "react";
import type { ChatState } from "../chat.ts";
import type { Welcome } from "../protocol.ts";
import type { RoomState } from "../room.ts";
import { Avatar } from "./Avatar.tsx";
import { ConnectionBadge } from "./ConnectionBadge.tsx";
import { Finder } from "./Finder.tsx";
import { Leave, Mark } from "./icons.tsx";

interface SidebarProps {
  readonly state: ChatState;
  readonly welcome: Welcome;
  /** In the order in which they are shown. */
  readonly ids: readonly string[];
  readonly finder: RefObject<HTMLInputElement | null>;
  readonly onShow: (id: string) => void;
  readonly onSignOut: () => void;
}

export function Sidebar({ state, welcome, ids, finder, onShow, onSignOut }: SidebarProps) {
  const { conversations, open, present, available, status } = state;
  const here = new Set([...present.values()].flatMap(({ users }) => users));
  const rooms = ids.filter((id) => !id.startsWith("@"));
  const direct = ids.filter((id) => id.startsWith("@"));
  const others = available.filter((room) => !conversations.has(room));
  const item = (id: string) => (
    <Item key={id} room={conversations.get(id)} id={id} open={id === open} present={here.has(id.slice(1))} onShow={onShow} />
  );
  return (
    <nav className="sidebar" aria-label="Conversations">
      <div className="brand">
        <Mark />
        <span className="brand-name">Parley</span>
      </div>
      <Finder input={finder} rooms={others} known={ids} people={[...here].filter((user) => user !== welcome.user)} onShow={onShow} />
      <div className="sections">
        <section>
          <h2>Rooms</h2>
          <ul>{rooms.map(item)}</ul>
        </section>
        {direct.length > 0 && (
          <section>
            <h2>Direct messages</h2>
            <ul>{direct.map(item)}</ul>
          </section>
        )}
        {others.length > 0 && (
          <section>
            <h2>More rooms</h2>
            <ul>
              {others.slice(0, 30).map((room) => (
                <li key={room}>
                  <button type="button" className="item item-other" onClick={() => onShow(room)}>
                    <span className="item-sign" aria-hidden="true">
                      #
                    </span>
                    <span className="item-name">{room}</span>
                    <span className="item-join">Join</span>
                  </button>
                </li>
              ))}
            </ul>
          </section>
        )}
      </div>
      <div className="own">
        <Avatar name={welcome.user} />
        <div className="own-text">
          <span className="own-name">{welcome.user}</span>
          <ConnectionBadge status={status} server={welcome.server_id} />
        </div>
        <button type="button" className="icon-button" onClick={onSignOut} aria-label="Sign out" title="Sign out">
          <Leave />
        </button>
      </div>
    </nav>
  );
}

interface ItemProps {
  readonly id: string;
  readonly room: RoomState | undefined;
  readonly open: boolean;
  readonly present: boolean;
  readonly onShow: (id: string) => void;
}

function Item({ id, room, open, present, onShow }: ItemProps) {
  const unread = room?.unread ?? 0;
  const direct = id.startsWith("@");
  const name = direct ? id.slice(1) : id;
  const lost = room?.phase === "left" || room?.phase === "refused";
  const failed = room?.pending.some(({ progress }) => progress.state === "failed") === true;
  return (
    <li>
      <button
        type="button"
        className="item"
        aria-current={open ? "page" : undefined}
        data-unread={unread > 0}
        data-lost={lost}
        onClick={() => onShow(id)}
      >
        {direct ? (
          <Avatar name={name} size="small" present={present} />
        ) : (
          <span className="item-sign" aria-hidden="true">
            #
          </span>
        )}
        <span className="item-name">{name}</span>
        {failed && (
          <span className="item-failed" title="A message was not sent">
            !<span className="unseen">A message was not sent</span>
          </span>
        )}
        {unread > 0 && (
          <span className="item-unread">
            {unread > 99 ? "99+" : unread}
            <span className="unseen"> unread</span>
          </span>
        )}
      </button>
    </li>
  );
}
