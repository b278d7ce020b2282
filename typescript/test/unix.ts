// A transport over Unix sockets, for tests with a real server: each lane is a connection of its own.
import { connect } from "node:net";
import { Duplex } from "node:stream";
import type { CloseInfo, LaneStream, Transport } from "jetstream-client";

/** Connects to the socket at `path`. */
export async function unixTransport(path: string, manyLanes = true): Promise<Transport> {
  let close!: (info: CloseInfo) => void;
  let over = false;
  const closed = new Promise<CloseInfo>((go) => (close = go));
  const sockets = new Set<ReturnType<typeof connect>>();
  const end = (info: CloseInfo): void => {
    over = true;
    close(info);
    for (const socket of sockets) socket.destroy();
  };
  const openLane = async (): Promise<LaneStream> => {
    const socket = connect({ path, allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    socket.on("error", () => {});
    if (over) {
      socket.destroy();
      throw new Error("closed");
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    const web = Duplex.toWeb(socket);
    return {
      readable: web.readable as ReadableStream<Uint8Array>,
      writable: web.writable as WritableStream<Uint8Array>,
    };
  };
  // Whether somebody listens is known before the session is there.
  const probe = await openLane();
  await probe.writable.close();
  await probe.readable.cancel();
  return {
    openLane,
    manyLanes,
    closed,
    incomingLanes: new ReadableStream(),
    datagrams: null,
    close: (info = {}) => end(info),
  };
}
