// Calls what tests/codegen/test_running.py serves, with the client that was generated for it, and
// serves it itself. Lines under `@ts-expect-error` must not compile.
import assert from "node:assert/strict";
import { connect } from "jetstream-client";
import { pair } from "jetstream-client/testing";
import { unixTransport } from "../unix.ts";
import {
  Colour,
  Everything,
  EverythingChannel,
  type Drawing,
  type EverythingHandler,
  type Term,
  type Widths,
} from "./api/index.js";

const drawing: Drawing = {
  name: "house",
  shapes: [{ Circle: { radius: 1.5 } }, { Square: { side: 2 } }, { Empty: {} }],
  tags: new Set(["b", "a"]),
  parts: new Map([
    [
      "roof",
      {
        name: "roof",
        shapes: [],
        tags: new Set<string>(),
        parts: new Map<string, Drawing>(),
        origin: [0, -1],
        layer: null,
        note: "red",
        path: [],
        grid: [],
        holes: [],
      },
    ],
  ]),
  origin: [1, 2],
  layer: { some: null },
  note: null,
  path: [{ x: 1, y: 2 }],
  grid: [[1, 2], [], [255]],
  holes: [null, { x: -1, y: 0 }],
};

const term: Term = {
  Sum: { left: { Number: { value: 1 } }, right: { Number: { value: 41 } } },
};

const widths: Widths = {
  a: 255,
  b: 65535,
  c: 2 ** 32 - 1,
  d: 2n ** 64n - 1n,
  e: 2n ** 128n - 1n,
  f: -128,
  g: -32768,
  h: -(2 ** 31),
  i: -(2n ** 63n),
  j: -(2n ** 127n),
  k: 0.5,
  l: Math.PI,
  m: true,
  n: undefined,
};

/** Calls every method; the other end gives back what it got. */
async function callAll(calls: EverythingChannel): Promise<void> {
  assert.equal(await calls.ping(), undefined);
  assert.deepEqual(await calls.widths(widths), widths);
  assert.equal(await calls.add(-40), -40);
  assert.equal(await calls.add(40, 2, { timeout: 5000 }), 42);
  assert.equal(await calls.add(40, undefined, { timeout: 5000 }), 40);
  assert.deepEqual(await calls.addresses("192.0.2.1", "2001:db8::1", "127.0.0.1"), {
    ip: "127.0.0.1",
    port: 80,
  });
  const when = new Date("2026-01-31T12:00:00.123Z");
  assert.deepEqual(await calls.visit("https://example.org/", when, new Uint8Array([1])), when);
  assert.deepEqual(await calls.draw(drawing), drawing);
  const shapes = await calls.shape({ Square: { side: 3 } });
  shapes.push({ Empty: {} }); // what comes out of a call is its taker's
  assert.deepEqual(shapes, [{ Square: { side: 3 } }, { Empty: {} }]);
  assert.equal(await calls.evaluate(term), 42);
  assert.deepEqual(await calls.unnamed({ Point: { x: 1, y: 2 } }), { x: 1, y: 2 });
  assert.equal(await calls.unnamed({ Circle: { radius: 1 } }), null);
  const named = await calls.named({ Circle: { radius: 1 } });
  assert.deepEqual(named, [{ Circle: { radius: 1 } }, 1n]);
  assert.deepEqual(await calls.paint(Colour.GREEN, "mon", "TWO", 2), { default: "GREEN" });
  assert.deepEqual(await calls.page({ items: [1n, 2n], next: null }), {
    items: ["1", "2"],
    next: 7n,
  });
  assert.deepEqual(
    await calls.nested(
      new Map([
        [
          [1, "one"],
          [new Set(["x"]), null],
        ],
      ]),
    ),
    new Map([[Colour.RED, new Map([["one", [1n]]])]]),
  );
  const all = [...Array(15).fill(undefined), 7] as unknown as Parameters<typeof calls.defaults>;
  assert.deepEqual(await calls.defaults(...all), ["wrong"]);
  assert.equal(await calls.words("a", "b", 1, 2, "c"), "a b 1 2 c");
  assert.equal(await calls.new(undefined, "x"), "true x");
  const packed = { data: new Uint8Array([0, 255]) };
  const labelled = { label: "l", circle: { radius: 0 } };
  assert.deepEqual(await calls.packed(packed, labelled, {}), packed);
  const ticks = calls.ticks();
  const points = [];
  for await (const { x, y } of ticks) points.push([x, y]);
  assert.deepEqual(points, [
    [0, 1],
    [1, 1],
    [2, 1],
  ]);
  assert.deepEqual(await ticks.result, drawing);
  for await (const [x, y] of calls.position()) assert.equal(x + y, 3);
  assert.equal(await calls.total([1, 2, 3], 10), 60n);
  assert.equal(await calls.total(numbers()), 3n);
  const doubled = [];
  for await (const number of calls.doubled(numbers())) doubled.push(number);
  assert.deepEqual(doubled, [2, 4]);
  for await (const _ of calls.doubled()) assert.fail();
}

