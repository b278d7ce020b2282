// Plans: how the values of one type are laid out on the wire. What a page does not use of them it does
// not load.
import { formatIp, parseIp } from "./addresses.ts";
import type { Reader, Writer } from "./bytes.ts";
import { MAX_COUNT, check, each, index, keyOf, sorted, textOf, under, type Key } from "./wire.ts";

/** Bytes in one value of bytes: the Rust crates refuse more. */
const MAX_DATA = 32 << 20;

const SCHEME = /^[a-z][a-z\d+.-]*:/i;

/** What is known of a layout beside how it is written: for other forms, such as JSON. */
export type Shape =
  | { readonly k: "unit" | "bool" | "data" | "time" | "float" | "str" | "ip" }
  | { readonly k: "int"; readonly bits: number }
  | { readonly k: "list"; readonly of: Layout }
  | { readonly k: "option"; readonly of: Layout; readonly some: boolean }
  /** A set where there is nothing but keys. */
  | { readonly k: "map"; readonly key: Layout; readonly of: Layout | null }
  | { readonly k: "struct" | "tuple" | "union"; readonly of: Parts }
  | { readonly k: "enum"; readonly names: readonly string[]; readonly of: readonly unknown[] }
  | { readonly k: "lazy"; readonly get$: () => Layout };

/** Named, or numbered. */
export type Parts = readonly (readonly [name: string | number, layout: Layout])[];

/** How one kind of value is laid out. Not part of the API: names that begin with `$` are internal. */
export type Layout = Shape & {
  put(value: unknown, out: Writer): unknown;
  get(r: Reader): unknown;
  /** What makes a key differ from others, most significant first. Its bytes are well formed. */
  atoms(r: Reader): unknown[];
};

/** How values of type `T` are laid out on the wire. */
export interface Plan<out T> {
  readonly $: Layout;
  /** Only for type checkers. */
  readonly $type?: T;
}

/** The type of a plan's values. */
export type ValueOf<P> = P extends Plan<infer T> ? T : never;

const plan = <T>(
  shape: Shape,
  // What is put has been checked by whoever put it.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  put: (value: any, out: Writer) => unknown,
  get: (r: Reader) => unknown,
  atoms = (r: Reader): unknown[] => [get(r)],
): Plan<T> => ({ $: { ...shape, put, get, atoms } });

const int = <T>(bits: number, signed = 0): Plan<T> => {
  const most = 2 ** (bits - signed);
  return plan(
    { k: "int", bits },
    (value, out) => {
      const whole = Number.isInteger(value) && value >= -most * signed && value < most;
      check(whole, value, out, `a whole number that fits`);
      for (let i = 0; i < bits; i += 8) out.u8(value >> i);
    },
    (r) => {
      let value = 0;
      for (let i = 0; i < bits; i += 8) value += r.u8() * 2 ** i;
      return signed && value >= most ? value - 2 * most : value;
    },
  );
};

const big = <T>(bits: number, fit: (bits: number, value: bigint) => bigint): Plan<T> =>
  plan(
    { k: "int", bits },
    (value, out) => {
      check(
        typeof value === "bigint" && fit(bits, value) === value,
        value,
        out,
        "a bigint that fits",
      );
      for (let i = 0; i < bits; i += 64) out.u64(BigInt.asUintN(64, value >> BigInt(i)));
    },
    (r) => {
      let value = 0n;
      for (let i = 0; i < bits; i += 64) value |= r.u64() << BigInt(i);
      return fit(bits, value);
    },
  );

