//! What an application sends: its answer, in order.

use std::fs::File;

use bytes::Bytes;
use jetstream_net::{Fields, Reply as Part, ReplyError};
use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use super::Exchange;
use super::exchange::{Head, Inner, Phase};
use super::message::{Message, bytes_of};
use crate::shared::lock;

/// What becomes of the exchange once a part of the answer was taken.
struct Then {
    part: Part,
    phase: Phase,
    status: Option<u16>,
}

impl Exchange {
    /// Takes a message of the application. True if so much is unsent that it is to wait.
    pub(super) fn take(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
        let message = Message::of(message)?;
        let kind = message.kind()?;
        match kind.to_str()? {
            "http.response.start" if !self.is_socket => self.start(&message),
            "http.response.body" if !self.is_socket => self.body(py, &message),
            "http.response.trailers" => self.trailers(py, &message),
            "http.response.early_hint" if !self.is_socket => self.early_hint(py, &message),
            "http.response.pathsend" => self.path(py, &message),
            "websocket.send" => self.send_message(py, &message),
            "websocket.accept" => self.accept(py, &message),
            "websocket.close" => self.close_message(py, &message),
            "websocket.http.response.start" if self.is_socket => self.start(&message),
            "websocket.http.response.body" if self.is_socket => self.body(py, &message),
            other => Err(PyRuntimeError::new_err(format!(
                "{other:?} is no message that the answer to a request is made of"
            ))),
        }
    }

    /// # Errors
    /// The peer is gone: whoever streams without end finds out that way (ASGI, since version 2.4).
    fn check_gone(inner: &Inner) -> PyResult<()> {
        if inner.gone { Err(disconnected()) } else { Ok(()) }
    }

    fn start(&self, message: &Message<'_, '_>) -> PyResult<bool> {
        let status = message.status()?;
        let trailers = message.flag(intern!(message.py(), "trailers"))?;
        let mut fields = self.usual_fields();
        let mut length = message.headers(&mut fields)?;
        self.add_alt_svc(&mut fields);
        if self.bodiless || matches!(status, 204 | 304) {
            length = None;
        }
        if status == 204 {
            fields = without_length(&fields);
        }
        let mut inner = lock(&self.inner);
        Self::check_gone(&inner)?;
        let open = inner.socket.as_ref().is_some_and(|socket| !socket.is_asked());
        if !matches!(inner.phase, Phase::Silent) || open {
            return Err(out_of_order("http.response.start", &inner.phase));
        }
        if !(200..=999).contains(&status) {
            return Err(PyValueError::new_err(format!("{status} is no status of an answer")));
        }
        if self.is_socket && status < 300 {
            // Over HTTP/2 and HTTP/3 it would say that the WebSocket is open.
            return Err(PyValueError::new_err(format!("{status} does not deny a WebSocket")));
        }
        // The body's beginning leaves with it.
        inner.phase = Phase::Held(Head { status, fields, length, trailers });
        Ok(false)
    }

    fn body(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let data = message.body()?;
        let more = message.flag(intern!(py, "more_body"))?;
        let then = {
            let mut inner = lock(&self.inner);
            Self::check_gone(&inner)?;
            match &mut inner.phase {
                Phase::Held(head) => {
                    let left = check_length(head.length, data.len(), more)?;
                    let (status, trailers) = (head.status, head.trailers);
                    // Should it not be taken, it is here still.
                    let fields = head.fields.clone();
                    let phase = after_body(more, trailers, left);
                    let end = matches!(phase, Phase::Over);
                    let part = Part::Head { status, fields, body: data, end };
                    Then { part, phase, status: Some(status) }
                }
                Phase::Body { left, trailers } => {
                    let left = check_length(*left, data.len(), more)?;
                    let phase = after_body(more, *trailers, left);
                    let end = matches!(phase, Phase::Over);
                    Then { part: Part::Body { data, end }, phase, status: None }
                }
                other => return Err(out_of_order("http.response.body", other)),
            }
        };
        self.give(py, then)
    }

    fn trailers(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let mut more_fields = Fields::default();
        message.headers(&mut more_fields)?;
        let more = message.flag(intern!(py, "more_trailers"))?;
        let fields = {
            let mut inner = lock(&self.inner);
            Self::check_gone(&inner)?;
            match &mut inner.phase {
                Phase::Trailers(fields) => {
                    for (name, value) in more_fields.iter() {
                        fields.push(name, value);
                    }
                    if more {
                        return Ok(false);
                    }
                    fields.clone()
                }
                other => return Err(out_of_order("http.response.trailers", other)),
            }
        };
        let part = Part::Trailers { fields };
        self.give(py, Then { part, phase: Phase::Over, status: None })
    }

