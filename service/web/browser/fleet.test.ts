/** Pages on different instances, over a Redis of their own; and what happens to them when instances and logs are lost. */
import { describe, expect, it } from "vitest";
import { API_KEY, Backend } from "./rig/backend.ts";
import { stage } from "./rig/scene.ts";
import { DEADLINE } from "./rig/visitor.ts";

const scene = stage();
const until = { timeout: DEADLINE, interval: 20 };

describe("pages on different instances", () => {
  it("chat: two of them", async () => {
    const { first, second } = await scene.pair();
    const [alice, bob] = [await scene.visitor(first.url, "alice"), await scene.visitor(second.url, "bob")];
    expect([await alice.badge(), await bob.badge()]).toEqual(["server-1 connected", "server-2 connected"]);
    await alice.say("Hi Bob");
    await bob.sees("Hi Bob");
    await bob.say("Hi Alice");
    await alice.sees("Hi Bob", "Hi Alice");
    await bob.sees("Hi Bob", "Hi Alice");
  });

  it("chat: three of them, all in one order", async () => {
    const { first, second } = await scene.pair();
    const [one, two] = [first.url, second.url];
    const people = [await scene.visitor(one, "alice"), await scene.visitor(two, "bob"), await scene.visitor(one, "charlie")];
    await Promise.all(people.map(async (person) => {
      for (let n = 1; n <= 4; n++) await person.say(`${person.name} ${n}`);
    }));
    await expect.poll(async () => (await people[0]!.texts()).length, until).toBe(12);
    const order = await people[0]!.texts();
    for (const person of people) {
      await person.sees(...order);
      expect(order.filter((text) => text.startsWith(person.name))).toEqual([1, 2, 3, 4].map((n) => `${person.name} ${n}`));
    }
  });

  it("see each other come, type and go", async () => {
    const { first, second } = await scene.pair();
    const [alice, bob] = [await scene.visitor(first.url, "alice"), await scene.visitor(second.url, "bob")];
    const people = alice.page.getByRole("complementary", { name: "People in this room" });
    await people.getByRole("button", { name: "bob" }).waitFor();
    await bob.composer.pressSequentially("I am");
    await alice.page.getByText("bob is typing").waitFor();
    await bob.say("I am here");
    await alice.sees("I am here");
    await alice.page.getByText("bob is typing").waitFor({ state: "detached" });
    await bob.leave();
    await people.getByRole("button", { name: "bob" }).waitFor({ state: "detached" });
  });

  it("write direct messages that nobody else sees", async () => {
    const { first, second } = await scene.pair();
    const [one, two] = [first.url, second.url];
    const [alice, bob, charlie] = [await scene.visitor(one, "alice"), await scene.visitor(two, "bob"), await scene.visitor(two, "charlie")];
    await alice.page.getByRole("button", { name: "bob" }).click();
    await alice.page.getByRole("heading", { name: "bob", level: 1 }).waitFor();
    await alice.say("psst");
    const inbox = bob.page.getByRole("button", { name: /alice.*1 unread/u });
    await inbox.waitFor();
    expect(await bob.page.title()).toBe("(1) #general · Parley");
    await inbox.click();
    await bob.sees("psst");
    await bob.say("what?");
    await alice.sees("psst", "what?");
    await charlie.say("anything new?");
    await charlie.sees("anything new?");
    expect(await charlie.page.getByText("psst").count()).toBe(0);
    expect(await charlie.page.getByText("Direct messages").count()).toBe(0);
  });
});

describe("a page whose instance is killed", () => {
  it("says so, moves to another one and misses nothing", async () => {
    const { first, second } = await scene.pair();
    const door = await scene.balancer(first, second);
    const [alice, bob] = [await scene.visitor(door.url, "alice"), await scene.visitor(second.url, "bob")];
    await alice.isOn("server-1");
    await alice.say("before");
    await bob.sees("before");
    door.closed = true;
    await first.kill();
    await alice.isTold("Connection lost. Reconnecting…");
    expect(await alice.badge()).toBe("server-1 reconnecting");
    for (const text of ["one", "two", "three"]) await bob.say(text);
    await bob.sees("before", "one", "two", "three");
    await alice.say("written meanwhile");
    door.closed = false;
    await alice.isTold("Connected to server-2. 3 messages caught up.");
    await alice.isOn("server-2");
    await alice.sees("before", "one", "two", "three", "written meanwhile");
    await bob.sees("before", "one", "two", "three", "written meanwhile");
    await bob.say("after");
    await alice.sees("before", "one", "two", "three", "written meanwhile", "after");
  });
});

