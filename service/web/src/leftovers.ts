/** Messages that are not known to be stored, kept so that closing the page does not lose them. It sends nothing itself. */
import type { ConnectionEvent } from "./events.ts";
import type { Memory, Unsent } from "./memory.ts";

export class Leftovers {
  readonly #memory: Memory;
  readonly #unsent = new Map<string, Unsent>();
  #user: string | undefined;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** Signed in as somebody: gives what an earlier visit of theirs has left, under the same keys; what had failed as failed. */
  of(user: string): readonly Unsent[] {
    this.#user = user;
    const left = this.#memory.unsent(user).filter(({ key }) => !this.#unsent.has(key));
    for (const one of left) this.#unsent.set(one.key, one);
    this.#keep();
    return left;
  }

  /** Takes in how far a message has come. */
  published({ key, target, msg, progress }: Extract<ConnectionEvent, { type: "publish" }>): void {
    const before = this.#unsent.get(key)?.sentAt ?? 0;
    const sentAt = before || (progress.state === "sending" ? Date.now() : 0);
    if (progress.state === "sent") this.#unsent.delete(key);
    else this.#unsent.set(key, { key, target, msg, sentAt, ...(progress.state === "failed" && { failure: progress.failure }) });
    this.#keep();
  }

  /** Somebody has given it up. */
  discard(key: string): void {
    if (this.#unsent.delete(key)) this.#keep();
  }

  #keep(): void {
    if (this.#user !== undefined) this.#memory.keepUnsent(this.#user, [...this.#unsent.values()]);
  }
}
