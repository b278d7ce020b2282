// What has come of a stream and is not taken yet.
import { ignore } from "./lane.ts";

/** Items as they came, decoded when they are taken. */
export class Inbox<T> {
  /** Bytes that are held, as the windows count them. */
  held = 0;
  #items: [payload: Uint8Array, size: number][] = [];
  #takers: (() => void)[] = [];
  /** What the end is to whoever takes. */
  #last: (() => IteratorResult<T, undefined>) | null = null;

  /**
   * @param decode Makes an item.
   * @param took Is told how many bytes were taken.
   * @param failed Is told that an item was no value of its type, which ends the stream.
   */
  constructor(
    readonly decode: (payload: Uint8Array) => T,
    readonly took: (size: number) => void,
    readonly failed: (error: unknown) => void = ignore,
  ) {}

  /** An item came. */
  push(payload: Uint8Array, size: number): void {
    if (this.#last) return;
    // What it came in is larger, and would live as long.
    this.#items.push([payload.slice(), size]);
    this.held += size;
    this.#wake();
  }

  /** An item came in whose place the one before is. */
  replace(payload: Uint8Array): void {
    this.#items = [];
    this.push(payload, (this.held = 0));
  }

  /** No more comes. */
  end(): void {
    this.#last ??= () => ({ done: true, value: undefined });
    this.#wake();
  }

  /** No more comes; an error is told, behind the items, if they are wanted still. */
  fail(error: unknown, dropped = true): void {
    if (this.#last && !dropped) return;
    if (dropped) this.#items = [];
    this.#last = () => {
      throw error;
    };
    this.#wake();
  }

  #wake(): void {
    for (const go of this.#takers.splice(0)) go();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    while (!this.#items.length && !this.#last) {
      await new Promise<void>((go) => this.#takers.push(go));
    }
    const item = this.#items.shift();
    if (!item) return this.#last!();
    this.held -= item[1];
    try {
      const value = this.decode(item[0]);
      this.took(item[1]);
      return { done: false, value };
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }
}
