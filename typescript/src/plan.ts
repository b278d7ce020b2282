// Plans: how the values of one type are laid out on the wire, as values. Nothing here knows bytes.

/** How one kind of value is laid out. Not part of the API: names that begin with `$` are internal. */
export type Layout =
  | { readonly k: "unit" | "bool" | "data" | "time" }
  | { readonly k: "int"; readonly bits: number; readonly signed: boolean }
  | { readonly k: "float"; readonly bits: 32 | 64 }
  | { readonly k: "str"; readonly url: boolean }
  /** Of 4 or 16 bytes; 0 where it says so itself. */
  | { readonly k: "ip"; readonly size: number }
  | { readonly k: "list"; readonly of: Layout }
  | { readonly k: "option"; readonly of: Layout; readonly some: boolean }
  /** A set where there is nothing but keys. */
  | { readonly k: "map"; readonly key: Layout; readonly of: Layout | null }
  /** A tuple where names are numbers. */
  | { readonly k: "struct" | "tuple" | "union"; readonly name: string; readonly of: Parts }
  | {
      readonly k: "enum";
      readonly name: string;
      readonly names: readonly string[];
      readonly values: readonly unknown[];
    }
  | { readonly k: "lazy"; readonly get: () => Layout };

export type Parts = readonly (readonly [name: string | number, layout: Layout])[];

/** How values of type `T` are laid out on the wire. */
export interface Plan<out T> {
  readonly $: Layout;
  /** Only for type checkers. */
  readonly $type?: T;
}

/** The type of a plan's values. */
export type ValueOf<P> = P extends Plan<infer T> ? T : never;

const plan = <T>($: Layout): Plan<T> => ({ $ });
const int = <T>(bits: number, signed = false): Plan<T> => plan({ k: "int", bits, signed });

export const u8: Plan<number> = int(8);
export const u16: Plan<number> = int(16);
export const u32: Plan<number> = int(32);
export const u64: Plan<bigint> = int(64);
export const u128: Plan<bigint> = int(128);
export const i8: Plan<number> = int(8, true);
export const i16: Plan<number> = int(16, true);
export const i32: Plan<number> = int(32, true);
export const i64: Plan<bigint> = int(64, true);
export const i128: Plan<bigint> = int(128, true);
export const f32: Plan<number> = plan({ k: "float", bits: 32 });
export const f64: Plan<number> = plan({ k: "float", bits: 64 });
export const bool: Plan<boolean> = plan({ k: "bool" });
/** Nothing: Python's `None` where it is not one of several. */
export const unit: Plan<void> = plan({ k: "unit" });
export const string: Plan<string> = plan({ k: "str", url: false });
export const bytes: Plan<Uint8Array> = plan({ k: "data" });
/** A string that begins with a scheme, such as `https:`. */
export const url: Plan<string> = plan({ k: "str", url: true });
/** Milliseconds since 1970. A time that `Date` does not reach (275,760 and later) is refused. */
export const time: Plan<Date> = plan({ k: "time" });
/** As text, such as `192.0.2.1`. */
export const ip4: Plan<string> = plan({ k: "ip", size: 4 });
/** As text, such as `2001:db8::1`. */
export const ip6: Plan<string> = plan({ k: "ip", size: 16 });
/** An address of either version, as text. */
export const ip: Plan<string> = plan({ k: "ip", size: 0 });

/** An IP address and a port. */
export interface SocketAddress {
  readonly ip: string;
  readonly port: number;
}

export const list = <T>(of: Plan<T>): Plan<T[]> => plan({ k: "list", of: of.$ });
export const set = <T>(of: Plan<T>): Plan<Set<T>> => plan({ k: "map", key: of.$, of: null });
export const map = <K, V>(key: Plan<K>, of: Plan<V>): Plan<Map<K, V>> =>
  plan({ k: "map", key: key.$, of: of.$ });

/** A value or `null`; `undefined` is taken for `null` when it is sent. */
export const option = <T>(of: Plan<T>): Plan<T | null> =>
  plan({ k: "option", of: of.$, some: false });

/** Python's `Some[T] | None`: an option in an option, of which either may be empty. */
export const some = <T>(of: Plan<T>): Plan<{ readonly some: T } | null> =>
  plan({ k: "option", of: of.$, some: true });

export const tuple = <T extends readonly unknown[]>(
  ...of: { readonly [K in keyof T]: Plan<T[K]> }
): Plan<T> => plan({ k: "tuple", name: "tuple", of: of.map((each, at) => [at, each.$]) });

const parts = (of: object): Parts =>
  Object.entries(of as Record<string, Plan<unknown>>).map(([name, each]) => [name, each.$]);

/** An object with these fields, in this order. */
export const struct = <T extends object>(
  name: string,
  fields: { readonly [K in keyof T]-?: Plan<T[K]> },
): Plan<T> => plan({ k: "struct", name, of: parts(fields) });

export const socketAddress: Plan<SocketAddress> = struct<SocketAddress>("SocketAddress", {
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
): Plan<U> => plan({ k: "union", name, of: parts(variants) });

/**
 * One of a few constants. The plan has them as properties, too: `Colour.RED`.
 *
 * @param members The constants by name, in order of declaration; each value differs.
 */
export const enumeration = <const M extends Readonly<Record<string, string | number>>>(
  name: string,
  members: M,
): M & Plan<M[keyof M]> => ({
  ...members,
  $: { k: "enum", name, names: Object.keys(members), values: Object.values(members) },
});

/** A plan that is made later: for types that contain themselves. */
export const lazy = <T>(get: () => Plan<T>): Plan<T> => plan({ k: "lazy", get: () => get().$ });
