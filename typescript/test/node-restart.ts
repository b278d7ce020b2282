// A session that stays up while its server goes and comes back. Started by tests/web/test_node.py with
// the socket's path; says what it has come to, one line each, and goes on at each line that it reads.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { ConnectionLost, connect } from "jetstream-client";
import { LabChannel } from "./node-service.ts";
import { unixTransport } from "./unix.ts";

const path = process.argv[2]!;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = async (text: string): Promise<void> => {
  console.log(text);
  await lines.next();
};

const session = await connect("unix:", {
  transport: () => unixTransport(path),
  reconnect: { patience: 30_000 },
});
const lab = session.channel(LabChannel);
assert.equal(await lab.add(1, 2), 3);
const begun = lab.wait("begun").catch((error: unknown) => error);
const ticks = lab.ticks(2 ** 32 - 1);
await ticks.next();
const states: string[] = [];
session.onStateChange((state) => states.push(state));

await say("up");
// The server goes, and comes back: what is called meanwhile waits.
const waiting = Promise.all([lab.add(2, 3), lab.echo("again")]);
await assert.rejects(async () => {
  for await (const _ of ticks);
}, ConnectionLost);
await say("waiting");
assert.deepEqual(await waiting, [5, "again"]);
assert(((await begun) as Error) instanceof Error);
assert.equal(session.state, "connected");
assert.equal(states.at(-1), "connected");
await session.close();
console.log("down");
lines.return?.();
process.stdin.destroy();
