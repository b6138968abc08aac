/** What a conversation shows after a gap, from end to end: what is lost is marked, and nothing else is missing or misplaced. */
import { describe, expect, it } from "vitest";
import type { ClientFrame } from "./protocol.ts";
import { pass, settle, stage, type Visitor } from "./stage.ts";

const scene = stage();
const texts = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, at) => `m${first + at}`);

function fill(room: string, first: number, last: number): void {
  for (const text of texts(first, last)) scene.server.say(room, "bob", text);
}

/** Scrolls up to the beginning. */
async function toBeginning(visitor: Visitor, id = "general"): Promise<void> {
  for (let pages = 0; pages < 50 && visitor.room(id).older === "more"; pages++) {
    await Promise.all([visitor.chat.loadOlder(id), settle()]);
  }
  expect(visitor.room(id).older).toBe("end");
}

/** Answers these questions of clients with an error, in this order; then as ever. */
function refuse(type: ClientFrame["type"], faults: { code: string; retry_after_ms?: number }[]): void {
  const { server } = scene;
  const { answer } = server;
  server.answer = (socket, frame) => {
    const fault = frame.type === type ? faults.shift() : undefined;
    if (fault === undefined) answer.call(server, socket, frame);
    else socket.tell({ type: "error", message: fault.code, ...fault, ...(frame.id !== undefined && { id: frame.id }) });
  };
}

describe("a log that lost its newest messages", () => {
  it("shows the mark behind what was lost, and older messages where they belong", async () => {
    fill("general", 1, 950);
    const alice = await scene.visit("alice");
    await Promise.all([alice.chat.loadOlder("general"), settle()]);
    expect(alice.shown()[0]).toBe("m771");
    scene.server.say("general", "bob", "lost");
    scene.server.failover("general", { lost: 1 });
    scene.server.say("general", "bob", "after");
    await settle();
    expect(alice.shown()).toEqual([...texts(771, 950), "lost", "|", "after"]);
    expect(alice.room().older).toBe("more");
    await toBeginning(alice);
    expect(alice.shown()).toEqual([...texts(1, 950), "lost", "|", "after"]);
  });

  it("shows what was written meanwhile behind the mark, though it is more than a page", async () => {
    fill("general", 1, 100);
    const alice = await scene.visit("alice");
    scene.server.down = true;
    scene.server.say("general", "bob", "seen, then lost");
    await settle();
    scene.server.cut();
    scene.server.failover("general", { lost: 1 });
    fill("general", 101, 800);
    scene.server.down = false;
    await pass(5_000);
    scene.server.say("general", "bob", "after");
    await settle();
    expect(alice.shown()).toEqual([...texts(41, 100), "seen, then lost", "|", ...texts(101, 800), "after"]);
    await toBeginning(alice);
    expect(alice.shown()).toEqual([...texts(1, 100), "seen, then lost", "|", ...texts(101, 800), "after"]);
  });

  it("is read from where one is, when a step back in time was under way", async () => {
    fill("general", 1, 300);
    const alice = await scene.visit("alice");
    scene.server.say("general", "bob", "lost");
    const loaded = alice.chat.loadOlder("general");
    scene.server.failover("general", { lost: 1 });
    await Promise.all([loaded, settle()]);
    expect([alice.shown(), alice.room().older]).toEqual([[...texts(241, 300), "lost", "|"], "more"]);
    await toBeginning(alice);
    expect(alice.shown()).toEqual([...texts(1, 300), "lost", "|"]);
  });
});

describe("a step back in time", () => {
  it("does not count when the room was left and joined again meanwhile", async () => {
    fill("general", 1, 100);
    const alice = await scene.visit("alice");
    const { answer } = scene.server;
    let owed = () => {};
    scene.server.answer = (socket, frame) => {
      if (frame.type === "history") owed = () => answer.call(scene.server, socket, frame);
      else answer.call(scene.server, socket, frame);
    };
    const loaded = alice.chat.loadOlder("general");
    await settle();
    for (const socket of scene.server.live) socket.rooms.delete("general");
    scene.server.live[0]?.tell({ type: "left", room: "general", reason: "kicked" });
    fill("general", 101, 300);
    alice.chat.show("general");
    await settle();
    owed();
    await Promise.all([loaded, settle()]);
    expect(alice.shown()).toEqual(texts(241, 300));
    scene.server.answer = answer;
    await toBeginning(alice);
    expect(alice.shown()).toEqual(texts(1, 300));
  });

  it("ends also where the first messages come meanwhile", async () => {
    fill("general", 1, 5);
    scene.server.log("general").messages.splice(0);
    const alice = await scene.visit("alice");
    expect(alice.room().older).toBe("more");
    const loaded = alice.chat.loadOlder("general");
    scene.server.say("general", "bob", "new");
    await Promise.all([loaded, settle()]);
    expect([alice.shown(), alice.room().older]).toEqual([["new"], "end"]);
  });

  it("in two direct conversations at once brings each message once", async () => {
    for (const text of texts(1, 1_000)) scene.server.whisper(Number(text.slice(1)) % 2 === 0 ? "bob" : "carol", "alice", text);
    const alice = await scene.visit("alice");
    await Promise.all([alice.chat.loadOlder("@bob"), alice.chat.loadOlder("@carol"), settle()]);
    await Promise.all([toBeginning(alice, "@bob"), pass(1)]);
    await toBeginning(alice, "@carol");
    expect([...alice.shown("@bob"), ...alice.shown("@carol")].toSorted()).toEqual(texts(1, 1_000).toSorted());
  });
});

