/** What a conversation shows after what happened: the reducer by itself. */
import { describe, expect, it } from "vitest";
import type { Logged } from "./protocol.ts";
import { emptyRoom, type Reader, type RoomAction, roomReducer, type RoomState } from "./room.ts";

const me: Reader = { me: "alice", reading: true };
const away: Reader = { me: "alice", reading: false };
const position = (offset: number, epoch = "e1") => ({ epoch, offset });

function message(offset: number, from = "bob", more: Partial<Logged> = {}): Logged {
  return { type: "message", room: "general", offset, from, msg: `m${offset}`, at: 1_000 * offset, ...more } as Logged;
}

function after(actions: readonly RoomAction[], reader = me, state = emptyRoom("general")): RoomState {
  return actions.reduce((state, action) => roomReducer(state, action, reader), state);
}

const joined = (messages: readonly Logged[], first = true, offset = messages.at(-1)?.offset ?? 0): RoomAction => ({
  type: "joined",
  position: position(offset),
  messages,
  first,
  live: true,
});
const publish = (key: string, state: "waiting" | "sending" | "sent"): RoomAction => ({
  type: "publish",
  key,
  msg: `text of ${key}`,
  progress: state === "sent" ? { state, at: 1 } : { state },
  at: 5,
});
/** What one reads, with gaps as bars. */
const shown = ({ entries, pending }: RoomState) => [
  ...entries.map((entry) => (entry.kind === "gap" ? "|" : entry.msg)),
  ...pending.map(({ msg, progress }) => `${String(msg)} (${progress.state})`),
];

describe("messages", () => {
  it("stand in the order of the log, those of the join first", () => {
    const state = after([joined([message(1), message(2)]), { type: "message", message: message(3) }]);
    expect(shown(state)).toEqual(["m1", "m2", "m3"]);
    expect(state).toMatchObject({ phase: "live", position: position(3), older: "end" });
  });

  it("of older pages stand in front, and nothing twice", () => {
    const state = after([
      joined([message(5), message(6)]),
      { type: "loading" },
      { type: "page", messages: [message(3), message(4), message(5)], more: true },
      { type: "page", messages: [message(1), message(2)], more: false },
    ]);
    expect(shown(state)).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
    expect(state.older).toBe("end");
    expect(new Set(state.entries.map(({ uid }) => uid)).size).toBe(6);
  });

  it("are so many at most: the oldest go, and can be loaded again", () => {
    const day = Array.from({ length: 20_001 }, (_, at) => message(at + 1));
    const state = after([joined([]), joined(day, false)]);
    expect([state.entries.length, state.entries[0]?.uid, state.older]).toEqual([15_001, "0.5001", "more"]);
    const back = after([{ type: "page", messages: day.slice(4_900, 5_000), more: true }], me, state);
    expect([back.entries.length, new Set(back.entries.map(({ uid }) => uid)).size]).toEqual([15_101, 15_101]);
    const lost = after([joined([]), { type: "gap", position: position(0, "e2") }, joined(day, false)]);
    expect(lost.older).toBe("more");
  });

  it("may be older than those that came with the join, as long as the first is not the very first", () => {
    expect(after([joined([message(1)])]).older).toBe("end");
    expect(after([joined([message(2)])]).older).toBe("more");
    expect(after([joined([], true, 7)]).older).toBe("more");
    expect(after([joined([])]).older).toBe("end");
  });
});

describe("one's own message", () => {
  it("is shown at once, and replaced by its echo without becoming another line", () => {
    const waiting = after([joined([]), publish("k", "waiting"), publish("k", "sending")]);
    expect(shown(waiting)).toEqual(["text of k (sending)"]);
    const there = after([{ type: "message", message: message(1, "alice", { key: "k" }) }, publish("k", "sent")], me, waiting);
    expect(shown(there)).toEqual(["m1"]);
    expect(there.entries[0]?.uid).toBe(waiting.pending[0]?.uid);
  });

  it("is the same whether the ack or the echo comes first", () => {
    const state = after([joined([]), publish("k", "sending"), publish("k", "sent")]);
    expect(shown(state)).toEqual(["text of k (sent)"]);
    expect(shown(after([{ type: "message", message: message(1, "alice", { key: "k" }) }], me, state))).toEqual(["m1"]);
  });

  it("is also found in the replay of a join", () => {
    const state = after([joined([]), publish("k", "sending"), joined([message(1, "alice", { key: "k" })], false)]);
    expect(shown(state)).toEqual(["m1"]);
  });

  it("is also found in an older page", () => {
    const page: RoomAction = { type: "page", messages: [message(1, "alice", { key: "k" })], more: false };
    expect(shown(after([joined([message(5)]), publish("k", "sending"), page]))).toEqual(["m1", "m5"]);
  });

  it("is not replaced by the message of somebody else under the same key", () => {
    const state = after([joined([]), publish("k", "sending"), { type: "message", message: message(1, "bob", { key: "k" }) }]);
    expect(shown(state)).toEqual(["m1", "text of k (sending)"]);
  });

  it("can be discarded when it has failed", () => {
    const failed: RoomAction = {
      type: "publish",
      key: "k",
      msg: "x",
      at: 5,
      progress: { state: "failed", failure: { code: "forbidden", message: "no", perhapsStored: false } },
    };
    expect(shown(after([joined([]), publish("k", "sending"), failed, { type: "discard", key: "k" }]))).toEqual([]);
  });
});

