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
  declare readonly code: string | null;
  declare help: string | null;
  declare url: string | null;

  constructor(message = "", details: ErrorDetails = {}) {
    super(message);
    const { $code } = this;
    Object.assign(this, { help: null, url: null, ...details, code: details.code ?? $code });
  }
}

/** A connection did not come about. */
export class ConnectError extends JetStreamError {}

/** Nothing answered in time. */
export class ConnectTimeout extends ConnectError {}

/** A connection that had come about is gone; a call that had left may have run. */
export class ConnectionLost extends JetStreamError {
  /** The code with which the peer closed it, if it did. */
  declare readonly closeCode: number | null;
  /** Whether the peer closed it. */
  declare readonly byPeer: boolean;

  constructor(message: string, closeCode: number | null = null, byPeer = false) {
    super(message, { closeCode, byPeer } as ErrorDetails);
  }
}

/** The server is going away, or is not there, and had not begun the call. */
export class Unavailable extends ConnectionLost {}

/** Something was used after it had been closed. */
export class ClosedError extends JetStreamError {}

/** The server does not serve this service, or not in a version that fits. */
export class VersionMismatch extends JetStreamError {
  /** The version string that was asked for. */
  declare readonly asked: string;
  /** The version string that came back, if any. */
  declare readonly answered: string | null;

  constructor(message: string, asked = "", answered: string | null = null) {
    super(message, { asked, answered } as ErrorDetails);
  }
}

/** A value does not fit its type. Nothing was sent. */
export class EncodeError extends JetStreamError {
  /** Where, such as `echo.put.items[3].name`. */
  declare readonly path: string;
  /** What was found and what fits. */
  declare readonly reason: string;

  constructor(path: string, reason: string) {
    super(`${path}: ${reason}`, { path, reason } as ErrorDetails);
  }
}

/** Bytes that are no value of their type. */
export class DecodeError extends JetStreamError {
  /** Where in the value, such as `echo.put.items[3].name`. */
  declare readonly path: string;
  /** Where in the bytes, from 0. */
  declare readonly offset: number;
  /** What was found. */
  declare readonly reason: string;

  constructor(path: string, reason: string, offset = 0) {
    super(`${path}: ${reason} (byte ${offset})`, { path, offset, reason } as ErrorDetails);
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
  /** Its name. */
  declare readonly limit: string;
  /** What was wanted. */
  declare readonly size: number;
  /** What is allowed. */
  declare readonly allowed: number;
  /** Whose limit it is. */
  declare readonly side: "here" | "peer";
  /** What to change. */
  declare readonly setting: string;

  constructor(limit: string, size: number, allowed: number, side: "here" | "peer", name: string) {
    const setting = `Limits(${name}=...)`;
    const whose = side === "here" ? "our own" : "the peer's";
    const [wanted, most] = [size, allowed].map((number) => number.toLocaleString("en"));
    super(`${limit}: ${wanted} is over ${whose} limit of ${most}; the setting is ${setting}`, {
      limit,
      size,
      allowed,
      side,
      setting,
    } as ErrorDetails);
  }
}

/** No answer in time. The method may run on; its late answer is thrown away. */
export class DeadlineExceeded extends JetStreamError {
  /** The call, such as `echo.put`. */
  declare readonly what: string;
  /** How long was waited, in milliseconds. */
  declare readonly timeout: number;

  constructor(what: string, timeout: number) {
    super(`${what}: no answer within ${timeout} ms`, { what, timeout } as ErrorDetails);
  }
}

/** The remote method failed; its message, code, help and url are the attributes. */
export class CallError extends JetStreamError {
  /** Where it happened, if the peer tells: `file:line name: message` lines. */
  declare readonly backtrace: readonly string[];

  constructor(message = "", details: ErrorDetails = {}, backtrace: readonly string[] = []) {
    super(message, { ...details, backtrace } as ErrorDetails);
  }
}

/** A subscription cannot go on after a position: what came next is no longer kept. */
export class Gap extends CallError {
  /** The position to go on after. */
  declare readonly asked: bigint;
  /** The oldest position after which everything is kept. */
  declare readonly oldest: bigint;
  /** The position of the last item. */
  declare readonly latest: bigint;

  constructor(asked: bigint, oldest: bigint, latest: bigint) {
    super(`cannot go on after ${asked}: what is kept is that after ${oldest}, up to ${latest}`, {
      help: `fetch the present state, or take up again after ${oldest}`,
      asked,
      oldest,
      latest,
    } as ErrorDetails);
  }
}

/** A code of this package's own. */
export const codeOf = (name: string): string => `jetstream::${name}`;

// Minifiers change the names of classes, so each is told its own. Codes are made of names.
for (const [name, { prototype }] of Object.entries({
  JetStreamError,
  ConnectError,
  ConnectTimeout,
  ConnectionLost,
  Unavailable,
  ClosedError,
  VersionMismatch,
  EncodeError,
  DecodeError,
  ProtocolError,
  LocalProtocolError,
  RemoteProtocolError,
  LimitExceeded,
  DeadlineExceeded,
  CallError,
  Gap,
})) {
  const words = name.replace(/(?<=Limit)Exceeded|Error$/, "").replace(/\B[A-Z]/g, "_$&");
  const $code = /^(JetStream|Call)E/.test(name) ? null : codeOf(words.toLowerCase());
  Object.assign(prototype, { name, $code });
}

/** What a limit says in addition that a result was over. */
export const RESULT_TOO_LARGE =
  "return less at once, or raise the setting on the side that is named";
const GAP = /^cannot go on after (-?\d+): what is kept is that after (-?\d+), up to (-?\d+)$/;
// Requests are refused by a peer's own limits; results only by the size of frames.
const LIMIT =
  /^(.+): ([\d,]+) is over (our own|the peer's) limit of ([\d,]+); the setting is Limits\((max_metadata|max_subscriptions|max_queued|inbound_window|msize)=\.{3}\)$/;

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
    return Object.assign(new Gap(asked, oldest, latest), details, { backtrace });
  }
  const [, limit, size, whose, allowed, name] =
    (code === codeOf("limit") && LIMIT.exec(message)) || [];
  const side = whose === "our own" ? "peer" : "here";
  if (name === "msize" ? help === RESULT_TOO_LARGE : limit && side === "peer") {
    const [wanted, most] = [size!, allowed!].map((text) => +text.replaceAll(",", ""));
    return new LimitExceeded(limit!, wanted!, most!, side, name!);
  }
  return new CallError(message, details, backtrace);
}
