// The services of tests/web/services.py, as a generated module has them.
import {
  Channel,
  defineService,
  f64,
  option,
  stream,
  string,
  struct,
  tuple,
  u32,
  u64,
  i32,
  type CallOptions,
  type Plan,
  type Subscription,
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
