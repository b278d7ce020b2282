// The calling end of a lane: the version, tags, what a reply may be, and what becomes of calls that
// are given up. Which lane a call takes is not decided here.
import { Reader } from "./bytes.ts";
import { tooLarge, type Call } from "./call.ts";
import type { Metadata } from "./channel.ts";
import {
  CallError,
  ConnectionLost,
  DeadlineExceeded,
  LimitExceeded,
  LocalProtocolError,
  RemoteProtocolError,
  VersionMismatch,
  codeOf,
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
import type { Connection, Route } from "./connection.ts";
import type { LaneStream } from "./transport.ts";
import {
  ACCEPT,
  OFFER,
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
  /** What a cancellation is for. */
  readonly of: Slot | null;
  readonly tag: number;
  readonly streams: boolean;
  readonly subscription: boolean;
  readonly lossy: boolean;
  readonly window: Window | null;
  /** The number of the latest item of a lossy subscription. */
  latest: number;
  /** Where in what the lane sends the request begins. */
  readonly at: number;
  /** What came before the answer, or why that is not taken. */
  metadata: Metadata | LimitExceeded | null;
}

export class CallerLane extends Lane {
  draining = false;
  #versioned = false;
  #timed = false;
  #labelled = false;
  #retired = false;
  #calls = 0;
  #streams = 0;
  readonly #slots: (Slot | undefined)[] = [];
  readonly #free: number[] = [];

  /**
   * @param own The one call that it is for; `null` for a lane that calls share.
   * @param agreed What the peer has answered on another lane of this connection; `null` until calls may be begun.
   */
  constructor(
    stream: LaneStream,
    readonly route: Route,
    readonly connection: Connection,
    readonly own: Call | null,
    public agreed: Agreed | null,
  ) {
    super(stream);
    this.put(TVERSION, NO_TAG, putVersion(MSIZE, versionOf(route.service, OFFER)));
  }

  /** Whether a call that comes now gets a tag at once. */
  hasRoom(streams: boolean): boolean {
    return streams ? this.#streams < MAX_STREAMS : this.#calls < MAX_CALLS;
  }

  get pending(): number {
    return this.#calls + this.#streams;
  }

  // ---- what goes out ----

  #hold(slot: Omit<Slot, "tag" | "latest" | "at" | "metadata">): number {
    const tag = this.#free.pop() ?? this.#slots.length;
    this.#slots[tag] = { ...slot, tag, latest: 0, at: this.sent + this.out.at, metadata: null };
    if (slot.streams) this.#streams++;
    else if (!slot.of) this.#calls++;
    return tag;
  }

  #release({ tag, streams, of }: Slot): void {
    this.#slots[tag] = undefined;
    this.#free.push(tag);
    if (streams) this.#streams--;
    else if (!of) this.#calls--;
  }

  /** Sends a call; there is room. */
  start(call: Call): void {
    const { method, body, metadata, source, inbox, timeout } = call.parts;
    const { what, lossy } = method;
    const { extension, limit } = this.agreed!;
    const { $callTimeout: callTimeout } = this.route.session;
    const size = HEADER + Math.max(body.length, metadata ? 8 + metadata.length : 0);
    if (size > limit) return call.end(tooLarge(what, size, limit));
    if (!extension && (source || metadata)) {
      return call.end(new LocalProtocolError(`${what}: the peer speaks no x1, which this takes`));
    }
    if (extension) {
      if (!this.#timed && callTimeout !== null) {
        this.put(TIME, NO_TAG, (out) => out.u64(microseconds(callTimeout)));
      }
      this.#timed = true;
      const label = lossy && !this.#labelled ? this.connection.label(this) : null;
      if (label !== null) {
        this.#labelled = true;
        this.put(LABEL, NO_TAG, (out) => out.u64(label));
      }
    }
    const kind = FIRST_METHOD + 2 * method.index;
    const tag = this.#hold({
      call,
      reply: kind + 1,
      of: null,
      streams: call.streams,
      subscription: !!inbox,
      lossy,
      window: inbox && extension ? new Window(STREAM_WINDOW) : null,
    });
    call.lane = this;
    call.tag = tag;
    if (extension && (metadata || timeout !== callTimeout)) {
      this.put(TMETA, tag, (out) => {
        out.u64(microseconds(call.until && call.until - performance.now()));
        out.raw(metadata ?? new Uint8Array(2));
      });
    }
    this.put(kind, tag, body);
    if (inbox && extension) this.#credit(tag, STREAM_WINDOW - INITIAL_WINDOW);
    if (source) {
      import("./feed.ts").then(
        ({ feed }) => feed(call, this),
        (error: unknown) => call.abandon(error),
      );
    }
  }

  #credit(tag: number, bytes: number | undefined): void {
    if (bytes) this.put(CREDIT, tag, (out) => out.u32(bytes));
  }

  #slotOf(call: Call): Slot | undefined {
    const slot = this.#slots[call.tag];
    return slot?.call === call ? slot : undefined;
  }

  /** An item of a subscription was taken. */
  took(call: Call, size: number): void {
    this.#credit(call.tag, this.#slotOf(call)?.window?.took(size));
  }

  /** A call is over at our end: the peer is told, if it would understand. */
  abandon(call: Call): void {
    const slot = this.#slotOf(call);
    if (this.own) return this.#end(null, DONE);
    if (!slot || this.dead) return;
    slot.call = slot.metadata = null;
    if (!this.agreed!.extension && !slot.subscription) return;
    const tag = this.#hold({
      ...slot,
      reply: RCANCEL,
      of: slot,
      streams: false,
      subscription: false,
    });
    this.put(TCANCEL, tag, (out) => {
      out.u16(slot.tag);
      out.u64(0n);
    });
  }

  // ---- what comes back ----

  /** An item of a lossy subscription came as a datagram. Nothing is wrong with one that is of no use. */
  onDatagram({ kind, tag, payload }: Frame): void {
    const slot = this.#slots[tag];
    if (kind === LOSSY && slot?.lossy) this.#latest(slot, payload);
  }

  /** Takes an item if it is later than the one before. Numbers go round. */
  #latest(slot: Slot, payload: Uint8Array): void {
    const r = new Reader(payload);
    const number = r.u32();
    const ahead = (number - slot.latest) >>> 0;
    if (!ahead || ahead >= 2 ** 31) return;
    slot.latest = number;
    slot.call?.parts.inbox?.replace(r.raw(r.left));
  }

  protected override onFrame(frame: Frame): void {
    const { kind, tag, payload } = frame;
    if (!this.#versioned) return this.#onVersion(frame);
    const slot = this.#slots[tag];
    const { call } = slot ?? {};
    if (this.agreed!.extension) {
      if (kind === GOAWAY) return this.#onGoaway(tag, slot);
      if (kind === CREDIT) {
        const r = new Reader(payload);
        const bytes = r.u32();
        r.end();
        // Without a call it crossed the end.
        if (call) call.left += bytes;
        return call?.wake?.();
      }
      if (kind === RMETA && slot) {
        if (call) slot.metadata = readMetadata(new Reader(payload), call.parts.method.what);
        return;
      }
    }
    if (!slot) return this.#wrong(frame);
    const { reply, of, subscription, metadata } = slot;
    const isItem = subscription && (kind === reply || kind === LOSSY);
    if (isItem) return this.#onItem(slot, frame);
    // The type of the request comes first, then the result; or nothing of both.
    const done = kind === RDONE && subscription && payload[0] === reply - 1;
    const cancelled = kind === RDONE && payload.length === 1 && !payload[0];
    if (of) {
      const r = new Reader(payload);
      if (kind !== RCANCEL || r.u16() !== of.tag || r.left) this.#wrong(frame);
      // Its tag may be another call's by now.
      if (this.#slots[of.tag] === of) this.#release(of);
    } else if (kind !== RERROR && !done && !cancelled && (subscription || kind !== reply)) {
      this.#wrong(frame);
    }
    const fault = kind === RERROR ? readFault(payload) : null;
    this.#release(slot);
    if (!call) return;
    if (fault) {
      call.end(
        this.#told(call, fault),
        undefined,
        metadata instanceof LimitExceeded ? null : metadata,
      );
    } else if (cancelled) {
      const { what } = call.parts.method;
      call.end(new CallError(`${what} was cancelled`, { code: codeOf("cancelled") }));
    } else if (metadata instanceof LimitExceeded) {
      call.end(metadata);
    } else {
      call.end(null, done ? payload.subarray(1) : payload, metadata);
    }
  }

  /** What a fault is to the caller. */
  #told(call: Call, fault: CallError | LimitExceeded): unknown {
    const { method, timeout, inbox } = call.parts;
    if (fault.code === codeOf("deadline_exceeded") && call.until !== null) {
      // The peer's clock was first by a moment, and it is our time that is over.
      const left = call.until - performance.now();
      if (left < timeout! / 10 + 10) return new DeadlineExceeded(method.what, timeout!);
    }
    // A called end that goes away has said so before it ends a subscription for that.
    return inbox && this.draining && fault.code === codeOf("unavailable")
      ? new ConnectionLost(fault.message, null, true)
      : fault;
  }

  #wrong({ kind, tag }: Frame): never {
    throw new RemoteProtocolError(`a frame of type ${kind} under tag ${tag} is not due`);
  }

  #onItem(slot: Slot, frame: Frame): void {
    const { kind, tag, payload } = frame;
    const { call, window, lossy } = slot;
    const size = HEADER + payload.length;
    if ((window && !window.arrived(size)) || (kind === LOSSY && !lossy)) this.#wrong(frame);
    const inbox = call?.parts.inbox;
    // What is on its way to nobody must not use the window up: the end comes behind it.
    if (!inbox || lossy) this.#credit(tag, window?.took(size));
    if (kind === LOSSY) return this.#latest(slot, payload);
    if (lossy) return inbox?.replace(payload);
    inbox?.push(payload, size);
    // Holding up the lane would hold up calls: a peer that knows no windows can only be told to stop.
    if (!window && inbox && inbox.held > STREAM_WINDOW) {
      const limit = `bytes of ${call!.parts.method.what} that are not taken`;
      call!.abandon(new LimitExceeded(limit, inbox.held, STREAM_WINDOW, "here", "stream_window"));
    }
  }

  #onGoaway(tag: number, slot: Slot | undefined): void {
    if (slot) {
      this.#release(slot);
      if (slot.call) this.route.onNotBegun([Object.assign(slot.call, { lane: null })]);
    } else if (tag === NO_TAG && this.draining) {
      // All that was begun has been answered.
      this.route.onNotBegun(this.dismantle());
    } else if (tag === NO_TAG) {
      this.draining = true;
      this.connection.onGoingAway();
    }
  }

  #refused(why: string, answered: string | null): VersionMismatch {
    const asked = versionOf(this.route.service);
    return new VersionMismatch(`${asked} was refused: the server ${why}`, asked, answered);
  }

  #onVersion({ kind, payload }: Frame): void {
    if (kind === RERROR) throw this.#refused(`answered ${readFault(payload).message}`, null);
    if (kind !== RVERSION) throw new RemoteProtocolError(`type ${kind} instead of a version`);
    const { msize, version } = readVersion(payload);
    const theirs = parseVersion(version);
    if (!theirs || !serves(theirs, parseVersion(versionOf(this.route.service))!)) {
      throw this.#refused(`answered ${version}`, version);
    }
    const { agreed: assumed } = this;
    const agreed = { limit: Math.min(msize, MSIZE), extension: isMarked(theirs, ACCEPT) };
    const { limit, extension } = assumed ?? agreed;
    if (msize < MIN_MSIZE || agreed.limit < limit || agreed.extension !== extension) {
      throw new RemoteProtocolError(`the server cannot take frames of ${msize} bytes here`);
    }
    this.#versioned = true;
    this.agreed = agreed;
    this.splitter.limit = agreed.limit;
    this.route.onAgreed(this);
  }

  protected override onTurn(): void {
    this.route.flush();
    this.connection.rest();
    if (this.#versioned && this.own?.over && !this.#retired) {
      // What it was there for is over. The peer ends its half when we have ended ours.
      this.#retired = true;
      this.finish();
      this.route.onEnd(this, null);
    }
  }

  protected override onDrained(): void {
    for (const slot of this.#slots) slot?.call?.wake?.();
  }

  // ---- the end ----

  protected override onFinished(): void {
    this.#end(
      this.#versioned
        ? new ConnectionLost("the server ended the lane", null, true)
        : // As some do for a name that they do not serve.
          this.#refused("closed the lane without an answer", null),
      DONE,
    );
  }

  protected override onBroken(error: unknown): void {
    const code = streamCode(error);
    if (error instanceof RemoteProtocolError || error instanceof VersionMismatch) {
      this.#end(error, PROTOCOL);
    } else if (code === null) {
      this.connection.onDoubt();
    } else {
      const gone = new ConnectionLost(`the server gave the lane up (code ${code})`, code, true);
      this.#end(gone, DONE, false, code === SHUTDOWN && !this.#versioned);
    }
  }

  /** The connection is gone. */
  lose(error: unknown): void {
    this.#end(error, DONE, true);
  }

  #end(error: unknown, code: number, lost?: boolean, unbegun?: boolean): void {
    if (this.dead) return;
    this.kill(code);
    if (!this.#retired) this.route.onEnd(this, error, lost, unbegun);
  }

  /** Takes off all calls that are pending, in the order in which they were sent. */
  dismantle(): Call[] {
    const slots = this.#slots.splice(0).filter((slot) => !!slot?.call) as Slot[];
    this.#free.length = this.#calls = this.#streams = 0;
    slots.sort((a, b) => a.at - b.at);
    return slots.map(({ call, at }) =>
      Object.assign(call!, { lane: null, unsent: at >= this.sent }),
    );
  }
}
