//! CONNECT streams of WebTransport sessions: which there are, and how they end. How they are asked for
//! is in `asking`, how they are answered in `answering`, what goes over them in `talking`; streams and
//! datagrams find their session in `arriving`.

mod answering;
mod arriving;
mod asking;
mod talking;

use std::time::Instant;

use jetstream_proto::http3::{Code, Role, Settings};
use jetstream_proto::webtransport::Peer;
use quinn_proto::{Connection as Quic, StreamId};

pub(crate) use self::asking::request;
use super::Http3;
use super::stream::{Part, Stream};
use crate::connection::ConnectionKey;
use crate::event::Lost;
use crate::http::turn::Turn;
use crate::webtransport::News;

impl Http3 {
    /// Streams that the peer may have open for sessions: bidirectional and unidirectional ones.
    pub(super) fn session_streams(&self) -> (u64, u64) {
        let limits = self.sessions.as_ref().map(|sessions| sessions.limits);
        limits.map_or((0, 0), |limits| (limits.streams_bidi.into(), limits.streams_uni.into()))
    }

    /// CONNECT streams on which nothing is to be sent for now.
    pub(super) fn standing_sessions(&self) -> usize {
        let Some(sessions) = &self.sessions else { return 0 };
        let stands =
            |id: u64| self.connect_stream(id).is_some_and(|stream| stream.sending.bytes() == 0);
        let open = sessions.iter().filter(|session| session.is_open);
        open.filter_map(|session| session.id).filter(|id| stands(*id)).count()
    }

    /// CONNECT streams of sessions that are over, whose peers have not ended them, or only just.
    pub(crate) fn ending_sessions(&self, now: Instant) -> usize {
        if self.sessions.is_none() {
            return 0;
        }
        let ending = self.streams.iter().flatten().filter(|stream| stream.session == Part::Over);
        ending.count() + usize::from(self.life.lingers(now))
    }

    fn connect_stream(&self, stream: u64) -> Option<&Stream> {
        let slot = self.places.get(&stream).copied()?;
        self.streams.get(slot as usize)?.as_ref()
    }

    fn part(&self, stream: u64) -> Part {
        self.connect_stream(stream).map_or(Part::None, |stream| stream.session)
    }

    fn set_part(&mut self, stream: u64, part: Part) {
        if let Some(slot) = self.places.get(&stream).copied() {
            if let Some(stream) = self.stream_mut(slot) {
                stream.session = part;
            }
        }
    }

    /// Whether a stream is, or was, a session's CONNECT stream, or asks for one of the peer's.
    pub(super) fn is_session(&self, stream: u64) -> bool {
        self.sessions.is_some()
            && matches!(self.part(stream), Part::Asking | Part::Open | Part::Over)
    }

    fn is_stopped(&self, stream: u64) -> bool {
        self.connect_stream(stream).is_some_and(|stream| stream.is_stopped)
    }

    pub(super) fn on_settings(
        &mut self,
        settings: &Settings,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some(sessions) = &mut self.sessions else { return };
        match Peer::of(settings) {
            Ok(peer) => sessions.peer = Some(peer),
            Err(error) => {
                self.closed.get_or_insert((error.code, error.reason));
                return;
            }
        }
        for (stream, head, ended) in std::mem::take(&mut sessions.held) {
            let slot = self.places.get(&stream).copied();
            if let Some(slot) = slot.filter(|_| self.part(stream) == Part::Asked) {
                self.judge_session(slot, &head, ended, quic, turn);
            }
        }
        self.send_asks(quic, turn);
    }

    // ---- ends ----

