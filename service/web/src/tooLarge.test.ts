/** Messages that are too large for the server: each fails alone, and takes nothing and nobody along. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chat } from "./chat.ts";
import { excess } from "./components/Composer.tsx";
import { Connection } from "./connection.ts";
import type { ConnectionEvent, Progress } from "./events.ts";
import { FakeServer } from "./fakeServer.ts";
import { Memory, type Store } from "./memory.ts";

const general = { room: "general" };
/** Short as a text and six times as long in JSON: over `message_bytes`, and over `frame_bytes`. */
const controls = "\u0001".repeat(16_000);

let server: FakeServer;
let store: Store;
let chats: Chat[];
/** How far each message has come. */
let progress: Map<string, Progress>;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  const values = new Map<string, string>();
  store = {
    getItem: (name) => values.get(name) ?? null,
    setItem: (name, value) => void values.set(name, value),
    removeItem: (name) => void values.delete(name),
  };
  chats = [];
  progress = new Map();
});

afterEach(() => {
  for (const chat of chats) chat.stop();
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Somebody opens the page, in the tab that is always the same. */
async function visit(): Promise<{ connection: Connection; chat: Chat }> {
  const connection = new Connection({
    url: "ws://parley.test/ws",
    token: () => "alice",
    openSocket: server.open,
    probe: () => Promise.resolve({ verdict: "again", after: 0, why: "gone" }),
    random: () => 0.5,
  });
  connection.subscribe((event: ConnectionEvent) => {
    if (event.type === "publish") progress.set(event.key, event.progress);
  });
  const chat = new Chat({ connection, memory: new Memory(() => store, () => store) });
  chats.push(chat);
  connection.start();
  await settle();
  return { connection, chat };
}

/** From now on the server hangs up on every publish of this text, whatever it has told of its limits. */
function hangUpOn(text: string): void {
  const { answer } = server;
  server.answer = (socket, frame) => {
    if (frame.type === "chat" && frame.msg === text) socket.end(1009);
    else answer.call(server, socket, frame);
  };
}

const published = () => server.received.filter(({ type }) => type === "chat").length;
const pending = (chat: Chat) => chat.state.conversations.get("general")?.pending ?? [];

describe("the field", () => {
  it.each([
    ["plain text", "a".repeat(98), 100, 0],
    ["plain text, one more", "a".repeat(99), 100, 1],
    ["letters of two bytes", "ä".repeat(50), 100, 2],
    ["control characters, six bytes each", "\u0001".repeat(17), 100, 4],
    ["control characters that just fit", "\u0001".repeat(16), 98, 0],
    ["quotes, two bytes each", '"'.repeat(50), 100, 2],
    ["a paste of control characters", controls, 32_768, 63_234],
  ])("measures %s as the server does", (_, text, most, over) => {
    expect(excess(text, most)).toBe(over);
  });
});

describe("a publish over the limit", () => {
  it("fails without being sent, and the next one is not held up", async () => {
    const { connection } = await visit();
    connection.publish(general, controls, "k1");
    connection.publish(general, "next", "k2");
    await settle();
    const failure = { code: "message_too_large", message: "It has 96002 bytes, and 32768 are allowed.", perhapsStored: false };
    expect(progress.get("k1")).toEqual({ state: "failed", failure });
    expect([server.texts("general"), published(), connection.status.phase]).toEqual([["next"], 1, "online"]);
  });

  it("is sent up to the last byte", async () => {
    const { connection } = await visit();
    connection.publish(general, "a".repeat(32_766), "k1");
    connection.publish(general, "a".repeat(32_767), "k2");
    await settle();
    expect([progress.get("k1")?.state, progress.get("k2")?.state]).toEqual(["sent", "failed"]);
  });
});

describe("a message that was under way when the server hung up on something too large", () => {
  it("has failed, and is not sent again by coming back", async () => {
    const { connection } = await visit();
    hangUpOn("large");
    connection.publish(general, "large", "k1");
    await settle();
    expect(connection.status).toMatchObject({ phase: "stopped", code: 1009 });
    expect(progress.get("k1")).toMatchObject({ state: "failed", failure: { code: "message_too_large", perhapsStored: true } });
    connection.publish(general, "next", "k2");
    connection.start();
    await pass(1_000);
    expect([server.texts("general"), connection.status.phase]).toEqual([["next"], "online"]);
  });

  it("is shown as failed on the next visit, too, until somebody decides", async () => {
    const first = await visit();
    hangUpOn("large");
    first.chat.send("general", "large");
    await settle();
    first.chat.stop();

    const second = await visit();
    await pass(10_000);
    expect([second.connection.status.phase, published()]).toEqual(["online", 1]);
    expect(pending(second.chat)).toMatchObject([{ msg: "large", progress: { state: "failed", failure: { perhapsStored: true } } }]);
    second.chat.discard("general", pending(second.chat)[0]?.key ?? "");
    second.chat.stop();

    const third = await visit();
    expect(pending(third.chat)).toEqual([]);
  });

  it("is sent again when somebody says so", async () => {
    const first = await visit();
    hangUpOn("large");
    first.chat.send("general", "large");
    await settle();
    first.chat.stop();
    server.answer = FakeServer.prototype.answer;
    const second = await visit();
    second.chat.retry(pending(second.chat)[0]?.key ?? "");
    await settle();
    expect([server.texts("general"), pending(second.chat)]).toEqual([["large"], []]);
  });

  it("is gone when it had been stored after all", async () => {
    const first = await visit();
    const { answer } = server;
    server.answer = (socket, frame) => {
      if (frame.type !== "chat") return answer.call(server, socket, frame);
      // The frame behind it was the large one.
      socket.closed = true;
      answer.call(server, socket, frame);
      socket.closed = false;
      socket.end(1009);
    };
    first.chat.send("general", "small");
    await settle();
    expect(pending(first.chat)).toMatchObject([{ progress: { state: "failed" } }]);
    first.chat.stop();
    const second = await visit();
    expect([server.texts("general"), pending(second.chat)]).toEqual([["small"], []]);
  });
});
