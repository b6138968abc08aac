/** What a connection promises, against a server that has bad days. Time is moved by hand. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection, type ConnectionOptions, newKey, QuestionFailed } from "./connection.ts";
import type { ConnectionEvent, Progress } from "./events.ts";
import { FakeServer } from "./fakeServer.ts";
import type { ProbeAnswer } from "./probe.ts";
import type { Logged } from "./protocol.ts";

let server: FakeServer;
let connection: Connection;
let events: ConnectionEvent[];
let probes: ProbeAnswer[];
let dropped: string[];

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
const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function connect(options: Partial<ConnectionOptions> = {}): Promise<void> {
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

const of = <T extends ConnectionEvent["type"]>(type: T) =>
  events.filter((event): event is Extract<ConnectionEvent, { type: T }> => event.type === type);
/** The messages of a room that the listener was told, in order. */
const heard = (room = "general"): unknown[] =>
  events.flatMap((event): readonly Logged[] => {
    if (event.type === "joined" && event.room === room) return event.messages;
    return event.type === "message" && event.message.room === room ? [event.message] : [];
  }).map(({ msg }) => msg);
const progress = (key: string): Progress | undefined => of("publish").findLast((event) => event.key === key)?.progress;
const sent = (type: string) => server.received.filter((frame) => frame.type === type);

describe("signing in", () => {
  it("sends the token in band and is online after the welcome", async () => {
    await connect();
    expect(server.received).toEqual([{ type: "auth", id: 1, token: "alice" }]);
    expect(connection.status).toMatchObject({ phase: "online", welcome: { user: "alice", server_id: "server-1" } });
  });

  it("stops when it is refused for good, and says why", async () => {
    server.refuseWith = 4501;
    await connect();
    expect(connection.status).toEqual({ phase: "stopped", why: "not with this token", code: 4501 });
    await pass(120_000);
    expect(server.sockets).toHaveLength(1);
  });

  it("comes back with a fresh token when the old one has expired", async () => {
    let token = "alice";
    await connect({ token: () => token });
    token = "alice-again";
    server.live[0]?.end(4001);
    await pass(1_000);
    expect(sent("auth").map((frame) => frame.type === "auth" && frame.token)).toEqual(["alice", "alice-again"]);
  });

  it("refreshes ahead of the end, and only with a token that is new", async () => {
    const tokens = ["first", "second", "second"];
    server.expiresIn = 600;
    await connect({ token: () => tokens.shift() ?? "last" });
    await pass(539_000);
    expect(sent("auth")).toHaveLength(1);
    await pass(2_000);
    expect(sent("auth")).toMatchObject([{ token: "first" }, { token: "second" }]);
    await pass(540_000);
    expect(sent("auth")).toHaveLength(2);
  });

  it("tries again when there is no token at the moment", async () => {
    const token = vi.fn().mockRejectedValueOnce(new Error("no network")).mockResolvedValue("alice");
    await connect({ token });
    expect(connection.status.phase).toBe("waiting");
    await pass(1_000);
    expect(connection.status.phase).toBe("online");
  });
});