    fn early_hint(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let mut fields = Fields::default();
        if let Some(links) = message.get(intern!(py, "links"))? {
            for link in links.try_iter()? {
                fields.push(b"link", &bytes_of(&link?)?);
            }
        }
        {
            let inner = lock(&self.inner);
            Self::check_gone(&inner)?;
            if !matches!(inner.phase, Phase::Silent | Phase::Held(_)) {
                return Err(out_of_order("http.response.early_hint", &inner.phase));
            }
        }
        let part = Part::Inform { status: 103, fields };
        let told = self.shared().hub()?.http_reply(self.key, part);
        told.map_err(|error| refused(&error))?;
        self.shared().schedule(py)?;
        Ok(false)
    }

    /// A whole file as the body.
    fn path(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let Some(path) = message.get(intern!(py, "path"))? else {
            return Err(PyValueError::new_err("http.response.pathsend needs a 'path'"));
        };
        let place = path.extract::<std::path::PathBuf>()?;
        // To open what is no file may take for ever.
        if !std::fs::metadata(&place)?.is_file() {
            return Err(PyValueError::new_err(format!("{path} is no file that can be sent")));
        }
        let file = File::open(place)?;
        let facts = file.metadata()?;
        let length = facts.len();
        let head = {
            let mut inner = lock(&self.inner);
            Self::check_gone(&inner)?;
            let Phase::Held(head) = &mut inner.phase else {
                return Err(out_of_order("http.response.pathsend", &inner.phase));
            };
            let mut fields = head.fields.clone();
            match head.length {
                None if !fields.iter().any(|(name, _)| name == b"content-length") => {
                    fields.push(b"content-length", length.to_string().as_bytes());
                }
                Some(said) if said != length => return Err(wrong_length(said, length)),
                _ => {}
            }
            Then {
                part: Part::Head { status: head.status, fields, body: Bytes::new(), end: false },
                phase: Phase::Body { left: None, trailers: false },
                status: Some(head.status),
            }
        };
        self.give(py, head)?;
        let part = Part::File { file, offset: 0, length };
        self.give(py, Then { part, phase: Phase::Over, status: None })
    }

    /// Hands a part of the answer over. True if so much is unsent that the application is to wait.
    fn give(&self, py: Python<'_>, then: Then) -> PyResult<bool> {
        let Then { part, phase, status } = then;
        let shared = self.shared();
        let full = {
            let mut hub = shared.hub()?;
            if hub.http_is_gone(self.key) {
                // Whoever sends without a pause never lets the event come that tells of it.
                lock(&self.inner).gone = true;
                return Err(disconnected());
            }
            hub.http_reply(self.key, part).map_err(|error| refused(&error))?;
            hub.http_unsent(self.key) > self.site.unsent && hub.http_watch(self.key)
        };
        let denied = self.is_socket && matches!(phase, Phase::Over);
        let before = {
            let mut inner = lock(&self.inner);
            inner.status = status.unwrap_or(inner.status);
            std::mem::replace(&mut inner.phase, phase)
        };
        drop(before);
        if denied {
            self.on_denied(py)?;
        }
        shared.schedule(py)?;
        Ok(full)
    }
}

/// What has no content says no length of it (RFC 9110, section 8.6).
fn without_length(fields: &Fields) -> Fields {
    let mut kept = Fields::default();
    for (name, value) in fields.iter() {
        if !name.eq_ignore_ascii_case(b"content-length") {
            kept.push(name, value);
        }
    }
    kept
}

fn disconnected() -> PyErr {
    PyConnectionResetError::new_err("the client has disconnected")
}

fn after_body(more: bool, trailers: bool, left: Option<u64>) -> Phase {
    match (more, trailers) {
        (true, _) => Phase::Body { left, trailers },
        (false, true) => Phase::Trailers(Fields::default()),
        (false, false) => Phase::Over,
    }
}

/// What is left of the length that the head said, behind a piece of the body.
fn check_length(said: Option<u64>, piece: usize, more: bool) -> PyResult<Option<u64>> {
    let Some(said) = said else { return Ok(None) };
    match said.checked_sub(piece as u64) {
        Some(0) => Ok(Some(0)),
        Some(left) if more => Ok(Some(left)),
        Some(left) => Err(PyRuntimeError::new_err(format!(
            "the body is shorter than its content-length: {left} bytes are missing"
        ))),
        None => Err(PyRuntimeError::new_err(format!(
            "the body is longer than its content-length: {piece} bytes where {said} were left"
        ))),
    }
}

fn wrong_length(said: u64, found: u64) -> PyErr {
    PyRuntimeError::new_err(format!("the file has {found} bytes, and content-length says {said}"))
}

fn out_of_order(what: &str, phase: &Phase) -> PyErr {
    let now = match phase {
        Phase::Silent => "before http.response.start",
        Phase::Held(_) => "when the answer has begun already",
        Phase::Body { .. } => "in the middle of the body",
        Phase::Trailers(_) => "when http.response.trailers must come",
        Phase::Over => "when the answer is whole already",
    };
    PyRuntimeError::new_err(format!("{what} was sent {now}"))
}

fn refused(error: &ReplyError) -> PyErr {
    match error {
        ReplyError::Field(_) | ReplyError::Status(_) => PyValueError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}
