//! One request and its response on their stream: which frames may come, and how much content.

use bytes::Bytes;

use super::budget::Budget;
use super::code::{Code, ConnectionError, Fault, StreamError};
use super::config::{Config, Role};
use super::fields::Fields;
use super::frame::{Reader, Step, kind};
use super::head::{self, RequestHead, ResponseHead};
use super::qpack::{self, DecodeError};

/// How far the peer's side of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Nothing yet, on a stream that only an extension can have opened.
    Foreign,
    /// Nothing yet; with a client, interim responses perhaps.
    Head,
    /// The head; content follows.
    Content,
    /// The trailers.
    Trailed,
    /// Nothing more comes, or nothing more is read.
    Done,
}

/// How far our side of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// No head yet, but interim responses perhaps.
    Head,
    /// The head; content follows.
    Content,
    /// Ended or broken off.
    Done,
}

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    Request(RequestHead),
    Response(ResponseHead),
    Data(Bytes),
    Trailers(Fields),
    /// The head of a request that is too large to be read.
    TooLarge,
    /// The stream is an extension's, by what it begins with.
    Foreign {
        kind: u64,
        value: u64,
    },
}

/// What an exchange is judged by.
pub(super) struct Rules<'a> {
    pub(super) role: Role,
    pub(super) config: &'a Config,
    pub(super) budget: &'a mut Budget,
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Exchange {
    reader: Reader,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// No frame has come.
    is_new: bool,
    /// Content that is still to come, or to be sent, where `content-length` says.
    expected: Option<u64>,
    pub(super) promised: Option<u64>,
    /// A CONNECT of either kind: the stream is a tunnel.
    pub(super) is_tunnel: bool,
    /// An extended one, which may have datagrams.
    pub(super) is_extended: bool,
    /// The request was HEAD.
    is_head: bool,
    /// The response that comes has no content: HEAD, 204, 304 (RFC 9110, section 6.4.1).
    is_silent: bool,
    /// The same of the one that is sent.
    pub(super) is_silent_out: bool,
    /// The owner knows of it: a client's made it.
    pub(super) is_told: bool,
}

const fn unexpected<T>(reason: &'static str) -> Result<T, Fault> {
    Err(Fault::Connection(ConnectionError::new(Code::FRAME_UNEXPECTED, reason)))
}

