// Connections: one transport with its lanes; and the routes by which the calls of a service find a
// lane, over one connection after the other.
import { Reader } from "./bytes.ts";
import type { Call } from "./call.ts";
import { CallerLane, type Agreed } from "./caller.ts";
import type { CalleeLane } from "./callee.ts";
import { ConnectionLost, Unavailable, VersionMismatch } from "./errors.ts";
import { MSIZE, Splitter } from "./frame.ts";
import { DONE, ignore, later, messageOf } from "./lane.ts";
import type { Service } from "./service.ts";
import type { Session } from "./session.ts";
import type { CloseInfo, Transport } from "./transport.ts";

/** Streams that have lanes of their own at once: transports allow some hundred, and channels need theirs. */
const MAX_OWN = 64;

export const goingAway = (): Unavailable =>
  new Unavailable("the server is going away and has not begun the call");

export class Connection {
  draining = false;
  /** Its lanes break. */
  doubtful = false;
  /** Streams that have lanes of their own. */
  own = 0;
  /** All of them, ours and the peer's. */
  readonly lanes = new Set<CallerLane | CalleeLane>();
  /** Takes datagrams, if there are any. */
  readonly datagrams: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #labelled = new Map<bigint, CallerLane>();
  #label: bigint;
  #lost = false;
  #retired = false;