async function* numbers(): AsyncGenerator<number> {
  yield 1;
  yield 2;
}

const handler: EverythingHandler = {
  ping() {},
  widths: (given) => given,
  add: async (a, b) => a + b,
  addresses: (_four, _six, ip) => ({ ip, port: 80 }),
  visit: (_home, when) => when,
  draw: (given) => given,
  shape: (given) => [given],
  evaluate(given) {
    const value = (term: Term): number =>
      "Number" in term ? term.Number.value : value(term.Sum.left) + value(term.Sum.right);
    return value(given);
  },
  unnamed: (either) => ("Point" in either ? either.Point : null),
  named: (figure) => [figure, 1n],
  paint: (colour) => ({ default: colour === Colour.GREEN ? "GREEN" : "other" }),
  page: ({ items }) => ({ items: items.map(String), next: 7n }),
  nested(values) {
    const [key] = [...values.keys()];
    return new Map([[Colour.RED, new Map([[key![1], [BigInt(key![0])]]])]]);
  },
  defaults: (...all) => (all[15] === 7 ? ["wrong"] : []),
  words: (...all) => all.slice(0, 5).join(" "),
  new: (remove, of) => `${remove} ${of}`,
  packed: (packed) => packed,
  async *ticks(every) {
    for (let x = 0; x < 3; x++) yield { x, y: every };
    return drawing;
  },
  async *position() {
    yield [1, 2];
  },
  async total(numbers, scale) {
    let sum = 0;
    for await (const number of numbers) sum += number;
    return BigInt(sum * scale);
  },
  async *doubled(numbers) {
    for await (const number of numbers) yield 2 * number;
  },
};

export function mustNotCompile(calls: EverythingChannel): void {
  // @ts-expect-error: 64 bits are a bigint
  void calls.page({ items: [1], next: null });
  // @ts-expect-error: 7 is no colour
  void calls.paint(7, "mon", "TWO", 2);
  // @ts-expect-error: one variant has one key, and it is one of these
  void calls.shape({ Triangle: {} });
  // @ts-expect-error: a parameter without a default must be given
  void calls.words("a");
  // @ts-expect-error: what cannot be sent is no default
  void calls.defaults();
  // @ts-expect-error: fields are read only
  drawing.name = "hut";
  // @ts-expect-error: a method is missing
  const incomplete: EverythingHandler = { ping() {} };
  void incomplete;
}

const there = await connect("unix:", {
  transport: () => unixTransport(process.argv[2]!),
  reconnect: false,
});
await callAll(there.channel(EverythingChannel));
await there.close();

const both = await pair();
both.server.serve(Everything, handler);
await callAll(both.session.channel(EverythingChannel));
await both[Symbol.asyncDispose]();
console.log("all is well");
