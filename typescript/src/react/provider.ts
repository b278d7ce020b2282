// The provider, and the hooks that need nothing but its session.
import {
  createContext,
  createElement,
  useContext,
  useEffect,
  useInsertionEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
  type ReactElement,
  type ReactNode,
} from "react";
import type { Channel, ChannelOptions, ChannelType } from "../channel.ts";
import type { Service } from "../service.ts";
import { sessionTo, type ConnectOptions, type Session } from "../session.ts";
import { Cache } from "./cache.ts";
import { Link, type ConnectionState } from "./link.ts";

interface Provided {
  readonly link: Link;
  readonly cache: Cache;
}

const Context = createContext<Provided | null>(null);

/** What a `JetStreamProvider` is given: where to connect to, or a session. */
export type JetStreamProviderProps = { readonly children?: ReactNode } & (
  | {
      /** Where the server is. Another one is another session. */
      readonly url: string | URL;
      /** As for `connect`. They count from the next attempt on. */
      readonly options?: ConnectOptions | undefined;
      readonly session?: undefined;
    }
  | {
      /** One that is open already; whoever opened it closes it. */
      readonly session: Session;
      readonly url?: undefined;
      readonly options?: undefined;
    }
);

/**
 * Gives the components below it a session.
 *
 * It connects when the first of them calls, subscribes or serves, and closes when it is unmounted.
 */
export function JetStreamProvider(props: JetStreamProviderProps): ReactElement {
  const { session, children } = props;
  const url = props.url?.toString();
  const options = useLatest(props.options);
  const provided = useMemo((): Provided => {
    const link = new Link(session ?? (() => sessionTo(url!, options.current)));
    return { link, cache: new Cache() };
  }, [session, url, options]);
  useEffect(() => provided.link.hold(), [provided]);
  return createElement(Context, { value: provided }, children);
}

export function useProvided(): Provided {
  const provided = useContext(Context);
  if (!provided) throw new Error("no <JetStreamProvider> is around this component");
  return provided;
}

/** The value of the last render that was committed, for what runs later. */
export function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  // Before the effects, also those of children.
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

/**
 * The typed client of a service: `useJetStream(EchoChannel)`.
 *
 * It is there at once; its calls wait until there is a connection.
 *
 * @param options Of the first render; `withOptions` makes others of the same channel.
 */
export function useJetStream<C extends Channel>(type: ChannelType<C>, options?: ChannelOptions): C {
  const { link } = useProvided();
  const first = useRef(options);
  return useMemo(() => new type(link, first.current), [link, type]);
}

/** Where the session stands, and how to have it opened. */
export interface Connection extends ConnectionState {
  /** Connects now, if there is neither a session nor an attempt: the way out of `"closed"`. */
  readonly connect: () => void;
}

/** The state of the session, with a render for every change. It connects nothing by itself. */
export function useConnectionState(): Connection {
  const { link } = useProvided();
  const state = useSyncExternalStore(link.subscribe, link.snapshot, link.snapshot);
  return useMemo(() => {
    const connect = (): void => void link.open();
    return { ...state, connect };
  }, [link, state]);
}

/**
 * Serves to the peer while the component is mounted: `useHandler(Page, { waved(by) {...} })`.
 *
 * What is called is the implementation of the last render, so it needs no `useCallback`. Where
 * several components serve the same service, the last one that was mounted is called.
 */
export function useHandler<H extends object>(service: Service<H>, implementation: H): void {
  const { link } = useProvided();
  const latest = useLatest(implementation);
  useEffect(() => link.handle(service, () => latest.current), [link, service, latest]);
}
