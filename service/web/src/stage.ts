/**
 * For tests: a server in memory, and who comes to it: bare connections, whose events are kept, and visitors with a chat and
 * a browser that remembers. Time is moved by hand.
 */
import { afterEach, beforeEach, vi } from "vitest";
import { Chat } from "./chat.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import type { ConnectionEvent } from "./events.ts";
import { FakeServer } from "./fakeServer.ts";
import { Memory, type Store } from "./memory.ts";
import type { ClientFrame, Logged } from "./protocol.ts";
import type { RoomState } from "./room.ts";

/** Lets everything happen that needs no time. */
export const settle = () => vi.advanceTimersByTimeAsync(0);
/** Lets so many milliseconds pass. */
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

export function store(): Store {
  const values = new Map<string, string>();
  return {
    getItem: (name) => values.get(name) ?? null,
    setItem: (name, value) => void values.set(name, value),
    removeItem: (name) => void values.delete(name),
  };
}

function options(server: FakeServer, user: string, dropped: string[] = []): ConnectionOptions {
  return {
    url: "ws://parley.test/ws",
    token: () => user,
    openSocket: server.open,
    probe: () => Promise.resolve({ verdict: "again", after: 0, why: "gone" }),
    dropCookie: (name) => dropped.push(name),
    random: () => 0.5,
  };
}

/** A connection, and all that it has told. */
export class Caller {
  readonly connection: Connection;
  readonly events: ConnectionEvent[] = [];
  /** The names of the cookies that were dropped. */
  readonly dropped: string[] = [];

  constructor(server: FakeServer, user: string) {
    this.connection = new Connection(options(server, user, this.dropped));
    this.connection.subscribe((event) => this.events.push(event));
  }

  of<T extends ConnectionEvent["type"]>(type: T): Extract<ConnectionEvent, { type: T }>[] {
    return this.events.filter((event): event is Extract<ConnectionEvent, { type: T }> => event.type === type);
  }

  /** The messages of a room that were told, in order. */
  heard(room = "general"): unknown[] {
    const messages = this.events.flatMap((event): readonly Logged[] => {
      if (event.type === "joined" && event.room === room) return event.messages;
      return event.type === "message" && event.message.room === room ? [event.message] : [];
    });
    return messages.map(({ msg }) => msg);
  }
}

/** Somebody with a browser. */
export class Visitor {
  readonly chat: Chat;
  readonly connection: Connection;

  constructor(server: FakeServer, user: string, stores: readonly [Store, Store]) {
    const [lasting, tab] = stores;
    this.connection = new Connection(options(server, user));
    this.chat = new Chat({ connection: this.connection, memory: new Memory(() => lasting, () => tab) });
  }

  room(id = "general"): RoomState {
    const room = this.chat.state.conversations.get(id);
    if (room === undefined) throw new Error(`there is no ${id}`);
    return room;
  }

  /** What one reads, with gaps as bars; last what is on its way. */
  shown(id = "general"): unknown[] {
    const { entries, pending } = this.room(id);
    return [...entries.map((entry) => (entry.kind === "gap" ? "|" : entry.msg)), ...pending.map(({ msg }) => msg)];
  }
}

export class Stage {
  server = new FakeServer();
  #stops: (() => void)[] = [];
  #stores: readonly [Store, Store] = [store(), store()];

  begin(): void {
    vi.useFakeTimers();
    this.server = new FakeServer();
    this.#stores = [store(), store()];
  }

  end(): void {
    for (const stop of this.#stops) stop();
    this.#stops = [];
    vi.useRealTimers();
  }

  /** Connects, and is in these rooms. */
  async call(user: string, ...rooms: string[]): Promise<Caller> {
    const caller = new Caller(this.server, user);
    this.#stops.push(() => caller.connection.stop());
    for (const room of rooms) caller.connection.join(room);
    caller.connection.start();
    await settle();
    return caller;
  }

  /** Opens the page; the same browser for every visit. */
  async visit(user: string): Promise<Visitor> {
    const visitor = new Visitor(this.server, user, this.#stores);
    this.#stops.push(() => visitor.chat.stop());
    visitor.connection.start();
    await settle();
    return visitor;
  }

  /** What clients have sent, of one type. */
  sent<T extends ClientFrame["type"]>(type: T): Extract<ClientFrame, { type: T }>[] {
    return this.server.received.filter((frame): frame is Extract<ClientFrame, { type: T }> => frame.type === type);
  }
}

/** A stage that is new for every test of the file. */
export function stage(): Stage {
  const scene = new Stage();
  beforeEach(() => scene.begin());
  afterEach(() => scene.end());
  return scene;
}
