// Both ends of a lane against a peer that is played by hand: the bytes of the Rust core, and what
// becomes of calls when the peer breaks the rules. Nothing hangs, and each fails with the right error.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  CallError,
  Channel,
  ClosedError,
  ConnectionLost,
  DecodeError,
  LimitExceeded,
  LocalProtocolError,
  RemoteProtocolError,
  Unavailable,
  VersionMismatch,
  defineService,
  replyMetadata,
  stream,
  string,
  u32,
  u64,
  type CallOptions,
  type Context,
  type Subscription,
} from "jetstream-client";
import { Inbox } from "../src/inbox.ts";
import { facing, frame, version, type RawLane, type Seen } from "./raw.ts";
import { random } from "./random.ts";
import { toHex } from "./described.ts";

interface VecHandler {
  echo(m: string, ctx: Context): Promise<string>;
  ticks(ctx: Context): AsyncGenerator<number, string>;
  total(n: AsyncIterable<number>, ctx: Context): Promise<bigint>;
  latest(ctx: Context): AsyncGenerator<number, void>;
}
const Vec = defineService<VecHandler>("vec", "1.2.3", "0a1b2c3d", {
  echo: { params: [["m", string]], result: string },
  ticks: { params: [], items: u32, result: string },
  total: { params: [["n", stream(u32)]], result: u64 },
  latest: { params: [], items: u32, lossy: true },
});
class VecChannel extends Channel {
  static readonly service = Vec;
  echo(m: string, options?: CallOptions): Promise<string> {
    return this.$call("echo", [m], options);
  }
  ticks(options?: CallOptions): Subscription<number, string> {
    return this.$subscribe("ticks", [], options);
  }
  total(n: AsyncIterable<number> | Iterable<number>): Promise<bigint> {
    return this.$call("total", [n]);
  }
  latest(): Subscription<number> {
    return this.$subscribe("latest", []);
  }
}

const OURS = "rs.jetstream.proto/vec/1.2.3+0a1b2c3d";
const ON = `${OURS}.x1-on`;
const [ECHO, TICKS, TOTAL, LATEST] = [102, 104, 106, 108];

/** A channel, and its lane at the other end. */
async function calling(
  memory: Parameters<typeof facing>[2] = { datagrams: false, manyLanes: false },
): Promise<{
  vec: VecChannel;
  open: (answer?: string, msize?: number) => Promise<RawLane>;
  close: () => Promise<void>;
  peer: Awaited<ReturnType<typeof facing>>["peer"];
  session: Awaited<ReturnType<typeof facing>>["session"];
}> {
  const { session, lanes, peer } = await facing({}, true, memory);
  const open = async (answer = ON, msize?: number): Promise<RawLane> => {
    const lane = await lanes();
    expect((await lane.next())!.kind).toBe(100);
    await lane.send(version(101, answer, msize));
    return lane;
  };
  return { vec: session.channel(VecChannel), open, close: () => session.close(), peer, session };
}

const failure = (of: Promise<unknown>): Promise<unknown> =>
  of.then(
    () => "it did not fail",
    (error: unknown) => error,
  );

const bytes = ({ kind, tag, hex }: Seen): string => toHex(frame(kind, tag, hex));

