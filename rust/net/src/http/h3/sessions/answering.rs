//! Requests for sessions, at the server's end.

use jetstream_proto::http3::{Code, Content, Misuse, RequestHead};
use jetstream_proto::webtransport::is_asked;
use quinn_proto::Connection as Quic;

use super::super::Http3;
use super::super::answer::{date_of, wrong};
use super::super::stream::Part;
use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::event::Event;
use crate::http::turn::Turn;
use crate::http::{ExchangeKey, Fields, ReplyError};
use crate::webtransport::{News, Session};

impl Http3 {
    /// Whether a request asks for a session, and there may be some.
    pub(in crate::http::h3) fn is_for_session(&self, head: &RequestHead) -> bool {
        self.sessions.is_some() && is_asked(head.protocol())
    }

    /// The head of a request for a session is whole. Without the peer's settings it is not looked at:
    /// they say of which draft it is (section 3.1).
    pub(in crate::http::h3) fn welcome_session(
        &mut self,
        slot: u32,
        head: RequestHead,
        ended: bool,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some(stream) = self.stream_mut(slot) else { return };
        stream.session = Part::Asked;
        stream.has_ended = ended;
        let id = stream.id.into();
        match &mut self.sessions {
            Some(sessions) if sessions.peer.is_none() => sessions.held.push((id, head, ended)),
            _ => self.judge_session(slot, &head, ended, quic, turn),
        }
    }

    pub(super) fn judge_session(
        &mut self,
        slot: u32,
        head: &RequestHead,
        ended: bool,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = self.stream_mut(slot).map(|stream| u64::from(stream.id)) else { return };
        let Some(sessions) = &self.sessions else { return };
        let peer = sessions.peer.unwrap_or_default();
        let asked = self
            .streams
            .iter()
            .flatten()
            .filter(|stream| stream.session == Part::Asked && stream.key.is_some());
        let most = match peer.shares() {
            true => usize::from(sessions.limits.max_sessions),
            false => 1,
        };
        if !peer.datagrams || quic.datagrams().max_size().is_none() {
            // Section 3.1: what it does not announce it must not ask for.
            self.core.abort(id, Code::MESSAGE_ERROR);
        } else if sessions.len() + asked.count() >= most {
            // Section 5.2.
            self.core.abort(id, Code::REQUEST_REJECTED);
        } else {
            let is_ended = self.stream_mut(slot).is_some_and(|stream| stream.has_ended);
            self.welcome(slot, head, ended || is_ended, turn);
            if let Some(stream) = self.stream_mut(slot) {
                (stream.is_asked, stream.is_wanted, stream.expects) = (false, false, false);
            }
        }
    }

    /// A request for a session is answered with something else.
    pub(in crate::http::h3) fn on_declined(&mut self, slot: u32) {
        let Some(stream) = self.stream_mut(slot) else { return };
        stream.session = Part::None;
        let id = stream.id.into();
        self.reject_waiting(id);
    }

    /// What has come for a session waits in vain.
    pub(in crate::http::h3) fn reject_waiting(&mut self, id: u64) {
        if let Some(sessions) = &mut self.sessions {
            if sessions.waiting.streams() > 0 || sessions.waiting.bytes() > 0 {
                sessions.news.push_back(News::Reject(id));
            }
        }
    }

    /// Answers a request for a session: there is one from now on.
    pub(crate) fn accept_session(
        &mut self,
        (slot, exchange): (u32, ExchangeKey),
        key: ConnectionKey,
        fields: &Fields,
        incoming: Incoming,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReplyError> {
        let date = turn.date();
        let is_early = self.is_early;
        let Some(stream) = self.stream_mut(slot) else { return Err(ReplyError::Gone) };
        if stream.has_begun {
            return Err(ReplyError::Begun);
        }
        let id = u64::from(stream.id);
        let is_asked = stream.session == Part::Asked;
        let Some(sessions) = self.sessions.as_deref().filter(|_| is_asked) else {
            return Err(ReplyError::NotAsked);
        };
        let lines = fields.iter().chain(date_of(fields, &date));
        match self.core.respond(id, 200, lines, Content::Follows) {
            Ok(()) => {}
            Err(Misuse::Gone(_) | Misuse::State(_)) => return Err(ReplyError::Gone),
            Err(why) => return wrong(why, fields).and(Err(ReplyError::Gone)),
        }
        let peer = sessions.peer.unwrap_or_default();
        let mut session = Session::new(incoming, &peer, sessions.limits);
        (session.id, session.is_open, session.is_early) = (Some(id), true, is_early);
        if self.core.is_going_away() {
            session.core.drain();
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.insert(key, session);
        }
        turn.forget(exchange);
        turn.events.push(if is_early {
            Event::Early { connection: key, incoming: true }
        } else {
            Event::Connected { connection: key, incoming: true }
        });
        self.admit(id, turn);
        if let Some(stream) = self.stream_mut(slot) {
            (stream.session, stream.key, stream.has_begun) = (Part::Open, None, true);
            let (held, has_ended) = (stream.take_held(), stream.has_ended);
            if !held.is_empty() {
                self.on_content(id, held, turn);
            }
            if has_ended {
                self.on_content_end(id, turn);
            }
        }
        self.read(slot, quic, turn);
        self.settle(quic, turn);
        Ok(())
    }

    /// A session is open: what has waited for it is its.
    pub(super) fn admit(&mut self, id: u64, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        let Some(key) = sessions.key_of(id) else { return };
        let (streams, datagrams) = sessions.waiting.take(id);
        let streams = streams.into_iter().map(|arrived| News::Stream(key, arrived));
        sessions.news.extend(streams);
        for payload in datagrams {
            self.deliver_datagram(id, payload, turn);
        }
    }
}
