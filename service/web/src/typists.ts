/** Who is typing where, for as long as that is worth anything. Signals may be lost, so every word of it expires. */

/** Somebody who has not been heard of for this long has stopped, in milliseconds. */
const EXPIRES = 5_000;
/** One's own typing is told this often at most, in milliseconds. */
const TOLD_EVERY = 2_500;

export class Typists {
  readonly #changed: (typing: ReadonlyMap<string, readonly string[]>) => void;
  readonly #timers = new Map<string, Map<string, ReturnType<typeof setTimeout>>>();
  #told = new Map<string, number>();

  constructor(changed: (typing: ReadonlyMap<string, readonly string[]>) => void) {
    this.#changed = changed;
  }

  started(conversation: string, user: string): void {
    const timers = this.#timers.get(conversation) ?? new Map<string, ReturnType<typeof setTimeout>>();
    this.#timers.set(conversation, timers);
    const known = timers.get(user);
    clearTimeout(known);
    timers.set(
      user,
      setTimeout(() => this.stopped(conversation, user), EXPIRES),
    );
    if (known === undefined) this.#tell();
  }

  stopped(conversation: string, user: string): void {
    const timers = this.#timers.get(conversation);
    const timer = timers?.get(user);
    if (timers === undefined || timer === undefined) return;
    clearTimeout(timer);
    timers.delete(user);
    if (timers.size === 0) this.#timers.delete(conversation);
    this.#tell();
  }

  /** Whether it is time to tell others about one's own typing. */
  mayTell(conversation: string): boolean {
    const now = Date.now();
    if (now - (this.#told.get(conversation) ?? 0) < TOLD_EVERY) return false;
    this.#told.set(conversation, now);
    return true;
  }

  /** One's own message is on its way: what is typed next is news again. */
  sent(conversation: string): void {
    this.#told.delete(conversation);
  }

  stop(): void {
    for (const timers of this.#timers.values()) for (const timer of timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #tell(): void {
    this.#changed(new Map([...this.#timers].map(([conversation, timers]) => [conversation, [...timers.keys()]])));
  }
}
