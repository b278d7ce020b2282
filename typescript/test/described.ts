// Plans by the descriptions that Python makes of its annotations (python/jetstream/_schema.py), for tests.
import * as plans from "jetstream-client";
import type { Plan } from "jetstream-client";
import { encode as put, decode } from "../src/wire.ts";

/** A node: its kind, then the positions of what it is made of, and names. */
export type Node = readonly [kind: string, ...rest: unknown[]];

const LEAVES: Record<string, Plan<unknown>> = {
  str: plans.string,
  data: plans.bytes,
  url: plans.url,
  time: plans.time,
  ipv4: plans.ip4,
  ipv6: plans.ip6,
  ip: plans.ip,
  sockaddr: plans.socketAddress,
  unit: plans.unit,
  bool: plans.bool,
};

/** The plan whose root is the node at `at`. */
export function planOf(nodes: readonly Node[], at = 0): Plan<unknown> {
  const of = (position: unknown): Plan<unknown> => planOf(nodes, position as number);
  const named = (pairs: unknown): Record<string, Plan<unknown>> =>
    Object.fromEntries((pairs as [string, number][]).map(([name, each]) => [name, of(each)]));
  const [kind, first, second] = nodes[at]!;
  switch (kind) {
    case "list":
      return plans.list(of(first));
    case "set":
      return plans.set(of(first));
    case "map":
      return plans.map(of(first), of(second));
    case "tuple":
      return plans.tuple(...(first as number[]).map(of));
    case "option":
      return second ? plans.some(of(first)) : plans.option(of(first));
    case "struct":
      return plans.struct<object>("Struct", named(first) as never);
    case "union":
      return plans.union<object>("Union", named(first) as never);
    case "enum":
      return plans.enumeration(
        "Enum",
        Object.fromEntries((first as string[]).map((name) => [name, name])),
      );
    default:
      return LEAVES[kind] ?? (plans as unknown as Record<string, Plan<unknown>>)[kind]!;
  }
}

export const encode = (plan: Plan<unknown>, value: unknown): Uint8Array =>
  put(plan.$, value, "test");

export const reencode = (plan: Plan<unknown>, bytes: Uint8Array): Uint8Array =>
  encode(plan, decode(plan.$, bytes, "test"));

export const fromHex = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
