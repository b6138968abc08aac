/** Pictures of the main states, for people: `npm run screenshots` writes them into `screenshots/`. */
import { mkdirSync } from "node:fs";
import { it } from "vitest";
import { API_KEY, Backend } from "./rig/backend.ts";
import { stage } from "./rig/scene.ts";
import type { Look, Visitor } from "./rig/visitor.ts";

const scene = stage();
const folder = new URL("../screenshots/", import.meta.url).pathname;
mkdirSync(folder, { recursive: true });

const me = "Ada Okafor";
const people = ["Bo Lindqvist", "Chandra Rao", "Mina Park", "Tomás Vega"];
const api = `--api-key=${API_KEY}`;

const talk: readonly (readonly [string, string])[] = [
  ["Bo Lindqvist", "Morning! The new release is on staging since ten. Notes are at https://example.com/notes/0.9"],
  ["Mina Park", "Nice, having a look."],
  ["Mina Park", "The history loads so much faster now. I scrolled back to last Tuesday without seeing a spinner."],
  ["Tomás Vega", "Same here. One thing: on my phone the keyboard hid the last line until I turned it around."],
  ["Chandra Rao", "Which phone?\nI can try it on the old one from the drawer, too."],
  ["Tomás Vega", "A small one, 360 pixels wide. Not urgent, I will open a ticket with a picture."],
  ["Bo Lindqvist", "Thanks. Then I roll out to the first ten per cent after lunch, if nobody objects."],
  ["Mina Park", "Go ahead. I keep an eye on the error rate."],
];

async function furnished(look: Look = {}): Promise<{ ada: Visitor; backend: Backend; url: string }> {
  const parley = await scene.parley("server-1", api);
  const backend = new Backend(parley.url);
  await crowd(parley.url);
  for (const [from, msg] of talk) await backend.say("general", from, msg);
  await backend.say("design", "Mina Park", "New icons are in the shared folder.");
  await backend.say("lunch", "Tomás Vega", "Soup today?");
  await backend.say("releases", "Bo Lindqvist", "0.9 is on staging.");
  const ada = await scene.visitor(parley.url, me, look);
  await joined(ada, "design");
  await joined(ada, "releases");
  await joined(ada, "general");
  await backend.say("design", "Mina Park", "And a darker one for the docks.");
  await backend.say("design", "Chandra Rao", "Love them.");
  await backend.whisper(me, "Chandra Rao", "Do you have five minutes for the incident review?");
  return { ada, backend, url: parley.url };
}

/** Others who are here without a page of their own. */
async function crowd(url: string): Promise<void> {
  const page = await (await scene.browser.newContext()).newPage();
  await page.goto(url);
  await page.evaluate(async (names) => {
    const open = (name: string) =>
      new Promise((resolve) => {
        const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws?user=${encodeURIComponent(name)}&room=general`);
        socket.onmessage = (event) => String(event.data).includes('"room":"general"') && resolve(null);
      });
    await Promise.all(names.map(open));
  }, people);
}

async function joined(visitor: Visitor, room: string): Promise<void> {
  // Where the list is in a drawer, the address is the way.
  await visitor.page.evaluate((hash) => (location.hash = hash), `#/${room}`);
  await visitor.page.getByRole("heading", { name: room, level: 1, exact: true }).waitFor();
}

async function shoot(visitor: Visitor, name: string): Promise<void> {
  await visitor.page.evaluate(() => document.fonts.ready);
  await visitor.page.screenshot({ path: `${folder}${name}.png`, animations: "disabled", caret: "hide" });
}

it("first start", async () => {
  const parley = await scene.parley("server-1");
  const guest = await scene.guest(parley.url, me, { width: 1100, height: 700 });
  await guest.page.getByLabel("Name").fill(me);
  await shoot(guest, "first-start");
});

it("first start, then the empty room", async () => {
  const parley = await scene.parley("server-1");
  const ada = await scene.visitor(parley.url, me, { width: 1100, height: 700 });
  await ada.page.getByText("This is where the room begins.").waitFor();
  await shoot(ada, "empty-room");
});

for (const colorScheme of ["light", "dark"] as const) {
  it(`a busy room, ${colorScheme}`, async () => {
    const { ada, backend } = await furnished({ width: 1240, height: 780, colorScheme });
    await ada.say("No objections. I will be around until four.");
    await ada.page.getByTitle("Sent").waitFor();
    await backend.typing("general", "Tomás Vega");
    await ada.page.getByText("Tomás Vega is typing").waitFor();
    await shoot(ada, colorScheme === "light" ? "busy-room" : "dark");
  });
}

it("direct messages", async () => {
  const { ada, backend } = await furnished({ width: 1240, height: 780 });
  await ada.page.getByRole("button", { name: /Chandra Rao.*1 unread/u }).click();
  await ada.say("Of course. Now, or after the roll-out?");
  await ada.page.getByTitle("Sent").waitFor();
  await backend.whisper(me, "Chandra Rao", "After is fine. I will bring the timeline.");
  await ada.page.locator(".line-text").getByText("I will bring the timeline").waitFor();
  await shoot(ada, "direct-messages");
});

it("reconnecting", async () => {
  const parley = await scene.parley("server-1", api);
  const door = await scene.balancer(parley);
  for (const [from, msg] of talk) await new Backend(parley.url).say("general", from, msg);
  await crowd(parley.url);
  const ada = await scene.visitor(door.url, me, { width: 1240, height: 780 });
  await ada.page.getByText("Go ahead.").waitFor();
  await ada.page.getByRole("button", { name: "Tomás Vega" }).waitFor();
  door.closed = true;
  door.cut();
  await ada.isTold("Connection lost. Reconnecting…");
  await ada.say("No objections. I will be around until four.");
  await ada.page.getByTitle("Sending").waitFor();
  await ada.composer.fill("And I can");
  await shoot(ada, "reconnecting");
});

it("a gap", async () => {
  const parley = await scene.parley("server-1", api);
  const door = await scene.balancer(parley);
  for (const [from, msg] of talk.slice(0, 6)) await new Backend(parley.url).say("general", from, msg);
  const ada = await scene.visitor(door.url, me, { width: 1240, height: 780 });
  await parley.kill();
  const anew = await scene.parley("server-1", api);
  door.upstreams = [anew];
  await ada.isTold("Some messages may be missing.");
  for (const [from, msg] of talk.slice(6)) await new Backend(anew.url).say("general", from, msg);
  await ada.page.locator(".line-text").getByText("Go ahead.").waitFor();
  await shoot(ada, "gap");
});

it("a room that one was removed from", async () => {
  const { ada, backend } = await furnished({ width: 1240, height: 780 });
  await backend.kick("general", me);
  await ada.page.getByText("You were removed from this room.").waitFor();
  await shoot(ada, "removed");
});

it("a phone", async () => {
  const { ada } = await furnished({ width: 390, height: 780, mobile: true });
  await ada.say("No objections. I will be around until four.");
  await ada.page.getByTitle("Sent").waitFor();
  await shoot(ada, "phone");
  await ada.page.getByRole("button", { name: "Conversations" }).tap();
  await ada.page.getByText("More rooms").waitFor();
  await shoot(ada, "phone-conversations");
});
