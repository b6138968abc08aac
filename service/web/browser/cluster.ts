/**
 * The chat that a Kubernetes cluster runs, as people see it: by its URL, through the ingress controller. Run by the tests of
 * the cluster, which bring the chat up first.
 */
import { expect, it } from "vitest";
import { stage } from "./rig/scene.ts";
import { DEADLINE, type Visitor } from "./rig/visitor.ts";

const url = process.env["PARLEY_URL"] ?? "http://chat.localhost:8480/";
/** So many newcomers are not all sent to one of two instances. */
const NEWCOMERS = 8;
const scene = stage();

it("brings two people on two pods together", async () => {
  const alice = await scene.visitor(url, "alice");
  const home = await instance(alice);
  let bob = await scene.visitor(url, "bob-1");
  for (let n = 2; n <= NEWCOMERS && (await instance(bob)) === home; n++) {
    await bob.leave();
    bob = await scene.visitor(url, `bob-${n}`);
  }
  const other = await instance(bob);
  expect(other).not.toBe(home);
  await alice.say("Hi Bob");
  await bob.sees("Hi Bob");
  await bob.say("Hi Alice");
  await alice.sees("Hi Bob", "Hi Alice");
  process.stdout.write(`${home} and ${other} met\n`);
});

/** The pod that somebody is connected to, as the page names it. */
async function instance(visitor: Visitor): Promise<string> {
  await expect.poll(() => visitor.badge(), { timeout: DEADLINE, interval: 30 }).toMatch(/^demo-\S+ connected$/u);
  return (await visitor.badge()).split(" ")[0] ?? "";
}
