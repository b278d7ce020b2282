// Calls: what was asked, and who waits. Where they are carried is not known here.
import type { CallerLane } from "./caller.ts";
import type { Metadata } from "./channel.ts";
import { DeadlineExceeded, LimitExceeded } from "./errors.ts";
import { INITIAL_WINDOW } from "./ext.ts";
import { MSIZE } from "./frame.ts";
import type { Inbox } from "./inbox.ts";
import type { Method } from "./service.ts";
import { decode } from "./wire.ts";

/** What a limit says in addition that a result was over. */
export const RESULT_TOO_LARGE =
  "return less at once, or raise the setting on the side that is named";

/** What timers reach, in milliseconds: 31 bits. */
const REACH = 2 ** 31 - 1;

/** Does something later; what is further away than timers reach does not come. */
export const after = (span: number, run: () => void): ReturnType<typeof setTimeout> | undefined =>
  span < REACH ? setTimeout(run, Math.ceil(span)) : undefined;

/** Aborted when the time is over. */
export const timeLimit = (span: number): AbortSignal =>
  span < REACH ? AbortSignal.timeout(Math.max(0, Math.ceil(span))) : new AbortController().signal;

/** Refuses what would be a limit of no length. */
export function checkSpan(name: string, span: number | null | undefined): void {
  if (Number.isNaN(span)) throw new TypeError(`${name} is not a number`);
}

export function tooLarge(what: string, size: number, limit: number): LimitExceeded {
  const side = limit < MSIZE ? "peer" : "here";
  return new LimitExceeded(`message size of ${what}`, size, limit, side, "msize");
}

/** Is told how a call ended: with its result, or with an error. */
export type Settle = (ok: boolean, value: unknown, metadata: Metadata) => void;

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
  /** A stream that it carries. */
  readonly source: AsyncIterable<unknown> | Iterable<unknown> | undefined;
  /** Where a subscription's items go. */
  readonly inbox: Inbox<unknown> | null;
  /** Called once, when it is over. */
  readonly settle: Settle;
}

/** A call that waits for its reply, or a subscription for its end. */
export class Call {
  over = false;
  /** The lane that it was sent on. */
  lane: CallerLane | null = null;
  tag = 0;
  /** It was still here when its lane ended. */
  unsent = false;
  /** Bytes of its stream that the peer takes; that something of it has been sent, and cannot be again. */
  left = INITIAL_WINDOW;
  begun = false;
  /** Lets whoever feeds it go on, or closes the stream. */
  wake: (() => void) | null = null;
  close: (() => void) | null = null;
  /** When its time is over. */
  readonly until: number | null;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #abort = (): void => this.abandon(this.parts.signal!.reason);

  constructor(readonly parts: CallParts) {
    const { timeout, signal, method } = parts;
    this.until = timeout === null ? null : performance.now() + timeout;
    if (timeout !== null) {
      this.#timer = after(timeout, () => this.abandon(new DeadlineExceeded(method.what, timeout)));
    }
    signal?.addEventListener("abort", this.#abort);
  }

  /** Whether it gives or takes a stream. */
  get streams(): boolean {
    return !!(this.parts.inbox || this.parts.source);
  }

  /** Whether it may be sent a second time although the first may have been begun. */
  get repeatable(): boolean {
    return this.parts.method.idempotent && !this.streams;
  }

  /** It is over: with an error, or with the bytes of its result. */
  end(error: unknown, payload?: Uint8Array, metadata: Metadata | null = null): void {
    if (this.over) return;
    this.over = true;
    const { method, signal, settle } = this.parts;
    clearTimeout(this.#timer);
    signal?.removeEventListener("abort", this.#abort);
    this.wake?.();
    this.close?.();
    let [ok, value] = [!!payload, error];
    try {
      if (payload) value = decode(method.result, payload, method.what);
    } catch (wrong) {
      [ok, value] = [false, wrong];
    }
    settle(ok, value, metadata ?? {});
  }

  /** Gives it up: whoever waits gets the error, and the peer is told. */
  abandon(error: unknown): void {
    if (this.over) return;
    this.end(error);
    this.lane?.abandon(this);
  }
}
