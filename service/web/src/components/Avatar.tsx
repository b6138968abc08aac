/** A person in one or two letters and a colour of their own. */

export function Avatar({ name, size = "medium", present }: { name: string; size?: "small" | "medium"; present?: boolean }) {
  return (
    <span className={`avatar avatar-${size}`} data-hue={hue(name)} aria-hidden="true">
      {initials(name)}
      {present === true && <span className="avatar-dot" />}
    </span>
  );
}

/** One of twelve colours, the same for a name on every screen. */
export function hue(name: string): number {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return hash % 12;
}

/** `Ada Lovelace` → `AL`, `bob` → `B`. */
export function initials(name: string): string {
  const words = name.split(/[\s._-]+/u).filter((word) => word !== "");
  const first = [...(words[0] ?? name)][0] ?? "";
  const second = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
  return (first + second).toUpperCase();
}