impl Exchange {
    /// A stream that the peer has opened, or we.
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            reader: Reader::default(),
            incoming,
            outgoing: Outgoing::Head,
            is_new: true,
            expected: None,
            promised: None,
            is_tunnel: false,
            is_extended: false,
            is_head: false,
            is_silent: false,
            is_silent_out: false,
            is_told: false,
        }
    }

    /// Notes what of a request decides over what follows.
    pub(super) fn note(&mut self, head: &RequestHead) {
        self.is_tunnel = head.is_connect();
        self.is_extended = head.protocol().is_some();
        self.is_head = head.method() == b"HEAD";
    }

    /// Bytes of a frame that are kept.
    pub(super) fn held(&self) -> usize {
        self.reader.held()
    }

    /// Whether both sides are done.
    pub(super) fn is_over(&self) -> bool {
        self.incoming == Incoming::Done && self.outgoing == Outgoing::Done
    }

    /// The next that came; `None` when `input` is used up.
    pub(super) fn read(
        &mut self,
        input: &mut Bytes,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Heard>, Fault> {
        if self.incoming == Incoming::Done {
            return Ok(None);
        }
        while let Some(step) = self.reader.next(input) {
            match step {
                Step::Begin { kind, length } => {
                    if let Some(heard) = self.begin(kind, length, rules)? {
                        return Ok(Some(heard));
                    }
                }
                Step::Piece(bytes) => return Ok(Some(Heard::Data(bytes))),
                Step::Whole { payload, .. } => return self.section(&payload, rules).map(Some),
            }
        }
        Ok(None)
    }

    /// Judges a frame by its type and length, before any of it is kept.
    fn begin(
        &mut self,
        kind: u64,
        length: u64,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Heard>, Fault> {
        let is_first = std::mem::replace(&mut self.is_new, false);
        if rules.config.foreign_bidi.contains(&kind) {
            // Both are a type and an integer, so a frame's header is read for it.
            if is_first {
                return Ok(Some(Heard::Foreign { kind, value: length }));
            }
            const LATE: ConnectionError =
                ConnectionError::new(Code::FRAME_ERROR, "what begins a stream, and does not");
            return Err(LATE.into());
        }
        if self.incoming == Incoming::Foreign {
            const UNASKED: ConnectionError = ConnectionError::new(
                Code::STREAM_CREATION_ERROR,
                "a bidirectional stream of the server that is no extension's",
            );
            return Err(UNASKED.into());
        }
        match kind {
            kind::DATA => self.begin_data(length, rules)?,
            kind::HEADERS => return self.begin_headers(length, rules),
            kind::PUSH_PROMISE if rules.role == Role::Client => {
                const UNASKED: ConnectionError =
                    ConnectionError::new(Code::ID_ERROR, "a push, of which none is allowed");
                return Err(UNASKED.into());
            }
            kind::CANCEL_PUSH
            | kind::SETTINGS
            | kind::PUSH_PROMISE
            | kind::GOAWAY
            | kind::MAX_PUSH_ID
            | kind::PRIORITY_UPDATE_REQUEST
            | kind::PRIORITY_UPDATE_PUSH => {
                return unexpected("a frame of the control stream in a message");
            }
            kind if kind::is_of_http2(kind) => return unexpected("a frame of HTTP/2"),
            // Unknown ones are skipped (RFC 9114, section 9).
            _ => rules.budget.spend()?,
        }
        Ok(None)
    }

    fn begin_data(&mut self, length: u64, rules: &mut Rules<'_>) -> Result<(), Fault> {
        if self.incoming != Incoming::Content {
            return unexpected("content before a head or behind trailers");
        }
        if length == 0 {
            rules.budget.spend()?;
        } else if self.is_silent {
            return Err(StreamError::malformed("content where there is none").into());
        } else {
            // By frames, not by pieces: how bytes are cut must not matter.
            rules.budget.earn();
        }
        if let Some(expected) = &mut self.expected {
            const OVER: StreamError = StreamError::malformed("more content than content-length");
            *expected = expected.checked_sub(length).ok_or(OVER)?;
        }
        self.reader.pass();
        Ok(())
    }

    fn begin_headers(
        &mut self,
        length: u64,
        rules: &mut Rules<'_>,
    ) -> Result<Option<Heard>, Fault> {
        match self.incoming {
            Incoming::Head => {}
            Incoming::Content if !self.is_tunnel => {}
            _ => return unexpected("HEADERS behind trailers or in a tunnel"),
        }
        if length > u64::from(rules.config.limits.max_field_section) {
            return self.too_large(rules.role).map(Some);
        }
        self.reader.keep();
        Ok(None)
    }

    /// A field section over the limits: a request is answered with 431 (RFC 9114, section 4.2.2),
    /// anything else is given up.
    fn too_large(&self, role: Role) -> Result<Heard, Fault> {
        const LARGE: StreamError =
            StreamError::new(Code::EXCESSIVE_LOAD, "a field section over the limit");
        match (role, self.incoming) {
            (Role::Server, Incoming::Head) => Ok(Heard::TooLarge),
            _ => Err(LARGE.into()),
        }
    }

    fn section(&mut self, payload: &[u8], rules: &Rules<'_>) -> Result<Heard, Fault> {
        let limits = &rules.config.limits;
        let (most, size) = (limits.max_fields.into(), limits.max_field_section as usize);
        let fields = match qpack::decode(payload, most, size) {
            Ok(fields) => fields,
            Err(DecodeError::TooLarge) => return self.too_large(rules.role),
            Err(DecodeError::Failed(reason)) => {
                return Err(ConnectionError::new(Code::QPACK_DECOMPRESSION_FAILED, reason).into());
            }
        };
        match (self.incoming, rules.role) {
            (Incoming::Head, Role::Server) => {
                let head = RequestHead::new(fields, rules.config.settings.extended_connect)?;
                self.note(&head);
                self.incoming = Incoming::Content;
                // A CONNECT has no content, but a tunnel (RFC 9110, section 9.3.6).
                self.expected = head.content_length().filter(|_| !self.is_tunnel);
                Ok(Heard::Request(head))
            }
            (Incoming::Head, Role::Client) => {
                let head = ResponseHead::new(fields)?;
                if !head.is_interim() {
                    self.answered(&head);
                }
                Ok(Heard::Response(head))
            }
            _ => {
                let fields = head::trailers(fields)?;
                self.incoming = Incoming::Trailed;
                Ok(Heard::Trailers(fields))
            }
        }
    }

    /// What of a final response decides over what follows it.
    fn answered(&mut self, head: &ResponseHead) {
        self.incoming = Incoming::Content;
        // A CONNECT that failed has a response like any other.
        self.is_tunnel &= (200..300).contains(&head.status());
        self.is_silent = !self.is_tunnel && self.has_no_content(head.status());
        self.expected = head.content_length().filter(|_| !self.is_silent && !self.is_tunnel);
    }

    /// Whether a response with this status has no content, whatever it says of its length (RFC 9110,
    /// section 6.4.1).
    pub(super) fn has_no_content(&self, status: u16) -> bool {
        self.is_head || matches!(status, 204 | 304)
    }

    /// The peer's side of the stream has ended.
    pub(super) fn finish(&mut self, role: Role) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.incoming, Incoming::Done);
        if before == Incoming::Done {
            return Ok(());
        }
        if !self.reader.is_between() {
            const CUT: ConnectionError =
                ConnectionError::new(Code::FRAME_ERROR, "a stream that ends within a frame");
            return Err(CUT.into());
        }
        match (before, role) {
            (Incoming::Head, Role::Server) => {
                Err(StreamError::new(Code::REQUEST_INCOMPLETE, "a stream without a request").into())
            }
            (Incoming::Head, Role::Client) => {
                Err(StreamError::malformed("a stream without a final response").into())
            }
            _ if self.expected.is_some_and(|left| left > 0) => {
                Err(StreamError::malformed("less content than content-length").into())
            }
            _ => Ok(()),
        }
    }
}
