/** The content of a message: text with links, or whatever JSON somebody sent. Never HTML. */
import type { ReactNode } from "react";
import type { Json } from "../protocol.ts";

export function MessageText({ msg }: { msg: Json }) {
  const text = textOf(msg);
  if (text === undefined) return <code className="json">{JSON.stringify(msg, null, 1)}</code>;
  return <>{withLinks(text)}</>;
}

/** What a person would read: the message itself, or its field `text`. */
export function textOf(msg: Json): string | undefined {
  if (typeof msg === "string") return msg;
  const field = typeof msg === "object" && msg !== null && !Array.isArray(msg) ? msg["text"] : undefined;
  return typeof field === "string" ? field : undefined;
}

/** The text with its web addresses as links. Only `http` and `https` can match: nothing that a browser would run. */
export function withLinks(text: string): ReactNode[] {
  const parts: ReactNode[] = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"'`]+/giu)) {
    // What ends a sentence is not part of the address.
    const address = match[0].replace(/[.,;:!?)\]}…]+$/u, "");
    if (!URL.canParse(address)) continue;
    parts.push(
      text.slice(end, match.index),
      <a key={match.index} href={address} target="_blank" rel="noopener noreferrer nofollow">
        {address}
      </a>,
    );
    end = match.index + address.length;
  }
  parts.push(text.slice(end));
  return parts;
}
