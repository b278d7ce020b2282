// What has come of a stream and is not taken yet.
import { DecodeError } from "./errors.ts";

/** Who gives what an inbox holds. */
interface Source<T> {
  decode(payload: Uint8Array): T;
  /** An item of so many bytes was taken. */
  took(size: number): void;
  /** An item was no value of its type, which ends the stream. */
  failed(error: unknown): void;
}

interface Taker<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/** Items as they came, decoded when they are taken. */
export class Inbox<T> {
  /** Bytes that are held, as the windows count them. */
  held = 0;
  #items: { payload: Uint8Array; size: number }[] = [];
  readonly #takers: Taker<T>[] = [];
  #ended = false;
  #error: { readonly error: unknown } | null = null;

  constructor(readonly source: Source<T>) {}

  /** An item came; the payload is somebody else's afterwards. */
  push(payload: Uint8Array, size: number): void {
    if (this.#ended) return;
    // What it came in is larger, and would live as long.
    this.#items.push({ payload: this.#takers.length ? payload : payload.slice(), size });
    this.held += size;
    this.#serve();
  }

  /** An item came in whose place the one before is. */
  replace(payload: Uint8Array): void {
    this.#items = [];
    this.held = 0;
    this.push(payload, payload.length);
  }

  /** No more comes; with an error, that is told behind the items. */
  end(error?: { readonly error: unknown }): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error ?? null;
    this.#serve();
  }

  /** Nobody wants what is there. */
  drop(error: unknown): void {
    this.#items = [];
    this.held = 0;
    this.#ended = true;
    this.#error = { error };
    this.#serve();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
      this.#serve();
    });
  }

  #serve(): void {
    while (this.#takers.length && (this.#items.length || this.#ended)) {
      const taker = this.#takers.shift()!;
      const item = this.#items.shift();
      if (item) {
        this.held -= item.size;
        try {
          taker.resolve({ done: false, value: this.source.decode(item.payload) });
          this.source.took(item.size);
        } catch (error) {
          taker.reject(error);
          if (error instanceof DecodeError) this.source.failed(error);
        }
      } else if (this.#error) {
        taker.reject(this.#error.error);
      } else {
        taker.resolve({ done: true, value: undefined });
      }
    }
  }
}