describe("coming back", () => {
  it("resumes every room where it was, and tells each message once", async () => {
    await connect();
    connection.join("general");
    connection.join("random");
    await settle();
    server.say("general", "bob", "one");
    server.cut();
    server.say("general", "bob", "two");
    server.say("random", "bob", "three");
    await pass(1_000);
    server.say("general", "bob", "four");
    expect(heard()).toEqual(["one", "two", "four"]);
    expect(heard("random")).toEqual(["three"]);
    expect(of("gap")).toEqual([]);
    expect(sent("join").slice(2)).toMatchObject([
      { room: "general", since: { epoch: "e1", offset: 1 } },
      { room: "random", since: { epoch: "e2", offset: 0 } },
    ]);
  });

  it("joins again from where a long replay ended, until it is live", async () => {
    server.pageSize = 2;
    await connect();
    connection.join("general");
    await settle();
    server.cut();
    for (const text of ["1", "2", "3", "4", "5"]) server.say("general", "bob", text);
    await pass(1_000);
    expect(heard()).toEqual(["1", "2", "3", "4", "5"]);
    expect(of("joined").map(({ live }) => live)).toEqual([true, false, false, true]);
  });

  it("says that there is a gap when the position is not good any more", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.say("general", "bob", "one");
    server.cut();
    server.lose("general");
    server.say("general", "bob", "lost?");
    await pass(1_000);
    expect(of("gap")).toEqual([{ type: "gap", room: "general", position: { epoch: "e2", offset: 1 } }]);
    server.say("general", "bob", "two");
    expect(heard()).toEqual(["one", "two"]);
  });

  it("takes a gap and a new epoch in the middle of a session", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.say("general", "bob", "one");
    server.renew("general");
    server.say("general", "bob", "two");
    server.lose("general");
    server.say("general", "bob", "three");
    expect(heard()).toEqual(["one", "two", "three"]);
    expect(events.map(({ type }) => type).filter((type) => ["epoch", "gap"].includes(type))).toEqual(["epoch", "gap"]);
  });

  it("drops what it has seen", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.say("general", "bob", "one");
    const [message] = server.log("general").messages;
    if (message !== undefined) server.toMembers("general", message);
    expect(heard()).toEqual(["one"]);
  });

  it("waits a random time that grows with every attempt and has an end", async () => {
    await connect();
    server.down = true;
    server.cut();
    const waits: number[] = [];
    for (let n = 0; n < 9; n++) {
      const { status } = connection;
      if (status.phase !== "waiting") throw new Error(status.phase);
      waits.push(status.until - Date.now());
      await pass(status.until - Date.now());
    }
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  it("begins with a short wait again after a connection that lasted, and not after one that did not", async () => {
    await connect();
    for (const [lasted, wait] of [
      [1, 250],
      [1, 500],
      [20_000, 250],
    ] as const) {
      await pass(lasted);
      server.cut();
      const { status } = connection;
      expect(status.phase === "waiting" && status.until - Date.now()).toBe(wait);
      await pass(wait);
    }
  });

  it("asks over HTTP why a handshake failed, and waits as long as it is told", async () => {
    server.down = true;
    probes.push({ verdict: "again", after: 7_000, why: "The server has no place at the moment." });
    await connect();
    expect(connection.status).toMatchObject({ phase: "waiting", why: "The server has no place at the moment." });
    server.down = false;
    await pass(6_999);
    expect(connection.status.phase).toBe("waiting");
    await pass(300);
    expect(connection.status.phase).toBe("online");
  });

  it("does not try again where pages like this one are not wanted", async () => {
    server.down = true;
    probes.push({ verdict: "refused", why: "not from here" });
    await connect();
    expect(connection.status).toEqual({ phase: "stopped", why: "not from here" });
  });

  it.each([
    [4503, "stopped"],
    [1009, "stopped"],
    [4777, "stopped"],
    [4000, "waiting"],
    [1012, "waiting"],
    [4321, "waiting"],
  ])("obeys the close code %i: %s", async (code, phase) => {
    await connect();
    server.live[0]?.end(code);
    expect(connection.status.phase).toBe(phase);
  });

  it("tries at once when it is told that the network is back", async () => {
    server.down = true;
    await connect();
    await pass(20_000);
    server.down = false;
    connection.wake();
    await settle();
    expect(connection.status.phase).toBe("online");
  });

  it("asks again for a room that cannot be joined now, and gives up one that never can", async () => {
    await connect();
    const [socket] = server.live;
    const { answer } = server;
    const refusals = ["rate_limited", "unavailable"];
    server.answer = (socket, frame) => {
      if (frame.type !== "join") return answer.call(server, socket, frame);
      const code = frame.room === "secret" ? "forbidden" : refusals.shift();
      if (code === undefined) return answer.call(server, socket, frame);
      socket.tell({ type: "error", ...(frame.id !== undefined && { id: frame.id }), code, message: code });
    };
    connection.join("general");
    connection.join("secret");
    await pass(5_000);
    expect(socket?.rooms.has("general")).toBe(true);
    expect(of("refused")).toEqual([{ type: "refused", room: "secret", code: "forbidden", message: "forbidden" }]);
  });
});

