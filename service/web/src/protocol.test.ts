/** Holds the frames to the golden files that the service is held to as well. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CLOSE_CODES, closeCode } from "./closeCodes.ts";
import { type ClientFrame, decode, encode, UnreadableFrame } from "./protocol.ts";

const service = new URL("../../", import.meta.url);
const folder = new URL("protocol-samples/", service);
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -".json".length));
const sample = (name: string) => readFileSync(new URL(`${name}.json`, folder), "utf8").replace(/\n$/u, "");

const key = "0b5e1ff0-6a58-4d0e-9a3c-2f1b7c9d8e41";
const typing = { typing: true };

/** The frame that each file of the side `client` holds. */
const written: Record<string, ClientFrame> = {
  "client-auth": { type: "auth", id: 0, token: "alice" },
  "client-join": { type: "join", id: 1, room: "general" },
  "client-join-history": { type: "join", id: 2, room: "general", history: 50 },
  "client-join-resume": { type: "join", id: 3, room: "general", since: { epoch: "5f0c2b9a81d4e763", offset: 41 } },
  "client-join-inbox": { type: "join", id: 4, room: "@me", since: { epoch: "a90b4c3d2e1f6758", offset: 6 } },
  "client-leave": { type: "leave", id: 5, room: "general" },
  "client-chat": { type: "chat", id: 6, room: "general", msg: "hi" },
  "client-chat-key": { type: "chat", id: "a-7", room: "general", msg: { text: "hi", mood: 1.5 }, key },
  "client-chat-only_room": { type: "chat", msg: "hi" },
  "client-chat-direct": { type: "chat", id: 8, to: "Bob", msg: "Hi", key: "7d3a9c52-1c0f-4b7e-8f62-90ab12cd34ef" },
  "client-chat-traceparent": {
    type: "chat",
    id: 9,
    room: "general",
    msg: "hi",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  },
  "client-signal": { type: "signal", room: "general", data: typing },
  "client-signal-direct": { type: "signal", id: 10, to: "Bob", data: typing },
  "client-history": { type: "history", id: 11, room: "general" },
  "client-history-before": { type: "history", id: 12, room: "general", before: 120, limit: 50 },
  "client-history-after": { type: "history", id: 13, room: "@me", after: 6 },
  "client-presence": { type: "presence", id: 14, room: "general" },
  "client-rooms": { type: "rooms", id: 15 },
  "client-ping": { type: "ping", id: 16 },
};

describe("golden frames", () => {
  it("has one for every client frame that is written here, and writes every one that there is", () => {
    expect(Object.keys(written).sort()).toEqual(names.filter((name) => name.startsWith("client-")).sort());
  });

  it.each(Object.entries(written))("%s is written as the same JSON", (name, frame) => {
    expect(JSON.parse(encode(frame))).toEqual(JSON.parse(sample(name)));
  });

  const server = names.filter((name) => name.startsWith("server-"));

  it("sees the files of the server", () => {
    expect(server.length).toBeGreaterThanOrEqual(30);
  });

  it.each(server)("%s is read without a fault, and nothing of it is lost", (name) => {
    const frame = decode(sample(name));
    expect(frame?.type).toBe(name.split("-")[1]);
    expect(frame).toEqual(JSON.parse(sample(name)));
  });

  // Whatever a golden frame holds is either needed or known to be optional: without it, reading must fail or go on.
  it.each(server)("%s without one of its fields is refused, or the field is optional", (name) => {
    const whole = JSON.parse(sample(name)) as Record<string, unknown>;
    const optional = new Set(["id", "key", "expires_in", "affinity_cookie", "retry_after_ms", "reason"]);
    if (whole["type"] === "reconnect") optional.delete("reason");
    for (const field of Object.keys(whole).filter((field) => field !== "type")) {
      const { [field]: _, ...rest } = whole;
      const reading = () => decode(JSON.stringify(rest));
      // A list of those who are here and a word of somebody who comes are told apart by `event`.
      if (optional.has(field)) expect(reading, field).not.toThrow();
      else expect(reading, field).toThrow(UnreadableFrame);
    }
  });
});

describe("reading", () => {
  it("passes over types that it does not know, whatever their name", () => {
    for (const type of ["later", "constructor", "__proto__", "toString"]) {
      expect(decode(JSON.stringify({ type, room: 1 }))).toBeUndefined();
    }
  });

  it("keeps fields that it does not know", () => {
    expect(decode('{"type":"pong","id":1,"later":[1]}')).toEqual({ type: "pong", id: 1, later: [1] });
  });

  it.each(["", "null", "[]", "{}", '"x"', '{"type":1}', '{"type":"pong"', '{"type":"pong","id":{}}'])("refuses %s", (text) => {
    expect(() => decode(text)).toThrow(UnreadableFrame);
  });

  it("refuses a list with something in it that is no message", () => {
    const joined = JSON.parse(sample("server-joined-history"));
    for (const bad of [1, {}, { type: "later" }, { ...joined.messages[0], offset: -1 }, { ...joined.messages[0], at: "now" }]) {
      expect(() => decode(JSON.stringify({ ...joined, messages: [bad] }))).toThrow(UnreadableFrame);
    }
  });
});

describe("close codes", () => {
  it("are those of the protocol's table, with the same word and the same advice", () => {
    const reference = readFileSync(new URL("PROTOCOL.md", service), "utf8");
    const rows = [...reference.matchAll(/^\| (\d{4}) \| `(\w+)` \| (yes|no) \|/gmu)];
    expect(rows.length).toBeGreaterThan(10);
    const told = rows.map(([, code, reason, reconnect]) => ({ code: Number(code), reason, reconnect: reconnect === "yes" }));
    expect(CLOSE_CODES.map(({ code, reason, reconnect }) => ({ code, reason, reconnect }))).toEqual(told);
  });

  it("that are unknown are judged by their range", () => {
    for (const code of [1001, 1005, 1006, 1011, 1013, 3000, 4005, 4499]) expect(closeCode(code).reconnect, `${code}`).toBe(true);
    for (const code of [4505, 4999]) expect(closeCode(code).reconnect, `${code}`).toBe(false);
  });
});
