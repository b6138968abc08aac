/**
 * A connection to Parley that lasts: it opens sockets, comes back after every loss, moves when it is asked to, resumes all
 * rooms where they were, and never sends a message twice. No React, no page: it runs wherever there is a `WebSocket`.
 */
import { backoff } from "./backoff.ts";
import { type CloseCode, closeCode, TOKEN_EXPIRED } from "./closeCodes.ts";
import type { ConnectionEvent, Failure, Listener, Status, Target } from "./events.ts";
import { type Ending, Link, type SocketLike } from "./link.ts";
import { type ProbeAnswer, probe } from "./probe.ts";
import {
  type ClientFrame,
  type HistoryPage,
  INBOX,
  type Json,
  type Position,
  type PresenceList,
  type Reconnect,
  type RoomsList,
  type ServerFrame,
  type Welcome,
} from "./protocol.ts";
import { Publisher } from "./publisher.ts";
import { Subscriptions } from "./subscriptions.ts";

/** What a connection is made of. Only `url` and `token` are needed in a browser. */
export interface ConnectionOptions {
  /** `ws://` or `wss://`, usually with the path `/ws`. */
  readonly url: string;
  /**
   * Asked for every new socket and for every refresh. In open mode it is the user's name. One that has expired and is given
   * again all the same ends the connection, with code 4001; `start` then tries again.
   */
  readonly token: () => string | Promise<string>;
  readonly openSocket?: (url: string) => SocketLike;
  /** The plain GET of `/ws` that tells why a handshake failed. */
  readonly probe?: (url: string) => Promise<ProbeAnswer>;
  /** Drops the cookie that ties this client to an instance. */
  readonly dropCookie?: (name: string) => void;
  /** From 0 up to, but not including, 1. */
  readonly random?: () => number;
}

