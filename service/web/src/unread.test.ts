/** What is unread on the next visit: nothing that was read, whatever way it had come. */
import { describe, expect, it } from "vitest";
import { pass, settle, stage } from "./stage.ts";

const scene = stage();

describe("a direct conversation that began with a live message", () => {
  it("stays read after a reload", async () => {
    const before = await scene.visit("alice");
    scene.server.whisper("bob", "alice", "one");
    await settle();
    before.chat.show("@bob");
    scene.server.whisper("bob", "alice", "two");
    await settle();
    before.chat.stop();
    scene.server.whisper("bob", "alice", "three");
    const after = await scene.visit("alice");
    expect([after.shown("@bob"), after.room("@bob").unread]).toEqual([["one", "two", "three"], 1]);
  });

  it("stays read where it was begun by oneself", async () => {
    const before = await scene.visit("alice");
    before.chat.show("@bob");
    before.chat.send("@bob", "hi");
    await settle();
    scene.server.whisper("bob", "alice", "hello");
    await settle();
    before.chat.stop();
    const after = await scene.visit("alice");
    expect([after.shown("@bob"), after.room("@bob").unread]).toEqual([["hi", "hello"], 0]);
  });
});

describe("a direct conversation through a new epoch of the inbox", () => {
  it("counts what came after it was read", async () => {
    scene.server.whisper("bob", "alice", "one");
    const before = await scene.visit("alice");
    scene.server.down = true;
    scene.server.cut();
    scene.server.failover("@me alice");
    scene.server.down = false;
    await pass(5_000);
    scene.server.whisper("bob", "alice", "two");
    await settle();
    before.chat.show("@bob");
    before.chat.stop();
    scene.server.whisper("bob", "alice", "three");
    const after = await scene.visit("alice");
    expect(after.room("@bob").unread).toBe(1);
  });
});