describe("silence", () => {
  it("is asked about, and ends a connection that does not answer", async () => {
    await connect();
    await pass(20_000);
    expect(sent("ping")).toHaveLength(1);
    await pass(20_000);
    expect(sent("ping")).toHaveLength(2);
    const [socket] = server.live;
    if (socket !== undefined) socket.silent = true;
    await pass(31_000);
    expect(socket?.closed).toBe(true);
    await pass(1_000);
    expect(connection.status.phase).toBe("online");
    expect(server.sockets).toHaveLength(2);
  });

  it("is not asked about while messages come", async () => {
    await connect();
    connection.join("general");
    await settle();
    for (let n = 0; n < 10; n++) {
      await pass(10_000);
      server.say("general", "bob", `${n}`);
    }
    expect(sent("ping")).toEqual([]);
  });

  it("is noticed soon by a machine that wakes up", async () => {
    await connect();
    const [socket] = server.live;
    if (socket !== undefined) socket.silent = true;
    connection.wake();
    await pass(11_000);
    expect(socket?.closed).toBe(true);
  });

  it("of a server that does not answer one question ends the connection, too", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push("no ack");
    const { toMembers } = server;
    server.toMembers = () => {};
    connection.publish({ room: "general" }, "hi", "k1");
    await pass(29_000);
    expect(server.sockets).toHaveLength(1);
    server.toMembers = toMembers;
    await pass(3_000);
    expect(server.sockets).toHaveLength(2);
    expect(progress("k1")?.state).toBe("sent");
    expect(server.texts("general")).toEqual(["hi"]);
  });
});

describe("moving to another instance", () => {
  const reconnect = { type: "reconnect", reason: "drain", after_ms: 1_800, elsewhere: true } as const;

  it("opens the new socket first, resumes there, and then closes the old one", async () => {
    server.affinityCookie = "route";
    await connect();
    connection.join("general");
    await settle();
    const [old] = server.live;
    old?.tell(reconnect);
    expect(connection.status).toMatchObject({ phase: "online", moving: true });
    await pass(1_799);
    expect([server.live.length, dropped]).toEqual([1, []]);
    server.say("general", "bob", "still here");
    server.serverId = "server-2";
    await pass(2);
    expect(dropped).toEqual(["route"]);
    expect(connection.status).toMatchObject({ phase: "online", moving: false, welcome: { server_id: "server-2" } });
    expect(old?.closedWith).toBe(1000);
    server.say("general", "bob", "there");
    expect(heard()).toEqual(["still here", "there"]);
    expect(of("status").map(({ status }) => status.phase)).not.toContain("waiting");
  });

  it("keeps the cookie when it may come back to the same instance", async () => {
    server.affinityCookie = "route";
    await connect();
    server.live[0]?.tell({ ...reconnect, elsewhere: false });
    await pass(2_000);
    expect([dropped, server.live.length]).toEqual([[], 1]);
  });

  it("keeps the old socket for an ack that it still owes", async () => {
    await connect();
    connection.join("general");
    await settle();
    const [old] = server.live;
    const { answer } = server;
    let owed = () => {};
    server.answer = (socket, frame) => {
      if (frame.type === "chat") owed = () => answer.call(server, socket, frame);
      else answer.call(server, socket, frame);
    };
    connection.publish({ room: "general" }, "hi", "k1");
    old?.tell(reconnect);
    await pass(2_000);
    expect(old?.closed).toBe(false);
    owed();
    await settle();
    expect([progress("k1")?.state, old?.closed]).toEqual(["sent", true]);
    expect(heard()).toEqual(["hi"]);
  });

  it("goes on with the old socket while there is no other, and with none as after any loss", async () => {
    await connect();
    connection.join("general");
    await settle();
    const [old] = server.live;
    old?.tell(reconnect);
    server.down = true;
    await pass(4_000);
    expect(connection.status.phase).toBe("online");
    server.say("general", "bob", "one");
    old?.end(1012);
    expect(connection.status.phase).not.toBe("online");
    server.say("general", "bob", "two");
    server.down = false;
    await pass(30_000);
    expect(heard()).toEqual(["one", "two"]);
    expect(of("gap")).toEqual([]);
  });
});

