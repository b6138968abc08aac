/** What the page's address says behind its `#`: which conversation is open, or a token to sign in with. */

/** The conversation in the address: `#/general`, `#/@bob`. */
export function roomInAddress(): string | undefined {
  if (!location.hash.startsWith("#/")) return undefined;
  try {
    return decodeURIComponent(location.hash.slice(2)) || undefined;
  } catch {
    return undefined;
  }
}

/** The address of a conversation. */
export function addressOf(id: string): string {
  return `#/${encodeURIComponent(id).replaceAll("%40", "@")}`;
}

/**
 * The token in `#token=…`, with which another page may send a user here. What is behind the `#` is never sent to a server,
 * and it is taken out of the address at once, so that nobody shares it by mistake.
 */
export function tokenInAddress(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return undefined;
  history.replaceState(null, "", location.pathname + location.search);
  return token;
}
