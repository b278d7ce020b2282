// The browser's entry point: what applications and generated modules import.
export * from "./errors.ts";
export * from "./plan.ts";
export * from "./service.ts";
export * from "./channel.ts";
export * from "./subscription.ts";
export * from "./session.ts";
export * from "./transport.ts";