export const u8: Plan<number> = /* @__PURE__ */ int(8);
export const u16: Plan<number> = /* @__PURE__ */ int(16);
export const u32: Plan<number> = /* @__PURE__ */ int(32);
export const u64: Plan<bigint> = /* @__PURE__ */ big(64, BigInt.asUintN);
export const u128: Plan<bigint> = /* @__PURE__ */ big(128, BigInt.asUintN);
export const i8: Plan<number> = /* @__PURE__ */ int(8, 1);
export const i16: Plan<number> = /* @__PURE__ */ int(16, 1);
export const i32: Plan<number> = /* @__PURE__ */ int(32, 1);
export const i64: Plan<bigint> = /* @__PURE__ */ big(64, BigInt.asIntN);
export const i128: Plan<bigint> = /* @__PURE__ */ big(128, BigInt.asIntN);

export const f32: Plan<number> = /* @__PURE__ */ plan(
  { k: "float" },
  (value, out) => {
    const fits = Number.isFinite(Math.fround(value)) || !Number.isFinite(value);
    check(typeof value === "number" && fits, value, out, "a number that fits");
    const at = out.room(4);
    out.view.setFloat32(at, value, true);
  },
  (r) => r.view.getFloat32(r.pass(4), true),
);
export const f64: Plan<number> = /* @__PURE__ */ plan(
  { k: "float" },
  (value, out) => {
    check(typeof value === "number", value, out, "a number");
    const at = out.room(8);
    out.view.setFloat64(at, value, true);
  },
  (r) => r.view.getFloat64(r.pass(8), true),
);
export const bool: Plan<boolean> = /* @__PURE__ */ plan(
  { k: "bool" },
  (value, out) => {
    check(typeof value === "boolean", value, out, "a boolean");
    out.u8(value);
  },
  (r) => !!index(r, 2),
);
/** Nothing: Python's `None` where it is not one of several. */
export const unit: Plan<void> = /* @__PURE__ */ plan(
  { k: "unit" },
  (value, out) => check(value == null, value, out, "nothing"),
  () => undefined,
);

const text = (form: RegExp, what: string): Plan<string> =>
  plan(
    { k: "str" },
    (value, out) => {
      // A lone surrogate has no UTF-8.
      const wellFormed = typeof value === "string" && !/\p{Surrogate}/u.test(value);
      check(wellFormed && form.test(value) && out.string(value) <= MAX_COUNT, value, out, what);
    },
    (r) => {
      const { at } = r;
      const found = r.string();
      return form.test(found) ? found : r.fail(`not ${what}`, at);
    },
    (r) => textOf(r.raw(r.u16())),
  );

export const string: Plan<string> = /* @__PURE__ */ text(/^/, "text of 65,535 bytes at most");
/** A string that begins with a scheme, such as `https:`. */
export const url: Plan<string> = /* @__PURE__ */ text(SCHEME, "a URL with its scheme");

export const bytes: Plan<Uint8Array> = /* @__PURE__ */ plan(
  { k: "data" },
  (value, out) => {
    check(
      value instanceof Uint8Array && value.length <= MAX_DATA,
      value,
      out,
      "a Uint8Array that fits",
    );
    out.u32(value.length);
    out.raw(value);
  },
  (r) => {
    const size = r.u32();
    return size > MAX_DATA ? r.fail(`${size} bytes are too many`, r.at - 4) : r.raw(size).slice();
  },
  (r) => textOf(r.raw(r.u32())),
);

/** Milliseconds since 1970. A time that `Date` does not reach (275,760 and later) is refused. */
export const time: Plan<Date> = /* @__PURE__ */ plan(
  { k: "time" },
  (value, out) => {
    check(value instanceof Date && +value >= 0, value, out, "a Date of 1970 or later");
    out.u64(BigInt(+value));
  },
  (r) => {
    const found = new Date(Number(r.u64()));
    return +found >= 0 ? found : r.fail("a time that no Date can be", r.at - 8);
  },
  (r) => [r.u64()],
);

