// Streams from the caller: items that a call carries, as fast as they are taken. Loaded with the first.
import { tooLarge, type Call } from "./call.ts";
import type { CallerLane } from "./caller.ts";
import { HEADER, TEND, TITEM } from "./frame.ts";
import { HIGH, ignore } from "./lane.ts";
import { encode } from "./wire.ts";

/** Sends the items of a call that has left on this lane. Never rejects. */
export async function feed(call: Call, lane: CallerLane): Promise<void> {
  const { method, source } = call.parts;
  if (call.over || call.lane !== lane) return;
  try {
    const both = source as AsyncIterable<unknown> & Iterable<unknown>;
    const items = (both[Symbol.asyncIterator] ?? both[Symbol.iterator]).call(both);
    call.begun = true;
    // A generator that waits returns when it is stepped next.
    call.close = () => void (async () => items.return?.())().catch(ignore);
    for (;;) {
      while (!call.over && (call.left <= 0 || lane.unsent > HIGH)) {
        await new Promise<void>((go) => (call.wake = go));
      }
      if (call.over) return;
      const item = await items.next();
      // It may have ended meanwhile.
      if (call.over as boolean) return;
      if (item.done) break;
      const bytes = encode(method.stream!, item.value, method.what);
      const size = HEADER + bytes.length;
      const { limit } = lane.agreed!;
      if (size > limit) throw tooLarge(method.what, size, limit);
      lane.put(TITEM, call.tag, bytes);
      call.left -= size;
    }
    // What it might have done at its end, it has.
    call.close = null;
    lane.put(TEND, call.tag);
  } catch (error) {
    call.abandon(error);
  }
}