describe("a log that begins anew", () => {
  it("is not asked for what is before the mark", async () => {
    fill("general", 1, 300);
    const alice = await scene.visit("alice");
    scene.server.lose("general");
    fill("general", 501, 520);
    await settle();
    expect([alice.shown(), alice.room().older]).toEqual([[...texts(241, 300), "|", ...texts(501, 520)], "end"]);
  });

  it("is read page by page where nothing is shown before the mark", async () => {
    const alice = await scene.visit("alice");
    scene.server.cut();
    scene.server.lose("general");
    fill("general", 1, 600);
    await pass(5_000);
    await toBeginning(alice);
    expect(alice.shown().filter((text) => text !== "|")).toEqual(texts(1, 600));
  });
});

describe("an inbox that lost its newest messages", () => {
  it("shows what was lost and what is older in each conversation as in a room", async () => {
    for (const text of texts(1, 400)) scene.server.whisper(Number(text.slice(1)) % 2 === 0 ? "bob" : "carol", "alice", text);
    const alice = await scene.visit("alice");
    const even = (first: number) => texts(first, 400).filter((text) => Number(text.slice(1)) % 2 === 0);
    scene.server.whisper("bob", "alice", "lost");
    scene.server.failover("@me alice", { lost: 1 });
    scene.server.whisper("bob", "alice", "after");
    await settle();
    expect(alice.shown("@bob")).toEqual([...even(101), "lost", "|", "after"]);
    await toBeginning(alice, "@bob");
    expect(alice.shown("@bob")).toEqual([...even(1), "lost", "|", "after"]);
    expect(alice.shown("@carol")).toHaveLength(201);
  });

  it("is not asked for what is older when it begins anew", async () => {
    for (const text of texts(1, 400)) scene.server.whisper("bob", "alice", text);
    const alice = await scene.visit("alice");
    scene.server.lose("@me alice");
    scene.server.whisper("bob", "alice", "after");
    scene.server.whisper("carol", "alice", "hello");
    await settle();
    expect([alice.room("@bob").older, alice.room("@carol").older]).toEqual(["end", "end"]);
    expect(alice.shown("@bob")).toEqual([...texts(101, 400), "|", "after"]);
  });
});

describe("filling a gap", () => {
  const behind = ["before", "|", "between", "after"];

  /** Alice has missed `between`, and the log has lost `before`. */
  async function missed(): Promise<Visitor> {
    const alice = await scene.visit("alice");
    scene.server.say("general", "bob", "before");
    scene.server.down = true;
    scene.server.cut();
    scene.server.lose("general");
    scene.server.say("general", "bob", "between");
    scene.server.down = false;
    return alice;
  }

  it.each([
    ["rate limits", Array.from({ length: 8 }, () => ({ code: "rate_limited", retry_after_ms: 300 }))],
    ["a failover of Redis", Array.from({ length: 8 }, () => ({ code: "unavailable" }))],
  ])("outlasts %s", async (_, faults) => {
    const alice = await missed();
    refuse("history", faults);
    await pass(120_000);
    scene.server.say("general", "bob", "after");
    await settle();
    expect(alice.shown()).toEqual(behind);
  });

  it("outlasts a second cut", async () => {
    const alice = await missed();
    const { answer } = scene.server;
    scene.server.answer = (socket, frame) => (frame.type === "history" ? scene.server.cut() : answer.call(scene.server, socket, frame));
    await pass(3_000);
    expect(alice.shown()).toEqual(["before", "|"]);
    scene.server.answer = answer;
    await pass(60_000);
    scene.server.say("general", "bob", "after");
    await settle();
    expect(alice.shown()).toEqual(behind);
  });

  it("outlasts a new epoch in which nothing more is lost", async () => {
    const alice = await missed();
    refuse("history", [{ code: "unavailable" }]);
    await pass(600);
    scene.server.failover("general");
    await pass(60_000);
    scene.server.say("general", "bob", "after");
    await settle();
    expect(alice.shown()).toEqual(behind);
  });

  it("is given up where one may not read, and the mark stands", async () => {
    const alice = await missed();
    refuse("history", [{ code: "forbidden" }]);
    await pass(60_000);
    expect(alice.shown()).toEqual(["before", "|"]);
  });

  it("ends when the room is left, for what is shown after the next join is something else", async () => {
    fill("general", 1, 100);
    const alice = await scene.visit("alice");
    refuse("history", [{ code: "unavailable" }]);
    scene.server.say("general", "bob", "lost");
    scene.server.failover("general", { lost: 1 });
    await settle();
    for (const socket of scene.server.live) socket.rooms.delete("general");
    scene.server.live[0]?.tell({ type: "left", room: "general", reason: "kicked" });
    fill("general", 101, 300);
    alice.chat.show("general");
    await pass(60_000);
    expect(alice.shown()).toEqual(texts(241, 300));
  });

  it("of many rooms asks one question at a time", async () => {
    const rooms = Array.from({ length: 80 }, (_, at) => `room ${at}`);
    const alice = await scene.visit("alice");
    for (const room of rooms) alice.chat.show(room);
    await settle();
    let [open, most] = [0, 0];
    const { answer } = scene.server;
    scene.server.answer = (socket, frame) => {
      if (frame.type !== "history") return answer.call(scene.server, socket, frame);
      most = Math.max(most, ++open);
      setTimeout(() => {
        open--;
        answer.call(scene.server, socket, frame);
      }, 20);
    };
    scene.server.down = true;
    scene.server.cut();
    for (const room of rooms) {
      scene.server.lose(room);
      scene.server.say(room, "bob", "missed");
    }
    scene.server.down = false;
    await pass(20_000);
    expect(rooms.map((room) => alice.shown(room))).toEqual(rooms.map(() => ["|", "missed"]));
    expect(most).toBe(1);
  });
});
