/** What a link does with frames that it cannot read, in browsers that are particular about close codes. */
import { describe, expect, it } from "vitest";
import { pass, stage } from "./stage.ts";

const scene = stage();

describe("a frame that cannot be read", () => {
  it.each(['{"type":"message","room":"general"}', "not JSON", new ArrayBuffer(1)])("ends the link, and the next one brings what it may have been: %s", async (data) => {
    const alice = await scene.call("alice", "general");
    const [socket] = scene.server.live;
    socket?.rooms.delete("general");
    scene.server.say("general", "bob", "lost on the way");
    socket?.onmessage?.({ data });
    expect([alice.connection.status.phase, socket?.closedWith]).toEqual(["waiting", 1000]);
    socket?.rooms.add("general");
    scene.server.say("general", "bob", "the next");
    await pass(1_000);
    expect(alice.heard()).toEqual(["lost on the way", "the next"]);
    expect(alice.of("gap")).toEqual([]);
  });

  it("ends the link even where closing a socket fails", async () => {
    const alice = await scene.call("alice", "general");
    const [socket] = scene.server.live;
    if (socket === undefined) throw new Error("no socket");
    socket.close = () => {
      throw new DOMException("as browsers do", "InvalidAccessError");
    };
    expect(() => socket.onmessage?.({ data: "not JSON" })).toThrow("as browsers do");
    expect(alice.connection.status.phase).toBe("waiting");
    await pass(1_000);
    expect(alice.connection.status.phase).toBe("online");
  });
});
