/** Tells that something has changed: once for everything that happened together, or at once. */

export class Notifier {
  readonly #schedule: (run: () => void) => void;
  readonly #listeners = new Set<() => void>();
  #told = true;

  /** @param schedule runs a function soon. */
  constructor(schedule: (run: () => void) => void) {
    this.#schedule = schedule;
  }

  /** Calls a listener from now on; the result ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** There is something to tell, soon. */
  soon(): void {
    if (!this.#told) return;
    this.#told = false;
    this.#schedule(() => this.now());
  }

  /** Tells what there is to tell, if anything. */
  now(): void {
    if (this.#told) return;
    this.#told = true;
    for (const listener of this.#listeners) listener();
  }
}
