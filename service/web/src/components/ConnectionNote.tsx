/** A word about the connection, over the messages and never in their way; and the end of it, which needs an answer. */
import type { Status } from "../events.ts";
import { sentence } from "../names.ts";
import type { Note } from "../notes.ts";

interface ConnectionNoteProps {
  readonly note: Note | undefined;
  readonly status: Status;
  readonly onSignIn: () => void;
}

export function ConnectionNote({ note, status, onSignIn }: ConnectionNoteProps) {
  if (status.phase === "stopped") {
    return (
      <div className="note" data-kind="stopped" role="alert">
        <span>{sentence(status.why || "you are disconnected")}</span>
        <button type="button" className="note-action" onClick={onSignIn}>
          Connect again
        </button>
      </div>
    );
  }
  return (
    <div className="note" data-kind={note?.kind ?? "none"} role="status">
      {note?.kind === "lost" && <span className="note-spinner" aria-hidden="true" />}
      <span>{note?.text}</span>
    </div>
  );
}
