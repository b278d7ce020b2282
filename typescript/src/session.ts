// Sessions: the association with a peer. It may outlive its connection.
import { Call, after, checkSpan, timeLimit, type Settle } from "./call.ts";
import type { Handlers, Served } from "./callee.ts";
import {
  keepReplyMetadata,
  type CallOptions,
  type Carrier,
  type Channel,
  type ChannelOptions,
  type ChannelType,
  type MetadataInit,
} from "./channel.ts";
import { Connection, Route, goingAway } from "./connection.ts";
import {
  ClosedError,
  ConnectError,
  ConnectTimeout,
  EncodeError,
  JetStreamError,
  Unavailable,
} from "./errors.ts";
import { encodeMetadata } from "./ext.ts";
import type { Inbox } from "./inbox.ts";
import { ignore, messageOf } from "./lane.ts";
import type { Method, Service } from "./service.ts";
import { Subscription } from "./subscription.ts";
import type { CloseInfo, Transport } from "./transport.ts";
import { versionOf } from "./version.ts";
import { webTransport } from "./webtransport.ts";
import { encode } from "./wire.ts";

/** `draining`: the server goes away, and what it has begun is still answered. */
export type SessionState = "connecting" | "connected" | "reconnecting" | "draining" | "closed";

/**
 * How a session stays up: by attempts at growing distances, with jitter. All times in milliseconds.
 */
export interface ReconnectOptions {
  /** From the first attempt, which is made at once, to the second. Default: 50. */
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
  /** Milliseconds that an attempt to connect has; those after a loss have less at first. Default: 10,000. */
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
  const session = sessionTo(url, options);
  await session.$open();
  return session;
}

/** A session that `$open` opens; calls wait for that. Not part of the API. */
export function sessionTo(url: string | URL, options: ConnectOptions = {}): Session {
  return new Session(async (signal) => {
    const full = new URL(url, (globalThis as { location?: { href: string } }).location?.href);
    const { token, transport } = options;
    if (token !== undefined) {
      full.searchParams.set("token", typeof token === "string" ? token : await token());
    }
    return transport ? transport(full, signal) : webTransport(full, options, signal);
  }, options);
}

/** A connection that ends sooner than this was no success: the next attempt waits. */
const SHORT = 1000;

const timeOver = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
  });

export class Session implements Carrier {
  readonly #dial: (signal: AbortSignal) => Promise<Transport>;
  readonly #options: ConnectOptions;
  readonly #reconnect: ReconnectOptions | null;
  readonly #listeners = new Set<(state: SessionState) => void>();
  readonly #routes = new Map<string, Route>();
  readonly #connections = new Set<Connection>();
  /** Ends whatever the session is waiting for. */
  readonly #over = new AbortController();
  #state: SessionState = "connecting";
  #patience: ReturnType<typeof setTimeout> | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  /** Why calls fail while there is no connection. */
  #suspended: Unavailable | null = null;
  #distance = 0;
  #since = 0;
  /** Why there is no connection. */
  #reason: unknown = null;
  #finish!: (info: CloseInfo) => void;
  /** Why the session is over. */
  $error: Error | null = null;

  /** What the peer may call. Not part of the API, as all that begins so. */
  readonly $services = new Map<string, Served>();
  readonly $running = { handlers: 0, feeds: 0 };
  /** What carries calls now. */
  $current: Connection | null = null;
  /** Milliseconds that calls have that do not say. */
  readonly $callTimeout: number | null;

