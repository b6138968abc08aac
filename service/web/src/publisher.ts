/**
 * Messages on their way to the server: kept until it is certain what became of them. One at a time for each room and user,
 * so that a refused message never overtakes the next; repeated under the same key, so that none is stored twice.
 */
import { backoff } from "./backoff.ts";
import type { ConnectionEvent, Failure, Target } from "./events.ts";
import type { Link, Reply } from "./link.ts";
import { bytes, type Fault, type Json, type Logged } from "./protocol.ts";

/** For this long the server remembers a key within one epoch, in milliseconds. */
export const KEY_MEMORY = 5 * 60_000;
/** Refusals in a row that are not final; then a person decides. */
const MOST_TRIES = 6;
/** The close code for a frame that the other side does not take. */
const TOO_BIG = 1009;

/** What the publisher needs of the connection that it belongs to. */
export interface PublisherOwner {
  emit(event: ConnectionEvent): void;
  /** The link on which something may be published to the target now. */
  linkFor(target: Target): Link | undefined;
  /** When continuity of the log that the target's messages come back in was last lost; 0 when never. */
  lostAt(target: Target): number;
  random(): number;
  /** A publish was settled on this link. */
  settled(link: Link): void;
}

interface Outgoing {
  readonly key: string;
  readonly target: Target;
  readonly msg: Json;
  state: "waiting" | "sending" | "failed";
  link: Link | undefined;
  /** The first time that it left, by the wall clock in milliseconds. */
  firstSent: number;
  /** Whether it may be stored although nothing says so. */
  perhaps: boolean;
  /** Whether it left before this program began, so that nobody has watched the log since. */
  readonly inherited: boolean;
  tries: number;
  again: ReturnType<typeof setTimeout> | undefined;
}

export class Publisher {
  readonly #owner: PublisherOwner;
  /** In the order in which they were written. */
  readonly #outgoing = new Map<string, Outgoing>();
  readonly #queued = new Set<string>();

  constructor(owner: PublisherOwner) {
    this.#owner = owner;
  }

  /**
   * Takes a message on. It leaves as soon as its room is live, and stays here until its fate is known.
   *
   * @param sentAt when it left for the first time, if it has before this program began, in milliseconds since 1970; else 0.
   * @param failure why it had failed by then: it waits for a {@link retry}.
   */
  publish(target: Target, msg: Json, key: string, sentAt: number, failure?: Failure): void {
    const outgoing: Outgoing = {
      key,
      target,
      msg,
      state: "waiting",
      link: undefined,
      firstSent: sentAt,
      perhaps: sentAt > 0,
      inherited: sentAt > 0,
      tries: 0,
      again: undefined,
    };
    this.#outgoing.set(key, outgoing);
    if (failure !== undefined) {
      this.#fail(outgoing, failure);
      return;
    }
    this.#tell(outgoing);
    this.flush(laneOf(target));
  }

