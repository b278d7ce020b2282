// Values become bytes and bytes values: every bound that a value has to pass, both ways.
import { formatIp, parseIp } from "./addresses.ts";
import { Malformed, Reader, Writer, compareBytes } from "./bytes.ts";
import { DecodeError, EncodeError } from "./errors.ts";
import type { Layout } from "./plan.ts";

/** Items in a list, bytes in a string, entries in a map or set. */
const MAX_COUNT = 65535;
/** Bytes in one value of bytes: the Rust crates refuse more. */
const MAX_DATA = 32 << 20;
/** How deep values may nest: a recursive type has no depth of its own, and the sender chooses it. */
const MAX_DEPTH = 128;

const SCHEME = /^[a-z][a-z\d+.-]*:/i;
const TOO_DEEP = `nested deeper than ${MAX_DEPTH} levels`;
const TOO_EMPTY = `more than ${MAX_COUNT} elements of no size`;

type Named = readonly (readonly [name: string, layout: Layout])[];

/** What is wrong with what is below, said from further up. */
function within(error: unknown, step: string): unknown {
  return error instanceof Malformed
    ? new Malformed(error.reason, error.offset, step + error.path)
    : error;
}

const key = (value: unknown): string =>
  `[${typeof value === "string" ? `"${value}"` : String(value)}]`;

// ---- encoding ----

/** Appends a value, or leaves the writer as it was. */
export function encode(layout: Layout, value: unknown, out: Writer, what: string): void {
  guarded(out, what, () => put(layout, value, out, MAX_DEPTH));
}

/** Appends a method's arguments, or leaves the writer as it was. */
export function encodeArguments(
  args: Named,
  values: readonly unknown[],
  out: Writer,
  what: string,
): void {
  guarded(out, what, () => putFields(args, (_, at) => values[at], out, MAX_DEPTH));
}

function guarded(out: Writer, what: string, put: () => void): void {
  const before = out.len;
  out.empty = MAX_COUNT;
  try {
    put();
  } catch (error) {
    out.len = before;
    throw error instanceof Malformed ? new EncodeError(what + error.path, error.reason) : error;
  }
}

function refuse(reason: string): never {
  throw new Malformed(reason, 0);
}

function wanted(what: string, found: unknown): never {
  const text = typeof found === "object" ? Object.prototype.toString.call(found) : String(found);
  return refuse(`${what} is wanted, not ${typeof found} ${text.slice(0, 60)}`);
}

function deeper(depth: number): number {
  if (!depth) refuse(TOO_DEEP);
  return depth - 1;
}

function putFields(
  fields: Named,
  of: (name: string, at: number) => unknown,
  out: Writer,
  depth: number,
): void {
  let at = 0;
  try {
    for (; at < fields.length; at++) put(fields[at]![1], of(fields[at]![0], at), out, depth);
  } catch (error) {
    throw within(error, `.${fields[at]![0]}`);
  }
}

/** A value that took no bytes costs the sender nothing, so there is a bound for those. */
function count(coder: Reader | Writer, moved: boolean): void {
  if (!moved && --coder.empty < 0) refuse(TOO_EMPTY);
}

function putIp(value: unknown, out: Writer, size: number | null): void {
  const bytes = typeof value === "string" ? parseIp(value) : null;
  if (!bytes || (size && bytes.length !== size)) {
    return wanted(`an address of IP${size ? (size === 4 ? "v4" : "v6") : ""}`, value);
  }
  if (!size) out.u8(bytes.length === 4 ? 4 : 6);
  out.raw(bytes);
}

function putText(value: unknown, out: Writer): void {
  if (typeof value !== "string") return wanted("a string", value);
  if (/\p{Surrogate}/u.test(value)) refuse("half a character: a lone surrogate has no UTF-8");
  const at = out.room(2);
  const size = value.length > MAX_COUNT ? value.length : out.text(value);
  if (size > MAX_COUNT) {
    refuse(`a string of ${size} bytes in UTF-8; at most ${MAX_COUNT} fit (use bytes for more)`);
  }
  out.view.setUint16(at, size, true);
}

