/**
 * Whatever happens, in any order: what the server still has is shown once and in its order. Days of bad luck are drawn from
 * seeds, and a failure names its seed and what happened.
 */
import { expect, it, vi } from "vitest";
import type { FakeServer, FakeSocket } from "./fakeServer.ts";
import type { Entry, MessageEntry } from "./room.ts";
import { pass, stage, type Visitor } from "./stage.ts";

const scene = stage();
const SEEDS = Number(process.env["SEEDS"] ?? 60);
const FIRST = Number(process.env["SEED"] ?? 1);
const STEPS = 60;
/** What is in the server's hands, and the conversation in which Alice sees it. */
const LOGS = { general: "general", plans: "plans", "@me alice": "@bob" } as const;
type LogName = keyof typeof LOGS;

/** Numbers from 0 up to, but not including, 1, the same for the same seed (mulberry32). */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A server that answers late, and refuses for a while; it keeps the promises on joins that are overtaken. */
class Moods {
  slowness = 0;
  refusals = 0;
  readonly #late = new Map<string, () => void>();

  constructor(server: FakeServer, random: () => number) {
    const { answer } = server;
    const numbers = new WeakMap<FakeSocket, number>();
    let sockets = 0;
    server.answer = (socket, frame) => {
      if (!numbers.has(socket)) numbers.set(socket, ++sockets);
      const fault = (code: string) =>
        socket.tell({ type: "error", code, message: code, retry_after_ms: 100, ...(frame.id !== undefined && { id: frame.id }) });
      const refused = ["join", "history", "presence", "rooms", "chat"].includes(frame.type) && random() < this.refusals;
      const place = `${numbers.get(socket)} ${"room" in frame ? frame.room : ""}`;
      const moves = frame.type === "join" || frame.type === "leave";
      if (moves) this.#late.get(place)?.();
      if (refused) return fault(random() < 0.5 ? "rate_limited" : "unavailable");
      if (frame.type === "leave" || this.slowness === 0) return answer.call(server, socket, frame);
      const timer = setTimeout(
        () => {
          if (moves) this.#late.delete(place);
          if (!socket.closed) answer.call(server, socket, frame);
        },
        Math.floor(random() * this.slowness),
      );
      if (!moves) return;
      this.#late.set(place, () => {
        clearTimeout(timer);
        this.#late.delete(place);
        fault("not_joined");
      });
    };
  }
}

/** One day. Gives what happened. */
async function live(seed: number): Promise<{ alice: Visitor; happened: string[] }> {
  const random = chance(seed);
  vi.spyOn(Math, "random").mockImplementation(random);
  const { server } = scene;
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
  const upTo = (most: number) => Math.floor(random() * (most + 1));
  const names = Object.keys(LOGS) as LogName[];
  // Mishaps meet when they have one room in common.
  const some = () => (random() < 0.6 ? "general" : pick(names));
  let said = 0;
  const say = (log: LogName) => {
    if (log === "@me alice") server.whisper("bob", "alice", `${++said}`);
    else server.say(log, "bob", `${++said}`);
  };
  for (const log of names) for (let n = upTo(200); n > 0; n--) say(log);
  const moods = new Moods(server, random);
  const alice = await scene.visit("alice");
  alice.chat.show("@bob");
  alice.chat.show("plans");
  await pass(upTo(100));
  const happened: string[] = [];

  const later = (run: () => void) => {
    const ms = upTo(4_000);
    setTimeout(run, ms);
    return `for ${ms} ms`;
  };
  const joinAgain = () => {
    for (const id of ["general", "plans"]) if (alice.room(id).phase === "left") alice.chat.show(id);
  };
  const events: Record<string, () => string | void> = {
    said: () => {
      const [log, times] = [some(), 1 + upTo(random() < 0.1 ? 400 : 4)];
      for (let n = 0; n < times; n++) say(log);
      return `${log} ${times}`;
    },
    "sent by Alice": () => {
      const id = LOGS[some()];
      alice.chat.send(id, `by Alice ${++said}`);
      return id;
    },
    cut: () => server.cut(),
    down: () => {
      server.down = true;
      if (random() < 0.5) server.cut();
      return later(() => (server.down = false));
    },
    hanging: () => {
      server.hangs = true;
      return later(() => (server.hangs = false));
    },
    slow: () => {
      moods.slowness = 800;
      return later(() => (moods.slowness = 0));
    },
    refusing: () => {
      moods.refusals = 0.5 + random() / 2;
      return later(() => (moods.refusals = 0));
    },
    moving: () => {
      for (const socket of server.live) socket.tell({ type: "reconnect", reason: "drain", after_ms: upTo(300), elsewhere: false });
    },
    failover: () => {
      const [log, lost] = [some(), upTo(3)];
      server.failover(log, { lost });
      return `${log} ${lost}`;
    },
    flushed: () => {
      const log = some();
      if (random() < 0.3) server.lose(log);
      return log;
    },
    "too old": () => {
      const log = some();
      server.log(log).messages.splice(0, upTo(50));
      return log;
    },
    kicked: () => {
      const room = random() < 0.7 ? "general" : "plans";
      for (const socket of server.live) if (socket.rooms.delete(room)) socket.tell({ type: "left", room, reason: "kicked" });
      return `${room}, joined again ${later(joinAgain).replace("for", "after")}`;
    },
    "lost on the way": () => {
      const [socket] = server.live;
      const log = some();
      const member = socket?.rooms.delete(log);
      say(log);
      if (member === true) socket?.rooms.add(log);
      return log;
    },
    garbled: () => server.live.at(-1)?.onmessage?.({ data: '{"type":"message"}' }),
    "scrolled up": () => {
      const id = LOGS[some()];
      void alice.chat.loadOlder(id);
      return id;
    },
    "time passed": () => {},
  };
  for (let step = 0; step < STEPS; step++) {
    const name = random() < 0.25 ? "said" : pick(Object.keys(events));
    const detail = events[name]?.();
    const ms = upTo(random() < 0.1 ? 10_000 : 400);
    happened.push(`${name}${detail === undefined ? "" : ` ${detail}`}, ${ms} ms`);
    await pass(ms);
  }

  // And then all is well again.
  await pass(120_000);
  joinAgain();
  await pass(60_000);
  for (const log of names) say(log);
  await pass(60_000);
  for (const id of Object.values(LOGS)) {
    for (let pages = 0; pages < 50 && ["more", "failed"].includes(alice.room(id).older); pages++) {
      await Promise.all([alice.chat.loadOlder(id), pass(1)]);
    }
  }
  return { alice, happened };
}

