// A server in memory that sessions connect to again and again, and what components need around them.
import { type ReactElement, type ReactNode } from "react";
import { Session, type ConnectOptions, type Context } from "jetstream-client";
import { JetStreamProvider } from "jetstream-client/react";
import { memoryTransports, type MemoryTransport } from "jetstream-client/testing";
import { Colour, Echo, type EchoHandler, type Tick } from "../generated-example.ts";

export class EchoImpl implements EchoHandler {
  /** What was asked, in order, and how to answer it. */
  readonly asked: string[] = [];
  readonly answers = new Map<string, (error?: Error) => void>();
  readonly aborted: string[] = [];
  readonly closed: number[] = [];
  readonly push = new Map<number, (tick: Tick | null) => void>();

  ping(): void {}
  /** Texts that end with "?" wait to be answered by a test. */
  async echo(message: string, { signal }: { readonly signal: AbortSignal }): Promise<string> {
    this.asked.push(message);
    if (message.endsWith("?")) {
      signal.addEventListener("abort", () => this.aborted.push(message));
      await new Promise<void>((resolve, reject) => {
        this.answers.set(message, (error) => (error ? reject(error) : resolve()));
      });
    }
    return message;
  }
  add(a: number, b: number): number {
    return a + b;
  }
  draw(): null {
    return null;
  }
  where(): boolean {
    return true;
  }
  burst = 0;
  taken = 0;
  /** As many numbers from `every` on as `burst` says, then what a test pushes. */
  async *ticks(every: number, ctx: Context): AsyncGenerator<Tick, { count: bigint }> {
    const queue: (Tick | null)[] = [];
    let wake = (): void => {};
    ctx.signal.addEventListener("abort", () => wake());
    this.push.set(every, (tick) => {
      queue.push(tick);
      wake();
    });
    try {
      for (let n = 0; n < this.burst; n++) yield tick(every + n);
      while (!ctx.signal.aborted) {
        while (queue.length) {
          const item = queue.shift()!;
          if (!item) return { count: 7n };
          yield item;
          this.taken += 1;
        }
        await new Promise<void>((resolve) => (wake = resolve));
      }
      return { count: 0n };
    } finally {
      this.closed.push(every);
    }
  }
  async *position(): AsyncGenerator<number, void> {}
  total(): bigint {
    return 0n;
  }
  async *doubled(): AsyncGenerator<number, void> {}
}

export const tick = (n: number): Tick => ({ n, at: new Date(n), colour: Colour.RED });

export class Server {
  readonly echo = new EchoImpl();
  /** The server's ends, in order. */
  readonly sessions: Session[] = [];
  readonly transports: MemoryTransport[] = [];
  /** Why nobody gets in. */
  refusal: Error | null = null;

  readonly options: ConnectOptions = {
    reconnect: { first: 1 },
    transport: async () => {
      if (this.refusal) throw this.refusal;
      const [here, there] = memoryTransports();
      const session = new Session(async () => there, { reconnect: false }, false);
      session.serve(Echo, this.echo);
      this.sessions.push(session);
      this.transports.push(there);
      await session.$open();
      return here;
    },
  };

  /** The wrapper of a test. */
  readonly Around = ({ children }: { readonly children?: ReactNode }): ReactElement => (
    <JetStreamProvider url="https://in.memory/" options={this.options}>
      {children}
    </JetStreamProvider>
  );

  /** Sessions that are open. */
  get open(): number {
    return this.sessions.filter(({ state }) => state !== "closed").length;
  }
}
