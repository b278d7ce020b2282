// Sessions that stay up: what becomes of calls when connections go, and when nobody answers.
import { describe, expect, test } from "vitest";
import {
  Channel,
  ClosedError,
  ConnectError,
  ConnectTimeout,
  ConnectionLost,
  Session,
  Unavailable,
  connect,
  defineService,
  string,
  u32,
  type CallOptions,
  type ConnectOptions,
  type SessionState,
  type Subscription,
  type Transport,
} from "jetstream-client";
import { memoryTransports, type MemoryTransport } from "jetstream-client/testing";
import { RawLane, frame, version } from "./raw.ts";

interface Handler {
  once(m: string): Promise<string>;
  again(m: string): Promise<string>;
  ticks(): AsyncGenerator<number, void>;
}
const Svc = defineService<Handler>("svc", "1.0.0", "", {
  once: { params: [["m", string]], result: string },
  again: { params: [["m", string]], result: string, idempotent: true },
  ticks: { params: [], items: u32 },
});
class SvcChannel extends Channel {
  static readonly service = Svc;
  once(m: string, options?: CallOptions): Promise<string> {
    return this.$call("once", [m], options);
  }
  again(m: string, options?: CallOptions): Promise<string> {
    return this.$call("again", [m], options);
  }
  ticks(): Subscription<number> {
    return this.$subscribe("ticks", []);
  }
}
const [ONCE, AGAIN, TICKS] = [102, 104, 106];
const ON = "rs.jetstream.proto/svc/1.0.0+x1-on";

/** Somebody to connect to, who is played by hand and may be away. */
class Place {
  away: Error | null = null;
  dialled = 0;
  readonly urls: string[] = [];
  readonly #ends: MemoryTransport[] = [];
  readonly #waiting: ((end: MemoryTransport) => void)[] = [];

  readonly transport = async (url: URL): Promise<Transport> => {
    this.dialled++;
    this.urls.push(url.href);
    if (this.away) throw this.away;
    const [here, there] = memoryTransports({ datagrams: false, manyLanes: false });
    this.#ends.push(there);
    const waiting = this.#waiting.shift();
    if (waiting) waiting(this.#ends.shift()!);
    return here;
  };

  /** The next connection's other end. */
  async next(): Promise<Peer> {
    const end =
      this.#ends.shift() ?? (await new Promise<MemoryTransport>((go) => this.#waiting.push(go)));
    return new Peer(end);
  }
}

class Peer {
  readonly #lanes: ReadableStreamDefaultReader<unknown>;
  constructor(readonly end: MemoryTransport) {
    this.#lanes = end.incomingLanes.getReader();
  }

