/**
 * The rooms that a client wants to be in: joining, resuming on every new link, and dropping what it has seen. Of two
 * links it believes the one on which the room became live last. It opens no links.
 */
import { backoff } from "./backoff.ts";
import type { ConnectionEvent } from "./events.ts";
import type { Link, Reply } from "./link.ts";
import type { Joined, Logged, Position, ServerFrame } from "./protocol.ts";

/** What subscriptions need of the connection that they belong to. */
export interface SubscriptionsOwner {
  emit(event: ConnectionEvent): void;
  /** A message that is new to this client, before anybody is told. */
  seen(message: Logged): void;
  /** The room is live on its link. */
  live(room: string): void;
  /** The room is not wanted any more. */
  gone(room: string, reason: string): void;
  random(): number;
}

interface Subscription {
  readonly room: string;
  /** How many of the newest messages to ask for when there is no position. */
  readonly history: number;
  position: Position | undefined;
  /** The link whose words about this room count: it is live there. */
  link: Link | undefined;
  /** The link on which a join is under way. */
  asking: Link | undefined;
  attempts: number;
  again: ReturnType<typeof setTimeout> | undefined;
  /** When continuity was last lost, by the wall clock in milliseconds. */
  lostAt: number;
}

export class Subscriptions {
  readonly #owner: SubscriptionsOwner;
  readonly #rooms = new Map<string, Subscription>();
  #link: Link | undefined;

  constructor(owner: SubscriptionsOwner) {
    this.#owner = owner;
  }

