//! HTTP/1.1 by hyper: one connection, one exchange after the other.
//!
//! hyper asks a service for each answer and a body for each piece. Both are met by a desk that hyper
//! and we share: it lays requests there, we lay answers, and poll it again.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use jetstream_proto::websocket::handshake;

use super::fields::{expects_continue, strip};
use super::outgoing::{Next, Outgoing};
use super::pipe::Pipe;
use super::turn::Turn;
use super::{ExchangeKey, HttpLimits, Reply, ReplyError, Request, Version};

/// The smallest buffer that hyper takes.
const MIN_BUFFER: usize = 8 << 10;

/// Field lines for which hyper has room on its stack.
const USUAL_FIELDS: u32 = 100;

/// How a look at a connection ended.
#[derive(Debug)]
pub(super) enum Step {
    /// It goes on.
    Pending,
    /// It is over: what is written is the last.
    Over,
    /// It is over, and must not look as if it had ended in order.
    Broken,
}

pub(super) struct Http1 {
    hyper: Connection<Pipe, Service>,
    desk: Desk,
    current: Option<Current>,
}

/// The exchange that is in progress.
struct Current {
    key: ExchangeKey,
    /// What is left of the request's body.
    incoming: Option<Incoming>,
    /// The owner wants a piece of it.
    wanted: bool,
    /// The head of the answer has been given.
    headed: bool,
    /// HTTP/1.0 knows no interim answers.
    informs: bool,
    /// What a WebSocket's answer says, where one was asked for.
    accept: Option<HeaderValue>,
}

impl Http1 {
    pub(super) fn new(pipe: Pipe, limits: &HttpLimits) -> Self {
        let desk = Desk::default();
        let mut builder = Builder::new();
        let head = limits.head as usize;
        builder
            .header_read_timeout(None)
            .max_buf_size(head.max(limits.body_window as usize).max(MIN_BUFFER))
            .max_header_size(head);
        if limits.fields != USUAL_FIELDS {
            builder.max_headers(limits.fields as usize);
        }
        let hyper = builder.serve_connection(pipe, Service(desk.clone()));
        Self { hyper, desk, current: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none()
    }

    /// Ends after the current answer; at once if there is none.
    pub(super) fn leave(&mut self) {
        Pin::new(&mut self.hyper).graceful_shutdown();
    }

    /// Looks at it once: whether hyper did anything is told by its bell.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Step {
        let tunnelling = self.desk.lock().tunnel;
        let polled = if tunnelling {
            self.hyper.poll_without_shutdown(cx)
        } else {
            Pin::new(&mut self.hyper).poll(cx)
        };
        self.settle(turn);
        if !self.welcome(turn) {
            cx.waker().wake_by_ref();
        }
        if !self.read_body(cx, turn) {
            return self.refuse(cx, turn);
        }
        match polled {
            Poll::Pending => Step::Pending,
            Poll::Ready(Ok(())) => Step::Over,
            Poll::Ready(Err(error)) if error.is_user() => Step::Broken,
            Poll::Ready(Err(_)) => Step::Over,
        }
    }

