// The page of the benchmark: calls `echo` and `order` in each of the ways that are measured.
import {
  Channel,
  connect,
  defineService,
  f64,
  list,
  option,
  string,
  struct,
  u32,
  u64,
  unit,
  type Plan,
} from "jetstream-client";
import { connectHttp } from "jetstream-client/http";

interface Address {
  readonly street: string;
  readonly city: string;
  readonly postcode: string;
  readonly country: string;
}
const Address: Plan<Address> = struct<Address>("Address", {
  street: string,
  city: string,
  postcode: string,
  country: string,
});

interface Line {
  readonly sku: string;
  readonly title: string;
  readonly quantity: number;
  readonly price: number;
  readonly tags: readonly string[];
}
const Line: Plan<Line> = struct<Line>("Line", {
  sku: string,
  title: string,
  quantity: u32,
  price: f64,
  tags: list(string),
});

interface Order {
  readonly number: bigint;
  readonly customer: string;
  readonly note: string | null;
  readonly ship_to: Address;
  readonly lines: readonly Line[];
}
const Order: Plan<Order> = struct<Order>("Order", {
  number: u64,
  customer: string,
  note: option(string),
  ship_to: Address,
  lines: list(Line),
});

/** That of `ours.py`. */
const Echo = defineService("echo", "16.0.0", "00000000", {
  ping: { params: [], result: unit, idempotent: true },
  echo: { params: [["message", string]], result: string },
  order: { params: [["order", Order]], result: Order },
});

class EchoChannel extends Channel {
  static readonly service = Echo;
  echo(message: string): Promise<string> {
    return this.$call("echo", [message]);
  }
  order(order: Order): Promise<Order> {
    return this.$call("order", [order]);
  }
}

/** That of `order.py`. */
const SAMPLE: Order = {
  number: 1_234_567_890n,
  customer: "Ada Lovelace",
  note: "Please ring twice",
  ship_to: {
    street: "12 St James's Square",
    city: "London",
    postcode: "SW1Y 4JH",
    country: "United Kingdom",
  },
  lines: Array.from({ length: 13 }, (_, i) => ({
    sku: `SKU-${String(i).padStart(4, "0")}`,
    title: `Widget number ${i} in blue, boxed`,
    quantity: i + 1,
    price: 9.75 + i,
    tags: ["fragile", "gift"],
  })),
};

type Call = (argument: unknown) => Promise<unknown>;

/** What a page does that has no client: JSON has no integers of 64 bits, so this one's number is a `number`. */
async function post(method: string, argument: unknown): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({
    [method === "echo" ? "message" : "order"]: argument,
  });
  const response = await fetch(`/echo/${method}`, {
    method: "POST",
    headers,
    body,
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return response.json();
}

/** A method as it is called in one of the ways. */
async function callOf(way: string, method: "echo" | "order"): Promise<Call> {
  if (way === "json") return (argument) => post(method, argument);
  const session = way === "frames" ? connectHttp("/") : await connect("/", { reconnect: false });
  const echo = session.channel(EchoChannel) as unknown as Record<string, Call>;
  return (argument) => echo[method]!(argument);
}

let call: Call;
let argument: unknown;

/** Prepares the calls, and makes one. */
async function begin(way: string, method: "echo" | "order", size: number): Promise<void> {
  call = await callOf(way, method);
  const order = way === "json" ? { ...SAMPLE, number: Number(SAMPLE.number) } : SAMPLE;
  argument = method === "echo" ? "x".repeat(size) : order;
  const told = (value: unknown): string =>
    JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? String(each) : each));
  const answer = told(await call(argument));
  if (answer !== told(argument)) throw new Error(`another value came back: ${answer}`);
  if (way === "webtransport") return;
  const asked = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
  const spoken = asked.find(({ initiatorType }) => initiatorType === "fetch")?.nextHopProtocol;
  if (spoken !== "h2") throw new Error(`over ${spoken}`);
}

/** Keeps so many calls in flight for so many seconds. */
async function load(
  inFlight: number,
  seconds: number,
): Promise<{ count: number; seconds: number }> {
  let [running, count] = [true, 0];
  const started = performance.now();
  setTimeout(() => (running = false), seconds * 1000);
  const worker = async (): Promise<void> => {
    while (running) {
      await call(argument);
      count++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return { count, seconds: (performance.now() - started) / 1000 };
}

Object.assign(window, { begin, load });
