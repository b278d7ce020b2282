//! The one mapping from what can go wrong in Rust to the exceptions of `jetstream._errors`.

use jetstream_net::tls::{FailureKind, PeerRejection, TlsFailure};
use jetstream_net::{LaneEnd, Lost, SessionError};
use jetstream_proto::ext::ExtError;
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::FrameError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

pyo3::import_exception!(jetstream._errors, CallError);
pyo3::import_exception!(jetstream._errors, ClosedError);
pyo3::import_exception!(jetstream._errors, ConnectError);
pyo3::import_exception!(jetstream._errors, ConnectionLost);
pyo3::import_exception!(jetstream._errors, DeadlineExceeded);
pyo3::import_exception!(jetstream._errors, JetStreamError);
pyo3::import_exception!(jetstream._errors, LimitExceeded);
pyo3::import_exception!(jetstream._errors, LocalProtocolError);
pyo3::import_exception!(jetstream._errors, NoSharedProtocol);
pyo3::import_exception!(jetstream._errors, SessionRefused);
pyo3::import_exception!(jetstream._errors, RemoteProtocolError);
pyo3::import_exception!(jetstream._errors, StreamClosed);
pyo3::import_exception!(jetstream._errors, TlsConfigError);
pyo3::import_exception!(jetstream._errors, TlsError);
pyo3::import_exception!(jetstream._errors, Unavailable);
pyo3::import_exception!(jetstream._errors, VersionMismatch);

