// What is wrong on this side is told on this side, at once, and to nobody else.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import {
  CallError,
  Channel,
  ClosedError,
  ConnectError,
  ConnectTimeout,
  ConnectionLost,
  EncodeError,
  connect,
  defineService,
  stream,
  u8,
  u32,
  type CallOptions,
  type ConnectOptions,
  type Subscription,
  type Transport,
} from "jetstream-client";
import { connectHttp } from "jetstream-client/http";
import { memoryTransports, pair } from "jetstream-client/testing";

interface LabHandler {
  echo(x: number): number | Promise<number>;
  sum(xs: AsyncIterable<number>): Promise<number>;
  ticks(): AsyncGenerator<number, void>;
}
const Lab = defineService<LabHandler>("lab", "1.0.0", "", {
  echo: { params: [["x", u8]], result: u8 },
  sum: { params: [["xs", stream(u8)]], result: u32 },
  ticks: { params: [], items: u8 },
});
class LabChannel extends Channel {
  static readonly service = Lab;
  echo(x: number, options?: CallOptions): Promise<number> {
    return this.$call("echo", [x], options);
  }
  sum(xs: AsyncIterable<number>, options?: CallOptions): Promise<number> {
    return this.$call("sum", [xs], options);
  }
  ticks(): Subscription<number> {
    return this.$subscribe("ticks", []);
  }
}

async function* endless(): AsyncGenerator<number, void> {
  for (let n = 0; ; n++) {
    yield n % 256;
    await new Promise((go) => setTimeout(go, 1));
  }
}

const usual: LabHandler = {
  echo: (x) => x,
  async sum(xs) {
    let all = 0;
    for await (const x of xs) all += x;
    return all;
  },
  ticks: endless,
};

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

async function lab(own: Partial<LabHandler> = {}, told: [unknown, string][] = []) {
  const { session, server } = await pair({
    server: { onError: (error, what) => void told.push([error, what]) },
  });
  server.serve(Lab, { ...usual, ...own });
  return { session, server, channel: session.channel(LabChannel) };
}

/** A transport whose lanes do not come about before it is over. */
function slowToOpen(): [Transport, cut: () => void] {
  const [here] = memoryTransports();
  const opening: (() => void)[] = [];
  const openLane: Transport["openLane"] = () =>
    new Promise((_, reject) => opening.push(() => reject(new Error("gone"))));
  const over = (end: () => void): void => {
    end();
    for (const fail of opening) fail();
  };
  return [
    { ...here, openLane, close: () => over(() => here.close()) },
    () => over(() => here.cut()),
  ];
}

describe("the end, while a lane is being opened", () => {
  test.each([
    ["closed", true],
    ["lost", false],
  ])("is told to all when the session is %s", async (_, closed) => {
    const [transport, cut] = slowToOpen();
    const session = await connect("https://x/", {
      transport: async () => transport,
      reconnect: false,
    });
    const channel = session.channel(LabChannel);
    const ticks = channel.ticks();
    const waits = [ticks.next(), ticks.result, channel.sum(endless()), channel.echo(1)];
    const ends = waits.map(failure);
    if (closed) await session.close();
    else cut();
    for (const end of ends) {
      expect(await end).toBeInstanceOf(closed ? ClosedError : ConnectionLost);
    }
  });
});

describe("limits of time", () => {
  test("are told as such, whatever the transport says to its end", async () => {
    // In browsers what one listener leads to comes before the next listener, so this is what is heard first.
    const transport = (_: URL, signal: AbortSignal): Promise<Transport> =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", (event) => {
          event.stopImmediatePropagation();
          reject(new Error("close() is called"));
        }),
      );
    const error = await failure(connect("https://x/", { transport, timeout: 5 }));
    expect(error).toBeInstanceOf(ConnectTimeout);
  });

  test.each<[ConnectOptions, RegExp]>([
    [{ timeout: NaN }, /timeout is not a number/],
    [{ callTimeout: NaN }, /callTimeout is not a number/],
    [{ reconnect: { patience: NaN } }, /patience is not a number/],
    [{ reconnect: { first: 0 } }, /no pause/],
    [{ reconnect: { most: 0 } }, /no pause/],
  ])("that are none are refused: %o", async (options, what) => {
    const transport = async (): Promise<Transport> => memoryTransports()[0];
    await expect(connect("https://x/", { transport, ...options })).rejects.toThrow(what);
  });

  test("of calls may be broken, endless, but not nothing", async () => {
    const { channel, session } = await lab();
    for (const timeout of [1000.5, Infinity, 2 ** 31, 2 ** 31 - 0.5, null]) {
      expect(await channel.echo(1, { timeout })).toBe(1);
    }
    await expect(channel.echo(1, { timeout: NaN })).rejects.toThrow("timeout is not a number");
    await session.close();
  });

  test("that are not whole cost no attempt", async () => {
    let dialled = 0;
    const [here] = memoryTransports();
    const session = await connect("https://x/", {
      transport: async () => {
        if (dialled++) throw new Error("nobody");
        return here;
      },
      reconnect: { first: 1.1, factor: 1.3, most: 5, attempts: 6, patience: Infinity },
    });
    const waits = failure(session.channel(LabChannel).echo(1));
    here.cut();
    await session.closed;
    expect(dialled).toBe(1 + 6);
    // And whoever has patience without an end has waited till then.
    expect(((await waits) as Error).message).toBe("nobody");
  });
});

