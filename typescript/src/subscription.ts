// Subscriptions: many items, then a result.
import type { Call, Settle } from "./call.ts";
import type { Metadata } from "./channel.ts";
import { ClosedError } from "./errors.ts";
import { Inbox } from "./inbox.ts";
import { ignore } from "./lane.ts";
import type { Method } from "./service.ts";
import { decode } from "./wire.ts";

/** Sends a subscription. It throws what is wrong with the arguments. Not part of the API. */
export type Begin = (inbox: Inbox<unknown>, settle: Settle) => Call;

/**
 * Items of a remote method, as they come, and its result at the end.
 *
 * The method begins with the first step of the loop, and ends when the loop is left. A method that
 * fails throws `CallError` out of the loop; a connection that is lost, or a server that goes away,
 * `ConnectionLost`; one that was given up, `ClosedError`. Items that are not taken stay at the other
 * end: little is held here.
 */
export class Subscription<T, R = void> implements AsyncIterable<T> {
  /** What the method returned; rejects if it ended otherwise. It settles once the loop has come to the end. */
  readonly result: Promise<R>;
  readonly #method: Method;
  readonly #inbox: Inbox<T>;
  #call: Call | undefined;
  #metadata: Metadata = {};
  #start!: () => void;
  #fail!: (error: unknown) => void;

  constructor(method: Method, begin: Begin) {
    this.#method = method;
    const inbox = new Inbox<T>(
      (payload) => decode(method.items!, payload, method.what) as T,
      (size) => this.#call?.lane?.took(this.#call, size),
      (error) => this.#fail(error),
    );
    this.#inbox = inbox;
    this.result = new Promise((resolve, reject) => {
      this.#fail = (error) => {
        this.#start = ignore;
        reject(error);
        inbox.fail(error);
        this.#call?.abandon(error);
      };
      this.#start = () => {
        this.#start = ignore;
        try {
          this.#call = begin(inbox, (ok, value, metadata) => {
            this.#metadata = metadata;
            if (ok) {
              resolve(value as R);
              inbox.end();
            } else {
              reject(value);
              inbox.fail(value, false);
            }
          });
        } catch (error) {
          this.#fail(error);
        }
      };
    });
    // The loop tells as well; nobody has to ask for the result.
    this.result.catch(ignore);
  }

  /** What the method said beside its items and its result; complete at the end. */
  get metadata(): Metadata {
    return this.#metadata;
  }

  /** The next item, for whoever does not loop. */
  next(): Promise<IteratorResult<T, undefined>> {
    this.#start();
    return this.#inbox.next();
  }

  /** Ends the method, as leaving the loop does. */
  async return(): Promise<IteratorResult<T, undefined>> {
    this.cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return this;
  }

  /** Ends the method: its generator is closed, its `finally` runs. Whoever waits for an item, or asks for one, gets a `ClosedError`. */
  cancel(): void {
    if (this.#call?.over && !this.#inbox.held) return;
    this.#fail(new ClosedError(`${this.#method.what} was given up before its end`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
  }
}
