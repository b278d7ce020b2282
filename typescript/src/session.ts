// Sessions: the association with a peer. It may outlive its connection.
import { Connection, Route } from "./connection.ts";
import { Call, Feed } from "./call.ts";
import { keepReplyMetadata } from "./channel.ts";
import type {
  CallOptions,
  Carrier,
  Channel,
  ChannelOptions,
  ChannelType,
  Metadata,
  MetadataInit,
} from "./channel.ts";
import type { Outcome } from "./call.ts";
import type { Handlers, Served } from "./callee.ts";
import {
  ClosedError,
  ConnectError,
  ConnectTimeout,
  DeadlineExceeded,
  EncodeError,
  JetStreamError,
  Unavailable,
} from "./errors.ts";
import { encodeMetadata } from "./ext.ts";
import type { Inbox } from "./inbox.ts";
import { ignore } from "./lane.ts";
import type { Method, Service } from "./service.ts";
import { Subscription } from "./subscription.ts";
import type { CloseInfo, Transport } from "./transport.ts";
import { webTransport } from "./webtransport.ts";
import { decode, encode } from "./wire.ts";

/** `draining`: the server goes away, and what it has begun is still answered. */
export type SessionState = "connecting" | "connected" | "reconnecting" | "draining" | "closed";

/**
 * How a session stays up. Attempts follow each other at growing distances, with jitter; one that is
 * not answered goes on beside the next. All times in milliseconds.
 */
export interface ReconnectOptions {
  /** From the first attempt to the second. Default: 50. */
  readonly first?: number | undefined;
  /** By how much each distance is longer than the one before. Default: 1.6. */
  readonly factor?: number | undefined;
  /** What distances do not grow beyond. Default: 2,000. */
  readonly most?: number | undefined;
  /** Attempts after which the session is over. Default: no end. */
  readonly attempts?: number | undefined;
  /** Without a connection for so long, calls fail at once with `Unavailable`. Default: 2,000. */
  readonly patience?: number | undefined;
  /** Whether `connect` and all calls wait for a server that is not there, however long. */
  readonly waitForReady?: boolean | undefined;
}

export interface ConnectOptions {
  /** Goes into the URL as `?token=`, where the server looks for who we are. A function is asked at each attempt. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** Ends the attempt to connect. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds that an attempt to connect has. Default: 10,000. */
  readonly timeout?: number | undefined;
  /** Milliseconds that every call has; `null` for no limit. Default: 30,000. */
  readonly callTimeout?: number | null | undefined;
  /** Whether the session goes on over another connection when one is lost. Default: yes. */
  readonly reconnect?: boolean | ReconnectOptions | undefined;
  /** Metadata of every call. */
  readonly metadata?: MetadataInit | undefined;
  /** Short-lived certificates that are taken without an authority: SHA-256 of each. */
  readonly serverCertificateHashes?:
    readonly { readonly algorithm: string; readonly value: BufferSource }[] | undefined;
  /** Makes a connection. Default: W3C's WebTransport. */
  readonly transport?: ((url: URL, signal: AbortSignal) => Promise<Transport>) | undefined;
  /** Is told what goes wrong here and is nobody's: errors of served methods, broken rules. Default: `console.error`. */
  readonly onError?: ((error: unknown, what: string) => void) | undefined;
}

/** Opens a session. */
export async function connect(url: string | URL, options: ConnectOptions = {}): Promise<Session> {
  const session = new Session(async (signal) => {
    const full = new URL(url, (globalThis as { location?: { href: string } }).location?.href);
    const { token, transport } = options;
    if (token !== undefined) {
      full.searchParams.set("token", typeof token === "string" ? token : await token());
    }
    return transport ? transport(full, signal) : webTransport(full, options, signal);
  }, options);
  await session.$open();
  return session;
}

/** Attempts that go on beside each other. */
const MAX_ATTEMPTS = 4;
/** A connection that ends sooner than this was no success: the next attempt waits. */
const SHORT = 1000;

