// Frames, versions and faults: the bytes of the Rust crates, any cut, and sizes that cannot be.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CallError, Gap, LimitExceeded } from "jetstream-client";
import { Writer } from "../src/bytes.ts";
import { readFault } from "../src/ext.ts";
import { NO_TAG, Splitter, TVERSION, whole } from "../src/frame.ts";
import {
  isMarked,
  parseVersion,
  putVersion,
  readVersion,
  serves,
  versionOf,
} from "../src/version.ts";
import { fromHex, toHex } from "./described.ts";
import { random } from "./random.ts";

const file = new URL("../../vectors/wire.json", import.meta.url);
const { frames, subscription_frames } = JSON.parse(readFileSync(file, "utf8")) as Record<
  string,
  { frame: string; hex: string }[]
>;
const vectors = new Map(
  [...frames!, ...subscription_frames!].map(({ frame, hex }) => [
    frame.split(" ")[0]! + frame.slice(-4),
    hex,
  ]),
);

test("every frame of the Rust crates is cut out as it is", () => {
  for (const hex of vectors.values()) {
    const bytes = fromHex(hex);
    const [frame, ...more] = new Splitter(1 << 20).push(bytes);
    expect(more).toEqual([]);
    const out = new Writer();
    whole(out, frame!.kind, frame!.tag, () => out.raw(frame!.payload));
    expect(toHex(out.take())).toBe(hex);
  }
});

test("versions are written and read as the Rust crates do", () => {
  const [first, second] = frames!;
  const out = new Writer();
  whole(
    out,
    TVERSION,
    NO_TAG,
    putVersion(2 ** 32 - 1, "rs.jetstream.proto/vectors/0.1.0+deadbeef"),
  );
  expect(toHex(out.take())).toBe(first!.hex);
  expect(readVersion(fromHex(second!.hex.slice(14)))).toEqual({ msize: 65536, version: "unknown" });
});

test("faults are read as the Rust crates write them", () => {
  const [boom, lost] = frames!.slice(-2).map(({ hex }) => readFault(fromHex(hex.slice(14))));
  expect(boom).toMatchObject({ message: "boom", code: null, help: null, url: null });
  expect(lost).toMatchObject({ message: "not found", code: "app::E404" });
  const trace =
    "01006d000000 0200 0100 61 0200 6262 0100 0000 0100 0000 0000 0100 2a00 0100 0000 0100 04";
  expect((readFault(fromHex(trace.replaceAll(" ", ""))) as CallError).backtrace).toEqual([
    "bb:42 bb: a",
  ]);
});

const fault = (message: string, code: string, help?: string): Uint8Array => {
  const out = new Writer();
  out.string(message);
  for (const text of [code, help, undefined]) {
    out.u8(text === undefined ? 0 : 1);
    if (text !== undefined) out.string(text);
  }
  out.u32(0);
  return out.take();
};

test("a code that has a class of its own is one", () => {
  const gap = "cannot go on after 1: what is kept is that after 5, up to 9";
  expect(readFault(fault(gap, "jetstream::gap", "h"))).toMatchObject({
    asked: 1n,
    latest: 9n,
    help: "h",
  });
  expect(readFault(fault("other words", "jetstream::gap"))).not.toBeInstanceOf(Gap);
  const limit = (whose: string, name: string): string =>
    `metadata of x: 9,007 is over ${whose} limit of 8,192; the setting is Limits(${name}=...)`;
  const told = readFault(fault(limit("our own", "max_metadata"), "jetstream::limit"));
  expect(told).toMatchObject({ limit: "metadata of x", size: 9007, allowed: 8192, side: "peer" });
  // One that the method met elsewhere is not between us.
  for (const [whose, name] of [
    ["the peer's", "max_metadata"],
    ["our own", "msize"],
    ["our own", "anything"],
  ] as const) {
    const elsewhere = readFault(fault(limit(whose, name), "jetstream::limit"));
    expect(elsewhere).not.toBeInstanceOf(LimitExceeded);
  }
});

