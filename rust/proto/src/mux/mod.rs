//! Calls on a lane: which tag is whose. No I/O and no clock; times are given.

mod budget;
mod callee;
mod caller;
mod cancel;
mod deadlines;
mod handover;
mod reserve;
mod window;

pub use budget::{Arrived, Budget, Share};
pub use callee::Callee;
pub use caller::{Caller, Reply, Shape, Ticket};
pub use cancel::{Cancel, cancel, cancelled, ended};
pub use deadlines::Deadlines;
pub use handover::Kept;
pub use reserve::spares_a_lane;
pub use window::{Receiving, Sending};

/// A peer broke the rules of calls; the lane is beyond repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// A reply under a tag that no call waits for.
    #[error("a reply of type {kind} under tag {tag}, which no call has")]
    UnknownTag {
        /// The reply's type.
        kind: u8,
        /// The tag it came under.
        tag: u16,
    },
    /// A reply whose type belongs to another method.
    #[error("a reply of type {kind} under tag {tag}, which waits for type {expected}")]
    WrongReply {
        /// The reply's type.
        kind: u8,
        /// The tag it came under.
        tag: u16,
        /// The type that the call waits for.
        expected: u8,
    },
    /// A request under a tag whose earlier request has not been answered.
    #[error("a request under tag {tag}, which is still being answered")]
    DuplicateTag {
        /// The tag used twice.
        tag: u16,
    },
    /// Metadata of a request, and then not that request.
    #[error("the request under tag {tag} was announced, and something else came")]
    Interrupted {
        /// The tag that was announced.
        tag: u16,
    },
}
