/**
 * Figures that people ask for: `npm run figures` prints them. They are measured, not asserted, for machines differ; run it
 * alone on the machine.
 */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import type { CDPSession, Page } from "playwright-core";
import { expect, it } from "vitest";
import { stage } from "./rig/scene.ts";

const scene = stage();
const dist = new URL("../dist/", import.meta.url);
const messages = 10_000;

it("bundle size", () => {
  const sizes = ["index.html", "icon.svg"].map((name) => {
    const bytes = readFileSync(new URL(name, dist));
    return { name, bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
  });
  for (const { name, bytes, gzip } of sizes) console.log(`${name}: ${bytes} bytes, ${gzip} gzipped`);
  const total = sizes.reduce((sum, { gzip }) => sum + gzip, 0);
  console.log(`bundle: ${(total / 1_024).toFixed(1)} KiB gzipped`);
  expect(total).toBeLessThanOrEqual(120 * 1_024);
});

it("time to interactive on loopback", async () => {
  const parley = await scene.parley("server-1");
  const rows: { field: number; room: number }[] = [];
  for (let n = 0; n < 7; n++) {
    const guest = await scene.guest(parley.url, `guest ${n}`);
    // The field has the focus, so one can type.
    const field = await guest.page.evaluate(
      () => new Promise<number>((resolve) => {
        const look = () => (document.activeElement?.tagName === "INPUT" ? resolve(performance.now()) : requestAnimationFrame(look));
        look();
      }),
    );
    await guest.signIn();
    // Everything is fetched, and one comes again: from the address to a room in which one can write.
    await guest.page.reload();
    await guest.composer.waitFor();
    const room = await guest.page.evaluate(
      () => new Promise<number>((resolve) => {
        const look = () => (document.activeElement?.id === "composer" ? resolve(performance.now()) : requestAnimationFrame(look));
        look();
      }),
    );
    rows.push({ field, room });
    await guest.leave();
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!.toFixed(0);
  console.log(`from the address to the name, nothing cached: ${median(rows.map(({ field }) => field))} ms (median of ${rows.length})`);
  console.log(`from the address into a room, signed in before: ${median(rows.map(({ room }) => room))} ms (median of ${rows.length})`);
});

it("a room of 10,000 messages, scrolled", async () => {
  const history = [`--history-messages=${messages * 2}`, "--messages-per-second=0"];
  const parley = await scene.parley("server-1", ...history);
  const filler = await scene.guest(parley.url, "filler");
  await fill(filler.page);
  await filler.leave();
  const guest = await scene.visitor(parley.url, "alice");
  await guest.page.getByText(/^message 10000 /u).first().waitFor();
  const scroller = guest.page.getByRole("region", { name: "Messages" });
  await scroller.hover();
  // First all the way up, which loads every page of the history.
  const loading = await traced(guest.page, async () => {
    await expect
      .poll(async () => {
        await guest.page.mouse.wheel(0, -4_000);
        // By its class: a search for its text walks through everything, and would be counted as the page's work.
        return guest.page.locator(".beginning").count();
      }, { timeout: 120_000, interval: 8 })
      .toBe(1);
  });
  report("up through all of it, while it loads", loading);
  for (const [name, key] of [["down", 400], ["up", -400]] as const) {
    report(`${name} at speed, 240 turns of the wheel`, await traced(guest.page, () => wheel(guest.page, key, 240)));
  }
  // What a message costs when so many are there.
  await guest.page.keyboard.press("End");
  await guest.page.getByRole("button", { name: "Latest messages" }).click().catch(() => {});
  const took = await guest.page.evaluate(async () => {
    const field = document.querySelector<HTMLTextAreaElement>("#composer")!;
    const times: number[] = [];
    for (let n = 0; n < 20; n++) {
      const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value")?.set;
      set?.call(field, `typed ${n}`);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise(requestAnimationFrame);
      const began = performance.now();
      field.form?.requestSubmit();
      await new Promise<void>((resolve) => {
        const look = () => {
          const lines = [...document.querySelectorAll(".line-text")];
          if (lines.at(-1)?.textContent === `typed ${n}`) resolve();
          else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
      });
      times.push(performance.now() - began);
    }
    return times.toSorted((a, b) => a - b);
  });
  console.log(`a message typed among ${messages}: drawn after ${took[10]!.toFixed(0)} ms (median), ${took[19]!.toFixed(0)} ms (worst of 20)`);
  const heap = await guest.page.evaluate(() => (performance as unknown as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? 0);
  const drawn = await guest.page.locator(".row").count();
  console.log(`rows in the document: ${drawn}; JavaScript heap: ${(heap / 2 ** 20).toFixed(0)} MiB`);
});

/** Fills the room over a socket of the page, since Node 20 has none. */
async function fill(page: Page): Promise<void> {
  await page.evaluate(async (count) => {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws?user=filler&room=general`);
    const heard = (what: string) =>
      new Promise<void>((resolve) => {
        socket.onmessage = (event) => String(event.data).includes(what) && resolve();
      });
    await heard('"room":"general"');
    const words = "some lines are short and some are long because people write as they like ".split(" ");
    for (let n = 1; n <= count; n++) {
      const length = (n * 31) % 47;
      const text = Array.from({ length }, (_, at) => words[(n + at) % words.length]).join(" ");
      socket.send(JSON.stringify({ type: "chat", room: "general", msg: `message ${n} ${text}`, id: n }));
      if (n % 500 === 0) await heard(`"id":${n},`);
    }
  }, messages);
}

async function wheel(page: Page, step: number, turns: number): Promise<void> {
  for (let n = 0; n < turns; n++) {
    await page.mouse.wheel(0, step);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
}

interface Frames {
  readonly presented: number;
  readonly dropped: number;
  /** Processor time of the page's main thread, which a busy machine does not stretch as it does the time on the clock. */
  readonly work: number;
  readonly longestTask: number;
}

/** Frames of the compositor while something happens, from Chromium's own trace. */
async function traced(page: Page, act: () => Promise<void>): Promise<Frames> {
  const session: CDPSession = await page.context().newCDPSession(page);
  const events: { name: string; ph: string; pid: number; tid: number; tdur?: number; args?: Record<string, unknown> }[] = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...(value as unknown as typeof events)));
  const categories = ["cc", "benchmark", "devtools.timeline", "disabled-by-default-devtools.timeline", "disabled-by-default-devtools.timeline.frame"];
  await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: categories } });
  await act();
  const complete = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
  await session.send("Tracing.end");
  await complete;
  const states = events
    .filter(({ name, ph }) => name === "PipelineReporter" && (ph === "b" || ph === "B"))
    .map(({ args }) => {
      const reporter = (args?.["chrome_frame_reporter"] ?? args?.["frame_reporter"] ?? {}) as { state?: string; affects_smoothness?: boolean };
      return reporter;
    });
  const dropped = states.filter(({ state, affects_smoothness }) => state === "STATE_DROPPED" && affects_smoothness === true).length;
  const presented = states.filter(({ state }) => state?.startsWith("STATE_PRESENTED") === true).length;
  const main = events.find(({ name }) => name === "FunctionCall");
  const tasks = events.filter(({ name, pid, tid }) => name === "RunTask" && pid === main?.pid && tid === main.tid).map(({ tdur }) => tdur ?? 0);
  await session.detach();
  const work = tasks.reduce((sum, one) => sum + one, 0) / 1_000;
  return { presented, dropped, work, longestTask: Math.max(0, ...tasks) / 1_000 };
}

function report(what: string, { presented, dropped, work, longestTask }: Frames): void {
  const share = ((100 * dropped) / Math.max(presented + dropped, 1)).toFixed(1);
  console.log(`${what}: ${presented} frames shown, ${dropped} dropped (${share} %); main thread ${work.toFixed(0)} ms of processor time, longest task ${longestTask.toFixed(0)} ms`);
}
