// A page in Chromium as a client, in the lines that `load.py` describes:
// `node benchmarks/peers/page.mjs CHROMIUM WAY ADDRESS CERTIFICATES page METHOD IN_FLIGHT SIZE SECONDS`. WAY is
// webtransport, json or frames: the last two are requests over HTTP/2.
import { X509Certificate, createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const require = createRequire(path("../../typescript/package.json"));
const { build } = require("esbuild");
const { chromium } = require("playwright-core");

const WARM_UP = 0.3;

const [, , executablePath, way, address, certificates, , method, ...numbers] = process.argv;
const [inFlight, size, seconds] = numbers.map(Number);
const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const bundle = await build({
  entryPoints: [path("page.ts")],
  bundle: true,
  write: false,
  minify: true,
  format: "iife",
  target: "es2022",
  alias: {
    "jetstream-client/http": path("../../typescript/src/http.ts"),
    "jetstream-client": path("../../typescript/src/index.ts"),
  },
});
const certificate = new X509Certificate(await readFile(`${certificates}/server.pem`));
const key = certificate.publicKey.export({ type: "spki", format: "der" });
const hash = createHash("sha256").update(key).digest("base64");
const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    // For its certificate, which QUIC takes of such hosts alone; on this port nobody listens.
    "--origin-to-force-quic-on=127.0.0.1:1",
    `--ignore-certificate-errors-spki-list=${hash}`,
  ],
});
try {
  const page = await browser.newPage();
  await page.goto(`https://${address}/hello`);
  await page.evaluate(bundle.outputFiles[0].text);
  const run = (name, ...args) =>
    page.evaluate(([name, args]) => window[name](...args), [name, args]);
  await run("begin", way, method, size);
  await run("load", inFlight, WARM_UP);
  say({ ready: true });
  if (!(await lines.next()).done) {
    say(await run("load", inFlight, seconds));
    await lines.next();
  }
} finally {
  await browser.close();
}
