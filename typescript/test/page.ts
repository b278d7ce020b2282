// What the page does that tests/web/test_chromium.py has it do: each scenario gives back what the test looks at.
// A page has one session, and keeps what goes on from one scenario to the next.
import {
  CallError,
  Channel,
  DeadlineExceeded,
  JetStreamError,
  connect,
  defineService,
  i64,
  list,
  replyMetadata,
  string,
  struct,
  u16,
  u32,
  type CallOptions,
  type ConnectOptions,
  type Context,
  type Plan,
  type Session,
  type SessionState,
  type Subscription,
} from "jetstream-client";
import { LabChannel, type Tick } from "./node-service.ts";

interface Caller {
  readonly peer: string;
  readonly transport: string;
  readonly port: number;
}
const Caller: Plan<Caller> = struct<Caller>("Caller", {
  peer: string,
  transport: string,
  port: u16,
});

class StageChannel extends Channel {
  static readonly service = defineService("stage", "1.0.0", "", {
    caller: { params: [], result: Caller },
    ask: { params: [["words", list(string)]], result: list(string) },
    collect: { params: [["count", u32]], result: i64 },
    leave: { params: [] },
    step: { params: [["number", u32]] },
    hold: { params: [], result: string },
    gauge: { params: [], items: u32, lossy: true },
  });
  caller(options?: CallOptions): Promise<Caller> {
    return this.$call("caller", [], options);
  }
  /** The server has the page shout these. */
  ask(words: string[], options?: CallOptions): Promise<string[]> {
    return this.$call("ask", [words], options);
  }
  /** The server adds the numbers that the page gives it. */
  collect(count: number, options?: CallOptions): Promise<bigint> {
    return this.$call("collect", [count], options);
  }
  /** The server gives the page's numbers up, and waits until the page knows. */
  leave(options?: CallOptions): Promise<void> {
    return this.$call("leave", [], options);
  }
  step(number: number, options?: CallOptions): Promise<void> {
    return this.$call("step", [number], options);
  }
  /** Answered once the test says so. */
  hold(options?: CallOptions): Promise<string> {
    return this.$call("hold", [], options);
  }
  gauge(options?: CallOptions): Subscription<number> {
    return this.$subscribe("gauge", [], options);
  }
}

/** What the server calls here. */
interface PageHandler {
  shout(word: string, ctx: Context): string;
  numbers(count: number, ctx: Context): AsyncGenerator<number, void>;
  left(ctx: Context): Promise<void>;
}
const Page = defineService<PageHandler>("page", "1.0.0", "", {
  shout: { params: [["word", string]], result: string },
  numbers: { params: [["count", u32]], items: u32 },
  left: { params: [] },
});

// ---- what is kept ----

let session: Session;
let lab: LabChannel;
let stage: StageChannel;
const states: SessionState[] = [];
const subscriptions: Subscription<Tick, string>[] = [];
let tokens = 0;
let datagrams = 0;

// Datagrams are counted on their way in.
const incoming = Object.getOwnPropertyDescriptor(
  WebTransportDatagramDuplexStream.prototype,
  "readable",
)!;
const counted = new WeakMap<object, ReadableStream<Uint8Array>>();
Object.defineProperty(WebTransportDatagramDuplexStream.prototype, "readable", {
  get(this: WebTransportDatagramDuplexStream) {
    let stream = counted.get(this);
    if (!stream) {
      const counting = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          datagrams++;
          controller.enqueue(chunk);
        },
      });
      // The client has no use for the end of it.
      stream = (incoming.get!.call(this) as ReadableStream<Uint8Array>).pipeThrough(counting);
      counted.set(this, stream);
    }
    return stream;
  },
});

interface Wanted {
  readonly url?: string;
  readonly token?: string;
  /** Whether each attempt says another token: that one, and the attempt's number. */
  readonly numbered?: boolean;
  readonly options?: ConnectOptions;
}

const code = (error: unknown): string =>
  error instanceof JetStreamError ? error.code! : String(error);

