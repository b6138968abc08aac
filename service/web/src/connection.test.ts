/** What a connection promises while it stands: how it signs in, notices silence, answers and reads. */
import { describe, expect, it, vi } from "vitest";
import { newKey, QuestionFailed } from "./connection.ts";
import { connect, connection, heard, pass, progress, sent, server, settle } from "./connectionRig.ts";

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
