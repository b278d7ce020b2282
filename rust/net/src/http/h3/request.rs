//! Requests as they come: what is read of their streams, and what the owner is told of them.

use jetstream_proto::http3::{Code, Content, Event, Priority, RequestHead, StreamError};
use quinn_proto::{Connection as Quic, ReadError, StreamId, VarInt};

use super::stream::URGENCY;
use super::{Http3, stream_id};
use crate::http::turn::Turn;
use crate::http::{Fields, Request, Version};

/// Bytes of a request that are read ahead of its handler, if its window is larger: one piece of its
/// body, which then is not too small to be worth the way.
const PIECE: usize = 256 << 10;

/// No fields, where some could be.
const NO_FIELDS: [(&[u8], &[u8]); 0] = [];

impl Http3 {
    /// Reads a unidirectional stream: what comes there is bounded by what it may say.
    pub(super) fn read_uni(&mut self, id: StreamId, quic: &mut Quic, turn: &mut Turn<'_>) {
        if self.core.reads_uni(id.into()) {
            self.read_some(id, usize::MAX, quic);
            self.settle(quic, turn);
        }
    }

    /// Reads a request, as far as somebody wants it.
    pub(super) fn read(&mut self, slot: u32, quic: &mut Quic, turn: &mut Turn<'_>) {
        let piece = PIECE.min(self.limits.body_window as usize);
        loop {
            let Some(stream) = self.stream_mut(slot) else { return };
            let id = stream.id;
            if !stream.wants_reading() {
                if !stream.has_ended {
                    // That the peer has given it up is heard all the same.
                    if let Ok(Some(code)) = quic.recv_stream(id).received_reset() {
                        self.core.reset(id.into(), Code(code.into_inner()));
                        self.settle(quic, turn);
                    }
                }
                return;
            }
            let more = self.read_some(id, piece, quic);
            self.settle(quic, turn);
            match self.stream_mut(slot).filter(|stream| stream.id == id) {
                Some(stream) => stream.deliver(turn),
                None => return,
            }
            if !more {
                return;
            }
        }
    }

