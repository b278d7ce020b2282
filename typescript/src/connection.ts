// Connections: one transport with its lanes; and the routes by which the calls of a service find a
// lane, over one connection after the other.
import { Reader, Writer } from "./bytes.ts";
import { Call } from "./call.ts";
import { CallerLane, type Agreed, type LaneEnd, type LaneOwner } from "./caller.ts";
import type { CalleeLane, CalleeOwner, Served } from "./callee.ts";
import { ConnectionLost, LimitExceeded, VersionMismatch, type JetStreamError } from "./errors.ts";
import { MSIZE, Splitter } from "./frame.ts";
import { DONE, ignore, later } from "./lane.ts";
import type { Service } from "./service.ts";
import { goingAway, type Session } from "./session.ts";
import type { CloseInfo, Transport } from "./transport.ts";

/** Streams that have lanes of their own at once: transports allow some hundred, and channels need theirs. */
const MAX_OWN = 64;
/** Calls of one service that wait for a connection. */
const MAX_WAITING = 65_536;
/** Milliseconds that a connection whose lanes break has to say that it is gone. */
const GRACE = 1000;

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Connection implements CalleeOwner {
  draining = false;
  /** Its lanes break. */
  doubtful = false;
  /** Streams that have lanes of their own. */
  own = 0;
  readonly #lanes = new Set<CallerLane | CalleeLane>();
  readonly #labelled = new Map<bigint, CallerLane>();
  #labels = 0n;
  #lost = false;
  #retired = false;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array> | null;

  constructor(
    readonly session: Session,
    readonly transport: Transport,
  ) {
    const writer = transport.datagrams?.writable.getWriter() ?? null;
    writer?.closed.catch(ignore);
    this.#writer = writer;
    transport.closed.then(
      (info) => {
        const why = info.reason ? `: ${info.reason}` : "";
        const code = info.closeCode ?? null;
        this.#end(new ConnectionLost(`the peer closed the session${why}`, code, true), info);
      },
      (error: unknown) => {
        const reason = text(error);
        this.#end(new ConnectionLost(`the connection was lost: ${reason}`), { reason });
      },
    );
    transport.draining?.then(() => this.onGoingAway(), ignore);
    void this.#accept();
    void this.#receive();
  }

  // ---- what comes ----

  async #accept(): Promise<void> {
    try {
      const reader = this.transport.incomingLanes.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done || this.#lost) return;
        // Few pages are called: what answers is loaded by those.
        const { CalleeLane: Made } = await import("./callee.ts");
        const lane = new Made(value, this);
        if (this.#lost) return lane.kill(DONE);
        this.#lanes.add(lane);
        void lane.run();
      }
    } catch {
      // The connection says why it is gone.
    }
  }

  async #receive(): Promise<void> {
    try {
      const reader = this.transport.datagrams?.readable.getReader();
      while (reader) {
        const { value, done } = await reader.read();
        if (done || this.#lost) return;
        this.#onDatagram(value);
      }
    } catch {
      // As above.
    }
  }

  /** Anything may happen to a datagram, so nothing is wrong with one that is of no use. */
  #onDatagram(datagram: Uint8Array): void {
    try {
      const r = new Reader(datagram);
      const lane = this.#labelled.get(r.u64());
      const [frame] = new Splitter(MSIZE).push(r.raw(r.left));
      if (lane && !lane.dead && frame) lane.onDatagram(frame);
    } catch {
      // It is no frame.
    }
  }

  // ---- what is answered ----

  get services(): ReadonlyMap<string, Served> {
    return this.session.$services;
  }

  get running(): { handlers: number; feeds: number } {
    return this.session.$running;
  }

  onError(error: unknown, what: string): void {
    this.session.$onError(error, what);
  }

  datagram(label: bigint, frame: Uint8Array): boolean {
    const most = this.transport.datagrams?.maxDatagramSize ?? 0;
    if (!this.#writer || frame.length + 8 > most || !(this.#writer.desiredSize! > 0)) return false;
    const out = new Writer();
    out.u64(label);
    out.raw(frame);
    this.#writer.write(out.take()).catch(ignore);
    return true;
  }

  onGone(lane: CalleeLane): void {
    this.#lanes.delete(lane);
    this.#rest();
  }

  // ---- what is called ----

  /** Opens a lane for a route, or for one of its calls. */
  async open(route: Route, own: Call | null, assumed: Agreed | null): Promise<CallerLane> {
    const stream = await this.transport.openLane();
    const lane = new CallerLane(stream, route.service, route, own, assumed);
    if (this.#lost) {
      lane.kill(DONE);
      throw new ConnectionLost("the connection was lost");
    }
    this.#lanes.add(lane);
    route.adopt(lane, this);
    void lane.run();
    return lane;
  }

  /** A name for the datagrams of a lane, which no lane of the peer's has. */
  label(lane: CallerLane): bigint | null {
    if (!this.transport.datagrams) return null;
    const label = 2n * this.#labels++ + (this.session.$isClient ? 0n : 1n);
    this.#labelled.set(label, lane);
    return label;
  }

  forget(lane: CallerLane): void {
    this.#lanes.delete(lane);
    for (const [label, of] of this.#labelled) if (of === lane) this.#labelled.delete(label);
    this.#rest();
  }

  // ---- the end ----

  /** The peer begins nothing more here. */
  onGoingAway(): void {
    if (this.draining || this.#lost) return;
    this.draining = true;
    this.session.$onDraining(this);
  }

  /** A lane broke as lanes do whose connection is gone. It will say so; one that does not is given up. */
  onDoubt(): void {
    if (this.doubtful || this.#lost) return;
    this.doubtful = true;
    later(GRACE, () => this.close({}));
  }

  /** Another has taken its place: it closes when all has been answered. */
  retire(): void {
    this.#retired = true;
    this.#rest();
  }

  #rest(): void {
    const busy = [...this.#lanes].some((lane) => !(lane instanceof CallerLane) || lane.pending);
    if (this.#retired && !busy) this.close({});
  }

  close(
    info: CloseInfo,
    error: JetStreamError = new ConnectionLost("the connection was lost"),
  ): void {
    try {
      this.transport.close(info);
    } catch {
      // It was closed before.
    }
    this.#end(error, info);
  }

  #end(error: JetStreamError, info: CloseInfo): void {
    if (this.#lost) return;
    this.#lost = true;
    // First of all, so that what is sent again waits for the next one.
    this.session.$onLost(this, error, info);
    for (const lane of [...this.#lanes]) {
      if (lane instanceof CallerLane) lane.lose(error);
      else lane.stop(DONE);
    }
    this.#lanes.clear();
  }
}

/** How the calls of one service find a lane. */
export class Route implements LaneOwner {
  #queue: Call[] = [];
  /** The lane that calls share, and the connection that it is on. */
  #main: CallerLane | null = null;
  #connection: Connection | null = null;
  #agreed: Agreed | null = null;
  #opening = false;
  readonly #homes = new Map<CallerLane, Connection>();

  constructor(
    readonly session: Session,
    readonly service: Service,
  ) {}

  get callTimeout(): number | null {
    return this.session.$callTimeout;
  }

  label(lane: CallerLane): bigint | null {
    return this.#homes.get(lane)?.label(lane) ?? null;
  }

  add(call: Call): void {
    if (this.#queue.length > MAX_WAITING) this.#queue = this.#queue.filter((each) => !each.over);
    const count = this.#queue.push(call);
    if (count > MAX_WAITING && !this.session.$current) {
      this.#queue.pop();
      const limit = "calls that wait for a connection";
      const setting = "Limits(max_waiting=...)";
      return call.end({ error: new LimitExceeded(limit, count, MAX_WAITING, "here", setting) });
    }
    this.flush();
  }

  adopt(lane: CallerLane, connection: Connection): void {
    this.#homes.set(lane, connection);
  }

  /** Ends the calls that have not been sent. */
  fail(error: unknown, which: (call: Call) => boolean = () => true): void {
    const queue = this.#queue;
    this.#queue = queue.filter((call) => !call.over && !which(call));
    for (const call of queue) if (which(call)) call.end({ error });
  }

  /** Sends what can be sent. */
  flush(): void {
    const connection = this.session.$current;
    if (!connection || connection.draining || connection.doubtful) return;
    if (connection !== this.#connection) {
      this.#connection = connection;
      this.#main = this.#agreed = null;
      this.#opening = false;
    }
    for (;;) {
      const call = this.#queue[0];
      if (!call) return;
      if (call.over) {
        this.#queue.shift();
      } else if (
        call.streams &&
        connection.transport.manyLanes !== false &&
        connection.own < MAX_OWN
      ) {
        this.#queue.shift();
        void this.#openOwn(connection, call);
      } else if (!this.#main || this.#main.dead) {
        void this.#openMain(connection);
        return;
      } else if (this.#main.agreed && this.#main.hasRoom(call.streams)) {
        this.#queue.shift();
        this.#main.start(call);
      } else {
        return;
      }
    }
  }

  async #openMain(connection: Connection): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    try {
      const lane = await connection.open(this, null, null);
      if (this.#connection === connection) this.#main = lane;
      else this.#drop(lane);
    } catch {
      // The calls wait for the next one.
      connection.onDoubt();
    } finally {
      if (this.#connection === connection) this.#opening = false;
    }
  }

  async #openOwn(connection: Connection, call: Call): Promise<void> {
    connection.own++;
    try {
      const lane = await connection.open(this, call, this.#agreed);
      this.#homes.set(lane, connection);
      if (lane.agreed) this.#startOwn(lane);
    } catch {
      // It shares one, or goes on over the next connection.
      connection.own = Math.max(
        connection.own - 1,
        connection === this.session.$current ? MAX_OWN : 0,
      );
      this.add(call);
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
    const connection = this.#homes.get(lane);
    if (!connection) return;
    this.#homes.delete(lane);
    if (lane.own) connection.own--;
    if (lane === this.#main) this.#main = null;
    connection.forget(lane);
  }

  // ---- what lanes tell ----

  onAgreed(lane: CallerLane, agreed: Agreed): void {
    if (this.#homes.get(lane) === this.#connection) this.#agreed = agreed;
    if (!lane.own) this.flush();
    else if (!lane.own.lane) this.#startOwn(lane);
  }

  onRoom(lane: CallerLane): void {
    if (lane === this.#main && this.#queue.length) this.flush();
  }

  onGoingAway(lane: CallerLane): void {
    this.#homes.get(lane)?.onGoingAway();
  }

  onNotBegun(_lane: CallerLane, calls: Call[]): void {
    const again = calls.filter((call) => {
      const possible = this.session.$stays && !call.parts.feed?.begun;
      if (!possible) call.end({ error: goingAway() });
      return possible;
    });
    this.#queue.unshift(...again);
    this.flush();
  }

  onEnd(lane: CallerLane, { error, lost, unbegun }: LaneEnd): void {
    const connection = this.#homes.get(lane);
    const calls = lane.dismantle();
    const refused = error instanceof VersionMismatch;
    // One that was opened and has not been used is a call's, too.
    if (lane.own && !lane.own.lane && !lane.own.over && error) calls.push(lane.own);
    this.#forget(lane);
    if (lost) connection?.onDoubt();
    const again: Call[] = [];
    for (const call of calls) {
      const isSafe = (unbegun && !refused) || call.repeatable || call.unsent;
      if (this.session.$stays && isSafe && (lost || unbegun || lane.draining)) {
        call.lane = null;
        again.push(call);
      } else {
        call.end({ error });
      }
    }
    if (refused && !lane.own) this.fail(error);
    this.#queue.unshift(...again);
    this.flush();
  }
}