  constructor(
    readonly session: Session,
    readonly transport: Transport,
  ) {
    const { datagrams, closed, draining, incomingLanes } = transport;
    // The lowest bit tells our labels from the peer's.
    this.#label = session.$isClient ? 0n : 1n;
    this.datagrams = (datagrams?.writable ?? datagrams?.createWritable?.())?.getWriter();
    this.datagrams?.closed.catch(ignore);
    closed.then(
      (info) =>
        this.end(
          new ConnectionLost(
            `the peer closed the session: ${info.reason}`,
            info.closeCode ?? null,
            true,
          ),
          info,
        ),
      (error: unknown) =>
        this.end(new ConnectionLost(messageOf(error)), { reason: messageOf(error) }),
    );
    draining?.then(() => this.onGoingAway(), ignore);
    void each(incomingLanes, async (stream) => {
      // Few pages are called: what answers is loaded by those.
      const { CalleeLane: Made } = await import("./callee.ts");
      const lane = new Made(stream, this);
      if (this.#lost) return lane.kill(DONE);
      this.lanes.add(lane);
      void lane.run();
    });
    void each(datagrams?.readable, (datagram) => {
      const r = new Reader(datagram);
      const lane = this.#labelled.get(r.u64());
      const [frame] = new Splitter(MSIZE).push(r.raw(r.left));
      if (lane && frame) lane.onDatagram(frame);
    });
  }

  /** Opens a lane for a route, or for one of its calls. */
  async open(route: Route, own: Call | null, assumed: Agreed | null): Promise<CallerLane> {
    const lane = new CallerLane(await this.transport.openLane(), route, this, own, assumed);
    if (this.#lost) {
      lane.kill(DONE);
      throw this;
    }
    this.lanes.add(lane);
    void lane.run();
    return lane;
  }

  /** A name for the datagrams of a lane, which no lane of the peer's has; `null` if there are none. */
  label(lane: CallerLane): bigint | null {
    if (!this.datagrams) return null;
    const label = this.#label;
    this.#label += 2n;
    this.#labelled.set(label, lane);
    return label;
  }

  /** A lane is over. */
  forget(lane: CallerLane | CalleeLane): void {
    this.lanes.delete(lane);
    for (const [label, of] of this.#labelled) if (of === lane) this.#labelled.delete(label);
    this.rest();
  }

  /** The peer begins nothing more here. */
  onGoingAway(): void {
    if (this.draining || this.#lost) return;
    this.draining = true;
    this.session.$onDraining(this);
  }

  /** A lane broke as lanes do whose connection is gone. It will say so; one that does not is given up. */
  onDoubt(): void {
    this.doubtful = true;
    later(() => this.close(new ConnectionLost("its lanes broke")));
  }

  /** Another has taken its place: it closes when all has been answered. */
  retire(): void {
    this.#retired = true;
    this.rest();
  }

  /** Closes, if that is due. */
  rest(): void {
    if (this.#retired && ![...this.lanes].some((lane) => lane.pending)) this.close(goingAway());
  }

  close(error: Error, info: CloseInfo = {}): void {
    if (!this.#lost) this.transport.close(info);
    this.end(error, info);
  }

  end(error: Error, info: CloseInfo): void {
    if (this.#lost) return;
    this.#lost = true;
    // First of all, so that what is sent again waits for the next one.
    this.session.$onLost(this, error, info);
    for (const lane of [...this.lanes]) lane.lose(error);
  }
}

/** Does something with each that comes, as long as any do. What is wrong with one is not told. */
async function each<T>(
  source: ReadableStream<T> | undefined,
  take: (value: T) => Promise<void> | void,
): Promise<void> {
  const reader = source?.getReader();
  try {
    while (reader) {
      const { value, done } = await reader.read();
      if (done) return;
      try {
        await take(value);
      } catch {
        // Anything may happen to a datagram.
      }
    }
  } catch {
    // The connection says why it is gone.
  }
}

/** How the calls of one service find a lane. */
export class Route {
  #queue: Call[] = [];
  /** The lane that calls share, and the connection that it is on. */
  #main: CallerLane | null = null;
  #connection: Connection | null = null;
  #agreed: Agreed | null = null;
  #opening = false;

  constructor(
    readonly session: Session,
    readonly service: Service,
  ) {}

  add(call: Call): void {
    // A lane that was being opened may come to nothing when all is over.
    if (this.session.$error) return call.end(this.session.$error);
    this.#queue.push(call);
    this.flush();
  }

  /** Calls that were sent and came back go first, if they may be sent again. */
  #again(calls: Call[], error: unknown, isSafe: (call: Call) => boolean): void {
    const again = calls.filter(
      (call) => (this.session.$stays && !call.over && isSafe(call)) || call.end(error),
    );
    this.#queue.unshift(...again);
    this.flush();
  }

  /** Ends the calls that have not been sent. */
  fail(error: unknown, which: (call: Call) => boolean = () => true): void {
    for (const call of this.#queue) if (which(call)) call.end(error);
  }

  /** Sends what can be sent. */
  flush(): void {
    const connection = this.session.$current;
    if (this.#queue.length > 64) this.#queue = this.#queue.filter((call) => !call.over);
    if (!connection || connection.draining || connection.doubtful) return;
    if (connection !== this.#connection) {
      this.#connection = connection;
      this.#main = this.#agreed = null;
      this.#opening = false;
    }
    for (let call; (call = this.#queue[0]);) {
      const main = this.#main;
      const own =
        call.streams && connection.transport.manyLanes !== false && connection.own < MAX_OWN;
      if (!call.over && !own && !main) return void this.#open(connection, null);
      if (!call.over && !own && !(main!.agreed && main!.hasRoom(call.streams))) return;
      // What it does may lead here again.
      this.#queue.shift();
      if (call.over) continue;
      if (own) void this.#open(connection, call);
      else main!.start(call);
    }
  }

  async #open(connection: Connection, own: Call | null): Promise<void> {
    if (own) connection.own++;
    else if (this.#opening) return;
    else this.#opening = true;
    try {
      const lane = await connection.open(this, own, own && this.#agreed);
      if (own) {
        if (lane.agreed) this.#startOwn(lane);
      } else if (this.#connection === connection) {
        this.#main = lane;
        this.#opening = false;
      } else {
        this.#drop(lane);
      }
    } catch {
      // There are no more: it shares one, or goes on over the next connection, as the others do.
      if (!own) return connection.onDoubt();
      connection.own = MAX_OWN;
      this.add(own);
    }
  }

  #startOwn(lane: CallerLane): void {
    const call = lane.own!;
    if (!call.over) lane.start(call);
    // It may have been given up before, or be refused.
    if (call.over) this.#drop(lane);
  }

  #drop(lane: CallerLane): void {
    lane.kill(DONE);
    this.#forget(lane);
  }

  #forget(lane: CallerLane): void {
    if (lane.own) lane.connection.own--;
    if (lane === this.#main) this.#main = null;
    lane.connection.forget(lane);
  }

  // ---- what lanes tell ----

  /** The version is agreed: calls may be begun. */
  onAgreed(lane: CallerLane): void {
    if (lane.connection === this.#connection) this.#agreed = lane.agreed;
    if (!lane.own) this.flush();
    else if (!lane.own.lane) this.#startOwn(lane);
  }

  /** The called end has not begun these calls, and will not. */
  onNotBegun(calls: Call[]): void {
    this.#again(calls, goingAway(), (call) => !call.begun);
  }

  /**
   * A lane is over.
   *
   * @param error Why, for its calls; `null` if all is said.
   * @param lost The connection seems to be gone, too.
   * @param unbegun The peer has begun nothing that was sent here.
   */
  onEnd(lane: CallerLane, error: unknown, lost = false, unbegun = false): void {
    const calls = lane.dismantle();
    // One that was opened and has not been used is a call's, too.
    if (error && lane.own && !lane.own.lane) calls.push(lane.own);
    this.#forget(lane);
    if (error instanceof VersionMismatch && !lane.own) this.fail(error);
    const went = lost || lane.draining;
    this.#again(
      calls,
      error,
      (call) => unbegun || (went && (call.repeatable || (call.unsent && !call.begun))),
    );
  }
}
