// The calling end of a lane: the version, tags, what a reply may be, and what becomes of calls that
// are given up. Which lane a call takes is not decided here.
import { Reader } from "./bytes.ts";
import { tooLarge, type Call } from "./call.ts";
import type { Metadata } from "./channel.ts";
import {
  CallError,
  ConnectionLost,
  DeadlineExceeded,
  LocalProtocolError,
  RemoteProtocolError,
  Unavailable,
  VersionMismatch,
  type LimitExceeded,
} from "./errors.ts";
import {
  INITIAL_WINDOW,
  STREAM_WINDOW,
  Window,
  microseconds,
  readFault,
  readMetadata,
} from "./ext.ts";
import {
  CREDIT,
  FIRST_METHOD,
  GOAWAY,
  HEADER,
  LABEL,
  LOSSY,
  MIN_MSIZE,
  MSIZE,
  NO_TAG,
  RCANCEL,
  RDONE,
  RERROR,
  RMETA,
  RVERSION,
  TCANCEL,
  TIME,
  TMETA,
  TVERSION,
  type Frame,
} from "./frame.ts";
import { DONE, Lane, PROTOCOL, SHUTDOWN, streamCode } from "./lane.ts";
import type { Service } from "./service.ts";
import type { LaneStream } from "./transport.ts";
import {
  ACCEPT,
  OFFER,
  UNKNOWN,
  isMarked,
  parseVersion,
  putVersion,
  readVersion,
  serves,
  versionOf,
} from "./version.ts";

/** Calls, and streams beside them, that hold a tag at once. With one tag each to cancel them they are below 65,535. */
const MAX_CALLS = 16384;
const MAX_STREAMS = 1024;

/** What two ends agreed on. */
export interface Agreed {
  /** The largest frame that the peer takes. */
  readonly limit: number;
  /** Whether the extension is spoken. */
  readonly extension: boolean;
}

/** What is expected under a tag. */
interface Slot {
  /** `null`: given up by us, and not yet answered. Its tag cannot be another call's until then. */
  call: Call | null;
  readonly reply: number;
  readonly streams: boolean;
  readonly subscription: boolean;
  readonly window: Window | null;
  /** The number of the latest item of a lossy subscription. */
  latest: number;
  /** Where in what the lane sends the request begins. */
  readonly at: number;
  /** What came before the answer, or why that is not taken. */
  metadata: Metadata | { readonly error: unknown } | null;
}

/** Why a lane is over, for its owner to decide what becomes of its calls. */
export interface LaneEnd {
  readonly error: unknown;
  /** The connection seems to be gone, too. */
  readonly lost: boolean;
  /** The peer has begun nothing that was sent here. */
  readonly unbegun: boolean;
}

export interface LaneOwner {
  /** Milliseconds that calls have that do not say. */
  readonly callTimeout: number | null;
  /** A name for the datagrams of a lane; `null` where there are none. */
  label(lane: CallerLane): bigint | null;
  /** The version is agreed: calls may be begun. */
  onAgreed(lane: CallerLane, agreed: Agreed): void;
  /** A tag has become free. */
  onRoom(lane: CallerLane): void;
  /** The called end begins nothing more. */
  onGoingAway(lane: CallerLane): void;
  /** It has not begun these calls. */
  onNotBegun(lane: CallerLane, calls: Call[]): void;
  onEnd(lane: CallerLane, end: LaneEnd): void;
}

export class CallerLane extends Lane {
  /** `null` until calls may be begun. */
  agreed: Agreed | null;
  draining = false;
  #versioned = false;
  #timed = false;
  #labelled = false;
  #retired = false;
  readonly #slots: (Slot | { readonly target: number; readonly of: Slot } | undefined)[] = [];
  readonly #free: number[] = [];
  #calls = 0;
  #streams = 0;

  /**
   * @param own The one call that it is for; `null` for a lane that calls share.
   * @param assumed What the peer has answered on another lane of this connection.
   */
  constructor(
    stream: LaneStream,
    readonly service: Service,
    readonly owner: LaneOwner,
    readonly own: Call | null,
    assumed: Agreed | null,
  ) {
    super(stream);
    this.agreed = assumed;
    this.put(TVERSION, NO_TAG, putVersion(MSIZE, versionOf(service, OFFER)));
  }

  get limit(): number {
    return this.agreed?.limit ?? MSIZE;
  }

  get limitIsOurs(): boolean {
    return this.limit === MSIZE;
  }

  /** Whether a call that comes now gets a tag at once. */
  hasRoom(streams: boolean): boolean {
    return streams ? this.#streams < MAX_STREAMS : this.#calls < MAX_CALLS;
  }

  get pending(): number {
    return this.#calls + this.#streams;
  }