  /** The next lane, with its version answered. */
  async lane(): Promise<RawLane> {
    const lane = new RawLane((await this.#lanes.read()).value as never);
    await lane.until(100);
    await lane.send(version(101, ON));
    return lane;
  }
}

const answer = (kind: number, tag: number): Uint8Array => frame(kind + 1, tag, "02006f6b");
const failure = (of: Promise<unknown>): Promise<unknown> =>
  of.then(
    () => "it did not fail",
    (error: unknown) => error,
  );

async function start(
  options: ConnectOptions = {},
): Promise<{ place: Place; session: Session; svc: SvcChannel; states: SessionState[] }> {
  const place = new Place();
  const session = await connect("https://x/", { transport: place.transport, ...options });
  const states = [session.state];
  session.onStateChange((state) => states.push(state));
  return { place, session, svc: session.channel(SvcChannel), states };
}

/** Waits for a state. */
async function until(session: Session, state: SessionState): Promise<void> {
  if (session.state === state) return;
  await new Promise<void>((go) => {
    const stop = session.onStateChange((now) => {
      if (now !== state) return;
      stop();
      go();
    });
  });
}

describe("a connection that is lost", () => {
  test("fails what may have run, and what may run twice goes on", async () => {
    const { place, session, svc, states } = await start();
    const [once, again] = [failure(svc.once("a")), svc.again("b")];
    const item = failure(svc.ticks().next());
    const peer = await place.next();
    await (await peer.lane()).until(TICKS);
    peer.end.cut();
    expect(await once).toBeInstanceOf(ConnectionLost);
    expect(await item).toBeInstanceOf(ConnectionLost);
    const lane = await (await place.next()).lane();
    const { tag } = await lane.until(AGAIN);
    await lane.send(answer(AGAIN, tag));
    expect(await again).toBe("ok");
    expect(states).toEqual(["connected", "reconnecting", "connected"]);
    await session.close();
  });

  test("loses nothing that had not left", async () => {
    const { place, session, svc } = await start();
    const peer = await place.next();
    // Its lane is not there yet.
    const call = svc.once("a");
    peer.end.cut();
    const lane = await (await place.next()).lane();
    await lane.send(answer(ONCE, (await lane.until(ONCE)).tag));
    expect(await call).toBe("ok");
    await session.close();
  });

  test("says who closed it, and why", async () => {
    const { place, session, svc } = await start({ reconnect: false });
    const call = failure(svc.again("a"));
    const peer = await place.next();
    await (await peer.lane()).until(AGAIN);
    peer.end.close({ closeCode: 9, reason: "enough" });
    expect(await call).toMatchObject({ name: "ConnectionLost", closeCode: 9, byPeer: true });
    expect(await session.closed).toEqual({ closeCode: 9, reason: "enough" });
    expect(session.state).toBe("closed");
    expect(await failure(svc.once("b"))).toBeInstanceOf(ConnectionLost);
  });
});

describe("a server that goes away", () => {
  test("answers what it has begun, and the rest goes to the next", async () => {
    const { place, session, svc, states } = await start();
    const peer = await place.next();
    const begun = svc.once("a");
    const lane = await peer.lane();
    const { tag } = await lane.until(ONCE);
    const told = svc.once("b");
    const second = (await lane.until(ONCE)).tag;
    await lane.send(frame(16, 65535), frame(16, second));
    const next = await place.next();
    const other = await next.lane();
    await other.send(answer(ONCE, (await other.until(ONCE)).tag));
    expect(await told).toBe("ok");
    await lane.send(answer(ONCE, tag));
    expect(await begun).toBe("ok");
    // Nothing is left there, and the session closes it.
    await peer.end.closed;
    expect(session.state).toBe("connected");
    expect(states).toEqual(["connected", "draining", "connected"]);
    await session.close();
  });

  test("has not begun what its second word does not answer", async () => {
    const { place, session, svc } = await start();
    const call = svc.once("a");
    const lane = await (await place.next()).lane();
    await lane.until(ONCE);
    await lane.send(frame(16, 65535), frame(16, 65535));
    const other = await (await place.next()).lane();
    await other.send(answer(ONCE, (await other.until(ONCE)).tag));
    expect(await call).toBe("ok");
    await session.close();
  });

  test("ends subscriptions with a loss, which a method's own word is not", async () => {
    const { place, session, svc } = await start();
    const item = failure(svc.ticks().next());
    const lane = await (await place.next()).lane();
    const { tag } = await lane.until(TICKS);
    const fault = frame(
      5,
      tag,
      "0000 01 1600 6a657473747265616d3a3a756e617661696c61626c65 0000 00000000",
    );
    await lane.send(frame(16, 65535), fault);
    expect(await item).toMatchObject({ name: "ConnectionLost", byPeer: true });
    await session.close();
    const plain = await start();
    const other = failure(plain.svc.ticks().next());
    const own = await (await plain.place.next()).lane();
    await own.until(TICKS);
    await own.send(
      frame(5, 0, "0000 01 1600 6a657473747265616d3a3a756e617661696c61626c65 0000 00000000"),
    );
    expect(await other).toMatchObject({ name: "CallError", code: "jetstream::unavailable" });
    await plain.session.close();
  });
});

describe("a server that is not there", () => {
  test("is waited for as long as there is patience", async () => {
    const { place, session, svc, states } = await start({
      reconnect: { first: 1, most: 2, patience: 20 },
    });
    const patient = session.channel(SvcChannel, { waitForReady: true });
    place.away = new Error("nobody");
    (await place.next()).end.cut();
    await until(session, "reconnecting");
    const [hurried, waiting] = [failure(svc.once("a")), patient.once("b")];
    expect(await hurried).toBeInstanceOf(Unavailable);
    expect(((await hurried) as Error).message).toContain("nobody");
    // It is known now.
    expect(await failure(svc.once("c"))).toBeInstanceOf(Unavailable);
    expect(place.dialled).toBeGreaterThan(2);
    place.away = null;
    const lane = await (await place.next()).lane();
    await lane.send(answer(ONCE, (await lane.until(ONCE)).tag));
    expect(await waiting).toBe("ok");
    const after = svc.once("d");
    await lane.send(answer(ONCE, (await lane.until(ONCE)).tag));
    expect(await after).toBe("ok");
    expect(states).toEqual(["connected", "reconnecting", "connected"]);
    await session.close();
  });

  test("is found again by one who just tries again", async () => {
    const { place, session, svc } = await start({ reconnect: { first: 1, most: 2, patience: 5 } });
    place.away = new Error("nobody");
    (await place.next()).end.cut();
    expect(await failure(svc.once("a"))).toBeInstanceOf(Unavailable);
    place.away = null;
    const served = place.next().then(async (peer) => {
      const lane = await peer.lane();
      await lane.send(answer(ONCE, (await lane.until(ONCE)).tag));
    });
    // Were it told without a turn of the event loop, this would never end, so it counts.
    let tries = 0;
    while ((await svc.once("b").catch(() => "")) !== "ok") expect(++tries).toBeLessThan(10_000);
    await served;
    await session.close();
  });

  test("ends the session when attempts are used up", async () => {
    const { place, session, svc } = await start({ reconnect: { first: 1, most: 1, attempts: 3 } });
    place.away = new Error("nobody");
    (await place.next()).end.cut();
    await until(session, "reconnecting");
    const call = failure(svc.once("a"));
    expect(await session.closed).toEqual({ reason: "nobody" });
    expect(await call).toBeInstanceOf(ConnectError);
    expect(place.dialled).toBe(4);
  });

  test("is an error of connect, at once or in time", async () => {
    const place = new Place();
    place.away = new Error("nobody");
    const options = { transport: place.transport };
    expect(await failure(connect("https://x/", options))).toMatchObject({
      name: "ConnectError",
      code: "jetstream::connect",
      message: "nobody",
    });
    const never = { transport: () => new Promise<never>(() => {}), timeout: 20 };
    expect(await failure(connect("https://x/", never))).toBeInstanceOf(ConnectTimeout);
    expect(await failure(connect("https://x/"))).toMatchObject({ message: /WebTransport/ });
  });

  test("is waited for by connect where that is wished", async () => {
    const place = new Place();
    place.away = new Error("nobody");
    const reconnect = { waitForReady: true, first: 1, most: 2 };
    const session = connect("https://x/", { transport: place.transport, reconnect });
    while (place.dialled < 4) await new Promise((go) => setTimeout(go));
    place.away = null;
    expect((await session).state).toBe("connected");
    await (await session).close();
  });

  test("is not waited for any more when the caller gives up", async () => {
    const place = new Place();
    const abort = new AbortController();
    let open!: () => void;
    const gate = new Promise<void>((go) => (open = go));
    const transport = async (url: URL): Promise<Transport> => {
      await gate;
      return place.transport(url);
    };
    const connecting = failure(connect("https://x/", { transport, signal: abort.signal }));
    abort.abort(new RangeError("enough"));
    expect(await connecting).toBeInstanceOf(RangeError);
    open();
    // What came about all the same is closed.
    await (
      await place.next()
    ).end.closed;
  });
});

test("each attempt asks for the token", async () => {
  let asked = 0;
  const { place, session } = await start({ token: async () => `t ${++asked}` });
  (await place.next()).end.cut();
  await place.next();
  await until(session, "connected");
  expect(place.urls).toEqual(["https://x/?token=t+1", "https://x/?token=t+2"]);
  await session.close();
});

test("a session that is closed connects no more", async () => {
  const { place, session, svc } = await start({ reconnect: { first: 1 } });
  place.away = new Error("nobody");
  (await place.next()).end.cut();
  await until(session, "reconnecting");
  const call = failure(svc.once("a"));
  await session.close();
  expect(await call).toBeInstanceOf(ClosedError);
  const { dialled } = place;
  await new Promise((go) => setTimeout(go, 20));
  expect(place.dialled).toBe(dialled);
  expect(session.state).toBe("closed");
});
