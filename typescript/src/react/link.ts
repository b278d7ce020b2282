// What a provider holds: a session that is opened when somebody needs it. No React here.
import type { Carrier, Channel, ChannelType } from "../channel.ts";
import { keepReplyMetadata, replyMetadata } from "../channel.ts";
import { ClosedError } from "../errors.ts";
import type { Service } from "../service.ts";
import type { Session, SessionState } from "../session.ts";
import type { Subscription } from "../subscription.ts";

/** Where a provider's session stands. */
export interface ConnectionState {
  /** `"idle"` as long as nothing has needed a session. */
  readonly state: "idle" | SessionState;
  /** Why the last attempt to connect failed; `null` once there is a session. */
  readonly error: Error | null;
  /** How often there was a connection. Among `deps` it has things done again after each loss. */
  readonly connections: number;
}

/** A service that some components serve: the last one that came is asked. */
interface Served {
  readonly implementations: (() => object)[];
  end: (() => void) | null;
}

const IDLE: ConnectionState = { state: "idle", error: null, connections: 0 };

export class Link {
  readonly #connect: (signal: AbortSignal) => Promise<Session>;
  readonly #owns: boolean;
  readonly #listeners = new Set<() => void>();
  readonly #served = new Map<Service, Served>();
  #opening: Promise<Session> | null = null;
  #attempt: AbortController | null = null;
  #session: Session | null = null;
  #snapshot = IDLE;
  #holders = 0;

  private constructor(connect: (signal: AbortSignal) => Promise<Session>, owns: boolean) {
    this.#connect = connect;
    this.#owns = owns;
  }

  /** Connects by itself, and closes what it has opened. */
  static to(connect: (signal: AbortSignal) => Promise<Session>): Link {
    return new Link(connect, true);
  }

  /** On a session that belongs to somebody else. */
  static on(session: Session): Link {
    const link = new Link(() => Promise.resolve(session), false);
    const { state } = session;
    link.#snapshot = { ...IDLE, state, connections: state === "connected" ? 1 : 0 };
    return link;
  }

  get session(): Session | null {
    return this.#session;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): ConnectionState => this.#snapshot;

  /** The session; one that is over, or an attempt that failed, gives way to another attempt. */
  readonly open = (): Promise<Session> => {
    if (this.#opening) return this.#opening;
    this.#attempt?.abort();
    const attempt = (this.#attempt = new AbortController());
    if (this.#owns) this.#tell({ state: "connecting" });
    const opening = this.#connect(attempt.signal).then(
      (session) => {
        if (this.#attempt === attempt) {
          this.#use(session, attempt);
          return session;
        }
        // Nobody waits for it any more.
        void session.close();
        throw new ClosedError("the provider was unmounted");
      },
      (error: unknown) => {
        if (this.#attempt === attempt) {
          this.#opening = null;
          this.#tell({ state: "closed", error: error as Error });
        }
        throw error;
      },
    );
    return (this.#opening = opening);
  };

  #use(session: Session, attempt: AbortController): void {
    this.#session = session;
    for (const [service, served] of this.#served) this.#serve(session, service, served);
    const follow = (state: SessionState): void => {
      if (this.#attempt !== attempt) return;
      const { connections } = this.#snapshot;
      if (state === "connected") {
        const again = this.#snapshot.state === "connected";
        this.#tell({ state, error: null, connections: connections + (again ? 0 : 1) });
        return;
      }
      if (state === "closed") {
        this.#session = null;
        this.#opening = null;
      }
      this.#tell({ state });
    };
    attempt.signal.addEventListener("abort", session.onStateChange(follow), { once: true });
    follow(session.state);
  }

  /** Waits until there is a connection again; whether there is. */
  connected(signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const look = (): void => {
        const { state } = this.#snapshot;
        const over = signal.aborted || state === "closed";
        if (!over && state !== "connected") return;
        end();
        signal.removeEventListener("abort", look);
        resolve(!over);
      };
      const end = this.subscribe(look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  /** Serves to the peer as long as the function that is returned is not called. */
  handle(service: Service, implementation: () => object): () => void {
    const known = this.#served.get(service);
    const served = known ?? { implementations: [], end: null };
    served.implementations.push(implementation);
    if (!known) {
      this.#served.set(service, served);
      if (this.#session) this.#serve(this.#session, service, served);
    }
    // Whether it comes about is told by the state.
    this.open().catch(() => {});
    return () => {
      served.implementations.splice(served.implementations.indexOf(implementation), 1);
      if (served.implementations.length) return;
      this.#served.delete(service);
      served.end?.();
    };
  }

  #serve(session: Session, service: Service, served: Served): void {
    type Methods = Record<string, (...args: unknown[]) => unknown>;
    const methods: Methods = {};
    for (const { name } of service.$methods)
      methods[name] = (...args) => (served.implementations.at(-1)!() as Methods)[name]!(...args);
    served.end = session.serve(service as Service<Methods>, methods);
  }

  /** What a component's effect does while the provider is mounted. */
  readonly hold = (): (() => void) => {
    this.#holders += 1;
    // Its state is followed from now on.
    if (!this.#owns) void this.open();
    return () => {
      this.#holders -= 1;
      // StrictMode, and Activity, let go and take hold again at once.
      setTimeout(() => {
        if (!this.#holders) this.#close();
      });
    };
  };

  #close(): void {
    const session = this.#session;
    this.#attempt?.abort();
    this.#attempt = this.#opening = this.#session = null;
    if (!this.#owns) return;
    void session?.close();
    this.#tell(IDLE);
  }

  #tell(change: Partial<ConnectionState>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Carries the calls of a channel that was made before there is a session. */
export class LinkCarrier<C extends Channel> implements Carrier {
  readonly #link: Link;
  readonly #type: ChannelType<C>;

  constructor(link: Link, type: ChannelType<C>) {
    this.#link = link;
    this.#type = type;
  }

  #on(session: Session): Carrier {
    return session.channel(this.#type).$carrier;
  }

  $call(...given: Parameters<Carrier["$call"]>): Promise<unknown> {
    const { session } = this.#link;
    if (session) return this.#on(session).$call(...given);
    const call = unlessAborted(this.#link.open(), given[3].signal).then((opened) => {
      const made = this.#on(opened).$call(...given);
      const keep = (): void => keepReplyMetadata(call, replyMetadata(made));
      // In front of whoever waits for the outer one.
      made.then(keep, keep);
      return made;
    });
    return call;
  }

  $subscribe(...given: Parameters<Carrier["$subscribe"]>): Subscription<unknown, unknown> {
    const { session } = this.#link;
    if (session) return this.#on(session).$subscribe(...given);
    const opened = unlessAborted(this.#link.open(), given[3].signal);
    return new Later(opened.then((opened) => () => this.#on(opened).$subscribe(...given)));
  }
}

/** A subscription that begins when there is a session. */
class Later<T, R> implements Subscription<T, R> {
  readonly result: Promise<R>;
  readonly #begun: Promise<Subscription<T, R>>;
  #subscription: Subscription<T, R> | null = null;
  #isCancelled = false;

  constructor(begin: Promise<() => Subscription<T, R>>) {
    this.#begun = begin.then((begin) => {
      if (this.#isCancelled) throw new ClosedError("the subscription was given up");
      return (this.#subscription = begin());
    });
    this.result = this.#begun.then((subscription) => subscription.result);
    // Whoever iterates is told, too.
    this.result.catch(() => {});
  }

  get metadata(): Subscription<T, R>["metadata"] {
    return this.#subscription?.metadata ?? {};
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    yield* await this.#begun;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#subscription?.cancel();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
    return Promise.resolve();
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