/** A question that was answered with an `error`, or that lost its connection (`code` is `ended`). */
export class QuestionFailed extends Error {
  override readonly name = "QuestionFailed";
  readonly code: string;
  /** Asking again is of no use before, in milliseconds. */
  readonly retryAfter: number;
  constructor(code: string, message: string, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** A connection that was up for this long was a good one, in milliseconds. */
const LASTING = 10_000;
/** A question is asked again so often when the server finds that it comes too soon. */
const MOST_TRIES = 5;
/** How long an old socket is kept for the answers that it still owes, in milliseconds. */
const RETIRING_WAIT = 15_000;

export class Connection {
  readonly #options: Required<ConnectionOptions>;
  readonly #listeners = new Set<Listener>();
  readonly #subscriptions: Subscriptions;
  readonly #publisher: Publisher;
  /** Signed in, and the one to use. */
  #current: Link | undefined;
  /** On its way to be the current one. */
  #attempt: Link | undefined;
  /** Was the current one, and still owes answers or messages. */
  #retiring: Link | undefined;
  /** Questions that have no answer yet, each with the link on which it was asked. */
  readonly #questions = new Set<{ readonly link: Link }>();
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retiringTimer: ReturnType<typeof setTimeout> | undefined;
  #moving = false;
  /** The token of the last sign-in that had expired. */
  #expired: string | undefined;
  /** To be dropped before the next socket: it leads to an instance that is about to stop. */
  #cookie: string | undefined;
  #running = false;
  #status: Status = { phase: "stopped", why: "" };

  constructor(options: ConnectionOptions) {
    this.#options = {
      openSocket: (url) => new WebSocket(url) as unknown as SocketLike,
      probe,
      dropCookie: (name) => {
        document.cookie = `${name}=; Max-Age=0; Path=/`;
      },
      random: Math.random,
      ...options,
    };
    const { random } = this.#options;
    const emit = (event: ConnectionEvent) => this.#emit(event);
    this.#subscriptions = new Subscriptions({
      emit,
      random,
      seen: (message) => {
        if (message.from === this.#current?.welcome?.user) this.#publisher.seen(message);
      },
      live: () => {
        this.#publisher.flushAll();
        this.#retire();
      },
      gone: (room, reason) => this.#publisher.gone(room, reason),
    });
    this.#publisher = new Publisher({
      emit,
      random,
      linkFor: (target) => this.#linkFor(target),
      lostAt: (target) => this.#subscriptions.lostAt("room" in target ? target.room : INBOX),
      settled: () => this.#retire(),
    });
  }

  /** Tells a listener of everything from now on; the result ends that. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get status(): Status {
    return this.#status;
  }

  /** Begins to connect, and goes on until {@link stop} or a close code that is final. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#attempts = 0;
    this.#open();
  }

  /** Ends it: every socket is closed and nothing comes after. Messages that had not left are lost with it. */
  stop(): void {
    this.#stop({ phase: "stopped", why: "", code: 1000 });
    this.#publisher.stop();
  }

  /**
   * Takes a hint that the world has changed (the network is back, the page is visible again): tries at once if it was
   * waiting, and makes sure that the other side still lives if it was not.
   */
  wake(): void {
    if (!this.#running) return;
    if (this.#current !== undefined) this.#current.probe();
    else if (this.#attempt === undefined) this.#open();
  }

  /**
   * Wants to be in a room from now on, through every reconnect. The answer is a `joined` event, or `refused`.
   *
   * @param history how many of the newest messages come with it, when there is no position.
   * @param position where to resume, if it is known from before.
   */
  join(room: string, history = 0, position?: Position): void {
    this.#subscriptions.add(room, history, position);
  }

  /** The rooms that one wants to be in, whether they are live now or not. */
  get joined(): readonly string[] {
    return this.#subscriptions.wanted;
  }

  /** Up to where a room was received, or nothing when it is not known or not wanted. */
  position(room: string): Position | undefined {
    return this.#subscriptions.positionOf(room);
  }

  /** Leaves a room; messages that were meant for it and have not left fail. */
  leave(room: string): void {
    this.#subscriptions.remove(room);
  }

  /**
   * Publishes once, whatever happens on the way: `publish` events tell how far it has come. Works offline, too: what has not
   * left waits until there is a connection and its room is joined.
   *
   * @param msg any JSON value whose text is within `message_bytes`, without lone surrogates.
   * @param key 1 to 64 bytes, used for this message only.
   * @param sentAt for a message that an earlier run of the program has left behind: when it left for the first time, in
   * milliseconds since 1970.
   * @param failure why it had failed then: it is not sent before {@link retry}.
   * @returns the key.
   */
  publish(target: Target, msg: Json, key: string = newKey(), sentAt = 0, failure?: Failure): string {
    this.#publisher.publish(target, msg, key, sentAt, failure);
    return key;
  }

  /** Sends a message that has failed again, under its key. */
  retry(key: string): void {
    this.#publisher.retry(key);
  }

  /** Forgets a message that has failed or is on its way: it is not sent any more, but may have arrived all the same. */
  discard(key: string): void {
    this.#publisher.discard(key);
  }

  /** Tells others something that is of no use later, such as that one is typing. Lost when there is no connection. */
  signal(target: Target, data: Json): void {
    this.#linkFor(target)?.send({ type: "signal", ...target, data });
  }

  /**
   * Reads the log of a room.
   *
   * @throws QuestionFailed with the code of the error.
   */
  history(room: string, range: { before?: number; after?: number; limit?: number } = {}): Promise<HistoryPage> {
    return this.#ask({ type: "history", room, ...range }, (frame) => (frame.type === "history" ? frame : undefined));
  }

  /** Who is in a room. @throws QuestionFailed */
  presence(room: string): Promise<PresenceList> {
    return this.#ask({ type: "presence", room }, (frame) =>
      frame.type === "presence" && "users" in frame ? frame : undefined,
    );
  }

  /** Which rooms there are to join. @throws QuestionFailed */
  rooms(): Promise<RoomsList> {
    return this.#ask({ type: "rooms" }, (frame) => (frame.type === "rooms" ? frame : undefined));
  }

  /** Messages that are neither stored nor failed. */
  get underWay(): number {
    return this.#publisher.underWay;
  }

  #ask<F>(frame: ClientFrame, pick: (frame: ServerFrame) => F | undefined, tries = 0): Promise<F> {
    return new Promise((resolve, reject) => {
      const link = this.#current;
      if (link === undefined) {
        reject(new QuestionFailed("ended", "there is no connection"));
        return;
      }
      const question = { link };
      this.#questions.add(question);
      link.ask(frame, (reply) => {
        this.#questions.delete(question);
        const picked = reply.type === "ended" ? undefined : pick(reply);
        if (picked !== undefined) resolve(picked);
        else if (reply.type !== "error") reject(new QuestionFailed("ended", "the connection was lost"));
        else if (reply.code === "rate_limited" && tries < MOST_TRIES) {
          const wait = (reply.retry_after_ms ?? 0) + backoff(tries, this.#options.random());
          setTimeout(() => this.#ask(frame, pick, tries + 1).then(resolve, reject), wait);
        } else reject(new QuestionFailed(reply.code, reply.message, reply.retry_after_ms));
        this.#retire();
      });
    });
  }

  #linkFor(target: Target): Link | undefined {
    if ("room" in target) return this.#subscriptions.linkOf(target.room);
    // The echo of a direct message comes through the inbox: only there can a repeat be recognized.
    return this.#subscriptions.has(INBOX) ? this.#subscriptions.linkOf(INBOX) : this.#current;
  }

  #open(): void {
    clearTimeout(this.#timer);
    if (!this.#running || this.#attempt !== undefined) return;
    if (this.#current === undefined) this.#setStatus({ phase: "connecting", attempts: this.#attempts });
    if (this.#cookie !== undefined) this.#options.dropCookie(this.#cookie);
    this.#cookie = undefined;
    this.#attempt = new Link(this.#options.openSocket(this.#options.url), this.#options.token, {
      welcomed: (link, frame) => this.#welcomed(link, frame),
      received: (link, frame) => this.#received(link, frame),
      ended: (link, ending) => this.#ended(link, ending),
    });
  }

  #welcomed(link: Link, welcome: Welcome): void {
    this.#retiring?.close();
    this.#retiring = this.#current;
    this.#current = link;
    this.#attempt = undefined;
    this.#moving = false;
    if (this.#retiring !== undefined) {
      this.#retiringTimer = setTimeout(() => this.#retiring?.close(), RETIRING_WAIT);
    }
    this.#setStatus({ phase: "online", welcome, moving: false });
    this.#subscriptions.use(link);
    this.#publisher.flushAll();
    this.#retire();
  }

  /** Closes the old socket once all rooms are live on the new one and its answers are in. */
  #retire(): void {
    const link = this.#retiring;
    if (link === undefined || this.#current === undefined) return;
    const owes = this.#publisher.expects(link) || [...this.#questions].some((question) => question.link === link);
    if (!owes && this.#subscriptions.allOn(this.#current)) link.close();
  }

  #received(link: Link, frame: ServerFrame): void {
    if (frame.type === "reconnect") this.#move(link, frame);
    else this.#subscriptions.received(link, frame);
  }

  /** Gets ready to move: the new socket comes first, and the old one works until it is there. */
  #move(link: Link, frame: Reconnect): void {
    if (link !== this.#current || link.welcome === undefined) return;
    this.#moving = true;
    this.#setStatus({ phase: "online", welcome: link.welcome, moving: true });
    clearTimeout(this.#timer);
    this.#cookie = frame.elsewhere ? link.welcome.affinity_cookie : undefined;
    this.#timer = setTimeout(() => this.#open(), frame.after_ms);
  }

  #ended(link: Link, ending: Ending): void {
    this.#subscriptions.ended(link);
    if (link === this.#retiring) {
      clearTimeout(this.#retiringTimer);
      this.#retiring = undefined;
      this.#publisher.flushAll();
      return;
    }
    if (link.welcomedAt > 0 && Date.now() - link.welcomedAt >= LASTING) this.#attempts = 0;
    if (link === this.#attempt) this.#attempt = undefined;
    const lost = link === this.#current;
    if (lost) this.#current = undefined;
    if (!this.#running) return;
    const { reconnect, said } = this.#meaning(link, ending.code);
    if (!reconnect) {
      this.#stop({ phase: "stopped", why: ending.fault?.message ?? said, code: ending.code });
    } else if (lost && this.#attempt !== undefined) {
      // On the way to another instance already.
      this.#setStatus({ phase: "connecting", attempts: this.#attempts });
    } else if (this.#current === undefined || this.#attempt === undefined) {
      // A handshake that failed says nothing in a browser: ask why.
      if (ending.opened) this.#later(0, said);
      else void this.#options.probe(this.#options.url).then((answer) => this.#probed(answer));
    }
  }

  /** What a close code means for a link: one token that has expired twice will do so for ever. */
  #meaning(link: Link, code: number): CloseCode {
    const meaning = closeCode(code);
    if (code !== TOKEN_EXPIRED) return meaning;
    const same = link.token === this.#expired;
    this.#expired = link.token;
    return same ? { ...meaning, reconnect: false } : meaning;
  }

  #probed(answer: ProbeAnswer): void {
    if (!this.#running || this.#attempt !== undefined) return;
    if (answer.verdict === "refused") this.#stop({ phase: "stopped", why: answer.why });
    else this.#later(answer.after, answer.why);
  }

  /** Tries again after at least this many milliseconds and a random time that grows with every attempt. */
  #later(after: number, why: string): void {
    if (this.#attempt !== undefined) return;
    const wait = after + backoff(this.#attempts++, this.#options.random());
    if (this.#current === undefined) {
      this.#setStatus({ phase: "waiting", until: Date.now() + wait, attempts: this.#attempts, why });
    } else if (!this.#moving) {
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #stop(status: Status): void {
    this.#running = false;
    clearTimeout(this.#timer);
    for (const link of [this.#attempt, this.#current, this.#retiring]) link?.close();
    this.#attempt = this.#current = this.#retiring = undefined;
    this.#setStatus(status);
  }

  #setStatus(status: Status): void {
    this.#status = status;
    this.#emit({ type: "status", status });
  }

  #emit(event: ConnectionEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** 128 random bits. Not `randomUUID`, which browsers withhold from pages without TLS. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
