// Sessions: the association with a peer. It may outlive its connection.
import type { Channel, ChannelOptions, ChannelType, MetadataInit } from "./channel.ts";
import type { Service } from "./service.ts";
import type { CloseInfo, Transport } from "./transport.ts";

export type SessionState = "connecting" | "connected" | "reconnecting" | "draining" | "closed";

/** How a session stays up. All times in milliseconds. */
export interface ReconnectOptions {
  /** The first distance between attempts. Default: 50. */
  readonly least?: number | undefined;
  /** The longest. Default: 2,000. */
  readonly most?: number | undefined;
  /** How long calls wait for a connection before they fail with `Unavailable`. Default: 2,000. */
  readonly patience?: number | undefined;
}

export interface ConnectOptions {
  /** Goes into the URL as `?token=`, where the server looks for who we are. A function is asked at each attempt. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** Ends the attempt. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to connect within. Default: 10,000. */
  readonly timeout?: number | undefined;
  /** Milliseconds that every call has; `null` for no limit. Default: 30,000. */
  readonly callTimeout?: number | null | undefined;
  /** Whether the session goes on over another connection when one is lost. Default: yes. */
  readonly reconnect?: boolean | ReconnectOptions | undefined;
  /** Metadata of every call. */
  readonly metadata?: MetadataInit | undefined;
  /** Short-lived certificates that are taken without an authority: SHA-256 of each. */
  readonly serverCertificateHashes?:
    readonly { readonly algorithm: string; readonly value: BufferSource }[] | undefined;
  /** Makes the connection. Default: W3C's WebTransport. */
  readonly transport?: ((url: URL, signal: AbortSignal) => Promise<Transport>) | undefined;
}

export interface Session extends AsyncDisposable {
  readonly state: SessionState;
  onStateChange(listener: (state: SessionState) => void): () => void;
  channel<C extends Channel>(type: ChannelType<C>, options?: ChannelOptions): C;
  serve<H extends object>(service: Service<H>, implementation: H): () => void;
  readonly closed: Promise<CloseInfo>;
  close(code?: number, reason?: string): Promise<void>;
}

/** Opens a session. */
export declare function connect(url: string | URL, options?: ConnectOptions): Promise<Session>;