/** Of 4 or 16 bytes; 0 where it says so itself. */
const address = (size: number): Plan<string> => {
  /** Its bytes, after how many they are. */
  const pass = (r: Reader): number =>
    size || { 4: 4, 6: 16 }[r.u8()] || r.fail("no IP address", r.at - 1);
  return plan(
    { k: "ip" },
    (value, out) => {
      const found = typeof value === "string" && parseIp(value);
      check(found && (size || found.length) === found.length, value, out, "an IP address");
      if (!size) out.u8((found as Uint8Array).length > 4 ? 6 : 4);
      out.raw(found as Uint8Array);
    },
    (r) => formatIp(r.raw(pass(r))),
    (r) => {
      const length = pass(r);
      return [length, ...textOf(r.raw(length))];
    },
  );
};

/** As text, such as `192.0.2.1`. */
export const ip4: Plan<string> = /* @__PURE__ */ address(4);
/** As text, such as `2001:db8::1`. */
export const ip6: Plan<string> = /* @__PURE__ */ address(16);
/** An address of either version, as text. */
export const ip: Plan<string> = /* @__PURE__ */ address(0);

export const list = <T>({ $: of }: Plan<T>): Plan<T[]> =>
  plan(
    { k: "list", of },
    (value, out) => {
      check(Array.isArray(value) && value.length <= MAX_COUNT, value, out, "an array that fits");
      out.u16(value.length);
      for (let at = 0; at < value.length; at++) each(out, at, () => of.put(value[at], out));
    },
    (r) => {
      const items: unknown[] = [];
      for (let left = r.u16(); left; left--) items.push(each(r, items.length, () => of.get(r)));
      return items;
    },
    (r) => {
      const all: unknown[] = [];
      for (let left = r.u16(); left; left--) all.push(1, ...of.atoms(r));
      // The shorter one comes first.
      return [...all, 0];
    },
  );

const entries = <T>(
  Made: MapConstructor | SetConstructor,
  key: Layout,
  of: Layout | null,
): Plan<T> =>
  plan(
    { k: "map", key, of },
    (value, out) => {
      check(
        value instanceof Made && value.size <= MAX_COUNT,
        value,
        out,
        `a ${Made.name} that fits`,
      );
      out.u16(value.size);
      const { at } = out;
      const keys: Key[] = [];
      for (const [name, item] of value.entries()) {
        const from = out.at;
        each(out, typeof name === "string" ? `["${name}"]` : `[${String(name)}]`, () => {
          key.put(name, out);
          keys.push(keyOf(key, out, from));
          return of?.put(item, out);
        });
        keys.at(-1)![2] = out.at;
      }
      const bytes = out.buf.slice(0, out.at);
      out.at = at;
      for (const [, from, to] of sorted(keys, out)) out.raw(bytes.subarray(from, to));
    },
    (r) => {
      const found: unknown[] = [];
      const keys: Key[] = [];
      for (let left = r.u16(); left; left--) {
        each(r, found.length, () => {
          const { at } = r;
          const name = key.get(r);
          keys.push(keyOf(key, r, at));
          found.push(of ? [name, of.get(r)] : name);
        });
      }
      // Any order is taken, as the Rust crates do.
      sorted(keys, r);
      return new (Made as SetConstructor)(found);
    },
    // Keys do not contain them.
    () => [],
  );

export const set = <T>(of: Plan<T>): Plan<Set<T>> => entries(Set, of.$, null);
export const map = <K, V>(key: Plan<K>, of: Plan<V>): Plan<Map<K, V>> => entries(Map, key.$, of.$);

const maybe = <T>(of: Layout, some: boolean): Plan<T> =>
  plan(
    { k: "option", of, some },
    (value, out) => {
      out.u8(+(value != null));
      if (value != null) under(out, "", () => of.put(some ? value.some : value, out));
    },
    (r) => {
      if (!index(r, 2)) return null;
      const value = under(r, "", () => of.get(r));
      return some ? { some: value } : value;
    },
    (r) => (r.u8() ? [1, ...of.atoms(r)] : [0]),
  );

/** A value or `null`; `undefined` is taken for `null` when it is sent. */
export const option = <T>(of: Plan<T>): Plan<T | null> => maybe(of.$, false);

