/** How long to wait before the next attempt. Thousands of clients come back together, so chance decides. */

/** The longest wait, in milliseconds. */
export const LONGEST_WAIT = 30_000;
const FIRST_WAIT = 500;

/**
 * A random time between 0 and the least of 30 s and 0.5 s · 2ⁿ, in milliseconds.
 *
 * @param attempts n: attempts since the last connection that lasted.
 * @param random a number from 0 up to, but not including, 1.
 */
export function backoff(attempts: number, random: number): number {
  return Math.round(random * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempts, 10)));
}