  // ---- what goes out ----

  #tag(): number {
    return this.#free.pop() ?? this.#slots.length;
  }

  #release(tag: number, slot: Slot): void {
    this.#slots[tag] = undefined;
    this.#free.push(tag);
    if (slot.streams) this.#streams--;
    else this.#calls--;
  }

  /** Sends a call; there is room. */
  start(call: Call): void {
    const { method, body, metadata, feed, inbox, timeout } = call.parts;
    const { extension, limit } = this.agreed!;
    const size = Math.max(HEADER + body.length, metadata ? HEADER + 8 + metadata.length : 0);
    if (size > limit) {
      return call.end({ error: tooLarge(method.what, size, limit, this.limitIsOurs) });
    }
    if (!extension && (feed || metadata)) {
      const error = new LocalProtocolError(
        `${method.what}: the peer does not know ${feed ? "streams from the caller" : "metadata"}`,
      );
      return call.end({ error });
    }
    if (extension && !this.#timed) {
      this.#timed = true;
      const usual = this.owner.callTimeout;
      if (usual !== null) this.put(TIME, NO_TAG, (out) => out.u64(microseconds(usual)));
    }
    if (extension && method.lossy && !this.#labelled) {
      const label = this.owner.label(this);
      if (label !== null) {
        this.#labelled = true;
        this.put(LABEL, NO_TAG, (out) => out.u64(label));
      }
    }
    const tag = this.#tag();
    call.lane = this;
    call.tag = tag;
    if (call.streams) this.#streams++;
    else this.#calls++;
    if (extension && (metadata || timeout !== this.owner.callTimeout)) {
      const left = call.until === null ? null : call.until - performance.now();
      this.put(TMETA, tag, (out) => {
        out.u64(microseconds(left));
        if (metadata) out.raw(metadata);
        else out.u16(0);
      });
    }
    const kind = FIRST_METHOD + 2 * method.index;
    this.#slots[tag] = {
      call,
      reply: kind + 1,
      streams: call.streams,
      subscription: !!inbox,
      window: inbox && extension ? new Window(STREAM_WINDOW) : null,
      latest: 0,
      at: this.sent + this.out.at,
      metadata: null,
    };
    this.put(kind, tag, body);
    if (inbox && extension) this.#credit(tag, STREAM_WINDOW - INITIAL_WINDOW);
    if (feed) void feed.run(this, call);
  }

  #credit(tag: number, bytes: number): void {
    this.put(CREDIT, tag, (out) => out.u32(bytes));
  }

  /** An item of a subscription was taken. */
  took(call: Call, size: number): void {
    const slot = this.#slots[call.tag];
    if (slot && "reply" in slot && slot.call === call) {
      const grant = slot.window?.took(size);
      if (grant) this.#credit(call.tag, grant);
    }
    this.#resume?.();
  }

  /** A call is over at our end: the peer is told, if it would understand. */
  abandon(call: Call): void {
    if (this.dead) return;
    if (this.own) return this.#end({ error: null, lost: false, unbegun: false }, DONE);
    const slot = this.#slots[call.tag];
    if (!slot || !("reply" in slot) || slot.call !== call) return;
    slot.call = null;
    slot.metadata = null;
    this.#resume?.();
    if (!this.agreed?.extension && !slot.subscription) return;
    const tag = this.#tag();
    this.#slots[tag] = { target: call.tag, of: slot };
    this.put(TCANCEL, tag, (out) => {
      out.u16(call.tag);
      out.u64(0n);
    });
  }

  // ---- what comes back ----

  /** An item of a lossy subscription came as a datagram. Nothing is wrong with one that is of no use. */
  onDatagram(frame: Frame): void {
    const slot = this.#slots[frame.tag];
    if (frame.kind === LOSSY && slot && "reply" in slot && this.#isLossy(slot)) {
      this.#latest(slot, frame);
    }
  }

  #isLossy(slot: Slot): boolean {
    return !!slot.call?.parts.method.lossy;
  }

  /** Takes an item if it is later than the one before. Numbers go round. */
  #latest(slot: Slot, frame: Frame): void {
    const r = new Reader(frame.payload);
    const number = r.u32();
    const ahead = (number - slot.latest) >>> 0;
    if (!ahead || ahead >= 2 ** 31) return;
    slot.latest = number;
    slot.call?.parts.inbox?.replace(r.raw(r.left));
  }

  protected override onFrame(frame: Frame): void {
    const { kind, tag, payload } = frame;
    if (!this.#versioned) return this.#onVersion(frame);
    const found = this.#slots[tag];
    if (kind === RCANCEL && found && "target" in found) {
      const target = new Reader(payload).u16();
      if (payload.length !== 2 || target !== found.target) this.#wrong(kind, tag);
      this.#slots[tag] = undefined;
      this.#free.push(tag);
      // Its tag may be another call's by now.
      if (this.#slots[target] === found.of) this.#release(target, found.of);
      return;
    }
    const slot = found && "reply" in found ? found : undefined;
    if (this.agreed!.extension) {
      switch (kind) {
        case GOAWAY:
          return this.#onGoaway(tag, slot);
        case CREDIT: {
          const r = new Reader(payload);
          const bytes = r.u32();
          r.end();
          // Without a stream it crossed the end of the call.
          return slot?.call?.parts.feed?.granted(bytes);
        }
        case RMETA:
          if (!slot) return this.#wrong(kind, tag);
          return this.#onMetadata(slot, payload);
      }
    }
    if (!slot) return this.#wrong(kind, tag);
    const cancelled = kind === RDONE && payload.length === 1 && !payload[0];
    if (slot.subscription && (kind === slot.reply || kind === LOSSY)) {
      return this.#onItem(slot, frame);
    }
    const done = slot.subscription && kind === RDONE && payload[0] === slot.reply - 1;
    if (kind !== RERROR && !cancelled && !done && (slot.subscription || kind !== slot.reply)) {
      this.#wrong(kind, tag);
    }
    const { call, metadata } = slot;
    const fault = kind === RERROR ? readFault(payload) : null;
    this.#release(tag, slot);
    if (!call) return;
    if (fault) {
      call.end({ error: this.#told(call, fault) }, isError(metadata) ? null : metadata);
    } else if (cancelled) {
      const what = `${call.parts.method.what} was cancelled`;
      call.end({ error: new CallError(what, { code: "jetstream::cancelled" }) });
    } else if (isError(metadata)) {
      call.end(metadata);
    } else {
      call.end({ payload: done ? payload.subarray(1) : payload }, metadata);
    }
  }

  /** What a fault is to the caller. */
  #told(call: Call, fault: CallError | LimitExceeded): unknown {
    const { method, timeout, inbox } = call.parts;
    if (fault.code === DeadlineExceeded.defaultCode && call.until !== null) {
      // The peer's clock was first by a moment, and it is our time that is over.
      const left = call.until - performance.now();
      if (left < timeout! / 10 + 10) return new DeadlineExceeded(method.what, timeout!);
    }
    // A called end that goes away has said so before it ends a subscription for that.
    return inbox && this.draining && fault.code === Unavailable.defaultCode
      ? new ConnectionLost(fault.message, null, true)
      : fault;
  }

  #wrong(kind: number, tag: number): never {
    throw new RemoteProtocolError(`a frame of type ${kind} under tag ${tag}, which is not due`);
  }

  #onMetadata(slot: Slot, payload: Uint8Array): void {
    if (!slot.call) return;
    try {
      slot.metadata = readMetadata(
        new Reader(payload),
        `the answer of ${slot.call.parts.method.what}`,
      );
    } catch (error) {
      // Only a limit that the peer could not know spares the lane.
      if (!(error instanceof Error) || error.name !== "LimitExceeded") throw error;
      slot.metadata = { error };
    }
  }

  /** Whether reading goes on, where only the transport holds a subscription up. */
  #resume: (() => void) | null = null;

  #onItem(slot: Slot, { kind, tag, payload }: Frame): void {
    const size = HEADER + payload.length;
    if (slot.window && !slot.window.arrived(size)) {
      throw new RemoteProtocolError(`an item under tag ${tag}, which was not granted`);
    }
    const inbox = slot.call?.parts.inbox;
    if (!inbox) {
      // What is on its way to nobody must not use the window up: the end comes behind it.
      const grant = slot.window?.took(size);
      if (grant) this.#credit(tag, grant);
      return;
    }
    if (this.#isLossy(slot)) {
      const grant = slot.window?.took(size);
      if (grant) this.#credit(tag, grant);
      if (kind !== LOSSY) inbox.replace(payload);
      else this.#latest(slot, { kind, tag, payload });
    } else if (kind === LOSSY) {
      this.#wrong(kind, tag);
    } else {
      inbox.push(payload, size);
      if (!slot.window && !this.own && inbox.held > STREAM_WINDOW) {
        // Holding up the lane would hold up calls, and this peer can only be told to stop.
        const { what } = slot.call!.parts.method;
        slot.call!.abandon(tooLarge(what, inbox.held, STREAM_WINDOW, true));
      }
    }
  }

  #onGoaway(tag: number, slot: Slot | undefined): void {
    if (tag !== NO_TAG) {
      if (!slot) return;
      this.#release(tag, slot);
      if (slot.call) this.owner.onNotBegun(this, [detached(slot.call)]);
    } else if (this.draining) {
      // All that was begun has been answered.
      this.owner.onNotBegun(this, this.dismantle().map(detached));
    } else {
      this.draining = true;
      this.owner.onGoingAway(this);
    }
  }

  #onVersion({ kind, payload }: Frame): void {
    const asked = versionOf(this.service);
    const refuse = (why: string, answered: string | null): never => {
      throw new VersionMismatch(`${asked} was refused: ${why}`, asked, answered);
    };
    if (kind === RERROR) refuse(`the server answered: ${readFault(payload).message}`, null);
    if (kind !== RVERSION) {
      throw new RemoteProtocolError(`a frame of type ${kind} where the server's version was due`);
    }
    const { msize, version } = readVersion(payload);
    if (version === UNKNOWN) {
      refuse("the server does not serve this name, or no version that fits", version);
    }
    const theirs = parseVersion(version);
    const ours = parseVersion(asked);
    if (!theirs || !ours || !serves(theirs, ours)) {
      return refuse(`the server answered ${version}, which does not fit`, version);
    }
    if (msize < MIN_MSIZE) {
      throw new RemoteProtocolError(`the server takes frames of at most ${msize} bytes`);
    }
    const agreed = { limit: Math.min(msize, MSIZE), extension: isMarked(theirs, ACCEPT) };
    const assumed = this.agreed;
    if (assumed && (agreed.limit < assumed.limit || agreed.extension !== assumed.extension)) {
      throw new RemoteProtocolError("the server answered otherwise than on another lane");
    }
    this.#versioned = true;
    this.agreed = agreed;
    this.splitter.limit = agreed.limit;
    this.owner.onAgreed(this, agreed);
  }

  protected override onTurn(): Promise<void> | void {
    this.owner.onRoom(this);
    if (this.own && !this.dead) {
      if (this.#versioned && this.own.over && !this.#retired) {
        // What it was there for is over. The peer ends its half when we have ended ours.
        this.#retired = true;
        this.finish();
        return this.owner.onEnd(this, { error: null, lost: false, unbegun: false });
      }
      if (!this.agreed?.extension) return this.#hold(this.own);
    }
  }

  /** Without the extension a subscription's own lane is held up by not reading it. */
  async #hold(call: Call): Promise<void> {
    while (!call.over && call.parts.inbox && call.parts.inbox.held > STREAM_WINDOW) {
      await new Promise<void>((go) => (this.#resume = go));
      this.#resume = null;
    }
  }

  protected override onDrained(): void {
    for (const slot of this.#slots) if (slot && "reply" in slot) slot.call?.parts.feed?.wake();
  }

  // ---- the end ----

  protected override onFinished(): void {
    const error = !this.#versioned
      ? new VersionMismatch(
          `${versionOf(this.service)} was refused: the server closed the lane without an answer, as ` +
            "some do for a name that they do not serve",
          versionOf(this.service),
        )
      : new ConnectionLost("the server ended the lane", null, true);
    this.#end({ error, lost: false, unbegun: false }, DONE);
  }

  protected override onBroken(error: unknown): void {
    const code = streamCode(error);
    if (error instanceof RemoteProtocolError || error instanceof VersionMismatch) {
      this.#end({ error, lost: false, unbegun: error instanceof VersionMismatch }, PROTOCOL);
    } else if (code === null) {
      const message = `the connection was lost: ${error instanceof Error ? error.message : error}`;
      this.#end({ error: new ConnectionLost(message), lost: true, unbegun: false }, DONE);
    } else {
      const gone = new ConnectionLost(`the server gave the lane up (code ${code})`, code, true);
      this.#end({ error: gone, lost: false, unbegun: code === SHUTDOWN && !this.#versioned }, DONE);
    }
  }

  /** The connection is gone. */
  lose(error: unknown): void {
    this.#end({ error, lost: true, unbegun: false }, DONE);
  }

  #end(end: LaneEnd, code: number): void {
    if (this.dead) return;
    this.kill(code);
    this.#resume?.();
    if (!this.#retired) this.owner.onEnd(this, end);
  }

  /** Takes off all calls that are pending, in the order in which they were sent. */
  dismantle(): Call[] {
    const slots = this.#slots.splice(0).filter((slot) => !!slot && "reply" in slot) as Slot[];
    this.#free.length = this.#calls = this.#streams = 0;
    slots.sort((a, b) => a.at - b.at);
    return slots.flatMap(({ call, at }) => {
      if (!call) return [];
      call.unsent = at >= this.sent;
      return [call];
    });
  }
}

function detached(call: Call): Call {
  call.lane = null;
  return call;
}

function isError(metadata: Slot["metadata"]): metadata is { readonly error: unknown } {
  return metadata !== null && Object.getPrototypeOf(metadata) !== null;
}
