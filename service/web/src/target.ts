/** A conversation is named by its room, or by `@` and the other person; all of the latter share one log, the inbox. */
import type { Target } from "./events.ts";
import { INBOX } from "./protocol.ts";

export function targetOf(id: string): Target {
  return id.startsWith("@") ? { to: id.slice(1) } : { room: id };
}

export function idOf(target: Target): string {
  return "room" in target ? target.room : `@${target.to}`;
}

/** The log that a conversation is in. */
export function logOf(id: string): string {
  return id.startsWith("@") ? INBOX : id;
}
