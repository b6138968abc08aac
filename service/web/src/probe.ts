/** Asks over HTTP why a WebSocket handshake failed: browsers tell a page nothing of the answer to it. */

export type ProbeAnswer =
  /** Try again after at least `after` milliseconds, and back off besides. */
  | { readonly verdict: "again"; readonly after: number; readonly why: string }
  /** There is no point in trying again. */
  | { readonly verdict: "refused"; readonly why: string };

/** The longest that an answer may take, in milliseconds. */
const ANSWER_WAIT = 5_000;

/**
 * A plain GET of the WebSocket's address. 426 means that a handshake would be welcome, 503 with `Retry-After` that there is
 * no place now; no answer at all is as good a reason to try again. Never rejects.
 */
export async function probe(url: string, get: typeof fetch = fetch): Promise<ProbeAnswer> {
  let response: Response;
  try {
    const address = url.replace(/^ws/, "http");
    response = await get(address, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WAIT) });
  } catch {
    return { verdict: "again", after: 0, why: "The server cannot be reached." };
  }
  if (response.status === 403) return { verdict: "refused", why: "This server takes no chats from pages of this address." };
  const seconds = Number(response.headers.get("retry-after") ?? 0);
  const after = Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : 0;
  const busy = response.status === 503 || response.status === 429;
  return { verdict: "again", after, why: busy ? "The server has no place at the moment." : "The connection was lost." };
}
