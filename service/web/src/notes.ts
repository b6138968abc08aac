/** What to say about the connection: that it is lost, once that lasts, and on the way back what has been caught up. */

/** A short word about the connection that goes away by itself. */
export interface Note {
  readonly text: string;
  /** `lost` stays until it is replaced. */
  readonly kind: "lost" | "back" | "warning";
}

/** How long a note stays, in milliseconds. */
const NOTE_STAYS = 5_000;
/** A loss that is over within this time is not worth a word, in milliseconds. */
const LOSS_SHOWN_AFTER = 400;

export class Notes {
  readonly #changed: (note: Note | undefined) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #server = "";
  /** Rooms that are not live again yet. */
  #resuming: Set<string> | undefined;
  #messages = 0;
  #gap = false;

  constructor(changed: (note: Note | undefined) => void) {
    this.#changed = changed;
  }

  lost(): void {
    clearTimeout(this.#timer);
    const note: Note = { kind: "lost", text: "Connection lost. Reconnecting…" };
    this.#timer = setTimeout(() => this.#changed(note), LOSS_SHOWN_AFTER);
  }

  /** Signed in on another socket; these rooms are being resumed. */
  resumes(server: string, rooms: readonly string[]): void {
    this.#server = server;
    this.#resuming = new Set(rooms);
    this.#messages = 0;
    this.#gap = false;
  }

  /** A resume has brought so many messages. */
  caught(messages: number): void {
    this.#messages += messages;
  }

  /** Something may be missing. */
  gap(): void {
    this.#gap = true;
  }

  /** A room is live again, or will not be: with the last of them comes the word. */
  settled(room: string): void {
    if (this.#resuming?.delete(room) !== true || this.#resuming.size > 0) return;
    this.#resuming = undefined;
    const missed = this.#messages === 1 ? "1 message caught up" : `${this.#messages} messages caught up`;
    const rest = this.#gap ? "Some messages may be missing" : this.#messages > 0 ? missed : "Nothing missed";
    clearTimeout(this.#timer);
    this.#changed({ kind: this.#gap ? "warning" : "back", text: `Connected to ${this.#server}. ${rest}.` });
    this.#timer = setTimeout(() => this.#changed(undefined), NOTE_STAYS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
