// @vitest-environment happy-dom
import { act, cleanup, renderHook, screen, waitFor } from "@testing-library/react";
import {
  Component,
  StrictMode,
  Suspense,
  useState,
  type ReactElement,
  type ReactNode,
} from "react";
import { flushSync } from "react-dom";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CallError, JetStreamError } from "jetstream-client";
import { useJetStream, useResetRPC, useRPC, useRPCSuspense } from "jetstream-client/react";
import { EchoChannel } from "../generated-example.ts";
import { Server } from "./serving.tsx";

let server: Server;
beforeEach(() => {
  server = new Server();
});
afterEach(cleanup);

/** Waits until the server was asked, and answers. */
async function answer(text: string, error?: Error): Promise<void> {
  await waitFor(() => expect(server.echo.answers.has(text)).toBe(true));
  await act(async () => server.echo.answers.get(text)!(error));
}

describe("useRPC", () => {
  const useEcho = (text: string) => {
    const echo = useJetStream(EchoChannel);
    return useRPC((signal) => echo.echo(text, { signal }), [echo, text]);
  };
  const asking = (text: string) =>
    renderHook(useEcho, { wrapper: server.Around, initialProps: text });

  test("calls when it is mounted, and gives the answer", async () => {
    const { result } = asking("hello");
    expect(result.current).toMatchObject({ data: undefined, error: null, loading: true });
    await waitFor(() => expect(result.current.loading).toBe(false));
    expect(result.current).toMatchObject({ data: "hello", error: null });
  });

  test("gives the call up when what it depends on changes, and keeps the answer meanwhile", async () => {
    const { result, rerender } = asking("one");
    await waitFor(() => expect(result.current.data).toBe("one"));
    rerender("two?");
    await waitFor(() => expect(server.echo.answers.has("two?")).toBe(true));
    expect(result.current).toMatchObject({ data: "one", loading: true });
    rerender("three?");
    await waitFor(() => expect(server.echo.aborted).toEqual(["two?"]));
    await answer("three?");
    await waitFor(() => expect(result.current.data).toBe("three?"));
    expect(result.current.loading).toBe(false);
  });

  test("is not overwritten by an answer that comes late", async () => {
    const resolves = new Map<string, (answer: string) => void>();
    const { result, rerender } = renderHook(
      (text: string) =>
        useRPC(() => new Promise<string>((resolve) => resolves.set(text, resolve)), [text]),
      { wrapper: server.Around, initialProps: "first" },
    );
    rerender("second");
    await act(async () => resolves.get("second")!("the second"));
    expect(result.current).toMatchObject({ data: "the second", loading: false });
    await act(async () => resolves.get("first")!("the first"));
    expect(result.current).toMatchObject({ data: "the second", loading: false });
  });

  test("tells why a call failed, keeps the answer, and calls again", async () => {
    const { result, rerender } = asking("one");
    await waitFor(() => expect(result.current.data).toBe("one"));
    rerender("two?");
    await answer("two?", new JetStreamError("no", { code: "app::no" }));
    await waitFor(() => expect(result.current.error).toBeInstanceOf(CallError));
    expect(result.current).toMatchObject({ data: "one", loading: false });
    server.echo.answers.clear();
    act(() => result.current.refetch());
    expect(result.current).toMatchObject({ data: "one", loading: true });
    await answer("two?");
    await waitFor(() => expect(result.current).toMatchObject({ data: "two?", error: null }));
  });

  test("gives the call up that is under way when it is to call again", async () => {
    const { result } = asking("one?");
    await waitFor(() => expect(server.echo.asked).toEqual(["one?"]));
    act(() => result.current.refetch());
    await waitFor(() => expect(server.echo.asked).toEqual(["one?", "one?"]));
    await waitFor(() => expect(server.echo.aborted).toEqual(["one?"]));
  });

  test("tells of what is thrown before there is a call", async () => {
    const use = () =>
      useRPC((): Promise<string> => {
        throw new Error("not even tried");
      }, []);
    const { result } = renderHook(use, { wrapper: server.Around });
    await waitFor(() => expect(result.current.error?.message).toBe("not even tried"));
  });

  test("gives the call up when it is unmounted, and does not call any more", async () => {
    const signals: AbortSignal[] = [];
    const use = () => useRPC((signal) => (signals.push(signal), new Promise<never>(() => {})), []);
    const { result, unmount } = renderHook(use, { wrapper: server.Around });
    unmount();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    result.current.refetch();
    expect(signals).toHaveLength(1);
  });

  test("has one call that counts in StrictMode", async () => {
    const signals: AbortSignal[] = [];
    const use = () =>
      useRPC((signal) => (signals.push(signal), Promise.resolve(signals.length)), []);
    const { result } = renderHook(use, { wrapper: server.Around, reactStrictMode: true });
    await waitFor(() => expect(result.current.data).toBe(2));
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });
});

