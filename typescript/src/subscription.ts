// Subscriptions: many items, then a result.
import type { Metadata } from "./channel.ts";

export interface Subscription<T, R = void> extends AsyncIterable<T>, AsyncDisposable {
  readonly result: Promise<R>;
  readonly metadata: Metadata;
  cancel(): void;
}
