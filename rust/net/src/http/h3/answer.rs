//! Answers: what the owner says, and the bytes that come of it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jetstream_proto::http3::{Code, Content, Misuse};
use quinn_proto::Connection as Quic;

use super::Http3;
use super::stream::{FilePart, Part};
use crate::http::outgoing::{FILE_PIECE, read_at};
use crate::http::turn::Turn;
use crate::http::{Fields, Reply, ReplyError};
use crate::stream::code;

impl Http3 {
    /// Takes a part of an answer; it leaves in this turn's transmit.
    pub(super) fn reply(
        &mut self,
        slot: u32,
        reply: Reply,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReplyError> {
        let taken = self.take_reply(slot, reply, quic, turn);
        self.settle(quic, turn);
        taken
    }

    fn take_reply(
        &mut self,
        slot: u32,
        reply: Reply,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReplyError> {
        let Some(stream) = self.stream_mut(slot) else { return Ok(()) };
        let id = u64::from(stream.id);
        let begins =
            matches!(reply, Reply::Inform { .. } | Reply::Head { .. } | Reply::Tunnel { .. });
        if matches!(reply, Reply::Abort) {
            self.abort(slot, quic, turn);
            return Ok(());
        }
        if begins == stream.has_begun {
            return Err(if begins { ReplyError::Begun } else { ReplyError::NotBegun });
        }
        if stream.is_given {
            return Ok(());
        }
        let is_asked = stream.session == Part::Asked;
        match reply {
            Reply::Inform { status, fields } => {
                if !(100..200).contains(&status) || status == 101 {
                    return Err(ReplyError::Status(status));
                }
                self.core.inform(id, status, fields.iter()).or_else(|why| wrong(why, &fields))
            }
            // With that status it would be a session.
            Reply::Head { status: status @ 200..300, .. } if is_asked => {
                Err(ReplyError::Status(status))
            }
            Reply::Head { status, fields, body, end } => {
                self.answer(slot, status, &fields, body, end, turn)?;
                if is_asked {
                    self.on_declined(slot);
                }
                Ok(())
            }
            Reply::Tunnel { .. } if !stream.is_asked => Err(ReplyError::NotAsked),
            Reply::Tunnel { fields } => self.tunnel(slot, &fields, turn),
            Reply::Body { data, end } => {
                self.core.data(id, data, end).or_else(|why| wrong(why, &Fields::default()))?;
                self.given(slot, end);
                Ok(())
            }
            Reply::File { file, offset, length } => {
                self.given(slot, true);
                match self.stream_mut(slot) {
                    Some(stream) if length > 0 && !stream.is_bodyless => {
                        stream.file = Some(FilePart { file, offset, left: length });
                        if stream.sending.bytes() == 0 {
                            self.read_file(slot, quic, turn);
                        }
                        Ok(())
                    }
                    _ => {
                        let ended = self.core.data(id, Bytes::new(), true);
                        ended.or_else(|why| wrong(why, &Fields::default()))
                    }
                }
            }
            Reply::Trailers { fields } => {
                let ended = if fields.is_empty() || stream.is_tunnel {
                    self.core.data(id, Bytes::new(), true)
                } else {
                    // Not for trailers to say (RFC 9110, section 6.5.1).
                    let is_length = |name: &[u8]| name.eq_ignore_ascii_case(b"content-length");
                    self.core.trailers(id, fields.iter().filter(|(name, _)| !is_length(name)))
                };
                ended.or_else(|why| wrong(why, &fields))?;
                self.given(slot, true);
                Ok(())
            }
            Reply::Abort => Ok(()),
        }
    }

    fn given(&mut self, slot: u32, end: bool) {
        if let Some(stream) = self.stream_mut(slot) {
            stream.is_given |= end;
        }
    }

    fn answer(
        &mut self,
        slot: u32,
        status: u16,
        fields: &Fields,
        body: Bytes,
        end: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReplyError> {
        if !(200..=999).contains(&status) {
            return Err(ReplyError::Status(status));
        }
        let Some(stream) = self.stream_mut(slot) else { return Ok(()) };
        let (id, is_head) = (u64::from(stream.id), stream.is_head);
        let lengthless = matches!(status, 204 | 304);
        let mut digits = [0; DIGITS];
        // What an answer to HEAD does not have says nothing of what one to GET would.
        let is_known = end && !lengthless && (!is_head || !body.is_empty());
        let tells = is_known && !has(fields, b"content-length");
        let length = tells.then(|| (&b"content-length"[..], decimal(body.len(), &mut digits)));
        let date = turn.date();
        let lines = fields.iter().chain(length).chain(date_of(fields, &date));
        let (content, rest) = match (end, body.is_empty()) {
            (true, true) => (Content::None, body),
            (true, false) => (Content::Whole(body), Bytes::new()),
            (false, _) => (Content::Follows, body),
        };
        self.core.respond(id, status, lines, content).or_else(|why| wrong(why, fields))?;
        if let Some(stream) = self.stream_mut(slot) {
            stream.has_begun = true;
            stream.is_given = end;
            stream.is_bodyless = is_head || lengthless;
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.core.data(id, rest, false).or_else(|why| wrong(why, fields))
    }

    fn tunnel(
        &mut self,
        slot: u32,
        fields: &Fields,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReplyError> {
        let date = turn.date();
        let Some(stream) = self.stream_mut(slot) else { return Ok(()) };
        let id = stream.id.into();
        // What HTTP/1.1's handshake has for this (RFC 8441, section 5).
        let kept = fields.iter().filter(|(name, _)| {
            !name.eq_ignore_ascii_case(b"sec-websocket-accept")
                && !name.eq_ignore_ascii_case(b"content-length")
        });
        let lines = kept.chain(date_of(fields, &date));
        let agreed = self.core.respond(id, 200, lines, Content::Follows);
        agreed.or_else(|why| wrong(why, fields))?;
        if let Some(stream) = self.stream_mut(slot) {
            stream.has_begun = true;
            stream.is_tunnel = true;
        }
        Ok(())
    }

    /// Gives an exchange up.
    fn abort(&mut self, slot: u32, quic: &mut Quic, turn: &mut Turn<'_>) {
        if let Some(stream) = self.stream_mut(slot) {
            stream.is_aborted = true;
            self.break_off(slot, Code::INTERNAL_ERROR, quic, turn);
        }
    }

    /// Breaks an exchange off on both sides.
    pub(super) fn break_off(
        &mut self,
        slot: u32,
        reason: Code,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = self.stream_mut(slot).map(|stream| stream.id) else { return };
        self.core.abort(id.into(), reason);
        self.settle(quic, turn);
        // One whose answer was complete, but not handed over.
        if self.place(id) == Some(slot) {
            let _ = quic.send_stream(id).reset(code(reason.0));
            self.drop_exchange(slot, turn);
        }
    }

    /// Reads the next piece of a file, now that the one before it is on its way.
    pub(super) fn read_file(&mut self, slot: u32, quic: &mut Quic, turn: &mut Turn<'_>) {
        let Some(stream) = self.stream_mut(slot) else { return };
        let id = stream.id;
        let Some(part) = &mut stream.file else { return };
        let wanted = usize::try_from(part.left).unwrap_or(FILE_PIECE).min(FILE_PIECE);
        let mut bytes = vec![0; wanted];
        let read = read_at(&part.file, &mut bytes, part.offset);
        let count = read.unwrap_or_default();
        bytes.truncate(count);
        part.offset += count as u64;
        part.left -= count as u64;
        let end = part.left == 0;
        if end {
            stream.file = None;
        }
        // It cannot be read, is shorter than it was said to be, or is not what the head promised.
        if count == 0 || self.core.data(id.into(), bytes.into(), end).is_err() {
            self.core.abort(id.into(), Code::INTERNAL_ERROR);
        }
        self.settle(quic, turn);
    }

    /// Asks for the next piece of a request's body.
    pub(super) fn want_body(&mut self, slot: u32, quic: &mut Quic, turn: &mut Turn<'_>) {
        let Some(stream) = self.stream_mut(slot) else { return };
        if stream.session != Part::None {
            return;
        }
        stream.is_wanted = true;
        if std::mem::take(&mut stream.expects) && !stream.has_begun {
            let id = u64::from(stream.id);
            let _ = self.core.inform(id, 100, Fields::default().iter());
        }
        if let Some(stream) = self.stream_mut(slot) {
            stream.deliver(turn);
        }
        self.read(slot, quic, turn);
        self.settle(quic, turn);
    }

    pub(super) fn unsent(&self, slot: u32) -> usize {
        let stream = self.streams.get(slot as usize).and_then(Option::as_ref);
        stream.map_or(0, |stream| stream.sending.bytes())
    }

    pub(super) fn watch(&mut self, slot: u32) -> bool {
        self.stream_mut(slot).is_some_and(|stream| stream.sending.watch())
    }
}

/// Why the protocol does not send it.
pub(super) fn wrong(why: Misuse, fields: &Fields) -> Result<(), ReplyError> {
    match why {
        Misuse::Malformed(_) => {
            let is_wrong = |(name, value): &(&[u8], &[u8])| {
                HeaderName::from_bytes(name).is_err() || HeaderValue::from_bytes(value).is_err()
            };
            let name = fields.iter().find(is_wrong).map_or(&b""[..], |(name, _)| name);
            Err(ReplyError::Field(String::from_utf8_lossy(name).into_owned()))
        }
        Misuse::ContentLength => Err(ReplyError::Length),
        Misuse::TooLarge { size, limit } => Err(ReplyError::TooLarge { size, limit }),
        // Nobody waits for it any more.
        Misuse::Gone(_) | Misuse::State(_) | Misuse::NotNegotiated(_) | Misuse::GoingAway => Ok(()),
    }
}

fn has(fields: &Fields, wanted: &[u8]) -> bool {
    fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
}

pub(super) fn date_of<'a>(fields: &Fields, date: &'a HeaderValue) -> Option<(&'a [u8], &'a [u8])> {
    (!has(fields, b"date")).then(|| (&b"date"[..], date.as_bytes()))
}

/// Digits of the largest length.
const DIGITS: usize = 20;

fn decimal(mut number: usize, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut first = DIGITS;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = place;
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}