/** Python's `Some[T] | None`: an option in an option, of which either may be empty. */
export const some = <T>(of: Plan<T>): Plan<{ readonly some: T } | null> => maybe(of.$, true);

const parts = (of: object): Parts =>
  Object.entries(of as Record<string, Plan<unknown>>).map(([name, each]) => [name, each.$]);

/** Values one after the other: those of an object, or of an array if `length` says how many. */
export const fields = <T>(name: string, of: Parts, length?: number): Plan<T> =>
  plan(
    { k: length === undefined ? "struct" : "tuple", of },
    (value, out) => {
      const fits = length === undefined || value?.length === length;
      check(typeof value === "object" && value && fits, value, out, `a ${name}`);
      for (const [name, each] of of) under(out, name, () => each.put(value[name], out));
    },
    (r) => {
      const made: Record<string, unknown> = length === undefined ? {} : ([] as never);
      for (const [name, each] of of) made[name] = under(r, name, () => each.get(r));
      return made;
    },
    (r) => of.flatMap(([, each]) => each.atoms(r)),
  );

export const tuple = <T extends readonly unknown[]>(
  ...of: { readonly [K in keyof T]: Plan<T[K]> }
): Plan<T> =>
  fields(
    `tuple of ${of.length}`,
    of.map((each, at) => [at, each.$]),
    of.length,
  );

/** An object with these fields, in this order. */
export const struct = <T extends object>(
  name: string,
  of: { readonly [K in keyof T]-?: Plan<T[K]> },
): Plan<T> => fields(name, parts(of));

/** An IP address and a port. */
export interface SocketAddress {
  readonly ip: string;
  readonly port: number;
}

export const socketAddress: Plan<SocketAddress> = /* @__PURE__ */ struct("SocketAddress", {
  ip,
  port: u16,
});

type KeysOf<U> = U extends unknown ? keyof U : never;

/** An object with one key, which says which of the variants its value is. */
export const union = <U extends object>(
  name: string,
  variants: {
    readonly [K in KeysOf<U>]: Plan<U extends { readonly [key in K]: infer V } ? V : never>;
  },
): Plan<U> => {
  const of = parts(variants);
  return plan(
    { k: "union", of },
    (value, out) => {
      const [[variant, inner] = [], ...more] = Object.entries(value ?? {});
      const at = of.findIndex(([name]) => name === variant);
      check(at >= 0 && !more.length, value, out, `a ${name}, such as { ${of[0]?.[0]} }`);
      out.u8(at);
      under(out, variant!, () => of[at]![1].put(inner, out));
    },
    (r) => {
      const [variant, each] = of[index(r, of.length)]!;
      return { [variant]: under(r, variant, () => each.get(r)) };
    },
    (r) => {
      const at = r.u8();
      return [at, ...of[at]![1].atoms(r)];
    },
  );
};

/**
 * One of a few constants. The plan has them as properties, too: `Colour.RED`.
 *
 * @param members The constants by name, in order of declaration; each value differs.
 */
export const enumeration = <const M extends Readonly<Record<string, string | number>>>(
  name: string,
  members: M,
): M & Plan<M[keyof M]> => {
  const of: unknown[] = Object.values(members);
  return {
    ...members,
    ...plan(
      { k: "enum", names: Object.keys(members), of },
      (value, out) => {
        check(of.includes(value), value, out, `one of ${name}`);
        out.u8(of.indexOf(value));
      },
      (r) => of[index(r, of.length)],
      (r) => [r.u8()],
    ),
  };
};

/** A plan that is made later: for types that contain themselves. */
export const lazy = <T>(get: () => Plan<T>): Plan<T> =>
  plan(
    { k: "lazy", get$: () => get().$ },
    (value, out) => get().$.put(value, out),
    (r) => get().$.get(r),
    (r) => get().$.atoms(r),
  );
