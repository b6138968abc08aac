/** What a connection promises for messages: stored once, in order, and their fate is told. */
import { describe, expect, it } from "vitest";
import { connect, connection, heard, of, pass, progress, sent, server, settle } from "./connectionRig.ts";

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
