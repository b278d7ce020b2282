// Calls over HTTP POST: for Node, and wherever there is no WebTransport. A request has one answer, so
// there are no subscriptions, no streams from the caller, no metadata; and a time limit holds here alone.
import { Writer } from "./bytes.ts";
import { checkSpan, timeLimit, tooLarge } from "./call.ts";
import type { CallOptions, Carrier, Channel, ChannelOptions, ChannelType } from "./channel.ts";
import {
  ClosedError,
  ConnectError,
  ConnectionLost,
  DeadlineExceeded,
  EncodeError,
  JetStreamError,
  LocalProtocolError,
  RemoteProtocolError,
  VersionMismatch,
  remoteError,
} from "./errors.ts";
import { readFault } from "./ext.ts";
import { FIRST_METHOD, HEADER, MSIZE, RERROR, Splitter, whole } from "./frame.ts";
import { fromJson, parseJson, toJson } from "./json.ts";
import { messageOf } from "./lane.ts";
import type { Method, Service } from "./service.ts";
import { Subscription } from "./subscription.ts";
import { versionOf } from "./version.ts";
import { decode, encode } from "./wire.ts";

export interface HttpOptions {
  /** How values travel. Default: frames, which are smaller. */
  readonly encoding?: "frames" | "json" | undefined;
  /** Headers of every request, such as `authorization`. A function is asked for each. */
  readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>) | undefined;
  /** Milliseconds that every call has; `null` for no limit. Default: 30,000. */
  readonly callTimeout?: number | null | undefined;
  /** Default: the global one. */
  readonly fetch?: typeof fetch | undefined;
}

/**
 * Makes a session of requests: nothing is sent until something is called.
 *
 * @param url Where the server is; services are looked for below its path.
 */
export function connectHttp(url: string | URL, options: HttpOptions = {}): HttpSession {
  return new HttpSession(url, options);
}

export class HttpSession implements Carrier {
  readonly #url: URL;
  readonly #options: HttpOptions;
  readonly #over = new AbortController();

