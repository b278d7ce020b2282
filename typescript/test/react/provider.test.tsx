// @vitest-environment happy-dom
import { cleanup, render, renderHook, waitFor } from "@testing-library/react";
import { StrictMode, useEffect, type ReactElement, type ReactNode } from "react";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConnectError, VersionMismatch } from "jetstream-client";
import {
  JetStreamProvider,
  useConnectionState,
  useHandler,
  useJetStream,
  type Connection,
} from "jetstream-client/react";
import { pair } from "jetstream-client/testing";
import { Echo, EchoChannel } from "../generated-example.ts";
import { EchoImpl, Server } from "./serving.tsx";

let server: Server;
beforeEach(() => {
  server = new Server();
});
afterEach(cleanup);

const both = () => ({ echo: useJetStream(EchoChannel), connection: useConnectionState() });

describe("a provider", () => {
  test("connects when the first call is made, and calls wait for that", async () => {
    const { result } = renderHook(both, { wrapper: server.Around });
    await Promise.resolve();
    expect(result.current.connection).toMatchObject({ state: "idle", connections: 0 });
    expect(server.sessions).toHaveLength(0);
    expect(await result.current.echo.add(2, 40)).toBe(42);
    await waitFor(() => expect(result.current.connection.state).toBe("connected"));
    expect(result.current.connection).toMatchObject({ error: null, connections: 1 });
  });

  test("closes its session when it is unmounted", async () => {
    const { result, unmount } = renderHook(both, { wrapper: server.Around });
    await result.current.echo.ping();
    expect(server.open).toBe(1);
    unmount();
    await server.sessions[0]!.closed;
    expect(server.open).toBe(0);
  });

  test("keeps its session as long as it is mounted", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const { result, unmount } = renderHook(both, { wrapper: server.Around });
      // The first use comes before the provider is mounted if a child's effect makes it.
      const call = result.current.echo.ping();
      await vi.advanceTimersByTimeAsync(60_000);
      await call;
      expect(server.open).toBe(1);
      unmount();
      await vi.advanceTimersByTimeAsync(1);
      expect(server.open).toBe(0);
      // What is called afterwards connects, but keeps nothing open.
      await result.current.echo.ping();
      expect(server.open).toBe(1);
      await vi.advanceTimersByTimeAsync(5000);
      expect(server.open).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("opens one session in StrictMode, and keeps it", async () => {
    const use = () => {
      const { echo, connection } = both();
      useEffect(() => void echo.ping(), [echo]);
      return { echo, connection };
    };
    const { result, unmount } = renderHook(use, { wrapper: server.Around, reactStrictMode: true });
    await waitFor(() => expect(result.current.connection.state).toBe("connected"));
    await new Promise((resolve) => setTimeout(resolve));
    expect(await result.current.echo.add(1, 1)).toBe(2);
    expect(server.sessions).toHaveLength(1);
    expect(server.open).toBe(1);
    unmount();
    await server.sessions[0]!.closed;
  });

  test("uses a session that is given, and does not close it", async () => {
    const { session, server: peer } = await pair();
    peer.serve(Echo, new EchoImpl());
    const wrapper = ({ children }: { children: ReactNode }) => (
      <JetStreamProvider session={session}>{children}</JetStreamProvider>
    );
    const { result, unmount } = renderHook(both, { wrapper });
    expect(result.current.connection).toMatchObject({ state: "connected", connections: 1 });
    expect(await result.current.echo.add(1, 2)).toBe(3);
    unmount();
    await new Promise((resolve) => setTimeout(resolve));
    expect(session.state).toBe("connected");
    await session.close();
  });

  test("opens another session for another URL, and closes the first", async () => {
    let channel!: EchoChannel;
    const Inner = (): null => {
      const echo = useJetStream(EchoChannel);
      useEffect(() => {
        channel = echo;
      });
      return null;
    };
    const at = (url: string): ReactElement => (
      <JetStreamProvider url={url} options={server.options}>
        <Inner />
      </JetStreamProvider>
    );
    const { rerender } = render(at("https://one/"));
    const first = channel;
    await first.ping();
    rerender(at("https://one/"));
    expect(channel).toBe(first);
    rerender(at("https://two/"));
    await channel.ping();
    await server.sessions[0]!.closed;
    expect(server.open).toBe(1);
  });

  test("is missed by the hooks", () => {
    expect(() => renderHook(() => useJetStream(EchoChannel))).toThrow("no <JetStreamProvider>");
  });
});

describe("the state of the connection", () => {
  test("follows losses, and counts connections", async () => {
    const seen: Connection["state"][] = [];
    const use = () => {
      const { echo, connection } = both();
      if (seen.at(-1) !== connection.state) seen.push(connection.state);
      return { echo, connection };
    };
    const { result } = renderHook(use, { wrapper: server.Around });
    await result.current.echo.ping();
    await waitFor(() => expect(result.current.connection.connections).toBe(1));
    server.transports[0]!.cut();
    await waitFor(() => expect(result.current.connection.connections).toBe(2));
    expect(seen.slice(0, 3)).toEqual(["idle", "connecting", "connected"]);
    expect(seen.slice(-2)).toEqual(["reconnecting", "connected"]);
    expect(await result.current.echo.add(1, 1)).toBe(2);
  });

  test("tells why there is no session, and the next attempt is as good as the first", async () => {
    const use = (): ReturnType<typeof both> => {
      useHandler(Echo, new EchoImpl());
      return both();
    };
    server.refusal = new Error("the token has expired");
    const { result } = renderHook(use, { wrapper: server.Around });
    await expect(result.current.echo.ping()).rejects.toThrow("the token has expired");
    await waitFor(() => expect(result.current.connection.error).toBeInstanceOf(ConnectError));
    expect(result.current.connection.state).toBe("closed");
    server.refusal = null;
    result.current.connection.connect();
    await waitFor(() => expect(result.current.connection.state).toBe("connected"));
    expect(result.current.connection.error).toBeNull();
    expect(await result.current.echo.add(1, 1)).toBe(2);
    // What was served then is served now.
    expect(await server.sessions[0]!.channel(EchoChannel).add(1, 2)).toBe(3);
  });
});

describe("a handler", () => {
  class Saying extends EchoImpl {
    readonly #word: string;
    constructor(word: string) {
      super();
      this.#word = word;
    }
    override async echo(message: string): Promise<string> {
      return `${this.#word} ${message}`;
    }
  }

  test("is called as it was rendered last, without being registered again", async () => {
    const use = (word: string): void => useHandler(Echo, new Saying(word));
    const { rerender } = renderHook(use, {
      wrapper: server.Around,
      reactStrictMode: true,
      initialProps: "good",
    });
    await waitFor(() => expect(server.sessions).toHaveLength(1));
    const page = server.sessions[0]!.channel(EchoChannel);
    expect(await page.echo("day")).toBe("good day");
    rerender("fine");
    expect(await page.echo("day")).toBe("fine day");
    expect(server.sessions).toHaveLength(1);
  });

  test("is served on the next connection, and not once it is unmounted", async () => {
    let end = (): void => {};
    const Saw = (): null => {
      useHandler(Echo, new Saying("saw"));
      return null;
    };
    const Both = ({ more }: { more: boolean }): ReactElement => (
      <StrictMode>
        <server.Around>{more && <Saw />}</server.Around>
      </StrictMode>
    );
    const { rerender } = render(<Both more />);
    end = () => rerender(<Both more={false} />);
    await waitFor(() => expect(server.sessions).toHaveLength(1));
    server.transports[0]!.cut();
    await waitFor(() => expect(server.sessions).toHaveLength(2));
    const page = server.sessions[1]!.channel(EchoChannel);
    expect(await page.echo("it")).toBe("saw it");
    end();
    await expect(page.echo("it")).rejects.toMatchObject({ code: "jetstream::closed" });
    server.transports[1]!.cut();
    await waitFor(() => expect(server.sessions).toHaveLength(3));
    const next = server.sessions[2]!.channel(EchoChannel);
    await expect(next.echo("it")).rejects.toBeInstanceOf(VersionMismatch);
  });

  test("is not served any more on a connection that is there", async () => {
    const Saw = (): null => {
      useHandler(Echo, new Saying("saw"));
      return null;
    };
    const { rerender } = render(<Saw />, { wrapper: server.Around });
    await waitFor(() => expect(server.sessions).toHaveLength(1));
    await waitFor(() => expect(server.open).toBe(1));
    rerender(<i />);
    const page = server.sessions[0]!.channel(EchoChannel);
    await expect(page.echo("it")).rejects.toBeInstanceOf(VersionMismatch);
  });

  test("gives way to one that comes later, and takes over again", async () => {
    const Says = ({ word }: { word: string }): null => {
      useHandler(Echo, new Saying(word));
      return null;
    };
    const Both = ({ more }: { more: boolean }): ReactElement => (
      <server.Around>
        <Says word="first" />
        {more && <Says word="second" />}
      </server.Around>
    );
    const { rerender } = render(<Both more />);
    await waitFor(() => expect(server.sessions).toHaveLength(1));
    const page = server.sessions[0]!.channel(EchoChannel);
    expect(await page.echo("!")).toBe("second !");
    rerender(<Both more={false} />);
    expect(await page.echo("!")).toBe("first !");
  });
});
