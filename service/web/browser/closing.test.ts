/** Closing a conversation in which something was not sent: the page asks first, in a way that the keyboard and ears can follow. */
import { describe, expect, it } from "vitest";
import { stage } from "./rig/scene.ts";

const scene = stage();

describe("leaving a room with something unsent", () => {
  it("asks, and Escape keeps the room and what was written", async () => {
    const parley = await scene.parley("server-1");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.goTo("plans");
    await alice.page.getByRole("heading", { name: "plans", level: 1 }).waitFor();
    await alice.isOn("server-1");
    await parley.kill();
    await alice.say("important");
    const leave = alice.page.getByRole("button", { name: "Leave room" });
    const question = alice.page.getByRole("alertdialog", { name: "Leave plans?", description: "1 message was not sent, and would be lost." });
    await leave.click();
    await question.waitFor();
    expect(await alice.page.evaluate(() => document.activeElement?.textContent)).toBe("Stay");
    await alice.page.keyboard.press("Escape");
    await question.waitFor({ state: "detached" });
    expect(await leave.evaluate((button) => button === document.activeElement)).toBe(true);
    expect(await alice.texts()).toEqual(["important"]);
    await leave.click();
    await alice.page.getByRole("button", { name: "Discard and leave" }).click();
    await alice.page.getByRole("heading", { name: "general", level: 1 }).waitFor();
    expect(await alice.page.getByRole("button", { name: "plans" }).count()).toBe(0);
  });

  it("asks about what was written just now, before it is drawn", async () => {
    const parley = await scene.parley("server-1");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.isOn("server-1");
    await parley.kill();
    const leave = alice.page.getByRole("button", { name: "Leave room" });
    await alice.holdFrames();
    await alice.say("important");
    await leave.evaluate((button) => (button as HTMLButtonElement).click());
    await alice.page.getByRole("alertdialog", { name: "Leave general?" }).waitFor();
  });

  it("does not ask where everything was sent", async () => {
    const parley = await scene.parley("server-1");
    const alice = await scene.visitor(parley.url, "alice");
    await alice.goTo("plans");
    await alice.page.getByRole("heading", { name: "plans", level: 1 }).waitFor();
    await alice.say("hello");
    await alice.sees("hello");
    await alice.page.locator('.delivery[data-sent="true"]').waitFor();
    await alice.page.getByRole("button", { name: "Leave room" }).click();
    await alice.page.getByRole("heading", { name: "general", level: 1 }).waitFor();
    expect(await alice.page.getByRole("alertdialog").count()).toBe(0);
  });
});
