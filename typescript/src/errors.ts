// Every error that this package throws. Names, attributes and codes are those of the Python package.

/** What an error says beside its message. */
export interface ErrorDetails {
  /** For a program; stable. */
  readonly code?: string | null | undefined;
  /** What to do about it. */
  readonly help?: string | null | undefined;
  /** Where to read more. */
  readonly url?: string | null | undefined;
}

/**
 * The root of all errors here, and what a served method throws to tell its caller something.
 *
 * It reaches the caller as a `CallError` with the same message, code, help and url. Any other error
 * reaches the caller as `jetstream::internal`, without its text.
 */
export class JetStreamError extends Error {
  readonly code: string | null;
  help: string | null;
  url: string | null;

  constructor(message = "", details: ErrorDetails = {}) {
    super(message);
    // Minifiers change the names of classes, and nobody else says which one it is.
    const own = new.target as unknown as { readonly kind: string; readonly defaultCode?: string };
    this.name = own.kind;
    this.code = details.code ?? own.defaultCode ?? null;
    this.help = details.help ?? null;
    this.url = details.url ?? null;
  }

  static readonly kind: string = "JetStreamError";
}

/** A connection did not come about. */
export class ConnectError extends JetStreamError {
  static override readonly kind: string = "ConnectError";
  static readonly defaultCode: string = "jetstream::connect";
}

/** Nothing answered in time. */
export class ConnectTimeout extends ConnectError {
  static override readonly kind = "ConnectTimeout";
  static override readonly defaultCode = "jetstream::connect_timeout";
}

/** A connection that had come about is gone; a call that had left may have run. */
export class ConnectionLost extends JetStreamError {
  static override readonly kind: string = "ConnectionLost";
  static readonly defaultCode: string = "jetstream::connection_lost";

  constructor(
    message: string,
    /** The code with which the peer closed it, if it did. */
    readonly closeCode: number | null = null,
    /** Whether the peer closed it. */
    readonly byPeer = false,
  ) {
    super(message);
  }
}

/** The server is going away, or is not there, and had not begun the call. */
export class Unavailable extends ConnectionLost {
  static override readonly kind = "Unavailable";
  static override readonly defaultCode = "jetstream::unavailable";
}

/** Something was used after it had been closed. */
export class ClosedError extends JetStreamError {
  static override readonly kind = "ClosedError";
  static readonly defaultCode = "jetstream::closed";
}

/** The server does not serve this service, or not in a version that fits. */
export class VersionMismatch extends JetStreamError {
  static override readonly kind = "VersionMismatch";
  static readonly defaultCode = "jetstream::version_mismatch";

  constructor(
    message: string,
    /** The version string that was asked for. */
    readonly asked = "",
    /** The version string that came back, if any. */
    readonly answered: string | null = null,
  ) {
    super(message);
  }
}

/** A value does not fit its type. Nothing was sent. */
export class EncodeError extends JetStreamError {
  static override readonly kind = "EncodeError";
  static readonly defaultCode = "jetstream::encode";

  constructor(
    /** Where, such as `echo.put.items[3].name`. */
    readonly path: string,
    /** What was found and what fits. */
    readonly reason: string,
  ) {
    super(path ? `${path}: ${reason}` : reason);
  }
}

/** Bytes that are no value of their type. */
export class DecodeError extends JetStreamError {
  static override readonly kind = "DecodeError";
  static readonly defaultCode = "jetstream::decode";

  constructor(
    /** Where in the value, such as `echo.put.items[3].name`. */
    readonly path: string,
    /** Where in the bytes, from 0. */
    readonly offset: number,
    /** What was found. */
    readonly reason: string,
  ) {
    super(`${path ? `${path}: ` : ""}${reason} (byte ${offset})`);
  }
}

/** The rules of the protocol were broken. */
export class ProtocolError extends JetStreamError {
  static override readonly kind: string = "ProtocolError";
  static readonly defaultCode: string = "jetstream::protocol";
}

/** What was asked for cannot be said to this peer. */
export class LocalProtocolError extends ProtocolError {
  static override readonly kind = "LocalProtocolError";
  static override readonly defaultCode = "jetstream::local_protocol";
}

