// One ordered sequence of frames over a stream: reading, writing, ending. Who calls and who answers
// is not known here.
import { Malformed, Writer } from "./bytes.ts";
import { RemoteProtocolError } from "./errors.ts";
import { MSIZE, Splitter, whole, type Frame, type Payload } from "./frame.ts";
import type { LaneStream } from "./transport.ts";

/** Application error codes, which only explain: see rust/proto/src/codes.rs. */
export const DONE = 0;
export const PROTOCOL = 1;
export const SHUTDOWN = 2;
export const UNKNOWN_SERVICE = 3;
export const VERSION_REFUSED = 4;

/** Unsent bytes over which streams wait. */
export const HIGH = 64 << 10;
/** Milliseconds that a lane whose one half is gone has for the other to say why, and a connection whose lanes break to say that it is gone. */
const GRACE = 1000;

/** The code with which a peer gave up a stream; `null` if it is not that. */
export function streamCode(error: unknown): number | null {
  const { source, streamErrorCode } = (error ?? {}) as Record<string, unknown>;
  return source === "stream" ? Number(streamErrorCode) : null;
}

function withCode(streamErrorCode: number): unknown {
  const { WebTransportError: Native } = globalThis as unknown as {
    WebTransportError?: new (message: object, init: object) => Error;
  };
  const init = { source: "stream", streamErrorCode };
  // W3C's takes a message first, and Chromium's none (w3c/webtransport#715): nobody reads it.
  return Native ? new Native(init, init) : Object.assign(new Error(), init);
}

export const ignore = (): void => {};

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

export abstract class Lane {
  /** Frames that leave at the end of this turn. */
  readonly out = new Writer();
  /** Bytes that have left, as far as is known here. */
  sent = 0;
  /** Nothing more is read or written. */
  dead = false;
  readonly splitter = new Splitter(MSIZE);
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #writing = false;
  #finishing = false;
  /** Bytes that are being written. */
  #underway = 0;

  constructor(stream: LaneStream) {
    this.#reader = stream.readable.getReader();
    this.#writer = stream.writable.getWriter();
    this.#reader.closed.catch(ignore);
    this.#writer.closed.catch(ignore);
    this.#writer.ready.catch(ignore);
  }

  protected abstract onFrame(frame: Frame): void;
  /** All frames that came together have been handled. What it returns is waited for before more is read. */
  protected abstract onTurn(): Promise<void> | void;
  /** Little is unsent. */
  protected abstract onDrained(): void;
  /** The peer sends no more, in order. */
  protected abstract onFinished(): void;
  /** A rule was broken, or the stream is gone. */
  protected abstract onBroken(error: unknown): void;

  get unsent(): number {
    return this.out.at + this.#underway;
  }

  /** Reads until the end. Never rejects. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (this.dead) return;
        if (done) break;
        for (const frame of this.splitter.push(value)) {
          this.onFrame(frame);
          if (this.dead) return;
        }
        const pause = this.onTurn();
        if (pause) await pause;
        if (this.dead) return;
      }
      if (this.splitter.unfinished) {
        throw new RemoteProtocolError("the lane ended inside a frame");
      }
      this.onFinished();
    } catch (error) {
      if (this.dead) return;
      this.onBroken(
        error instanceof Malformed
          ? new RemoteProtocolError(`a malformed frame: ${error.message}`)
          : error,
      );
    }
  }

  /** Has a frame leave, together with what follows in this turn. */
  put(kind: number, tag: number, payload?: Payload): void {
    if (this.dead) return;
    whole(this.out, kind, tag, payload);
    this.#flush();
  }

  #flush(): void {
    if (this.#writing) return;
    this.#writing = true;
    queueMicrotask(() => void this.#write());
  }

  async #write(): Promise<void> {
    try {
      while (this.out.at && !this.dead) {
        const chunk = this.out.take();
        this.#underway = chunk.length;
        this.sent += chunk.length;
        await this.#writer.write(chunk);
        this.#underway = 0;
        if (!this.dead && this.unsent <= HIGH) this.onDrained();
      }
      this.#writing = false;
      if (this.#finishing && !this.dead) await this.#writer.close();
    } catch (error) {
      // Nothing more leaves. Why is for the other half to say.
      this.put = ignore;
      if (!this.dead) later(() => this.dead || this.onBroken(error));
    }
  }

  /** Ends our half in order, once all has left. */
  finish(): void {
    this.#finishing = true;
    this.#flush();
  }

  /** Reads nothing more, and says why; what has been written still leaves. */
  refuse(code: number): void {
    this.#reader.cancel(withCode(code)).catch(ignore);
  }

  /** Ends both halves. */
  kill(code: number): void {
    if (this.dead) return;
    this.dead = true;
    const reason = withCode(code);
    this.#writer.abort(reason).catch(ignore);
    this.#reader.cancel(reason).catch(ignore);
  }
}

/** Does something when the grace is over; that keeps no process alive. */
export function later(run: () => void): void {
  const timer: { unref?: () => void } | number = setTimeout(run, GRACE);
  (timer as { unref?: () => void }).unref?.();
}