    /// Gives at most `limit` bytes of a stream to the protocol. True if there may be more.
    fn read_some(&mut self, id: StreamId, limit: usize, quic: &mut Quic) -> bool {
        let mut stream = quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return false };
        let mut left = limit;
        let more = loop {
            if left == 0 {
                break true;
            }
            match chunks.next(left) {
                Ok(Some(chunk)) => {
                    left -= chunk.bytes.len();
                    self.core.received(id.into(), chunk.bytes);
                    if self.core.is_foreign(id.into()) {
                        // What follows is for whoever takes it.
                        break false;
                    }
                }
                Ok(None) => {
                    self.core.finished(id.into());
                    break false;
                }
                Err(ReadError::Blocked) => break false,
                Err(ReadError::Reset(code)) => {
                    self.core.reset(id.into(), Code(code.into_inner()));
                    break false;
                }
            }
        };
        // What was consumed may allow the peer to send more; the next transmit tells it.
        let _ = chunks.finalize();
        more
    }

    /// The peer wants no more of what we send on a stream.
    pub(super) fn on_stopped(
        &mut self,
        id: StreamId,
        reason: VarInt,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        if self.on_session_stopped(id, quic, turn) {
            return;
        }
        self.core.stopped(id.into(), Code(reason.into_inner()));
        self.settle(quic, turn);
        if let Some(slot) = self.place(id).filter(|_| !self.is_asking(id.into())) {
            self.break_off(slot, Code(reason.into_inner()), quic, turn);
        }
    }

    pub(super) fn hear(&mut self, event: Event, quic: &mut Quic, turn: &mut Turn<'_>) {
        match event {
            Event::Request { stream, head, priority, ended } => {
                if let Some(slot) = self.places.get(&stream).copied() {
                    if self.is_for_session(&head) {
                        self.welcome_session(slot, head, ended, quic, turn);
                    } else {
                        self.welcome(slot, &head, ended, turn);
                        self.reject_waiting(stream);
                    }
                    self.prioritise(stream, priority, quic);
                }
            }
            Event::Data { stream, bytes } if self.is_session(stream) => {
                self.on_content(stream, bytes, turn);
            }
            Event::Ended { stream } if self.is_session(stream) => self.on_content_end(stream, turn),
            Event::Data { stream, bytes } => {
                if let Some(slot) = self.places.get(&stream).copied() {
                    if let Some(stream) = self.stream_mut(slot) {
                        stream.held.push(bytes);
                    }
                }
            }
            Event::Ended { stream } => {
                if let Some(slot) = self.places.get(&stream).copied() {
                    if let Some(stream) = self.stream_mut(slot) {
                        stream.has_ended = true;
                    }
                }
            }
            Event::Reset { stream, code }
            | Event::Failed { stream, error: StreamError { code, .. } }
                if self.is_session(stream) =>
            {
                self.on_tunnel_broken(stream, code, turn);
            }
            Event::Unprocessed { stream } => {
                self.on_tunnel_broken(stream, Code::REQUEST_REJECTED, turn);
            }
            // A request that is not complete cannot be answered in earnest.
            Event::Reset { stream, .. } => self.core.abort(stream, Code::REQUEST_CANCELLED),
            Event::Priority { stream, priority } => self.prioritise(stream, priority, quic),
            Event::Foreign { stream, value, rest, .. } => {
                self.arrive(stream_id(stream), value, rest, quic, turn);
            }
            Event::Settings(settings) => self.on_settings(&settings, quic, turn),
            Event::Datagram { stream, payload } => self.on_session_datagram(stream, payload, turn),
            Event::GoingAway { .. } => self.on_going_away(turn),
            Event::Response { stream, head, ended } => {
                self.on_response(stream, head.status(), ended, quic, turn);
            }
            // What follows from these, the protocol wants itself.
            Event::Trailers { .. }
            | Event::Stopped { .. }
            | Event::Failed { .. }
            | Event::Interim { .. } => {}
        }
    }

    fn prioritise(&mut self, stream: u64, priority: Priority, quic: &mut Quic) {
        let id = stream_id(stream);
        let Some(stream) = self.place(id).and_then(|slot| self.stream_mut(slot)) else { return };
        if std::mem::replace(&mut stream.urgency, priority.urgency) != priority.urgency {
            let level = i32::from(URGENCY) - i32::from(priority.urgency);
            let _ = quic.send_stream(id).set_priority(level);
        }
    }

    /// A request's head is whole.
    pub(super) fn welcome(
        &mut self,
        slot: u32,
        head: &RequestHead,
        ended: bool,
        turn: &mut Turn<'_>,
    ) {
        let early = self.is_early;
        let Some(id) = self.stream_mut(slot).map(|stream| stream.id) else { return };
        let refusal = match head.fields().len() {
            count if count > self.limits.fields as usize => Some(431),
            // Nothing is reached through here (RFC 9110, section 9.3.6).
            _ if head.is_connect() && head.protocol().is_none() => Some(501),
            _ => None,
        };
        if let Some(status) = refusal {
            return match self.core.respond(id.into(), status, NO_FIELDS, Content::None) {
                Ok(()) => self.core.stop_reading(id.into(), Code::NO_ERROR),
                // The peer takes no fields at all, not even these.
                Err(_) => self.core.abort(id.into(), Code::INTERNAL_ERROR),
            };
        }
        let Some(stream) = self.stream_mut(slot) else { return };
        let bytes = head.fields().map(|(name, value)| name.len() + value.len()).sum();
        let mut fields = Fields::with_capacity(head.fields().len(), bytes);
        let mut expects = false;
        for (name, value) in head.fields() {
            expects |= name == b"expect" && value.eq_ignore_ascii_case(b"100-continue");
            fields.push(name, value);
        }
        let request = Request {
            version: Version::Http3,
            method: head.method().to_vec(),
            secure: true,
            authority: head.authority().map(<[u8]>::to_vec),
            target: head.path().unwrap_or(b"/").to_vec(),
            protocol: head.protocol().map(<[u8]>::to_vec),
            fields,
            early,
            ended,
        };
        stream.is_asked = request.protocol.is_some();
        stream.is_head = request.method == b"HEAD";
        stream.has_ended = ended;
        stream.told_end = ended;
        stream.expects = expects && !ended;
        stream.is_wanted = !stream.expects && !ended;
        stream.key = Some(turn.begin(slot, request));
    }
}
