// The seam to what carries lanes: the shapes are those of W3C's WebTransport.

/** Why something was closed. */
export interface CloseInfo {
  readonly closeCode?: number | undefined;
  readonly reason?: string | undefined;
}

/** One ordered sequence of bytes each way. */
export interface LaneStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** Datagrams of a transport that has them. */
export interface Datagrams {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable?: WritableStream<Uint8Array> | undefined;
  /** As later drafts have it. */
  createWritable?(): WritableStream<Uint8Array>;
  readonly maxDatagramSize: number;
}

/** What carries the lanes of a session: one connection. */
export interface Transport {
  openLane(): Promise<LaneStream>;
  readonly incomingLanes: ReadableStream<LaneStream>;
  readonly datagrams: Datagrams | null;
  /** Resolves when it was closed in order, rejects when it was lost. */
  readonly closed: Promise<CloseInfo>;
  /** Resolves when the peer says that it is going away. */
  readonly draining?: Promise<unknown> | undefined;
  /** `false` where lanes are dear: subscriptions then share their service's. */
  readonly manyLanes?: boolean | undefined;
  close(info?: CloseInfo): void;
}
