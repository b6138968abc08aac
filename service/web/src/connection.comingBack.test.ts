/** How a connection comes back after a loss, and how it moves to another instance. */
import { describe, expect, it } from "vitest";
import { connect, connection, dropped, events, heard, of, pass, probes, progress, sent, server, settle } from "./connectionRig.ts";

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
