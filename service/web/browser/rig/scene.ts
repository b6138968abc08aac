/** What one test has set up, so that all of it is gone afterwards, and no page has complained meanwhile. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { Balancer, type Upstream } from "./balancer.ts";
import { Parley, Redis } from "./processes.ts";
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

  /** Instances that share a Redis. */
  async fleet(count: number): Promise<{ redis: Redis; instances: Parley[] }> {
    const redis = await this.redis();
    const instances: Parley[] = [];
    for (let n = 1; n <= count; n++) instances.push(await this.parley(`server-${n}`, `--redis-url=${redis.url}`));
    return { redis, instances };
  }

  async visitor(url: string, name: string, look?: Look): Promise<Visitor> {
    const visitor = await this.guest(url, name, look);
    await visitor.signIn();
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
