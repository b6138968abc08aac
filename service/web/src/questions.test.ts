/** What becomes of questions that come too soon, or that are open when the connection moves. */
import { describe, expect, it } from "vitest";
import type { QuestionFailed } from "./connection.ts";
import type { FakeSocket } from "./fakeServer.ts";
import type { ClientFrame } from "./protocol.ts";
import { pass, settle, stage } from "./stage.ts";

const scene = stage();

/** Answers the next questions of a type with `rate_limited`; tells how often it was asked in all. */
function refuse(type: ClientFrame["type"], times: number): () => number {
  const { server } = scene;
  const { answer } = server;
  let asked = 0;
  server.answer = (socket, frame) => {
    if (frame.type !== type) return answer.call(server, socket, frame);
    if (++asked > times) return answer.call(server, socket, frame);
    const fault = { type: "error", code: "rate_limited", message: "too fast", retry_after_ms: 700 } as const;
    socket.tell({ ...fault, ...(frame.id !== undefined && { id: frame.id }) });
  };
  return () => asked;
}

describe("a question that comes too soon", () => {
  it("is asked again when the server's time has passed, and not before", async () => {
    const { connection } = await scene.call("alice", "general");
    const asked = refuse("presence", 1);
    const presence = connection.presence("general");
    await pass(699);
    expect(asked()).toBe(1);
    await pass(300);
    expect((await presence).users).toEqual(["alice"]);
    expect(asked()).toBe(2);
  });

  it("fails in the end, with the time to wait", async () => {
    const { connection } = await scene.call("alice", "general");
    const asked = refuse("presence", Number.POSITIVE_INFINITY);
    const failed = connection.presence("general").catch((error: QuestionFailed) => error);
    await pass(60_000);
    expect(await failed).toMatchObject({ code: "rate_limited", retryAfter: 700 });
    expect(asked()).toBe(6);
  });

  it("fails when there is no connection any more by then", async () => {
    const { connection } = await scene.call("alice", "general");
    refuse("presence", 1);
    const failed = connection.presence("general").catch((error: QuestionFailed) => error);
    await settle();
    connection.stop();
    await pass(5_000);
    expect(await failed).toMatchObject({ code: "ended" });
  });
});

describe("a question that is open when the connection moves", () => {
  it("keeps the old socket until it is answered", async () => {
    for (let n = 1; n <= 100; n++) scene.server.say("general", "bob", `${n}`);
    const alice = await scene.visit("alice");
    const [old] = scene.server.live as [FakeSocket];
    const { answer } = scene.server;
    let owed = () => {};
    scene.server.answer = (socket, frame) => {
      if (frame.type === "history") owed = () => answer.call(scene.server, socket, frame);
      else answer.call(scene.server, socket, frame);
    };
    const loaded = alice.chat.loadOlder("general");
    old.tell({ type: "reconnect", reason: "drain", after_ms: 10, elsewhere: false });
    await pass(1_000);
    expect([scene.server.live.length, alice.room().older]).toEqual([2, "loading"]);
    owed();
    await loaded;
    expect([old.closed, alice.room().older, alice.room().entries.length]).toEqual([true, "end", 100]);
  });
});
