/** Reads new messages out to those who do not see them; the list itself would be read anew with every scroll. */
import { useState } from "react";
import type { RoomState } from "../room.ts";
import { textOf } from "./MessageText.tsx";

export interface Heard {
  /** The last entry that was taken in; empty before the first of a room that has none; unknown while it loads. */
  readonly last: string | undefined;
  readonly lines: readonly { readonly serial: number; readonly text: string }[];
}

/** More at once are counted, not read. */
const MOST_READ = 5;
/** Lines that stay, so that each is an element of its own: a reader is told of what is added, not of what stays the same. */
const LINES_KEPT = 20;
export const NOTHING_HEARD: Heard = { last: undefined, lines: [] };

/** What is to be read out after a change of the room. What was there when the conversation was opened is not news. */
export function hear(before: Heard, { entries, older }: RoomState, me: string): Heard {
  const last = entries.at(-1)?.uid ?? (before.last === undefined && older === "end" ? "" : before.last);
  if (last === before.last) return before;
  const from = before.last === "" ? 0 : entries.findLastIndex(({ uid }) => uid === before.last) + 1;
  const known = before.last === "" || from > 0;
  const news = (known ? entries.slice(from) : []).filter((entry) => entry.kind === "gap" || entry.from !== me);
  const texts = news.map((entry) => (entry.kind === "gap" ? "Messages may be missing." : `${entry.from}: ${textOf(entry.msg) ?? "data"}`));
  const read = texts.length > MOST_READ ? [`${texts.length} new messages`] : texts;
  const serial = (before.lines.at(-1)?.serial ?? 0) + 1;
  const lines = [...before.lines, ...read.map((text, index) => ({ serial: serial + index, text }))];
  return { last, lines: lines.slice(-LINES_KEPT) };
}

export function Announcer({ room, me }: { room: RoomState; me: string }) {
  const [heard, setHeard] = useState(() => hear(NOTHING_HEARD, room, me));
  const now = hear(heard, room, me);
  if (now !== heard) setHeard(now);
  return (
    <div className="unseen" role="log" aria-live="polite" aria-relevant="additions">
      {now.lines.map(({ serial, text }) => (
        <p key={serial}>{text}</p>
      ))}
    </div>
  );
}
