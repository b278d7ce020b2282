// What type checkers see: `npm run check` fails where one of these is not so.
import { expect, expectTypeOf, test } from "vitest";
import {
  bytes,
  enumeration,
  i64,
  list,
  map,
  option,
  set,
  some,
  string,
  struct,
  time,
  tuple,
  u8,
  union,
  unit,
  type CallOptions,
  type Plan,
  type Session,
  type Subscription,
  type ValueOf,
} from "jetstream-client";
import { pair } from "jetstream-client/testing";
import {
  Colour,
  Echo,
  EchoChannel,
  Shape,
  type EchoHandler,
  type Summary,
  type Tick,
} from "./generated-example.ts";

test("plans have the types of their values", () => {
  expectTypeOf<ValueOf<typeof u8>>().toEqualTypeOf<number>();
  expectTypeOf<ValueOf<typeof i64>>().toEqualTypeOf<bigint>();
  expectTypeOf<ValueOf<typeof unit>>().toEqualTypeOf<void>();
  expectTypeOf<ValueOf<typeof time>>().toEqualTypeOf<Date>();
  expectTypeOf<ValueOf<typeof bytes>>().toEqualTypeOf<Uint8Array>();
  expectTypeOf(list(string)).toEqualTypeOf<Plan<string[]>>();
  expectTypeOf(set(u8)).toEqualTypeOf<Plan<Set<number>>>();
  expectTypeOf(map(string, i64)).toEqualTypeOf<Plan<Map<string, bigint>>>();
  expectTypeOf(option(u8)).toEqualTypeOf<Plan<number | null>>();
  expectTypeOf(some(option(u8))).toEqualTypeOf<Plan<{ readonly some: number | null } | null>>();
  const pairOf: Plan<readonly [number, string]> = tuple(u8, string);
  expectTypeOf<ValueOf<typeof pairOf>>().toEqualTypeOf<readonly [number, string]>();
  expectTypeOf<Colour>().toEqualTypeOf<1 | 5 | 3>();
  expectTypeOf(Colour.RED).toEqualTypeOf<1>();
  expectTypeOf<ValueOf<typeof Shape>>().toEqualTypeOf<Shape>();
  expect(Colour.GREEN).toBe(5);
});

// Checked, and never run.
export function wrong(): void {
  // @ts-expect-error a field is left out
  struct<{ a: number; b: string }>("T", { a: u8 });
  // @ts-expect-error a field has another type
  struct<{ a: number }>("T", { a: string });
  // @ts-expect-error a list of something else
  struct<{ readonly a: readonly number[] }>("T", { a: list(string) });
  // @ts-expect-error a variant is left out
  union<{ readonly A: number } | { readonly B: string }>("U", { A: u8 });
  // @ts-expect-error a member is neither text nor a number
  enumeration("E", { A: true });
}

test("channels and handlers have the types of their methods", async () => {
  const { session, server } = await pair();
  const echo = session.channel(EchoChannel);
  expectTypeOf(echo).toEqualTypeOf<EchoChannel>();
  expectTypeOf(echo.ping).returns.toEqualTypeOf<Promise<void>>();
  const add: (a: number, b?: number, options?: CallOptions) => Promise<number> = echo.add;
  expect(add).toBeTypeOf("function");
  expectTypeOf(echo.ticks).returns.toEqualTypeOf<Subscription<Tick, Summary>>();
  expectTypeOf(echo.position).returns.toEqualTypeOf<Subscription<number, void>>();
  expectTypeOf<Awaited<Subscription<Tick, Summary>["result"]>>().toEqualTypeOf<Summary>();
  expectTypeOf(session).toEqualTypeOf<Session>();
  const check = (to: Session, handler: EchoHandler): void => {
    to.serve(Echo, handler);
    const { ping: _, ...rest } = handler;
    // @ts-expect-error a method is left out
    to.serve(Echo, rest);
    // @ts-expect-error another one
    to.serve(Echo, { ...handler, echo: (n: number) => n });
  };
  expect(() => check(server, {} as EchoHandler)).toThrow("echo.ping");
  await session.close();
});
