/** The messages of a conversation: only what is in view is drawn, older ones come as one scrolls up, and nothing jumps. */
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import type { RoomState } from "../room.ts";
import { Announcer } from "./Announcer.tsx";
import { Down } from "./icons.tsx";
import { MessageRow, type Row } from "./MessageRow.tsx";

interface MessageListProps {
  readonly room: RoomState;
  readonly me: string;
  readonly onOlder: () => void;
  readonly onRetry: (key: string) => void;
  readonly onDiscard: (key: string) => void;
}

/** What is nearer than this to the end counts as being there, in pixels: while the end is followed, and while it is not. */
const AT_END = 40;
const BACK_AT_END = 2;
/** Older messages are loaded this long before the beginning comes into view, in pixels. */
const AHEAD = 1_200;

export function MessageList({ room, me, onOlder, onRetry, onDiscard }: MessageListProps) {
  const { entries, pending, firstUnread } = room;
  const more = room.older === "more";
  const rows = useMemo<readonly Row[]>(() => (pending.length === 0 ? entries : [...entries, ...pending]), [entries, pending]);
  const lastOwn = useMemo(() => rows.findLast((row) => row.kind !== "gap" && row.from === me)?.uid, [rows, me]);
  const list = useRef<VirtualizerHandle>(null);
  const scroller = useRef<HTMLDivElement>(null);
  /** Whether the end is kept in view. */
  const following = useRef(true);
  const [away, setAway] = useState(false);
  const first = rows[0]?.uid;
  const [shownFirst, setShownFirst] = useState(first);
  // Rows that come or go in front must not move those that are being read.
  const shift = shownFirst !== undefined && first !== undefined && first !== shownFirst;
  // Known only once it was drawn: the drawing itself is what must have been told of the shift.
  // oxlint-disable-next-line react/set-state-in-effect
  useLayoutEffect(() => setShownFirst(first), [first]);
  // The list has moved itself by now, but believes it only of an event. What is measured before that would be reckoned from
  // where it was: whoever waits at the very beginning would be torn to the new one.
  useLayoutEffect(() => {
    if (shift) queueMicrotask(() => scroller.current?.dispatchEvent(new Event("scroll")));
  }, [shift]);

  /** Whether it scrolls, be it by itself. */
  const moving = useRef(false);
  // Not with the list's own scrollToIndex: that repeats itself while rows are measured, also when somebody scrolls meanwhile.
  const scrollTo = useCallback((top: number) => {
    const box = scroller.current;
    if (box === null) return;
    const before = box.scrollTop;
    box.scrollTo({ top, behavior: "instant" });
    if (box.scrollTop !== before) moving.current = true;
  }, []);
  const toEnd = useCallback(() => {
    following.current = true;
    scrollTo(scroller.current?.scrollHeight ?? 0);
  }, [scrollTo]);
  const [newsAtFirst] = useState(firstUnread);
  const started = useRef(false);
  const lastUid = useRef<string>(undefined);
  useLayoutEffect(() => {
    if (rows.length === 0) return;
    if (!started.current) {
      started.current = true;
      const news = rows.findIndex((row) => row.uid === newsAtFirst);
      if (news > 0) {
        following.current = news >= rows.length - 5;
        if (!following.current) {
          scrollTo((list.current?.getItemOffset(news) ?? 0) - 60);
          return;
        }
      }
    }
    // One's own message is what one wants to see.
    const newest = rows.at(-1);
    if (newest?.kind === "pending" && newest.uid !== lastUid.current) following.current = true;
    lastUid.current = newest?.uid;
    if (following.current) toEnd();
  }, [rows, newsAtFirst, scrollTo, toEnd]);

  const offsetBefore = useRef(0);
  const older = useCallback(() => {
    // Not by the scroller's own offset, which would make the browser lay everything out to tell it.
    if (more && list.current !== null && list.current.scrollOffset < AHEAD) onOlder();
  }, [more, onOlder]);
  const scrolled = (offset: number) => {
    const handle = list.current;
    if (handle === null) return;
    const left = handle.scrollSize - handle.viewportSize - offset;
    following.current = left < (following.current ? AT_END : BACK_AT_END);
    setAway(left > handle.viewportSize / 2);
    // Rows that come in front on the way down would leave the list without rows in store above what is in view.
    const up = offset < offsetBefore.current;
    offsetBefore.current = offset;
    moving.current = true;
    if (up && !following.current) older();
  };
  const stopped = () => {
    moving.current = false;
    older();
  };
  // A list that is shorter than its window never scrolls.
  useEffect(() => {
    if (!moving.current) older();
  });

  return (
    <div className="list">
      <div
        className="scroller"
        ref={scroller}
        role="region"
        aria-label="Messages"
        // At once, and however little it is: what is measured before it has scrolled must not take it back.
        onWheel={({ deltaY, currentTarget }) => {
          if (deltaY < 0 && currentTarget.scrollTop > 0) following.current = false;
        }}
        // A region that scrolls must be reachable by keyboard.
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        tabIndex={0}
      >
        <div className="scroller-space" />
        <Virtualizer
          ref={list}
          scrollRef={scroller}
          as="ol"
          item="li"
          shift={shift}
          bufferSize={600}
          data={rows}
          onScroll={scrolled}
          onScrollEnd={stopped}
          onResize={() => following.current && toEnd()}
        >
          {(row: Row, index: number) => (
            <div key={row.uid} className="row">
              {index === 0 && room.older === "end" && row.kind !== "gap" && <Beginning id={room.id} />}
              <MessageRow
                row={row}
                previous={rows[index - 1]}
                before={writtenBefore(rows, index)}
                me={me}
                news={row.uid === firstUnread}
                confirmed={row.uid === lastOwn}
                onRetry={onRetry}
                onDiscard={onDiscard}
              />
            </div>
          )}
        </Virtualizer>
        {rows.length === 0 && (room.older === "end" || room.phase === "live") && <Beginning id={room.id} />}
      </div>
      {room.older === "loading" && <div className="loading" role="status">Loading older messages…</div>}
      {room.older === "failed" && (
        <div className="loading">
          Older messages could not be loaded. <button type="button" onClick={onOlder}>Try again</button>
        </div>
      )}
      {away && (
        <button type="button" className="latest" onClick={toEnd}>
          <Down /> Latest messages
        </button>
      )}
      <Announcer room={room} me={me} />
    </div>
  );
}

function Beginning({ id }: { id: string }) {
  return (
    <div className="beginning">
      {id.startsWith("@") ? (
        <>
          <h2>{id.slice(1)}</h2>
          <p>Only you and {id.slice(1)} can read what you write here.</p>
        </>
      ) : (
        <>
          <h2>#{id}</h2>
          <p>This is where the room begins.</p>
        </>
      )}
    </div>
  );
}

/** When the message before a row was written; a gap is none. */
function writtenBefore(rows: readonly Row[], index: number): number | undefined {
  for (let at = index - 1; at >= 0; at--) {
    const row = rows[at];
    if (row !== undefined && row.kind !== "gap") return row.at;
  }
  return undefined;
}
