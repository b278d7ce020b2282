// What travels, for the picture of it: messages out, messages in.
import { useSyncExternalStore } from "react";

export type Way = "out" | "in";

type Listener = (way: Way) => void;

const listeners = new Set<Listener>();
let counts = { out: 0, in: 0 };

function tell(way: Way): void {
  counts = { ...counts, [way]: counts[way] + 1 };
  for (const listener of listeners) listener(way);
}

/** Something leaves; gives it back. */
export function sent<T>(call: T): T {
  tell("out");
  return call;
}

/** Something came. */
export function received(): void {
  tell("in");
}

/** A call there and back. */
export async function call<T>(made: Promise<T>): Promise<T> {
  tell("out");
  try {
    return await made;
  } finally {
    tell("in");
  }
}

export function onTraffic(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useTraffic(): { readonly out: number; readonly in: number } {
  return useSyncExternalStore(onTraffic, () => counts);
}