describe("the bytes of the Rust core", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
  afterEach(() => void vi.useRealTimers());

  test("what is called is said as it says it", async () => {
    const { vec, open, close } = await calling();
    const abort = new AbortController();
    const calls = [failure(vec.echo("hi", { signal: abort.signal }))];
    const lane = await open();
    const seen: string[] = [];
    const take = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) seen.push(bytes((await lane.next())!));
    };
    await take(2);
    const said = { metadata: { k: new Uint8Array([1, 2]) }, timeout: 5000 };
    calls.push(failure(vec.echo("m", said)));
    await take(2);
    abort.abort();
    await take(1);
    calls.push(failure(vec.ticks().next()));
    await take(3);
    calls.push(failure(vec.total([7, 8])));
    await take(4);
    expect(seen).toEqual([
      "0f00000011ffff80c3c90100000000",
      "0b00000066000002006869",
      "1a0000000b0100404b4c0000000000010001006b020000000102",
      "0a00000066010001006d",
      "1100000009020000000000000000000000",
      "110000000b0300ffffffffffffffff0000",
      "07000000680300",
      "0b0000000f030000000300",
      "070000006a0400",
      "0b0000000d040007000000",
      "0b0000000d040008000000",
      "070000000e0400",
    ]);
    await close();
    for (const call of calls) expect(await call).toBeInstanceOf(Error);
  });

  test("the version is asked for as it asks", async () => {
    const { session, lanes } = await facing();
    const call = failure(session.channel(VecChannel).echo("x"));
    const lane = await lanes();
    expect(bytes((await lane.next())!)).toBe(
      "3500000064ffff00004000280072732e6a657473747265616d2e70726f746f2f7665632f312e322e332b30613162326333642e7831",
    );
    await session.close();
    expect(await call).toBeInstanceOf(ClosedError);
  });
});