fn make<'py>(
    class: Bound<'py, pyo3::types::PyType>,
    args: impl pyo3::call::PyCallArgs<'py>,
    keywords: &[(&str, Bound<'py, PyAny>)],
) -> PyErr {
    let build = || {
        let kwargs = PyDict::new(class.py());
        for (name, value) in keywords {
            kwargs.set_item(name, value)?;
        }
        class.call(args, Some(&kwargs))
    };
    match build() {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// What the peer's `Rerror` says.
pub(crate) fn call_error(py: Python<'_>, fault: &Fault) -> PyErr {
    static MADE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let lines = fault
        .backtrace
        .iter()
        .map(|frame| format!("{}:{} {}: {}", frame.file, frame.line, frame.name, frame.message));
    let build = || -> PyResult<PyErr> {
        let words = (
            &fault.message,
            fault.code.as_deref(),
            fault.help.as_deref(),
            fault.url.as_deref(),
            PyTuple::new(py, lines.collect::<Vec<_>>())?,
        );
        // The class depends on the code, and which codes have one is Python's business.
        let made = MADE.import(py, "jetstream._errors", "remote_error")?.call1(words)?;
        Ok(PyErr::from_value(made))
    };
    build().unwrap_or_else(|error| error)
}

/// A call ran out of time.
pub(crate) fn deadline(py: Python<'_>, what: &str, seconds: f64, inherited: bool) -> PyErr {
    make(py.get_type::<DeadlineExceeded>(), (what, seconds, inherited), &[])
}

/// A frame that would be too large for the peer or for us.
pub(crate) fn too_large(py: Python<'_>, what: &str, error: FrameError, side: &str) -> PyErr {
    let (size, limit) = match error {
        FrameError::TooLarge { size, limit } => (size, limit),
        FrameError::TooSmall { size } => (u64::from(size), 0),
    };
    exceeded(py, &format!("message size of {what}"), size, limit.into(), side, "msize")
}

/// What a method gives is too large for a frame: its caller is told by the same error. Only what this
/// end itself refused has that advice, so that a limit which the method met elsewhere, and let pass,
/// is not taken for one between it and its caller.
pub(crate) fn result_too_large(py: Python<'_>, what: &str, error: FrameError, side: &str) -> PyErr {
    let error = too_large(py, what, error, side);
    static ADVICE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let advised = ADVICE
        .import(py, "jetstream._errors", "RESULT_TOO_LARGE")
        .and_then(|advice| error.value(py).setattr(intern!(py, "help"), advice));
    match advised {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

/// Metadata over our own limit.
pub(crate) fn metadata_too_large(py: Python<'_>, of: &str, error: &ExtError) -> PyErr {
    let (size, limit) = match error {
        ExtError::TooLarge { size, limit } => (*size, *limit),
        // Only a limit that the peer could not know is told like this.
        other => return remote_protocol(other.to_string()),
    };
    over_limit(py, &format!("metadata of {of}"), size as u64, limit as u64, "max_metadata")
}

/// Something is over a limit of ours, which this setting sets.
pub(crate) fn over_limit(
    py: Python<'_>,
    limit: &str,
    size: u64,
    allowed: u64,
    setting: &str,
) -> PyErr {
    exceeded(py, limit, size, allowed, "here", setting)
}

/// Something is over a limit of ours (`here`) or of the `peer`, which this setting sets.
fn exceeded(
    py: Python<'_>,
    limit: &str,
    size: u64,
    allowed: u64,
    side: &str,
    setting: &str,
) -> PyErr {
    let setting = format!("Limits({setting}=...)");
    make(py.get_type::<LimitExceeded>(), (limit, size, allowed, side, setting), &[])
}

/// The peer broke the rules.
pub(crate) fn remote_protocol(message: impl Into<String>) -> PyErr {
    RemoteProtocolError::new_err(message.into())
}

/// The peer does not understand what only our own ends say.
pub(crate) fn no_extension(what: &str, part: &str) -> PyErr {
    LocalProtocolError::new_err(format!(
        "{what}: {part} needs a peer that speaks the extension x1, and this one does not"
    ))
}

/// A connection that carries one lane, which the other end opened.
pub(crate) fn cannot_open_lane() -> PyErr {
    LocalProtocolError::new_err(
        "this connection carries a single lane, which the other end opened for its calls; to be \
         called back, the other end has to connect over QUIC",
    )
}

/// The called end gave a call up.
pub(crate) fn cancelled_by_peer(py: Python<'_>, what: &str) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let code = "jetstream::cancelled".into_pyobject(py)?.into_any();
        let message = format!("{what} was cancelled at the other end");
        Ok(make(py.get_type::<CallError>(), (message,), &[("code", code)]))
    };
    build().unwrap_or_else(|error| error)
}

/// A peer that nothing holds up sends faster than its items are taken.
pub(crate) fn stream_overflow(py: Python<'_>, held: usize, window: u32) -> PyErr {
    let limit = "bytes of a subscription ahead of its taker";
    over_limit(py, limit, held as u64, window.into(), "stream_window")
}

/// The server is going away and had not begun the call.
pub(crate) fn unavailable() -> PyErr {
    Unavailable::new_err(
        "the server is shutting down and had not begun the call; send it elsewhere",
    )
}

/// A connection could not even be begun.
pub(crate) fn connect(py: Python<'_>, error: &jetstream_net::ConnectError) -> PyErr {
    let class = py.get_type::<ConnectError>();
    let message = error.to_string();
    if !matches!(error, jetstream_net::ConnectError::ServerName(_)) {
        return make(class, (message,), &[]);
    }
    match "jetstream::server_name".into_pyobject(py) {
        Ok(code) => make(class, (message,), &[("code", code.into_any())]),
        Err(never) => match never {},
    }
}

/// There is no connection, and the call does not wait for one.
pub(crate) fn no_connection(why: &str) -> PyErr {
    Unavailable::new_err(why.to_owned())
}

/// There is no connection, and enough calls wait for one.
pub(crate) fn too_many_waiting(py: Python<'_>, size: usize, allowed: usize) -> PyErr {
    let limit = "calls that wait for a connection";
    over_limit(py, limit, size as u64, allowed as u64, "max_waiting")
}

/// The connection under a call is gone, for a reason of ours.
pub(crate) fn connection_lost(message: String) -> PyErr {
    ConnectionLost::new_err(message)
}

/// Something of ours was used after it was closed.
pub(crate) fn closed(what: &str) -> PyErr {
    ClosedError::new_err(format!("{what} is closed"))
}

/// A subscription that its taker left, and is asked for more, or for its result.
pub(crate) fn given_up(py: Python<'_>, what: &str) -> PyErr {
    static MADE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = MADE
        .import(py, "jetstream._errors", "given_up")
        .and_then(|given_up| given_up.call1((what,)));
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// The server goes away, and has ended a subscription for that.
pub(crate) fn ended_by_server(py: Python<'_>, message: String) -> PyErr {
    let by_peer = pyo3::types::PyBool::new(py, true).to_owned().into_any();
    make(py.get_type::<ConnectionLost>(), (message,), &[("by_peer", by_peer)])
}

/// The server refused the version.
pub(crate) fn version(
    py: Python<'_>,
    message: String,
    asked: &str,
    answered: Option<&str>,
) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let keywords = [
            ("asked", asked.into_pyobject(py)?.into_any()),
            ("answered", answered.into_pyobject(py)?.into_any()),
        ];
        Ok(make(py.get_type::<VersionMismatch>(), (message,), &keywords))
    };
    build().unwrap_or_else(|error| error)
}

/// A WebTransport session that cannot even be asked for.
pub(crate) fn session(error: &SessionError) -> PyErr {
    match error {
        SessionError::Malformed(_) => PyValueError::new_err(error.to_string()),
        _ => ConnectError::new_err(error.to_string()),
    }
}

/// The server did not accept a session.
fn session_refused(py: Python<'_>, status: u16) -> PyErr {
    let why = format!("the server did not accept the session: it answered {status}");
    match status.into_pyobject(py) {
        Ok(status) => {
            make(py.get_type::<SessionRefused>(), (why,), &[("status", status.into_any())])
        }
        Err(never) => match never {},
    }
}

/// The connection under a call is gone.
pub(crate) fn lost(py: Python<'_>, reason: &Lost) -> PyErr {
    let (message, code, by_peer) = match reason {
        Lost::Here => return closed("the connection"),
        Lost::Tls(failure) => return tls_failure(py, failure),
        Lost::Rejected(rejection) => return rejected(py, rejection),
        Lost::Closed { code, reason } => {
            let why = if reason.is_empty() { format!("code {code}") } else { reason.clone() };
            (format!("the peer closed the connection: {why}"), Some(*code), true)
        }
        Lost::Aborted { code: CONNECTION_REFUSED, .. } => {
            let why = "the server refused the connection: it takes no more of them now; the setting \
                       is its Limits(max_connections=...), or Limits(max_handshakes=...) for those \
                       that are coming about";
            return ConnectError::new_err(why);
        }
        Lost::Aborted { code, reason } => {
            let why = if reason.is_empty() { format!("code {code:#x}") } else { reason.clone() };
            (format!("the peer aborted the connection: {why}"), Some(*code), true)
        }
        Lost::Failed { code, reason } => {
            (format!("the connection failed: {reason} (code {code:#x})"), None, false)
        }
        Lost::Violated { code, reason } => {
            let why = format!("the peer broke a rule of its protocol: {reason} (code {code:#x})");
            (why, None, false)
        }
        Lost::Reset => {
            ("the peer has forgotten the connection; it may have restarted".to_owned(), None, true)
        }
        Lost::TimedOut => {
            ("nothing was heard from the peer for the idle timeout".to_owned(), None, false)
        }
        Lost::HandshakeTimedOut { after } => {
            let why = format!(
                "the handshake was not over within {} s; the setting is \
                 Limits(handshake_timeout=...)",
                after.as_secs_f64()
            );
            (why, None, false)
        }
        Lost::Silent => {
            let why = "nothing is heard from the peer, which answers on another connection";
            (why.to_owned(), None, false)
        }
        Lost::Ended => ("the peer ended the connection".to_owned(), None, true),
        Lost::Broken { reason } => (format!("the connection broke: {reason}"), None, false),
        Lost::Declined { status } => return session_refused(py, *status),
        Lost::Refused { reason } => return ConnectError::new_err(reason.clone()),
        Lost::VersionMismatch => {
            ("the peer speaks no version of QUIC that we do".to_owned(), None, false)
        }
    };
    let build = || -> PyResult<PyErr> {
        let keywords = [
            ("close_code", code.into_pyobject(py)?.into_any()),
            ("by_peer", by_peer.into_pyobject(py)?.to_owned().into_any()),
        ];
        Ok(make(py.get_type::<ConnectionLost>(), (message,), &keywords))
    };
    build().unwrap_or_else(|error| error)
}

/// We refused the peer.
fn tls_failure(py: Python<'_>, failure: &TlsFailure) -> PyErr {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let build = || -> PyResult<PyErr> {
        if let FailureKind::NoSharedProtocol { ours, theirs } = &failure.kind {
            let ours: Vec<String> = ours.iter().map(text).collect();
            let theirs: Vec<String> = theirs.iter().map(text).collect();
            let (offered, served) =
                if failure.peer.is_server() { (ours, theirs) } else { (theirs, ours) };
            let keywords = [
                ("offered", PyTuple::new(py, offered)?.into_any()),
                ("served", PyTuple::new(py, served)?.into_any()),
            ];
            let class = py.get_type::<NoSharedProtocol>();
            return Ok(make(class, (failure.summary(),), &keywords));
        }
        let facts = PyTuple::new(py, failure.details())?;
        let keywords = [
            ("reason", failure.kind.slug().into_pyobject(py)?.into_any()),
            ("facts", facts.into_any()),
        ];
        Ok(make(py.get_type::<TlsError>(), (failure.summary(),), &keywords))
    };
    build().unwrap_or_else(|error| error)
}

/// A server that takes no connection (RFC 9000, section 20.1).
const CONNECTION_REFUSED: u64 = 2;

/// The TLS alert that says that there is no protocol in common (RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The peer refused us.
fn rejected(py: Python<'_>, rejection: &PeerRejection) -> PyErr {
    if rejection.alert == NO_APPLICATION_PROTOCOL {
        return NoSharedProtocol::new_err(rejection.text.clone());
    }
    let build = || -> PyResult<PyErr> {
        let keywords = [("reason", rejection.name.into_pyobject(py)?.into_any())];
        let message = format!("rejected by the peer: {}", rejection.text);
        Ok(make(py.get_type::<TlsError>(), (message,), &keywords))
    };
    build().unwrap_or_else(|error| error)
}

/// The lane under a call is gone.
pub(crate) fn lane_ended(py: Python<'_>, end: &LaneEnd) -> PyErr {
    match end {
        LaneEnd::Finished => ConnectionLost::new_err("the peer ended the lane"),
        LaneEnd::Truncated { bytes } => remote_protocol(format!(
            "the peer ended the lane inside a frame, {bytes} bytes after its beginning"
        )),
        LaneEnd::Reset { code } | LaneEnd::Stopped { code } => {
            ConnectionLost::new_err(format!("the peer gave the lane up, with code {code}"))
        }
        LaneEnd::Broken(error) => remote_protocol(error.to_string()),
        LaneEnd::Lost(reason) => lost(py, reason),
    }
}

/// The peer gave up sending on a stream.
pub(crate) fn stream_reset(py: Python<'_>, code: u64) -> PyErr {
    stream_error(py, format!("the peer reset the stream, with code {code}"), code)
}

/// The peer gave up receiving on a stream.
pub(crate) fn stream_stopped(py: Python<'_>, code: u64) -> PyErr {
    stream_error(py, format!("the peer stopped reading the stream, with code {code}"), code)
}

fn stream_error(py: Python<'_>, message: String, code: u64) -> PyErr {
    match code.into_pyobject(py) {
        Ok(code) => {
            make(py.get_type::<StreamClosed>(), (message,), &[("close_code", code.into_any())])
        }
        Err(never) => match never {},
    }
}

/// A datagram that can never be sent.
pub(crate) fn datagram(reason: String) -> PyErr {
    JetStreamError::new_err(format!("the datagram cannot be sent: {reason}"))
}

/// The wrong thread, or a process that was forked.
pub(crate) fn misuse(message: &str) -> PyErr {
    PyRuntimeError::new_err(message.to_owned())
}
