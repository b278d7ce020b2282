// What a service is, as generated modules declare it. No bytes, no lanes.
import { fields, unit, type Layout, type Plan } from "./plan.ts";
import type { Metadata } from "./channel.ts";
import type { Session } from "./session.ts";

/** Marks a parameter that is a stream from the caller. */
export interface StreamPlan<out T> {
  readonly $stream: Layout;
  /** Only for type checkers. */
  readonly $type?: T;
}

/** A parameter whose argument is an `AsyncIterable` (or any iterable) of items; a method has one at most. */
export const stream = <T>(of: Plan<T>): StreamPlan<T> => ({ $stream: of.$ });

/** A method as it is declared. */
export interface MethodDefinition {
  /** In order. The `Context` of Python's methods is none of them. */
  readonly params: readonly (readonly [name: string, plan: Plan<unknown> | StreamPlan<unknown>])[];
  /** What it returns; what a subscription returns at its end. Nothing if left out. */
  readonly result?: Plan<unknown>;
  /** The items of a subscription. */
  readonly items?: Plan<unknown>;
  /** Only the latest item counts. */
  readonly lossy?: boolean;
  /** It may run twice: it is sent again if its connection is lost. */
  readonly idempotent?: boolean;
}

/** A method, ready for use. Not part of the API. */
export interface Method {
  readonly index: number;
  readonly name: string;
  /** What it is called in messages. */
  readonly what: string;
  readonly params: readonly string[];
  /** The arguments that are values, which travel in this order. */
  readonly args: Layout;
  /** Which of the parameters is a stream; -1 if none. */
  readonly streamAt: number;
  readonly stream: Layout | undefined;
  readonly result: Layout;
  readonly items: Layout | undefined;
  readonly lossy: boolean;
  readonly idempotent: boolean;
}

/** A service: its name, its version, its methods. `H` is what an implementation has. */
export interface Service<H = unknown> {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly $methods: readonly Method[];
  /** Only for type checkers. */
  readonly $handler?: H;
}

/** What a served method is told about its call. */
export interface Context {
  /** The method, such as `echo.put`. */
  readonly method: string;
  /** What the caller says beside the arguments. */
  readonly metadata: Metadata;
  /** What is said beside the result; fill it before the method ends. */
  readonly replyMetadata: Record<string, Uint8Array | string>;
  /** Aborted when the caller gives up, when the time is over, when the session ends. */
  readonly signal: AbortSignal;
  /** The session that the call came over: for calls back. */
  readonly session: Session;
  /** Milliseconds that are left; `null` without a limit. */
  timeLeft(): number | null;
}

/**
 * Declares a service.
 *
 * @param name The name on the wire.
 * @param version `major.minor.patch`.
 * @param digest Tells builds apart; never decides.
 * @param methods In order of declaration, which is the contract.
 */
export function defineService<H extends object>(
  name: string,
  version: string,
  digest: string,
  methods: { readonly [K in keyof H]-?: MethodDefinition },
): Service<H> {
  const $methods = Object.entries(methods as Record<string, MethodDefinition>).map(
    ([method, given], index): Method => {
      const params = given.params as readonly (readonly [
        string,
        Plan<unknown> & StreamPlan<unknown>,
      ])[];
      const streamAt = params.findIndex(([, { $stream }]) => $stream);
      return {
        index,
        name: method,
        what: `${name}.${method}`,
        params: params.map(([param]) => param),
        args: fields(
          method,
          params.filter((_, at) => at !== streamAt).map(([param, { $ }]) => [param, $]),
        ).$,
        streamAt,
        stream: params[streamAt]?.[1].$stream,
        result: (given.result ?? unit).$,
        items: given.items?.$,
        lossy: !!given.lossy,
        idempotent: !!given.idempotent,
      };
    },
  );
  return { name, version, digest, $methods };
}