describe("publishing", () => {
  const general = { room: "general" };

  it("is told from waiting to sent", async () => {
    await connect();
    connection.join("general");
    await settle();
    const key = connection.publish(general, { text: "hi" });
    await settle();
    expect(of("publish").map((event) => event.progress.state)).toEqual(["waiting", "sending", "sent"]);
    expect(key).toMatch(/^[0-9a-f]{32}$/u);
    expect(server.texts("general")).toEqual([{ text: "hi" }]);
  });

  it("works offline: everything leaves in order once the room is live", async () => {
    server.down = true;
    await connect();
    connection.join("general");
    for (const text of ["one", "two", "three"]) connection.publish(general, text);
    expect(connection.underWay).toBe(3);
    server.down = false;
    await pass(10_000);
    expect(server.texts("general")).toEqual(["one", "two", "three"]);
    expect(connection.underWay).toBe(0);
  });

  it.each(["cut after storing", "cut before storing", "no ack"] as const)("never doubles and never loses a message: %s", async (mishap) => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push(mishap);
    connection.publish(general, "one", "k1");
    connection.publish(general, "two", "k2");
    await pass(60_000);
    expect(server.texts("general")).toEqual(["one", "two"]);
    expect(heard()).toEqual(["one", "two"]);
    expect([progress("k1")?.state, progress("k2")?.state]).toEqual(["sent", "sent"]);
  });

  it("does not send again what the replay has brought", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push("cut after storing");
    connection.publish(general, "one", "k1");
    await pass(2_000);
    expect(sent("chat")).toHaveLength(1);
    expect(progress("k1")?.state).toBe("sent");
  });

  it.each([
    ["rate_limited", 50],
    ["unavailable", undefined],
    ["outcome_unknown", undefined],
  ])("repeats under the same key after %s, and the next one waits its turn", async (code, retryAfter) => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push({ code, ...(retryAfter !== undefined && { retryAfter }), stored: code === "outcome_unknown" });
    connection.publish(general, "one", "k1");
    connection.publish(general, "two", "k2");
    await settle();
    expect(progress("k1")?.state === "sent").toBe(code === "outcome_unknown");
    await pass(5_000);
    expect(server.texts("general")).toEqual(["one", "two"]);
  });

  it("does not hold up other rooms and people", async () => {
    await connect();
    connection.join("general");
    connection.join("random");
    connection.join("@me");
    await settle();
    server.mishaps.push({ code: "unavailable" });
    connection.publish(general, "one", "k1");
    connection.publish({ room: "random" }, "two", "k2");
    connection.publish({ to: "bob" }, "three", "k3");
    await settle();
    expect(["k1", "k2", "k3"].map((key) => progress(key)?.state)).toEqual(["waiting", "sent", "sent"]);
  });

  it("gives up after some refusals; a person may try again, and it is one message", async () => {
    await connect();
    connection.join("general");
    await settle();
    for (let n = 0; n < 6; n++) server.mishaps.push({ code: "outcome_unknown", stored: n === 2 });
    const { toMembers } = server;
    server.toMembers = () => {};
    connection.publish(general, "one", "k1");
    await pass(120_000);
    expect(progress("k1")).toMatchObject({ state: "failed", failure: { code: "outcome_unknown", perhapsStored: true } });
    server.toMembers = toMembers;
    connection.retry("k1");
    await settle();
    expect(progress("k1")?.state).toBe("sent");
    expect(server.texts("general")).toEqual(["one"]);
  });

  it("fails at once on an error that no repeat can mend, and goes on with the next", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push({ code: "message_too_large" });
    connection.publish(general, "one", "k1");
    connection.publish(general, "two", "k2");
    await settle();
    expect(progress("k1")).toEqual({
      state: "failed",
      failure: { code: "message_too_large", message: "message_too_large", perhapsStored: false },
    });
    expect(server.texts("general")).toEqual(["two"]);
    connection.discard("k1");
    connection.retry("k1");
    await settle();
    expect(server.texts("general")).toEqual(["two"]);
  });

  it("asks a person when the key is forgotten and the log has lost what could tell", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push("cut after storing");
    connection.publish(general, "one", "k1");
    await settle();
    server.down = true;
    await pass(6 * 60_000);
    server.lose("general");
    server.down = false;
    await pass(40_000);
    expect(progress("k1")).toMatchObject({ state: "failed", failure: { perhapsStored: true } });
    expect(sent("chat")).toHaveLength(1);
    connection.retry("k1");
    await settle();
    expect(progress("k1")?.state).toBe("sent");
  });

  it("sends again by itself after any time when the log is whole, for then it would have come back", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push("cut before storing");
    connection.publish(general, "one", "k1");
    await settle();
    server.down = true;
    await pass(20 * 60_000);
    server.down = false;
    await pass(40_000);
    expect(progress("k1")?.state).toBe("sent");
    expect(server.texts("general")).toEqual(["one"]);
  });

  it("of an earlier run is sent under its key, and asks a person when that is too long ago", async () => {
    await connect();
    connection.join("general");
    await settle();
    connection.publish(general, "lately", "k1", Date.now() - 60_000);
    connection.publish(general, "long ago", "k2", Date.now() - 6 * 60_000);
    await settle();
    expect(progress("k1")?.state).toBe("sent");
    expect(progress("k2")).toMatchObject({ state: "failed", failure: { perhapsStored: true } });
    expect(server.texts("general")).toEqual(["lately"]);
  });

  it("fails when the room is lost", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push({ code: "unavailable" });
    connection.publish(general, "one", "k1");
    await settle();
    server.toMembers("general", { type: "left", room: "general", reason: "kicked" });
    expect(progress("k1")).toMatchObject({ state: "failed", failure: { code: "left", perhapsStored: false } });
    expect(of("left")).toEqual([{ type: "left", room: "general", reason: "kicked" }]);
  });

  it("is not settled by the same key of somebody else", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.mishaps.push({ code: "unavailable" });
    connection.publish(general, "one", "k1");
    await settle();
    server.toMembers("general", { type: "message", room: "general", offset: 1, from: "bob", msg: "mine", key: "k1", at: 1 });
    expect(progress("k1")?.state).toBe("waiting");
  });
});