function put(p: Layout, value: unknown, out: Writer, depth: number): void {
  switch (p.k) {
    case "lazy":
      return put(p.get(), value, out, depth);
    case "unit":
      return value == null ? undefined : wanted("nothing", value);
    case "bool":
      return typeof value === "boolean" ? out.u8(Number(value)) : wanted("a boolean", value);
    case "int":
      return putInteger(p.bits, p.signed, value, out);
    case "f32":
    case "f64": {
      if (typeof value !== "number") return wanted("a number", value);
      const at = out.room(p.k === "f32" ? 4 : 8);
      if (p.k === "f64") return out.view.setFloat64(at, value, true);
      if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) {
        refuse(`${value} is too large for f32`);
      }
      return out.view.setFloat32(at, value, true);
    }
    case "str":
      return putText(value, out);
    case "url":
      if (typeof value !== "string" || !SCHEME.test(value)) {
        return wanted("a URL, which begins with a scheme such as https:,", value);
      }
      return putText(value, out);
    case "data":
      if (!(value instanceof Uint8Array)) return wanted("a Uint8Array", value);
      if (value.length > MAX_DATA) refuse(`${value.length} bytes; at most ${MAX_DATA} fit`);
      out.u32(value.length);
      return out.raw(value);
    case "time": {
      const at = value instanceof Date ? value.getTime() : NaN;
      if (!(at >= 0)) return wanted("a Date of 1970 or later", value);
      return out.u64(BigInt(Math.floor(at)));
    }
    case "ip4":
      return putIp(value, out, 4);
    case "ip6":
      return putIp(value, out, 16);
    case "ip":
      return putIp(value, out, null);
    case "addr": {
      const { ip, port } = (value ?? {}) as { ip?: unknown; port?: unknown };
      putIp(ip, out, null);
      return putInteger(16, false, port, out);
    }
    case "option": {
      if (value == null) return out.u8(0);
      const inner = p.some ? (value as { some?: unknown }).some : value;
      out.u8(1);
      return put(p.of, inner, out, deeper(depth));
    }
    case "list":
      if (!Array.isArray(value)) return wanted("an array", value);
      return putMany(value, out, (item) => put(p.of, item, out, deeper(depth)));
    case "set":
      if (!(value instanceof Set)) return wanted("a Set", value);
      return putSorted(p.of, value, out, (item) => put(p.of, item, out, deeper(depth)));
    case "map":
      if (!(value instanceof Map)) return wanted("a Map", value);
      return putSorted(
        p.key,
        value.keys(),
        out,
        (name) => put(p.key, name, out, deeper(depth)),
        (name) => put(p.of, value.get(name), out, deeper(depth)),
      );
    case "tuple": {
      const { of } = p;
      if (!Array.isArray(value) || value.length !== of.length) {
        return wanted(`an array of ${of.length}`, value);
      }
      let at = 0;
      try {
        for (; at < of.length; at++) put(of[at]!, value[at], out, deeper(depth));
      } catch (error) {
        throw within(error, `[${at}]`);
      }
      return;
    }
    case "struct": {
      if (typeof value !== "object" || !value) return wanted(`a ${p.name}`, value);
      const fields = value as Record<string, unknown>;
      return putFields(p.of, (name) => fields[name], out, deeper(depth));
    }
    case "enum": {
      const at = p.values.indexOf(value);
      return at < 0 ? wanted(`one of ${p.name}`, value) : out.u8(at);
    }
    case "union": {
      const keys = typeof value === "object" && value ? Object.keys(value) : [];
      const at = p.of.findIndex(([name]) => name === keys[0]);
      if (keys.length !== 1 || at < 0) {
        return wanted(`one of ${p.of.map(([name]) => `{ ${name} }`).join(", ")}`, value);
      }
      out.u8(at);
      return putFields(
        [p.of[at]!],
        (name) => (value as Record<string, unknown>)[name],
        out,
        deeper(depth),
      );
    }
  }
}

function putInteger(bits: number, signed: boolean, value: unknown, out: Writer): void {
  if (bits > 32) {
    if (typeof value !== "bigint") return wanted("a bigint, such as 1n,", value);
    if ((signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) !== value) {
      refuse(`${value} is out of range for ${signed ? "i" : "u"}${bits}`);
    }
    out.u64(BigInt.asUintN(64, value));
    if (bits > 64) out.u64(BigInt.asUintN(64, value >> 64n));
    return;
  }
  if (!Number.isInteger(value)) return wanted("a whole number", value);
  const number = value as number;
  const half = 2 ** (bits - 1);
  if (number < (signed ? -half : 0) || number >= (signed ? half : 2 * half)) {
    refuse(`${number} is out of range for ${signed ? "i" : "u"}${bits}`);
  }
  if (bits === 8) out.u8(number);
  else if (bits === 16) out.u16(number);
  else out.u32(number);
}

function putMany(items: readonly unknown[], out: Writer, each: (item: unknown) => void): void {
  if (items.length > MAX_COUNT) refuse(`more than ${MAX_COUNT} items; no more fit`);
  out.u16(items.length);
  let at = 0;
  try {
    for (; at < items.length; at++) {
      const before = out.len;
      each(items[at]);
      count(out, out.len > before);
    }
  } catch (error) {
    throw within(error, `[${at}]`);
  }
}