class Boundary extends Component<{
  fallback: (again: () => void) => ReactNode;
  children: ReactNode;
}> {
  override state: { error: Error | null } = { error: null };
  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }
  override render(): ReactNode {
    const { fallback, children } = this.props;
    return this.state.error ? fallback(() => this.setState({ error: null })) : children;
  }
}

describe("useRPCSuspense", () => {
  // Without `act`, in which React holds back what suspends.
  let root: Root;
  beforeEach(() => {
    root = createRoot(document.body.appendChild(document.createElement("main")));
  });
  afterEach(() => {
    root.unmount();
    document.body.replaceChildren();
  });
  const show = (content: ReactNode): void => root.render(page(content));
  const showNow = (content: ReactNode): void => flushSync(() => show(content));
  const click = (text: string): void => screen.getByText(text).click();
  async function answer(text: string, error?: Error): Promise<void> {
    await waitFor(() => expect(server.echo.answers.has(text)).toBe(true));
    server.echo.answers.get(text)!(error);
  }

  function Said({ text }: { text: string }): ReactElement {
    const echo = useJetStream(EchoChannel);
    const [clicks, setClicks] = useState(0);
    const { data, loading, refetch } = useRPCSuspense(["echo", text], (signal) =>
      echo.echo(text, { signal }),
    );
    return (
      <p>
        <output>{`${data}${loading ? " …" : ""} ${clicks}`}</output>
        <button onClick={refetch}>again</button>
        <button onClick={() => setClicks(clicks + 1)}>click</button>
      </p>
    );
  }
  function Retry({ again }: { again: () => void }): ReactElement {
    const reset = useResetRPC();
    return (
      <button
        onClick={() => {
          reset();
          again();
        }}
      >
        try again
      </button>
    );
  }
  const page = (content: ReactNode): ReactElement => (
    <StrictMode>
      <server.Around>
        <Boundary fallback={(again) => <Retry again={again} />}>
          <Suspense fallback={<i>waiting</i>}>{content}</Suspense>
        </Boundary>
      </server.Around>
    </StrictMode>
  );

  test("waits for the answer, once for the same question", async () => {
    show(
      <>
        <Said text="hello" />
        <Said text="hello" />
      </>,
    );
    await screen.findByText("waiting");
    await waitFor(() => expect(screen.getAllByText("hello 0")).toHaveLength(2));
    expect(server.echo.asked).toEqual(["hello"]);
  });

  test("asks another question for another key", async () => {
    show(<Said text="one" />);
    await screen.findByText("one 0");
    show(<Said text="two?" />);
    await screen.findByText("waiting");
    await answer("two?");
    await screen.findByText("two? 0");
  });

  test("shows the old answer while it asks again, whatever else is rendered", async () => {
    show(<Said text="one?" />);
    await answer("one?");
    await screen.findByText("one? 0");
    server.echo.answers.clear();
    click("again");
    await screen.findByText("one? … 0");
    click("click");
    await screen.findByText("one? … 1");
    expect(screen.queryByText("waiting")).toBeNull();
    await answer("one?");
    await screen.findByText("one? 1");
    expect(server.echo.asked).toEqual(["one?", "one?"]);
  });

  test("throws errors to the boundary, whose button asks again", async () => {
    const silent = vi.spyOn(console, "error").mockImplementation(() => {});
    show(<Said text="one?" />);
    await answer("one?", new JetStreamError("no"));
    const button = await screen.findByText("try again");
    expect(server.echo.asked).toEqual(["one?"]);
    server.echo.answers.clear();
    button.click();
    await answer("one?");
    await screen.findByText("one? 0");
    silent.mockRestore();
  });

  test("forgets an answer some seconds after nobody shows it any more", async () => {
    show(<Said text="one" />);
    await screen.findByText("one 0");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      showNow(null);
      vi.advanceTimersByTime(4000);
      showNow(<Said text="one" />);
      expect(screen.getByText("one 0")).toBeTruthy();
      vi.advanceTimersByTime(10_000);
      showNow(null);
      vi.advanceTimersByTime(6000);
    } finally {
      vi.useRealTimers();
    }
    show(<Said text="one" />);
    await waitFor(() => expect(server.echo.asked).toEqual(["one", "one"]));
    await screen.findByText("one 0");
  });

  test("tells keys apart by their types", async () => {
    const Typed = ({ part }: { part: string | number | null }): ReactElement => {
      const { data } = useRPCSuspense([part], async () => `${typeof part} ${part}`);
      return <b>{data}</b>;
    };
    show(
      <>
        <Typed part={1} />
        <Typed part="1" />
        <Typed part={null} />
      </>,
    );
    for (const text of ["number 1", "string 1", "object null"]) await screen.findByText(text);
  });
});
