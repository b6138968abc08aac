/** How the page comes into a browser: in one piece, and not again. */
import { describe, expect, it } from "vitest";
import { stage } from "./rig/scene.ts";

const scene = stage();

describe("the page", () => {
  it("is whole after one request, for the next one may reach an instance of another version", async () => {
    const parley = await scene.parley("server-1");
    const ada = await scene.guest("about:blank", "ada");
    const others: string[] = [];
    await ada.page.route(
      // An icon that is missing harms nobody, but is complained about.
      ({ pathname }) => pathname !== "/" && pathname !== "/icon.svg",
      (route) => {
        others.push(new URL(route.request().url()).pathname);
        return route.fulfill({ status: 404 });
      },
    );
    await ada.page.goto(parley.url);
    await ada.signIn();
    await ada.say("hello");
    await ada.sees("hello");
    // With its style, too.
    expect(await ada.composer.evaluate((field) => getComputedStyle(field).resize)).toBe("none");
    expect(others).toEqual([]);
  });

  it("is not fetched again by who has it", async () => {
    const parley = await scene.parley("server-1");
    const ada = await scene.visitor(parley.url, "ada");
    await ada.page.reload();
    const [came, whole] = await ada.page.evaluate(() => {
      const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
      return [entry?.transferSize ?? 0, entry?.encodedBodySize ?? 0];
    });
    // The head of a 304 is all that came.
    expect(came).toBeLessThan(2_000);
    expect(whole).toBeGreaterThan(50_000);
  });
});
