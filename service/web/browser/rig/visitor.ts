/** A person in front of the page: what a test does and sees through their eyes. */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { expect } from "vitest";

/** How long something may take to show. */
export const DEADLINE = 20_000;

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    // Chromium's sandbox does not work for root, as which containers run; the pages here are our own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}

export interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly colorScheme?: "light" | "dark";
  readonly mobile?: boolean;
}

export class Visitor {
  readonly name: string;
  readonly page: Page;
  readonly #context: BrowserContext;
  /** What the page complained about: uncaught errors, refused by a policy, and the like. */
  readonly complaints: string[] = [];
  /** Every frame that its sockets have received. */
  readonly frames: string[] = [];

  private constructor(name: string, page: Page, context: BrowserContext) {
    this.name = name;
    this.page = page;
    this.#context = context;
    page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => this.frames.push(String(payload))));
    page.on("pageerror", (error) => this.complaints.push(`${name}: ${error.message}`));
    page.on("console", (message) => {
      // That a socket could not be opened is what some tests are about.
      const network = /WebSocket connection|net::ERR_|status of 503|status of 426/u.test(message.text());
      if (["error", "warning"].includes(message.type()) && !network) this.complaints.push(`${name}: ${message.text()}`);
    });
  }

  /** Opens the page and signs in. */
  static async arrive(browser: Browser, url: string, name: string, look: Look = {}): Promise<Visitor> {
    const visitor = await Visitor.open(browser, url, name, look);
    await visitor.signIn();
    return visitor;
  }

  static async open(browser: Browser, url: string, name: string, look: Look = {}): Promise<Visitor> {
    const { width = 1200, height = 780, colorScheme = "light", mobile = false } = look;
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme,
      hasTouch: mobile,
      isMobile: mobile,
      locale: "en-GB",
      ...(mobile && { deviceScaleFactor: 1.5 }),
    });
    context.setDefaultTimeout(DEADLINE);
    const page = await context.newPage();
    const visitor = new Visitor(name, page, context);
    await page.goto(url);
    return visitor;
  }

  async signIn(): Promise<void> {
    await this.page.getByLabel("Name").fill(this.name);
    await this.page.keyboard.press("Enter");
    await this.composer.waitFor();
  }

  async leave(): Promise<void> {
    await this.#context.close();
  }

  get composer() {
    return this.page.locator("#composer");
  }

  /** Writes into the conversation that is open. */
  async say(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press("Enter");
  }

  /** Goes somewhere by the field for it. */
  async goTo(text: string): Promise<void> {
    await this.page.getByRole("combobox").fill(text);
    await this.page.getByRole("combobox").press("Enter");
  }

  /** The texts of the messages that are drawn, in their order, a gap as a bar. */
  async texts(): Promise<string[]> {
    const lines = this.page.locator(".line-text, .gap");
    return lines.evaluateAll((found) => found.map((line) => (line.className === "gap" ? "|" : (line.textContent ?? ""))));
  }

  /** Waits until these are all the messages. */
  async sees(...texts: string[]): Promise<void> {
    await expect.poll(() => this.texts(), { timeout: DEADLINE, interval: 30 }).toEqual(texts);
  }

  /** Waits until the badge names an instance to which one is connected. */
  async isOn(server: string): Promise<void> {
    await expect.poll(() => this.badge(), { timeout: DEADLINE, interval: 30 }).toBe(`${server} connected`);
  }

  async badge(): Promise<string> {
    const parts = await this.page.locator(".badge-server, .badge-text").allTextContents();
    return parts.join(" ");
  }

  /** Gives the browser a cookie. */
  async keep(name: string, value: string): Promise<void> {
    await this.#context.addCookies([{ name, value, url: this.page.url() }]);
  }

  /** Makes the page one that is slow to draw: it is given no frame any more, nor what it draws with in their place. */
  async holdFrames(): Promise<void> {
    await this.page.evaluate(`{
      const later = window.setTimeout;
      window.requestAnimationFrame = () => 0;
      window.setTimeout = (run, after, ...rest) => (after === 100 ? 0 : later(run, after, ...rest));
    }`);
  }

  /** Begins to watch; gives what the badge and the note have said from then on, however short, and which cookies were dropped. */
  async watch(): Promise<() => Promise<{ badges: string[]; notes: string[]; dropped: string[] }>> {
    const said = await this.page.evaluateHandle(() => {
      const said = { badges: [] as string[], notes: [] as string[], dropped: [] as string[] };
      const look = () => {
        const text = (selector: string) => [...document.querySelectorAll(selector)].map(({ textContent }) => textContent).join(" ");
        const [badge, note] = [text(".badge-server, .badge-text"), text(".note")];
        if (said.badges.at(-1) !== badge) said.badges.push(badge);
        if (note !== "" && said.notes.at(-1) !== note) said.notes.push(note);
      };
      look();
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
      cookieStore.addEventListener("change", ({ deleted }) => said.dropped.push(...deleted.map(({ name }) => name ?? "")));
      return said;
    });
    return () => said.jsonValue();
  }

  /** Waits for the note over the messages. */
  async isTold(text: string | RegExp): Promise<void> {
    await this.page.locator(".note").getByText(text).waitFor();
  }
}