function putSorted(
  layout: Layout,
  keys: Iterable<unknown>,
  out: Writer,
  putKey: (key: unknown) => void,
  putValue?: (key: unknown) => void,
): void {
  const opened = out.room(2) + 2;
  /** Where each entry begins, where its key ends, where it ends. */
  const entries: [number, number, number][] = [];
  for (const name of keys) {
    if (entries.length >= MAX_COUNT) refuse(`more than ${MAX_COUNT} entries; no more fit`);
    const start = out.len;
    try {
      putKey(name);
      const middle = out.len;
      putValue?.(name);
      entries.push([start, middle, out.len]);
    } catch (error) {
      throw within(error, key(name));
    }
    count(out, out.len > start);
  }
  out.view.setUint16(opened - 2, entries.length, true);
  const bytes = out.buf.slice(opened, out.len);
  const part = (from: number, to: number): Uint8Array => bytes.subarray(from - opened, to - opened);
  const order = (a: [number, number, number], b: [number, number, number]): number =>
    compare(layout, part(a[0], a[1]), part(b[0], b[1]));
  entries.sort(order);
  out.len = opened;
  entries.forEach((entry, at) => {
    if (at && !order(entries[at - 1]!, entry)) refuse("two keys that are the same on the wire");
    out.raw(part(entry[0], entry[2]));
  });
}

// ---- decoding ----

/** Reads one value that fills the bytes. */
export function decode(layout: Layout, bytes: Uint8Array, what: string): unknown {
  return told(what, () => {
    const r = new Reader(bytes);
    const value = get(layout, r, MAX_DEPTH);
    r.end();
    return value;
  });
}

/** Reads a method's arguments, which fill the bytes. */
export function decodeArguments(args: Named, bytes: Uint8Array, what: string): unknown[] {
  return told(what, () => {
    const r = new Reader(bytes);
    const values = getFields(args, r, MAX_DEPTH);
    r.end();
    return values;
  });
}

function told<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof Malformed
      ? new DecodeError(what + error.path, error.offset, error.reason)
      : error;
  }
}

function getFields(fields: Named, r: Reader, depth: number): unknown[] {
  const values: unknown[] = [];
  try {
    for (const [, layout] of fields) values.push(get(layout, r, depth));
  } catch (error) {
    throw within(error, `.${fields[values.length]![0]}`);
  }
  return values;
}

function getIp(r: Reader): string {
  const version = r.u8();
  if (version !== 4 && version !== 6) {
    r.fail(`an address starts with 4 or 6, not ${version}`, r.at - 1);
  }
  return formatIp(r.raw(version === 4 ? 4 : 16));
}

function getInteger(bits: number, signed: boolean, r: Reader): number | bigint {
  if (bits > 32) {
    let value = r.u64();
    if (bits > 64) value |= r.u64() << 64n;
    return signed ? BigInt.asIntN(bits, value) : value;
  }
  const value = bits === 8 ? r.u8() : bits === 16 ? r.u16() : r.u32();
  return signed && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
}

function getFlag(r: Reader, what: string): number {
  const found = r.u8();
  if (found > 1) r.fail(`${what} is 0 or 1, not ${found}`, r.at - 1);
  return found;
}

function getIndex(r: Reader, variants: number): number {
  const found = r.u8();
  if (found >= variants) r.fail(`variant ${found}, but there are only ${variants}`, r.at - 1);
  return found;
}

