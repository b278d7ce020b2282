// Subscriptions: many items, then a result.
import type { Call, Outcome } from "./call.ts";
import type { Metadata } from "./channel.ts";
import { ClosedError } from "./errors.ts";
import { Inbox } from "./inbox.ts";
import { ignore } from "./lane.ts";
import type { Method } from "./service.ts";
import { decode } from "./wire.ts";

/** Sends a subscription. It throws what is wrong with the arguments. Not part of the API. */
export type Begin = (
  inbox: Inbox<unknown>,
  settle: (outcome: Outcome, metadata: Metadata | null) => void,
) => Call;

/**
 * Items of a remote method, as they come, and its result at the end.
 *
 * The method begins with the first step of the loop, and ends when the loop is left. A method that
 * fails throws `CallError` out of the loop; a connection that is lost, or a server that goes away,
 * `ConnectionLost`; one that was given up, `ClosedError`. Items that are not taken stay at the other
 * end: little is held here.
 */
export class Subscription<T, R = void> implements AsyncIterable<T> {
  readonly #inbox: Inbox<T>;
  readonly #begin: Begin;
  readonly #method: Method;
  #call: Call | null = null;
  #begun = false;
  #metadata: Metadata = {};
  #resolve!: (result: R) => void;
  #reject!: (error: unknown) => void;
  /** What the method returned; rejects if it ended otherwise. It settles once the loop has come to the end. */
  readonly result: Promise<R>;

  constructor(method: Method, begin: Begin) {
    this.#method = method;
    this.#begin = begin;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The loop tells as well; nobody has to ask for the result.
    this.result.catch(ignore);
    this.#inbox = new Inbox<T>({
      decode: (payload) => decode(method.items!, payload, method.what) as T,
      took: (size) => this.#call?.lane?.took(this.#call, size),
      failed: (error) => this.#fail(error),
    });
  }

  /** What the method said beside its items and its result; complete at the end. */
  get metadata(): Metadata {
    return this.#metadata;
  }

  #start(): void {
    if (this.#begun) return;
    this.#begun = true;
    try {
      this.#call = this.#begin(this.#inbox as Inbox<unknown>, (outcome, metadata) => {
        this.#metadata = metadata ?? {};
        if ("payload" in outcome) {
          try {
            this.#resolve(decode(this.#method.result, outcome.payload, this.#method.what) as R);
            return this.#inbox.end();
          } catch (error) {
            outcome = { error };
          }
        }
        this.#reject(outcome.error);
        this.#inbox.end(outcome);
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#begun = true;
    this.#reject(error);
    this.#inbox.drop(error);
    this.#call?.abandon(error);
  }

  /** The next item, for whoever does not loop. */
  next(): Promise<IteratorResult<T, undefined>> {
    this.#start();
    return this.#inbox.next();
  }

  /** Ends the method, as leaving the loop does. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.cancel();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return this;
  }

  /** Ends the method: its generator is closed, its `finally` runs. Whoever waits for an item, or asks for one, gets a `ClosedError`. */
  cancel(): void {
    if (this.#call?.over && !this.#inbox.held) return;
    this.#fail(
      new ClosedError(`${this.#method.what}: the subscription was given up before its end`),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
  }
}
