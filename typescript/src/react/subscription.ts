// Subscriptions whose items are shown.
import { useEffect, useState, type DependencyList } from "react";
import { ConnectionLost } from "../errors.ts";
import type { Subscription } from "../subscription.ts";
import type { Link } from "./link.ts";
import { useLatest, useProvided } from "./provider.ts";

/** Items that are kept if nobody says. */
export const DEFAULT_LIMIT = 1000;

/** Milliseconds before another attempt, if the last one brought nothing. */
const PAUSE = 1000;

/** How a subscription is shown. */
export interface SubscriptionOptions {
  /** How many items are kept, at least 1: the last ones. Default: 1,000. */
  readonly limit?: number | undefined;
  /** Whether to subscribe again once a lost connection is back. Default: yes. */
  readonly resume?: boolean | undefined;
}

/** What came of a subscription, and where it stands. */
export interface SubscriptionState<T, R> {
  /** The last items, in order. */
  readonly items: readonly T[];
  readonly last: T | undefined;
  /** What it ended with. */
  readonly result: R | undefined;
  /** Why it failed; while it is `"reconnecting"`, why the connection was lost. */
  readonly error: Error | null;
  /** `"pending"` until the first item; `"done"` and `"failed"` are the end. */
  readonly status: "pending" | "live" | "reconnecting" | "done" | "failed";
}

const FIRST: SubscriptionState<never, never> = {
  items: [],
  last: undefined,
  result: undefined,
  error: null,
  status: "pending",
};

/**
 * Subscribes when the component is mounted, and anew whenever `deps` change.
 *
 * However fast items come, there is one render for a frame of the screen, and no more than `limit`
 * are kept. A lost connection is waited for, and `fn` called again with the last item, so that it
 * can ask for those after it; the items before stay.
 *
 * @param fn Such as `(last) => station.wind(last?.at ?? null)`.
 * @param deps What `fn` depends on, as for `useEffect`.
 */
export function useSubscription<T, R = void>(
  fn: (last: T | undefined) => Subscription<T, R>,
  deps: DependencyList,
  options: SubscriptionOptions = {},
): SubscriptionState<T, R> {
  const { link } = useProvided();
  const [state, setState] = useState<SubscriptionState<T, R>>(FIRST);
  const latest = useLatest({ fn, ...options });

  useEffect(() => {
    const leaving = new AbortController();
    const shown = new Shown<T, R>(latest, setState);
    void follow(link, latest, shown, leaving.signal);
    return () => {
      leaving.abort();
      shown.end();
    };
    // The caller's, whose fn is read when it is called.
  }, [link, latest, ...deps]);
  return state;
}

type Latest<T, R> = {
  readonly current: SubscriptionOptions & {
    readonly fn: (last: T | undefined) => Subscription<T, R>;
  };
};

async function follow<T, R>(
  link: Link,
  latest: Latest<T, R>,
  shown: Shown<T, R>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const before = shown.count;
    try {
      const subscription = latest.current.fn(shown.last);
      const cancel = (): void => subscription.cancel();
      signal.addEventListener("abort", cancel);
      try {
        for await (const item of subscription) shown.add(item);
        return shown.tell({ result: await subscription.result, error: null, status: "done" });
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    } catch (error) {
      if (signal.aborted) return;
      const failed = { error: error as Error, status: "failed" } as const;
      if (!(error instanceof ConnectionLost) || latest.current.resume === false)
        return shown.tell(failed);
      shown.tell({ error, status: "reconnecting" });
      // The loss may be known here before the session says so.
      if (shown.count === before) await pause(PAUSE, signal);
      if (!(await link.connected(signal))) return shown.tell(failed);
    }
  }
}

/** The items that are kept, and the renders that they cause. */
export class Shown<T, R> {
  readonly #latest: { readonly current: SubscriptionOptions };
  readonly #render: (state: SubscriptionState<T, R>) => void;
  #state: SubscriptionState<T, R> = FIRST;
  #kept: T[] = [];
  #frame: (() => void) | null = null;
  #isOver = false;
  /** Of all items that came. */
  count = 0;
  last: T | undefined;

  constructor(
    latest: { readonly current: SubscriptionOptions },
    render: (state: SubscriptionState<T, R>) => void,
  ) {
    this.#latest = latest;
    this.#render = render;
    // Those of other deps are not shown any longer; the first render has none.
    render(FIRST);
  }

  get #limit(): number {
    return Math.max(1, this.#latest.current.limit ?? DEFAULT_LIMIT);
  }

  /** How many items are in memory. */
  get held(): number {
    return this.#kept.length;
  }

  add(item: T): void {
    this.count += 1;
    this.last = item;
    this.#kept.push(item);
    // Not at every item, because that would move all others each time.
    if (this.#kept.length >= 2 * this.#limit) this.#kept = this.#kept.slice(-this.#limit);
    if (this.#state.status !== "live")
      this.#state = { ...this.#state, status: "live", error: null };
    this.#frame ??= onNextFrame(() => this.#show());
  }

  tell(change: Partial<SubscriptionState<T, R>>): void {
    this.#state = { ...this.#state, ...change };
    this.#show();
  }

  #show(): void {
    this.#frame?.();
    this.#frame = null;
    if (this.#isOver) return;
    const items = this.#kept.slice(-this.#limit);
    this.#state = { ...this.#state, items, last: this.last };
    this.#render(this.#state);
  }

  end(): void {
    this.#isOver = true;
    this.#frame?.();
  }
}

/** Runs something when the screen is drawn next, which a hidden page's is not; how to prevent it. */
function onNextFrame(run: () => void): () => void {
  if (typeof requestAnimationFrame === "function") {
    const id = requestAnimationFrame(run);
    return () => cancelAnimationFrame(id);
  }
  const id = setTimeout(run, 16);
  return () => clearTimeout(id);
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
