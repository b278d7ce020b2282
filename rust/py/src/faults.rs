//! What callers are told where no exception of a method's says it.

use jetstream_proto::fault::{DEADLINE_EXCEEDED, Fault, UNAVAILABLE};

fn fault(code: &str, message: String) -> Fault {
    Fault { message, code: Some(format!("jetstream::{code}")), ..Fault::default() }
}

/// The method failed, and why is not the caller's business.
pub(crate) fn internal(what: &str) -> Fault {
    fault("internal", format!("{what} failed"))
}

/// The service has fewer methods.
pub(crate) fn unknown_method(service: &str, index: u8, kind: u8) -> Fault {
    fault("unknown_method", format!("{service} has no method {index} (type {kind})"))
}

/// The method takes what the lane cannot carry.
pub(crate) fn extension_required(what: &str) -> Fault {
    Fault {
        help: Some("offer the extension x1 when the lane is opened".to_owned()),
        ..fault(
            "extension_required",
            format!("{what} takes a stream from its caller, which only a lane with x1 carries"),
        )
    }
}

/// There was no time left.
pub(crate) fn deadline_exceeded(what: &str) -> Fault {
    let message = format!("{what} did not end before its deadline");
    Fault { message, code: Some(DEADLINE_EXCEEDED.to_owned()), ..Fault::default() }
}

/// The server ends what would go on for ever.
pub(crate) fn unavailable(what: &str) -> Fault {
    let message = format!("{what} ended because the server is shutting down");
    Fault { message, code: Some(UNAVAILABLE.to_owned()), ..Fault::default() }
}