  /** Joins a room now, and again on every link to come. A room that is there already is left as it is. */
  add(room: string, history: number, position?: Position): void {
    if (this.#rooms.has(room)) return;
    const subscription: Subscription = {
      room,
      history,
      position,
      link: undefined,
      asking: undefined,
      attempts: 0,
      again: undefined,
      lostAt: 0,
    };
    this.#rooms.set(room, subscription);
    this.#join(subscription);
  }

  /** Leaves a room. Without a link nothing is sent: the next one will not join it. */
  remove(room: string): void {
    const subscription = this.#rooms.get(room);
    if (subscription === undefined) return;
    (subscription.asking ?? subscription.link)?.send({ type: "leave", room });
    this.#forget(subscription, "left");
    this.#owner.emit({ type: "left", room });
  }

  /** Resumes every room on a new link. The old one is believed until a room is live on this one. */
  use(link: Link): void {
    this.#link = link;
    for (const subscription of this.#rooms.values()) this.#join(subscription);
  }

  /** Takes in that a link has ended. */
  ended(link: Link): void {
    if (this.#link === link) this.#link = undefined;
    for (const subscription of this.#rooms.values()) {
      if (subscription.link === link) subscription.link = undefined;
      if (subscription.asking === link) subscription.asking = undefined;
    }
  }

  /** The link on which a room is live. */
  linkOf(room: string): Link | undefined {
    const link = this.#rooms.get(room)?.link;
    return link?.ended === true ? undefined : link;
  }

  /** All rooms that are wanted, live or not. */
  get wanted(): readonly string[] {
    return [...this.#rooms.keys()];
  }

  has(room: string): boolean {
    return this.#rooms.has(room);
  }

  /** Up to where a room was received. */
  positionOf(room: string): Position | undefined {
    return this.#rooms.get(room)?.position;
  }

  /** When continuity of a room was last lost, in milliseconds since 1970; 0 when never. */
  lostAt(room: string): number {
    return this.#rooms.get(room)?.lostAt ?? 0;
  }

  /** Whether every room is live on this link. */
  allOn(link: Link): boolean {
    return [...this.#rooms.values()].every((subscription) => subscription.link === link);
  }

  /** Takes a frame that was not the reply to a question. */
  received(link: Link, frame: ServerFrame): void {
    if (!("room" in frame)) return;
    const subscription = this.#rooms.get(frame.room);
    if (subscription === undefined || subscription.link !== link) return;
    switch (frame.type) {
      case "message":
      case "direct":
        this.#take(subscription, frame);
        break;
      case "joined":
        if (frame.offset > (subscription.position?.offset ?? 0)) {
          this.#behind(subscription);
          return;
        }
        subscription.position = { epoch: frame.epoch, offset: frame.offset };
        this.#owner.emit({ type: "epoch", room: frame.room, position: subscription.position });
        break;
      case "gap":
        this.#lose(subscription, { epoch: frame.epoch, offset: frame.offset });
        break;
      case "left":
        // A join that is under way, perhaps elsewhere, would bring it back behind the person's back.
        subscription.asking?.send({ type: "leave", room: frame.room });
        this.#forget(subscription, frame.reason ?? "left");
        this.#owner.emit({ type: "left", room: frame.room, reason: frame.reason ?? "left" });
        break;
      case "presence":
        if ("event" in frame) this.#owner.emit({ type: "presence", event: frame });
        break;
      case "signal":
        this.#owner.emit({ type: "signal", signal: frame });
        break;
      default:
        break;
    }
  }

  #join(subscription: Subscription): void {
    const link = this.#link;
    if (link === undefined || link.ended) return;
    clearTimeout(subscription.again);
    subscription.asking = link;
    const { room, position: since, history } = subscription;
    const from = since === undefined ? (history > 0 ? { history } : {}) : { since };
    link.ask({ type: "join", room, ...from }, (reply) => {
      const current = this.#rooms.get(room) === subscription && subscription.asking === link;
      if (current) this.#answered(subscription, link, reply, since);
    });
  }

  #answered(subscription: Subscription, link: Link, reply: Reply, since: Position | undefined): void {
    if (reply.type === "joined") {
      this.#joined(subscription, link, reply, since);
    } else if (reply.type === "error") {
      if (["rate_limited", "unavailable", "not_joined"].includes(reply.code)) {
        const wait = (reply.retry_after_ms ?? 0) + 100 + backoff(subscription.attempts++, this.#owner.random());
        subscription.again = setTimeout(() => this.#join(subscription), wait);
      } else {
        this.#forget(subscription, reply.code);
        const { code, message } = reply;
        this.#owner.emit({ type: "refused", room: subscription.room, code, message });
      }
    }
  }

  #joined(subscription: Subscription, link: Link, frame: Joined, since: Position | undefined): void {
    const before = subscription.position;
    if (before !== since && !(frame.recovered && before?.epoch === frame.epoch)) {
      // The link before this one has moved on meanwhile, in another epoch: the answer is about a place that one is not at.
      this.#join(subscription);
      return;
    }
    const position = { epoch: frame.epoch, offset: frame.offset };
    const { room } = subscription;
    const live = !frame.more;
    subscription.attempts = 0;
    if (live) {
      subscription.link = link;
      subscription.asking = undefined;
    } else if (subscription.link === link) {
      subscription.link = undefined;
    }
    if (before !== undefined && !frame.recovered) {
      this.#lose(subscription, position);
      this.#owner.emit({ type: "joined", room, position, messages: [], first: false, live });
    } else {
      const messages = frame.messages.filter((message) => message.offset > (before?.offset ?? 0));
      // The link before this one may have been ahead of the replay.
      const ahead = before?.epoch === position.epoch && before.offset > position.offset;
      subscription.position = ahead ? before : position;
      for (const message of messages) this.#owner.seen(message);
      const first = before === undefined;
      this.#owner.emit({ type: "joined", room, position: subscription.position, messages, first, live });
    }
    if (live) this.#owner.live(room);
    else this.#join(subscription);
  }

  #take(subscription: Subscription, message: Logged): void {
    const { position } = subscription;
    if (position === undefined || message.offset <= position.offset) return;
    if (message.offset > position.offset + 1) {
      this.#behind(subscription);
      return;
    }
    subscription.position = { epoch: position.epoch, offset: message.offset };
    this.#owner.seen(message);
    this.#owner.emit({ type: "message", message });
  }

  /** Something is missing before what came: the log has both. Where a join is under way, it brings them. */
  #behind(subscription: Subscription): void {
    if (subscription.asking === undefined) this.#join(subscription);
  }

  #lose(subscription: Subscription, position: Position): void {
    subscription.position = position;
    subscription.lostAt = Date.now();
    this.#owner.emit({ type: "gap", room: subscription.room, position });
  }

  #forget(subscription: Subscription, reason: string): void {
    clearTimeout(subscription.again);
    this.#rooms.delete(subscription.room);
    this.#owner.gone(subscription.room, reason);
  }
}
