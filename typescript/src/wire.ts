// Values become bytes and bytes values: every bound that a value has to pass, both ways.
import { formatIp, parseIp } from "./addresses.ts";
import { Malformed, Reader, Writer } from "./bytes.ts";
import { DecodeError, EncodeError } from "./errors.ts";
import type { Layout } from "./plan.ts";

/** Items in a list, bytes in a string, entries in a map or set. */
const MAX_COUNT = 65535;
/** Bytes in one value of bytes: the Rust crates refuse more. */
const MAX_DATA = 32 << 20;
/** How deep values may nest: a recursive type has no depth of its own, and the sender chooses it. */
const MAX_DEPTH = 128;

const SCHEME = /^[a-z][a-z\d+.-]*:/i;

/** The bytes of a value. */
export const encode = (layout: Layout, value: unknown, what: string): Uint8Array<ArrayBuffer> =>
  guarded(new Writer(), EncodeError, what, (out) => {
    put(layout, value, out);
    return out.take();
  });

/** The value that the bytes are. */
export const decode = (layout: Layout, bytes: Uint8Array, what: string): unknown =>
  guarded(new Reader(bytes), DecodeError, what, (r) => {
    const value = get(layout, r);
    r.end();
    return value;
  });

/** Says where something is wrong. */
function guarded<C extends Reader | Writer, T>(
  coder: C,
  Wrong: new (path: string, reason: string, offset: number) => Error,
  what: string,
  run: (coder: C) => T,
): T {
  try {
    return run(coder);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const steps = coder.path.map((step) =>
      typeof step === "number" ? `[${step}]` : /^(\[|$)/.test(step) ? step : `.${step}`,
    );
    throw new Wrong(what + steps.join(""), error.message, error.offset);
  }
}

/** Does what is one level further down, at `step`. */
function under<T>(coder: Reader | Writer, step: string | number, run: () => T): T {
  if (coder.path.push(step) > MAX_DEPTH) coder.fail("nested too deep");
  const done = run();
  coder.path.pop();
  return done;
}

/** One of many: as `under`, and there is a bound for those of no size. */
function each<T>(coder: Reader | Writer, step: string | number, run: () => T): T {
  const { at } = coder;
  const done = under(coder, step, run);
  if (coder.at === at && --coder.empty < 0) {
    coder.fail("too many elements of no size");
  }
  return done;
}

function put(p: Layout, value: unknown, out: Writer): unknown {
  const due = (what: string): never => {
    const found = typeof value === "object" ? "" : String(value).slice(0, 60);
    return out.fail(`${what} is due, not ${typeof value} ${found}`);
  };
  const fit = (ok: boolean): unknown => ok || due("something smaller");
  const isNumber = typeof value === "number";
  switch (p.k) {
    case "lazy":
      return put(p.get(), value, out);
    case "unit":
      return value == null || due("nothing");
    case "bool":
      return typeof value === "boolean" ? out.u8(+value) : due("a boolean");
    case "int": {
      const { bits, signed } = p;
      if (bits > 32) {
        if (typeof value !== "bigint") return due("a bigint");
        fit((signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) === value);
        for (let i = 0; i < bits; i += 64) out.u64(BigInt.asUintN(64, value >> BigInt(i)));
        return;
      }
      if (!isNumber || value % 1) return due("a whole number");
      const most = 2 ** (bits - +signed);
      fit(value >= (signed ? -most : 0) && value < most);
      for (let i = 0; i < bits; i += 8) out.u8(value >> i);
      return;
    }
    case "float": {
      if (!isNumber) return due("a number");
      const at = out.room(p.bits / 8);
      if (p.bits > 32) return out.view.setFloat64(at, value, true);
      fit(Number.isFinite(Math.fround(value)) || !Number.isFinite(value));
      return out.view.setFloat32(at, value, true);
    }
    case "str":
      // A lone surrogate has no UTF-8.
      if (typeof value !== "string" || /\p{Surrogate}/u.test(value)) return due("text");
      if (p.url && !SCHEME.test(value)) due("a URL with its scheme");
      return fit(out.string(value) <= MAX_COUNT);
    case "data":
      if (!(value instanceof Uint8Array)) return due("a Uint8Array");
      fit(value.length <= MAX_DATA);
      out.u32(value.length);
      return out.raw(value);
    case "time": {
      const at = value instanceof Date ? value.getTime() : NaN;
      return at >= 0 ? out.u64(BigInt(at)) : due("a Date of 1970 or later");
    }
    case "ip": {
      const bytes = typeof value === "string" && parseIp(value);
      if (!bytes || (p.size && p.size !== bytes.length)) return due("an IP address");
      if (!p.size) out.u8(bytes.length === 4 ? 4 : 6);
      return out.raw(bytes);
    }
    case "option": {
      out.u8(+(value != null));
      const inner = p.some ? (value as { some?: unknown } | null)?.some : value;
      return value != null && under(out, "", () => put(p.of, inner, out));
    }
    case "list":
      if (!Array.isArray(value)) return due("an array");
      fit(value.length <= MAX_COUNT);
      out.u16(value.length);
      for (let at = 0; at < value.length; at++) each(out, at, () => put(p.of, value[at], out));
      return;
    case "map": {
      if (!(value instanceof (p.of ? Map : Set))) return due(p.of ? "a Map" : "a Set");
      fit(value.size <= MAX_COUNT);
      out.u16(value.size);
      const { at } = out;
      const keys: Key[] = [];
      for (const [key, item] of value.entries()) {
        const from = out.at;
        each(out, typeof key === "string" ? `["${key}"]` : `[${String(key)}]`, () => {
          put(p.key, key, out);
          keys.push([atoms(p.key, new Reader(out.buf.subarray(from, out.at))), from]);
          return p.of && put(p.of, item, out);
        });
        keys.at(-1)!.push(out.at);
      }
      const bytes = out.buf.slice(0, out.at);
      out.at = at;
      for (const [, from, to] of sorted(keys, out)) out.raw(bytes.subarray(from, to));
      return;
    }
    case "tuple":
    case "struct":
      if (typeof value !== "object" || !value) return due(`a ${p.name}`);
      if (p.k === "tuple" && (value as []).length !== p.of.length) {
        due(`an array of ${p.of.length}`);
      }
      for (const [name, of] of p.of) {
        under(out, name, () => put(of, (value as Record<string, unknown>)[name], out));
      }
      return;
    case "enum": {
      const at = p.values.indexOf(value);
      return at < 0 ? due(`one of ${p.name}`) : out.u8(at);
    }
    case "union": {
      const [[name, inner] = [], ...more] = Object.entries(value ?? {}) as [string, unknown][];
      const at = p.of.findIndex(([variant]) => variant === name);
      if (more.length || at < 0) due(`one of ${p.of.map(([variant]) => `{ ${variant} }`)}`);
      out.u8(at);
      return under(out, name!, () => put(p.of[at]![1], inner, out));
    }
  }
}

function get(p: Layout, r: Reader): unknown {
  /** A byte below `end`. */
  const index = (end: number): number => {
    const found = r.u8();
    return found < end ? found : r.fail(`${found} where less than ${end} is due`, r.at - 1);
  };
  switch (p.k) {
    case "lazy":
      return get(p.get(), r);
    case "unit":
      return;
    case "bool":
      return !!index(2);
    case "int": {
      const { bits, signed } = p;
      if (bits > 32) {
        let value = 0n;
        for (let i = 0; i < bits; i += 64) value |= r.u64() << BigInt(i);
        return signed ? BigInt.asIntN(bits, value) : value;
      }
      let value = 0;
      for (let i = 0; i < bits; i += 8) value += r.u8() * 2 ** i;
      return signed && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
    }
    case "float": {
      const at = r.pass(p.bits / 8);
      return p.bits > 32 ? r.view.getFloat64(at, true) : r.view.getFloat32(at, true);
    }
    case "str": {
      const { at } = r;
      const text = r.string();
      return p.url && !SCHEME.test(text) ? r.fail("a URL without a scheme", at) : text;
    }
    case "data": {
      const size = r.u32();
      return size > MAX_DATA ? r.fail(`${size} bytes are too many`) : r.raw(size).slice();
    }
    case "time": {
      const time = new Date(Number(r.u64()));
      return +time >= 0 ? time : r.fail("a time that no Date can be", r.at - 8);
    }
    case "ip": {
      const { at } = r;
      const size = p.size || { 4: 4, 6: 16 }[r.u8()];
      return formatIp(r.raw(size ?? r.fail("no IP address", at)));
    }
    case "option": {
      if (!index(2)) return null;
      const value = under(r, "", () => get(p.of, r));
      return p.some ? { some: value } : value;
    }
    case "list": {
      const items: unknown[] = [];
      for (let left = r.u16(); left; left--) {
        items.push(each(r, items.length, () => get(p.of, r)));
      }
      return items;
    }
    case "map": {
      const entries: [unknown, unknown][] = [];
      const keys: Key[] = [];
      for (let left = r.u16(); left; left--) {
        entries.push(
          each(r, entries.length, () => {
            const { at } = r;
            const key = get(p.key, r);
            keys.push([atoms(p.key, new Reader(r.buf.subarray(at, r.at))), at]);
            return [key, p.of && get(p.of, r)];
          }),
        );
      }
      // Any order is taken, as the Rust crates do.
      sorted(keys, r);
      return p.of ? new Map(entries) : new Set(entries.map(([key]) => key));
    }
    case "tuple":
    case "struct": {
      const made: Record<string, unknown> = p.k === "tuple" ? ([] as never) : {};
      for (const [name, of] of p.of) made[name] = under(r, name, () => get(of, r));
      return made;
    }
    case "enum":
      return p.values[index(p.values.length)];
    case "union": {
      const [name, of] = p.of[index(p.of.length)]!;
      return { [name]: under(r, name, () => get(of, r)) };
    }
  }
}

// ---- the order of keys: by value, as Rust's BTreeMap has it ----

/** What a key is compared by, and where its entry begins and ends. */
type Key = [atoms: unknown[], from: number, to?: number];

/** What makes a key differ from others, most significant first. Its bytes are known to be well formed. */
function atoms(p: Layout, r: Reader): unknown[] {
  const text = (size: number): unknown[] => [
    Array.from(r.raw(size), (byte) => String.fromCharCode(byte)).join(""),
  ];
  switch (p.k) {
    case "lazy":
      return atoms(p.get(), r);
    case "str":
      return text(r.u16());
    case "data":
      return text(r.u32());
    case "ip":
      return text(p.size || (r.buf[r.at] === 4 ? 5 : 17));
    case "time":
      return [r.u64()];
    case "enum":
      return [r.u8()];
    case "list": {
      const all: unknown[] = [];
      for (let left = r.u16(); left; left--) all.push(1, ...atoms(p.of, r));
      // The shorter one comes first.
      return [...all, 0];
    }
    case "option":
      return r.u8() ? [1, ...atoms(p.of, r)] : [0];
    case "union": {
      const at = r.u8();
      return [at, ...atoms(p.of[at]![1], r)];
    }
    case "tuple":
    case "struct":
      return p.of.flatMap(([, of]) => atoms(of, r));
    default:
      return [get(p, r)];
  }
}

/** Puts keys in order; none comes twice. */
function sorted(keys: Key[], coder: Reader | Writer): Key[] {
  const order = ([a]: Key, [b]: Key): number => {
    const at = a.findIndex((atom, i) => atom !== b[i]);
    return at < 0 ? 0 : (a[at] as number) < (b[at] as number) ? -1 : 1;
  };
  keys.sort(order).forEach((key, i) => {
    if (i && !order(keys[i - 1]!, key)) coder.fail("the same key twice", key[1]);
  });
  return keys;
}