function get(p: Layout, r: Reader, depth: number): unknown {
  switch (p.k) {
    case "lazy":
      return get(p.get(), r, depth);
    case "unit":
      return undefined;
    case "bool":
      return getFlag(r, "a bool") === 1;
    case "int":
      return getInteger(p.bits, p.signed, r);
    case "f32":
      return r.view.getFloat32(r.pass(4), true);
    case "f64":
      return r.view.getFloat64(r.pass(8), true);
    case "str":
      return r.string();
    case "url": {
      const at = r.at;
      const text = r.string();
      return SCHEME.test(text) ? text : r.fail("a URL that does not start with a scheme", at);
    }
    case "data": {
      const size = r.u32();
      if (size > MAX_DATA)
        r.fail(`${size} bytes announced, at most ${MAX_DATA} are allowed`, r.at - 4);
      return r.raw(size).slice();
    }
    case "time": {
      const time = new Date(Number(r.u64()));
      if (Number.isNaN(time.getTime())) r.fail("a time that a Date cannot be", r.at - 8);
      return time;
    }
    case "ip4":
      return formatIp(r.raw(4));
    case "ip6":
      return formatIp(r.raw(16));
    case "ip":
      return getIp(r);
    case "addr":
      return { ip: getIp(r), port: r.u16() };
    case "option": {
      if (!getFlag(r, "an option")) return null;
      const value = get(p.of, r, under(r, depth));
      return p.some ? { some: value } : value;
    }
    case "list":
      return getMany(r, r.u16(), () => get(p.of, r, under(r, depth)));
    case "tuple": {
      let at = 0;
      return getMany(r, p.of.length, () => get(p.of[at++]!, r, under(r, depth)));
    }
    case "set": {
      const keys = new Keys(p.of, r);
      const read = (): unknown => keys.note(() => get(p.of, r, under(r, depth)));
      return new Set(getMany(r, r.u16(), read));
    }
    case "map": {
      const keys = new Keys(p.key, r);
      return new Map(
        getMany(r, r.u16(), (): [unknown, unknown] => {
          const name = keys.note(() => get(p.key, r, under(r, depth)));
          return [name, get(p.of, r, under(r, depth))];
        }),
      );
    }
    case "struct": {
      const made: Record<string, unknown> = {};
      getFields(p.of, r, under(r, depth)).forEach((value, at) => (made[p.of[at]![0]] = value));
      return made;
    }
    case "enum":
      return p.values[getIndex(r, p.values.length)];
    case "union": {
      const variant = p.of[getIndex(r, p.of.length)]!;
      return { [variant[0]]: getFields([variant], r, under(r, depth))[0] };
    }
  }
}

function under(r: Reader, depth: number): number {
  if (!depth) r.fail(TOO_DEEP);
  return depth - 1;
}

function getMany<T>(r: Reader, size: number, read: () => T): T[] {
  const items: T[] = [];
  try {
    while (items.length < size) {
      const before = r.at;
      items.push(read());
      if (r.at === before && --r.empty < 0) r.fail(TOO_EMPTY);
    }
  } catch (error) {
    throw within(error, `[${items.length}]`);
  }
  return items;
}

/** The keys of one map or set so far: any order is taken, the same key twice is not. */
class Keys {
  #last: Uint8Array | null = null;
  #seen: Set<string> | null = null;
  readonly #all: Uint8Array[] = [];

  constructor(
    readonly layout: Layout,
    readonly r: Reader,
  ) {}

  note<T>(read: () => T): T {
    const start = this.r.at;
    const value = read();
    const bytes = this.r.buf.subarray(start, this.r.at);
    const order = this.#last ? compare(this.layout, this.#last, bytes) : -1;
    if (order > 0 && !this.#seen) this.#seen = new Set(this.#all.map(String));
    if (!order || this.#seen?.has(String(bytes))) this.r.fail("the same key twice", start);
    this.#seen?.add(String(bytes));
    this.#all.push(bytes);
    this.#last = bytes;
    return value;
  }
}

// ---- the order of keys: by value, as Rust's BTreeMap has it ----

function compare(layout: Layout, a: Uint8Array, b: Uint8Array): number {
  return walk(layout, new Reader(a), new Reader(b));
}

function walk(p: Layout, a: Reader, b: Reader): number {
  switch (p.k) {
    case "lazy":
      return walk(p.get(), a, b);
    case "str":
    case "url":
      return compareBytes(a.raw(a.u16()), b.raw(b.u16()));
    case "data":
      return compareBytes(a.raw(a.u32()), b.raw(b.u32()));
    case "ip":
    case "addr": {
      const [x, y] = [a, b].map((r) => r.raw(r.buf[r.at] === 4 ? 5 : 17));
      return compareBytes(x!, y!) || (p.k === "addr" ? a.u16() - b.u16() : 0);
    }
    case "ip4":
      return compareBytes(a.raw(4), b.raw(4));
    case "ip6":
      return compareBytes(a.raw(16), b.raw(16));
    case "list": {
      const [x, y] = [a.u16(), b.u16()];
      for (let i = 0; i < Math.min(x, y); i++) {
        const order = walk(p.of, a, b);
        if (order) return order;
      }
      return x - y;
    }
    case "option": {
      const [x, y] = [a.u8(), b.u8()];
      return x && y ? walk(p.of, a, b) : x - y;
    }
    case "enum":
      return a.u8() - b.u8();
    case "union": {
      const [x, y] = [a.u8(), b.u8()];
      return x - y || walk(p.of[x]![1], a, b);
    }
    case "tuple":
    case "struct":
      for (const each of p.of) {
        const order = walk("k" in each ? each : each[1], a, b);
        if (order) return order;
      }
      return 0;
    default: {
      const [x, y] = [a, b].map((r) => get(p, r, 0) as number);
      return x! < y! ? -1 : x! > y! ? 1 : 0;
    }
  }
}