describe("a gap", () => {
  it("is marked where it is, and what is left of the log stands behind the mark", () => {
    const lost = after([joined([message(1), message(2)]), { type: "gap", position: position(9, "e2") }]);
    expect(shown(lost)).toEqual(["m1", "m2", "|"]);
    const live = after([{ type: "message", message: message(10, "bob", { at: 99_000 }) }], me, lost);
    const left = [message(8, "bob", { at: 80_000 }), message(9, "bob", { at: 90_000 })];
    expect(shown(after([{ type: "filled", messages: left }], me, live))).toEqual(["m1", "m2", "|", "m8", "m9", "m10"]);
  });

  it("does not show again what the reader has, though its offset is the same in another epoch", () => {
    const state = after([
      joined([message(1), message(2)]),
      { type: "gap", position: position(2, "e2") },
      { type: "filled", messages: [message(1), message(2, "carol", { at: 2_500 })] },
    ]);
    expect(state.entries.map((entry) => (entry.kind === "gap" ? "|" : entry.from))).toEqual(["bob", "bob", "|", "carol"]);
  });

  it("leaves the way back open until it is known whether the log is the same", () => {
    const state = after([joined([message(5)]), { type: "gap", position: position(0, "e2") }]);
    expect(state.older).toBe("unknown");
    expect(after([{ type: "filledUp", same: true, older: "more" }], me, state).older).toBe("more");
    expect(after([{ type: "filledUp", same: false, older: "end" }], me, state).older).toBe("end");
  });

  it("does not open the way back again where the beginning is shown", () => {
    const gap: RoomAction = { type: "gap", position: position(9, "e2") };
    expect(after([joined([message(1)]), gap, { type: "filledUp", same: true, older: "more" }]).older).toBe("end");
  });

  it("is filled behind each mark with what belongs there, in one piece or in several", () => {
    const lost = after([
      joined([message(1)]),
      { type: "gap", position: position(2, "e2") },
      { type: "message", message: message(3) },
      { type: "gap", position: position(5, "e3") },
      { type: "message", message: message(6) },
    ]);
    const log = [1, 2, 3, 4, 5].map((offset) => message(offset));
    const pieces = [log.slice(4), log.slice(2), log].map((messages): RoomAction => ({ type: "filled", messages }));
    for (const actions of [pieces, pieces.slice(2)]) {
      expect(shown(after(actions, me, lost))).toEqual(["m1", "|", "m2", "m3", "|", "m4", "m5", "m6"]);
    }
  });

  it("gives the same offsets other identities", () => {
    const state = after([
      joined([message(1)]),
      { type: "gap", position: position(0, "e2") },
      { type: "message", message: message(1, "carol") },
    ]);
    expect(new Set(state.entries.map(({ uid }) => uid)).size).toBe(3);
  });
});

describe("what is unread", () => {
  it("is what others wrote while nobody looked, from its first message on", () => {
    const state = after(
      [joined([message(1)]), { type: "message", message: message(2, "alice") }, { type: "message", message: message(3) }, { type: "message", message: message(4) }],
      away,
    );
    expect([state.unread, state.firstUnread]).toEqual([2, state.entries[2]?.uid]);
  });

  it("is nothing while one looks, and nothing any more once one has", () => {
    expect(after([joined([]), { type: "message", message: message(1) }]).unread).toBe(0);
    const state = after([joined([]), { type: "message", message: message(1) }, { type: "opened" }], away);
    // The mark stays until the conversation is opened the next time.
    expect([state.unread, state.firstUnread]).toEqual([0, "0.1"]);
    expect(after([{ type: "opened" }], away, state).firstUnread).toBeUndefined();
  });

  it("is counted from where the last visit ended, own messages left out", () => {
    const messages = [message(3), message(4, "alice"), message(5)];
    const since = (offset: number, epoch = "e1"): RoomAction => ({ ...joined(messages), readUpTo: position(offset, epoch) }) as RoomAction;
    expect(after([since(3)], away)).toMatchObject({ unread: 1, firstUnread: "0.5" });
    expect(after([since(1)], away)).toMatchObject({ unread: 3, firstUnread: "0.3" });
    expect(after([since(5)], away)).toMatchObject({ unread: 0, firstUnread: undefined });
    expect(after([since(1, "e0")], away).unread).toBe(0);
  });
});

describe("a room that is lost", () => {
  it("keeps its messages and says why, and begins anew when one joins again", () => {
    const state = after([joined([message(1)]), { type: "left", why: "removed" }]);
    expect([state.phase, state.why, shown(state)]).toEqual(["left", "removed", ["m1"]]);
    const again = after([{ type: "rejoin" }, joined([message(1), message(2)])], me, state);
    expect([again.phase, shown(again)]).toEqual(["live", ["m1", "m2"]]);
  });
});
