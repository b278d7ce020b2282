// W3C's WebTransport as a transport of lanes.
import type { ConnectOptions } from "./session.ts";
import { ConnectError } from "./errors.ts";
import { ignore } from "./lane.ts";
import type { CloseInfo, Datagrams, Transport } from "./transport.ts";

/** What differs between drafts, and what TypeScript's own declarations lack. */
interface Native {
  readonly ready: Promise<unknown>;
  readonly closed: Promise<CloseInfo>;
  readonly draining?: Promise<unknown>;
  readonly incomingBidirectionalStreams: Transport["incomingLanes"];
  readonly datagrams: Omit<Datagrams, "writable"> & {
    readonly writable?: Datagrams["writable"];
    createWritable?(): Datagrams["writable"];
  };
  createBidirectionalStream(): ReturnType<Transport["openLane"]>;
  close(info?: CloseInfo): void;
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
    throw new ConnectError(
      "there is no WebTransport here; jetstream-client/http calls over HTTP POST instead",
    );
  }
  const { serverCertificateHashes } = options;
  const native = new Made(url.href, serverCertificateHashes ? { serverCertificateHashes } : {});
  native.closed.catch(ignore);
  native.draining?.catch(ignore);
  const stop = (): void => native.close();
  signal.addEventListener("abort", stop);
  try {
    await native.ready;
  } finally {
    signal.removeEventListener("abort", stop);
  }
  const { datagrams } = native;
  const writable = datagrams.writable ?? datagrams.createWritable?.();
  return {
    openLane: () => native.createBidirectionalStream(),
    incomingLanes: native.incomingBidirectionalStreams,
    datagrams: writable
      ? {
          readable: datagrams.readable,
          writable,
          get maxDatagramSize() {
            return datagrams.maxDatagramSize;
          },
        }
      : null,
    closed: native.closed,
    draining: native.draining,
    close: (info) => native.close(info),
  };
}
