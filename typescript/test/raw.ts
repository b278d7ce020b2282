// One end of a lane that is spoken by hand, for tests of what the other end makes of it.
import { Session, type ConnectOptions, type LaneStream } from "jetstream-client";
import { memoryTransports, type MemoryTransport } from "jetstream-client/testing";
import { Splitter, type Frame } from "../src/frame.ts";
import { fromHex, toHex } from "./described.ts";

export interface Seen {
  readonly kind: number;
  readonly tag: number;
  readonly hex: string;
}

/** A lane whose frames are written and read one by one. */
export class RawLane {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #splitter = new Splitter(2 ** 32);
  readonly #frames: Frame[] = [];

  constructor(stream: LaneStream) {
    this.#reader = stream.readable.getReader();
    this.writer = stream.writable.getWriter();
    this.#reader.closed.catch(() => {});
    this.writer.closed.catch(() => {});
    this.writer.ready.catch(() => {});
  }

  /** The next frame; `null` at the end. Rejects if the lane was given up. */
  async next(): Promise<Seen | null> {
    while (!this.#frames.length) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      this.#frames.push(...this.#splitter.push(value));
    }
    const { kind, tag, payload } = this.#frames.shift()!;
    return { kind, tag, hex: toHex(payload) };
  }

  /** The next frame of a kind. */
  async until(kind: number): Promise<Seen> {
    for (;;) {
      const frame = await this.next();
      if (!frame) throw new Error(`the lane ended without a frame of type ${kind}`);
      if (frame.kind === kind) return frame;
    }
  }

  async send(...frames: Uint8Array[]): Promise<void> {
    for (const bytes of frames) await this.writer.write(bytes);
  }

  /** Why the lane was given up, once it has been. */
  async broken(): Promise<{ streamErrorCode?: number }> {
    try {
      while (await this.next());
    } catch (error) {
      return error as { streamErrorCode?: number };
    }
    throw new Error("it ended in order");
  }
}

export function frame(kind: number, tag: number, hex = ""): Uint8Array {
  const payload = fromHex(hex.replaceAll(" ", ""));
  const bytes = new Uint8Array(7 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  bytes[4] = kind;
  view.setUint16(5, tag, true);
  bytes.set(payload, 7);
  return bytes;
}

export function version(kind: number, text: string, msize = 4 << 20): Uint8Array {
  const bytes = new Uint8Array(6 + text.length);
  new DataView(bytes.buffer).setUint32(0, msize, true);
  new DataView(bytes.buffer).setUint16(4, text.length, true);
  bytes.set(new TextEncoder().encode(text), 6);
  return frame(kind, 65535, toHex(bytes));
}

/** A session of ours, and the transport of a peer that is played by hand. */
export async function facing(
  options: ConnectOptions = {},
  isClient = true,
  memory: Parameters<typeof memoryTransports>[0] = { datagrams: false },
): Promise<{ session: Session; peer: MemoryTransport; lanes: () => Promise<RawLane> }> {
  const [here, peer] = memoryTransports(memory);
  const session = new Session(
    async () => here,
    { reconnect: false, onError: () => {}, ...options },
    isClient,
  );
  await session.$open();
  const reader = peer.incomingLanes.getReader();
  const lanes = async (): Promise<RawLane> => new RawLane((await reader.read()).value!);
  return { session, peer, lanes };
}
