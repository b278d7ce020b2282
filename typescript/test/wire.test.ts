// Values: the bytes of the Rust crates, what does not fit, and random values there and back.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as js from "jetstream-client";
import type { Plan } from "jetstream-client";
import { decode } from "../src/wire.ts";
import { encode, fromHex, reencode, toHex } from "./described.ts";
import { random } from "./random.ts";

interface Vector {
  readonly type: string;
  readonly value: unknown;
  readonly hex: string;
}

// Integers that JavaScript does not count to stay text.
const text = readFileSync(new URL("../../vectors/wire.json", import.meta.url), "utf8");
const vectors = JSON.parse(text.replace(/: (-?\d{16,})/g, ': "$1"')) as { values: Vector[] };

const Point = js.struct<{ x: number; y: bigint }>("Point", { x: js.u32, y: js.i64 });
const Shape = js.union("Shape", {
  Empty: js.unit,
  Circle: js.tuple(js.f64),
  Rect: js.struct<{ w: number; h: number }>("Rect", { w: js.u32, h: js.u32 }),
  Labeled: js.tuple(js.string, Point),
} as never);

const TYPES: Record<string, Plan<unknown>> = {
  ...(js as unknown as Record<string, Plan<unknown>>),
  str: js.string,
  data: js.bytes,
  ipv4: js.ip4,
  ipv6: js.ip6,
  sockaddr: js.socketAddress,
  "list[u32]": js.list(js.u32),
  "list[str]": js.list(js.string),
  "list[list[u8]]": js.list(js.list(js.u8)),
  "option[u32]": js.option(js.u32),
  "option[str]": js.option(js.string),
  "option[option[u8]]": js.some(js.option(js.u8)),
  "map[str,u32]": js.map(js.string, js.u32),
  "map[u16,bool]": js.map(js.u16, js.bool),
  "set[u16]": js.set(js.u16),
  "Point{x:u32,y:i64}": Point,
  "Profile{name:str,tags:list[str],nick:option[str],at:Point}": js.struct("Profile", {
    name: js.string,
    tags: js.list(js.string),
    nick: js.option(js.string),
    at: Point,
  }),
  "Shape{Empty|Circle(f64)|Rect{w:u32,h:u32}|Labeled(str,Point)}": Shape,
  Shape,
  "tuple[u8,str]": js.tuple(js.u8, js.string),
  "tuple[u8,u16,u32]": js.tuple(js.u8, js.u16, js.u32),
};

/** The value of a vector, as this package has it. */
function valueOf({ type, value }: Vector): unknown {
  const pairs = Object.entries((value ?? {}) as object);
  // What is nothing is `undefined` here and `null` in JSON.
  if (type === "unit") return undefined;
  if (pairs[0]?.[0] === "Empty") return { Empty: undefined };
  if (/^[iu](64|128)$/.test(type)) return BigInt(value as string);
  if (type === "f64") return value === "inf" ? Infinity : value === "nan" ? NaN : value;
  if (type === "data") return fromHex(value as string);
  if (type === "time") return new Date(value as number);
  if (type === "map[u16,bool]") return new Map(pairs.map(([key, item]) => [Number(key), item]));
  if (type.startsWith("map")) return new Map(pairs);
  if (type.startsWith("set")) return new Set(value as number[]);
  if (type === "sockaddr") {
    const [, ip, port] = /^\[?(.+?)\]?:(\d+)$/.exec(value as string)!;
    return { ip, port: Number(port) };
  }
  const points = (found: unknown): unknown => {
    if (Array.isArray(found)) return found.map(points);
    if (typeof found !== "object" || !found) return found;
    return Object.fromEntries(
      Object.entries(found).map(([k, v]) => [k, k === "y" ? BigInt(v as number) : points(v)]),
    );
  };
  return points(value);
}

test.each(vectors.values)("$type $hex", (vector) => {
  const plan = TYPES[vector.type]!;
  const value = valueOf(vector);
  expect(toHex(encode(plan, value))).toBe(vector.hex);
  expect(decode(plan.$, fromHex(vector.hex), "")).toEqual(value);
  for (let end = 0; end < vector.hex.length; end += 2) {
    expect(() => decode(plan.$, fromHex(vector.hex.slice(0, end)), "")).toThrow(js.DecodeError);
  }
  const longer = fromHex(`${vector.hex}00`);
  expect(() => decode(plan.$, longer, "")).toThrow(js.DecodeError);
});

