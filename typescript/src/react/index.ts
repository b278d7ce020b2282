// React's entry point: hooks for what a page shows, calls and serves.
export type { ConnectionState } from "./link.ts";
export {
  JetStreamProvider,
  useConnectionState,
  useHandler,
  useJetStream,
  type Connection,
  type JetStreamProviderProps,
} from "./provider.ts";
export {
  useResetRPC,
  useRPC,
  useRPCSuspense,
  type Key,
  type RPC,
  type SuspenseRPC,
} from "./rpc.ts";
export {
  useSubscription,
  type SubscriptionOptions,
  type SubscriptionState,
} from "./subscription.ts";
