// What a provider holds: a session that is opened when somebody needs it. No React here.
import type { Carrier } from "../channel.ts";
import { ClosedError } from "../errors.ts";
import type { Service } from "../service.ts";
import type { Session, SessionState } from "../session.ts";

/** Where a provider's session stands. */
export interface ConnectionState {
  /** `"idle"` as long as nothing has needed a session. */
  readonly state: "idle" | SessionState;
  /** Why connecting failed; `null` if it did not. */
  readonly error: Error | null;
  /** How often a connection came about. Among `deps` it has things done again after each loss. */
  readonly connections: number;
}

/** A service that components serve: the last one that came is asked. */
interface Served {
  readonly implementations: (() => object)[];
  end: () => void;
}

type Methods = Record<string, (...args: unknown[]) => unknown>;

/** Milliseconds for which there may be a session without a provider that is mounted. */
const GRACE = 5000;

const IDLE: ConnectionState = { state: "idle", error: null, connections: 0 };

export class Link implements Carrier {
  readonly #make: (() => Session) | null;
  readonly #listeners = new Set<() => void>();
  readonly #served = new Map<Service, Served>();
  #session: Session | null = null;
  #snapshot = IDLE;
  #holders = 0;

  /** @param to What makes sessions, which are opened and closed here; or one that is somebody else's. */
  constructor(to: Session | (() => Session)) {
    this.#make = typeof to === "function" ? to : null;
    if (typeof to !== "function") this.#use(to);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): ConnectionState => this.#snapshot;

  /** The session. One that is over gives way to another. */
  readonly open = (): Session => {
    const known = this.#session;
    if (known && (known.state !== "closed" || !this.#make)) return known;
    const session = this.#make!();
    this.#use(session);
    // Of a provider that is being rendered, or was unmounted.
    if (!this.#holders) this.#closeUnlessHeld(GRACE);
    session.$open().catch((error: unknown) => {
      if (this.#session === session) this.#tell({ error: error as Error });
    });
    return session;
  };

  #use(session: Session): void {
    this.#session = session;
    session.onStateChange((state) => {
      if (this.#session === session) this.#follow(state);
    });
    this.#tell({ error: null });
    this.#follow(session.state);
    for (const [service, served] of this.#served) serve(session, service, served);
  }

  #follow(state: SessionState): void {
    const { connections } = this.#snapshot;
    this.#tell({ state, connections: connections + (state === "connected" ? 1 : 0) });
  }

  #tell(change: Partial<ConnectionState>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of [...this.#listeners]) listener();
  }

  $call(...given: Parameters<Carrier["$call"]>): ReturnType<Carrier["$call"]> {
    return this.open().$call(...given);
  }

  $subscribe(...given: Parameters<Carrier["$subscribe"]>): ReturnType<Carrier["$subscribe"]> {
    return this.open().$subscribe(...given);
  }

  /** Waits until there is a connection; whether there is one. */
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

  /** Serves to the peer until the function that is returned is called. */
  handle(service: Service, implementation: () => object): () => void {
    const session = this.open();
    let served = this.#served.get(service);
    if (!served) {
      served = { implementations: [], end: () => {} };
      this.#served.set(service, served);
      serve(session, service, served);
    }
    const { implementations } = served;
    implementations.push(implementation);
    return () => {
      implementations.splice(implementations.indexOf(implementation), 1);
      if (implementations.length) return;
      this.#served.delete(service);
      served.end();
    };
  }

  /** What the effect of a provider does. */
  readonly hold = (): (() => void) => {
    this.#holders += 1;
    return () => {
      this.#holders -= 1;
      // StrictMode lets go and takes hold again at once.
      this.#closeUnlessHeld(0);
    };
  };

  #closeUnlessHeld(after: number): void {
    setTimeout(() => {
      const session = this.#session;
      if (this.#holders || !session || !this.#make) return;
      this.#session = null;
      void session.close();
      this.#tell(IDLE);
    }, after);
  }
}

function serve(session: Session, service: Service, served: Served): void {
  const methods: Methods = {};
  for (const { name, what } of service.$methods) {
    methods[name] = (...args) => {
      const implementation = served.implementations.at(-1);
      // On a lane that was opened before.
      if (!implementation)
        throw new ClosedError(`${what}: nothing on this page serves it any more`);
      return (implementation() as Methods)[name]!(...args);
    };
  }
  served.end = session.serve(service as Service<Methods>, methods);
}
