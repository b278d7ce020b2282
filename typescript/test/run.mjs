// Runs a program in TypeScript on Node: `node test/run.mjs test/program.ts arguments`.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const source = (path) => fileURLToPath(new URL(`../src/${path}`, import.meta.url));
const [, , program, ...rest] = process.argv;
const folder = await mkdtemp(join(tmpdir(), "jetstream-"));
try {
  const outfile = join(folder, "program.mjs");
  await build({
    entryPoints: [program],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: "inline",
    logLevel: "warning",
    alias: {
      "jetstream-client/http": source("http.ts"),
      "jetstream-client/testing": source("testing.ts"),
      "jetstream-client": source("index.ts"),
    },
  });
  process.argv = [process.argv[0], program, ...rest];
  // A promise that is rejected with nobody to hear it fails the program.
  process.on("unhandledRejection", (error) => {
    console.error("unhandled:", error);
    process.exit(70);
  });
  await import(pathToFileURL(outfile).href);
} finally {
  await rm(folder, { recursive: true });
}