export class Session implements Carrier {
  readonly #dial: (signal: AbortSignal) => Promise<Transport>;
  readonly #options: ConnectOptions;
  readonly #reconnect: ReconnectOptions | null;
  readonly #listeners = new Set<(state: SessionState) => void>();
  readonly #routes = new Map<string, Route>();
  readonly #timed = new Set<Call>();
  readonly #connections = new Set<Connection>();
  /** Ends whatever the session is waiting for. */
  readonly #over = new AbortController();
  #state: SessionState = "connecting";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #patience: ReturnType<typeof setTimeout> | undefined;
  /** Why calls fail while there is no connection. */
  #suspended: Unavailable | null = null;
  #distance = 0;
  #since = 0;
  #reason: unknown = null;
  #finish!: (info: CloseInfo) => void;
  /** Why the session is over. */
  #error: JetStreamError | null = null;

  /** What the peer may call. Not part of the API. */
  readonly $services = new Map<string, Served>();
  readonly $running = { handlers: 0, feeds: 0 };
  /** What carries calls now. */
  $current: Connection | null = null;
  /** Milliseconds that calls have that do not say. */
  readonly $callTimeout: number | null;
  /** Whether calls may go on over another connection. */
  get $stays(): boolean {
    return !!this.#reconnect && !this.#error;
  }
  /** Whether we opened the connection: it tells our labels from the peer's. */
  readonly $isClient: boolean;

  /** Resolves when the session is over; with what the peer said, if it did. */
  readonly closed: Promise<CloseInfo>;

