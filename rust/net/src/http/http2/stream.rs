//! One exchange of HTTP/2: the body as it comes, the answer as flow control takes it.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::stalls::Stall;
use crate::http::fields::strip;
use crate::http::outgoing::{Next, Outgoing};
use crate::http::turn::Turn;
use crate::http::{ExchangeKey, Reply, ReplyError};

/// A whole body of so many bytes is left to h2 at once: asking for its flow control first costs more
/// than what it may have to hold.
const SMALL: usize = 16 << 10;

pub(super) struct Stream {
    pub(super) key: ExchangeKey,
    /// What is left of the request's body.
    pub(super) incoming: Option<RecvStream>,
    /// What came of it and was not given to the owner: the peer's window is its bound, and not what
    /// h2 makes of each frame.
    pub(super) held: BytesMut,
    /// All of it has come.
    pub(super) is_whole: bool,
    /// The owner wants a piece of it.
    pub(super) wanted: bool,
    /// The peer waits to be told that the body is wanted.
    pub(super) expects: bool,
    /// Whether a tunnel was asked for.
    pub(super) asked: bool,
    /// The answer is to HEAD.
    pub(super) bodyless: bool,
    pub(super) answer: Answer,
    pub(super) outgoing: Outgoing,
    /// Pieces of the answer that flow control has taken.
    pub(super) taken: u64,
    /// It takes no more for now.
    pub(super) is_blocked: bool,
    /// Since when, see `stalls`.
    pub(super) stall: Option<Stall>,
}

pub(super) enum Answer {
    Awaited(SendResponse<Bytes>),
    Begun(SendStream<Bytes>),
    /// The peer, or h2, wants no more of it.
    Refused,
    /// The owner gave it up.
    Aborted,
    /// All of it is handed over.
    Done,
}

impl Stream {
    /// The owner wants a piece of the body; a peer that waits for that is told.
    pub(super) fn want_body(&mut self) {
        self.wanted = true;
        if std::mem::take(&mut self.expects) {
            if let Answer::Awaited(respond) = &mut self.answer {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::CONTINUE;
                let _ = respond.send_informational(response);
            }
        }
    }

    /// Whether its answer is not complete and the peer has not reset it.
    pub(super) fn is_waited_for(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.answer {
            Answer::Awaited(respond) => respond.poll_reset(cx).is_pending(),
            Answer::Begun(send) => send.poll_reset(cx).is_pending(),
            Answer::Refused | Answer::Aborted | Answer::Done => false,
        }
    }