describe("an instance behind the balancer", () => {
  it("hands its pages over before it ends when it drains, and they notice nothing but the name", async () => {
    const { first, second } = await scene.pair("--affinity-cookie=parley-route", `--api-key=${API_KEY}`);
    const door = await scene.door(first, second);
    // 200 sessions a second are asked to move, in the order in which they came: some seconds pass before it is Alice's turn.
    await first.fill(500);
    // All messages fit on Alice's screen.
    const [alice, bob] = [await scene.regular(door, "server-1", "alice", { height: 8_000 }), await scene.visitor(second.url, "bob")];
    const backend = new Backend(second.url);
    const said = await alice.watch();
    const expected: string[] = [];
    let stop = false;
    const talking = (async () => {
      for (let n = 1; !stop; n++) {
        await backend.say("general", "carol", `${n}`);
        expected.push(`${n}`);
        await expect.poll(() => alice.frames.some((text) => text.includes(`"msg":"${n}"`)), { timeout: DEADLINE, interval: 10 }).toBe(true);
      }
    })();
    const ended = first.terminate();
    await alice.isOn("server-2");
    await ended;
    stop = true;
    await talking;
    await alice.say("still here");
    await alice.sees(...expected, "still here");
    await bob.page.locator(".line-text").getByText("still here").waitFor();
    const asked = alice.frames.findIndex((text) => text.includes('"type":"reconnect"'));
    const moved = alice.frames.findLastIndex((text) => text.includes('"type":"welcome"'));
    const meanwhile = alice.frames.slice(asked, moved).filter((text) => text.includes('"type":"message"')).length;
    expect(meanwhile, "the test says something of a hand-over only if much was written during it").toBeGreaterThanOrEqual(10);
    const { badges, notes, dropped } = await said();
    expect(badges).toEqual(["server-1 connected", "server-1 moving", "server-2 connected"]);
    expect(notes.filter((note) => !note.startsWith("Connected to server-2."))).toEqual([]);
    // The balancer would not have led her back by it, but others would.
    expect(dropped).toEqual(["parley-route"]);
  });

  it("is left behind when it is killed, though the cookie of its pages leads to it", async () => {
    const { first, second } = await scene.pair("--affinity-cookie=parley-route");
    const door = await scene.door(first, second);
    const [alice, bob] = [await scene.regular(door, "server-1", "alice"), await scene.visitor(second.url, "bob")];
    await alice.say("before");
    await bob.sees("before");
    await first.kill();
    await alice.say("meanwhile");
    await alice.isOn("server-2");
    await bob.say("after");
    await alice.sees("before", "meanwhile", "after");
    await bob.sees("before", "meanwhile", "after");
  });
});

describe("a gap", () => {
  it("is marked when the shared log is lost under a page that stays", async () => {
    const { redis, first, second } = await scene.pair();
    const [alice, bob] = [await scene.visitor(first.url, "alice"), await scene.visitor(second.url, "bob")];
    await alice.say("before");
    await bob.sees("before");
    await redis.flush();
    await bob.say("after");
    await alice.sees("before", "|", "after");
    await bob.sees("before", "|", "after");
    await alice.page.getByText("Messages may be missing here.").waitFor();
  });

  it("is marked when an instance that keeps its log in memory is started anew", async () => {
    const first = await scene.parley("server-1");
    const door = await scene.balancer(first);
    const alice = await scene.visitor(door.url, "alice");
    await alice.say("before");
    await alice.sees("before");
    await first.kill();
    door.upstreams = [await scene.parley("server-1")];
    await alice.isTold("Some messages may be missing.");
    await alice.sees("before", "|");
    await alice.say("after");
    await alice.sees("before", "|", "after");
  });
});

describe("a message whose ack is lost", () => {
  it("is shown as on its way, and is there once when the connection is back", async () => {
    const { first, second } = await scene.pair();
    const door = await scene.balancer(first);
    const [alice, bob] = [await scene.visitor(door.url, "alice"), await scene.visitor(second.url, "bob")];
    await alice.say("first");
    await alice.page.getByTitle("Sent").waitFor();
    door.hold();
    await alice.say("once");
    // It is stored and everybody has it; only its sender does not know.
    await bob.sees("first", "once");
    await expect.poll(() => alice.page.getByTitle("Sending").count(), until).toBe(1);
    door.release();
    door.cut();
    await alice.page.getByTitle("Sending").waitFor({ state: "detached" });
    await alice.say("next");
    await alice.sees("first", "once", "next");
    await bob.sees("first", "once", "next");
  });

  it("is there once, too, when its sender loads the page again", async () => {
    const { first, second } = await scene.pair();
    const door = await scene.balancer(first);
    const [alice, bob] = [await scene.visitor(door.url, "alice"), await scene.visitor(second.url, "bob")];
    door.hold();
    await alice.say("once");
    await bob.sees("once");
    await alice.say("not even sent");
    door.release();
    door.cut();
    await alice.page.reload();
    await alice.sees("once", "not even sent");
    await bob.sees("once", "not even sent");
    await alice.page.getByTitle("Sent").waitFor();
  });

  it("does not double either when nothing of it had arrived", async () => {
    const { first, second } = await scene.pair();
    const door = await scene.balancer(first);
    const [alice, bob] = [await scene.visitor(door.url, "alice"), await scene.visitor(second.url, "bob")];
    door.closed = true;
    door.cut();
    await alice.isTold("Connection lost. Reconnecting…");
    await alice.composer.fill("typed offline");
    await alice.page.getByText("Will be sent when you are back online").waitFor();
    await alice.composer.press("Enter");
    await alice.say("and another");
    await expect.poll(() => alice.page.getByTitle("Sending").count(), until).toBe(2);
    door.closed = false;
    await bob.sees("typed offline", "and another");
    await alice.sees("typed offline", "and another");
    await alice.page.getByTitle("Sent").waitFor();
  });
});