  /** Sessions are made by `connectHttp`. */
  constructor(url: string | URL, options: HttpOptions) {
    this.#url = new URL(url, (globalThis as { location?: { href: string } }).location?.href);
    if (this.#url.username || this.#url.password) {
      throw new TypeError(
        "no request takes a URL with a password; give headers: { authorization }",
      );
    }
    // What is below it, and not beside it.
    if (!this.#url.pathname.endsWith("/")) this.#url.pathname += "/";
    this.#options = options;
  }

  /** The typed client of a service: `session.channel(EchoChannel)`. */
  channel<C extends Channel>(type: ChannelType<C>, options?: ChannelOptions): C {
    return new type(this, options);
  }

  /** Ends the session: calls in flight fail with `ClosedError`. */
  async close(): Promise<void> {
    this.#over.abort(new ClosedError("the session was closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async $call(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Promise<unknown> {
    const { what } = method;
    const { callTimeout = 30_000, encoding = "frames", headers: given } = this.#options;
    const { timeout = callTimeout, signal, metadata } = options;
    if (method.stream) throw impossible(what, "streams");
    if (metadata && Object.keys(metadata).length) throw impossible(what, "metadata");
    if (args.length !== method.params.length) {
      throw new EncodeError(what, `${args.length} arguments given, ${method.params.length} wanted`);
    }
    const named = Object.fromEntries(args.map((value, at) => [method.params[at]!, value]));
    const body = encode(method.args, named, what);
    const size = HEADER + body.length;
    if (size > MSIZE) throw tooLarge(what, size, MSIZE);
    checkSpan("timeout", timeout);
    const late = timeout === null ? null : timeLimit(timeout);
    const signals = [this.#over.signal, signal, late].filter((each) => !!each);
    const abort = AbortSignal.any(signals);
    // What is wrong with them is not the connection's.
    const headers = new Headers(typeof given === "function" ? await given() : given);
    try {
      abort.throwIfAborted();
      if (encoding === "json") {
        const path = `${encodeURIComponent(service.name)}/${encodeURIComponent(method.name)}`;
        return await this.#json(
          path,
          JSON.stringify(toJson(method.args, named)),
          method,
          headers,
          abort,
        );
      }
      const out = new Writer();
      whole(out, FIRST_METHOD + 2 * method.index, 0, body);
      return await this.#frame(out.take(), service, method, headers, abort);
    } catch (error) {
      if (late?.aborted && abort.reason === late.reason) throw new DeadlineExceeded(what, timeout!);
      if (abort.aborted) throw abort.reason;
      if (error instanceof JetStreamError) throw error;
      throw lost(what, error);
    }
  }

  $subscribe(_service: Service, method: Method): Subscription<unknown, unknown> {
    return new Subscription(method, () => {
      throw impossible(method.what, "subscriptions");
    });
  }

  async #post(
    path: string,
    body: string | Uint8Array<ArrayBuffer>,
    own: Record<string, string>,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Response> {
    const { fetch: given = fetch } = this.#options;
    for (const [name, value] of Object.entries(own)) headers.set(name, value);
    return given(new URL(path, this.#url), { method: "POST", body, headers, signal });
  }

  async #frame(
    body: Uint8Array<ArrayBuffer>,
    service: Service,
    method: Method,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<unknown> {
    const type = "application/jetstream";
    const own = { "content-type": type, "x-jetstream-proto": versionOf(service) };
    const response = await this.#post("", body, own, headers, signal);
    const bytes = await read(response, method.what);
    if (!response.ok || mediaType(response) !== type) throw problem(response, bytes, service);
    const [frame, ...more] = new Splitter(MSIZE).push(bytes);
    if (frame?.kind === RERROR) throw readFault(frame.payload);
    if (frame?.kind !== FIRST_METHOD + 1 + 2 * method.index || frame.tag || more.length) {
      throw new RemoteProtocolError(`the answer to ${method.what} is no reply of its type`);
    }
    return decode(method.result, frame.payload, method.what);
  }

  async #json(
    path: string,
    body: string,
    method: Method,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<unknown> {
    const own = { "content-type": "application/json" };
    const response = await this.#post(path, body, own, headers, signal);
    const bytes = await read(response, method.what);
    if (!response.ok || mediaType(response) !== "application/json") throw problem(response, bytes);
    return fromJson(method.result, parseJson(new TextDecoder().decode(bytes)), method.what);
  }
}

/** Node's codes for what was over before anything was sent; browsers do not tell. */
const UNSENT =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(HOST|NET)UNREACH|UND_ERR_CONNECT_TIMEOUT)$|CERT|TLS|SSL|UNABLE_TO/;

/** There is no answer, for a reason that is fetch's. */
function lost(what: string, error: unknown): JetStreamError {
  const { cause } = Object(error) as { cause?: { message?: string; code?: string } };
  const why = [what, messageOf(error), cause?.message || cause?.code].filter(Boolean).join(": ");
  const made = UNSENT.test(cause?.code ?? "")
    ? new ConnectError(why)
    : new ConnectionLost(`${why}; it may have run`);
  return Object.assign(made, { cause: error });
}

function impossible(what: string, kind: string): LocalProtocolError {
  return new LocalProtocolError(`${what}: ${kind} do not go over HTTP POST; call it on a session`);
}

function mediaType(response: Response): string | undefined {
  return response.headers.get("content-type")?.split(";")[0]!.trim().toLowerCase();
}

/** The body, as far as it may be long. */
async function read(response: Response, what: string): Promise<Uint8Array> {
  const out = new Writer();
  const reader = response.body?.getReader();
  while (reader) {
    const { value, done } = await reader.read();
    if (done) break;
    out.raw(value);
    if (out.at > MSIZE) {
      await reader.cancel();
      throw tooLarge(`the answer of ${what}`, out.at, MSIZE);
    }
  }
  return out.take();
}

/** What a server says that is no answer: RFC 9457, if it is ours. */
function problem(response: Response, bytes: Uint8Array, service?: Service): JetStreamError {
  const status = `HTTP ${response.status}`;
  if (mediaType(response) !== "application/problem+json") {
    return new ConnectError(`the server answered ${status}, and no ${service ? "frame" : "JSON"}`);
  }
  let told: { detail?: unknown; code?: unknown; help?: unknown; type?: unknown } = {};
  try {
    told = (JSON.parse(new TextDecoder().decode(bytes)) ?? {}) as typeof told;
  } catch {
    // It is told as far as it can be read.
  }
  const text = (of: unknown): string | null => (typeof of === "string" ? of : null);
  const [message, code, help] = [text(told.detail) ?? status, text(told.code), text(told.help)];
  if (service && code === "jetstream::version_mismatch") {
    return new VersionMismatch(message, versionOf(service));
  }
  if (code === "jetstream::protocol") return new LocalProtocolError(message);
  const url = text(told.type);
  return remoteError(message, { code, help, url: url === "about:blank" ? null : url });
}
