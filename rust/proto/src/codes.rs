//! Application error codes that travel when a connection is closed or a stream is given up.
//!
//! They only explain: the Rust peers send 0 for everything and ignore ours.

/// The end was meant.
pub const DONE: u32 = 0;
/// The peer broke the rules of frames or calls.
pub const PROTOCOL: u32 = 1;
/// The server is going away.
pub const SHUTDOWN: u32 = 2;
/// A lane asked for a service that is not served here.
pub const UNKNOWN_SERVICE: u32 = 3;
/// A lane asked for a version of a service that is not served here.
pub const VERSION_REFUSED: u32 = 4;
/// Nobody here takes streams of this kind.
pub const UNWANTED: u32 = 5;
/// A limit was reached; the reason names it.
pub const LIMIT: u32 = 6;
/// The peer's certificate is not accepted any more; the reason says why.
pub const REFUSED: u32 = 7;
