import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string): string => fileURLToPath(new URL(`src/${path}`, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^jetstream-client$/, replacement: source("index.ts") },
      { find: "jetstream-client/http", replacement: source("http.ts") },
      { find: "jetstream-client/react", replacement: source("react/index.ts") },
      { find: "jetstream-client/testing", replacement: source("testing.ts") },
    ],
  },
  test: { include: ["test/**/*.test.{ts,tsx}"], testTimeout: 10_000 },
});
