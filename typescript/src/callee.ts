// The called end of a lane: requests to methods, results to frames.
import { Reader, Writer } from "./bytes.ts";
import { after, tooLarge } from "./call.ts";
import type { Metadata } from "./channel.ts";
import {
  ClosedError,
  ConnectionLost,
  DeadlineExceeded,
  EncodeError,
  JetStreamError,
  LimitExceeded,
  RESULT_TOO_LARGE,
  RemoteProtocolError,
  codeOf,
  type ErrorDetails,
} from "./errors.ts";
import {
  FOREVER,
  INITIAL_WINDOW,
  MAX_METADATA,
  STREAM_WINDOW,
  Window,
  encodeMetadata,
  readMetadata,
} from "./ext.ts";
import {
  CREDIT,
  FIRST_METHOD,
  HEADER,
  LABEL,
  LOSSY,
  MIN_MSIZE,
  MSIZE,
  RCANCEL,
  RDONE,
  RERROR,
  RMETA,
  RVERSION,
  TCANCEL,
  TEND,
  TIME,
  TITEM,
  TMETA,
  TVERSION,
  whole,
  type Frame,
} from "./frame.ts";
import { Inbox } from "./inbox.ts";
import { DONE, HIGH, Lane, PROTOCOL, UNKNOWN_SERVICE, VERSION_REFUSED, ignore } from "./lane.ts";
import type { Layout } from "./plan.ts";
import type { Context, Method, Service } from "./service.ts";
import type { Connection } from "./connection.ts";
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
import { decode, encode } from "./wire.ts";

/** Methods that run for one session at once, and streams from the caller among them. */
const MAX_HANDLERS = 1024;
const MAX_FEEDS = 64;
/** Unsent bytes over which nothing more is read. */
const MAX_UNSENT = 1 << 20;
/** Items of a lossy subscription after which others get their turn. */
const YIELD_AFTER = 16;

export type Handlers = Readonly<Record<string, (...args: unknown[]) => unknown>>;

export interface Served {
  readonly service: Service;
  readonly implementation: Handlers;
}

