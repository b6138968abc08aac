/** Where one is connected, and how that is going. */
import type { Status } from "../events.ts";

export function ConnectionBadge({ status, server }: { status: Status; server: string }) {
  const { tone, text } = word(status);
  return (
    <div className="badge" data-tone={tone} role="status" title={`${server}: ${text}`}>
      <span className="badge-dot" aria-hidden="true" />
      <span className="badge-server">{server}</span>
      <span className="badge-text">{text}</span>
    </div>
  );
}

function word(status: Status): { tone: string; text: string } {
  switch (status.phase) {
    case "online":
      return status.moving ? { tone: "busy", text: "moving" } : { tone: "good", text: "connected" };
    case "connecting":
      return { tone: "busy", text: "reconnecting" };
    case "waiting":
      return { tone: "busy", text: "reconnecting" };
    case "stopped":
      return { tone: "bad", text: "disconnected" };
  }
}
