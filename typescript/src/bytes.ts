// Bytes put together and taken apart, little endian. Nothing here knows what they mean.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What a reader finds wrong, at its place in the bytes. */
export class Malformed extends Error {
  constructor(
    readonly reason: string,
    readonly offset: number,
    readonly path = "",
  ) {
    super(reason);
  }
}

/** Bytes that grow. */
export class Writer {
  buf: Uint8Array<ArrayBuffer>;
  view: DataView;
  len = 0;
  /** How many more elements of no size there may be. */
  empty = 65535;

  constructor(size = 128) {
    this.buf = new Uint8Array(size);
    this.view = new DataView(this.buf.buffer);
  }

  /** Makes room for `count` bytes; where they begin. */
  room(count: number): number {
    const at = this.len;
    this.len += count;
    if (this.len > this.buf.length) {
      const grown = new Uint8Array(Math.max(this.len, 2 * this.buf.length));
      grown.set(this.buf.subarray(0, at));
      this.buf = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  u8(value: number): void {
    this.buf[this.room(1)] = value;
  }

  u16(value: number): void {
    const at = this.room(2);
    this.view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.room(4);
    this.view.setUint32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.room(8);
    this.view.setBigUint64(at, value, true);
  }

  raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length);
    this.buf.set(bytes, at);
  }

  /** Text without its length; how many bytes it took. */
  text(value: string): number {
    // A unit of UTF-16 is three bytes at most.
    const at = this.room(3 * value.length);
    const { written } = encoder.encodeInto(value, this.buf.subarray(at));
    this.len = at + written;
    return written;
  }

  /** A `u16` length and text that is known to fit. */
  string(value: string): void {
    const at = this.room(2);
    const size = this.text(value);
    this.view.setUint16(at, size, true);
  }

  /** What has been written, as bytes of its own; the writer begins anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.buf.subarray(0, this.len);
    this.buf = new Uint8Array(128);
    this.view = new DataView(this.buf.buffer);
    this.len = 0;
    return taken;
  }
}

/** A place in received bytes, which is never past their end. */
export class Reader {
  readonly view: DataView;
  at = 0;
  /** How many more elements of no size there may be. */
  empty = 65535;

  constructor(readonly buf: Uint8Array) {
    this.view = new DataView(buf.buffer, buf.byteOffset, buf.byteLength);
  }

  get left(): number {
    return this.buf.length - this.at;
  }

  /** Passes `count` bytes; where they began. */
  pass(count: number): number {
    const at = this.at;
    if (count > this.left) this.fail(`${count} bytes needed, ${this.left} left`);
    this.at += count;
    return at;
  }

  fail(reason: string, at = this.at): never {
    throw new Malformed(reason, at);
  }

  u8(): number {
    return this.buf[this.pass(1)]!;
  }

  u16(): number {
    return this.view.getUint16(this.pass(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.pass(4), true);
  }

  u64(): bigint {
    return this.view.getBigUint64(this.pass(8), true);
  }

  /** The next bytes, not copied. */
  raw(count: number): Uint8Array {
    const at = this.pass(count);
    return this.buf.subarray(at, at + count);
  }

  text(count: number): string {
    const at = this.at;
    const bytes = this.raw(count);
    try {
      return decoder.decode(bytes);
    } catch {
      return this.fail("a string that is not UTF-8", at);
    }
  }

  string(): string {
    return this.text(this.u16());
  }

  end(): void {
    if (this.left) this.fail(`${this.left} bytes left over after the value`);
  }
}

/** Which of two sequences of bytes comes first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const count = Math.min(a.length, b.length);
  for (let i = 0; i < count; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}
