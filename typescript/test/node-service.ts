// The services of tests/web/services.py, as a generated module has them.
import {
  Channel,
  bool,
  bytes,
  defineService,
  enumeration,
  f64,
  i32,
  i64,
  ip,
  list,
  map,
  option,
  set,
  socketAddress,
  some,
  stream,
  string,
  struct,
  time,
  tuple,
  u8,
  u32,
  u64,
  u128,
  union,
  url,
  type CallOptions,
  type Plan,
  type SocketAddress,
  type Subscription,
  type ValueOf,
} from "jetstream-client";

export interface Tick {
  readonly n: number;
  readonly text: string;
}
export const Tick: Plan<Tick> = struct<Tick>("Tick", { n: u32, text: string });

export const Lab = defineService("lab", "1.0.0", "", {
  echo: { params: [["message", string]], result: string, idempotent: true },
  add: {
    params: [
      ["a", i32],
      ["b", i32],
    ],
    result: i32,
  },
  fail: { params: [["how", string]] },
  wait: { params: [["name", string]] },
  ended: { params: [["name", string]] },
  left: { params: [], result: option(f64) },
  meta: { params: [["key", string]], result: string },
  ticks: { params: [["count", u32]], items: Tick, result: string },
  made: { params: [], result: u32 },
  total: { params: [["numbers", stream(u32)]], result: u64 },
  doubled: { params: [["numbers", stream(u32)]], items: u32 },
  follow: { params: [["since", u64]], items: tuple(u64, f64) },
  position: { params: [], items: u32, lossy: true },
});

type Numbers = AsyncIterable<number> | Iterable<number>;

export class LabChannel extends Channel {
  static readonly service = Lab;
  echo(message: string, options?: CallOptions): Promise<string> {
    return this.$call("echo", [message], options);
  }
  add(a: number, b: number, options?: CallOptions): Promise<number> {
    return this.$call("add", [a, b], options);
  }
  fail(how: string, options?: CallOptions): Promise<void> {
    return this.$call("fail", [how], options);
  }
  /** Never ends by itself. */
  wait(name: string, options?: CallOptions): Promise<void> {
    return this.$call("wait", [name], options);
  }
  /** Waits until what has this name was cancelled. */
  ended(name: string, options?: CallOptions): Promise<void> {
    return this.$call("ended", [name], options);
  }
  left(options?: CallOptions): Promise<number | null> {
    return this.$call("left", [], options);
  }
  meta(key: string, options?: CallOptions): Promise<string> {
    return this.$call("meta", [key], options);
  }
  ticks(count: number, options?: CallOptions): Subscription<Tick, string> {
    return this.$subscribe("ticks", [count], options);
  }
  /** How many items the last `ticks` has made. */
  made(options?: CallOptions): Promise<number> {
    return this.$call("made", [], options);
  }
  total(numbers: Numbers, options?: CallOptions): Promise<bigint> {
    return this.$call("total", [numbers], options);
  }
  doubled(numbers: Numbers, options?: CallOptions): Subscription<number> {
    return this.$subscribe("doubled", [numbers], options);
  }
  follow(since: bigint, options?: CallOptions): Subscription<[bigint, number]> {
    return this.$subscribe("follow", [since], options);
  }
  position(options?: CallOptions): Subscription<number> {
    return this.$subscribe("position", [], options);
  }
}

/** One field of each kind. */
export interface All {
  readonly small: number;
  readonly big: bigint;
  readonly huge: bigint;
  readonly real: number;
  readonly endless: number;
  readonly yes: boolean;
  readonly text: string;
  readonly raw: Uint8Array;
  readonly at: Date;
  readonly host: string;
  readonly where: SocketAddress;
  readonly home: string;
  readonly list: readonly bigint[];
  readonly names: ReadonlyMap<string, number>;
  readonly numbers: ReadonlyMap<number, string>;
  readonly set: ReadonlySet<string>;
  readonly pair: readonly [number, string];
  readonly none: string | null;
  readonly nested: { readonly some: bigint | null } | null;
  readonly colour: Colour;
  readonly shape: Shape;
}
export const Colour = enumeration("Colour", { RED: "r", GREEN: "g" });
export type Colour = ValueOf<typeof Colour>;
export interface Circle {
  readonly radius: number;
}
export const Circle: Plan<Circle> = struct<Circle>("Circle", { radius: f64 });
export interface Square {
  readonly side: number;
}
export const Square: Plan<Square> = struct<Square>("Square", { side: f64 });
export type Shape = { readonly Circle: Circle } | { readonly Square: Square };
export const Shape: Plan<Shape> = union<Shape>("Shape", { Circle, Square });
export const All: Plan<All> = struct<All>("All", {
  small: i32,
  big: i64,
  huge: u128,
  real: f64,
  endless: f64,
  yes: bool,
  text: string,
  raw: bytes,
  at: time,
  host: ip,
  where: socketAddress,
  home: url,
  list: list(i64),
  names: map(string, u8),
  numbers: map(u8, string),
  set: set(string),
  pair: tuple(u8, string),
  none: option(string),
  nested: some(option(i64)),
  colour: Colour,
  shape: Shape,
});

export class AllChannel extends Channel {
  static readonly service = defineService("values", "1.0.0", "", {
    same: { params: [["value", All]], result: All },
    bytes: { params: [["data", bytes]], result: bytes },
  });
  same(value: All, options?: CallOptions): Promise<All> {
    return this.$call("same", [value], options);
  }
  bytes(data: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    return this.$call("bytes", [data], options);
  }
}
