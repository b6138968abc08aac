/** The programs that a test needs beside the browser: instances of Parley and a Redis of its own, all on free ports. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

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

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    await ended(this.#child, "SIGKILL");
  }

  /** Asks it to drain and to end. */
  terminate(): Promise<void> {
    return ended(this.#child, "SIGTERM");
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
