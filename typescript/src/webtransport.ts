// W3C's WebTransport as a transport of lanes.
import type { ConnectOptions } from "./session.ts";
import { ConnectError } from "./errors.ts";
import { ignore } from "./lane.ts";
import type { Transport } from "./transport.ts";

/** What TypeScript's own declarations do not have in all versions. */
interface Native extends Omit<Transport, "openLane" | "incomingLanes"> {
  readonly ready: Promise<unknown>;
  readonly incomingBidirectionalStreams: Transport["incomingLanes"];
  createBidirectionalStream(): ReturnType<Transport["openLane"]>;
}

export async function webTransport(
  url: URL,
  options: ConnectOptions,
  signal: AbortSignal,
): Promise<Transport> {
  const { WebTransport: Made } = globalThis as unknown as {
    WebTransport?: new (url: string, options: object) => Native;
  };
  if (!Made) {
    throw new ConnectError("there is no WebTransport here; take jetstream-client/http");
  }
  const { serverCertificateHashes } = options;
  const native = new Made(url.href, { serverCertificateHashes });
  native.closed.catch(ignore);
  native.draining?.catch(ignore);
  const stop = (): void => native.close();
  signal.addEventListener("abort", stop);
  try {
    await native.ready;
  } finally {
    signal.removeEventListener("abort", stop);
  }
  return {
    openLane: () => native.createBidirectionalStream(),
    incomingLanes: native.incomingBidirectionalStreams,
    datagrams: native.datagrams,
    closed: native.closed,
    draining: native.draining,
    close: (info) => native.close(info),
  };
}
