// Two sessions in memory, for tests: the real codec and mux, no network.
import { Session, type ConnectOptions } from "./session.ts";
import type { CloseInfo, Datagrams, LaneStream, Transport } from "./transport.ts";

/** Bytes that a lane holds between its ends before whoever writes waits. */
const HELD = 64 << 10;
const DATAGRAM = 1200;

interface Pipe<T> {
  readonly readable: ReadableStream<T>;
  readonly writable: WritableStream<T>;
  fail(error: unknown): void;
}

function pipe(): Pipe<Uint8Array> {
  let controller!: TransformStreamDefaultController<Uint8Array>;
  const size = (chunk: Uint8Array): number => chunk.length;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(
    { start: (made) => void (controller = made) },
    { highWaterMark: HELD, size },
    { highWaterMark: 0 },
  );
  return { readable, writable, fail: (error) => controller.error(error) };
}

/** How two transports in memory are. */
export interface MemoryOptions {
  /** Whether there are datagrams. Default: yes. */
  readonly datagrams?: boolean | undefined;
  /** Whether subscriptions get lanes of their own. Default: yes. */
  readonly manyLanes?: boolean | undefined;
}

/** A transport in memory, which can be cut off. */
export interface MemoryTransport extends Transport {
  /** Loses the connection, without a word, at both ends. */
  cut(): void;
}

/** Two transports, each of which opens lanes that the other accepts. */
export function memoryTransports(options: MemoryOptions = {}): [MemoryTransport, MemoryTransport] {
  const { manyLanes = true, datagrams = true } = options;
  const pipes = new Set<Pipe<Uint8Array>>();
  const settle: { resolve(info: CloseInfo): void; reject(error: unknown): void }[] = [];
  const enqueue: ((lane: LaneStream) => void)[] = [];
  let over = false;

  const end = (tell: (end: (typeof settle)[number]) => void): void => {
    if (over) return;
    over = true;
    // The streams go first, as they do in browsers.
    const error = Object.assign(new Error("the connection is gone"), { source: "session" });
    for (const each of pipes) each.fail(error);
    settle.forEach(tell);
  };
  const open = (): Pipe<Uint8Array> => {
    const made = pipe();
    pipes.add(made);
    return made;
  };
  const grams = [0, 1].map(() => (datagrams ? open() : null));

  const make = (self: number): MemoryTransport => {
    const closed = new Promise<CloseInfo>(
      (resolve, reject) => (settle[self] = { resolve, reject }),
    );
    closed.catch(() => {});
    const [mine, theirs] = [grams[self], grams[1 - self]];
    return {
      manyLanes,
      closed,
      incomingLanes: new ReadableStream<LaneStream>({
        start: (controller) => void (enqueue[self] = (lane) => controller.enqueue(lane)),
      }),
      datagrams:
        mine && theirs
          ? ({
              readable: theirs.readable,
              writable: mine.writable,
              maxDatagramSize: DATAGRAM,
            } satisfies Datagrams)
          : null,
      async openLane() {
        if (over) throw new Error("the connection is gone");
        const [out, back] = [open(), open()];
        enqueue[1 - self]!({ readable: out.readable, writable: back.writable });
        return { readable: back.readable, writable: out.writable };
      },
      close: (info = {}) => end(({ resolve }) => resolve(info)),
      cut: () => end(({ reject }) => reject(new Error("cut off"))),
    };
  };
  return [make(0), make(1)];
}

/** Two sessions that are each other's peer. */
export interface Pair extends AsyncDisposable {
  /** The one that connected. */
  readonly session: Session;
  /** Its peer: `server.serve(Echo, {...})`. */
  readonly server: Session;
}

/** Connects two sessions in memory. */
export async function pair(
  options: {
    readonly client?: ConnectOptions;
    readonly server?: ConnectOptions;
  } & MemoryOptions = {},
): Promise<Pair> {
  const [here, there] = memoryTransports(options);
  const once = { reconnect: false };
  const session = new Session(async () => here, { ...once, ...options.client });
  const server = new Session(async () => there, { ...once, ...options.server }, false);
  await Promise.all([session.$open(), server.$open()]);
  return {
    session,
    server,
    async [Symbol.asyncDispose]() {
      await session.close();
      await server.closed;
    },
  };
}
