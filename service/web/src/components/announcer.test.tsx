/** What is read out to those who do not see the list: every new line once, in order, also when two are the same. */
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import type { Message } from "../protocol.ts";
import { emptyRoom, type RoomAction, roomReducer, type RoomState } from "../room.ts";
import { Announcer, hear, type Heard, NOTHING_HEARD } from "./Announcer.tsx";

const reader = { me: "alice", reading: true };
const message = (offset: number, from: string, msg: Message["msg"]): Message => ({ type: "message", room: "general", offset, from, msg, at: offset });
const said = (offset: number, from: string, msg: Message["msg"]): RoomAction => ({ type: "message", message: message(offset, from, msg) });
const joined = (...messages: Message[]): RoomAction => ({
  type: "joined",
  position: { epoch: "e", offset: messages.at(-1)?.offset ?? 0 },
  messages,
  first: true,
  live: true,
});

/** The room and what was read out, after frames in each of which all of this happened. */
function after(...frames: RoomAction[][]): { room: RoomState; read: string[] } {
  let room = emptyRoom("general");
  let heard: Heard = hear(NOTHING_HEARD, room, "alice");
  for (const actions of frames) {
    room = actions.reduce((state, action) => roomReducer(state, action, reader), room);
    heard = hear(heard, room, "alice");
  }
  return { room, read: heard.lines.map(({ text }) => text) };
}
const read = (...frames: RoomAction[][]) => after(...frames).read;
const old = joined(message(1, "bob", "before"), message(2, "bob", "ok"));

describe("the announcer", () => {
  it("reads a line again that is the same as the one before", () => {
    expect(read([old], [said(3, "bob", "ok")], [said(4, "bob", "ok")])).toEqual(["bob: ok", "bob: ok"]);
  });

  it("reads all that came within one frame, and none of one's own", () => {
    const frame = [said(3, "bob", "one"), said(4, "alice", "mine"), said(5, "carol", ["data"]), said(6, "bob", "two")];
    expect(read([old], frame)).toEqual(["bob: one", "carol: data", "bob: two"]);
  });

  it("counts what came when it is too much to listen to", () => {
    expect(read([old], Array.from({ length: 40 }, (_, n) => said(3 + n, "bob", `${n}`)))).toEqual(["40 new messages"]);
  });

  it("says nothing of what was there already, and nothing of older messages that are loaded", () => {
    const page: RoomAction = { type: "page", messages: [message(1, "bob", "long ago")], more: false };
    expect(read([joined(message(2, "bob", "before"))], [page])).toEqual([]);
    expect(read([old], [said(3, "bob", "new")], [{ type: "opened" }])).toEqual(["bob: new"]);
  });

  it("reads the very first message of a room", () => {
    expect(read([joined()], [said(1, "bob", "first")])).toEqual(["bob: first"]);
  });

  it("tells of a gap among the rest", () => {
    const gap: RoomAction = { type: "gap", position: { epoch: "f", offset: 0 } };
    expect(read([old], [gap, said(1, "bob", "after")])).toEqual(["Messages may be missing.", "bob: after"]);
  });

  it("stays short on a long day", () => {
    const day = Array.from({ length: 100 }, (_, n) => [said(3 + n, "bob", `${n}`)]);
    expect(read([old], ...day)).toEqual(Array.from({ length: 20 }, (_, n) => `bob: ${80 + n}`));
  });

  it("is a log to which elements are added, empty at first", () => {
    const html = renderToStaticMarkup(<Announcer room={after([old]).room} me="alice" />);
    expect(html).toBe('<div class="unseen" role="log" aria-live="polite" aria-relevant="additions"></div>');
  });
});
