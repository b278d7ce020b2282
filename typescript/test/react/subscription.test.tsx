// @vitest-environment happy-dom
import { cleanup, renderHook, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CallError, ConnectionLost, JetStreamError } from "jetstream-client";
import { useJetStream, useSubscription, type SubscriptionOptions } from "jetstream-client/react";
import { Shown } from "../../src/react/subscription.ts";
import { EchoChannel, type Tick } from "../generated-example.ts";
import { Server, tick } from "./serving.tsx";

let server: Server;
beforeEach(() => {
  server = new Server();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

interface Asked extends SubscriptionOptions {
  readonly from: number;
}

let renders: number;
const useTicks = ({ from, ...options }: Asked) => {
  renders += 1;
  const echo = useJetStream(EchoChannel);
  return useSubscription(
    (last?: Tick) => echo.ticks(last ? last.n + 1 : from),
    [echo, from],
    options,
  );
};
function following(asked: Asked, reactStrictMode = false) {
  renders = 0;
  return renderHook(useTicks, { wrapper: server.Around, initialProps: asked, reactStrictMode });
}
const numbers = (items: readonly { readonly n: number }[]): number[] => items.map(({ n }) => n);

async function begun(from: number): Promise<(item: ReturnType<typeof tick> | null) => void> {
  await waitFor(() => expect(server.echo.push.has(from)).toBe(true));
  return server.echo.push.get(from)!;
}

test("shows items as they come, then the result", async () => {
  const { result } = following({ from: 5 });
  expect(result.current).toEqual({
    items: [],
    last: undefined,
    result: undefined,
    error: null,
    status: "pending",
  });
  const push = await begun(5);
  push(tick(5));
  await waitFor(() => expect(numbers(result.current.items)).toEqual([5]));
  expect(result.current).toMatchObject({ status: "live", last: { n: 5 } });
  push(tick(6));
  push(null);
  await waitFor(() => expect(result.current.status).toBe("done"));
  expect(numbers(result.current.items)).toEqual([5, 6]);
  expect(result.current.result).toEqual({ count: 7n });
});

test("keeps the last items only, and renders once for many", async () => {
  server.echo.burst = 10_005;
  const { result } = following({ from: 0, limit: 10 });
  (await begun(0))(null);
  await waitFor(() => expect(result.current.status).toBe("done"), { timeout: 8000 });
  expect(numbers(result.current.items)).toEqual(Array.from({ length: 10 }, (_, at) => 9995 + at));
  expect(result.current.last?.n).toBe(10_004);
  expect(renders).toBeLessThan(500);
});

test("renders nothing between two frames", async () => {
  const frames: FrameRequestCallback[] = [];
  const request = vi.spyOn(globalThis, "requestAnimationFrame");
  request.mockImplementation((run) => frames.push(run));
  const { result } = following({ from: 0 });
  const push = await begun(0);
  const seen = renders;
  for (let n = 0; n < 100; n++) push(tick(n));
  await waitFor(() => expect(server.echo.taken).toBe(100));
  expect(frames).toHaveLength(1);
  expect(renders).toBe(seen);
  frames[0]!(0);
  await waitFor(() => expect(result.current.items).toHaveLength(100));
  expect(renders).toBe(seen + 1);
  request.mockRestore();
});

test("holds no more than twice what it shows, also while nothing is drawn", () => {
  const shown = new Shown<number, void>({ current: { limit: 10 } }, () => {});
  for (let n = 0; n < 10_000; n++) {
    shown.add(n);
    expect(shown.held).toBeLessThan(20);
  }
  shown.end();
});

test("fails with what the method raised", async () => {
  server.echo.ticks = async function* () {
    yield tick(1);
    throw new JetStreamError("no", { code: "app::no" });
  };
  const { result } = following({ from: 1 });
  await waitFor(() => expect(result.current.status).toBe("failed"));
  expect(result.current.error).toBeInstanceOf(CallError);
  expect(numbers(result.current.items)).toEqual([1]);
});

test("begins anew when what it depends on changes, and leaves the old method", async () => {
  const { result, rerender } = following({ from: 5 });
  (await begun(5))(tick(5));
  await waitFor(() => expect(result.current.last?.n).toBe(5));
  rerender({ from: 50 });
  expect(result.current).toMatchObject({ items: [], last: undefined, status: "pending" });
  await waitFor(() => expect(server.echo.closed).toEqual([5]));
  (await begun(50))(tick(50));
  await waitFor(() => expect(numbers(result.current.items)).toEqual([50]));
});

test("leaves the method when it is unmounted", async () => {
  const { unmount } = following({ from: 5 });
  await begun(5);
  unmount();
  await waitFor(() => expect(server.echo.closed).toEqual([5]));
});

test("has one subscription in StrictMode", async () => {
  const { result } = following({ from: 5 }, true);
  (await begun(5))(tick(5));
  await waitFor(() => expect(numbers(result.current.items)).toEqual([5]));
  (await begun(5))(tick(6));
  await waitFor(() => expect(numbers(result.current.items)).toEqual([5, 6]));
});

test("goes on after the last item when a lost connection is back", async () => {
  const { result } = following({ from: 5 });
  (await begun(5))(tick(5));
  await waitFor(() => expect(result.current.last?.n).toBe(5));
  server.transports[0]!.cut();
  await waitFor(() => expect(result.current.status).toBe("reconnecting"));
  expect(result.current.error).toBeInstanceOf(ConnectionLost);
  (await begun(6))(tick(6));
  await waitFor(() => expect(result.current.status).toBe("live"));
  expect(result.current.error).toBeNull();
  expect(numbers(result.current.items)).toEqual([5, 6]);
});

test("fails with a lost connection if it is not to go on", async () => {
  const { result } = following({ from: 5, resume: false });
  (await begun(5))(tick(5));
  await waitFor(() => expect(result.current.last?.n).toBe(5));
  server.transports[0]!.cut();
  await waitFor(() => expect(result.current.status).toBe("failed"));
  expect(result.current.error).toBeInstanceOf(ConnectionLost);
  expect(numbers(result.current.items)).toEqual([5]);
});