  /** Sends a failed message again, under the same key. */
  retry(key: string): void {
    const outgoing = this.#outgoing.get(key);
    if (outgoing?.state !== "failed") return;
    outgoing.tries = 0;
    // A person has been asked where it was not certain.
    if (this.#isRisky(outgoing)) outgoing.firstSent = 0;
    this.#wait(outgoing);
    this.flush(laneOf(outgoing.target));
  }

  /** Forgets a message that is not stored yet: it is not sent any more. One that has left may arrive all the same. */
  discard(key: string): void {
    const outgoing = this.#outgoing.get(key);
    if (outgoing === undefined) return;
    clearTimeout(outgoing.again);
    this.#outgoing.delete(key);
    this.flush(laneOf(outgoing.target));
  }

  /** Messages that are neither stored nor failed. */
  get underWay(): number {
    return [...this.#outgoing.values()].filter((outgoing) => outgoing.state !== "failed").length;
  }

  /** Whether an answer is still expected on this link. */
  expects(link: Link): boolean {
    return [...this.#outgoing.values()].some((outgoing) => outgoing.state === "sending" && outgoing.link === link);
  }

  /** Takes in a message of a log: it may be one of ours. */
  seen(message: Logged): void {
    if (message.key !== undefined) this.#settle(message.key, message.at);
  }

  /** Sends the next message of a lane (see {@link laneOf}), if it may leave. */
  flush(lane: string): void {
    for (const outgoing of this.#outgoing.values()) {
      if (laneOf(outgoing.target) !== lane || outgoing.state === "failed") continue;
      if (outgoing.state === "waiting" && outgoing.again === undefined) this.#send(outgoing);
      return;
    }
  }

  /** Sends whatever may leave now. */
  flushAll(): void {
    for (const outgoing of this.#outgoing.values()) this.#queued.add(laneOf(outgoing.target));
    for (const lane of this.#queued) this.flush(lane);
    this.#queued.clear();
  }

  /** Gives up what was meant for a room that is not there any more. */
  gone(room: string, reason: string): void {
    for (const outgoing of this.#outgoing.values()) {
      if (!("room" in outgoing.target) || outgoing.target.room !== room || outgoing.state === "failed") continue;
      const message = reason === "kicked" ? "You were removed from this room." : "You are not in this room any more.";
      this.#fail(outgoing, { code: "left", message, perhapsStored: outgoing.perhaps });
    }
  }

  /** Stops all timers. */
  stop(): void {
    for (const outgoing of this.#outgoing.values()) clearTimeout(outgoing.again);
  }

  #send(outgoing: Outgoing): void {
    const link = this.#owner.linkFor(outgoing.target);
    if (link === undefined || link.ended) return;
    if (this.#isRisky(outgoing)) {
      const message = "It was never confirmed, and may have arrived all the same.";
      this.#fail(outgoing, { code: "outcome_unknown", message, perhapsStored: true });
      return;
    }
    const [size, most] = [bytes(JSON.stringify(outgoing.msg)), link.welcome?.limits.message_bytes ?? Number.POSITIVE_INFINITY];
    if (size > most) {
      // Sent, it could end the connection of all the others.
      const message = `It has ${size} bytes, and ${most} are allowed.`;
      this.#fail(outgoing, { code: "message_too_large", message, perhapsStored: outgoing.perhaps });
      return;
    }
    outgoing.state = "sending";
    outgoing.link = link;
    outgoing.firstSent ||= Date.now();
    this.#tell(outgoing);
    const { key, target, msg } = outgoing;
    link.ask({ type: "chat", ...target, msg, key }, (reply) => {
      // Its echo may have been here first.
      const open = this.#outgoing.get(key) === outgoing && outgoing.link === link;
      if (open) this.#answered(outgoing, reply);
      this.#owner.settled(link);
    });
  }

  /**
   * Whether sending it again might double it: it has left, the server's memory of the key has passed, and the room has lost
   * continuity since (or was not watched), so that it could be in the log without having come back.
   */
  #isRisky(outgoing: Outgoing): boolean {
    if (!outgoing.perhaps || outgoing.firstSent === 0) return false;
    const old = Date.now() - outgoing.firstSent > KEY_MEMORY;
    return old && (outgoing.inherited || this.#owner.lostAt(outgoing.target) > outgoing.firstSent);
  }

  #answered(outgoing: Outgoing, reply: Reply): void {
    switch (reply.type) {
      case "ack":
        this.#settle(outgoing.key, reply.at);
        break;
      case "error":
        this.#refused(outgoing, reply);
        break;
      default:
        outgoing.perhaps = true;
        if (reply.type === "ended" && reply.code === TOO_BIG) {
          // Sent again by itself, it would end every connection to come.
          const message = "The server hung up on something too large, which may have been this.";
          this.#fail(outgoing, { code: "message_too_large", message, perhapsStored: true });
          return;
        }
        this.#wait(outgoing);
    }
  }

  #refused(outgoing: Outgoing, fault: Fault): void {
    outgoing.perhaps ||= fault.code === "outcome_unknown";
    const limited = fault.code === "rate_limited";
    const again = limited || ["unavailable", "outcome_unknown", "not_joined"].includes(fault.code);
    if (!limited) outgoing.tries++;
    if (!again || outgoing.tries >= MOST_TRIES) {
      const { code, message } = fault;
      this.#fail(outgoing, { code, message, perhapsStored: outgoing.perhaps });
      return;
    }
    this.#wait(outgoing);
    const wait = limited ? 0 : 200 + backoff(outgoing.tries, this.#owner.random());
    outgoing.again = setTimeout(
      () => {
        outgoing.again = undefined;
        this.flush(laneOf(outgoing.target));
      },
      (fault.retry_after_ms ?? 0) + wait,
    );
  }

  #wait(outgoing: Outgoing): void {
    outgoing.state = "waiting";
    outgoing.link = undefined;
    this.#tell(outgoing);
  }

  #fail(outgoing: Outgoing, failure: Failure): void {
    clearTimeout(outgoing.again);
    outgoing.again = undefined;
    outgoing.state = "failed";
    outgoing.link = undefined;
    const { key, target, msg } = outgoing;
    this.#owner.emit({ type: "publish", key, target, msg, progress: { state: "failed", failure } });
    this.flush(laneOf(target));
  }

  #settle(key: string, at: number): void {
    const outgoing = this.#outgoing.get(key);
    if (outgoing === undefined) return;
    clearTimeout(outgoing.again);
    this.#outgoing.delete(key);
    const { target, msg } = outgoing;
    this.#owner.emit({ type: "publish", key, target, msg, progress: { state: "sent", at } });
    this.flush(laneOf(target));
  }

  #tell({ key, target, msg, state }: Outgoing): void {
    if (state === "failed") return;
    this.#owner.emit({ type: "publish", key, target, msg, progress: { state } });
  }
}

/** What keeps its order: a room, or one user's direct messages. Names of rooms never begin with `@`. */
export function laneOf(target: Target): string {
  return "room" in target ? target.room : `@${target.to}`;
}
