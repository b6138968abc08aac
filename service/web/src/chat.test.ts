/** The chat as the page shows it, from end to end against a server in memory. Time is moved by hand. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chat, type ChatState } from "./chat.ts";
import { Connection } from "./connection.ts";
import { FakeServer } from "./fakeServer.ts";
import { Memory, type Store } from "./memory.ts";
import type { RoomState } from "./room.ts";

let server: FakeServer;
let chats: Chat[];
let stores: [Store, Store];

function store(): Store {
  const values = new Map<string, string>();
  return {
    getItem: (name) => values.get(name) ?? null,
    setItem: (name, value) => void values.set(name, value),
    removeItem: (name) => void values.delete(name),
  };
}

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  chats = [];
  stores = [store(), store()];
});

afterEach(() => {
  for (const chat of chats) chat.stop();
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function visit(user: string, open?: string): Promise<Chat> {
  const connection = new Connection({
    url: "ws://parley.test/ws",
    token: () => user,
    openSocket: server.open,
    probe: () => Promise.resolve({ verdict: "again", after: 0, why: "gone" }),
    random: () => 0.5,
  });
  const [lasting, tab] = stores;
  const chat = new Chat({ connection, memory: new Memory(() => lasting, () => tab) });
  chats.push(chat);
  if (open !== undefined) chat.show(open);
  connection.start();
  await settle();
  return chat;
}

const room = (chat: Chat, id = "general") => chat.state.conversations.get(id) as RoomState;
const shown = (chat: Chat, id = "general") => [
  ...room(chat, id).entries.map((entry) => (entry.kind === "gap" ? "|" : entry.msg)),
  ...room(chat, id).pending.map(({ msg }) => msg),
];

describe("the first visit", () => {
  it("is in a room at once, and two people chat", async () => {
    const alice = await visit("alice");
    const bob = await visit("bob");
    expect([...alice.state.conversations.keys()]).toEqual(["general"]);
    expect(alice.state.open).toBe("general");
    alice.send("general", "hi");
    await settle();
    expect([shown(alice), shown(bob)]).toEqual([["hi"], ["hi"]]);
    expect(room(alice).pending).toEqual([]);
  });

  it("opens what the address names, besides", async () => {
    const alice = await visit("alice", "plans");
    expect(alice.state.open).toBe("plans");
    expect(room(alice, "plans").phase).toBe("live");
  });
});

describe("the next visit", () => {
  it("finds the rooms of the last one, and what is new in them", async () => {
    const before = await visit("alice");
    before.show("plans");
    await settle();
    before.show("general");
    before.stop();
    server.say("plans", "bob", "new");
    const after = await visit("alice");
    expect([...after.state.conversations.keys()]).toEqual(["general", "plans"]);
    expect([room(after).unread, room(after, "plans").unread]).toEqual([0, 1]);
  });
});

describe("rooms", () => {
  it("that exist are listed, and joined or created by opening them", async () => {
    server.say("random", "bob", "hello");
    const alice = await visit("alice");
    expect(alice.state.available).toEqual(["random"]);
    alice.show("random");
    alice.show("brand new");
    await settle();
    expect([shown(alice, "random"), room(alice, "brand new").phase]).toEqual([["hello"], "live"]);
  });

  it("count what others write while another one is open", async () => {
    const alice = await visit("alice");
    alice.show("random");
    await settle();
    server.say("general", "bob", "one");
    server.say("random", "bob", "two");
    await settle();
    expect([room(alice).unread, room(alice, "random").unread]).toEqual([1, 0]);
    alice.show("general");
    expect(room(alice).unread).toBe(0);
  });

  it("count while nobody looks at the page", async () => {
    const alice = await visit("alice");
    alice.setVisible(false);
    server.say("general", "bob", "one");
    await settle();
    expect(room(alice).unread).toBe(1);
    alice.setVisible(true);
    expect(room(alice).unread).toBe(0);
  });

  it("are left, and another one is opened", async () => {
    const alice = await visit("alice");
    alice.show("random");
    await settle();
    alice.close("random");
    await settle();
    expect([[...alice.state.conversations.keys()], alice.state.open]).toEqual([["general"], "general"]);
    expect(server.live[0]?.rooms.has("random")).toBe(false);
  });

  it("from which one is removed say so, and can be joined again", async () => {
    const alice = await visit("alice");
    server.toMembers("general", { type: "left", room: "general", reason: "kicked" });
    expect(room(alice)).toMatchObject({ phase: "left", why: "You were removed from this room." });
    alice.show("general");
    await settle();
    expect(room(alice).phase).toBe("live");
  });

  it("load older messages page by page, until the beginning", async () => {
    for (let n = 1; n <= 150; n++) server.say("general", "bob", `m${n}`);
    const alice = await visit("alice");
    expect(room(alice).entries).toHaveLength(60);
    await Promise.all([alice.loadOlder("general"), alice.loadOlder("general"), settle()]);
    expect([room(alice).entries.length, room(alice).older]).toEqual([150, "end"]);
    expect(shown(alice)[0]).toBe("m1");
  });
});

describe("direct messages", () => {
  it("make a conversation with each person, on both sides", async () => {
    const [alice, bob] = [await visit("alice"), await visit("bob")];
    alice.show("@bob");
    alice.send("@bob", "psst");
    await settle();
    expect([shown(alice, "@bob"), shown(bob, "@alice")]).toEqual([["psst"], ["psst"]]);
    expect([room(alice, "@bob").unread, room(bob, "@alice").unread]).toEqual([0, 1]);
    server.whisper("carol", "bob", "me too");
    await settle();
    expect(shown(bob, "@carol")).toEqual(["me too"]);
  });

  it("of former visits are there, and those that were not read count", async () => {
    server.whisper("bob", "alice", "one");
    const before = await visit("alice");
    before.show("@bob");
    before.stop();
    server.whisper("bob", "alice", "two");
    server.whisper("carol", "alice", "three");
    const alice = await visit("alice");
    expect([room(alice, "@bob").unread, room(alice, "@carol").unread]).toEqual([1, 1]);
    expect(shown(alice, "@bob")).toEqual(["one", "two"]);
  });

  it("further back are found, however many of other people lie between", async () => {
    server.whisper("bob", "alice", "long ago");
    for (let n = 0; n < 700; n++) server.whisper("carol", "alice", `c${n}`);
    server.whisper("bob", "alice", "lately");
    const alice = await visit("alice");
    expect(shown(alice, "@bob")).toEqual(["lately"]);
    await Promise.all([alice.loadOlder("@bob"), pass(1)]);
    expect(shown(alice, "@bob")).toEqual(["long ago", "lately"]);
    expect([room(alice, "@bob").older, room(alice, "@carol").entries.length]).toEqual(["end", 700]);
  });

  it("to oneself are a conversation as well", async () => {
    const alice = await visit("alice");
    alice.show("@alice");
    alice.send("@alice", "note");
    await settle();
    expect(shown(alice, "@alice")).toEqual(["note"]);
  });
});

describe("a loss of the connection", () => {
  it("is told once it lasts, and the way back says what was caught up", async () => {
    const alice = await visit("alice");
    server.down = true;
    server.cut();
    server.say("general", "bob", "missed");
    await pass(500);
    expect(alice.state.note).toEqual({ kind: "lost", text: "Connection lost. Reconnecting…" });
    server.down = false;
    server.serverId = "server-2";
    await pass(3_000);
    expect(alice.state.note).toEqual({ kind: "back", text: "Connected to server-2. 1 message caught up." });
    expect(shown(alice)).toEqual(["missed"]);
    await pass(6_000);
    expect(alice.state.note).toBeUndefined();
  });

  it("is over also for somebody who may have no direct messages", async () => {
    const { answer } = server;
    server.answer = (socket, frame) =>
      frame.type === "join" && frame.room === "@me"
        ? socket.tell({ type: "error", ...(frame.id !== undefined && { id: frame.id }), code: "forbidden", message: "no" })
        : answer.call(server, socket, frame);
    const alice = await visit("alice");
    server.down = true;
    server.cut();
    await pass(600);
    server.down = false;
    await pass(3_000);
    expect(alice.state.note?.kind).toBe("back");
  });

  it("marks the gap where the log was lost, and says so", async () => {
    const alice = await visit("alice");
    server.say("general", "bob", "before");
    server.cut();
    server.lose("general");
    server.say("general", "bob", "between");
    await pass(1_000);
    server.say("general", "bob", "after");
    await pass(100);
    expect(shown(alice)).toEqual(["before", "|", "between", "after"]);
    expect(alice.state.note?.kind).toBe("warning");
  });

  it("keeps what is written meanwhile, and sends it once", async () => {
    const alice = await visit("alice");
    server.down = true;
    server.cut();
    alice.send("general", "written offline");
    expect(room(alice).pending).toMatchObject([{ msg: "written offline", progress: { state: "waiting" } }]);
    server.down = false;
    await pass(5_000);
    expect(server.texts("general")).toEqual(["written offline"]);
    expect([shown(alice), room(alice).pending]).toEqual([["written offline"], []]);
  });

  it("and of the page does not lose what had not left, and does not double what had", async () => {
    const before = await visit("alice");
    server.mishaps.push("cut after storing");
    before.send("general", "stored, and not acked");
    await settle();
    server.down = true;
    before.send("general", "never left");
    before.send("@bob", "nor did this");
    before.stop();
    server.down = false;
    const after = await visit("alice");
    await pass(1_000);
    expect(server.texts("general")).toEqual(["stored, and not acked", "never left"]);
    expect(shown(after)).toEqual(["stored, and not acked", "never left"]);
    expect(server.texts("@me bob")).toEqual(["nor did this"]);
    after.stop();
    const later = await visit("alice");
    await pass(1_000);
    expect([server.texts("general").length, room(later).pending]).toEqual([2, []]);
  });

  it("of an inbox is marked in every direct conversation", async () => {
    server.whisper("bob", "alice", "one");
    server.whisper("carol", "alice", "two");
    const alice = await visit("alice");
    server.lose("@me alice");
    await settle();
    expect([shown(alice, "@bob"), shown(alice, "@carol"), shown(alice)]).toEqual([["one", "|"], ["two", "|"], []]);
  });
});

describe("who is there and who types", () => {
  it("is known from the list and kept up by events", async () => {
    const alice = await visit("alice");
    await visit("bob");
    await pass(30_000);
    expect(alice.state.present.get("general")).toEqual({ users: ["alice", "bob"], count: 2 });
    server.toMembers("general", { type: "presence", room: "general", event: "leave", user: "bob" });
    server.toMembers("general", { type: "presence", room: "general", event: "leave", user: "bob" });
    expect(alice.state.present.get("general")).toEqual({ users: ["alice"], count: 1 });
  });

  it("is forgotten when one leaves or is put out, and asked anew when one comes back", async () => {
    await visit("bob");
    const alice = await visit("alice");
    const present = () => alice.state.present.get("general")?.users;
    expect(present()).toEqual(["bob", "alice"]);
    server.toMembers("general", { type: "left", room: "general", reason: "kicked" });
    expect(present()).toBeUndefined();
    await pass(31_000);
    expect(present()).toBeUndefined();
    alice.show("general");
    await settle();
    expect(present()).toEqual(["bob", "alice"]);
    alice.refresh();
    alice.close("general");
    expect(present()).toBeUndefined();
    await settle();
    expect(present()).toBeUndefined();
  });

  it("is shown until the message comes, or for a while", async () => {
    const [alice, bob] = [await visit("alice"), await visit("bob")];
    bob.typing("general");
    bob.typing("general");
    await settle();
    expect(server.received.filter(({ type }) => type === "signal")).toHaveLength(1);
    expect(alice.state.typing.get("general")).toEqual(["bob"]);
    bob.send("general", "hi");
    await settle();
    expect(alice.state.typing.get("general")).toBeUndefined();
    bob.typing("general");
    await pass(100);
    expect(alice.state.typing.get("general")).toEqual(["bob"]);
    await pass(5_000);
    expect(alice.state.typing.get("general")).toBeUndefined();
  });

  it("works in direct conversations, too", async () => {
    const [alice, bob] = [await visit("alice"), await visit("bob")];
    alice.show("@bob");
    bob.typing("@alice");
    await settle();
    expect(alice.state.typing.get("@bob")).toEqual(["bob"]);
  });
});

describe("telling the page", () => {
  it("happens once for all that happens together", async () => {
    const alice = await visit("alice");
    const told = vi.fn();
    alice.subscribe(told);
    for (let n = 0; n < 100; n++) server.say("general", "bob", `${n}`);
    await settle();
    expect(told).toHaveBeenCalledTimes(1);
  });

  it.each<[string, (alice: Chat) => void]>([
    ["goes somewhere", (alice) => alice.show("@bob")],
    ["writes something", (alice) => alice.send("general", "hello")],
    ["leaves the last room", (alice) => alice.close("general")],
  ])("does not wait where one %s oneself, and is not repeated for it", async (_, act) => {
    const alice = await visit("alice");
    // Nothing comes back, so nothing else is to be told.
    server.down = true;
    server.cut();
    await settle();
    const told: ChatState[] = [];
    alice.subscribe(() => told.push(alice.state));
    act(alice);
    expect(told).toEqual([alice.state]);
    await settle();
    expect(told).toHaveLength(1);
  });
});

describe("a browser that forbids to remember", () => {
  it("is no reason to fail", async () => {
    const forbidden = (): Store => {
      throw new Error("no cookies, no storage");
    };
    const memory = new Memory(forbidden, forbidden);
    memory.keepIdentity({ kind: "name", token: "alice" });
    expect([memory.identity(), memory.name(), memory.rooms("alice")]).toEqual([undefined, "", undefined]);
  });

  it("does not believe what it finds", () => {
    const [lasting] = stores;
    lasting.setItem("parley identity", '{"kind":"admin","token":"x"}');
    lasting.setItem("parley rooms alice", "[1]");
    const memory = new Memory(() => lasting, () => lasting);
    expect([memory.identity(), memory.rooms("alice")]).toEqual([undefined, undefined]);
  });
});
