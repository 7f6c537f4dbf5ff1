import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: { alias: { "@parley/sdk": at("sdk/src/index.ts") } },
  test: {
    include: ["tests/**/*.test.ts"],
    // Real servers and browsers on machines with few cores.
    testTimeout: 90_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    reporters: ["default"],
  },
});