/** A method that runs. */
interface Running {
  readonly tag: number;
  readonly method: Method;
  readonly abort: AbortController;
  readonly inlet: Inbox<unknown> | null;
  readonly inletWindow: Window | null;
  inletOpen: boolean;
  /** Bytes of items that the peer still takes. */
  left: number;
  wake: (() => void) | null;
  /** The latest item of a lossy subscription that has not left, and the last that may not have arrived. */
  latest: Uint8Array | null;
  unsure: Uint8Array | null;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class CalleeLane extends Lane {
  #served: Served | null = null;
  #extension = false;
  #limit = MIN_MSIZE;
  #time = FOREVER;
  #label: bigint | null = null;
  #head: { tag: number; time: bigint; metadata: Metadata | LimitExceeded } | null = null;
  readonly #running = new Map<number, Running>();
  #finished = false;
  #resume: (() => void) | null = null;

  constructor(
    stream: LaneStream,
    readonly owner: Connection,
  ) {
    super(stream);
  }

  // ---- frames ----

  protected override onFrame(frame: Frame): void {
    const { kind, tag, payload } = frame;
    if (this.#finished) return;
    if (!this.#served) return this.#onVersion(frame);
    const request = kind >= FIRST_METHOD && kind % 2 === 0;
    const head = this.#head;
    this.#head = null;
    if (head && !(request && tag === head.tag)) {
      this.#wrong(`the request under tag ${head.tag} was announced, and something else came`);
    }
    if (request) return this.#onRequest((kind - FIRST_METHOD) / 2, tag, payload, head);
    const r = new Reader(payload);
    const running = this.#running.get(tag);
    if (kind === TCANCEL) {
      const target = r.u16();
      if (r.u64() || r.left || running) this.#wrong("a malformed Tcancel");
      return this.#onCancel(tag, target);
    }
    if (!this.#extension) this.#wrong(`a frame of type ${kind} is no request`);
    switch (kind) {
      case TMETA: {
        if (running) this.#wrong(`a request under tag ${tag}, which is still being answered`);
        const time = r.u64();
        const what = this.#served.service.name;
        // What is over the limit the request that follows is answered with, and nothing else is the worse for it.
        this.#head = { tag, time, metadata: readMetadata(r, what) };
        return;
      }
      case TITEM: {
        if (!running) return;
        const size = HEADER + payload.length;
        if (!running.inletOpen || !running.inletWindow?.arrived(size)) {
          this.#wrong(`an item under tag ${tag}, which is not due`);
        }
        return running.inlet!.push(payload, size);
      }
      case TEND:
        if (!running) return;
        if (!running.inletOpen || r.left) this.#wrong(`the end of a stream under tag ${tag}`);
        running.inletOpen = false;
        return running.inlet!.end();
      case CREDIT: {
        const bytes = r.u32();
        r.end();
        if (!running) return;
        if (!running.method.items) this.#wrong(`a credit under tag ${tag}, which is no stream`);
        running.left += bytes;
        return this.#wake(running);
      }
      case TIME:
      case LABEL: {
        const value = r.u64();
        r.end();
        if (kind === TIME) this.#time = value;
        else this.#label = value;
        return;
      }
      default:
        this.#wrong(`a frame of type ${kind} is no request`);
    }
  }

  #wrong(why: string): never {
    throw new RemoteProtocolError(why);
  }

  #onVersion({ kind, tag, payload }: Frame): void {
    if (kind !== TVERSION) this.#wrong("the first frame on a lane must be a Tversion");
    const { msize, version } = readVersion(payload);
    const asked = parseVersion(version);
    const served = asked && this.owner.session.$services.get(asked[0]!);
    const ours = served && parseVersion(versionOf(served.service));
    const limit = Math.min(msize, MSIZE);
    if (!ours || !serves(ours, asked) || limit < MIN_MSIZE) {
      this.put(RVERSION, tag, putVersion(0, UNKNOWN));
      this.#finished = true;
      return this.refuse(served ? VERSION_REFUSED : UNKNOWN_SERVICE);
    }
    this.#served = served;
    this.#extension = isMarked(asked, OFFER);
    this.#limit = this.splitter.limit = limit;
    const answer = versionOf(served.service, this.#extension ? ACCEPT : undefined);
    this.put(RVERSION, tag, putVersion(limit, answer));
  }

  #onCancel(tag: number, target: number): void {
    const running = this.#running.get(target);
    if (running) {
      // What it comes to is nobody's; so nothing more comes under its tag from now on.
      this.put(RDONE, target, new Uint8Array(1));
      this.#end(target, running, new ClosedError("the caller gave the call up"));
    }
    this.put(RCANCEL, tag, (out) => out.u16(target));
  }

  // ---- methods ----

  #onRequest(
    index: number,
    tag: number,
    payload: Uint8Array,
    head: { time: bigint; metadata: Metadata | LimitExceeded } | null,
  ): void {
    if (this.#running.has(tag))
      this.#wrong(`a request under tag ${tag}, which is still being answered`);
    const { service, implementation } = this.#served!;
    const method = service.$methods[index];
    const refuse = (message: string, code: string): void =>
      this.#fault(tag, message, { code: `jetstream::${code}` });
    if (!method) return refuse(`${service.name} has no method ${index}`, "unknown_method");
    const { what, stream } = method;
    if (stream && !this.#extension) {
      return refuse(
        `${what} takes a stream, which only a lane with x1 carries`,
        "extension_required",
      );
    }
    const counts = this.owner.session.$running;
    const [count, most] = stream ? [counts.feeds, MAX_FEEDS] : [counts.handlers, MAX_HANDLERS];
    const time = head?.time ?? this.#time;
    try {
      const metadata = head?.metadata ?? {};
      if (metadata instanceof LimitExceeded) throw metadata;
      if (!time) throw new DeadlineExceeded(what, 0);
      if (count >= most) {
        const limit = `methods that run at once, with ${what}`;
        throw new LimitExceeded(limit, count + 1, most, "here", "max_subscriptions");
      }
      const args = Object.values(decode(method.args, payload, what) as object);
      void this.#run(tag, method, implementation, args, time, metadata);
    } catch (error) {
      this.#explain(tag, what, error);
    }
  }

  /** Never rejects. */
  async #run(
    tag: number,
    method: Method,
    implementation: Handlers,
    args: unknown[],
    time: bigint,
    metadata: Metadata,
  ): Promise<void> {
    const { what, stream } = method;
    const abort = new AbortController();
    const inlet = stream ? this.#inlet(tag, method, stream) : null;
    const running: Running = {
      tag,
      method,
      abort,
      inlet,
      inletWindow: inlet && new Window(STREAM_WINDOW),
      inletOpen: !!inlet,
      left: INITIAL_WINDOW,
      wake: null,
      latest: null,
      unsure: null,
      timer: undefined,
    };
    this.#running.set(tag, running);
    const milliseconds = time === FOREVER ? null : Number(time) / 1000;
    const until = milliseconds === null ? null : performance.now() + milliseconds;
    if (milliseconds !== null) {
      running.timer = after(milliseconds, () => {
        const message = `${what} did not end before its deadline`;
        this.#fault(tag, message, { code: codeOf("deadline_exceeded") });
        this.#end(tag, running, new DeadlineExceeded(what, milliseconds));
      });
    }
    const context: Context = {
      method: what,
      metadata,
      replyMetadata: {},
      signal: abort.signal,
      session: this.owner.session,
      timeLeft: () => until && Math.max(0, until - performance.now()),
    };
    if (inlet) {
      args.splice(method.streamAt, 0, {
        [Symbol.asyncIterator]: () => ({ next: () => inlet.next() }),
      });
      this.put(CREDIT, tag, (out) => out.u32(STREAM_WINDOW - INITIAL_WINDOW));
    }
    const counts = this.owner.session.$running;
    counts.handlers++;
    if (stream) counts.feeds++;
    try {
      const made = await implementation[method.name]!(...args, context);
      const result = method.items
        ? await this.#pump(tag, running, made as AsyncIterable<unknown>)
        : made;
      if (this.#running.get(tag) === running) this.#answer(tag, running, result, context);
    } catch (error) {
      if (this.#running.get(tag) === running) {
        this.#explain(tag, what, error);
        this.#end(tag, running, null);
      }
    } finally {
      counts.handlers--;
      if (stream) counts.feeds--;
    }
  }

  #inlet(tag: number, method: Method, layout: NonNullable<Method["stream"]>): Inbox<unknown> {
    return new Inbox(
      (payload) => decode(layout, payload, method.what),
      (size) => {
        const running = this.#running.get(tag);
        const grant = running?.inletOpen && running.inletWindow!.took(size);
        if (grant) this.put(CREDIT, tag, (out) => out.u32(grant));
      },
    );
  }

  #answer(tag: number, running: Running, result: unknown, context: Context): void {
    const { method } = running;
    const { what, items } = method;
    try {
      const request = FIRST_METHOD + 2 * method.index;
      const bytes = this.#encode(method.result, result, what);
      const metadata = encodeMetadata(context.replyMetadata, what);
      if (metadata && metadata.length > Math.min(MAX_METADATA, this.#limit - HEADER)) {
        throw new Error(`${what}: metadata of ${metadata.length} bytes`);
      }
      if (metadata && this.#extension) this.put(RMETA, tag, metadata);
      if (method.lossy) this.#last(running);
      this.put(items ? RDONE : request + 1, tag, (out) => {
        if (items) out.u8(request);
        out.raw(bytes);
      });
    } catch (error) {
      this.#explain(tag, what, error);
    }
    this.#end(tag, running, null);
  }

  /** The bytes of a result or an item, which fit into a frame. */
  #encode(layout: Layout, value: unknown, what: string): Uint8Array {
    const bytes = encode(layout, value, what);
    // And what stands before them.
    const size = HEADER + 4 + bytes.length;
    if (size <= this.#limit) return bytes;
    const error = tooLarge(what, size, this.#limit);
    error.help = RESULT_TOO_LARGE;
    throw error;
  }

  /** What a caller is told of an error. */
  #explain(tag: number, what: string, error: unknown): void {
    if (error instanceof JetStreamError && !(error instanceof EncodeError)) {
      return this.#fault(tag, error.message || error.name, error);
    }
    this.owner.session.$onError(error, what);
    this.#fault(tag, `${what} failed`, { code: "jetstream::internal" });
  }

  #fault(tag: number, message: string, details: ErrorDetails): void {
    this.put(RERROR, tag, faultOf(message, details, this.#limit));
  }

  /** A request has been answered. */
  #end(tag: number, running: Running, why: unknown): void {
    this.#running.delete(tag);
    clearTimeout(running.timer);
    running.inletOpen = false;
    running.inlet?.fail(new ClosedError(`the stream from the caller of ${running.method.what}`));
    running.abort.abort(why ?? new ClosedError(`${running.method.what} has ended`));
    running.wake?.();
    if (this.#finished && !this.#running.size) this.#close();
  }

  // ---- items ----

  #wake(running: Running): void {
    if (running.latest) this.#offer(running);
    if (running.left <= 0) return;
    running.wake?.();
    running.wake = null;
  }

  /** Sends the items of a subscription, as fast as they are taken; its result. */
  async #pump(tag: number, running: Running, source: AsyncIterable<unknown>): Promise<unknown> {
    const { method } = running;
    const items = source[Symbol.asyncIterator]();
    const isOver = (): boolean => this.#running.get(tag) !== running;
    let ended = false;
    try {
      for (let number = 1; ; number++) {
        while (!method.lossy && !isOver() && (running.left <= 0 || this.unsent > HIGH)) {
          await new Promise<void>((go) => (running.wake = go));
        }
        if (isOver()) return undefined;
        const item = await items.next();
        if (isOver()) return undefined;
        if (item.done) {
          ended = true;
          return item.value;
        }
        const lossy = method.lossy && this.#extension;
        const bytes = this.#encode(method.items!, item.value, method.what);
        if (method.lossy) {
          const out = new Writer();
          if (lossy) out.u32(number >>> 0);
          out.raw(bytes);
          running.latest = out.take();
          this.#offer(running);
          if (number % YIELD_AFTER === 0) await new Promise((go) => setTimeout(go));
        } else {
          if (this.#extension) running.left -= HEADER + bytes.length;
          this.put(FIRST_METHOD + 1 + 2 * method.index, tag, bytes);
        }
      }
    } finally {
      // Its `finally` runs, also where the caller has gone.
      if (!ended) {
        const { session } = this.owner;
        (async () => items.return?.())().catch((error) => session.$onError(error, method.what));
      }
    }
  }

  /** Sends the latest item, if it can leave. */
  #offer(running: Running): void {
    const { latest } = running;
    if (!latest) return;
    if (this.#label !== null && this.#datagram(this.#label, running.tag, latest)) {
      running.unsure = latest;
      running.latest = null;
    } else if (running.left > 0 && !this.unsent) {
      running.unsure = null;
      this.#last(running);
    }
  }

  /** Sends an item of a lossy subscription beside the lane; false if it cannot leave now. */
  #datagram(label: bigint, tag: number, payload: Uint8Array): boolean {
    const { datagrams, transport } = this.owner;
    const out = new Writer();
    out.u64(label);
    whole(out, LOSSY, tag, payload);
    const most = transport.datagrams?.maxDatagramSize;
    if (!(out.at <= most! && datagrams!.desiredSize! > 0)) return false;
    datagrams!.write(out.take()).catch(ignore);
    return true;
  }