test("no cut of a fault is one, and no flip hangs", () => {
  const whole = fault("message", "code", "help");
  for (let end = 0; end < whole.length; end++)
    expect(() => readFault(whole.subarray(0, end))).toThrow();
  const { int } = random(3);
  for (let round = 0; round < 2000; round++) {
    const changed = whole.slice();
    changed[int(changed.length)] = int(256);
    try {
      readFault(changed);
    } catch (error) {
      expect((error as Error).constructor.name).toBe("Malformed");
    }
  }
});

test("frames survive any cut", () => {
  const out = new Writer();
  const { int, bytes } = random(7);
  const sent: [number, number, string][] = [];
  for (let n = 0; n < 40; n++) {
    const payload = bytes(n % 10 ? int(30) : int(3000));
    const [kind, tag] = [int(256), int(65536)];
    sent.push([kind, tag, toHex(payload)]);
    whole(out, kind, tag, payload);
  }
  const all = out.take();
  for (const most of [1, 2, 3, 5, 8, 64, 1000, all.length]) {
    const splitter = new Splitter(1 << 20);
    const seen: [number, number, string][] = [];
    for (let at = 0; at < all.length;) {
      const size = 1 + int(most);
      for (const { kind, tag, payload } of splitter.push(all.subarray(at, at + size))) {
        seen.push([kind, tag, toHex(payload)]);
      }
      at += size;
    }
    expect(seen).toEqual(sent);
    expect(splitter.unfinished).toBe(false);
  }
});

test.each([0, 6, 101, 2 ** 32 - 1])(
  "a frame of %i bytes is refused from its header alone",
  (size) => {
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, size, true);
    expect(() => [...new Splitter(100).push(header)]).toThrow(/a frame of/);
    const splitter = new Splitter(100);
    expect(() => {
      for (const byte of header) void [...splitter.push(Uint8Array.of(byte))];
    }).toThrow(/a frame of/);
  },
);

test("versions say who may talk to whom", () => {
  const version = (number: string, name = "echo"): NonNullable<ReturnType<typeof parseVersion>> =>
    parseVersion(`rs.jetstream.proto/${name}/${number}+0a1b`)!;
  const server = version("2.3.4");
  const served = ["2.3.4", "2.3.3", "2.2.9", "2.3.5", "2.4.0", "1.0.0", "3.0.0"].map((each) =>
    serves(server, version(each)),
  );
  expect(served).toEqual([true, true, true, false, false, false, false]);
  expect(serves(server, version("2.3.4", "other"))).toBe(false);
  for (const text of [
    "",
    "9P2000.L",
    "rs.jetstream.proto/",
    "rs.jetstream.proto/echo",
    "rs.jetstream.proto//1.0.0",
    "rs.jetstream.proto/echo/1.0",
    "rs.jetstream.proto/echo/1.0.0.0",
    "rs.jetstream.proto/echo/01.0.0",
    "rs.jetstream.proto/echo/1.0.x",
    "rs.jetstream.proto/a/b/1.0.0",
    `rs.jetstream.proto/echo/1.0.0+${"x".repeat(1024)}`,
  ]) {
    expect(parseVersion(text), text).toBeNull();
  }
});

test("an echo of the offer is no yes", () => {
  const service = { name: "echo", version: "1.0.0", digest: "0a1b" };
  expect(versionOf(service, "x1")).toBe("rs.jetstream.proto/echo/1.0.0+0a1b.x1");
  expect(versionOf({ ...service, digest: "" }, "x1")).toBe("rs.jetstream.proto/echo/1.0.0+x1");
  expect(isMarked(parseVersion(versionOf(service, "x1"))!, "x1-on")).toBe(false);
  expect(isMarked(parseVersion(versionOf(service, "x1-on"))!, "x1-on")).toBe(true);
});