const isMessage = (entry: Entry): entry is MessageEntry => entry.kind === "message";

/** What is wrong with what Alice sees of a log; nothing, if nothing is. */
function faults(alice: Visitor, log: LogName): string[] {
  const room = alice.room(LOGS[log]);
  const lines = room.entries.filter(isMessage);
  const found: string[] = [];
  // No two messages were written at one time here.
  const at = new Map(lines.map((line, index) => [line.at, index]));
  if (at.size !== lines.length) found.push("a message is shown twice");
  if (new Set(room.entries.map(({ uid }) => uid)).size !== room.entries.length) found.push("two lines have one identity");
  const kept = scene.server.log(log).messages;
  const shown = kept.flatMap((message) => at.get(message.at) ?? []);
  if (shown.some((index, n) => n > 0 && index <= (shown[n - 1] ?? 0))) found.push("the order is another");
  let last: MessageEntry | undefined;
  for (const entry of room.entries) {
    if (isMessage(entry) && last !== undefined && entry.offset <= last.offset) found.push(`${entry.offset} stands below ${last.offset}`);
    last = isMessage(entry) ? entry : undefined;
  }
  const missing = kept.filter((message) => !at.has(message.at)).map(({ msg }) => String(msg));
  if (missing.length > 0) found.push(`missing: ${missing.join()}; shown: ${alice.shown(LOGS[log]).join()}; kept: ${kept.map(({ msg }) => String(msg)).join()}`);
  if (room.phase !== "live") found.push(`it is ${room.phase}`);
  if (room.older !== "end") found.push(`the beginning is ${room.older}`);
  // One that was acked and lost before it came back stands there as sent: nobody can tell it from one that is on its way back.
  const isLost = (key: string) => !kept.some((message) => message.key === key);
  const unsettled = room.pending.filter(({ key, progress: { state } }) => state !== "failed" && !(state === "sent" && isLost(key)));
  if (unsettled.length > 0) found.push(`not settled: ${unsettled.map(({ msg, progress }) => `${String(msg)} (${progress.state})`).join()}`);
  const members = scene.server.live.filter((socket) => socket.rooms.has(log)).length;
  if (members !== 1) found.push(`the server has ${members} members`);
  return found;
}

it.each(Array.from({ length: SEEDS }, (_, at) => FIRST + at))("all that is kept is shown once and in order, whatever happens (seed %i)", async (seed) => {
  const { alice, happened } = await live(seed);
  const wrong = Object.fromEntries((Object.keys(LOGS) as LogName[]).map((log) => [log, faults(alice, log)]));
  expect(wrong, happened.join("\n")).toEqual({ general: [], plans: [], "@me alice": [] });
}, 30_000);
