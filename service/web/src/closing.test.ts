/** Closing a conversation in which something was not sent: what is discarded is never sent, here or on a later visit. */
import { describe, expect, it } from "vitest";
import { pass, settle, stage } from "./stage.ts";

const scene = stage();

describe("what was written offline", () => {
  it("to a person is not sent when the conversation was closed", async () => {
    const alice = await scene.visit("alice");
    alice.chat.show("@bob");
    scene.server.down = true;
    scene.server.cut();
    alice.chat.send("@bob", "secret");
    alice.chat.send("@carol", "hello");
    alice.chat.close("@bob");
    scene.server.down = false;
    await pass(30_000);
    expect([scene.server.texts("@me bob"), scene.server.texts("@me carol")]).toEqual([[], ["hello"]]);
    expect(alice.chat.state.conversations.has("@bob")).toBe(false);
    expect(alice.connection.underWay).toBe(0);
  });

  it("in a room is not sent when it was left, nor on the next visit", async () => {
    const before = await scene.visit("alice");
    before.chat.show("plans");
    await settle();
    scene.server.down = true;
    scene.server.cut();
    before.chat.send("plans", "important");
    before.chat.close("plans");
    before.chat.stop();
    scene.server.down = false;
    const after = await scene.visit("alice");
    await pass(30_000);
    expect(scene.server.texts("plans")).toEqual([]);
    expect([...after.chat.state.conversations.keys()]).toEqual(["general"]);
  });
});

describe("a discarded message", () => {
  it("does not hold up the next", async () => {
    const { connection } = await scene.call("alice", "general");
    scene.server.mishaps.push({ code: "rate_limited", retryAfter: 60_000 });
    connection.publish({ room: "general" }, "one", "k1");
    connection.publish({ room: "general" }, "two", "k2");
    await settle();
    connection.discard("k1");
    await settle();
    expect(scene.server.texts("general")).toEqual(["two"]);
    await pass(120_000);
    expect(scene.server.texts("general")).toEqual(["two"]);
  });

  it("that was under way is not sent again", async () => {
    const { connection } = await scene.call("alice", "general");
    scene.server.mishaps.push("cut before storing");
    connection.publish({ room: "general" }, "one", "k1");
    connection.discard("k1");
    await pass(60_000);
    expect([scene.server.texts("general"), connection.underWay]).toEqual([[], 0]);
  });
});
