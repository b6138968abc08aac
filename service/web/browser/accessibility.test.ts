/** What tools can find of what keeps people out: names, roles, contrast, order. Axe looks at the main states. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { stage } from "./rig/scene.ts";

const scene = stage();
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The rules that a page breaks, and where. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = (await page.evaluate("axe.run()")) as AxeResults;
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 120)}`));
}

it("the first page breaks no rule", async () => {
  const parley = await scene.parley("server-1");
  const { page } = await scene.guest(parley.url, "alice");
  await page.getByLabel("Name").fill("alice");
  expect(await faults(page)).toEqual([]);
});

it.each(["light", "dark"] as const)("a room with people, messages and news elsewhere breaks no rule, %s", async (colorScheme) => {
  const parley = await scene.parley("server-1");
  const bob = await scene.visitor(parley.url, "bob");
  const alice = await scene.visitor(parley.url, "alice", { colorScheme });
  for (const text of ["hi", "two of one person", "https://example.com/ is a link"]) await bob.say(text);
  await alice.say("hello");
  await alice.page.getByTitle("Sent").waitFor();
  await bob.goTo("@alice");
  await bob.say("psst");
  await alice.page.getByRole("button", { name: /bob.*1 unread/u }).waitFor();
  expect(await faults(alice.page)).toEqual([]);
});

it("the drawer of a phone breaks no rule", async () => {
  const parley = await scene.parley("server-1");
  const alice = await scene.visitor(parley.url, "alice", { width: 390, height: 780, mobile: true });
  await alice.say("hello");
  await alice.page.getByTitle("Sent").waitFor();
  await alice.page.getByRole("button", { name: "Conversations" }).tap();
  await alice.page.locator(".sidebar").waitFor();
  expect(await faults(alice.page)).toEqual([]);
});
