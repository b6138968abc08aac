/** What each close code of a Parley server means for a client. The table is that of `service/PROTOCOL.md`. */

export interface CloseCode {
  /** The word in the close frame. */
  readonly reason: string;
  /** Whether to come back by oneself. */
  readonly reconnect: boolean;
  /** For the person in front of it, who did nothing wrong. */
  readonly said: string;
}

/** The token's time has passed: there is a point in coming back, but not with the same one. */
export const TOKEN_EXPIRED = 4001;
/** The credentials are missing or wrong. */
export const UNAUTHENTICATED = 4501;

const table: Readonly<Record<number, CloseCode>> = {
  1000: { reason: "bye", reconnect: false, said: "The connection was closed." },
  1002: { reason: "malformed", reconnect: false, said: "The connection was garbled. Reload the page to try again." },
  1003: { reason: "binary", reconnect: false, said: "The server refused this page. Reload it to try again." },
  1007: { reason: "not_utf8", reconnect: false, said: "The server refused this page. Reload it to try again." },
  1009: { reason: "too_big", reconnect: false, said: "A message was too large for the server." },
  1012: { reason: "restart", reconnect: true, said: "The server restarts." },
  4000: { reason: "slow", reconnect: true, said: "Messages came faster than this connection could carry." },
  [TOKEN_EXPIRED]: { reason: "token_expired", reconnect: true, said: "Your sign-in has expired." },
  4002: { reason: "dead", reconnect: true, said: "The connection went silent." },
  4003: { reason: "sign_in_timeout", reconnect: true, said: "Signing in took too long." },
  4004: { reason: "refresh", reconnect: true, said: "The server asked for a fresh connection." },
  4500: { reason: "protocol_faults", reconnect: false, said: "The server refused this page. Reload it to try again." },
  [UNAUTHENTICATED]: { reason: "unauthenticated", reconnect: false, said: "The sign-in was refused." },
  4502: { reason: "banned", reconnect: false, said: "You are not allowed in here at the moment." },
  4503: { reason: "disconnected", reconnect: false, said: "An administrator ended this session." },
  4504: { reason: "flooding", reconnect: false, said: "Too much was sent too fast, so the server hung up." },
};

/** All codes that have a meaning, in order. */
export const CLOSE_CODES: readonly (CloseCode & { readonly code: number })[] = Object.entries(table).map(
  ([code, row]) => ({ code: Number(code), ...row }),
);

/**
 * Looks a code up. One that is not in the table is judged by its range: 4500 to 4999 are final, and everything else,
 * 1006 (no close frame at all) among it, is worth another attempt.
 */
export function closeCode(code: number): CloseCode {
  const final = code >= 4500 && code <= 4999;
  return (
    table[code] ?? { reason: "", reconnect: !final, said: final ? "The server ended this session." : "The connection was lost." }
  );
}
