// A transport over Unix sockets, for tests with a real server: each lane is a connection of its own.
import { connect, type Socket } from "node:net";
import { Writable } from "node:stream";
import type { CloseInfo, LaneStream, Transport } from "jetstream-client";

/** What comes, until the end; Node's own adapter ends when the other half has, too. */
function incoming(socket: Socket): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        let over = false;
        const end = (tell: () => void) => (): void => {
          if (!over) tell();
          over = true;
        };
        socket.pause();
        socket.on("data", (chunk: Uint8Array) => {
          if (over) return;
          controller.enqueue(new Uint8Array(chunk));
          if (!(controller.desiredSize! > 0)) socket.pause();
        });
        socket.on(
          "end",
          end(() => controller.close()),
        );
        socket.on("error", (error) => end(() => controller.error(error))());
        socket.on(
          "close",
          end(() => controller.error(new Error("the socket is gone"))),
        );
      },
      pull: () => void socket.resume(),
      cancel: () => void socket.destroy(),
    },
    { highWaterMark: 64 << 10, size: (chunk) => chunk.length },
  );
}

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
    return {
      readable: incoming(socket),
      writable: Writable.toWeb(socket) as WritableStream<Uint8Array>,
    };
  };
  // Whether somebody listens is known before the session is there.
  await (await openLane()).readable.cancel();
  return {
    openLane,
    manyLanes,
    closed,
    incomingLanes: new ReadableStream(),
    datagrams: null,
    close: (info = {}) => end(info),
  };
}
