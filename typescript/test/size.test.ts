// What a page loads of the package, minified and gzipped, before its first answer: what answers calls,
// and what sends streams from the caller, is loaded by those that need it.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const folder = new URL("..", import.meta.url).pathname;

/** Bytes of a program that imports from the package, without what it loads later. */
async function size(contents: string, later: boolean): Promise<number> {
  const made = await build({
    stdin: { contents, resolveDir: folder, loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    alias: { "jetstream-client": "./src/index.ts" },
    plugins: [
      {
        name: "later",
        setup: (own) =>
          own.onResolve({ filter: /./ }, ({ kind, path }) =>
            kind === "dynamic-import" && !later ? { path, external: true } : undefined,
          ),
      },
    ],
  });
  return gzipSync(made.outputFiles[0]!.contents, { level: 9 }).length;
}

const PAGE = `
  import { Channel, connect, defineService, i32, list, string, struct } from "jetstream-client";
  const Tick = struct("Tick", { n: i32, tags: list(string) });
  const Echo = defineService("echo", "1.0.0", "", {
    echo: { params: [["message", string]], result: string },
    ticks: { params: [], items: Tick },
  });
  class EchoChannel extends Channel {
    static service = Echo;
    echo(message) { return this.$call("echo", [message]); }
    ticks() { return this.$subscribe("ticks", []); }
  }
  const echo = (await connect("/")).channel(EchoChannel);
  console.log(await echo.echo("hello"));
`;

test.each([
  ["a page that calls and subscribes", PAGE, false, 11_700],
  ["everything that there is to import", `export * from "jetstream-client"`, false, 13_400],
  ["that, with what is loaded later", `export * from "jetstream-client"`, true, 16_700],
])("%s", async (_, program, later, most) => {
  expect(await size(program, later)).toBeLessThan(most);
});
