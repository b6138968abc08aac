/**
 * What needs real browsers, real instances and a real Redis. `npm run test:browser` tests, `npm run test:cluster` what runs
 * on Kubernetes; `npm run screenshots` and `npm run figures` use the same set-up for pictures and for measuring.
 */
import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => ({
  test: {
    include: [mode === "test" ? "browser/**/*.test.ts" : `browser/${mode}.ts`],
    // Every file starts a browser, and every test servers: side by side they would only make each other slow.
    fileParallelism: false,
    testTimeout: mode === "test" ? 60_000 : 180_000,
    hookTimeout: 60_000,
  },
}));
