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
  /** The class's own code. */
  declare readonly $code: string | null;
  readonly code: string | null;
  help: string | null;
  url: string | null;

  constructor(message = "", { code, help, url }: ErrorDetails = {}) {
    super(message);
    this.code = code ?? this.$code;
    this.help = help ?? null;
    this.url = url ?? null;
  }
}

/** A connection did not come about. */
export class ConnectError extends JetStreamError {}

/** Nothing answered in time. */
export class ConnectTimeout extends ConnectError {}

/** A connection that had come about is gone; a call that had left may have run. */
export class ConnectionLost extends JetStreamError {
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
export class Unavailable extends ConnectionLost {}

/** Something was used after it had been closed. */
export class ClosedError extends JetStreamError {}

/** The server does not serve this service, or not in a version that fits. */
export class VersionMismatch extends JetStreamError {
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
export class ProtocolError extends JetStreamError {}

/** What was asked for cannot be said to this peer. */
export class LocalProtocolError extends ProtocolError {}

/** The peer broke the rules of the protocol. */
export class RemoteProtocolError extends ProtocolError {}

/** A limit was reached. */
export class LimitExceeded extends JetStreamError {
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
      `${limit}: ${size.toLocaleString("en")} is over ${side === "here" ? "our own" : "the peer's"} limit of ` +
        `${allowed.toLocaleString("en")}; the setting is ${setting}`,
    );
  }
}

/** No answer in time. The method may run on; its late answer is thrown away. */
export class DeadlineExceeded extends JetStreamError {
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

// Minifiers change the names of classes, so each says its own.
const named: [type: { prototype: unknown }, name: string, code?: string][] = [
  [JetStreamError, "JetStreamError"],
  [ConnectError, "ConnectError", "connect"],
  [ConnectTimeout, "ConnectTimeout", "connect_timeout"],
  [ConnectionLost, "ConnectionLost", "connection_lost"],
  [Unavailable, "Unavailable", "unavailable"],
  [ClosedError, "ClosedError", "closed"],
  [VersionMismatch, "VersionMismatch", "version_mismatch"],
  [EncodeError, "EncodeError", "encode"],
  [DecodeError, "DecodeError", "decode"],
  [ProtocolError, "ProtocolError", "protocol"],
  [LocalProtocolError, "LocalProtocolError", "local_protocol"],
  [RemoteProtocolError, "RemoteProtocolError", "remote_protocol"],
  [LimitExceeded, "LimitExceeded", "limit"],
  [DeadlineExceeded, "DeadlineExceeded", "deadline_exceeded"],
  [CallError, "CallError"],
  [Gap, "Gap", "gap"],
];
for (const [{ prototype }, name, code] of named) {
  Object.assign(prototype as object, { name, $code: code ? codeOf(code) : null });
}

/** A code of this package's own. */
export function codeOf(name: string): string {
  return `jetstream::${name}`;
}

const RESULT_TOO_LARGE = "return less at once, or raise the setting on the side that is named";
const GAP = /^cannot go on after (-?\d+): what is kept is that after (-?\d+), up to (-?\d+)$/;
const LIMIT =
  /^(.+): ([\d,]+) is over (our own|the peer's) limit of ([\d,]+); the setting is (Limits\((\w+)=\.{3}\))$/;
/** What requests are refused by; results only by the size of frames. */
const REQUESTS = /^(max_(metadata|subscriptions|queued)|inbound_window)$/;

/** What a peer's error is here: a `CallError`, or of a class of its own if its code has one. */
export function remoteError(
  message: string,
  details: ErrorDetails,
  backtrace: readonly string[] = [],
): CallError | LimitExceeded {
  const { code, help } = details;
  const [gap, ...positions] =
    (code === codeOf("gap") && message.length < 200 && GAP.exec(message)) || [];
  if (gap) {
    const [asked, oldest, latest] = positions.map(BigInt) as [bigint, bigint, bigint];
    return Object.assign(new Gap(asked, oldest, latest), { ...details, backtrace });
  }
  const [, limit, size, whose, allowed, setting, name] =
    (code === codeOf("limit") && LIMIT.exec(message)) || [];
  const ours = whose === "our own";
  if (limit && (name === "msize" ? help === RESULT_TOO_LARGE : ours && REQUESTS.test(name!))) {
    const [wanted, most] = [size!, allowed!].map((text) => +text.replaceAll(",", ""));
    return new LimitExceeded(limit, wanted!, most!, ours ? "peer" : "here", setting!);
  }
  return new CallError(message, details, backtrace);
}
