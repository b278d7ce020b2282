// Drives Chromium for tests/web/test_chromium.py: `node test/chromium.mjs CHROMIUM HASH BUNDLE`. Commands and answers
// are lines of JSON; HASH is that of the servers' public key, and BUNDLE the file into which test/page.ts is bundled.
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const source = (path) => fileURLToPath(new URL(path, import.meta.url));
const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const [, , executablePath, hash, outfile] = process.argv;

await build({
  entryPoints: [source("page.ts")],
  outfile,
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: "inline",
  logLevel: "warning",
  alias: {
    "jetstream-client/http": source("../src/http.ts"),
    "jetstream-client": source("../src/index.ts"),
  },
});
const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    "--disable-background-networking",
    // It asks nobody but us.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    // Over QUIC it takes no certificate of an authority that it did not come with, except of hosts on which it is to
    // speak QUIC unasked, whatever the port. Ours is another port: pages come over QUIC only if it is told of it.
    "--origin-to-force-quic-on=127.0.0.1:1",
    `--ignore-certificate-errors-spki-list=${hash}`,
  ],
});

const pages = new Map();

const commands = {
  async open() {
    const context = await browser.newContext();
    const page = await context.newPage();
    const number = pages.size + 1;
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.stack ?? String(error)));
    pages.set(number, { context, page, errors, cdp: await context.newCDPSession(page) });
    return number;
  },
  visit: ({ page }, url) =>
    page
      .goto(url)
      .then(() => page.waitForFunction("'scenarios' in window"))
      .then(() => null),
  // What a function of the page's returns, or what it threw.
  run: ({ page }, name, ...args) =>
    page.evaluate(
      async ([name, args]) => {
        try {
          return { value: (await window.scenarios[name](...args)) ?? null };
        } catch (error) {
          return { error: error?.stack ?? String(error) };
        }
      },
      [name, args],
    ),
  /** Bytes that JavaScript holds, without garbage. */
  async heap({ cdp }) {
    await cdp.send("HeapProfiler.collectGarbage");
    await cdp.send("Performance.enable");
    const { metrics } = await cdp.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "JSHeapUsedSize").value;
  },
  async close({ context, errors }) {
    await context.close();
    return errors;
  },
};

say({ version: browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, page, args } = JSON.parse(line);
  void (async () => {
    try {
      say({ id, value: await commands[command](...(page ? [pages.get(page)] : []), ...args) });
    } catch (error) {
      say({ id, error: error.stack });
    }
  })();
}
await browser.close();
