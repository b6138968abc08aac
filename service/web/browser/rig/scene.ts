/** What one test has set up, so that all of it is gone afterwards, and no page has complained meanwhile. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { Balancer, type Upstream } from "./balancer.ts";
import { Door, Parley, Redis } from "./processes.ts";
import { type Look, openBrowser, Visitor } from "./visitor.ts";

export class Scene {
  browser!: Browser;
  readonly #endings: (() => Promise<unknown>)[] = [];
  readonly #visitors: Visitor[] = [];

  async parley(serverId: string, ...flags: string[]): Promise<Parley> {
    const parley = await Parley.start(serverId, ...flags);
    this.#endings.push(() => parley.kill());
    return parley;
  }

  async redis(): Promise<Redis> {
    const redis = await Redis.start();
    this.#endings.push(() => redis.stop());
    return redis;
  }

  async balancer(...upstreams: Upstream[]): Promise<Balancer> {
    const balancer = await Balancer.start(...upstreams);
    this.#endings.push(() => balancer.stop());
    return balancer;
  }

  /** `parley balance`, by cookie. */
  async door(...upstreams: Parley[]): Promise<Door> {
    const door = await Door.start(...upstreams);
    this.#endings.push(() => door.stop());
    return door;
  }

  /** Two instances that share a Redis. */
  async pair(...flags: string[]): Promise<{ redis: Redis; first: Parley; second: Parley }> {
    const redis = await this.redis();
    const first = await this.parley("server-1", `--redis-url=${redis.url}`, ...flags);
    const second = await this.parley("server-2", `--redis-url=${redis.url}`, ...flags);
    return { redis, first, second };
  }

  async visitor(url: string, name: string, look?: Look): Promise<Visitor> {
    const visitor = await this.guest(url, name, look);
    await visitor.signIn();
    return visitor;
  }

  /** Somebody who comes through a door and has been on this instance before. */
  async regular(door: Door, serverId: string, name: string, look?: Look): Promise<Visitor> {
    const visitor = await this.guest(door.url, name, look);
    await visitor.keep(Door.cookie, await door.routeTo(serverId));
    await visitor.page.reload();
    await visitor.signIn();
    await visitor.isOn(serverId);
    return visitor;
  }

  /** Somebody who has not signed in yet. */
  async guest(url: string, name: string, look?: Look): Promise<Visitor> {
    const visitor = await Visitor.open(this.browser, url, name, look);
    this.#visitors.push(visitor);
    return visitor;
  }

  /** Ends something else with the test. */
  after(ending: () => Promise<unknown>): void {
    this.#endings.push(ending);
  }

  async end(): Promise<void> {
    const complaints = this.#visitors.splice(0).flatMap((visitor) => visitor.complaints);
    await Promise.all(this.browser.contexts().map((context) => context.close()));
    for (const ending of this.#endings.splice(0).toReversed()) await ending();
    expect(complaints).toEqual([]);
  }
}

/** A scene for the tests of a file, with one browser for all of them. */
export function stage(): Scene {
  const scene = new Scene();
  beforeAll(async () => {
    scene.browser = await openBrowser();
  });
  afterEach(() => scene.end());
  afterAll(() => scene.browser.close());
  return scene;
}
