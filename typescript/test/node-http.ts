// Calls the real server over HTTP POST and says how it went: `{name: null or what was wrong}`. Started
// by tests/web/test_node_http.py with the server's URL.
import assert from "node:assert/strict";
import {
  CallError,
  ClosedError,
  ConnectError,
  ConnectionLost,
  DeadlineExceeded,
  Gap,
  LimitExceeded,
  LocalProtocolError,
  VersionMismatch,
} from "jetstream-client";
import { connectHttp, type HttpSession } from "jetstream-client/http";
import { AllChannel, LabChannel } from "./node-service.ts";

const url = process.argv[2]!;

const all = {
  small: -5,
  big: -(2n ** 63n),
  huge: 2n ** 128n - 1n,
  real: 0.1,
  endless: -Infinity,
  yes: true,
  text: 'hé🚀"\\',
  raw: new Uint8Array([0, 127, 255]),
  at: new Date("2026-01-31T12:00:00.123Z"),
  host: "2001:db8::1",
  where: { ip: "::1", port: 443 },
  home: "https://example.com/",
  list: [1n, 2n ** 60n],
  names: new Map([
    ["b", 1],
    ["__proto__", 2],
  ]),
  numbers: new Map([
    [1, "a"],
    [2, "b"],
  ]),
  set: new Set(["x"]),
  pair: [1, "one"] as const,
  none: null,
  nested: { some: null },
  colour: "r",
  shape: { Circle: { radius: 1.5 } },
} as const;

type Scenario = (lab: LabChannel, session: HttpSession, encoding: string) => Promise<void>;

const scenarios: Record<string, Scenario> = {
  async calls(lab) {
    assert.equal(await lab.echo("hé🚀"), "hé🚀");
    assert.equal(await lab.add(-3, 5), 2);
    assert.deepEqual(
      await Promise.all(Array.from({ length: 50 }, (_, n) => lab.add(n, 1))),
      Array.from({ length: 50 }, (_, n) => n + 1),
    );
  },
  async values(_lab, session) {
    assert.deepEqual(await session.channel(AllChannel).same(all), all);
  },
  async errors(lab, _session, encoding) {
    await assert.rejects(lab.fail("told"), (error: CallError) => {
      assert(error instanceof CallError);
      assert.deepEqual(
        [error.message, error.code, error.help, error.url],
        ["no", "lab::no", "ask", "https://x"],
      );
      return true;
    });
    await assert.rejects(lab.fail("secret"), { code: "jetstream::internal" });
    await assert.rejects(lab.fail("gap"), Gap);
    await assert.rejects(lab.add(1.5, 1), { name: "EncodeError", path: "lab.add.a" });
    const many = lab.echo("x".repeat(70_000));
    await assert.rejects(many, { name: "EncodeError" });
    assert(encoding);
  },
  async cancellation(lab) {
    const abort = new AbortController();
    const call = lab.wait("call", { signal: abort.signal });
    await lab.echo("beside it");
    abort.abort(new RangeError("enough"));
    await assert.rejects(call, RangeError);
    await lab.ended("call");
  },
  async deadlines(lab) {
    await assert.rejects(lab.wait("late", { timeout: 50 }), DeadlineExceeded);
    await lab.ended("late");
  },
  async impossible(lab) {
    await assert.rejects(lab.total([1]), LocalProtocolError);
    await assert.rejects(lab.ticks(1).next(), LocalProtocolError);
    await assert.rejects(lab.echo("", { metadata: { a: "b" } }), LocalProtocolError);
  },
  async mismatch(_lab, session, encoding) {
    class Newer extends LabChannel {
      static override readonly service = {
        ...LabChannel.service,
        version: "1.1.0",
        name: "nothing",
      };
    }
    const refused = session.channel(Newer).add(1, 1);
    // With JSON the path is all that says which service it is: the application behind answers.
    await assert.rejects(refused, encoding === "frames" ? VersionMismatch : ConnectError);
  },
  async limits(_lab, session) {
    const large = session.channel(AllChannel).bytes(new Uint8Array(5 << 20));
    await assert.rejects(large, LimitExceeded);
  },
  async gone(_lab, _session, encoding) {
    const nobody = connectHttp("http://127.0.0.1:9/", { encoding: encoding as "json" });
    await assert.rejects(nobody.channel(LabChannel).echo(""), ConnectionLost);
    const closed = connectHttp(url);
    await closed.close();
    await assert.rejects(closed.channel(LabChannel).echo(""), ClosedError);
  },
};

const outcome: Record<string, string | null> = {};
for (const encoding of ["frames", "json"] as const) {
  const session = connectHttp(url, { encoding, headers: async () => ({ "x-who": "ada" }) });
  for (const [name, scenario] of Object.entries(scenarios)) {
    const key = `${name}-${encoding}`;
    try {
      await scenario(session.channel(LabChannel), session, encoding);
      outcome[key] = null;
    } catch (error) {
      outcome[key] = (error as Error).stack ?? String(error);
    }
  }
  await session.close();
}
console.log(JSON.stringify(outcome));