describe("questions", () => {
  it("are answered, each with its own answer", async () => {
    await connect();
    connection.join("general");
    await settle();
    server.say("general", "bob", "one");
    server.say("general", "bob", "two");
    const answers = Promise.all([
      connection.history("general", { before: 2 }),
      connection.presence("general"),
      connection.rooms(),
    ]);
    await settle();
    const [history, presence, rooms] = await answers;
    expect(history.messages.map(({ msg }) => msg)).toEqual(["one"]);
    expect(presence.users).toEqual(["alice"]);
    expect(rooms.rooms).toEqual([{ room: "general", offset: 2 }]);
  });

  it("fail with the server's code, or with the connection", async () => {
    await connect();
    const { answer } = server;
    server.answer = (socket, frame) =>
      frame.type === "history"
        ? socket.tell({ type: "error", ...(frame.id !== undefined && { id: frame.id }), code: "forbidden", message: "no" })
        : frame.type === "presence"
          ? socket.end(1006)
          : answer.call(server, socket, frame);
    const failures = Promise.all(
      [connection.history("general"), connection.presence("general")].map((asked) => asked.catch((error) => error)),
    );
    await settle();
    const [refused, ended] = await failures;
    expect([refused.code, ended.code]).toEqual(["forbidden", "ended"]);
    await expect(connection.rooms()).rejects.toThrow(QuestionFailed);
  });
});

describe("what cannot be read", () => {
  it("ends the connection, and the next one brings what it may have been", async () => {
    await connect();
    connection.join("general");
    await settle();
    const [socket] = server.live;
    socket?.rooms.delete("general");
    server.say("general", "bob", "one");
    socket?.onmessage?.({ data: '{"type":"message","room":"general"}' });
    await pass(1_000);
    expect(heard()).toEqual(["one"]);
  });
});

describe("keys", () => {
  it("are 128 random bits", () => {
    const keys = new Set(Array.from({ length: 100 }, newKey));
    expect(keys.size).toBe(100);
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/u);
  });
});
