// Calls, subscriptions and streams between two sessions in memory.
import { describe, expect, test } from "vitest";
import {
  CallError,
  Channel,
  ClosedError,
  ConnectionLost,
  DeadlineExceeded,
  EncodeError,
  Gap,
  JetStreamError,
  LimitExceeded,
  Session,
  VersionMismatch,
  connect,
  defineService,
  replyMetadata,
  string,
  u8,
  withOptions,
  type Context,
} from "jetstream-client";
import { memoryTransports, pair, type Pair } from "jetstream-client/testing";
import { Colour, Echo, EchoChannel, type EchoHandler, type Tick } from "./generated-example.ts";

class EchoImpl implements EchoHandler {
  seen: Context | null = null;
  waiting = deferred<Context>();
  finished = deferred<void>();

  ping(): void {}
  async echo(message: string, ctx: Context): Promise<string> {
    this.seen = ctx;
    if (message === "boom") throw new Error("a secret");
    if (message === "told")
      throw new JetStreamError("no", { code: "app::no", help: "h", url: "u" });
    if (message === "gap") throw new Gap(1n, 5n, 9n);
    if (message === "wait") {
      this.waiting.resolve(ctx);
      await new Promise((_, reject) => ctx.signal.addEventListener("abort", reject));
    }
    if (message === "meta") ctx.replyMetadata["cost"] = "7";
    return message;
  }
  add(a: number, b: number): number {
    return a + b;
  }
  draw<T>(drawing: T): T {
    return drawing;
  }
  where(): boolean {
    return true;
  }
  async *ticks(every: number): AsyncGenerator<Tick, { count: bigint }> {
    let n = 0;
    try {
      for (; n < every; n++) yield { n, at: new Date(n), colour: Colour.RED };
      return { count: BigInt(n) };
    } finally {
      this.finished.resolve();
    }
  }
  async *position(): AsyncGenerator<number, void> {
    for (let n = 0; n < 1000; n++) yield n;
  }
  async total(numbers: AsyncIterable<number>): Promise<bigint> {
    let sum = 0n;
    for await (const number of numbers) sum += BigInt(number);
    return sum;
  }
  async *doubled(numbers: AsyncIterable<number>): AsyncGenerator<number, void> {
    for await (const number of numbers) yield 2 * number;
  }
}

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
} {
  let [resolve, reject] = [(_: T): void => {}, (_: unknown): void => {}];
  const promise = new Promise<T>((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}

async function start(
  options: Parameters<typeof pair>[0] = {},
): Promise<Pair & { echo: EchoChannel; impl: EchoImpl }> {
  const both = await pair({ server: { onError: () => {} }, ...options });
  const impl = new EchoImpl();
  both.server.serve(Echo, impl);
  return { ...both, echo: both.session.channel(EchoChannel), impl };
}

describe.each([{ manyLanes: true }, { manyLanes: false }])("a pair with %o", (lanes) => {
  test("calls are answered", async () => {
    const { echo, session } = await start(lanes);
    expect(await echo.ping()).toBeUndefined();
    expect(await echo.echo("hé🚀")).toBe("hé🚀");
    expect(await Promise.all(Array.from({ length: 500 }, (_, n) => echo.add(n, 1)))).toEqual(
      Array.from({ length: 500 }, (_, n) => n + 1),
    );
    await session.close();
  });

  test("a subscription gives its items and then its result", async () => {
    const { echo, session } = await start(lanes);
    const ticks = echo.ticks(10_000);
    let n = 0;
    for await (const tick of ticks) if (tick.n === n) n++;
    expect(n).toBe(10_000);
    expect(await ticks.result).toEqual({ count: 10_000n });
    expect(session.state).toBe("connected");
    await session.close();
  });

  test("a loop that is left ends the generator", async () => {
    const { echo, impl, session } = await start(lanes);
    const ticks = echo.ticks(1e9);
    for await (const tick of ticks) if (tick.n === 3) break;
    await impl.finished.promise;
    await expect(ticks.result).rejects.toBeInstanceOf(ClosedError);
    expect(await echo.add(1, 2)).toBe(3);
    await session.close();
  });

  test("a stream from the caller goes as fast as it is taken", async () => {
    const { echo, session } = await start(lanes);
    const numbers = Array.from({ length: 20_000 }, (_, n) => n % 1000);
    expect(await echo.total(numbers)).toBe(BigInt(numbers.reduce((a, b) => a + b)));
    const got: number[] = [];
    for await (const number of echo.doubled(numbers.slice(0, 5000))) got.push(number);
    expect(got).toEqual(numbers.slice(0, 5000).map((n) => 2 * n));
    await session.close();
  });

  test("an error of the caller's stream ends the call", async () => {
    const { echo, session } = await start(lanes);
    async function* broken(): AsyncGenerator<number> {
      yield 1;
      throw new RangeError("mine");
    }
    await expect(echo.total(broken())).rejects.toThrow(RangeError);
    await expect(echo.total([70_000])).rejects.toThrow(EncodeError);
    expect(await echo.total([1, 2])).toBe(3n);
    await session.close();
  });

  test("a call that is given up reaches the method", async () => {
    const { echo, impl, session } = await start(lanes);
    const abort = new AbortController();
    const call = echo.echo("wait", { signal: abort.signal });
    const { signal } = await impl.waiting.promise;
    abort.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
    if (!signal.aborted) await new Promise((go) => signal.addEventListener("abort", go));
    expect(await echo.echo("next")).toBe("next");
    await session.close();
  });

  test("time that is over is an error here and there", async () => {
    const { echo, impl, session } = await start(lanes);
    const call = echo.echo("wait", { timeout: 30 });
    const ctx = await impl.waiting.promise;
    expect(ctx.timeLeft()).toBeLessThanOrEqual(30);
    await expect(call).rejects.toThrow(DeadlineExceeded);
    if (!ctx.signal.aborted) await new Promise((go) => ctx.signal.addEventListener("abort", go));
    await session.close();
  });

  test("the latest item of a lossy subscription arrives", async () => {
    const { echo, session } = await start(lanes);
    const seen: number[] = [];
    for await (const n of echo.position()) seen.push(n);
    expect(seen.at(-1)).toBe(999);
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
    await session.close();
  });
});

test("what a method throws is told as far as it is meant for its caller", async () => {
  const { echo, session } = await start();
  const secret = await echo.echo("boom").catch((error: unknown) => error);
  expect(secret).toBeInstanceOf(CallError);
  expect(secret).toMatchObject({ code: "jetstream::internal", message: "echo.echo failed" });
  await expect(echo.echo("told")).rejects.toMatchObject({
    name: "CallError",
    message: "no",
    code: "app::no",
    help: "h",
    url: "u",
  });
  await expect(echo.echo("gap")).rejects.toMatchObject({
    name: "Gap",
    asked: 1n,
    oldest: 5n,
    latest: 9n,
  });
  await session.close();
});

test("arguments that do not fit are refused before a byte leaves", async () => {
  const { echo, session } = await start();
  await expect(echo.add(1.5)).rejects.toMatchObject({ name: "EncodeError", path: "echo.add.a" });
  await expect(echo.echo("x".repeat(70_000))).rejects.toThrow(EncodeError);
  await session.close();
});

test("metadata goes both ways", async () => {
  const { echo, impl, session } = await start({ client: { metadata: { all: "1" } } });
  const told = withOptions(echo, { metadata: { who: new Uint8Array([1, 2]) } });
  const call = told.echo("meta", { metadata: { more: "é" } });
  await call;
  expect({ ...impl.seen!.metadata }).toEqual({
    all: new Uint8Array([49]),
    who: new Uint8Array([1, 2]),
    more: new TextEncoder().encode("é"),
  });
  expect({ ...replyMetadata(call) }).toEqual({ cost: new Uint8Array([55]) });
  await expect(echo.ping({ metadata: { big: new Uint8Array(9000) } })).rejects.toThrow(
    LimitExceeded,
  );
  expect(await echo.add(1)).toBe(1);
  await session.close();
});

test("either end calls", async () => {
  const { session, server } = await start();
  session.serve(Echo, new EchoImpl());
  expect(await server.channel(EchoChannel).echo("back")).toBe("back");
  const ticks: number[] = [];
  for await (const tick of server.channel(EchoChannel).ticks(3)) ticks.push(tick.n);
  expect(ticks).toEqual([0, 1, 2]);
  const seen: number[] = [];
  for await (const n of server.channel(EchoChannel).position()) seen.push(n);
  expect(seen.at(-1)).toBe(999);
  await session.close();
});

test("a service that is not served, or in another version, is a mismatch", async () => {
  const both = await pair();
  await expect(both.session.channel(EchoChannel).ping()).rejects.toThrow(VersionMismatch);
  const Newer = { ...Echo, version: "1.1.0" };
  both.server.serve(Echo, new EchoImpl());
  class NewerChannel extends EchoChannel {
    static override readonly service = Newer;
  }
  await expect(both.session.channel(NewerChannel).ping()).rejects.toThrow(VersionMismatch);
  expect(await both.session.channel(EchoChannel).add(1, 1)).toBe(2);
  await both.session.close();
});

test("a session that closes ends its calls, and its peer's", async () => {
  const { echo, impl, session, server } = await start();
  const call = echo.echo("wait");
  const ticks = echo.ticks(1e9);
  await ticks.next();
  const { signal } = await impl.waiting.promise;
  const failed = expect(call).rejects.toThrow(ClosedError);
  await session.close(7, "enough");
  await failed;
  await expect(ticks.result).rejects.toThrow(ClosedError);
  expect(await server.closed).toEqual({ closeCode: 7, reason: "enough" });
  expect(server.state).toBe("closed");
  expect(signal.aborted).toBe(true);
  await expect(echo.ping()).rejects.toThrow(ClosedError);
});

test("a result that is no value of its type is a DecodeError", async () => {
  const { session, server } = await pair();
  interface Byte {
    get(): number;
  }
  const Byte = defineService<Byte>("byte", "1.0.0", "", { get: { params: [], result: u8 } });
  const Text = defineService<Byte>("byte", "1.0.0", "", { get: { params: [], result: string } });
  class TextChannel extends Channel {
    static readonly service = Text;
    get(): Promise<string> {
      return this.$call("get", []);
    }
  }
  server.serve(Byte, { get: () => 5 });
  await expect(session.channel(TextChannel).get()).rejects.toMatchObject({
    name: "DecodeError",
    path: "byte.get",
    offset: 0,
  });
  await session.close();
});

test("a lost connection fails what may have run", async () => {
  const made: ReturnType<typeof memoryTransports>[] = [];
  const impls: EchoImpl[] = [];
  const dial = async () => {
    const [here, there] = memoryTransports();
    const server = new Session(async () => there, { reconnect: false, onError: () => {} }, false);
    const impl = new EchoImpl();
    server.serve(Echo, impl);
    await server.$open();
    made.push([here, there]);
    impls.push(impl);
    return here;
  };
  const session = await connect("https://x/", { transport: dial });
  const states: string[] = [session.state];
  session.onStateChange((state) => states.push(state));
  const echo = session.channel(EchoChannel);
  // `echo` is idempotent, `draw` is not.
  const again = echo.echo("wait");
  await impls[0]!.waiting.promise;
  const ticks = echo.ticks(1e9);
  await ticks.next();
  const lost = expect(ticks.result).rejects.toThrow(ConnectionLost);
  made[0]![0].cut();
  await lost;
  await impls[0]!.finished.promise;
  // It was sent again.
  const ctx = await (async () => {
    while (!impls[1]) await new Promise((go) => setTimeout(go, 1));
    return impls[1].waiting.promise;
  })();
  expect(ctx.method).toBe("echo.echo");
  expect(await echo.add(1, 2)).toBe(3);
  expect(states).toEqual(["connected", "reconnecting", "connected"]);
  const failed = expect(again).rejects.toThrow(ClosedError);
  await session.close();
  await failed;
});