test.each<[Plan<unknown>, unknown, string]>([
  [js.u8, 256, "v"],
  [js.u8, -1, "v"],
  [js.u8, 1.5, "v"],
  [js.u8, "1", "v"],
  [js.i8, 128, "v"],
  [js.i32, 2 ** 31, "v"],
  [js.u64, 5, "v"],
  [js.u64, -1n, "v"],
  [js.u64, 2n ** 64n, "v"],
  [js.i64, 2n ** 63n, "v"],
  [js.u128, 2n ** 128n, "v"],
  [js.i128, -(2n ** 127n) - 1n, "v"],
  [js.f32, 1e300, "v"],
  [js.f64, "1", "v"],
  [js.bool, 1, "v"],
  [js.unit, 0, "v"],
  [js.string, "x".repeat(65536), "v"],
  [js.string, "é".repeat(32768), "v"],
  [js.string, "\ud800", "v"],
  [js.string, null, "v"],
  [js.bytes, [1], "v"],
  [js.url, "no scheme", "v"],
  [js.time, new Date(-1), "v"],
  [js.time, new Date(NaN), "v"],
  [js.time, 5, "v"],
  [js.ip4, "::1", "v"],
  [js.ip4, "1.2.3", "v"],
  [js.ip4, "01.2.3.4", "v"],
  [js.ip4, "1.2.3.256", "v"],
  [js.ip6, "1.2.3.4", "v"],
  [js.ip6, "1::2::3", "v"],
  [js.ip6, "1::%eth0", "v"],
  [js.ip, "localhost", "v"],
  [js.socketAddress, { ip: "::1", port: 65536 }, "v.port"],
  [js.list(js.u8), [1, 2, 300], "v[2]"],
  [js.list(js.u8), new Uint8Array(3), "v"],
  [js.list(js.unit), Array(65536).fill(undefined), "v"],
  [js.list(js.list(js.unit)), [Array(40_000), Array(40_000)], "v[1]"],
  [js.tuple(js.u8, js.u8), [1], "v"],
  [js.set(js.string), ["a"], "v"],
  [js.set(js.bytes), new Set([new Uint8Array(1), new Uint8Array(1)]), "v"],
  [
    js.map(js.string, js.u8),
    new Map([
      ["a", 1],
      ["b", -1],
    ]),
    'v["b"]',
  ],
  [js.map(js.string, js.u8), { a: 1 }, "v"],
  [Point, { x: 1, y: 2 }, "v.y"],
  [Point, { x: 1 }, "v.y"],
  [Point, null, "v"],
  [js.list(js.option(Point)), [null, { x: -1, y: 0n }], "v[1].x"],
  [js.enumeration("E", { A: 1, B: 2 }), 3, "v"],
  [Shape, { Circle: [1], Empty: null }, "v"],
  [Shape, { Other: null }, "v"],
  [Shape, { Circle: ["x"] }, "v.Circle[0]"],
])("%# does not fit", (plan, value, path) => {
  try {
    encode({ $: plan.$ }, value);
  } catch (error) {
    expect(error).toBeInstanceOf(js.EncodeError);
    expect((error as js.EncodeError).path).toBe(path.replace("v", "test"));
    return;
  }
  throw new Error("it was taken");
});

test.each<[Plan<unknown>, string]>([
  [js.bool, "02"],
  [js.option(js.u8), "02"],
  [js.string, "0200c328"],
  [js.string, "0300eda080"],
  [js.url, "03006e6f70"],
  [js.bytes, "01000002"],
  [js.bytes, "ffffffff"],
  [js.time, "ffffffffffffffff"],
  [js.ip, "050a000001"],
  [js.list(js.u64), "ffff"],
  [js.list(js.list(js.unit)), "0200 409c 409c".replaceAll(" ", "")],
  [js.set(js.u8), "02000101"],
  [js.set(js.u8), "0300020102"],
  [js.map(js.u8, js.unit), "0300020102"],
  [js.enumeration("E", { A: 1 }), "01"],
  [Shape, "04"],
])("%# is no value", (plan, hex) => {
  expect(() => decode(plan.$, fromHex(hex), "test")).toThrow(js.DecodeError);
});

test.each(["", "é", "€", "\u{1f680}"])("text of any length with %j anywhere in it", (other) => {
  for (const length of [0, 1, 30, 63, 64, 65, 200]) {
    for (const at of [0, length >> 1, length]) {
      const value = "x".repeat(at) + other + "x".repeat(length - at);
      const bytes = new TextEncoder().encode(value);
      const list = encode(js.tuple(js.string, js.u8), [value, 7]);
      expect(list).toEqual(new Uint8Array([bytes.length, 0, ...bytes, 7]));
    }
  }
});

test("keys may come in any order, and leave in theirs", () => {
  expect(toHex(reencode(js.set(js.i8), fromHex("03000200ff")))).toBe("0300ff0002");
  const texts = js.set(js.string);
  // By their UTF-8, which is not how JavaScript orders them.
  expect(decode(texts.$, encode(texts, new Set(["\u{1f680}", "\uffee", "a"])), "")).toEqual(
    new Set(["a", "\uffee", "\u{1f680}"]),
  );
});

interface Tree {
  readonly kids: readonly Tree[];
}
const Tree: Plan<Tree> = js.struct<Tree>("Tree", { kids: js.list(js.lazy(() => Tree)) });

test("values nest so deep and no deeper", () => {
  const nested = (levels: number): Tree => {
    let tree: Tree = { kids: [] };
    for (let i = 1; i < levels; i++) tree = { kids: [tree] };
    return tree;
  };
  expect(toHex(encode(Tree, nested(60)))).toBe("0100".repeat(59) + "0000");
  expect(() => encode(Tree, nested(70))).toThrow(js.EncodeError);
  expect(() => decode(Tree.$, fromHex(`${"0100".repeat(100_000)}0000`), "")).toThrow(
    js.DecodeError,
  );
});

test("random bytes are a value or a DecodeError, and nothing else", () => {
  const { int, bytes } = random(1);
  const plans = [...Object.values(TYPES).filter((plan) => plan && "$" in plan), Tree];
  for (let round = 0; round < 5000; round++) {
    const plan = plans[int(plans.length)]!;
    const given = bytes(int(40));
    let value: unknown;
    try {
      value = decode(plan.$, given, "");
    } catch (error) {
      expect(error).toBeInstanceOf(js.DecodeError);
      expect((error as js.DecodeError).offset).toBeLessThanOrEqual(given.length);
      continue;
    }
    // What was taken is written again as it is read again.
    const again = encode(plan, value);
    expect(decode(plan.$, again, "")).toEqual(value);
  }
});
