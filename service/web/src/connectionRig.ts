/** What the tests of a connection share: one against a server that has bad days, and all that it was told. Time is moved by hand. */
import { afterEach, beforeEach, vi } from "vitest";
import { Connection, type ConnectionOptions } from "./connection.ts";
import type { ConnectionEvent, Progress } from "./events.ts";
import { FakeServer } from "./fakeServer.ts";
import type { ProbeAnswer } from "./probe.ts";
import type { Logged } from "./protocol.ts";

export let server: FakeServer;
export let connection: Connection;
export let events: ConnectionEvent[];
/** What the next questions over HTTP are answered. */
export let probes: ProbeAnswer[];
/** The cookies that were dropped. */
export let dropped: string[];

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  events = [];
  probes = [];
  dropped = [];
});

afterEach(() => {
  connection.stop();
  vi.useRealTimers();
});

/** Lets everything happen that needs no time. */
export const settle = () => vi.advanceTimersByTimeAsync(0);
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

export async function connect(options: Partial<ConnectionOptions> = {}): Promise<void> {
  connection = new Connection({
    url: "ws://parley.test/ws",
    token: () => "alice",
    openSocket: server.open,
    probe: () => Promise.resolve(probes.shift() ?? { verdict: "again", after: 0, why: "gone" }),
    dropCookie: (name) => dropped.push(name),
    random: () => 0.5,
    ...options,
  });
  connection.subscribe((event) => events.push(event));
  connection.start();
  await settle();
}

export const of = <T extends ConnectionEvent["type"]>(type: T) =>
  events.filter((event): event is Extract<ConnectionEvent, { type: T }> => event.type === type);
/** The messages of a room that the listener was told, in order. */
export const heard = (room = "general"): unknown[] =>
  events.flatMap((event): readonly Logged[] => {
    if (event.type === "joined" && event.room === room) return event.messages;
    return event.type === "message" && event.message.room === room ? [event.message] : [];
  }).map(({ msg }) => msg);
export const progress = (key: string): Progress | undefined => of("publish").findLast((event) => event.key === key)?.progress;
export const sent = (type: string) => server.received.filter((frame) => frame.type === type);