  /** Sessions are made by `connect`. */
  constructor(
    dial: (signal: AbortSignal) => Promise<Transport>,
    options: ConnectOptions,
    isClient = true,
  ) {
    this.#dial = dial;
    this.#options = options;
    const { reconnect = true, callTimeout = 30_000 } = options;
    this.#reconnect = reconnect === true ? {} : reconnect || null;
    this.$callTimeout = callTimeout;
    this.$isClient = isClient;
    this.closed = new Promise((resolve) => (this.#finish = resolve));
  }

  // ---- what can be seen ----

  get state(): SessionState {
    return this.#state;
  }

  /** Calls `listener` with each state that the session comes to; the function that is returned ends that. */
  onStateChange(listener: (state: SessionState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #change(state: SessionState): void {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    for (const listener of [...this.#listeners]) {
      try {
        listener(state);
      } catch (error) {
        this.$onError(error, "a listener of the session's state");
      }
    }
  }

  $onError(error: unknown, what: string): void {
    const { onError } = this.#options;
    if (onError) onError(error, what);
    else console.error(`jetstream: ${what}`, error);
  }

  /** The typed client of a service: `session.channel(EchoChannel)`. */
  channel<C extends Channel>(type: ChannelType<C>, options?: ChannelOptions): C {
    return new type(this, options);
  }

  /**
   * Lets the peer call a service here.
   *
   * @returns A function that ends that. What has begun goes on.
   */
  serve<H extends object>(service: Service<H>, implementation: H): () => void {
    for (const { name, what } of service.$methods) {
      if (typeof (implementation as Handlers)[name] !== "function") {
        throw new TypeError(`the implementation has no ${what}`);
      }
    }
    void import("./callee.ts");
    const served = { service, implementation: implementation as Handlers };
    this.$services.set(service.name, served);
    return () => {
      if (this.$services.get(service.name) === served) this.$services.delete(service.name);
    };
  }

  /** Ends the session: calls in flight fail with `ClosedError`. */
  close(code = 0, reason = ""): Promise<void> {
    this.#end(new ClosedError("the session was closed"), { closeCode: code, reason });
    return this.closed.then(ignore);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(error: JetStreamError, info: CloseInfo): void {
    if (this.#error) return;
    this.#error = error;
    this.#change("closed");
    this.#over.abort(error);
    clearTimeout(this.#patience);
    for (const connection of [...this.#connections]) connection.close(info, error);
    for (const route of this.#routes.values()) route.fail(error);
    this.#finish(info);
  }

  // ---- connections ----

  /** The first connection. Not part of the API. */
  async $open(): Promise<void> {
    const { signal } = this.#options;
    const stop = (): void => this.#end(new ClosedError("connecting was given up"), {});
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", stop);
      const waits = this.#reconnect?.waitForReady;
      this.#install(await (waits ? this.#attempts() : this.#attempt(this.#over.signal)));
    } catch (error) {
      stop();
      throw signal?.aborted ? signal.reason : error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** One attempt, which ends with its time or with `signal`. */
  async #attempt(signal: AbortSignal): Promise<Transport> {
    const { timeout = 10_000 } = this.#options;
    const abort = new AbortController();
    const stop = (): void => abort.abort(signal.reason);
    signal.addEventListener("abort", stop);
    const late = new ConnectTimeout(`no answer within ${timeout} ms`);
    const timer = setTimeout(() => abort.abort(late), timeout);
    const gone = new Promise<never>((_, reject) => {
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason));
    });
    if (signal.aborted) stop();
    try {
      const dialling = this.#dial(abort.signal);
      // One that comes when nobody waits any more is not used.
      dialling.then((found) => abort.signal.aborted && found.close(), ignore);
      return await Promise.race([dialling, gone]);
    } catch (error) {
      if (error instanceof JetStreamError) throw error;
      throw new ConnectError(error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  /** Attempts at growing distances, until one comes about. */
  #attempts(): Promise<Transport> {
    const { first = 50, factor = 1.6, most = 2000, attempts = Infinity } = this.#reconnect!;
    const others = new AbortController();
    const { signal } = this.#over;
    return new Promise<Transport>((resolve, reject) => {
      let [made, running, timer] = [0, 0, undefined as ReturnType<typeof setTimeout> | undefined];
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", stop);
        others.abort(new ClosedError("another attempt was first"));
      };
      const stop = (): void => {
        done();
        reject(signal.reason);
      };
      const attempt = (): void => {
        this.#distance = Math.min(Math.max(first, this.#distance * factor), most);
        timer = setTimeout(attempt, this.#distance * (0.8 + 0.4 * Math.random()));
        if (running >= MAX_ATTEMPTS || made >= attempts) return;
        made++;
        running++;
        this.#attempt(others.signal).then(
          (transport) => {
            if (others.signal.aborted) return transport.close();
            done();
            resolve(transport);
          },
          (error: unknown) => {
            this.#reason = error;
            running--;
            if (running || made < attempts || others.signal.aborted) return;
            done();
            reject(error);
          },
        );
      };
      signal.addEventListener("abort", stop);
      if (signal.aborted) return stop();
      // At once, unless the last one came to nothing.
      if (this.#distance) timer = setTimeout(attempt, this.#distance);
      else attempt();
    });
  }

  #install(transport: Transport): void {
    if (this.#error) {
      transport.close();
      throw this.#error;
    }
    clearTimeout(this.#patience);
    this.#suspended = null;
    this.#since = performance.now();
    const before = this.$current;
    const connection = new Connection(this, transport);
    this.#connections.add(connection);
    this.$current = connection;
    before?.retire();
    this.#change("connected");
    for (const route of this.#routes.values()) route.flush();
  }

  /** A connection goes away in order: what it has begun is answered. */
  $onDraining(connection: Connection): void {
    if (connection !== this.$current) return;
    this.#change("draining");
    if (this.#reconnect) return this.#replace();
    for (const route of this.#routes.values()) route.fail(goingAway());
  }

  /** A connection is gone. */
  $onLost(connection: Connection, error: JetStreamError, info: CloseInfo): void {
    this.#connections.delete(connection);
    if (connection !== this.$current || this.#error) return;
    this.$current = null;
    this.#reason = error;
    if (!this.#reconnect) return this.#end(error, info);
    this.#change("reconnecting");
    // One that went away in order is being replaced already.
    if (!connection.draining) this.#replace();
  }

  #replace(): void {
    if (performance.now() - this.#since > SHORT) this.#distance = 0;
    const { patience = 2000, waitForReady } = this.#reconnect!;
    clearTimeout(this.#patience);
    if (!waitForReady) this.#patience = setTimeout(() => this.#suspend(), patience);
    this.#attempts().then(
      (transport) => this.#error || this.#install(transport),
      (error: JetStreamError) => this.#end(error, { reason: error.message }),
    );
  }

  /** There has been no connection for so long that nobody is to wait for one. */
  #suspend(): void {
    const why = this.#reason instanceof Error ? `: ${this.#reason.message}` : "";
    this.#suspended = new Unavailable(`there is no connection${why}; connecting goes on`);
    for (const route of this.#routes.values())
      route.fail(this.#suspended, (call) => !call.parts.waits);
  }

  // ---- calls ----

  $call(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Promise<unknown> {
    let settle!: (outcome: Outcome, metadata: Metadata | null) => void;
    const promise = new Promise<unknown>((resolve, reject) => {
      settle = (outcome, metadata) => {
        if (metadata) keepReplyMetadata(promise, metadata);
        if ("error" in outcome) return reject(outcome.error);
        try {
          resolve(decode(method.result, outcome.payload, method.what));
        } catch (error) {
          reject(error);
        }
      };
    });
    try {
      this.#begin(service, method, args, options, null, settle);
    } catch (error) {
      settle({ error }, null);
    }
    return promise;
  }

  $subscribe(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Subscription<unknown, unknown> {
    // A subscription has no limit of time unless it is given one.
    const said = { ...options, timeout: options.timeout ?? null };
    return new Subscription(method, (inbox, settle) =>
      this.#begin(service, method, args, said, inbox, settle),
    );
  }

  /** Sends a call, or keeps it until it can be sent. */
  #begin(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
    inbox: Inbox<unknown> | null,
    settle: (outcome: Outcome, metadata: Metadata | null) => void,
  ): Call {
    const { signal, timeout = this.$callTimeout } = options;
    const { what, streamAt, stream } = method;
    if (this.#error) throw this.#error;
    signal?.throwIfAborted();
    const waits = options.waitForReady ?? this.#reconnect?.waitForReady ?? false;
    if (this.#suspended && !waits) throw this.#suspended;
    if (!this.#reconnect && this.$current?.draining) throw goingAway();
    if (args.length !== method.params.length) {
      throw new EncodeError(what, `${args.length} arguments given, ${method.params.length} wanted`);
    }
    const named = Object.fromEntries(args.map((value, at) => [method.params[at]!, value]));
    const body = encode(method.args, named, what);
    const said = { ...this.#options.metadata, ...options.metadata };
    const abort = (): void => call.abandon(signal!.reason);
    const call = new Call({
      method,
      body,
      timeout,
      metadata: encodeMetadata(said, what),
      waits,
      feed: stream && new Feed(args[streamAt] as AsyncIterable<unknown>, stream, what),
      inbox,
      settle: (outcome, metadata) => {
        signal?.removeEventListener("abort", abort);
        this.#timed.delete(call);
        if (!this.#timed.size) this.#arm(Infinity);
        settle(outcome, metadata);
      },
    });
    signal?.addEventListener("abort", abort);
    if (call.until !== null) {
      this.#timed.add(call);
      if (call.until < this.#timerAt) this.#arm(call.until);
    }
    this.#route(service).add(call);
    return call;
  }

  #route(service: Service): Route {
    const key = `${service.name}/${service.version}`;
    let route = this.#routes.get(key);
    if (!route) this.#routes.set(key, (route = new Route(this, service)));
    return route;
  }

  // ---- time: one timer for all calls ----

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (at === Infinity) return;
    const left = Math.min(Math.max(0, at - performance.now()), 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#expire(), Math.ceil(left));
  }

  #expire(): void {
    const now = performance.now();
    let next = Infinity;
    for (const call of [...this.#timed]) {
      if (call.until! > now) next = Math.min(next, call.until!);
      else call.abandon(new DeadlineExceeded(call.parts.method.what, call.parts.timeout!));
    }
    this.#arm(next);
  }
}

export function goingAway(): Unavailable {
  return new Unavailable("the server is going away and has not begun the call");
}
