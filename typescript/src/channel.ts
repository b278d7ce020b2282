// Channels: the typed clients that generated modules derive, and what a call may say.
import type { Method, Service } from "./service.ts";
import type { Subscription } from "./subscription.ts";

/** Keys with bytes that a call or its answer carries beside its values. */
export type Metadata = Readonly<Record<string, Uint8Array>>;

/** Metadata as it is given: text is sent as UTF-8. */
export type MetadataInit = Readonly<Record<string, Uint8Array | string>>;

/** What a call can say beside its arguments. */
export interface CallOptions {
  /** Milliseconds; `null` for no limit. Default: the channel's. */
  readonly timeout?: number | null | undefined;
  /** Gives the call up: the method is cancelled at the other end. */
  readonly signal?: AbortSignal | undefined;
  readonly metadata?: MetadataInit | undefined;
}

/** What all calls of a channel say that do not say otherwise. */
export interface ChannelOptions {
  /** Milliseconds; `null` for no limit. Default: the session's `callTimeout`. Not for subscriptions. */
  readonly timeout?: number | null | undefined;
  readonly metadata?: MetadataInit | undefined;
  /** Whether calls wait for a connection however long there has been none, within their own time. */
  readonly waitForReady?: boolean | undefined;
}

/** What carries the calls of a channel. Not part of the API. */
export interface Carrier {
  $call(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Promise<unknown>;
  $subscribe(
    service: Service,
    method: Method,
    args: readonly unknown[],
    options: CallOptions & ChannelOptions,
  ): Subscription<unknown, unknown>;
}

/** A generated class of channels. */
export interface ChannelType<C extends Channel = Channel> {
  new (carrier: Carrier, options?: ChannelOptions): C;
  readonly service: Service;
}

/** The typed client of one service. Generated classes derive from it; sessions make them. */
export abstract class Channel {
  readonly $carrier: Carrier;
  readonly $options: ChannelOptions;

  constructor(carrier: Carrier, options: ChannelOptions = {}) {
    this.$carrier = carrier;
    this.$options = options;
  }

  /** Calls a method, for generated code. */
  protected $call<R>(name: string, args: readonly unknown[], options?: CallOptions): Promise<R> {
    return this.$carrier.$call(...this.#ask(name, args, options)) as Promise<R>;
  }

  /** Subscribes, for generated code. */
  protected $subscribe<T, R = void>(
    name: string,
    args: readonly unknown[],
    options?: CallOptions,
  ): Subscription<T, R> {
    return this.$carrier.$subscribe(...this.#ask(name, args, options)) as Subscription<T, R>;
  }

  #ask(
    name: string,
    args: readonly unknown[],
    options: CallOptions = {},
  ): Parameters<Carrier["$call"]> {
    const { service } = this.constructor as unknown as ChannelType;
    const method = service.$methods.find((each) => each.name === name)!;
    const { timeout, metadata, ...own } = this.$options;
    return [
      service,
      method,
      args,
      {
        ...own,
        // A channel's limit is for calls: a subscription has none unless it is given one.
        timeout: method.items ? null : timeout,
        // What is `undefined` is not said.
        ...Object.fromEntries(Object.entries(options).filter(([, said]) => said !== undefined)),
        metadata: { ...metadata, ...options.metadata },
      },
    ];
  }
}

/** The same channel, whose calls say something else. */
export function withOptions<C extends Channel>(channel: C, options: ChannelOptions): C {
  const type = channel.constructor as unknown as ChannelType<C>;
  return new type(channel.$carrier, { ...channel.$options, ...options });
}

const replies = new WeakMap<object, Metadata>();

/** What a method said beside its result: of the promise that a channel's method returned, once it is settled. */
export function replyMetadata(call: Promise<unknown>): Metadata {
  return replies.get(call) ?? {};
}

/** Keeps what a method said for `replyMetadata`. Not part of the API. */
export function keepReplyMetadata(call: object, metadata: Metadata): void {
  replies.set(call, metadata);
}