    /// Takes what has come of the body, also if nobody wants it yet, and gives the owner what it wants.
    pub(super) fn read_body(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) {
        while !self.is_whole {
            let Some(incoming) = &mut self.incoming else { return };
            match incoming.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(data))) => {
                    self.is_whole = incoming.is_end_stream();
                    if self.wanted && self.held.is_empty() && !data.is_empty() {
                        self.give(data, turn);
                    } else {
                        self.held.extend_from_slice(&data);
                    }
                }
                // Trailers of a request are nothing that an owner is told.
                Poll::Ready(None) => self.is_whole = true,
                // The reset is noticed where the answer is.
                Poll::Ready(Some(Err(_))) => {
                    self.incoming = None;
                    self.held = BytesMut::new();
                }
            }
        }
        if self.wanted && !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.give(held.freeze(), turn);
        }
        if self.held.is_empty() && self.incoming.take_if(|_| self.is_whole).is_some() {
            turn.body_ended(self.key);
        }
    }

    fn give(&mut self, data: Bytes, turn: &mut Turn<'_>) {
        self.wanted = false;
        if let Some(incoming) = &mut self.incoming {
            // It is the owner's now, and the peer may send as much again.
            let _ = incoming.flow_control().release_capacity(data.len());
        }
        turn.body(self.key, data);
    }

    /// Hands over what flow control takes.
    pub(super) fn write_body(&mut self, cx: &mut Context<'_>) {
        self.is_blocked = false;
        while self.outgoing.has_next() {
            let Answer::Begun(send) = &mut self.answer else { return };
            if self.outgoing.is_discarding() {
                if self.outgoing.is_over() {
                    self.answer = Answer::Done;
                }
                return;
            }
            let size = self.outgoing.next_size();
            let mut limit = usize::MAX;
            if size > 0 {
                send.reserve_capacity(size);
                limit = send.capacity();
                if limit == 0 {
                    match send.poll_capacity(cx) {
                        Poll::Pending => {
                            self.is_blocked = true;
                            return;
                        }
                        Poll::Ready(Some(Ok(granted))) => limit = granted,
                        Poll::Ready(Some(Err(_)) | None) => {
                            self.answer = Answer::Refused;
                            return;
                        }
                    }
                    if limit == 0 {
                        continue;
                    }
                }
            }
            let next = self.outgoing.next(limit);
            let end = self.outgoing.is_over();
            let handed = match next {
                Ok(Next::Data(data)) => {
                    self.taken += 1;
                    send.send_data(data, end)
                }
                Ok(Next::Trailers(map)) => send.send_trailers(map),
                Ok(Next::End) => send.send_data(Bytes::new(), true),
                Ok(Next::Wait) => return,
                Err(_) => {
                    send.send_reset(Reason::INTERNAL_ERROR);
                    self.answer = Answer::Refused;
                    return;
                }
            };
            if handed.is_err() {
                self.answer = Answer::Refused;
            } else if end {
                self.answer = Answer::Done;
            }
        }
    }

    /// Its peer has been waited for long enough.
    pub(super) fn give_up(&mut self) {
        if let Answer::Begun(send) = &mut self.answer {
            send.send_reset(Reason::CANCEL);
            self.answer = Answer::Refused;
        }
    }

    pub(super) fn reply(&mut self, reply: Reply, date: &HeaderValue) -> Result<(), ReplyError> {
        let begins =
            matches!(reply, Reply::Inform { .. } | Reply::Head { .. } | Reply::Tunnel { .. });
        let awaited = matches!(self.answer, Answer::Awaited(_));
        if begins != awaited && !matches!(reply, Reply::Abort) {
            return match self.answer {
                Answer::Refused | Answer::Aborted => Ok(()),
                _ if begins => Err(ReplyError::Begun),
                _ => Err(ReplyError::NotBegun),
            };
        }
        match reply {
            Reply::Inform { status, fields } => {
                let code = StatusCode::from_u16(status).ok();
                let code = code.filter(|code| {
                    code.is_informational() && *code != StatusCode::SWITCHING_PROTOCOLS
                });
                let mut response = Response::new(());
                *response.status_mut() = code.ok_or(ReplyError::Status(status))?;
                *response.headers_mut() = fields.into_map()?;
                strip(response.headers_mut());
                if let Answer::Awaited(respond) = &mut self.answer {
                    // If it cannot be told, the answer's own head will not be, either.
                    let _ = respond.send_informational(response);
                }
            }
            Reply::Head { status, fields, body, end } => {
                let code = StatusCode::from_u16(status).ok();
                let code = code.filter(|code| !code.is_informational());
                let code = code.ok_or(ReplyError::Status(status))?;
                self.begin(code, fields.into_map()?, body, end, date);
            }
            Reply::Tunnel { fields } => {
                if !self.asked {
                    return Err(ReplyError::NotAsked);
                }
                let mut fields = fields.into_map()?;
                // What HTTP/1.1's handshake has for this (RFC 8441, section 5).
                fields.remove(header::SEC_WEBSOCKET_ACCEPT);
                fields.remove(header::CONTENT_LENGTH);
                self.begin(StatusCode::OK, fields, Bytes::new(), false, date);
            }
            Reply::Body { data, end } => self.outgoing.push(data, end),
            Reply::File { file, offset, length } => self.outgoing.push_file(file, offset, length),
            Reply::Trailers { fields } => {
                let mut fields = fields.into_map()?;
                strip(&mut fields);
                // Not for trailers to say (RFC 9110, section 6.5.1).
                fields.remove(header::CONTENT_LENGTH);
                self.outgoing.push_trailers(fields);
            }
            Reply::Abort => {
                match &mut self.answer {
                    Answer::Awaited(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
                    Answer::Begun(send) => send.send_reset(Reason::INTERNAL_ERROR),
                    Answer::Refused | Answer::Aborted | Answer::Done => {}
                }
                self.answer = Answer::Aborted;
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        status: StatusCode,
        mut fields: HeaderMap,
        body: Bytes,
        end: bool,
        date: &HeaderValue,
    ) {
        strip(&mut fields);
        fields.remove(header::TE);
        let lengthless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let bodyless = self.bodyless || lengthless;
        // What an answer to HEAD does not have says nothing of what one to GET would.
        let is_known = end && !lengthless && (!self.bodyless || !body.is_empty());
        if is_known && !fields.contains_key(header::CONTENT_LENGTH) {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        fields.entry(header::DATE).or_insert_with(|| date.clone());
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        let Answer::Awaited(respond) = &mut self.answer else { return };
        let over = bodyless || (end && body.is_empty());
        let Ok(mut send) = respond.send_response(response, over) else {
            respond.send_reset(Reason::INTERNAL_ERROR);
            self.answer = Answer::Refused;
            return;
        };
        if end && over {
            self.answer = Answer::Done;
        } else if bodyless {
            // What the owner gives until its end goes nowhere.
            self.outgoing.discard();
            self.answer = Answer::Begun(send);
        } else if end && body.len() <= SMALL {
            let handed = send.send_data(body, true);
            self.answer = if handed.is_ok() { Answer::Done } else { Answer::Refused };
        } else {
            self.outgoing.push(body, end);
            self.answer = Answer::Begun(send);
        }
    }
}
