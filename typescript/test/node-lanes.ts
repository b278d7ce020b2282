// Calls the real server over a Unix socket and says how it went: `{name: null or what was wrong}`.
// Started by tests/web/test_node.py with the socket's path.
import assert from "node:assert/strict";
import {
  CallError,
  Channel,
  ClosedError,
  DeadlineExceeded,
  Gap,
  LimitExceeded,
  VersionMismatch,
  connect,
  defineService,
  replyMetadata,
  withOptions,
  type Session,
} from "jetstream-client";
import { LabChannel } from "./node-service.ts";
import { unixTransport } from "./unix.ts";

const path = process.argv[2]!;

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

const scenarios: Record<string, (lab: LabChannel, session: Session) => Promise<void>> = {
  async calls(lab) {
    assert.equal(await lab.echo("hé🚀"), "hé🚀");
    assert.equal(await lab.add(-3, 5), 2);
    const all = await Promise.all(numbers(1000).map((n) => lab.add(n, 1)));
    assert.deepEqual(
      all,
      numbers(1000).map((n) => n + 1),
    );
    assert.equal(await lab.echo("x".repeat(60_000)), "x".repeat(60_000));
  },
  async errors(lab) {
    await assert.rejects(lab.fail("told"), (error: CallError) => {
      assert(error instanceof CallError);
      assert.deepEqual(
        [error.message, error.code, error.help, error.url],
        ["no", "lab::no", "ask", "https://x"],
      );
      return true;
    });
    await assert.rejects(lab.fail("secret"), {
      code: "jetstream::internal",
      message: "Lab.fail failed",
    });
    await assert.rejects(lab.fail("gap"), (error: Gap) => {
      assert(error instanceof Gap);
      assert.deepEqual([error.asked, error.oldest, error.latest], [1n, 5n, 9n]);
      return true;
    });
    assert.equal(await lab.add(1, 1), 2);
  },
  async cancellation(lab) {
    const abort = new AbortController();
    const call = lab.wait("call", { signal: abort.signal });
    await lab.echo("behind it");
    abort.abort();
    await assert.rejects(call, { name: "AbortError" });
    await lab.ended("call");
  },
  async deadlines(lab) {
    await assert.rejects(lab.wait("late", { timeout: 50 }), DeadlineExceeded);
    await lab.ended("late");
    const usual = (await lab.left())!;
    assert(usual > 29 && usual <= 30, `${usual}`);
    const little = (await lab.left({ timeout: 5000 }))!;
    assert(little > 4 && little <= 5, `${little}`);
    assert.equal(await lab.left({ timeout: null }), null);
    assert.equal(await withOptions(lab, { timeout: null }).left(), null);
  },
  async metadata(lab) {
    const call = lab.meta("who", { metadata: { who: "ada", raw: new Uint8Array([0, 255]) } });
    assert.equal(await call, "ada");
    assert.deepEqual({ ...replyMetadata(call) }, { seen: new Uint8Array([2]) });
    const large = { metadata: { large: new Uint8Array(9000) } };
    await assert.rejects(lab.meta("x", large), (error: LimitExceeded) => {
      assert(error instanceof LimitExceeded);
      assert.deepEqual(
        [error.allowed, error.side, error.setting],
        [8192, "peer", "Limits(max_metadata=...)"],
      );
      return true;
    });
  },
  async subscriptions(lab) {
    const ticks = lab.ticks(10_000);
    let n = 0;
    for await (const tick of ticks) assert.equal(tick.n, n++);
    assert.equal(n, 10_000);
    assert.equal(await ticks.result, "10000 ticks");
  },
  async many(lab) {
    const all = numbers(100).map(async () => {
      let n = 0;
      for await (const tick of lab.ticks(50)) n += tick.n;
      return n;
    });
    assert.deepEqual(new Set(await Promise.all(all)), new Set([1225]));
  },
  async leaving(lab) {
    const ticks = lab.ticks(2 ** 32 - 1);
    for await (const tick of ticks) if (tick.n === 20) break;
    await lab.ended("ticks");
    await assert.rejects(ticks.result, ClosedError);
  },
  async windows(lab) {
    // Nobody takes: the generator stops within the window.
    const ticks = lab.ticks(2 ** 32 - 1);
    await ticks.next();
    let [before, made] = [-1, 0];
    while (made !== before || !made) {
      before = made;
      for (let i = 0; i < 20; i++) await lab.echo("a turn");
      made = await lab.made();
    }
    // 256 KiB of items of a kilobyte, and what the socket holds.
    assert(made > 100 && made < 2000, `${made}`);
    for (let i = 0; i < 1000; i++) await ticks.next();
    ticks.cancel();
    await lab.ended("ticks");
  },
  async streams(lab) {
    assert.equal(await lab.total(numbers(50_000)), 1249975000n);
    const got: number[] = [];
    for await (const number of lab.doubled(numbers(5000))) got.push(number);
    assert.deepEqual(
      got,
      numbers(5000).map((n) => 2 * n),
    );
    async function* broken(): AsyncGenerator<number> {
      yield 1;
      throw new RangeError("mine");
    }
    await assert.rejects(lab.total(broken()), RangeError);
    assert.equal(await lab.add(2, 2), 4);
  },
  async feeds(lab) {
    const got: [bigint, number][] = [];
    for await (const item of lab.follow(1n)) {
      got.push(item);
      if (item[0] === 4n) break;
    }
    assert.deepEqual(got, [
      [2n, 1.5],
      [3n, 1.25],
      [4n, 1.75],
    ]);
    await assert.rejects(lab.follow(0n).next(), Gap);
  },
  async lossy(lab) {
    const seen: number[] = [];
    for await (const n of lab.position()) seen.push(n);
    assert.equal(seen.at(-1), 999);
    assert.deepEqual(
      seen,
      [...new Set(seen)].sort((a, b) => a - b),
    );
  },
  async mismatch(_lab, session) {
    class Other extends Channel {
      static readonly service = defineService("nothing", "1.0.0", "", { ping: { params: [] } });
      ping(): Promise<void> {
        return this.$call("ping", []);
      }
    }
    await assert.rejects(session.channel(Other).ping(), VersionMismatch);
    class Newer extends LabChannel {
      static override readonly service = { ...LabChannel.service, version: "1.1.0" };
    }
    await assert.rejects(session.channel(Newer).add(1, 1), VersionMismatch);
  },
};

const outcome: Record<string, string | null> = {};
for (const manyLanes of [true, false]) {
  const session = await connect("unix:", {
    transport: () => unixTransport(path, manyLanes),
    reconnect: false,
  });
  for (const [name, scenario] of Object.entries(scenarios)) {
    const key = `${name}-${manyLanes ? "own" : "shared"}`;
    try {
      await scenario(session.channel(LabChannel), session);
      outcome[key] = null;
    } catch (error) {
      outcome[key] = (error as Error).stack ?? String(error);
    }
  }
  await session.close();
}
console.log(JSON.stringify(outcome));
