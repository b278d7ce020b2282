//! Limits that the protocol itself sets, and defaults for those that an application sets.

/// Bytes before a frame's payload: `size u32, type u8, tag u16`.
pub const FRAME_HEADER: usize = 7;

/// The largest frame that we offer to receive. gRPC's default message limit is the same 4 MiB; a
/// service that moves larger values raises it on both sides.
pub const DEFAULT_MSIZE: u32 = 4 << 20;

/// The smallest frame limit that still carries a version and an error.
pub const MIN_MSIZE: u32 = 4096;

/// A version string longer than this is not looked at: names are short, and the string ends up in
/// logs and errors.
pub const MAX_VERSION_STRING: usize = 1024;

/// Methods of one service: types 102 to 255, two for each.
pub const MAX_METHODS: usize = 77;

/// The tag that a version frame carries, by the custom of 9P; never given to a call.
pub const NO_TAG: u16 = u16::MAX;

/// Frames of a backtrace that are kept from a peer's fault: enough to read, bounded to hold.
pub const MAX_BACKTRACE_FRAMES: usize = 1024;

/// Streams that one end of a lane has open at once, beside its calls: 1/64 of the tags.
pub const MAX_STREAMS: usize = 1024;