describe("the calling end", () => {
  test("a server without the extension is called without it", async () => {
    const { vec, open, close } = await calling();
    const call = vec.echo("a");
    const lane = await open(OURS);
    expect(bytes((await lane.next())!)).toBe(toHex(frame(ECHO, 0, "010061")));
    await lane.send(frame(ECHO + 1, 0, "010062"));
    expect(await call).toBe("b");
    expect(await failure(vec.echo("a", { metadata: { a: "b" } }))).toBeInstanceOf(
      LocalProtocolError,
    );
    expect(await failure(vec.total([1]))).toBeInstanceOf(LocalProtocolError);
    await close();
  });

  test.each([
    ["unknown", "unknown", 0],
    ["an older one", "rs.jetstream.proto/vec/1.2.2", undefined],
    ["another major", "rs.jetstream.proto/vec/2.0.0", undefined],
    ["another name", "rs.jetstream.proto/other/1.2.3", undefined],
    ["no version", "9P2000.L", undefined],
  ])("%s is a mismatch", async (_, answer, msize) => {
    const { vec, open, close } = await calling();
    const call = failure(vec.echo("a"));
    await open(answer, msize);
    expect(await call).toMatchObject({ name: "VersionMismatch", asked: OURS, answered: answer });
    await close();
  });

  test("a server that ends the lane instead of answering does not serve the name", async () => {
    const { session, lanes } = await facing();
    const call = failure(session.channel(VecChannel).echo("a"));
    const lane = await lanes();
    await lane.next();
    await lane.writer.close();
    expect(await call).toBeInstanceOf(VersionMismatch);
    await session.close();
  });

  const hostile: [string, Uint8Array[]][] = [
    ["a reply under a tag that no call has", [frame(ECHO + 1, 7, "0000")]],
    ["a reply of another method", [frame(TICKS + 1, 0, "00000000")]],
    ["a request", [frame(ECHO, 0, "0000")]],
    ["an end with a result for a call", [frame(8, 0, "66 0000")]],
    ["a cancellation that nobody asked for", [frame(10, 0, "0000")]],
    ["a frame smaller than its header", [new Uint8Array([6, 0, 0, 0])]],
    ["a frame over the limit", [new Uint8Array([255, 255, 255, 255])]],
    ["a malformed fault", [frame(5, 0, "ff")]],
    ["metadata that is none", [frame(12, 0, "0100")]],
    ["metadata with a key twice", [frame(12, 0, "0200 0100 61 00000000 0100 61 00000000")]],
    ["metadata under a tag that no call has", [frame(12, 9, "0000")]],
    ["credit of three bytes", [frame(15, 0, "000000")]],
    ["an item of a call", [frame(18, 0, "01000000 00")]],
  ];
  test.each(hostile)("%s ends the lane, and the calls on it", async (_, frames) => {
    const { vec, open, close } = await calling();
    const calls = [vec.echo("a"), vec.echo("b")].map(failure);
    const lane = await open();
    await lane.until(ECHO);
    await lane.send(...frames);
    for (const call of calls) expect(await call).toBeInstanceOf(RemoteProtocolError);
    expect((await lane.broken()).streamErrorCode).toBe(1);
    // The session goes on, over another lane.
    const next = vec.echo("c");
    const other = await open();
    const { tag } = await other.until(ECHO);
    await other.send(frame(ECHO + 1, tag, "010064"));
    expect(await next).toBe("d");
    await close();
  });

  test("the lane's end inside a frame is one of the rules", async () => {
    const { vec, open, close } = await calling();
    const call = failure(vec.echo("a"));
    const lane = await open();
    await lane.until(ECHO);
    await lane.send(frame(ECHO + 1, 0, "010062").subarray(0, 8));
    await lane.writer.close();
    expect(await call).toBeInstanceOf(RemoteProtocolError);
    await close();
  });

  test("the lane's end fails what was pending", async () => {
    const { vec, open, close } = await calling();
    const call = failure(vec.echo("a"));
    const lane = await open();
    await lane.until(ECHO);
    await lane.writer.close();
    expect(await call).toBeInstanceOf(ConnectionLost);
    await close();
  });

  test("a result that is no value fails its call alone", async () => {
    const { vec, open, close } = await calling();
    const [bad, good] = [failure(vec.echo("a")), vec.echo("b")];
    const lane = await open();
    await lane.until(ECHO);
    await lane.send(frame(ECHO + 1, 0, "ff"), frame(ECHO + 1, 1, "010063"));
    expect(await bad).toBeInstanceOf(DecodeError);
    expect(await good).toBe("c");
    await close();
  });

  test("the tag of a call that was given up is not another's before the answer", async () => {
    const { vec, open, close } = await calling();
    const abort = new AbortController();
    const given = failure(vec.echo("a", { signal: abort.signal }));
    const lane = await open();
    await lane.until(ECHO);
    abort.abort(new RangeError());
    expect(await given).toBeInstanceOf(RangeError);
    const cancel = await lane.until(9);
    const second = vec.echo("b");
    const { tag } = await lane.until(ECHO);
    expect(new Set([0, cancel.tag, tag]).size).toBe(3);
    // The late answer is nobody's.
    await lane.send(frame(ECHO + 1, 0, "010061"), frame(10, cancel.tag, "0000"));
    await lane.send(frame(ECHO + 1, tag, "010062"));
    expect(await second).toBe("b");
    const third = vec.echo("c");
    expect([0, cancel.tag, tag]).toContain((await lane.until(ECHO)).tag);
    await close();
    expect(await failure(third)).toBeInstanceOf(ClosedError);
  });

  test("a cancellation whose target's tag went to another call spares that", async () => {
    const { vec, open, close } = await calling();
    const abort = new AbortController();
    const given = failure(vec.echo("a", { signal: abort.signal }));
    const lane = await open();
    await lane.until(ECHO);
    abort.abort();
    const cancel = await lane.until(9);
    await given;
    // Answered, and only then confirmed: meanwhile its tag is another's.
    await lane.send(frame(ECHO + 1, 0, "010061"));
    let [call, tag] = [vec.echo("b"), (await lane.until(ECHO)).tag];
    while (tag !== 0) [call, tag] = [vec.echo("b"), (await lane.until(ECHO)).tag];
    await lane.send(frame(10, cancel.tag, "0000"), frame(ECHO + 1, 0, "010062"));
    expect(await call).toBe("b");
    await close();
  });

  test("an end without a result says that the method was cancelled", async () => {
    const { vec, open, close } = await calling();
    const [call, item] = [failure(vec.echo("a")), failure(vec.ticks().next())];
    const lane = await open();
    await lane.until(TICKS);
    await lane.send(frame(8, 0, "00"), frame(8, 1, "00"));
    expect(await call).toMatchObject({ name: "CallError", code: "jetstream::cancelled" });
    expect(await item).toBeInstanceOf(CallError);
    await close();
  });

  test("a subscription is granted what was taken, and no more is taken than was granted", async () => {
    const { vec, open, close } = await calling();
    const ticks = vec.ticks();
    const first = ticks.next();
    const lane = await open();
    const { tag } = await lane.until(TICKS);
    expect((await lane.until(15)).hex).toBe("00000300");
    const item = frame(TICKS + 1, tag, "05000000");
    const window = (256 << 10) / item.length;
    const many = new Uint8Array(Math.ceil(window) * item.length);
    for (let at = 0; at < many.length; at += item.length) many.set(item, at);
    await lane.send(many);
    expect(await first).toEqual({ done: false, value: 5 });
    for (let n = 1; n < window / 2; n++) await ticks.next();
    expect((await lane.until(15)).hex).toBe("04000200");
    await lane.send(many.subarray(0, 0x20004));
    // Nobody takes: one more would be held, and was not granted.
    await lane.send(many);
    await lane.broken();
    let taken = 0;
    for (;;) {
      const result = await ticks.next().catch((error: unknown) => error);
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(RemoteProtocolError);
        break;
      }
      taken++;
    }
    expect(taken * item.length).toBeLessThan((512 << 10) + 100);
    await close();
  });

  test("items of a subscription that was given up do not stop its end", async () => {
    const { vec, open, close } = await calling();
    const ticks = vec.ticks();
    const first = failure(ticks.next());
    const lane = await open();
    const { tag } = await lane.until(TICKS);
    ticks.cancel();
    expect(await first).toBeInstanceOf(ClosedError);
    expect(await failure(ticks.result)).toBeInstanceOf(ClosedError);
    expect(await failure(ticks.next())).toBeInstanceOf(ClosedError);
    const cancel = await lane.until(9);
    for (let n = 0; n < 40; n++) {
      await lane.send(frame(TICKS + 1, tag, "00".repeat(10_000)));
      if (n % 20 === 19) await lane.until(15);
    }
    await lane.send(frame(8, tag, "00"), frame(10, cancel.tag, "0000"));
    const call = vec.echo("a");
    await lane.send(frame(ECHO + 1, (await lane.until(ECHO)).tag, "010061"));
    expect(await call).toBe("a");
    await close();
  });

  test("a stream from the caller stops where nothing more is granted", async () => {
    const { vec, open, close } = await calling();
    let made = 0;
    function* numbers(): Generator<number> {
      // It may call, too, while its own call is on its way.
      if (!made) asked = vec.echo("b");
      for (; made < 20_000; made++) yield made;
    }
    let asked: Promise<string> | undefined;
    const total = vec.total(numbers());
    const lane = await open();
    const { tag } = await lane.until(TOTAL);
    const initial = Math.ceil((64 << 10) / 11);
    for (let n = 0; n < initial; n++) await lane.until(13);
    const echo = vec.echo("a");
    // Nothing of the stream is before it.
    expect((await lane.next())!.kind).toBe(ECHO);
    // It stands at its last `yield`.
    expect(made).toBe(initial - 1);
    await lane.send(frame(15, tag, "00000010"));
    await lane.until(14);
    await lane.send(frame(TOTAL + 1, tag, "0500000000000000"));
    expect(await total).toBe(5n);
    for (const call of [echo, asked!]) void call.catch(() => {});
    await close();
  });

  test("what is held of a stream holds nothing else", async () => {
    const inbox = new Inbox(
      (payload) => payload[0],
      () => {},
    );
    const chunk = new Uint8Array(1000).fill(7);
    inbox.push(chunk.subarray(10, 11), 8);
    chunk.fill(9);
    expect(await inbox.next()).toEqual({ done: false, value: 7 });
  });

  test("without the extension a subscription that nobody takes is given up", async () => {
    const { vec, open, close } = await calling();
    const ticks = vec.ticks();
    const first = ticks.next();
    const lane = await open(OURS);
    const { tag } = await lane.until(TICKS);
    const item = frame(TICKS + 1, tag, "05000000");
    await lane.send(item);
    await first;
    for (let n = 0; n < 60; n++) {
      const many = new Uint8Array(1000 * item.length);
      for (let at = 0; at < many.length; at += item.length) many.set(item, at);
      await lane.send(many);
    }
    await lane.until(9);
    expect(await failure(ticks.result)).toBeInstanceOf(LimitExceeded);
    await close();
  });

  test("a lossy subscription takes what is later, as frames and as datagrams", async () => {
    const { vec, open, close, peer } = await calling({ datagrams: true, manyLanes: false });
    const latest = vec.latest();
    const first = latest.next();
    const lane = await open();
    const label = await lane.until(19);
    expect(label.tag).toBe(65535);
    const { tag } = await lane.until(LATEST);
    const writer = peer.datagrams!.writable!.getWriter();
    const datagram = (of: Uint8Array): Uint8Array =>
      Uint8Array.from([...(label.hex.match(/../g) ?? []).map((x) => parseInt(x, 16)), ...of]);
    const item = (number: string, value: string): Uint8Array => frame(18, tag, number + value);
    await lane.send(item("05000000", "0a000000"));
    expect((await first).value).toBe(10);
    // Older, of another lane, of no type, cut: none of them matters.
    await writer.write(datagram(item("04000000", "00000000")));
    await writer.write(new Uint8Array(3));
    await writer.write(Uint8Array.from([...Array<number>(8).fill(9), ...item("09000000", "00")]));
    await writer.write(datagram(frame(ECHO + 1, tag, "00")));
    await writer.write(datagram(item("06000000", "0b000000")));
    expect((await latest.next()).value).toBe(11);
    await lane.send(item("06000000", "63000000"), frame(8, tag, "6c"));
    expect(await latest.next()).toEqual({ done: true, value: undefined });
    await close();
  });

  test("a frame that is too large for the peer does not leave", async () => {
    const { vec, open, close } = await calling();
    const call = failure(vec.echo("x".repeat(5000)));
    const lane = await open(ON, 4096);
    expect(await call).toMatchObject({ name: "LimitExceeded", allowed: 4096, side: "peer" });
    const next = vec.echo("y");
    await lane.send(frame(ECHO + 1, (await lane.until(ECHO)).tag, "010079"));
    expect(await next).toBe("y");
    await close();
  });

  test("metadata over the limit fails its call alone", async () => {
    const { vec, open, close } = await calling();
    const [large, small] = [failure(vec.echo("a")), vec.echo("b")];
    const lane = await open();
    await lane.until(ECHO);
    const metadata = `0100 0100 61 10270000 ${"00".repeat(10_000)}`;
    await lane.send(frame(12, 0, metadata), frame(ECHO + 1, 0, "010061"));
    await lane.send(frame(12, 1, "0100 0100 61 01000000 07"), frame(ECHO + 1, 1, "010062"));
    expect(await large).toMatchObject({ name: "LimitExceeded", side: "here" });
    expect(await small).toBe("b");
    expect({ ...replyMetadata(small) }).toEqual({ a: new Uint8Array([7]) });
    await close();
  });

  test("a server that goes away has not begun what it says", async () => {
    const { vec, open, close } = await calling();
    const [told, untold, begun] = [failure(vec.echo("a")), failure(vec.echo("b")), vec.echo("c")];
    const lane = await open();
    await lane.until(ECHO);
    await lane.send(frame(16, 65535), frame(16, 0));
    expect(await told).toBeInstanceOf(Unavailable);
    expect(await failure(vec.echo("d"))).toBeInstanceOf(Unavailable);
    await lane.send(frame(ECHO + 1, 2, "010063"), frame(16, 65535));
    expect(await begun).toBe("c");
    expect(await untold).toBeInstanceOf(Unavailable);
    await close();
  });

  test("random frames end the lane, or do nothing", async () => {
    const { int, bytes } = random(11);
    for (let round = 0; round < 80; round++) {
      const { vec, open, close } = await calling();
      const abort = new AbortController();
      const calls = [
        vec.echo("a"),
        vec.ticks().next(),
        vec.total([1, 2]),
        vec.echo("b", { signal: abort.signal }),
      ].map(failure);
      const lane = await open();
      await lane.until(TOTAL);
      if (int(2)) abort.abort();
      const sending = (async () => {
        for (let n = 0; n < 10; n++) {
          const kind = [5, 8, 10, 12, 15, 16, 18, 103, 105, 107, int(256)][int(11)]!;
          await lane.send(frame(kind, int(5), toHex(bytes(int(12)))));
        }
      })();
      await sending.catch(() => {});
      await close();
      for (const call of calls) await call;
    }
  });
});

