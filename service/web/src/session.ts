/** Being signed in: one chat over one connection for as long as it is the same person, whatever becomes of the token. */
import { Chat, type ChatOptions } from "./chat.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import type { Identity, Memory } from "./memory.ts";

export interface SessionOptions {
  readonly identity: Identity;
  readonly memory: Memory;
  /** The conversation to begin with. */
  readonly open?: string | undefined;
  readonly connection: Omit<ConnectionOptions, "token">;
  readonly schedule?: ChatOptions["schedule"];
}

export class Session {
  readonly chat: Chat;
  /** What is written and not sent, by conversation. */
  readonly drafts = new Map<string, string>();
  readonly #connection: Connection;
  #identity: Identity;
  #user: string | undefined;

  /**
   * Begins to connect.
   *
   * @param other what is to be done when somebody else has signed in: it is called instead of showing them the
   * conversations of the one before, and this session has ended.
   */
  constructor({ identity, memory, open, connection, schedule }: SessionOptions, other: (identity: Identity) => void) {
    this.#identity = identity;
    this.#connection = new Connection({ ...connection, token: () => this.#identity.token });
    // Before the chat hears of them, and before anything is joined or sent in their name.
    this.#connection.subscribe((event) => {
      if (event.type !== "status" || event.status.phase !== "online") return;
      const { user } = event.status.welcome;
      this.#user ??= user;
      if (user === this.#user) return;
      this.end();
      other(this.#identity);
    });
    this.chat = new Chat({ connection: this.#connection, memory, ...(schedule && { schedule }) });
    if (open !== undefined) this.chat.show(open);
    this.#connection.start();
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** Comes back after an end, perhaps with a fresh token: everything is resumed where it was. */
  signIn(identity: Identity): void {
    this.#identity = identity;
    this.#connection.start();
    // It may be waiting for its next attempt with the token of before.
    this.#connection.wake();
  }

  end(): void {
    this.chat.stop();
  }
}
