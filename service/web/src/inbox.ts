/** How far back the inbox has been read. One log holds the direct messages of all people, so they share this. */
import type { Direct, HistoryPage, Logged } from "./protocol.ts";

export class Inbox {
  /** The offset of the oldest message that was read. */
  oldest = 1;
  /** Whether there are older ones; unknown before the inbox was joined. */
  older: "unknown" | "more" | "end" = "unknown";

  /** The log was read down to this offset: with the first join, or to fill a gap. */
  readTo(oldest: number): void {
    this.oldest = oldest;
    this.older = oldest > 1 ? "more" : "end";
  }

  /** There was a gap: whether the log still has what is older is to be found out. */
  lost(): void {
    this.older = "unknown";
  }

  /** Takes in an older page; tells whether there are more. */
  take(page: HistoryPage): boolean {
    this.oldest = page.messages[0]?.offset ?? this.oldest;
    this.older = page.more && page.messages.length > 0 ? "more" : "end";
    return this.older === "more";
  }
}

/** The conversation that a direct message belongs to: `@` and the other one's name, or one's own. */
export function peerOf(message: Logged, me: string): string {
  const { from, to } = message as Direct;
  return `@${from === me ? to : from}`;
}

/** Messages by the conversation that they belong to, in their order. */
export function byPeer(messages: readonly Logged[], me: string): Map<string, Logged[]> {
  const groups = new Map<string, Logged[]>();
  for (const message of messages) {
    const peer = peerOf(message, me);
    const group = groups.get(peer);
    if (group === undefined) groups.set(peer, [message]);
    else group.push(message);
  }
  return groups;
}
