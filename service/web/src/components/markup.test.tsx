/** What comes out as markup: text stays text, whatever somebody writes. */
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import type { Status } from "../events.ts";
import type { Identity } from "../memory.ts";
import { nameFault, sentence } from "../names.ts";
import type { Json } from "../protocol.ts";
import { CORPUS } from "../xssCorpus.ts";
import { hue, initials } from "./Avatar.tsx";
import { whoTypes } from "./Composer.tsx";
import { MessageRow, type Row } from "./MessageRow.tsx";
import { MessageText } from "./MessageText.tsx";
import { SignIn } from "./SignIn.tsx";

const markup = (msg: Json) => renderToStaticMarkup(<MessageText msg={msg} />);
/** The text that a browser would show, by undoing the escapes that React writes. */
const read = (html: string) =>
  html
    .replace(/<[^>]*>/gu, "")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#x27;", "'")
    .replaceAll("&amp;", "&");

describe("message text", () => {
  it.each(CORPUS)("stays text: %s", (text) => {
    const html = markup(text);
    expect(read(html)).toBe(text);
    // Links are the only elements, and lead nowhere but to the web.
    for (const [tag] of html.matchAll(/<[^>]*>/gu)) expect(tag).toMatch(/^<\/a>$|^<a href="https?:\/\/[^"]*" target="_blank" rel="[^"]*">$/u);
  });

  it("has its web addresses as links, without what ends the sentence", () => {
    const html = markup("See https://example.com/a?b=c&d=1, or (http://example.org/x).");
    expect([...html.matchAll(/href="([^"]*)"/gu)].map(([, href]) => href)).toEqual([
      "https://example.com/a?b=c&amp;d=1",
      "http://example.org/x",
    ]);
    expect(read(html)).toBe("See https://example.com/a?b=c&d=1, or (http://example.org/x).");
  });

  it("may be the field `text` of an object, and anything else is shown as what it is", () => {
    expect(markup({ text: "hi", mood: 1.5 })).toBe("hi");
    expect(markup([1, null])).toContain("<code");
    expect(markup({ html: "<b>" })).toContain("&lt;b&gt;");
  });
});

describe("a row", () => {
  const at = Date.UTC(2026, 0, 5, 12);
  const message = (from: string, more: Partial<Row> = {}) =>
    ({ kind: "message", uid: "0.1", offset: 1, from, msg: "hi", key: undefined, at, ...more }) as Row;
  const row = (row: Row, previous?: Row, news = false) =>
    renderToStaticMarkup(
      <MessageRow
        row={row}
        previous={previous}
        before={previous?.kind === "gap" ? at : previous?.at}
        me="alice"
        news={news}
        confirmed
        onRetry={() => {}}
        onDiscard={() => {}}
      />,
    );

  it("of the same person soon after stands together with the one before", () => {
    const html = row(message("bob", { at: at + 60_000 }), message("bob"));
    expect(html).toContain('data-together="true"');
    for (const other of [
      row(message("bob", { at: at + 6 * 60_000 }), message("bob")),
      row(message("bob"), message("carol")),
      row(message("bob"), undefined),
      row(message("bob", { at: at + 60_000 }), message("bob"), true),
      row(message("bob", { at: at + 60_000 }), { kind: "gap", uid: "gap1" }),
    ]) {
      expect(other).toContain('data-together="false"');
    }
  });

  it("has the day above it when it is the first of it, and not again behind a gap", () => {
    const gap: Row = { kind: "gap", uid: "gap1" };
    expect(row(message("bob"))).toContain('class="day"');
    expect(row(message("bob", { at: at + 86_400_000 }), message("bob"))).toContain('class="day"');
    expect(row(message("bob"), message("carol"))).not.toContain('class="day"');
    expect(row(message("bob"), gap)).not.toContain('class="day"');
  });

  it("of one's own that failed says why and offers what can be done", () => {
    const failed = (perhapsStored: boolean) =>
      row({
        kind: "pending",
        uid: "k1",
        key: "1",
        from: "alice",
        msg: "hi",
        at,
        progress: { state: "failed", failure: { code: "x", message: "the reason", perhapsStored } },
      });
    expect(read(failed(false))).toContain("Not sent: the reasonTry againDiscard");
    expect(read(failed(true))).toContain("Not confirmed: the reasonSend anywayDiscard");
  });

  it("of a gap says what it means", () => {
    expect(read(row({ kind: "gap", uid: "gap1" }))).toContain("Messages may be missing here.");
  });
});

describe("the sign-in", () => {
  const form = (status: Status, kind: Identity["kind"] = "token") =>
    renderToStaticMarkup(<SignIn name="alice" status={status} kind={kind} onSignIn={() => {}} />);
  const disabled = (html: string) => /<button[^>]*type="submit"[^>]*disabled/u.test(html);

  it("can be changed and tried again while the server is waited for, and says why it waits", () => {
    for (const kind of ["name", "token"] as const) {
      const html = form({ phase: "waiting", until: 0, attempts: 3, why: "The server cannot be reached." }, kind);
      expect(disabled(html), kind).toBe(false);
      expect(read(html)).toContain("The server cannot be reached. Trying again…Start chatting");
    }
  });

  it("is not to be pressed twice while it is being tried", () => {
    expect(disabled(form({ phase: "connecting", attempts: 0 }))).toBe(true);
  });

  it("asks for a token again when the one that was given has expired", () => {
    const html = form({ phase: "stopped", why: "Your sign-in has expired.", code: 4001 });
    expect([disabled(html), html.includes('type="password"')]).toEqual([false, true]);
    expect(read(html)).toContain("Your sign-in has expired.");
  });
});

describe("words", () => {
  it("about who types", () => {
    expect([whoTypes(["Ann"]), whoTypes(["Ann", "Bob"]), whoTypes(["A", "B", "C"])]).toEqual([
      "Ann is typing",
      "Ann and Bob are typing",
      "Several people are typing",
    ]);
  });

  it("for people: letters and one of twelve colours, the same every time", () => {
    expect(["bob", "Ada Lovelace", "jean-luc picard", "😀 x"].map(initials)).toEqual(["B", "AL", "JP", "😀X"]);
    expect(hue("alice")).toBe(hue("alice"));
    for (const name of ["", "bob", "Ω"]) expect(hue(name)).toBeLessThan(12);
  });

  it("of a server become sentences", () => {
    expect(["not now", "Done.", "élan", ""].map(sentence)).toEqual(["Not now.", "Done.", "Élan.", "."]);
  });

  it("about names that a server would refuse", () => {
    expect(nameFault("alice")).toBeUndefined();
    expect(nameFault("ä".repeat(64))).toBeUndefined();
    for (const name of ["", "@bob", "a\nb", "\u0000", "ä".repeat(65)]) expect(nameFault(name), name).toBeTypeOf("string");
  });
});
