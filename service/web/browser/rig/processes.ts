/** The programs that a test needs beside the browser: instances of Parley and a Redis of its own, all on free ports. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { vi } from "vitest";

/** How long a program may take to start. */
const START = 20_000;

/** The binary: `PARLEY_BIN`, or what `cargo build` made. */
function binary(): string {
  const target = process.env["CARGO_TARGET_DIR"] ?? new URL("../../../../target", import.meta.url).pathname;
  const path = process.env["PARLEY_BIN"] ?? join(target, "debug", "parley");
  if (!existsSync(path)) throw new Error(`${path} is missing: build it with \`cargo build\``);
  return path;
}

export class Parley {
  readonly serverId: string;
  readonly port: number;
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(serverId: string, url: string, child: ChildProcess) {
    this.serverId = serverId;
    this.url = url;
    this.port = Number(new URL(url).port);
    this.#child = child;
  }

  /** Starts an instance with these flags, and waits until it listens. */
  static async start(serverId: string, ...flags: string[]): Promise<Parley> {
    const args = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", `--server-id=${serverId}`, ...flags];
    const { PARLEY_BIN: _, ...env } = process.env;
    const child = spawn(binary(), args, { stdio: ["ignore", "ignore", "pipe"], env });
    const url = await firstLine(child, child.stderr, (line) => /"url":"(http[^"]+)"/u.exec(line)?.[1]);
    return new Parley(serverId, url, child);
  }

  /** Takes in so many sessions that do nothing, and leave when they are asked to move. */
  async fill(count: number): Promise<void> {
    // It listens before it has reached Redis, and takes nobody until then.
    await vi.waitFor(
      async () => {
        const { ok, status } = await fetch(`${this.url}health`);
        if (!ok) throw new Error(`${this.url}health answered ${status}`);
      },
      { timeout: 10_000 },
    );
    for (let done = 0; done < count; done += 50) {
      await Promise.all(Array.from({ length: Math.min(50, count - done) }, (_, n) => this.#idle(`idle-${done + n}`)));
    }
  }

  #idle(user: string): Promise<void> {
    const headers = {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
    };
    return new Promise((resolve, reject) => {
      const asked = get(`${this.url}ws?user=${user}`, { headers, agent: false });
      asked.once("error", reject);
      asked.once("response", ({ statusCode }) => reject(new Error(`${this.url}ws answered ${String(statusCode)}`)));
      asked.once("upgrade", (_, socket, head) => {
        let seen = head.toString("latin1");
        const look = () => {
          if (seen.includes('"welcome"')) resolve();
          if (seen.includes('"reconnect"')) socket.destroy();
        };
        socket.on("error", () => socket.destroy());
        socket.on("data", (bytes: Buffer) => {
          seen += bytes.toString("latin1");
          look();
        });
        look();
      });
    });
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    await ended(this.#child, "SIGKILL");
  }

  /** Asks it to drain and to end. */
  terminate(): Promise<void> {
    return ended(this.#child, "SIGTERM");
  }
}

/** `parley balance` in front of instances, which brings a client back to where it was. */
export class Door {
  /** Instances must be given the same name for it. */
  static readonly cookie = "parley-route";
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(...upstreams: Parley[]): Promise<Door> {
    const flags = ["--listen=127.0.0.1:0", "--policy=cookie", `--affinity-cookie=${Door.cookie}`];
    const args = ["balance", ...flags, ...upstreams.map(({ port }) => `--upstream=127.0.0.1:${port}`)];
    const child = spawn(binary(), args, { stdio: ["ignore", "ignore", "pipe"] });
    return new Door(await firstLine(child, child.stderr, (line) => /"url":"(http[^"]+)"/u.exec(line)?.[1]), child);
  }

  /** The cookie that leads to an instance. New clients are led to each in turn, so it is found by asking. */
  async routeTo(serverId: string): Promise<string> {
    for (const deadline = Date.now() + START; Date.now() < deadline; ) {
      const response = await fetch(`${this.url}instance`);
      const { server_id } = (await response.json()) as { server_id?: string };
      const cookie = response.headers.getSetCookie().find((line) => line.startsWith(`${Door.cookie}=`));
      if (server_id === serverId && cookie !== undefined) return cookie.slice(Door.cookie.length + 1).split(";")[0] ?? "";
    }
    throw new Error(`nobody is led to ${serverId}`);
  }

  stop(): Promise<void> {
    return ended(this.#child, "SIGKILL");
  }
}

export class Redis {
  readonly url: string;
  readonly #port: number;
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(port: number, folder: string, child: ChildProcess) {
    this.#port = port;
    this.#folder = folder;
    this.#child = child;
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async start(): Promise<Redis> {
    const folder = await mkdtemp(join(tmpdir(), "parley-redis-"));
    for (let attempt = 1; ; attempt++) {
      const port = await freePort();
      const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
      const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "ignore"] });
      try {
        await firstLine(child, child.stdout, (line) => (line.includes("Ready to accept connections") ? "ready" : undefined));
        return new Redis(port, folder, child);
      } catch (error) {
        // Somebody else may have taken the port in between.
        if (attempt === 5) throw error;
      }
    }
  }

  /** Forgets everything, as after a failure without a copy. */
  async flush(): Promise<void> {
    const child = spawn("redis-cli", ["-p", `${this.#port}`, "flushall"], { stdio: "ignore" });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    if (code !== 0) throw new Error(`redis-cli ended with ${String(code)}`);
  }

  async stop(): Promise<void> {
    await ended(this.#child, "SIGKILL");
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Waits until a line of a program's output says what is wanted. */
async function firstLine<T>(
  child: ChildProcess,
  output: NodeJS.ReadableStream | null,
  pick: (line: string) => T | undefined,
): Promise<T> {
  if (output === null) throw new Error("its output is not piped");
  const lines = createInterface({ input: output });
  const seen: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (what: string) => {
      child.kill("SIGKILL");
      reject(new Error(`${child.spawnfile} ${what}:\n${seen.join("\n")}`));
    };
    const timer = setTimeout(() => fail("did not start in time"), START);
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`ended with ${String(code)}`));
    lines.on("line", (line) => {
      seen.push(line);
      const picked = pick(line);
      if (picked === undefined) return;
      clearTimeout(timer);
      child.removeAllListeners("exit");
      // The rest must be read, or the program stands still when the pipe is full.
      lines.removeAllListeners("line").on("line", () => {});
      resolve(picked);
    });
  });
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await exit;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
