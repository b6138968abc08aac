/** Unit tests: everything beside the sources. Tests in real browsers have a configuration of their own. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["src/**/*.test.{ts,tsx}"], reporters: ["default"] },
});
