// Promises that outlive renders: what suspends has no state of its own to keep them in.

/** Milliseconds that an answer is kept without a component that shows it. */
export const KEPT = 5000;

interface Entry {
  readonly promise: Promise<unknown>;
  readonly controller: AbortController;
  users: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class Cache {
  readonly #entries = new Map<string, Entry>();

  /** What was asked under this key, or is now. */
  read<T>(key: string, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const known = this.#entries.get(key);
    if (known) return known.promise as Promise<T>;
    const controller = new AbortController();
    const promise = new Promise<T>((resolve) => {
      resolve(ask(controller.signal));
    });
    const entry: Entry = { promise, controller, users: 0, timer: undefined };
    this.#entries.set(key, entry);
    const settled = (): void => this.#expire(key, entry);
    promise.then(settled, settled);
    return promise;
  }

  /** Keeps what is under this key while a component shows it. */
  hold(key: string, promise: Promise<unknown>): () => void {
    const entry = this.#entries.get(key);
    if (entry?.promise !== promise) return () => {};
    entry.users += 1;
    clearTimeout(entry.timer);
    return () => {
      entry.users -= 1;
      this.#expire(key, entry);
    };
  }

  /** Forgets, so that the next who reads asks. */
  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#entries.delete(key);
    entry.controller.abort();
  }

  /** Forgets all that nobody shows: what failed is among it. */
  forgetUnused(): void {
    for (const [key, entry] of this.#entries) if (!entry.users) this.forget(key);
  }

  #expire(key: string, entry: Entry): void {
    if (entry.users || this.#entries.get(key) !== entry) return;
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.forget(key), KEPT);
  }
}