    /// A CONNECT stream was broken off, by either side.
    pub(super) fn on_tunnel_broken(&mut self, id: u64, code: Code, turn: &mut Turn<'_>) {
        if self.part(id) == Part::Over {
            // It was over before.
            self.core.abort(id, code);
            return self.drop_over(id, turn);
        }
        let Some((key, session)) = self.sessions.as_mut().and_then(|all| all.of(id)) else {
            return;
        };
        let is_open = session.is_open;
        let reason = format!("the stream of the session was broken off, with {code}");
        let lost = match is_open {
            true => Lost::Broken { reason },
            false if code == Code::REQUEST_REJECTED => {
                Lost::Refused { reason: "the server takes no more sessions now".to_owned() }
            }
            false => Lost::Refused { reason },
        };
        self.end_session(key, lost);
        self.core.abort(id, code);
        self.drop_over(id, turn);
    }

    /// Nothing more comes or goes on a CONNECT stream.
    fn drop_over(&mut self, id: u64, turn: &mut Turn<'_>) {
        if let Some(slot) = self.places.get(&id).copied() {
            self.remove(slot, turn.now);
        }
    }

    /// The peer takes no more of what we send on a CONNECT stream. What it has said before may still be
    /// on its way, with the reason: it is waited for. False if the stream is none.
    pub(super) fn on_session_stopped(
        &mut self,
        id: StreamId,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) -> bool {
        let part = self.part(id.into());
        let Some(slot) = self.place(id).filter(|_| matches!(part, Part::Open | Part::Over)) else {
            return false;
        };
        if let Some(stream) = self.stream_mut(slot) {
            stream.is_stopped = true;
        }
        self.read(slot, quic, turn);
        match (self.place(id), self.part(id.into())) {
            (None, _) => {}
            (Some(slot), Part::Open) => self.expect_end(slot, turn.now),
            (Some(slot), _) => self.break_off(slot, Code::WT_SESSION_GONE, quic, turn),
        }
        true
    }

    /// Whether a stream is of a session that we have asked for. Its answer may still come, though the
    /// server wants no more of the request (RFC 9114, section 4.1).
    pub(super) fn is_asking(&self, id: u64) -> bool {
        self.part(id) == Part::Asking
    }

    /// Whether a session that is over, and of which all has been sent, waits for the peer's end: it may
    /// not have read our last word, and would take a stop for the end.
    pub(super) fn waits_for_end(&mut self, slot: u32, now: Instant) -> bool {
        let Some(stream) = self.stream_mut(slot) else { return false };
        if stream.session != Part::Over || stream.has_ended {
            return false;
        }
        stream.is_said = true;
        self.expect_end(slot, now);
        true
    }

    /// Ends a session from our side.
    pub(crate) fn close_session(
        &mut self,
        key: ConnectionKey,
        code: u32,
        reason: &str,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some(session) = self.sessions.as_mut().and_then(|all| all.get_mut(key)) else {
            return;
        };
        let (id, is_open) = (session.id, session.is_open);
        session.core.close(code, reason);
        let last = session.core.take_output().unwrap_or_default();
        self.end_session(key, Lost::Here);
        match id {
            Some(id) if is_open => {
                let _ = self.core.data(id, last, true);
            }
            Some(id) => self.core.abort(id, Code::REQUEST_CANCELLED),
            None => {}
        }
        self.settle(quic, turn);
    }

    /// A session is over; of its CONNECT stream only the end is left.
    fn end_session(&mut self, key: ConnectionKey, reason: Lost) {
        let Some(sessions) = &mut self.sessions else { return };
        let Some(session) = sessions.remove(key) else { return };
        sessions.news.push_back(News::Over(key, reason));
        if let Some(id) = session.id {
            self.set_part(id, Part::Over);
            self.reject_waiting(id);
        }
    }

    /// A stream is over.
    pub(super) fn on_removed(&mut self, stream: &Stream, now: Instant) {
        if stream.session == Part::Over && self.core.role() == Role::Server {
            self.life.linger(now);
        }
        let id = u64::from(stream.id);
        let Some(sessions) = &mut self.sessions else { return };
        if let Some(key) = sessions.key_of(id) {
            let reason = "the stream of the session came to its end".to_owned();
            self.end_session(key, Lost::Broken { reason });
        }
        self.reject_waiting(id);
    }
}
