/**
 * One WebSocket from its opening to its end: signing in, matching replies with questions, noticing silence. It never
 * reconnects, and knows nothing of rooms.
 */
import { type ClientFrame, decode, encode, type Fault, type ServerFrame, UnreadableFrame, type Welcome } from "./protocol.ts";

/** The part of a browser's `WebSocket` that is used. */
export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** How a link ended. */
export interface Ending {
  /** The close code; 1006 when there was no close frame. */
  readonly code: number;
  /** Whether the WebSocket handshake had succeeded. */
  readonly opened: boolean;
  /** The last `error` before the end that concerned the sign-in, or nothing. */
  readonly fault?: Fault;
}

/** Who is told what happens on a link. */
export interface LinkOwner {
  welcomed(link: Link, frame: Welcome): void;
  /** Every frame that is not the reply to a question. */
  received(link: Link, frame: ServerFrame): void;
  /** Comes once, and nothing comes after it. */
  ended(link: Link, ending: Ending): void;
}

/** The reply to a question, or that there will be none because the link has ended, with the close code. */
export type Reply = ServerFrame | { readonly type: "ended"; readonly code: number };

/** A question to which the server has no answer for this long, in milliseconds, ends the link. */
export const ANSWER_WAIT = 30_000;
/** From the first packet to `welcome`, in milliseconds. */
const SIGN_IN_WAIT = 15_000;
/** How long a `ping` may go without anything being heard, in milliseconds. */
const PONG_WAIT = 10_000;
/** Asking again after a sign-in without a verdict, in milliseconds. */
const AUTH_AGAIN = 1_000;

export class Link {
  /** There once the sign-in has succeeded. */
  welcome: Welcome | undefined;
  /** By the wall clock, in milliseconds; 0 before. */
  welcomedAt = 0;
  readonly #socket: SocketLike;
  readonly #owner: LinkOwner;
  readonly #token: () => string | Promise<string>;
  readonly #questions = new Map<number, { answer: (reply: Reply) => void; timer: Timer }>();
  #sentToken = "";
  #nextId = 1;
  #opened = false;
  #ended = false;
  /** By the wall clock, in milliseconds. */
  #heardAt = 0;
  #heard = 0;
  #fault: Fault | undefined;
  #signInTimer: Timer;
  #heartbeat: Timer | undefined;
  #refresh: Timer | undefined;

  constructor(socket: SocketLike, token: () => string | Promise<string>, owner: LinkOwner) {
    this.#socket = socket;
    this.#owner = owner;
    this.#token = token;
    socket.onopen = () => {
      this.#opened = true;
      void this.#signIn();
    };
    socket.onmessage = (event) => this.#read(event.data);
    socket.onclose = (event) => this.#end(event.code);
    // A close event always follows, and says more.
    socket.onerror = null;
    this.#signInTimer = setTimeout(() => this.close(), SIGN_IN_WAIT);
  }

