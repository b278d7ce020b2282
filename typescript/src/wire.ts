// What all values have in common on their way to bytes and back: bounds, and the place of what is wrong.
import { Malformed, Reader, Writer } from "./bytes.ts";
import { DecodeError, EncodeError } from "./errors.ts";
import type { Layout } from "./plan.ts";

/** Items in a list, bytes in a string, entries in a map or set. */
export const MAX_COUNT = 65535;
/** How deep values may nest: a recursive type has no depth of its own, and the sender chooses it. */
const MAX_DEPTH = 128;

/** The bytes of a value. */
export const encode = (layout: Layout, value: unknown, what: string): Uint8Array<ArrayBuffer> =>
  guarded(new Writer(), EncodeError, what, (out) => {
    layout.put(value, out);
    return out.take();
  });

/** The value that the bytes are. */
export const decode = (layout: Layout, bytes: Uint8Array, what: string): unknown =>
  guarded(new Reader(bytes), DecodeError, what, (r) => {
    const value = layout.get(r);
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
export function under<T>(coder: Reader | Writer, step: string | number, run: () => T): T {
  if (coder.path.push(step) > MAX_DEPTH) coder.fail("nested too deep");
  const done = run();
  coder.path.pop();
  return done;
}

/** One of many: as `under`, and there is a bound for those of no size. */
export function each<T>(coder: Reader | Writer, step: string | number, run: () => T): T {
  const { at } = coder;
  const done = under(coder, step, run);
  if (coder.at === at && --coder.empty < 0) coder.fail("too many elements of no size");
  return done;
}

/** Refuses a value unless it is all right. */
export function check(ok: unknown, value: unknown, out: Writer, what: string): void {
  if (ok) return;
  const found = typeof value === "object" ? "" : String(value).slice(0, 60);
  out.fail(`${what} is due, not ${typeof value} ${found}`);
}

/** A byte below `end`. */
export function index(r: Reader, end: number): number {
  const found = r.u8();
  if (found >= end) r.fail(`${found} where less than ${end} is due`, r.at - 1);
  return found;
}

// ---- the order of keys: by value, as Rust's BTreeMap has it ----

/** What a key is compared by, and where its entry begins and ends. */
export type Key = [atoms: unknown[], from: number, to?: number];

/** The key whose bytes have just been passed, since `from`. */
export const keyOf = (layout: Layout, { buf, at }: Reader | Writer, from: number): Key => [
  layout.atoms(new Reader(buf.subarray(from, at))),
  from,
];

/** Bytes as an atom, which is compared as they are. */
export const textOf = (bytes: Uint8Array): unknown[] => [
  Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""),
];

/** Puts keys in order; none comes twice. */
export function sorted(keys: Key[], coder: Reader | Writer): Key[] {
  const order = ([a]: Key, [b]: Key): number => {
    const at = a.findIndex((atom, i) => atom !== b[i]);
    return at < 0 ? 0 : (a[at] as number) < (b[at] as number) ? -1 : 1;
  };
  keys.sort(order).forEach((key, i) => {
    if (i && !order(keys[i - 1]!, key)) coder.fail("the same key twice", key[1]);
  });
  return keys;
}
