/** What is made of the answer to a plain GET. */
import { expect, it } from "vitest";
import { probe } from "./probe.ts";

const answering = (status: number, headers: Record<string, string> = {}) => async (url: unknown) => {
  expect(url).toBe("https://chat.test/ws");
  return new Response(null, { status, headers });
};

it.each([
  [426, {}, { verdict: "again", after: 0, why: "The connection was lost." }],
  [503, { "retry-after": "2" }, { verdict: "again", after: 2_000, why: "The server has no place at the moment." }],
  [503, { "retry-after": "soon" }, { verdict: "again", after: 0, why: "The server has no place at the moment." }],
  [502, {}, { verdict: "again", after: 0, why: "The connection was lost." }],
  [403, {}, { verdict: "refused", why: "This server takes no chats from pages of this address." }],
])("%i with %o", async (status, headers, answer) => {
  expect(await probe("wss://chat.test/ws", answering(status, headers as Record<string, string>) as typeof fetch)).toEqual(answer);
});

it("no answer at all is worth another attempt", async () => {
  const failing = () => Promise.reject(new TypeError("failed to fetch"));
  expect(await probe("wss://chat.test/ws", failing)).toMatchObject({ verdict: "again", after: 0 });
});
