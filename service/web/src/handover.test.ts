/** What a connection tells while it moves from one socket to another and something goes wrong on the way. */
import { describe, expect, it } from "vitest";
import type { FakeSocket } from "./fakeServer.ts";
import type { ServerFrame } from "./protocol.ts";
import { pass, settle, stage } from "./stage.ts";

const scene = stage();
const reconnect = { type: "reconnect", reason: "drain", after_ms: 10, elsewhere: false } as const;

/** Alice in `general`, on the way to another instance that is slow to answer her `join`: `owed` lets it. */
async function moving() {
  const { server } = scene;
  const alice = await scene.call("alice", "general");
  server.say("general", "bob", "one");
  const old = server.live[0] as FakeSocket;
  const { answer } = server;
  const late: (() => void)[] = [];
  server.answer = (socket, frame) => {
    if (frame.type === "join" && socket !== old) late.push(() => answer.call(server, socket, frame));
    else answer.call(server, socket, frame);
  };
  old.tell(reconnect);
  await pass(20);
  const next = server.live[1] as FakeSocket;
  const owed = async () => {
    server.answer = answer;
    for (const reply of late.splice(0)) reply();
    await settle();
  };
  return { alice, old, next, owed };
}

describe("the status", () => {
  it("is not online when the old socket dies and the new one is not there yet", async () => {
    const alice = await scene.call("alice", "general");
    const [old] = scene.server.live;
    scene.server.hangs = true;
    old?.tell(reconnect);
    await pass(20);
    expect(alice.connection.status.phase).toBe("online");
    old?.end(1012);
    expect(alice.connection.status.phase).toBe("connecting");
    scene.server.hangs = false;
    await pass(20_000);
    expect(alice.connection.status.phase).toBe("online");
  });
});

describe("the cookie that leads to the old instance", () => {
  it("is dropped also where the instance is gone before its time", async () => {
    scene.server.affinityCookie = "route";
    const alice = await scene.call("alice", "general");
    const [old] = scene.server.live;
    old?.tell({ ...reconnect, elsewhere: true, after_ms: 60_000 });
    old?.end(1006);
    expect(alice.dropped).toEqual([]);
    await pass(1_000);
    expect([alice.dropped, alice.connection.status.phase]).toEqual([["route"], "online"]);
  });
});

describe("a kick on the old socket", () => {
  it("takes back the join that is under way on the new one", async () => {
    const { alice, old, next, owed } = await moving();
    old.rooms.delete("general");
    old.tell({ type: "left", room: "general", reason: "kicked" });
    await owed();
    await settle();
    expect(alice.of("left")).toEqual([{ type: "left", room: "general", reason: "kicked" }]);
    expect([next.rooms.has("general"), alice.connection.joined]).toEqual([false, []]);
  });
});

describe("a failover in the middle of a move", () => {
  const message = (offset: number, msg: string): ServerFrame => ({ type: "message", room: "general", offset, from: "bob", msg, at: offset });

  it("is a gap where the old socket was ahead of the log that lives on", async () => {
    const { alice, old, owed } = await moving();
    old.tell(message(2, "two, which the new primary never got"));
    scene.server.failover("general", { told: [] });
    scene.server.say("general", "bob", "two of the new primary");
    await owed();
    expect(alice.heard()).toEqual(["one", "two, which the new primary never got"]);
    expect(alice.of("gap")).toEqual([{ type: "gap", room: "general", position: { epoch: "e2", offset: 2 } }]);
    scene.server.say("general", "bob", "three");
    expect(alice.heard().at(-1)).toBe("three");
  });

  it("is no gap where all that the old socket brought is in the log that lives on", async () => {
    const { alice, owed } = await moving();
    scene.server.say("general", "bob", "two");
    scene.server.failover("general", { told: [] });
    const e2 = scene.server.log("general");
    expect([e2.epoch, e2.top]).toEqual(["e2", 2]);
    await owed();
    scene.server.say("general", "bob", "three");
    expect([alice.heard(), alice.of("gap")]).toEqual([["one", "two", "three"], []]);
  });

  it("is no gap where the old socket heard of it first", async () => {
    const { alice, old, owed } = await moving();
    scene.server.failover("general", { told: [old] });
    scene.server.say("general", "bob", "two");
    await owed();
    scene.server.say("general", "bob", "three");
    expect([alice.heard(), alice.of("gap")]).toEqual([["one", "two", "three"], []]);
  });
});

describe("a message with a hole before it", () => {
  it("makes the client join again from where it is, and nothing is lost", async () => {
    const alice = await scene.call("alice", "general");
    const [socket] = scene.server.live;
    scene.server.say("general", "bob", "one");
    socket?.rooms.delete("general");
    scene.server.say("general", "bob", "two");
    socket?.rooms.add("general");
    scene.server.say("general", "bob", "three");
    scene.server.say("general", "bob", "four");
    await settle();
    scene.server.say("general", "bob", "five");
    expect(alice.heard()).toEqual(["one", "two", "three", "four", "five"]);
    expect(scene.sent("join").map(({ since }) => since?.offset)).toEqual([undefined, 1]);
    expect(alice.of("gap")).toEqual([]);
  });

  it("waits for the join on the new socket while one moves", async () => {
    const { alice, old, owed } = await moving();
    old.rooms.delete("general");
    scene.server.say("general", "bob", "two");
    old.rooms.add("general");
    scene.server.say("general", "bob", "three");
    expect(alice.heard()).toEqual(["one"]);
    await owed();
    expect(alice.heard()).toEqual(["one", "two", "three"]);
    expect(scene.sent("join")).toHaveLength(2);
  });
});
