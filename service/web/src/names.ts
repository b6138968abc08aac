/** What a name of a user or a room must be like, and other words for the person in front of the page. */

import { bytes } from "./protocol.ts";

/** What is wrong with a name, or nothing. */
export function nameFault(name: string, most = 128): string | undefined {
  if (name === "") return "A name needs at least one letter.";
  if (name.startsWith("@")) return "A name cannot begin with @.";
  if (/\p{Cc}/u.test(name)) return "A name cannot hold control characters.";
  if (bytes(name) > most) return `That is too long: ${most} bytes at most.`;
  return undefined;
}

/** The message of a server, `not with this token`, as a sentence: `Not with this token.` */
export function sentence(text: string): string {
  const [first = "", ...rest] = text;
  const whole = first.toUpperCase() + rest.join("");
  return /[.!?…]$/u.test(whole) ? whole : `${whole}.`;
}

/** Why one is not in a room any more. */
export function leftBecause(reason: string): string {
  return reason === "kicked" ? "You were removed from this room." : "You may not be in this room any more.";
}
