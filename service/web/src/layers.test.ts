/** Keeps the sources as they were agreed: the library knows no page, the chat no React, and markup no connection. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const src = new URL("./", import.meta.url);
const sources = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((path) => /\.tsx?$/u.test(path));
const text = (path: string) => readFileSync(new URL(path, src), "utf8");
/** What a file imports: packages by name, own files by their path below `src`. */
const imports = (path: string) =>
  [...text(path).matchAll(/^(?:import|export) (?:[^;]*? from )?"([^"]+)";/gmu)].map(([, name = ""]) =>
    name.startsWith(".") ? new URL(name, new URL(path, src)).pathname.slice(src.pathname.length) : name,
  );

/** The library: each file with what it may import. */
const library: Record<string, readonly string[]> = {
  "protocol.ts": [],
  "closeCodes.ts": [],
  "backoff.ts": [],
  "probe.ts": [],
  "events.ts": ["protocol.ts"],
  "link.ts": ["protocol.ts"],
  "subscriptions.ts": ["backoff.ts", "events.ts", "link.ts", "protocol.ts"],
  "publisher.ts": ["backoff.ts", "events.ts", "link.ts", "protocol.ts"],
};

describe("the layers", () => {
  it("see the sources", () => {
    expect(sources).toEqual(expect.arrayContaining([...Object.keys(library), "connection.ts", "components/Composer.tsx"]));
  });

  it.each(Object.entries(library))("%s imports only what is below it", (path, allowed) => {
    expect(imports(path).filter((name) => !allowed.includes(name))).toEqual([]);
  });

  it("keep the library free of packages and of the page", () => {
    for (const path of ["connection.ts", "client.ts"]) {
      expect(imports(path).filter((name) => !(name in library) && name !== "connection.ts"), path).toEqual([]);
    }
  });

  it.each(["chat.ts", "filling.ts", "inbox.ts", "leftovers.ts", "memory.ts", "notes.ts", "notifier.ts", "room.ts", "session.ts", "target.ts", "typists.ts", "names.ts", "fakeServer.ts"])("keep %s free of React", (path) => {
    expect(imports(path).filter((name) => !name.endsWith(".ts"))).toEqual([]);
  });

  it("keep components from opening connections", () => {
    const components = sources.filter((path) => path.startsWith("components/") && !path.includes(".test."));
    for (const path of components) expect(imports(path), path).not.toContain("connection.ts");
  });

  it("never turn text into markup", () => {
    const forbidden = /dangerouslySetInnerHTML|\.innerHTML|\.outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/u;
    const found = sources.filter((path) => !path.endsWith("layers.test.ts") && forbidden.test(text(path)));
    expect(found).toEqual([]);
  });

  it("have every file begin with what it is responsible for", () => {
    for (const path of sources) expect(text(path).startsWith("/**"), path).toBe(true);
  });

  it("have no file that is too long", () => {
    const long = sources.filter((path) => text(path).split("\n").length > 500);
    expect(long).toEqual([]);
  });
});
