// What type checkers must find: `tsc` fails if a line that expects an error has none.
import { expectTypeOf, test } from "vitest";
import {
  JetStreamProvider,
  useConnectionState,
  useHandler,
  useJetStream,
  useRPC,
  useRPCSuspense,
  useSubscription,
} from "jetstream-client/react";
import type { Session } from "jetstream-client";
import {
  Echo,
  EchoChannel,
  type EchoHandler,
  type Summary,
  type Tick,
} from "../generated-example.ts";

declare const session: Session;
declare const handler: EchoHandler;

/** Only checked, never run. */
export function Checked(): unknown {
  const echo = useJetStream(EchoChannel, { timeout: null });
  expectTypeOf(echo).toEqualTypeOf<EchoChannel>();

  const call = useRPC((signal) => echo.add(1, 2, { signal }), [echo]);
  expectTypeOf(call.data).toEqualTypeOf<number | undefined>();
  expectTypeOf(call.error).toEqualTypeOf<Error | null>();

  const waited = useRPCSuspense(["echo", 1, 2n, null], () => echo.echo("x"));
  expectTypeOf(waited.data).toEqualTypeOf<string>();

  const ticks = useSubscription((last?: Tick) => echo.ticks(last?.n ?? 0), [echo], { limit: 5 });
  expectTypeOf(ticks.items).toEqualTypeOf<readonly Tick[]>();
  expectTypeOf(ticks.last).toEqualTypeOf<Tick | undefined>();
  expectTypeOf(ticks.result).toEqualTypeOf<Summary | undefined>();

  const { state, connections } = useConnectionState();
  expectTypeOf(state).toEqualTypeOf<
    "idle" | "connecting" | "connected" | "reconnecting" | "draining" | "closed"
  >();
  expectTypeOf(connections).toEqualTypeOf<number>();

  useHandler(Echo, handler);
  // @ts-expect-error: add gives a number
  useHandler(Echo, { ...handler, add: () => "three" });
  // @ts-expect-error: methods are missing
  useHandler(Echo, { ping: () => {} });
  // @ts-expect-error: a call is no subscription
  useSubscription(() => echo.echo("x"), []);
  // @ts-expect-error: a subscription is no call
  useRPC(() => echo.ticks(1), []);
  // @ts-expect-error: keys are told apart by their text
  useRPCSuspense([{ id: 1 }], () => echo.echo("x"));

  return (
    <>
      <JetStreamProvider url="/rpc" options={{ token: async () => "t" }} />
      <JetStreamProvider session={session} />
      {/* @ts-expect-error: neither */}
      <JetStreamProvider />
      {/* @ts-expect-error: both */}
      <JetStreamProvider url="/rpc" session={session} />
      {/* @ts-expect-error: options are for connecting */}
      <JetStreamProvider session={session} options={{}} />
    </>
  );
}

test("types are checked by tsc", () => {});
