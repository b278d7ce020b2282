// Calls whose answers are shown.
import {
  use,
  useCallback,
  useEffect,
  useRef,
  useState,
  useTransition,
  type DependencyList,
} from "react";
import { useLatest, useProvided } from "./provider.ts";

/** An answer, and what became of asking for it. */
export interface RPC<T> {
  /** The last answer. It stays while another one is asked for, and when that fails. */
  readonly data: T | undefined;
  /** Why the last call failed; `null` if it did not. */
  readonly error: Error | null;
  /** Whether an answer is on its way. */
  readonly loading: boolean;
  /** Calls again; a call that is under way is given up. */
  readonly refetch: () => void;
}

type State<T> = Omit<RPC<T>, "refetch">;

/**
 * Calls when the component is mounted, and again whenever `deps` change.
 *
 * A call is given up when the next one begins and when the component is unmounted: `signal` is
 * aborted then, and its answer does not count any more.
 *
 * @param fn Such as `(signal) => echo.echo(text, { signal })`.
 * @param deps What `fn` depends on, as for `useEffect`.
 */
export function useRPC<T>(fn: (signal: AbortSignal) => Promise<T>, deps: DependencyList): RPC<T> {
  const [state, setState] = useState<State<T>>({ data: undefined, error: null, loading: true });
  const latest = useLatest(fn);
  const call = useRef<AbortController | null>(null);

  const begin = useCallback(() => {
    call.current?.abort();
    const own = (call.current = new AbortController());
    setState((before) => (before.loading ? before : { ...before, loading: true }));
    const settle = (change: Partial<State<T>>): void => {
      if (call.current !== own) return;
      setState((before) => ({ ...before, error: null, ...change, loading: false }));
    };
    new Promise<T>((resolve) => {
      resolve(latest.current(own.signal));
    }).then(
      (data) => settle({ data }),
      (error: unknown) => settle({ error: error as Error }),
    );
  }, [latest]);

  useEffect(() => {
    begin();
    return () => {
      call.current?.abort();
      call.current = null;
    };
    // The caller's, whose fn is read when it is called.
  }, [begin, ...deps]);

  // Unmounted, there is nobody to ask for.
  const refetch = useCallback(() => {
    if (call.current) begin();
  }, [begin]);
  return { ...state, refetch };
}

/** What tells one question from another. */
export type Key = readonly (string | number | bigint | boolean | null | undefined)[];

/** An answer that is there. */
export interface SuspenseRPC<T> {
  readonly data: T;
  /** Whether another answer is on its way; this one is shown meanwhile. */
  readonly loading: boolean;
  /** Calls again. */
  readonly refetch: () => void;
}

/**
 * The same for `<Suspense>`: the component waits for the answer, and an error is thrown to the
 * nearest error boundary; `useResetRPC` is for its "try again".
 *
 * A component that waits has no state, so the provider keeps the answer, under a key: whoever asks
 * with the same key below the same provider gets the same answer. It is forgotten some seconds
 * after nobody shows it any more.
 *
 * @param key What is asked, with all that it depends on: `["echo", text]`.
 * @param fn As for `useRPC`.
 */
export function useRPCSuspense<T>(
  key: Key,
  fn: (signal: AbortSignal) => Promise<T>,
): SuspenseRPC<T> {
  const { cache } = useProvided();
  const [loading, startTransition] = useTransition();
  const latest = useLatest(fn);
  const name = JSON.stringify(key.map((part) => [typeof part, String(part)]));
  // A state, so that what renders while another answer is on its way shows this one.
  let [shown, setShown] = useState(() => ({ cache, name, promise: cache.read(name, fn) }));
  if (shown.name !== name || shown.cache !== cache) {
    shown = { cache, name, promise: cache.read(name, fn) };
    setShown(shown);
  }
  const { promise } = shown;
  useEffect(() => cache.hold(name, promise), [cache, name, promise]);
  const refetch = useCallback(() => {
    cache.forget(name);
    const promise = cache.read(name, (signal) => latest.current(signal));
    startTransition(() => setShown({ cache, name, promise }));
  }, [cache, name, latest]);
  return { data: use(promise), loading, refetch };
}

/** Forgets answers that nobody shows, and errors with them: for what an error boundary's button does. */
export function useResetRPC(): () => void {
  const { cache } = useProvided();
  return useCallback(() => cache.forgetUnused(), [cache]);
}
