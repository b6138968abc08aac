/** Text must be readable for everybody: 4.5 to 1, as WCAG 2 level AA has it for small letters, in light and in dark. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const css = readFileSync(new URL("base.css", import.meta.url), "utf8");
const [light = "", dark = ""] = css.split("@media (prefers-color-scheme: dark)");
const colours = (text: string) => new Map([...text.matchAll(/--([\w-]+): (#[0-9a-f]{6});/gu)].map(([, name, value]) => [name, value]));
const schemes = { light: colours(light), dark: colours(dark) };

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].toSorted((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** Which text stands on what. */
const pairs = [
  ["text", "ground side raised hover chosen"],
  ["soft", "ground side raised hover"],
  ["faint", "ground side"],
  ["accent", "ground side raised"],
  ["accent-text", "accent"],
  ["good", "ground raised"],
  ["bad", "ground raised bad-soft"],
  ["warn-text", "warn-soft"],
].flatMap(([text = "", grounds = ""]) => grounds.split(" ").map((ground) => [text, ground] as const));

it.each(Object.entries(schemes))("%s", (_, scheme) => {
  for (const [text, ground] of pairs) {
    const [front, back] = [scheme.get(text), scheme.get(ground)];
    expect([front, back], `${text} on ${ground}`).not.toContain(undefined);
    expect(contrast(front ?? "", back ?? ""), `${text} ${front} on ${ground} ${back}`).toBeGreaterThanOrEqual(4.5);
  }
});