  /** Puts the last item on the lane, if it has not left or may not have arrived. */
  #last(running: Running): void {
    const item = running.latest ?? running.unsure;
    running.latest = running.unsure = null;
    if (!item) return;
    const { index } = running.method;
    this.put(this.#extension ? LOSSY : FIRST_METHOD + 1 + 2 * index, running.tag, item);
    if (this.#extension) running.left -= HEADER + item.length;
  }

  // ---- the end ----

  protected override onTurn(): Promise<void> | void {
    if (this.unsent > MAX_UNSENT) return new Promise((go) => (this.#resume = go));
  }

  protected override onDrained(): void {
    this.#resume?.();
    this.#resume = null;
    for (const running of this.#running.values()) this.#wake(running);
  }

  protected override onFinished(): void {
    // The peer asks no more; what it has asked is still answered.
    this.#finished = true;
    for (const running of this.#running.values()) {
      if (!running.inletOpen) continue;
      running.inletOpen = false;
      const error = new ConnectionLost("the caller ended the lane before its stream");
      running.inlet?.fail(error, false);
    }
    if (!this.#running.size) this.#close();
  }

  #close(): void {
    this.finish();
    this.owner.forget(this);
  }

  protected override onBroken(error: unknown): void {
    const wrong = error instanceof RemoteProtocolError;
    if (wrong) this.owner.session.$onError(error, "a lane of the peer's");
    this.stop(wrong ? PROTOCOL : DONE);
  }

  /** What is being answered. */
  get pending(): number {
    return this.#running.size;
  }

  /** The connection is gone. */
  lose(): void {
    this.stop(DONE);
  }

  /** Nobody is left to answer: methods that run are cancelled. */
  stop(code: number): void {
    this.kill(code);
    this.#resume?.();
    const gone = new ConnectionLost("the caller is gone");
    for (const [tag, running] of this.#running) this.#end(tag, running, gone);
    this.owner.forget(this);
  }
}

/** The bytes of an error; one that does not fit into a frame gives way to one that says so. */
function faultOf(message: string, details: ErrorDetails, limit: number): Uint8Array {
  const out = new Writer();
  // A unit of UTF-16 is three bytes at most, and 65,535 fit.
  const put = (text: string): void =>
    void out.string(text.length > 20_000 ? `${text.slice(0, 20_000)}…` : text);
  put(message);
  for (const text of [details.code, details.help, details.url]) {
    out.u8(+(text != null));
    if (text != null) put(text);
  }
  out.u32(0);
  if (HEADER + out.at <= limit) return out.take();
  const code = (details.code?.length ?? 0) < 1024 ? details.code : null;
  return faultOf("the error was too large for the peer's msize", { code }, limit);
}
