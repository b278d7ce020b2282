// A page in Chromium as a client, in the lines that `load.py` describes:
// `node benchmarks/peers/page.mjs CHROMIUM WAY ADDRESS CERTIFICATES page METHOD IN_FLIGHT SIZE SECONDS`. WAY is
// webtransport, json or frames: the last two are requests over HTTP/2.
//
// The browser is asked to evaluate and nothing else: what drives browsers usually has them report every request,
// which takes longer than a request.
import { spawn } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const { build } = createRequire(path("../../typescript/package.json"))("esbuild");

const WARM_UP = 1;

const [, , executable, way, address, certificates, , method, ...numbers] = process.argv;
const [inFlight, size, seconds] = numbers.map(Number);
const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The page's script. */
async function bundle() {
  const built = await build({
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
  return built.outputFiles[0].text;
}

/** The server's key, whose certificate the browser is to take. */
async function keyHash() {
  const certificate = new X509Certificate(await readFile(`${certificates}/server.pem`));
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(key).digest("base64");
}

/** Talks to a browser over its pipes: messages of JSON, each with a zero behind it. */
class DevTools {
  #input;
  #waiting = new Map();
  #number = 0;

  constructor(input, output) {
    this.#input = input;
    let held = "";
    output.setEncoding("utf8").on("data", (data) => {
      const messages = (held + data).split("\0");
      held = messages.pop();
      for (const { id, result, error } of messages.map((each) => JSON.parse(each))) {
        const { resolve, reject } = this.#waiting.get(id) ?? {};
        this.#waiting.delete(id);
        if (error) reject?.(new Error(error.message));
        else resolve?.(result);
      }
    });
    output.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the browser is gone"));
    });
  }

  call(method, params = {}, sessionId) {
    const id = ++this.#number;
    this.#input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Opens a page; what evaluates there. */
  async open(url) {
    const { targetId } = await this.call("Target.createTarget", { url });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const evaluate = async (expression) => {
      const asked = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails } = await this.call("Runtime.evaluate", asked, sessionId);
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
      return result.value;
    };
    const loaded =
      "new Promise((go) => document.readyState === 'complete' ? go() : (onload = () => go()))";
    while ((await evaluate(`${loaded}.then(() => location.href)`)) !== url);
    return evaluate;
  }
}

const folder = await mkdtemp(join(tmpdir(), "bench-"));
const browser = spawn(
  executable,
  [
    ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    ...["--no-first-run", "--disable-sync", "--disable-extensions", "--disable-component-update"],
    ...["--disable-background-networking", "--remote-debugging-pipe", `--user-data-dir=${folder}`],
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    // For its certificate, which QUIC takes of such hosts alone; on this port nobody listens.
    "--origin-to-force-quic-on=127.0.0.1:1",
    `--ignore-certificate-errors-spki-list=${await keyHash()}`,
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
const ended = new Promise((resolve) => browser.on("close", resolve));
const devTools = new DevTools(browser.stdio[3], browser.stdio[4]);
try {
  const evaluate = await devTools.open(`https://${address}/hello`);
  await evaluate(await bundle());
  await evaluate(`begin("${way}", "${method}", ${size})`);
  await evaluate(`load(${inFlight}, ${WARM_UP})`);
  say({ ready: true });
  if (!(await lines.next()).done) {
    say(await evaluate(`load(${inFlight}, ${seconds})`));
    await lines.next();
  }
  await devTools.call("Browser.close");
} finally {
  browser.kill("SIGKILL");
  await ended;
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.exit();
