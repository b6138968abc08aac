/**
 * Reads what logs still have below a gap, page by page, until it is told that this is enough. It asks for one page at a time,
 * however many rooms have a gap at once, and goes on after every failure that may pass.
 */
import { backoff } from "./backoff.ts";
import type { QuestionFailed } from "./connection.ts";
import type { HistoryPage, Logged } from "./protocol.ts";

/** Messages in a page. */
const PAGE = 250;
/** Pages that are read for one gap. */
const MOST_PAGES = 20;
/** The errors after which one asks again. */
const PASSING = ["rate_limited", "unavailable", "ended"];

export interface FillingOwner {
  history(room: string, range: { before: number; limit: number }): Promise<HistoryPage>;
  /** The epoch that a room is in; nothing when it was left. */
  epoch(room: string): string | undefined;
  /**
   * Takes in what was read so far, the oldest first.
   *
   * @param more whether there are older ones that could be read.
   * @returns whether to read them.
   */
  take(room: string, messages: readonly Logged[], more: boolean): boolean;
}

interface Task {
  readonly room: string;
  before: number;
  messages: readonly Logged[];
  pages: number;
}

export class Filling {
  readonly #owner: FillingOwner;
  /** By room, in the order in which they are done. */
  readonly #tasks = new Map<string, Task>();
  #asking = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(owner: FillingOwner) {
    this.#owner = owner;
  }

  /** Reads a room's log below an offset, instead of below a former one. */
  begin(room: string, before: number): void {
    this.#tasks.delete(room);
    this.#tasks.set(room, { room, before, messages: [], pages: 0 });
    if (this.#timer === undefined) void this.#next();
  }

  /** Reads no more of a room: what is shown of it is not what the gap was in. */
  end(room: string): void {
    this.#tasks.delete(room);
  }

  /** Goes on at once: there is a connection again. */
  wake(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#failures = 0;
    void this.#next();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#tasks.clear();
  }

  async #next(): Promise<void> {
    const [task] = this.#tasks.values();
    if (task === undefined || this.#asking) return;
    this.#asking = true;
    const wait = await this.#read(task);
    this.#asking = false;
    if (wait === undefined) void this.#next();
    else {
      // The others come first: it may be this room alone that cannot be read.
      if (this.#tasks.delete(task.room)) this.#tasks.set(task.room, task);
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        void this.#next();
      }, wait);
    }
  }

  /** Asks for one page; gives how long to wait where that came to nothing. */
  async #read(task: Task): Promise<number | undefined> {
    const { room, before } = task;
    const { wait, page } = await this.#ask(room, before);
    if (this.#tasks.get(room) !== task) return undefined;
    const epoch = this.#owner.epoch(room);
    if (epoch === undefined || (page === undefined && wait === undefined)) {
      this.#tasks.delete(room);
      return undefined;
    }
    // In another epoch, of which there will be a word.
    if (page === undefined || page.epoch !== epoch) return Math.max(wait ?? 0, backoff(this.#failures++, Math.random()));
    this.#failures = 0;
    task.messages = [...page.messages, ...task.messages];
    task.before = page.messages[0]?.offset ?? before;
    const more = page.more && page.messages.length > 0 && ++task.pages < MOST_PAGES;
    if (!this.#owner.take(room, task.messages, more) || !more) this.#tasks.delete(room);
    return undefined;
  }

  /** A page; or how long to wait before the next attempt; or neither, if there is no point in one. */
  async #ask(room: string, before: number): Promise<{ readonly page?: HistoryPage; readonly wait?: number }> {
    try {
      return { page: await this.#owner.history(room, { before, limit: PAGE }) };
    } catch (error) {
      const { code, retryAfter } = error as QuestionFailed;
      return PASSING.includes(code) ? { wait: retryAfter } : {};
    }
  }
}