    /// Whether it is over because it has become a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.current.is_some() && self.desk.lock().tunnel
    }

    /// The tunnel that it has become, if it has: what came for it, and what was given for it, before
    /// hyper had sent the answer.
    pub(super) fn into_tunnel(self) -> Option<(ExchangeKey, Bytes, Outgoing)> {
        let key = self.current.filter(|_| self.desk.lock().tunnel)?.key;
        let outgoing = std::mem::take(&mut self.desk.lock().outgoing);
        Some((key, self.hyper.into_parts().read_buf, outgoing))
    }

    /// Tells of what hyper has taken of the answer.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        let Some(current) = &mut self.current else { return };
        let mut desk = self.desk.lock();
        if desk.outgoing.take_drained() {
            turn.drained(current.key);
        }
        // That all has been given is not enough: hyper may not have seen the end yet.
        let taken = desk.outgoing.is_over() && !desk.open;
        if current.headed && desk.answer.is_none() && taken && !desk.tunnel {
            desk.outgoing = Outgoing::default();
            turn.answered(current.key);
            // With it goes the rest of the request's body: hyper reads past it, or ends.
            drop(desk);
            self.current = None;
        }
    }

    /// Takes the request that hyper has laid on the desk. False if it was answered here.
    fn welcome(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.current.is_some() {
            return true;
        }
        let mut desk = self.desk.lock();
        let Some(asked) = desk.asked.take() else { return true };
        let (parts, incoming) = asked.into_parts();
        let ended = incoming.is_end_stream();
        let accept = match refusal(&parts).map_or_else(|| websocket(&parts, ended), Err) {
            Ok(accept) => accept,
            Err(status) => {
                desk.answer = Some(Answer::Head(last(status)));
                return false;
            }
        };
        desk.outgoing = Outgoing::default();
        drop(desk);
        let version = match parts.version {
            http::Version::HTTP_10 => Version::Http10,
            _ => Version::Http11,
        };
        let protocol = accept.is_some().then(|| b"websocket".to_vec());
        let expects = version == Version::Http11 && expects_continue(&parts.headers);
        let request = Request::of(version, turn.secure, &parts, protocol, ended);
        let key = turn.begin(0, request);
        self.current = Some(Current {
            key,
            incoming: (!ended).then_some(incoming),
            // That the peer is to go on is for the owner to say.
            wanted: !expects && !ended,
            headed: false,
            informs: version == Version::Http11,
            accept,
        });
        true
    }

    /// What came as a body is none.
    fn refuse(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Step {
        let headed = self.current.as_ref().is_some_and(|current| current.headed);
        self.abandon(turn);
        if headed {
            return Step::Broken;
        }
        self.desk.lock().answer = Some(Answer::Head(last(StatusCode::BAD_REQUEST)));
        cx.waker().wake_by_ref();
        Step::Pending
    }

    /// Tells of what has come of the body. False if it is broken.
    fn read_body(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        let Some(current) = &mut self.current else { return true };
        while current.wanted {
            let Some(incoming) = &mut current.incoming else { return true };
            match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of a request are nothing that an owner is told.
                    if let Ok(data) = frame.into_data() {
                        if !data.is_empty() {
                            current.wanted = false;
                            turn.body(current.key, data);
                        }
                    }
                    if current.incoming.as_ref().is_some_and(|incoming| incoming.is_end_stream()) {
                        current.incoming = None;
                        turn.body_ended(current.key);
                    }
                }
                Poll::Ready(None) => {
                    current.incoming = None;
                    turn.body_ended(current.key);
                }
                Poll::Ready(Some(Err(_))) => return false,
            }
        }
        true
    }

    pub(super) fn want_body(&mut self) {
        if let Some(current) = &mut self.current {
            current.wanted = true;
        }
    }

    pub(super) fn unsent(&self) -> usize {
        self.desk.lock().outgoing.bytes()
    }

    pub(super) fn watch(&mut self) -> bool {
        self.desk.lock().outgoing.watch()
    }

    /// The exchange that comes to nothing with the connection, unless its owner has given it up.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>) {
        // One that hyper has not taken may hold the desk that it lies on.
        let untaken = self.desk.lock().answer.take();
        drop(untaken);
        let Some(current) = self.current.take() else { return };
        if self.desk.lock().aborted { turn.forget(current.key) } else { turn.gone(current.key) }
    }

    pub(super) fn reply(&mut self, reply: Reply, pipe: &Pipe) -> Result<(), ReplyError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let begins =
            matches!(reply, Reply::Inform { .. } | Reply::Head { .. } | Reply::Tunnel { .. });
        let aborts = matches!(reply, Reply::Abort);
        if begins == current.headed && !aborts {
            return Err(if begins { ReplyError::Begun } else { ReplyError::NotBegun });
        }
        let mut desk = self.desk.lock();
        match reply {
            Reply::Inform { status, fields } => {
                let map = fields.into_map()?;
                // A hint is worth no waiting: behind an answer that the peer does not read it is
                // left out.
                if current.informs && !pipe.is_blocked() {
                    pipe.write_past(&interim(status, &map)?);
                }
            }
            Reply::Head { status, fields, body, end } => {
                let map = fields.into_map()?;
                let whole = end.then(|| body.clone());
                let response = head(status, map, whole, &self.desk)?;
                desk.outgoing.push(if end { Bytes::new() } else { body }, end);
                desk.open = !end;
                desk.answer = Some(Answer::Head(response));
                current.headed = true;
            }
            Reply::Tunnel { fields } => {
                let mut map = fields.into_map()?;
                // Behind what can be refused, and repeated.
                let accept = current.accept.take().ok_or(ReplyError::NotAsked)?;
                strip(&mut map);
                map.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                map.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                map.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                let mut response = plain(StatusCode::SWITCHING_PROTOCOLS);
                *response.headers_mut() = map;
                desk.answer = Some(Answer::Head(response));
                desk.tunnel = true;
                current.headed = true;
            }
            Reply::Body { data, end } => desk.outgoing.push(data, end),
            Reply::File { file, offset, length } => desk.outgoing.push_file(file, offset, length),
            Reply::Trailers { fields } => desk.outgoing.push_trailers(fields.into_map()?),
            Reply::Abort => {
                desk.aborted = true;
                let untaken = desk.answer.replace(Answer::Abort);
                // A body that hyper has not taken looks at the desk when it is dropped.
                drop(desk);
                drop(untaken);
            }
        }
        Ok(())
    }
}

/// What is wrong with a request that hyper lets pass.
fn refusal(request: &http::request::Parts) -> Option<StatusCode> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() || (host.is_none() && request.version == http::Version::HTTP_11) {
        // RFC 9112, section 3.2.
        return Some(StatusCode::BAD_REQUEST);
    }
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    let (coding, second) = (codings.next(), codings.next());
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if second.is_some() || !coding.is_none_or(is_chunked) {
        // No other is undone here, and none twice (RFC 9112, section 6.1).
        return Some(StatusCode::NOT_IMPLEMENTED);
    }
    let target = &request.uri;
    if request.method != Method::CONNECT
        && target.scheme().is_none()
        && target.authority().is_some()
    {
        // Only CONNECT is about an authority (RFC 9112, section 3.2.3).
        return Some(StatusCode::BAD_REQUEST);
    }
    // Nothing is reached through here (RFC 9110, section 9.3.6).
    (request.method == Method::CONNECT).then_some(StatusCode::NOT_IMPLEMENTED)
}

