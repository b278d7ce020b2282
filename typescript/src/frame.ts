// Frames: `size u32 LE, counting itself | type u8 | tag u16 LE | payload`. What payloads mean is not
// known here.
import type { Writer } from "./bytes.ts";
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

/**
 * Cuts a lane's bytes into frames. A size is checked as soon as it is known, before anything is kept
 * for it; memory grows only by what has come.
 */
export class Splitter {
  /** The beginning of a frame whose end has not come. */
  #part = new Uint8Array(0);
  #held = 0;

  constructor(public limit: number) {}

  /** Whether a frame has begun and not ended. */
  get unfinished(): boolean {
    return this.#held > 0;
  }

  /** The frames that end within `chunk`. They refer to it. */
  *push(chunk: Uint8Array): Generator<Frame, void> {
    let at = 0;
    while (at < chunk.length) {
      if (!this.#held) {
        const rest = chunk.subarray(at);
        const size = this.#size(rest);
        if (size !== null && size <= rest.length) {
          at += size;
          yield parse(rest.subarray(0, size));
          continue;
        }
      }
      // Four bytes tell how many there will be.
      const known = this.#held < 4 ? null : this.#size(this.#part);
      const wanted = (known ?? 4) - this.#held;
      const taken = Math.min(wanted, chunk.length - at);
      this.#keep(chunk.subarray(at, at + taken));
      at += taken;
      const size = this.#held < 4 ? null : this.#size(this.#part);
      if (size !== null && this.#held === size) {
        const frame = this.#part.subarray(0, size);
        this.#part = new Uint8Array(0);
        this.#held = 0;
        yield parse(frame);
      }
    }
  }

  #size(bytes: Uint8Array): number | null {
    if (bytes.length < 4) return null;
    const size = (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
    if (size < HEADER || size > this.limit) {
      throw new RemoteProtocolError(
        size < HEADER
          ? `a frame of ${size} bytes is smaller than its own header of ${HEADER}`
          : `a frame of ${size} bytes is over the limit of ${this.limit}`,
      );
    }
    return size;
  }

  #keep(bytes: Uint8Array): void {
    const size = this.#held + bytes.length;
    if (size > this.#part.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.#part.length));
      grown.set(this.#part.subarray(0, this.#held));
      this.#part = grown;
    }
    this.#part.set(bytes, this.#held);
    this.#held = size;
  }
}

function parse(frame: Uint8Array): Frame {
  return {
    kind: frame[4]!,
    tag: frame[5]! | (frame[6]! << 8),
    payload: frame.subarray(HEADER),
  };
}