  /** Sends a frame to which no answer is expected; nothing happens once the link has ended. */
  send(frame: ClientFrame): void {
    if (!this.#ended && this.#opened) this.#socket.send(encode(frame));
  }

  /** Sends a question under an `id` of its own. `answer` is called exactly once. */
  ask(frame: ClientFrame, answer: (reply: Reply) => void): void {
    if (this.#ended) {
      answer({ type: "ended", code: 1006 });
      return;
    }
    const id = this.#nextId++;
    this.#questions.set(id, { answer, timer: setTimeout(() => this.close(), ANSWER_WAIT) });
    this.send({ ...frame, id });
  }

  /** The token that was sent last. */
  get token(): string {
    return this.#sentToken;
  }

  /** Whether the link has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Asks at once whether the other side still lives: for a machine that has slept, or a network that has changed. */
  probe(): void {
    if (this.welcome !== undefined && !this.#ended) this.#ping();
  }

  /** Ends the link now, without waiting for the other side's word. */
  close(): void {
    if (this.#ended) return;
    try {
      // Of the standard codes a browser allows this one only, and throws at others.
      this.#socket.close(1000);
    } finally {
      this.#end(1006);
    }
  }

  async #signIn(): Promise<void> {
    let token: string;
    try {
      token = await this.#token();
    } catch {
      this.close();
      return;
    }
    if (this.#ended) return;
    this.#sentToken = token;
    this.ask({ type: "auth", token }, (reply) => {
      if (reply.type !== "error") return;
      // No verdict: ask again while the server waits.
      if (reply.code === "unavailable") setTimeout(() => void this.#signIn(), reply.retry_after_ms ?? AUTH_AGAIN);
      else this.#fault = reply;
    });
  }

  /** Signs in anew well before the session would end, if there is a fresh token. */
  #refreshIn(seconds: number | undefined): void {
    clearTimeout(this.#refresh);
    if (seconds === undefined) return;
    const ahead = Math.min(60, seconds / 4);
    // Timers of browsers hold 31 bits.
    const wait = Math.min((seconds - ahead) * 1_000, 2 ** 31 - 1);
    this.#refresh = setTimeout(() => void this.#renew(), wait);
  }

  async #renew(): Promise<void> {
    const token = await Promise.resolve(this.#token()).catch(() => this.#sentToken);
    if (this.#ended || token === this.#sentToken) return;
    this.#sentToken = token;
    this.ask({ type: "auth", token }, (reply) => {
      if (reply.type === "ok") this.#refreshIn(reply.expires_in);
      else if (reply.type === "error") this.#fault = reply;
    });
  }

  #read(data: unknown): void {
    if (this.#ended) return;
    this.#heardAt = Date.now();
    this.#heard++;
    let frame: ServerFrame | undefined;
    try {
      if (typeof data !== "string") throw new UnreadableFrame("binary");
      frame = decode(data);
    } catch (error) {
      if (!(error instanceof UnreadableFrame)) throw error;
      // What cannot be read may have been a message: a new link resumes and gets it again.
      this.close();
      return;
    }
    if (frame === undefined) return;
    if (frame.type === "welcome") {
      this.#welcomed(frame);
      return;
    }
    const id = "id" in frame ? frame.id : undefined;
    const question = typeof id === "number" ? this.#questions.get(id) : undefined;
    if (question === undefined) {
      this.#owner.received(this, frame);
    } else {
      this.#questions.delete(id as number);
      clearTimeout(question.timer);
      question.answer(frame);
    }
  }

  #welcomed(frame: Welcome): void {
    if (this.welcome !== undefined) return;
    clearTimeout(this.#signInTimer);
    this.welcome = frame;
    this.welcomedAt = Date.now();
    this.#refreshIn(frame.expires_in);
    this.#listen();
    this.#owner.welcomed(this, frame);
  }

  /** Waits for as much silence as calls for a `ping`. */
  #listen(): void {
    const every = (this.welcome?.limits.ping_seconds ?? 20) * 1_000;
    const wait = Math.max(this.#heardAt + every - Date.now(), 0);
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => (Date.now() - this.#heardAt >= every ? this.#ping() : this.#listen()), wait);
  }

  #ping(): void {
    const before = this.#heard;
    this.send({ type: "ping", id: 0 });
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => (this.#heard > before ? this.#listen() : this.close()), PONG_WAIT);
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    clearTimeout(this.#signInTimer);
    clearTimeout(this.#heartbeat);
    clearTimeout(this.#refresh);
    const questions = [...this.#questions.values()];
    this.#questions.clear();
    for (const { timer } of questions) clearTimeout(timer);
    for (const { answer } of questions) answer({ type: "ended", code });
    this.#owner.ended(this, { code, opened: this.#opened, ...(this.#fault && { fault: this.#fault }) });
  }
}

type Timer = ReturnType<typeof setTimeout>;
