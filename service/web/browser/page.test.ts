/** One page by itself: what is typed stays text, the keyboard is enough, lists stay where they are, phones work. */
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { CORPUS } from "../src/xssCorpus.ts";
import { stage } from "./rig/scene.ts";
import { DEADLINE } from "./rig/visitor.ts";

const scene = stage();
const until = { timeout: DEADLINE, interval: 20 };

/** Which element has the focus, by its role and name for people. */
const focus = (page: Page) =>
  page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);

/** Fills the room over a socket of the page: a text of its own for each message, some longer than others. */
const fill = (page: Page) =>
  page.evaluate(async () => {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws?user=carol&room=general`);
    await new Promise((resolve) => (socket.onmessage = (event) => String(event.data).includes("joined") && resolve(null)));
    for (let n = 1; n <= 400; n++) {
      const msg = `message ${n}${" and more".repeat((n * 7) % 40)}`;
      socket.send(JSON.stringify({ type: "chat", room: "general", msg, id: n }));
    }
    await new Promise((resolve) => (socket.onmessage = (event) => String(event.data).includes('"id":400,') && resolve(null)));
  });

describe("what somebody writes", () => {
  it("stays text, whatever it is", async () => {
    const parley = await scene.parley("server-1", "--messages-per-second=0");
    const [alice, bob] = [await scene.visitor(parley.url, "alice"), await scene.visitor(parley.url, "bob")];
    const asked: string[] = [];
    bob.page.on("request", (request) => asked.push(request.url()));
    for (const text of CORPUS) await bob.say(text);
    await expect.poll(() => alice.page.locator(".line-text").getByText(CORPUS.at(-1)!).count(), until).toBe(1);
    // Only what is in view is drawn, so look at all of it by scrolling.
    const seen = new Set<string>();
    await alice.page.getByRole("region", { name: "Messages" }).focus();
    await alice.page.keyboard.press("Home");
    await expect
      .poll(async () => {
        for (const text of await alice.texts()) seen.add(text);
        await alice.page.mouse.move(600, 400);
        await alice.page.mouse.wheel(0, 200);
        return CORPUS.filter((text) => !seen.has(text));
      }, until)
      .toEqual([]);
    for (const { page } of [alice, bob]) {
      expect(await page.evaluate("window.hacked")).toBeUndefined();
      expect(await page.locator(".line-text :not(a)").count()).toBe(0);
      const links = await page.locator(".line-text a").evaluateAll((found) => found.map((link) => (link as HTMLAnchorElement).protocol));
      expect(links.filter((protocol) => protocol !== "https:")).toEqual([]);
    }
    expect(asked.filter((url) => !url.startsWith(parley.url))).toEqual([]);
  });

  it("as a name of a room or a person is text as well", async () => {
    const parley = await scene.parley("server-1");
    const name = "<img src=x onerror=window.hacked=1>";
    const alice = await scene.visitor(parley.url, name);
    await alice.goTo(name);
    await alice.page.getByRole("heading", { name, level: 1 }).waitFor();
    await alice.say("hi");
    await alice.sees("hi");
    expect(await alice.page.locator("img").count()).toBe(0);
    expect(await alice.page.evaluate("window.hacked")).toBeUndefined();
  });
});

describe("a page of another origin", () => {
  it("gets nothing: no socket, no answer, no frame", async () => {
    const parley = await scene.parley("server-1");
    const foreign = createServer((_, response) => response.setHeader("content-type", "text/html").end("<h1>elsewhere</h1>"));
    await new Promise<void>((resolve) => foreign.listen(0, "127.0.0.1", resolve));
    scene.after(() => new Promise((resolve) => foreign.close(resolve)));
    const address = foreign.address();
    const page = await (await scene.browser.newContext()).newPage();
    await page.goto(`http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/`);
    const got = await page.evaluate(async (url) => {
      const socket = new WebSocket(`${url.replace("http", "ws")}ws?user=mallory&room=general`);
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve("open");
        socket.onclose = ({ code }) => resolve(code);
      });
      const readable = async (path: string) => fetch(url + path).then(() => "readable", () => "refused");
      const frame = document.createElement("iframe");
      const loaded = new Promise((resolve) => (frame.onload = resolve));
      frame.src = url;
      document.body.append(frame);
      await loaded;
      return { opened, ws: await readable("ws"), page: await readable(""), instance: await readable("instance") };
    }, parley.url);
    expect(got).toEqual({ opened: 1006, ws: "refused", page: "refused", instance: "refused" });
    // A browser shows a page of its own where it refuses to show ours.
    expect(page.frames().map((frame) => frame.url())).not.toContain(parley.url);
  });
});

describe("the keyboard alone", () => {
  it("is enough to sign in, find a room, talk, and write to somebody", async () => {
    const parley = await scene.parley("server-1");
    const bob = await scene.visitor(parley.url, "bob");
    const { page } = await scene.guest(parley.url, "alice");
    await page.locator("input:focus").waitFor();
    await page.keyboard.type("alice");
    await page.keyboard.press("Enter");
    await expect.poll(() => focus(page), until).toBe("Message #general");
    await page.keyboard.type("two lines,");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("one message");
    await page.keyboard.press("Enter");
    await bob.sees("two lines,\none message");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("plans");
    await page.keyboard.press("Enter");
    await expect.poll(() => focus(page), until).toBe("Message #plans");
    await page.keyboard.press("Alt+ArrowUp");
    await expect.poll(() => focus(page), until).toBe("Message #general");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("bo");
    await page.getByRole("option", { name: "Write to @bob" }).waitFor();
    await page.keyboard.press("Enter");
    await expect.poll(() => focus(page), until).toBe("Message bob");
    await page.keyboard.type("psst");
    await page.keyboard.press("Enter");
    await bob.page.getByRole("button", { name: /alice.*1 unread/u }).waitFor();
  });

  it("is not too fast for the page: what is typed right after going somewhere is written there", async () => {
    const parley = await scene.parley("server-1");
    const alice = await scene.visitor(parley.url, "alice");
    const { page } = alice;
    await alice.holdFrames();
    await page.keyboard.press("Control+k");
    await page.keyboard.type("plans");
    await page.keyboard.press("Enter");
    await page.keyboard.type("mine");
    expect(await focus(page)).toBe("Message #plans");
    expect(await alice.composer.inputValue()).toBe("mine");
    await page.keyboard.press("Alt+ArrowUp");
    await page.keyboard.type("another");
    expect(await focus(page)).toBe("Message #general");
    expect(await alice.composer.inputValue()).toBe("another");
  });

  it("reaches everything by Tab, in the order of the page, and sees where it is", async () => {
    const parley = await scene.parley("server-1");
    await scene.visitor(parley.url, "bob");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.page.getByRole("button", { name: "bob" }).waitFor();
    // From the very beginning of the page.
    await alice.page.evaluate(() => {
      document.body.tabIndex = -1;
      document.body.focus();
    });
    const order: (string | null | undefined)[] = [];
    for (let n = 0; n < 8; n++) {
      await alice.page.keyboard.press("Tab");
      order.push(await focus(alice.page));
      const outlined = await alice.page.evaluate(() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement as HTMLElement);
        const around = getComputedStyle((document.activeElement as HTMLElement).parentElement as HTMLElement).boxShadow;
        return (outlineStyle !== "none" && outlineWidth !== "0px") || around !== "none";
      });
      expect(outlined, `${order.at(-1)}`).toBe(true);
    }
    expect(order).toEqual([
      "Skip to writing a message",
      "Join a room, or write to someone",
      "#general",
      "Sign out",
      "Leave room",
      "Messages",
      "Message #general",
      "Bbob",
    ]);
  });
});

describe("a screen reader", () => {
  it("hears new messages of others, and not those that were there", async () => {
    const parley = await scene.parley("server-1");
    const bob = await scene.visitor(parley.url, "bob");
    await bob.say("old");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.sees("old");
    const log = alice.page.getByRole("log");
    expect(await log.textContent()).toBe("");
    await bob.say("new");
    await expect.poll(() => log.textContent(), until).toBe("bob: new");
    await alice.say("mine");
    await alice.sees("old", "new", "mine");
    expect(await log.textContent()).toBe("bob: new");
  });
});

describe("the messages", () => {
  // As many frames as it takes, on a slow machine, too: the limits are for a page that stands still.
  it("before those that are there come as one scrolls up, and nothing jumps", { timeout: 180_000 }, async () => {
    const parley = await scene.parley("server-1", "--messages-per-second=0");
    const bob = await scene.visitor(parley.url, "bob");
    await fill(bob.page);
    const alice = await scene.visitor(parley.url, "alice");
    await alice.page.getByText(/^message 400/u).waitFor();
    const scroller = alice.page.getByRole("region", { name: "Messages" });
    await scroller.hover();
    // Where the messages in view are, before and after every turn of the wheel: they may move by the wheel and nothing else.
    // As they are painted: a new observer of sizes is called when all else of a frame is done.
    const jumps: string[] = [];
    const tops = () =>
      alice.page.evaluate(
        () =>
          new Promise<[string, number][]>((resolve) => {
            const painted = new ResizeObserver(() => {
              painted.disconnect();
              const lines = [...document.querySelectorAll(".line-text")];
              resolve(lines.map((line) => [line.textContent.slice(0, 12).trim(), line.getBoundingClientRect().top]));
            });
            requestAnimationFrame(() => requestAnimationFrame(() => painted.observe(document.body)));
          }),
      );
    const inView = (top: number | undefined): top is number => top !== undefined && top > 60 && top < 640;
    let before = new Map(await tops());
    await expect
      .poll(async () => {
        await alice.page.mouse.wheel(0, -120);
        const now = new Map(await tops());
        const moves = [...now].flatMap(([name, top]) => {
          const was = before.get(name);
          return inView(was) && inView(top) ? [{ name, by: top - was }] : [];
        });
        const [least, most] = [Math.min(...moves.map(({ by }) => by)), Math.max(...moves.map(({ by }) => by))];
        if (moves.length === 0) jumps.push("nothing is left of what was in view");
        else if (most - least > 1.5 || least < -1.5 || most > 241) jumps.push(moves.map(({ name, by }) => `${name} by ${by}`).join(", "));
        before = now;
        return [...now.keys()][0];
      }, { timeout: 150_000, interval: 1 })
      .toBe("message 1 an");
    expect(jumps).toEqual([]);
    await alice.page.getByText("This is where the room begins.").waitFor();
    // One who reads what was is not torn away by what comes.
    const top = (await tops())[0];
    await bob.say("news");
    await alice.page.getByRole("button", { name: "Latest messages" }).waitFor();
    expect((await tops())[0]).toEqual(top);
    await alice.page.getByRole("button", { name: "Latest messages" }).click();
    await alice.page.getByText("news", { exact: true }).waitFor();
  });

  it("stay before the eyes of one who waits at the very beginning for those before", async () => {
    const parley = await scene.parley("server-1", "--messages-per-second=0");
    await fill((await scene.visitor(parley.url, "bob")).page);
    const alice = await scene.visitor(parley.url, "alice");
    await alice.page.getByText(/^message 400/u).waitFor();
    const scroller = alice.page.getByRole("region", { name: "Messages" });
    // Not by the key: that takes some frames, and those before may come on the way.
    await scroller.evaluate((list) => list.scrollTo({ top: 0, behavior: "instant" }));
    const height = () => scroller.evaluate((list) => list.scrollHeight);
    // The first 60 are less than half of that.
    await expect.poll(height, until).toBeGreaterThan(10_000);
    // Until nothing is measured or loaded any more.
    let last = -1;
    await expect
      .poll(async () => {
        const [now, was] = [await height(), last];
        last = now;
        return now === was;
      }, { ...until, interval: 300 })
      .toBe(true);
    const top = await alice.page.getByText(/^message 341/u).evaluate((line) => line.getBoundingClientRect().top);
    expect(top).toBeGreaterThan(0);
    expect(top).toBeLessThan(400);
  });

  it("keep the end in view while they come, while one writes much, and while somebody types", async () => {
    const parley = await scene.parley("server-1", "--messages-per-second=0");
    const [alice, bob] = [await scene.visitor(parley.url, "alice"), await scene.visitor(parley.url, "bob")];
    const left = () =>
      alice.page.getByRole("region", { name: "Messages" }).evaluate((list) => list.scrollHeight - list.clientHeight - list.scrollTop);
    for (let n = 1; n <= 30; n++) await bob.say(`line ${n}`);
    await alice.page.getByText("line 30", { exact: true }).waitFor();
    await expect.poll(left, until).toBeLessThan(2);
    const height = await alice.page.locator(".list").evaluate((list) => list.clientHeight);
    await bob.composer.fill("typing");
    await alice.page.getByText("bob is typing").waitFor();
    expect(await alice.page.locator(".list").evaluate((list) => list.clientHeight)).toBe(height);
    await alice.composer.fill("1\n2\n3\n4\n5\n6");
    await expect.poll(() => alice.page.locator(".list").evaluate((list) => list.clientHeight), until).toBeLessThan(height);
    await expect.poll(left, until).toBeLessThan(2);
  });

  it("are opened at the first new one, where there are many", async () => {
    const parley = await scene.parley("server-1", "--messages-per-second=0");
    const [alice, bob] = [await scene.visitor(parley.url, "alice"), await scene.visitor(parley.url, "bob")];
    for (let n = 1; n <= 10; n++) await bob.say(`old ${n}${" and more".repeat((n * 7) % 40)}`);
    await alice.page.getByText(/^old 10/u).waitFor();
    await alice.goTo("plans");
    await alice.page.getByRole("heading", { name: "plans", level: 1 }).waitFor();
    for (let n = 1; n <= 30; n++) await bob.say(`new ${n}${" and more".repeat((n * 7) % 40)}`);
    await alice.page.getByRole("button", { name: /general.*30 unread/u }).click();
    const mark = alice.page.locator(".news");
    await mark.waitFor();
    const below = () =>
      mark.evaluate((line) => line.getBoundingClientRect().top - (line.closest(".scroller") as Element).getBoundingClientRect().top);
    await expect.poll(below, until).toBeGreaterThan(0);
    await expect.poll(below, until).toBeLessThan(200);
  });

  it("that came while one was elsewhere are counted, and marked where they begin", async () => {
    const parley = await scene.parley("server-1");
    const [alice, bob] = [await scene.visitor(parley.url, "alice"), await scene.visitor(parley.url, "bob")];
    await bob.say("read");
    await alice.sees("read");
    await alice.goTo("plans");
    await alice.page.getByRole("heading", { name: "plans", level: 1 }).waitFor();
    await bob.say("new 1");
    await bob.say("new 2");
    await alice.page.getByRole("button", { name: /general.*2 unread/u }).click();
    await alice.sees("read", "new 1", "new 2");
    const row = alice.page.locator(".row", { has: alice.page.locator(".news") });
    expect(await row.locator(".line-text").textContent()).toBe("new 1");
    expect(await alice.page.title()).toBe("#general · Parley");
  });
});

describe("coming again", () => {
  it("is without signing in, in the same room, with the rooms of before", async () => {
    const parley = await scene.parley("server-1");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.goTo("plans");
    await alice.say("remember");
    await alice.sees("remember");
    expect(new URL(alice.page.url()).hash).toBe("#/plans");
    await alice.page.reload();
    await alice.sees("remember");
    await alice.page.getByRole("button", { name: "general" }).waitFor();
    await alice.page.goBack();
    await alice.page.getByRole("heading", { name: "general", level: 1 }).waitFor();
    await alice.page.getByRole("button", { name: "Sign out" }).click();
    await alice.page.getByLabel("Name").waitFor();
    expect(await alice.page.getByLabel("Name").inputValue()).toBe("alice");
  });
});

describe("a server that asks for tokens", () => {
  const secret = "a secret that is long enough for HS256";
  const token = (claims: object) => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ exp: Math.floor(Date.now() / 1_000) + 600, ...claims })}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };

  it("refuses a name and says so, and takes a token", async () => {
    const parley = await scene.parley("server-1", "--auth=token", `--token-secret=${secret}`);
    const alice = await scene.guest(parley.url, "alice");
    await alice.page.getByLabel("Name").fill("alice");
    await alice.page.keyboard.press("Enter");
    await alice.page.getByText("This server takes no names, only tokens.").waitFor();
    await alice.page.getByLabel("Token").fill("no token");
    await alice.page.keyboard.press("Enter");
    await alice.page.getByText("The token is not a JWT").waitFor();
    await alice.page.getByLabel("Token").fill(token({ sub: "ada" }));
    await alice.page.keyboard.press("Enter");
    await alice.composer.waitFor();
    expect(await alice.page.locator(".own-name").textContent()).toBe("ada");
  });

  it("takes one from the address, which does not keep it", async () => {
    const parley = await scene.parley("server-1", "--auth=token", `--token-secret=${secret}`);
    const alice = await scene.guest(`${parley.url}#token=${token({ sub: "ada" })}`, "ada");
    await alice.composer.waitFor();
    expect(alice.page.url()).not.toContain("token");
  });

  it("shows a message that may not be written as failed, to be tried again or dropped", async () => {
    const parley = await scene.parley("server-1", "--auth=token", `--token-secret=${secret}`);
    const rooms = [{ match: "*", can: ["join", "history", "presence"] }];
    const alice = await scene.guest(`${parley.url}#token=${token({ sub: "ada", rooms })}`, "ada");
    await alice.say("may I?");
    await alice.page.getByText(/^Not sent: /u).waitFor();
    await alice.page.getByRole("button", { name: "Try again" }).click();
    await alice.page.getByText(/^Not sent: /u).waitFor();
    await alice.sees("may I?");
    await alice.page.getByRole("button", { name: "Discard" }).click();
    await alice.sees();
  });
});

describe("a phone", () => {
  it("has the messages first, and the rest in drawers", async () => {
    const parley = await scene.parley("server-1");
    const bob = await scene.visitor(parley.url, "bob");
    const alice = await scene.visitor(parley.url, "alice", { width: 390, height: 780, mobile: true });
    await bob.say("can you read this on your phone, or is it too long for the little screen that it has?");
    await alice.page.locator(".line-text").getByText("can you read this").waitFor();
    expect(await alice.page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    await alice.page.getByRole("button", { name: "Conversations" }).tap();
    await alice.goTo("plans");
    await alice.page.getByRole("heading", { name: "plans", level: 1 }).waitFor();
    await expect.poll(() => alice.page.locator(".sidebar").isVisible(), until).toBe(false);
    await bob.say("and this?");
    await alice.page.locator(".head-menu[data-unread=true]").tap();
    await alice.page.getByRole("button", { name: /general.*1 unread/u }).tap();
    await alice.page.getByText("and this?").waitFor();
    await alice.page.getByRole("button", { name: /People here: 2/u }).tap();
    await alice.page.getByRole("button", { name: "bob" }).tap();
    await alice.page.getByRole("heading", { name: "bob", level: 1 }).waitFor();
  });
});