/** What a promise is rejected with. */
async function thrown(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

const scenarios = {
  // ---- sessions ----

  /** Opens the page's session; its state, or the code of the error. */
  async open({ url = "/", token, numbered, options }: Wanted = {}): Promise<string> {
    try {
      session = await connect(url, {
        ...options,
        ...(token && { token: numbered ? () => `${token}-${tokens++}` : token }),
      });
    } catch (error) {
      return code(error);
    }
    session.onStateChange((state) => states.push(state));
    lab = session.channel(LabChannel);
    stage = session.channel(StageChannel);
    return session.state;
  },
  async close(): Promise<string> {
    await session.close();
    return session.state;
  },
  closed: () => session.closed,
  states: () => states,
  /** Waits for a state that the session has not come to yet. */
  comes: (wanted: SessionState) =>
    new Promise<void>((resolve) => {
      if (session.state === wanted) return resolve();
      const end = session.onStateChange((state) => {
        if (state !== wanted) return;
        end();
        resolve();
      });
    }),
  caller: () => stage.caller(),

  // ---- calls ----

  async calls(): Promise<unknown[]> {
    const sums = await Promise.all(Array.from({ length: 1000 }, (_, n) => lab.add(n, 1)));
    const text = "hé🚀".repeat(5000);
    return [sums.every((sum, n) => sum === n + 1), (await lab.echo(text)) === text];
  },
  echo: (message: string) => lab.echo(message),
  hold: () => stage.hold(),
  async errors(): Promise<unknown[]> {
    const told = (await thrown(lab.fail("told"))) as CallError;
    const secret = (await thrown(lab.fail("secret"))) as CallError;
    return [
      [told instanceof CallError, told.name, told.message, told.code, told.help, told.url],
      [secret instanceof CallError, secret.message, secret.code],
      await lab.add(1, 1),
    ];
  },
  async deadline(): Promise<unknown[]> {
    const error = await thrown(lab.wait("late", { timeout: 100 }));
    await lab.ended("late");
    const told = (await lab.left({ timeout: 5000 }))!;
    return [error instanceof DeadlineExceeded, code(error), told > 4 && told <= 5];
  },
  async cancellation(): Promise<unknown[]> {
    const abort = new AbortController();
    const call = lab.wait("call", { signal: abort.signal });
    // It has begun by the time that what came behind it is answered.
    await lab.echo("behind it");
    abort.abort();
    const error = (await thrown(call)) as DOMException;
    // Answered once the handler has been cancelled.
    await lab.ended("call");
    return [error.name];
  },
  async metadata(): Promise<unknown[]> {
    const call = lab.meta("who", { metadata: { who: "ada" } });
    return [await call, [...replyMetadata(call)["seen"]!]];
  },

  // ---- streams ----

  async subscription(): Promise<unknown[]> {
    const ticks = lab.ticks(10_000);
    let [next, inOrder] = [0, true];
    for await (const tick of ticks) inOrder &&= tick.n === next++;
    return [next, inOrder, await ticks.result];
  },
  async leaving(): Promise<string> {
    const ticks = lab.ticks(2 ** 32 - 1);
    for await (const tick of ticks) if (tick.n === 20) break;
    // Answered once the generator has been closed.
    await lab.ended("ticks");
    return code(await thrown(ticks.result));
  },
  async feeds(): Promise<unknown[]> {
    const followed: string[] = [];
    for await (const [at, price] of lab.follow(1n)) {
      followed.push(`${at}: ${price}`);
      if (at === 4n) break;
    }
    const gap = code(await thrown(lab.follow(0n).next()));
    const numbers = Array.from({ length: 5000 }, (_, n) => n);
    const doubled: number[] = [];
    for await (const number of lab.doubled(numbers)) doubled.push(number);
    const total = String(await lab.total(numbers));
    return [followed, gap, doubled.length, doubled.every((each, n) => each === 2 * n), total];
  },
  /** Has each value sent anew until it comes, for datagrams may be lost. */
  async lossy(count: number): Promise<unknown[]> {
    const gauge = stage.gauge();
    const seen: number[] = [];
    let next = gauge.next();
    for (let number = 1; number <= count; number++) {
      for (let came = false; !came;) {
        await stage.step(number);
        const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), 500));
        const item = await Promise.race([next, late]);
        if (!item) continue;
        came = item.value === number;
        seen.push(item.value!);
        next = gauge.next();
      }
    }
    next.catch(() => {});
    gauge.cancel();
    return [seen.every((each, at) => each === at + 1), seen.length, datagrams];
  },

  // ---- calls of the server ----

  serve(): void {
    let told!: () => void;
    const left = new Promise<void>((resolve) => (told = resolve));
    session.serve(Page, {
      shout: (word) => `${word.toUpperCase()}!`,
      async *numbers(count) {
        try {
          for (let number = 0; number < count; number++) yield number;
        } finally {
          told();
        }
      },
      left: () => left,
    });
  },
  ask: (words: string[]) => stage.ask(words),
  collect: async (count: number) => String(await stage.collect(count)),
  leave: () => stage.leave(),

  // ---- a page that does not read ----

  /** Begins subscriptions without an end, and takes one item of each. */
  async begin(count: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      const ticks = lab.ticks(2 ** 32 - 1);
      await ticks.next();
      subscriptions.push(ticks);
    }
  },
  /** How many items the server has made, once it makes no more. */
  async made(): Promise<number> {
    let [before, made, same] = [-1, 0, 0];
    while (same < 3) {
      // All that is under way comes through in as many turns.
      for (let turn = 0; turn < 50; turn++) await lab.echo("a turn");
      [before, made] = [made, await lab.made()];
      same = made && made === before ? same + 1 : 0;
    }
    return made;
  },
  /** Takes items again, from the first subscription. */
  async take(count: number): Promise<boolean> {
    let inOrder = true;
    for (let n = 1; n <= count; n++) {
      const { value } = await subscriptions[0]!.next();
      inOrder &&= value?.n === n;
    }
    return inOrder;
  },
  async give_up(): Promise<void> {
    for (const each of subscriptions.splice(0)) each.cancel();
    await lab.ended("ticks");
  },

  // ---- without the client ----

  /** Opens a session that asks to share the page's connection; whether the browser has looked at that. */
  async pooled(url: string): Promise<boolean> {
    let looked = false;
    const options = {
      get allowPooling() {
        return (looked = true);
      },
    };
    const transport = new WebTransport(new URL(url, location.href), options);
    await transport.ready;
    transport.close();
    await transport.closed;
    return looked;
  },
  async fetched(path: string): Promise<unknown> {
    return (await fetch(path)).json();
  },
};

Object.assign(window, { scenarios });