/** The peer broke the rules of the protocol. */
export class RemoteProtocolError extends ProtocolError {
  static override readonly kind = "RemoteProtocolError";
  static override readonly defaultCode = "jetstream::remote_protocol";
}

const grouped = (value: number): string => value.toString().replace(/\B(?=(\d{3})+$)/g, ",");

/** A limit was reached. */
export class LimitExceeded extends JetStreamError {
  static override readonly kind = "LimitExceeded";
  static readonly defaultCode = "jetstream::limit";

  constructor(
    /** Its name. */
    readonly limit: string,
    /** What was wanted. */
    readonly size: number,
    /** What is allowed. */
    readonly allowed: number,
    /** Whose limit it is. */
    readonly side: "here" | "peer",
    /** What to change. */
    readonly setting: string,
  ) {
    super(
      `${limit}: ${grouped(size)} is over ${side === "here" ? "our own" : "the peer's"} limit of ` +
        `${grouped(allowed)}; the setting is ${setting}`,
    );
  }
}

/** No answer in time. The method may run on; its late answer is thrown away. */
export class DeadlineExceeded extends JetStreamError {
  static override readonly kind = "DeadlineExceeded";
  static readonly defaultCode = "jetstream::deadline_exceeded";

  constructor(
    /** The call, such as `echo.put`. */
    readonly what: string,
    /** How long was waited, in milliseconds. */
    readonly timeout: number,
  ) {
    super(`${what}: no answer within ${timeout} ms`);
  }
}

/** The remote method failed; its message, code, help and url are the attributes. */
export class CallError extends JetStreamError {
  static override readonly kind: string = "CallError";

  constructor(
    message = "",
    details: ErrorDetails = {},
    /** Where it happened, if the peer tells: `file:line name: message` lines. */
    readonly backtrace: readonly string[] = [],
  ) {
    super(message, details);
  }
}

/** A subscription cannot go on after a position: what came next is no longer kept. */
export class Gap extends CallError {
  static override readonly kind = "Gap";
  static readonly defaultCode = "jetstream::gap";

  constructor(
    /** The position to go on after. */
    readonly asked: bigint,
    /** The oldest position after which everything is kept. */
    readonly oldest: bigint,
    /** The position of the last item. */
    readonly latest: bigint,
    backtrace: readonly string[] = [],
  ) {
    super(
      `cannot go on after ${asked}: what is kept is that after ${oldest}, up to ${latest}`,
      { help: `fetch the present state, or take up again after ${oldest}` },
      backtrace,
    );
  }
}

const GAP =
  /^cannot go on after (-?\d{1,39}): what is kept is that after (-?\d{1,39}), up to (-?\d{1,39})$/;
const LIMIT =
  /^(.+): (\d[\d,]{0,25}) is over (our own|the peer's) limit of (\d[\d,]{0,25}); the setting is (Limits\((\w+)=\.\.\.\))$/;

const RESULT_TOO_LARGE = "return less at once, or raise the setting on the side that is named";

/** What a peer's error is here: a `CallError`, or of a class of its own if its code has one. */
export function remoteError(
  message: string,
  details: ErrorDetails,
  backtrace: readonly string[] = [],
): CallError | LimitExceeded {
  const { code, help } = details;
  if (code === Gap.defaultCode) {
    const [, asked, oldest, latest] = GAP.exec(message) ?? [];
    if (asked !== undefined) {
      const gap = new Gap(BigInt(asked), BigInt(oldest!), BigInt(latest!), backtrace);
      gap.help = help ?? null;
      gap.url = details.url ?? null;
      return gap;
    }
  }
  if (code === LimitExceeded.defaultCode) {
    const [, limit, size, whose, allowed, setting, name] = LIMIT.exec(message) ?? [];
    const result = name === "msize";
    if (
      limit !== undefined &&
      // A request is refused by the peer's own limits; a result may be over either's.
      (result
        ? help === RESULT_TOO_LARGE
        : whose === "our own" &&
          /^(max_(metadata|subscriptions|queued)|inbound_window)$/.test(name!))
    ) {
      const number = (text: string): number => Number(text.replaceAll(",", ""));
      const side = whose === "our own" ? "peer" : "here";
      return new LimitExceeded(limit, number(size!), number(allowed!), side, setting!);
    }
  }
  return new CallError(message, details, backtrace);
}