describe("the called end", () => {
  /** A lane to a session that serves, opened by hand. */
  async function serving(
    handler: Partial<VecHandler> = {},
    memory: Parameters<typeof facing>[2] = { datagrams: false },
  ): Promise<{
    lane: RawLane;
    told: unknown[];
    close: () => Promise<void>;
    peer: Awaited<ReturnType<typeof facing>>["peer"];
  }> {
    const told: unknown[] = [];
    const { session, peer } = await facing(
      { onError: (error) => void told.push(error) },
      true,
      memory,
    );
    session.serve(Vec, {
      echo: async (m) => m,
      async *ticks() {
        for (let n = 0; n < 3; n++) yield n;
        return "done";
      },
      async total(numbers) {
        let sum = 0n;
        for await (const n of numbers) sum += BigInt(n);
        return sum;
      },
      async *latest() {
        for (let n = 0; n < 50; n++) yield n;
      },
      ...handler,
    });
    const { RawLane: Made } = await import("./raw.ts");
    const lane = new Made(await peer.openLane());
    return { lane, told, close: () => session.close(), peer };
  }

  async function agreed(lane: RawLane, offer = `${OURS}.x1`): Promise<RawLane> {
    await lane.send(version(100, offer));
    const answer = await lane.next();
    expect(answer!.kind).toBe(101);
    return lane;
  }

  test("a version is answered with ours, and the extension with a yes", async () => {
    const { lane, close } = await serving();
    await lane.send(version(100, `${OURS}.x1`, 100_000));
    expect(bytes((await lane.next())!)).toBe(toHex(version(101, ON, 100_000)));
    await close();
    const plain = await serving();
    await plain.lane.send(version(100, OURS));
    expect(bytes((await plain.lane.next())!)).toBe(toHex(version(101, OURS)));
    await plain.close();
  });

  test.each([
    ["rs.jetstream.proto/other/1.0.0", undefined],
    ["rs.jetstream.proto/vec/1.3.0", undefined],
    ["nonsense", undefined],
    [OURS, 100],
  ])("%s is refused", async (offer, msize) => {
    const { lane, close } = await serving();
    await lane.send(version(100, offer, msize));
    expect(bytes((await lane.next())!)).toBe(toHex(version(101, "unknown", 0)));
    expect(await lane.next()).toBeNull();
    await close();
  });

  test("calls are answered, and what a method may not say is not said", async () => {
    const { lane, told, close } = await serving({
      echo: async (m, ctx) => {
        if (m === "x") throw new Error("secret");
        ctx.replyMetadata["k"] = new Uint8Array([1]);
        return m;
      },
    });
    await agreed(lane);
    await lane.send(frame(ECHO, 3, "010061"));
    expect(bytes((await lane.next())!)).toBe(toHex(frame(12, 3, "0100 0100 6b 01000000 01")));
    expect(bytes((await lane.next())!)).toBe(toHex(frame(ECHO + 1, 3, "010061")));
    await lane.send(frame(ECHO, 3, "010078"));
    expect((await lane.until(5)).hex).not.toContain(toHex(new TextEncoder().encode("secret")));
    expect(told).toMatchObject([{ message: "secret" }]);
    await lane.send(frame(ECHO, 4, "ff"), frame(250, 5));
    expect((await lane.until(5)).tag).toBe(4);
    expect((await lane.until(5)).tag).toBe(5);
    await close();
  });

  test("items come within the window, and then the result", async () => {
    let made = 0;
    const { lane, close } = await serving({
      async *ticks() {
        for (; made < 20_000; made++) yield made;
        return "done";
      },
    });
    await agreed(lane);
    await lane.send(frame(TICKS, 1));
    const initial = Math.ceil((64 << 10) / 11);
    for (let n = 0; n < initial; n++) await lane.until(TICKS + 1);
    // A call passes by the subscription that waits.
    await lane.send(frame(ECHO, 2, "010061"));
    expect((await lane.next())!.kind).toBe(ECHO + 1);
    expect(made).toBeLessThanOrEqual(initial + 1);
    await lane.send(frame(15, 1, "00000010"));
    const end = await lane.until(8);
    expect(bytes(end)).toBe(toHex(frame(8, 1, "68 0400 646f6e65")));
    await close();
  });

  test("a stream from the caller is granted, and ends", async () => {
    const { lane, close } = await serving();
    await agreed(lane);
    await lane.send(frame(TOTAL, 1), frame(13, 1, "05000000"), frame(13, 1, "07000000"));
    expect(bytes(await lane.until(15))).toBe(toHex(frame(15, 1, "00000300")));
    await lane.send(frame(14, 1));
    expect(bytes(await lane.until(TOTAL + 1))).toBe(toHex(frame(TOTAL + 1, 1, "0c00000000000000")));
    await close();
  });

  test("a cancellation reaches the method, and is answered at once", async () => {
    let signal: AbortSignal | undefined;
    const { lane, close } = await serving({
      echo: (_, ctx) => {
        signal = ctx.signal;
        return new Promise(() => {});
      },
    });
    await agreed(lane);
    await lane.send(frame(ECHO, 1, "010061"), frame(9, 2, "0100 0000000000000000"));
    expect(bytes((await lane.next())!)).toBe(toHex(frame(8, 1, "00")));
    expect(bytes((await lane.next())!)).toBe(toHex(frame(10, 2, "0100")));
    expect(signal!.aborted).toBe(true);
    // The tags are free; one for what is over is confirmed, too.
    await lane.send(frame(9, 1, "0700 0000000000000000"));
    expect(bytes((await lane.next())!)).toBe(toHex(frame(10, 1, "0700")));
    await close();
  });

  test("time that is over ends a call", async () => {
    const { lane, close } = await serving({ echo: () => new Promise(() => {}) });
    await agreed(lane);
    await lane.send(frame(17, 65535, "1027000000000000"), frame(ECHO, 1, "010061"));
    const told = await lane.until(5);
    expect(told.hex).toContain(toHex(new TextEncoder().encode("jetstream::deadline_exceeded")));
    await lane.send(frame(11, 2, "0000000000000000 0000"), frame(ECHO, 2, "010061"));
    expect((await lane.until(5)).tag).toBe(2);
    await close();
  });

  test("the end of the lane ends what runs on it", async () => {
    const signals: AbortSignal[] = [];
    const { lane, close } = await serving({
      echo: (_, ctx) => {
        signals.push(ctx.signal);
        return new Promise((go) => ctx.signal.addEventListener("abort", () => go("")));
      },
    });
    await agreed(lane);
    await lane.send(frame(ECHO, 1, "010061"));
    while (!signals.length) await new Promise((go) => setTimeout(go));
    await lane.writer.abort(new Error("gone")).catch(() => {});
    const [signal] = signals;
    if (!signal!.aborted) await new Promise((go) => signal!.addEventListener("abort", go));
    await close();
  });

  test("a lossy subscription's last item arrives, and others may go as datagrams", async () => {
    const { lane, close, peer } = await serving({}, { datagrams: true });
    await agreed(lane);
    const reader = peer.datagrams!.readable.getReader();
    await lane.send(
      frame(19, 65535, "0700000000000000"),
      frame(LATEST, 1),
      frame(15, 1, "00000010"),
    );
    const end = lane.until(8);
    const datagram = (await reader.read()).value!;
    expect(toHex(datagram.subarray(0, 15))).toBe(
      "070000000000000013000000120100".replace("13", "0f"),
    );
    expect(bytes(await end)).toBe(toHex(frame(8, 1, "6c")));
    await close();
  });

  const hostile: [string, Uint8Array[]][] = [
    ["a second request under a tag", [frame(TICKS + 0, 1), frame(ECHO, 1, "010061")]],
    ["a reply", [frame(ECHO + 1, 1, "0000")]],
    ["an unknown type", [frame(99, 1)]],
    ["a Tcancel for another lane", [frame(9, 2, "0100 0100000000000000")]],
    ["a short Tcancel", [frame(9, 2, "0100")]],
    [
      "a request that was announced and did not come",
      [frame(11, 1, "ff00000000000000 0000"), frame(ECHO, 2, "010061")],
    ],
    ["a short TMETA", [frame(11, 1, "ff")]],
    ["a short TIME", [frame(17, 65535, "00")]],
    ["an item for a method that takes none", [frame(ECHO, 1, "010061"), frame(13, 1, "00")]],
    ["an item after the end", [frame(TOTAL, 1), frame(14, 1), frame(13, 1, "00000000")]],
    [
      "more items than were granted",
      [frame(TOTAL, 1), frame(13, 1, "00".repeat(262_200)), frame(13, 1, "00")],
    ],
    ["a credit for a call", [frame(ECHO, 1, "010061"), frame(15, 1, "01000000")]],
    ["a frame over the limit", [new Uint8Array([255, 255, 255, 255])]],
  ];
  test.each(hostile)("%s ends the lane", async (_, frames) => {
    const { lane, close } = await serving({
      echo: (_, ctx) => new Promise((go) => ctx.signal.addEventListener("abort", () => go(""))),
      async *ticks(ctx) {
        await new Promise((go) => ctx.signal.addEventListener("abort", go));
        return "";
      },
      total: (_, ctx) => new Promise((go) => ctx.signal.addEventListener("abort", () => go(0n))),
    });
    await agreed(lane);
    await lane.send(...frames).catch(() => {});
    expect((await lane.broken()).streamErrorCode).toBe(1);
    await close();
  });

  test("a first frame that is no version ends the lane", async () => {
    const { lane, close } = await serving();
    await lane.send(frame(ECHO, 1, "010061"));
    expect((await lane.broken()).streamErrorCode).toBe(1);
    await close();
  });

  test("no more methods run at once than may", async () => {
    const { lane, close } = await serving({
      echo: (_, ctx) => new Promise((go) => ctx.signal.addEventListener("abort", () => go(""))),
    });
    await agreed(lane);
    for (let tag = 0; tag < 1025; tag++) await lane.send(frame(ECHO, tag, "010061"));
    const told = await lane.until(5);
    expect(told.tag).toBe(1024);
    expect(told.hex).toContain(toHex(new TextEncoder().encode("jetstream::limit")));
    await close();
  });

  test("a peer that takes no answers is not asked for more", async () => {
    let begun = 0;
    const { lane, close } = await serving({
      echo: async (m) => {
        begun++;
        return m;
      },
    });
    await agreed(lane);
    const text = `60ea${"61".repeat(60_000)}`;
    const sending = (async () => {
      for (let tag = 0; tag < 100; tag++) await lane.send(frame(ECHO, tag, text));
    })();
    let before = -1;
    while (before !== begun) {
      before = begun;
      for (let i = 0; i < 20; i++) await new Promise((go) => setTimeout(go));
    }
    // A mebibyte, and what a lane in memory holds.
    expect(begun).toBeGreaterThan(10);
    expect(begun).toBeLessThan(30);
    for (let n = 0; n < 100; n++) expect((await lane.next())!.kind).toBe(ECHO + 1);
    await sending;
    await close();
  });

  test("random frames end the lane, or do nothing", async () => {
    const { int, bytes: some } = random(13);
    for (let round = 0; round < 80; round++) {
      const { lane, close } = await serving();
      await agreed(lane);
      const sending = (async () => {
        for (let n = 0; n < 12; n++) {
          const kinds = [9, 11, 13, 14, 15, 17, 18, 19, ECHO, TICKS, TOTAL, LATEST, int(256)];
          await lane.send(frame(kinds[int(13)]!, int(4), toHex(some(int(14)))));
        }
      })();
      await sending.catch(() => {});
      await close();
    }
  });
});