/// How it is agreed to that the connection becomes a WebSocket, where that is asked for.
fn websocket(
    request: &http::request::Parts,
    ended: bool,
) -> Result<Option<HeaderValue>, StatusCode> {
    let fields = &request.headers;
    let says = |name, token| {
        fields.get_all(name).iter().any(|value| handshake::names(value.as_bytes(), token))
    };
    let asked = request.version == http::Version::HTTP_11
        && request.method == Method::GET
        && says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket");
    let Some(key) = fields.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked) else {
        return Ok(None);
    };
    if !ended {
        // Others on the way would take for a body what we take for frames.
        return Err(StatusCode::BAD_REQUEST);
    }
    // One that is none is no handshake (RFC 6455, section 4.2.1).
    let accept = handshake::accept_key(key.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(HeaderValue::try_from(accept).ok())
}

fn interim(status: u16, fields: &HeaderMap) -> Result<Vec<u8>, ReplyError> {
    let status = StatusCode::from_u16(status).map_err(|_| ReplyError::Status(status))?;
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ReplyError::Status(status.as_u16()));
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

fn head(
    status: u16,
    mut fields: HeaderMap,
    whole: Option<Bytes>,
    desk: &Desk,
) -> Result<http::Response<Body>, ReplyError> {
    let code = StatusCode::from_u16(status).ok().filter(|code| !code.is_informational());
    let code = code.ok_or(ReplyError::Status(status))?;
    if strip(&mut fields) {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // hyper takes a known length and a field for the same without comparing them.
    let exact = !fields.contains_key(header::CONTENT_LENGTH);
    let body = match whole {
        Some(whole) => Body::Whole { left: Some(whole), exact },
        None => Body::Pieces(Pieces(desk.clone())),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = fields;
    Ok(response)
}

fn plain(status: StatusCode) -> http::Response<Body> {
    let mut response = http::Response::new(Body::Whole { left: None, exact: true });
    *response.status_mut() = status;
    response
}

/// An answer behind which the connection ends.
fn last(status: StatusCode) -> http::Response<Body> {
    let mut response = plain(status);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

// ---- what hyper sees ----

#[derive(Clone, Default)]
struct Desk(Arc<Mutex<OnDesk>>);

#[derive(Default)]
struct OnDesk {
    asked: Option<http::Request<Incoming>>,
    answer: Option<Answer>,
    outgoing: Outgoing,
    /// hyper has a body that it takes from there.
    open: bool,
    tunnel: bool,
    aborted: bool,
}

enum Answer {
    Head(http::Response<Body>),
    Abort,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, OnDesk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner gave an exchange up.
#[derive(Debug)]
struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was given up")
    }
}

impl std::error::Error for Aborted {}

struct Service(Desk);

impl hyper::service::Service<http::Request<Incoming>> for Service {
    type Response = http::Response<Body>;
    type Error = Aborted;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        self.0.lock().asked = Some(request);
        Answering(self.0.clone())
    }
}

/// An answer that is waited for; whoever lays it on the desk polls the connection.
struct Answering(Desk);

impl Future for Answering {
    type Output = Result<http::Response<Body>, Aborted>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.lock().answer.take() {
            Some(Answer::Head(response)) => Poll::Ready(Ok(response)),
            Some(Answer::Abort) => Poll::Ready(Err(Aborted)),
            None => Poll::Pending,
        }
    }
}

enum Body {
    Whole { left: Option<Bytes>, exact: bool },
    Pieces(Pieces),
}

/// The body that the owner gives in pieces. hyper drops it early where none is to be sent.
struct Pieces(Desk);

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut desk = self.0.lock();
        desk.outgoing.discard();
        desk.open = false;
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole { left, .. } => Poll::Ready(left.take().map(|data| Ok(Frame::data(data)))),
            Self::Pieces(Pieces(desk)) => {
                let mut desk = desk.lock();
                if desk.aborted {
                    return Poll::Ready(Some(Err(io::Error::other(Aborted))));
                }
                match desk.outgoing.next(usize::MAX) {
                    Ok(Next::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Next::Trailers(map)) => Poll::Ready(Some(Ok(Frame::trailers(map)))),
                    Ok(Next::End) => Poll::Ready(None),
                    Ok(Next::Wait) => Poll::Pending,
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { left, .. } => left.as_ref().is_none_or(Bytes::is_empty),
            Self::Pieces(Pieces(desk)) => {
                let desk = desk.lock();
                !desk.aborted && desk.outgoing.is_over()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { left, exact: true } => {
                SizeHint::with_exact(left.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Whole { .. } | Self::Pieces(_) => SizeHint::default(),
        }
    }
}