describe("what is sent", () => {
  test("is refused here if it is of no type that fits, and the others are none the worse", async () => {
    let answer = (): void => {};
    const { channel, session } = await lab({
      echo: (x) => (x ? new Promise((go) => (answer = () => go(x))) : 0),
    });
    const innocent = channel.echo(7);
    expect(await channel.echo(0)).toBe(0);
    for (const value of [5, null, undefined] as never[]) {
      const error = await failure(channel.echo(1, { metadata: { n: value } }));
      expect(error).toMatchObject({ name: "EncodeError", path: "lab.echo: metadata.n" });
    }
    for (const xs of [undefined, 5, Promise.resolve([])] as never[]) {
      const error = await failure(channel.sum(xs));
      expect(error).toMatchObject({ name: "EncodeError", path: "lab.sum.xs" });
    }
    answer();
    expect(await innocent).toBe(7);
    await session.close();
  });

  test("beside a result as well", async () => {
    const told: [unknown, string][] = [];
    const { channel, session } = await lab(
      {
        echo(x, ...[ctx]: { replyMetadata: Record<string, unknown> }[]) {
          ctx!.replyMetadata["n"] = 5;
          return x;
        },
      } as Partial<LabHandler>,
      told,
    );
    expect(await failure(channel.echo(1))).toMatchObject({ code: "jetstream::internal" });
    expect(told).toEqual([[expect.any(EncodeError), "lab.echo"]]);
    await session.close();
  });
});

describe("onError", () => {
  test("may fail itself, and the caller has its answer", async () => {
    const { session, server } = await pair({
      server: {
        onError: () => {
          throw new Error("of onError");
        },
      },
    });
    const logged: unknown[] = [];
    const { error } = console;
    console.error = (what) => void logged.push(what);
    try {
      server.serve(Lab, {
        ...usual,
        echo: () => {
          throw new Error("of the method");
        },
      });
      expect(await failure(session.channel(LabChannel).echo(1))).toBeInstanceOf(CallError);
    } finally {
      console.error = error;
    }
    expect(String(logged)).toContain("of onError");
    await session.close();
  });

  test("is told what a generator throws after it was given up", async () => {
    let tell!: (what: unknown) => void;
    const told = new Promise((go) => (tell = go));
    const { session, server } = await pair({ server: { onError: tell } });
    server.serve(Lab, {
      ...usual,
      async *ticks() {
        try {
          yield* endless();
        } finally {
          throw new Error("of the finally");
        }
      },
    });
    for await (const _ of session.channel(LabChannel).ticks()) break;
    expect(await told).toMatchObject({ message: "of the finally" });
    await session.close();
  });
});

describe("over HTTP", () => {
  test("a port where nobody is, is no loss, and says so", async () => {
    const server = createServer();
    await new Promise<void>((go) => server.listen(0, "127.0.0.1", go));
    const { port } = server.address() as AddressInfo;
    await new Promise((go) => server.close(go));
    const channel = connectHttp(`http://127.0.0.1:${port}/`).channel(LabChannel);
    const error = await failure(channel.echo(1));
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({
      message: expect.stringContaining("ECONNREFUSED"),
      cause: expect.any(TypeError),
    });
  });

  test("what may have run says so, with its cause", async () => {
    const cause = Object.assign(new Error("socket hang up"), { code: "ECONNRESET" });
    const fetch = async (): Promise<Response> => {
      throw new TypeError("fetch failed", { cause });
    };
    const channel = connectHttp("http://x/", { fetch }).channel(LabChannel);
    const error = await failure(channel.echo(1));
    expect(error).toBeInstanceOf(ConnectionLost);
    expect((error as Error).message).toBe(
      "lab.echo: fetch failed: socket hang up; it may have run",
    );
  });

  test("headers that cannot be had are the caller's own", async () => {
    const error = new Error("not logged in");
    const headers = (): HeadersInit => {
      throw error;
    };
    const channel = connectHttp("http://x/", { headers }).channel(LabChannel);
    expect(await failure(channel.echo(1))).toBe(error);
    expect(() => connectHttp("http://ada:secret@x/")).toThrow("headers: { authorization }");
  });

  test("limits of time may be broken and endless", async () => {
    const fetch = async (): Promise<Response> =>
      new Response("5", { headers: { "content-type": "application/json" } });
    const session = connectHttp("http://x/", { fetch, encoding: "json" });
    const channel = session.channel(LabChannel);
    for (const timeout of [1000.5, Infinity, 2 ** 33]) {
      expect(await channel.echo(1, { timeout })).toBe(5);
    }
    await expect(channel.echo(1, { timeout: NaN })).rejects.toThrow("timeout is not a number");
  });
});
