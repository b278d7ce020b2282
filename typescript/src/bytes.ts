// Bytes put together and taken apart, little endian. Nothing here knows what they mean.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text of fewer units is mostly of ASCII, and written in less time than it takes to call the encoder. */
const SHORT = 64;

/** What is wrong with bytes, or a value, at its place. */
export class Malformed extends Error {
  constructor(
    reason: string,
    readonly offset: number,
  ) {
    super(reason);
  }
}

abstract class Coder {
  /** Where in a value it is. */
  readonly path: (string | number)[] = [];
  /** How many more elements of no size there may be: they cost the sender nothing. */
  empty = 65535;
  /** Bytes that have been passed. */
  at = 0;

  fail(reason: string, at = this.at): never {
    throw new Malformed(reason, at);
  }
}

/** Bytes that grow. */
export class Writer extends Coder {
  buf = new Uint8Array(64);
  view = new DataView(this.buf.buffer);

  /** Makes room for `count` bytes; where they begin. */
  room(count: number): number {
    const { at, buf } = this;
    this.at += count;
    if (this.at > buf.length) {
      this.buf = new Uint8Array(2 * this.at);
      this.view = new DataView(this.buf.buffer);
      this.buf.set(buf);
    }
    return at;
  }

  u8(value: number): void {
    // Room first: it may move the bytes.
    const at = this.room(1);
    this.buf[at] = value;
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

  /** A `u16` length and text; how many bytes that is, which fit or are as many as 65,535 allow. */
  string(value: string): number {
    const { length } = value;
    if (length < SHORT) {
      const at = this.room(2 + length);
      let i = 0;
      for (let unit; i < length && (unit = value.charCodeAt(i)) < 128; i++) {
        this.buf[at + 2 + i] = unit;
      }
      this.view.setUint16(at, length, true);
      if (i === length) return length;
      this.at = at;
    }
    const bytes = encoder.encode(value);
    this.u16(bytes.length);
    this.raw(bytes);
    return bytes.length;
  }

  /** What has been written; the writer begins anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.buf.subarray(0, this.at);
    this.buf = new Uint8Array(64);
    this.view = new DataView(this.buf.buffer);
    this.at = 0;
    return taken;
  }
}

/** A place in received bytes, which is never past their end. */
export class Reader extends Coder {
  readonly view: DataView;

  constructor(readonly buf: Uint8Array) {
    super();
    this.view = new DataView(buf.buffer, buf.byteOffset, buf.byteLength);
  }

  get left(): number {
    return this.buf.length - this.at;
  }

  /** Passes `count` bytes; where they began. */
  pass(count: number): number {
    const { at, left } = this;
    if (count > left) this.fail(`${count} bytes needed, ${left} left`);
    this.at += count;
    return at;
  }

  u8(): number {
    return this.view.getUint8(this.pass(1));
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
    return this.buf.subarray(at, this.at);
  }

  string(): string {
    const { at } = this;
    const bytes = this.raw(this.u16());
    try {
      return decoder.decode(bytes);
    } catch {
      return this.fail("a string that is not UTF-8", at);
    }
  }

  /** Nothing follows. */
  end(): void {
    if (this.left) this.fail(`${this.left} bytes left over`);
  }
}
