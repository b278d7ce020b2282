// What travels beside values: metadata, faults, windows.
import { Reader, Writer } from "./bytes.ts";
import type { Metadata, MetadataInit } from "./channel.ts";
import {
  CallError,
  EncodeError,
  LimitExceeded,
  LocalProtocolError,
  remoteError,
} from "./errors.ts";

/** No limit of time. */
export const FOREVER = (1n << 64n) - 1n;

/** Milliseconds as the extension says them: microseconds. */
export function microseconds(milliseconds: number | null): bigint {
  if (milliseconds === null || !(milliseconds < 1e15)) return FOREVER;
  return BigInt(Math.max(0, Math.floor(milliseconds * 1000)));
}

// ---- metadata ----

/** Bytes of metadata that we take and send. */
export const MAX_METADATA = 8192;
const MAX_ENTRIES = 128;
const MAX_KEY = 255;

/** The bytes of metadata; `null` if there is none. */
export function encodeMetadata(
  metadata: MetadataInit | undefined,
  what: string,
): Uint8Array | null {
  const entries = Object.entries(metadata ?? {});
  if (!entries.length) return null;
  const out = new Writer();
  out.u16(entries.length);
  for (const [key, value] of entries) {
    const size = out.string(key);
    if (!size || size > MAX_KEY || entries.length > MAX_ENTRIES) {
      throw new LocalProtocolError(
        `${what}: metadata has ${MAX_ENTRIES} keys at most, of 1 to ${MAX_KEY} bytes`,
      );
    }
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    if (!(bytes instanceof Uint8Array)) {
      throw new EncodeError(`${what}: metadata.${key}`, "text or a Uint8Array is due");
    }
    out.u32(bytes.length);
    out.raw(bytes);
  }
  return out.take();
}

/** Reads metadata to the end of the bytes. More than is taken, which the peer could not know, is told and not thrown. */
export function readMetadata(r: Reader, what: string): Metadata | LimitExceeded {
  if (r.left > MAX_METADATA) {
    return new LimitExceeded(`metadata of ${what}`, r.left, MAX_METADATA, "here", "max_metadata");
  }
  const count = r.u16();
  // No key of a peer's may mean something to an object.
  const metadata = Object.create(null) as Record<string, Uint8Array>;
  for (let i = 0; i < count; i++) {
    const key = r.string();
    if (i >= MAX_ENTRIES || !key || key.length > MAX_KEY || key in metadata) {
      r.fail("metadata that is none");
    }
    metadata[key] = r.raw(r.u32()).slice();
  }
  r.end();
  return metadata;
}

// ---- faults ----

/** Lines of a backtrace that are kept, and characters of each: a small payload may tell a long story. */
const MAX_TRACE = 64;

/** Reads an error. */
export function readFault(payload: Uint8Array): CallError | LimitExceeded {
  const r = new Reader(payload);
  const message = r.string();
  const [code, help, url] = [0, 1, 2].map(() => {
    const flag = r.u8();
    if (flag > 1) r.fail("a flag");
    return flag ? r.string() : null;
  });
  const table: string[] = [];
  for (let left = r.u16(); left; left--) table.push(r.string());
  const words = (length: number): string[] =>
    Array.from({ length }, () => table[r.u16()] ?? r.fail("an index"));
  const trace: string[] = [];
  for (let left = r.u16(); left; left--) {
    const [text, name, , , file] = words(5);
    const line = r.u16();
    words(2 * r.u16());
    r.u8();
    if (trace.length < MAX_TRACE) trace.push(`${file}:${line} ${name}: ${text}`.slice(0, 500));
  }
  r.end();
  return remoteError(message, { code, help, url }, trace);
}

// ---- windows ----

/** Bytes of a stream (frames, headers included) that may be sent before any are granted. */
export const INITIAL_WINDOW = 64 << 10;

/** Bytes of a stream that may be ahead of its taker. */
export const STREAM_WINDOW = 256 << 10;

/** How much of a stream may still come. One item may go over it. */
export class Window {
  #left: number;
  #taken = 0;

  constructor(readonly size: number) {
    this.#left = size;
  }

  /** An item came. False if nothing was granted any more: the peer broke the rules. */
  arrived(bytes: number): boolean {
    const allowed = this.#left > 0;
    this.#left -= bytes;
    return allowed;
  }

  /** An item was taken. What to grant now; 0 if it is not worth a frame. */
  took(bytes: number): number {
    this.#taken += bytes;
    if (this.#taken < this.size / 2) return 0;
    const grant = this.#taken;
    this.#taken = 0;
    this.#left += grant;
    return grant;
  }
}