  /** Resolves when the session is over; with what the peer said, if it did. */
  readonly closed = new Promise<CloseInfo>((resolve) => (this.#finish = resolve));

  /**
   * Sessions are made by `connect`.
   *
   * @param $isClient Whether we opened the connection.
   */
  constructor(
    dial: (signal: AbortSignal) => Promise<Transport>,
    options: ConnectOptions,
    readonly $isClient = true,
  ) {
    const { reconnect = true, callTimeout = 30_000, timeout } = options;
    const { first, most, patience } = Object(reconnect) as ReconnectOptions;
    for (const [name, value] of Object.entries({ timeout, callTimeout, first, most, patience })) {
      checkSpan(name, value);
    }
    // Attempts without a pause would leave no time for anything else.
    if (Math.min(first ?? 1, most ?? 1) <= 0) throw new RangeError("no pause between attempts");
    this.#dial = dial;
    this.#options = options;
    this.#reconnect = reconnect === true ? {} : reconnect || null;
    this.$callTimeout = callTimeout;
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
    if (this.#state === state) return;
    this.#state = state;
    // What is wrong with one is not for us to hear.
    for (const listener of this.#listeners) queueMicrotask(() => listener(state));
  }

  $onError(error: unknown, what: string): void {
    try {
      (this.#options.onError ?? console.error)(error, what);
    } catch (own) {
      console.error(own);
    }
  }

  /** Whether calls may go on over another connection. */
  get $stays(): boolean {
    return !!this.#reconnect && !this.$error;
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
  serve<H extends object>(service: Service<H>, implementation: NoInfer<H>): () => void {
    const served = { service, implementation: implementation as Handlers };
    for (const { name, what } of service.$methods) {
      if (!served.implementation[name]) throw new TypeError(`the implementation has no ${what}`);
    }
    void import("./callee.ts");
    this.$services.set(service.name, served);
    return () => {
      if (this.$services.get(service.name) === served) this.$services.delete(service.name);
    };
  }

  /** Ends the session: calls in flight fail with `ClosedError`. */
  async close(code = 0, reason = ""): Promise<void> {
    this.#end(new ClosedError("the session was closed"), { closeCode: code, reason });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(error: Error, info: CloseInfo): void {
    if (this.$error) return;
    this.$error = error;
    this.#change("closed");
    this.#over.abort(error);
    clearTimeout(this.#patience);
    clearTimeout(this.#pause);
    for (const connection of [...this.#connections]) connection.close(error, info);
    for (const route of this.#routes.values()) route.fail(error);
    this.#finish(info);
  }

  // ---- connections ----

  /** The first connection. */
  async $open(): Promise<void> {
    const { signal, timeout = 10_000 } = this.#options;
    const first = this.#reconnect?.waitForReady ? this.#attempts() : this.#attempt(timeout);
    try {
      this.#install(await (signal ? Promise.race([first, timeOver(signal)]) : first));
    } catch (error) {
      // One that comes about now is closed again.
      first.then((transport) => transport.close(), ignore);
      // Calls that wait fail with it, too.
      this.#end(
        error instanceof JetStreamError ? error : new ClosedError("connecting was given up"),
        {},
      );
      throw error;
    }
  }

  /** One attempt. */
  async #attempt(timeout: number): Promise<Transport> {
    const late = timeLimit(timeout);
    const signal = AbortSignal.any([this.#over.signal, late]);
    const dialling = this.#dial(signal);
    try {
      return await Promise.race([dialling, timeOver(signal)]);
    } catch (own) {
      dialling.then((transport) => transport.close(), ignore);
      // What is stopped may say so before its time does.
      const error: unknown = signal.aborted ? signal.reason : own;
      if (error === late.reason) throw new ConnectTimeout(`no answer within ${timeout} ms`);
      throw error instanceof JetStreamError ? error : new ConnectError(messageOf(error));
    }
  }

  /** Attempts, until one comes about. */
  async #attempts(): Promise<Transport> {
    const { first = 50, factor = 1.6, most = 2000, attempts = Infinity } = this.#reconnect!;
    const { timeout = 10_000 } = this.#options;
    for (let made = 1; ; made++) {
      // At once, unless the last one came to nothing.
      const wait = this.#distance * (0.8 + 0.4 * Math.random());
      if (wait) await new Promise((go) => (this.#pause = setTimeout(go, wait)));
      this.#distance = Math.min(Math.max(first, this.#distance * factor), most);
      try {
        // One that began when nobody was there may not notice that somebody is: the first are short.
        return await this.#attempt(Math.min(timeout, 1000 + 10 * this.#distance));
      } catch (error) {
        this.#reason = error;
        if (made >= attempts || this.$error) throw error;
      }
    }
  }

  #install(transport: Transport): void {
    if (this.$error) return transport.close();
    const before = this.$current;
    clearTimeout(this.#patience);
    this.#suspended = null;
    this.#since = performance.now();
    this.$current = new Connection(this, transport);
    this.#connections.add(this.$current);
    before?.retire();
    this.#change("connected");
    for (const route of this.#routes.values()) route.flush();
  }

  /** A connection goes away in order: what it has begun is answered. */
  $onDraining(connection: Connection): void {
    if (connection !== this.$current) return;
    this.#change("draining");
    if (this.#reconnect) this.#replace();
    else for (const route of this.#routes.values()) route.fail(goingAway());
  }

  /** A connection is gone. */
  $onLost(connection: Connection, error: Error, info: CloseInfo): void {
    this.#connections.delete(connection);
    if (connection !== this.$current || this.$error) return;
    this.$current = null;
    this.#reason = error;
    if (!this.#reconnect) return this.#end(error, info);
    this.#change("reconnecting");
    // One that went away in order is being replaced already.
    if (!connection.draining) this.#replace();
  }

  #replace(): void {
    const { patience = 2000, waitForReady } = this.#reconnect!;
    if (performance.now() - this.#since > SHORT) this.#distance = 0;
    if (!waitForReady) this.#patience = after(patience, () => this.#suspend());
    this.#attempts().then(
      (transport) => this.#install(transport),
      (error: Error) => this.#end(error, { reason: error.message }),
    );
  }

  /** There has been no connection for so long that nobody is to wait for one. */
  #suspend(): void {
    this.#suspended = new Unavailable(
      `there is no connection: ${messageOf(this.#reason)}; connecting goes on`,
    );
    for (const route of this.#routes.values()) {
      route.fail(this.#suspended, (call) => !call.parts.waits);
    }
  }

  // ---- calls ----

  $call(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Promise<unknown> {
    const promise: Promise<unknown> = new Promise((resolve, reject) => {
      this.#begin(service, method, args, options, null, (ok, value, metadata) => {
        // What was told about it is for the promise that is given out, which may not be there yet.
        queueMicrotask(() => keepReplyMetadata(promise, metadata));
        (ok ? resolve : reject)(value);
      });
    });
    return promise;
  }

  $subscribe(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Subscription<unknown, unknown> {
    return new Subscription(method, (inbox, settle) =>
      this.#begin(service, method, args, options, inbox, settle),
    );
  }

  /** Sends a call, or keeps it until it can be sent. It throws what is wrong with it. */
  #begin(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
    inbox: Inbox<unknown> | null,
    settle: Settle,
  ): Call {
    const { waitForReady = false } = this.#reconnect ?? {};
    const { signal, timeout = this.$callTimeout, waitForReady: waits = waitForReady } = options;
    const { what, streamAt, params } = method;
    checkSpan("timeout", timeout);
    signal?.throwIfAborted();
    if (this.$error) throw this.$error;
    if (!this.#reconnect && this.$current?.draining) throw goingAway();
    if (args.length !== params.length) {
      throw new EncodeError(what, `${args.length} arguments given, ${params.length} wanted`);
    }
    const source = args[streamAt] as AsyncIterable<unknown> & Iterable<unknown>;
    if (method.stream && !(source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator])) {
      throw new EncodeError(`${what}.${params[streamAt]}`, "an iterable of items is due");
    }
    const named = Object.fromEntries(args.map((value, at) => [params[at]!, value]));
    const call = new Call({
      method,
      body: encode(method.args, named, what),
      metadata: encodeMetadata({ ...this.#options.metadata, ...options.metadata }, what),
      source,
      timeout,
      signal,
      waits,
      inbox,
      settle,
    });
    const key = versionOf(service);
    let route = this.#routes.get(key);
    if (!route) this.#routes.set(key, (route = new Route(this, service)));
    route.add(call);
    const suspended = this.#suspended;
    if (suspended && !waits) {
      // Not at once: whoever just tries again would leave the page no time to connect.
      setTimeout(() => suspended === this.#suspended && call.end(suspended));
    }
    return call;
  }
}
