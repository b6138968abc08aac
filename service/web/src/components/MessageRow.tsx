/** One line of the list: a message, one's own on its way, or the mark of a gap. */
import { memo } from "react";
import type { Entry, MessageEntry, Pending } from "../room.ts";
import { Avatar } from "./Avatar.tsx";
import { Check, Clock, Warning } from "./icons.tsx";
import { MessageText } from "./MessageText.tsx";

export type Row = Entry | Pending;

interface MessageRowProps {
  readonly row: Row;
  readonly previous: Row | undefined;
  /** When the message before this one was written, whatever lies between. */
  readonly before: number | undefined;
  readonly me: string;
  /** Whether the news begin here. */
  readonly news: boolean;
  /** Whether to say that it is sent: on the last of one's own. */
  readonly confirmed: boolean;
  readonly onRetry: (key: string) => void;
  readonly onDiscard: (key: string) => void;
}

/** Messages of one person within this time stand together, in milliseconds. */
const TOGETHER = 5 * 60_000;

export const MessageRow = memo(function MessageRow(props: MessageRowProps) {
  const { row, previous, before, news } = props;
  if (row.kind === "gap") {
    return (
      <div className="gap" role="note">
        <span className="gap-icon">
          <Warning />
        </span>
        <span>
          <strong>Messages may be missing here.</strong> The server could not tell what came in between.
        </span>
      </div>
    );
  }
  const newDay = before === undefined || day(before) !== day(row.at);
  const sameHand = previous !== undefined && previous.kind !== "gap" && previous.from === row.from;
  const together = sameHand && !newDay && !news && row.at - previous.at < TOGETHER;
  return (
    <>
      {newDay && (
        <div className="day">
          <span>{dayName(row.at)}</span>
        </div>
      )}
      {news && (
        <div className="news">
          <span>New</span>
        </div>
      )}
      <Line {...props} row={row} together={together} />
    </>
  );
});

type LineProps = MessageRowProps & { readonly row: MessageEntry | Pending; readonly together: boolean };

function Line({ row, me, together, confirmed, onRetry, onDiscard }: LineProps) {
  const failed = row.kind === "pending" && row.progress.state === "failed" ? row.progress.failure : undefined;
  const own = row.from === me;
  return (
    <article className="line" data-together={together} data-own={own} data-failed={failed !== undefined}>
      {together ? (
        <time className="line-gutter" dateTime={iso(row.at)}>
          {clock(row.at)}
        </time>
      ) : (
        <Avatar name={row.from} />
      )}
      <div className="line-body">
        {together ? (
          <span className="unseen">{row.from}: </span>
        ) : (
          <div className="line-head">
            <span className="line-from">{row.from}</span>
            <time className="line-time" dateTime={iso(row.at)} title={momentFormat.format(row.at)}>
              {clock(row.at)}
            </time>
          </div>
        )}
        <div className="line-text" dir="auto">
          <MessageText msg={row.msg} />
        </div>
        {failed !== undefined && (
          <div className="line-failed" role="alert">
            <span>
              {failed.perhapsStored ? "Not confirmed" : "Not sent"}: {failed.message}
            </span>
            <button type="button" onClick={() => onRetry((row as Pending).key)}>
              {failed.perhapsStored ? "Send anyway" : "Try again"}
            </button>
            <button type="button" onClick={() => onDiscard((row as Pending).key)}>
              Discard
            </button>
          </div>
        )}
      </div>
      <span className="line-state">{own && failed === undefined && <Delivery row={row} confirmed={confirmed} />}</span>
    </article>
  );
}

/** Of one's own message: on its way, or there. */
function Delivery({ row, confirmed }: { row: MessageEntry | Pending; confirmed: boolean }) {
  const sent = row.kind === "message" || row.progress.state === "sent";
  if (sent && !confirmed) return null;
  return (
    <span className="delivery" data-sent={sent} title={sent ? "Sent" : "Sending"}>
      {sent ? <Check /> : <Clock />}
      <span className="unseen">{sent ? "Sent" : "Sending"}</span>
    </span>
  );
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const momentFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const clock = (at: number) => clockFormat.format(at);
const iso = (at: number) => new Date(at).toISOString();
const day = (at: number) => new Date(at).setHours(0, 0, 0, 0);

function dayName(at: number): string {
  const days = Math.round((day(Date.now()) - day(at)) / 86_400_000);
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : dayFormat.format(at);
}
