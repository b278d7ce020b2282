// Frames: `size u32 LE, counting itself | type u8 | tag u16 LE | payload`. What payloads mean is not
// known here.
import { Reader, Writer } from "./bytes.ts";
import { RemoteProtocolError } from "./errors.ts";

export const HEADER = 7;
/** The tag of frames that are about the lane and no call. */
export const NO_TAG = 65535;
/** The largest frame that we offer to take. */
export const MSIZE = 4 << 20;
/** The smallest limit that still carries a version and an error. */
export const MIN_MSIZE = 4096;

export const RERROR = 5;
export const RDONE = 8;
export const TCANCEL = 9;
export const RCANCEL = 10;
export const TVERSION = 100;
export const RVERSION = 101;
export const FIRST_METHOD = 102;

// The extension `x1`: see rust/proto/src/ext.rs.
export const TMETA = 11;
export const RMETA = 12;
export const TITEM = 13;
export const TEND = 14;
export const CREDIT = 15;
export const GOAWAY = 16;
export const TIME = 17;
export const LOSSY = 18;
/** The label under which the datagrams of this lane come. */
export const LABEL = 19;

export interface Frame {
  readonly kind: number;
  readonly tag: number;
  readonly payload: Uint8Array;
}

/** What a frame carries: bytes, or what writes them. */
export type Payload = Uint8Array | ((out: Writer) => void);

/** Appends a whole frame. */
export function whole(out: Writer, kind: number, tag: number, payload?: Payload): void {
  const at = out.room(4);
  out.u8(kind);
  out.u16(tag);
  if (typeof payload === "function") payload(out);
  else if (payload) out.raw(payload);
  out.view.setUint32(at, out.at - at, true);
}

/** Cuts a lane's bytes into frames. A size is checked as soon as it is known; only what has come is kept. */
export class Splitter {
  #parts: Uint8Array[] = [];
  #held = 0;
  /** Bytes without which nothing is to be done: those of a size, then of its frame. */
  #wanted = 4;

  constructor(public limit: number) {}

  /** Whether a frame has begun and not ended. */
  get unfinished(): boolean {
    return this.#held > 0;
  }

  /** The frames that end within `chunk`. They may refer to it. */
  *push(chunk: Uint8Array): Generator<Frame, void> {
    this.#parts.push(chunk);
    this.#held += chunk.length;
    while (this.#held >= this.#wanted) {
      let [all] = this.#parts as [Uint8Array];
      if (this.#parts.length > 1) {
        const out = new Writer();
        for (const part of this.#parts) out.raw(part);
        all = out.take();
      }
      this.#parts = [all];
      const r = new Reader(all);
      const size = r.u32();
      if (size < HEADER || size > this.limit) {
        throw new RemoteProtocolError(
          `a frame of ${size} bytes; ${HEADER} to ${this.limit} can be`,
        );
      }
      this.#wanted = size;
      if (this.#held < size) return;
      this.#held -= size;
      this.#parts = this.#held ? [all.subarray(size)] : [];
      this.#wanted = 4;
      yield { kind: r.u8(), tag: r.u16(), payload: all.subarray(HEADER, size) };
    }
  }
}
