// Calls: what was asked, who waits, and the stream that a request may carry. Where they are carried
// is not known here.
import type { Metadata } from "./channel.ts";
import { DeadlineExceeded, LimitExceeded } from "./errors.ts";
import { INITIAL_WINDOW } from "./ext.ts";
import { HEADER, MSIZE, TEND, TITEM } from "./frame.ts";
import type { Inbox } from "./inbox.ts";
import { HIGH, ignore } from "./lane.ts";
import type { CallerLane } from "./caller.ts";
import type { Layout } from "./plan.ts";
import type { Method } from "./service.ts";
import { encode } from "./wire.ts";

/** What a limit says in addition that a result was over. */
export const RESULT_TOO_LARGE =
  "return less at once, or raise the setting on the side that is named";

export function tooLarge(what: string, size: number, limit: number): LimitExceeded {
  const side = limit < MSIZE ? "peer" : "here";
  return new LimitExceeded(`message size of ${what}`, size, limit, side, "Limits(msize=...)");
}

/** How a call ended: with an error, or with the bytes of its result. */
export type Outcome = { readonly error: unknown } | { readonly payload: Uint8Array };

export interface CallParts {
  readonly method: Method;
  /** The arguments. */
  readonly body: Uint8Array;
  /** Milliseconds; `null` for no limit. */
  readonly timeout: number | null;
  readonly signal: AbortSignal | undefined;
  readonly metadata: Uint8Array | null;
  /** Whether it waits for a connection however long there has been none. */
  readonly waits: boolean;
  readonly feed: Feed | null;
  /** Where a subscription's items go. */
  readonly inbox: Inbox<unknown> | null;
  /** Called once, when it is over. */
  readonly settle: (outcome: Outcome, metadata: Metadata | null) => void;
}

/** A call that waits for its reply, or a subscription for its end. */
export class Call {
  over = false;
  /** The lane that it was sent on. */
  lane: CallerLane | null = null;
  tag = 0;
  /** It was still here when its lane ended. */
  unsent = false;
  /** When its time is over. */
  readonly until: number | null;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #abort = (): void => this.abandon(this.parts.signal!.reason);

  constructor(readonly parts: CallParts) {
    const { timeout, signal, method } = parts;
    this.until = timeout === null ? null : performance.now() + timeout;
    // Timers are of 31 bits, and so long nobody waits.
    if (timeout !== null && timeout < 2 ** 31) {
      const late = (): void => this.abandon(new DeadlineExceeded(method.what, timeout));
      this.#timer = setTimeout(late, Math.ceil(timeout));
    }
    signal?.addEventListener("abort", this.#abort);
  }

  /** Whether it gives or takes a stream. */
  get streams(): boolean {
    return !!(this.parts.inbox || this.parts.feed);
  }

  /** Whether it may be sent a second time although the first may have been begun. */
  get repeatable(): boolean {
    return this.parts.method.idempotent && !this.streams;
  }

  /** It is over: with an error, or with the bytes of its result. */
  end(error: unknown, payload?: Uint8Array, metadata: Metadata | null = null): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.#timer);
    this.parts.signal?.removeEventListener("abort", this.#abort);
    this.parts.feed?.stop();
    this.parts.settle(payload ? { payload } : { error }, metadata);
  }

  /** Gives it up: whoever waits gets the error, and the peer is told. */
  abandon(error: unknown): void {
    if (this.over) return;
    this.end(error);
    this.lane?.abandon(this);
  }
}

/** A stream from the caller, which goes as fast as it is taken. */
export class Feed {
  #left = INITIAL_WINDOW;
  #stopped = false;
  #wake: (() => void) | null = null;
  #items: AsyncIterator<unknown> | Iterator<unknown> | null = null;
  readonly #source: AsyncIterable<unknown> | Iterable<unknown>;
  readonly #layout: Layout;
  readonly #what: string;

  constructor(source: AsyncIterable<unknown> | Iterable<unknown>, layout: Layout, what: string) {
    this.#source = source;
    this.#layout = layout;
    this.#what = what;
  }

  /** Whether something of it was sent, which cannot be sent again. */
  get begun(): boolean {
    return this.#items !== null;
  }

  /** The peer takes more. */
  granted(bytes: number): void {
    this.#left += bytes;
    this.wake();
  }

  wake(): void {
    this.#wake?.();
    this.#wake = null;
  }

  /** The call is over: the iterator is closed. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.wake();
    // A generator that waits returns when it is stepped next.
    void (async () => this.#items?.return?.())().catch(ignore);
  }

  /** Sends items until there are no more. Never rejects. */
  async run(lane: CallerLane, call: Call): Promise<void> {
    try {
      const source = this.#source as AsyncIterable<unknown> & Iterable<unknown>;
      const items = (source[Symbol.asyncIterator] ?? source[Symbol.iterator]).call(source);
      this.#items = items;
      for (;;) {
        while (!this.#stopped && (this.#left <= 0 || lane.unsent > HIGH)) {
          await new Promise<void>((go) => (this.#wake = go));
        }
        if (this.#stopped) return;
        const item = await items.next();
        // The call may have ended meanwhile.
        if (this.#stopped as boolean) return;
        if (item.done) break;
        const bytes = encode(this.#layout, item.value, this.#what);
        const size = HEADER + bytes.length;
        const { limit } = lane.agreed!;
        if (size > limit) throw tooLarge(this.#what, size, limit);
        lane.put(TITEM, call.tag, bytes);
        this.#left -= size;
      }
      // What it might have done at its end, it has.
      this.#stopped = true;
      lane.put(TEND, call.tag);
    } catch (error) {
      call.abandon(error);
    }
  }
}
