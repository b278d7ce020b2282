//! CONNECT streams of WebTransport sessions: how they are asked for and answered, what goes over them,
//! and which streams and datagrams are whose.

use bytes::Bytes;
use jetstream_proto::http3::{
    Code, Content, Fields as Section, Misuse, RequestHead, Role, Settings,
};
use jetstream_proto::webtransport::{Direction, Event as Said, Peer, header, is_asked};
use quinn_proto::{Connection as Quic, Dir, StreamId};

use super::Http3;
use super::answer::{date_of, wrong};
use super::stream::{Part, Stream};
use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::datagram;
use crate::event::{Event, Lost};
use crate::http::turn::Turn;
use crate::http::{ExchangeKey, Fields, ReplyError};
use crate::tls::printable_reason;
use crate::webtransport::{Arrived, Ask, News, Session, SessionError, give_up};

impl Http3 {
    /// Streams that the peer may have open for sessions: bidirectional and unidirectional ones.
    pub(super) fn session_streams(&self) -> (u64, u64) {
        let limits = self.sessions.as_ref().map(|sessions| sessions.limits);
        limits.map_or((0, 0), |limits| (limits.streams_bidi.into(), limits.streams_uni.into()))
    }

    /// CONNECT streams on which nothing is to be sent for now.
    pub(super) fn standing_sessions(&self) -> usize {
        let Some(sessions) = &self.sessions else { return 0 };
        let stands = |id: u64| {
            let slot = self.places.get(&id).copied();
            let stream = slot.and_then(|slot| self.streams.get(slot as usize)?.as_ref());
            stream.is_some_and(|stream| stream.sending.bytes() == 0)
        };
        let open = sessions.iter().filter(|session| session.is_open);
        open.filter_map(|session| session.id).filter(|id| stands(*id)).count()
    }

    fn part(&mut self, stream: u64) -> Part {
        let slot = self.places.get(&stream).copied();
        slot.and_then(|slot| self.stream_mut(slot)).map_or(Part::None, |stream| stream.session)
    }

    fn set_part(&mut self, stream: u64, part: Part) {
        if let Some(slot) = self.places.get(&stream).copied() {
            if let Some(stream) = self.stream_mut(slot) {
                stream.session = part;
            }
        }
    }

    /// Whether a stream is, or was, a session's CONNECT stream, or asks for one of the peer's.
    pub(super) fn is_session(&mut self, stream: u64) -> bool {
        self.sessions.is_some()
            && matches!(self.part(stream), Part::Asking | Part::Open | Part::Over)
    }

    // ---- settings ----

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

    // ---- a server's ----

    /// Whether a request asks for a session, and there may be some.
    pub(super) fn is_for_session(&self, head: &RequestHead) -> bool {
        self.sessions.is_some() && is_asked(head.protocol())
    }

    /// The head of a request for a session is whole. Without the peer's settings it is not looked at:
    /// they say of which draft it is (section 3.1).
    pub(super) fn welcome_session(
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

    fn judge_session(
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
    pub(super) fn on_declined(&mut self, slot: u32) {
        let Some(stream) = self.stream_mut(slot) else { return };
        stream.session = Part::None;
        let id = stream.id.into();
        self.reject_waiting(id);
    }

    /// What has come for a session waits in vain.
    pub(super) fn reject_waiting(&mut self, id: u64) {
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
    fn admit(&mut self, id: u64, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        let Some(key) = sessions.key_of(id) else { return };
        let (streams, datagrams) = sessions.waiting.take(id);
        let streams = streams.into_iter().map(|arrived| News::Stream(key, arrived));
        sessions.news.extend(streams);
        for payload in datagrams {
            self.deliver_datagram(id, payload, turn);
        }
    }

    // ---- a client's ----

    /// Asks for a session, as soon as that is possible.
    pub(crate) fn ask_session(
        &mut self,
        key: ConnectionKey,
        ask: Ask,
        incoming: Incoming,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        if let Some(sessions) = &mut self.sessions {
            let mut session = Session::new(incoming, &Peer::default(), sessions.limits);
            session.ask = Some(Box::new(ask));
            sessions.insert(key, session);
        }
        self.send_asks(quic, turn);
        self.settle(quic, turn);
    }

    /// Whether one more session can be asked for.
    pub(crate) fn may_ask(&self) -> Result<(), SessionError> {
        let sessions = match &self.sessions {
            Some(sessions) if self.core.role() == Role::Client => sessions,
            _ => return Err(SessionError::NotHttp3),
        };
        let most = sessions.peer.map_or(u64::MAX, |peer| peer.most_sessions());
        let most = most.min(sessions.limits.max_sessions.into());
        if self.core.is_peer_going_away() || self.core.is_going_away() {
            Err(SessionError::GoingAway)
        } else if sessions.len() as u64 >= most {
            Err(SessionError::TooMany(sessions.len()))
        } else {
            Ok(())
        }
    }

    /// Makes the requests that wait for the server's settings, or for a stream.
    pub(super) fn send_asks(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        let Some(sessions) = &self.sessions else { return };
        let Some(peer) = sessions.peer else { return };
        for key in sessions.keys() {
            let Some(sessions) = &mut self.sessions else { return };
            let most = peer.most_sessions();
            let (is_full, limits) = (sessions.named() as u64 >= most, sessions.limits);
            let Some(session) = sessions.get_mut(key) else { continue };
            if session.ask.is_none() {
                continue;
            }
            let why = if !peer.speaks {
                Some("the server does not speak WebTransport".to_owned())
            } else if !peer.datagrams || quic.datagrams().max_size().is_none() {
                Some("the server takes no datagrams, which WebTransport needs".to_owned())
            } else if is_full {
                Some(format!(
                    "the server takes {most} sessions on one connection, and they are open"
                ))
            } else {
                None
            };
            if let Some(reason) = why {
                self.end_session(key, Lost::Refused { reason });
                continue;
            }
            let Some(id) = quic.streams().open(Dir::Bi) else { return };
            let Some(ask) = session.ask.take() else { continue };
            session.core = jetstream_proto::webtransport::Session::new(&peer, limits);
            sessions.name(key, id.into());
            let slot = self.add(id);
            self.set_part(id.into(), Part::Asking);
            let asked = request(&ask, peer.protocol())
                .and_then(|head| self.core.request(id.into(), &head, Content::Follows));
            if let Err(why) = asked {
                give_up(id, Code::REQUEST_CANCELLED, quic);
                self.end_session(key, Lost::Refused { reason: why.to_string() });
                self.remove(slot, turn.now);
            }
        }
    }

    pub(super) fn on_response(
        &mut self,
        id: u64,
        status: u16,
        ended: bool,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        let Some((key, session)) = self.sessions.as_mut().and_then(|all| all.of(id)) else {
            return;
        };
        if !(200..300).contains(&status) {
            self.end_session(key, Lost::Declined { status });
            self.core.abort(id, Code::REQUEST_CANCELLED);
            return self.settle(quic, turn);
        }
        session.is_open = true;
        turn.events.push(Event::Connected { connection: key, incoming: false });
        turn.events.push(Event::Confirmed { connection: key });
        self.set_part(id, Part::Open);
        if self.core.is_peer_going_away() {
            self.on_going_away(turn);
        }
        self.admit(id, turn);
        if ended {
            self.on_content_end(id, turn);
        }
    }

    /// The peer goes away: its sessions are to come to an end (section 4.7).
    pub(super) fn on_going_away(&mut self, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        for key in sessions.keys() {
            let Some(session) = sessions.get_mut(key) else { continue };
            if session.is_open && !std::mem::replace(&mut session.is_draining, true) {
                turn.events.push(Event::Draining { connection: key });
            }
        }
    }

    // ---- what comes ----

    /// Content of a CONNECT stream.
    pub(super) fn on_content(&mut self, id: u64, bytes: Bytes, turn: &mut Turn<'_>) {
        match self.sessions.as_mut().and_then(|all| all.of(id)) {
            Some((_, session)) if session.is_open => session.core.received(bytes),
            // Behind the peer's end nothing may come (section 6); behind ours it is of no matter.
            _ => {}
        }
        self.hear_session(id, turn);
    }

    /// The peer's side of a CONNECT stream is complete.
    pub(super) fn on_content_end(&mut self, id: u64, turn: &mut Turn<'_>) {
        if let Some(slot) = self.places.get(&id).copied() {
            if let Some(stream) = self.stream_mut(slot) {
                stream.has_ended = true;
            }
        }
        match self.sessions.as_mut().and_then(|all| all.of(id)) {
            Some((_, session)) if session.is_open => session.core.finished(),
            _ => {}
        }
        self.hear_session(id, turn);
    }

    fn hear_session(&mut self, id: u64, turn: &mut Turn<'_>) {
        loop {
            let Some(sessions) = &mut self.sessions else { return };
            let Some((key, session)) = sessions.of(id) else { return };
            let Some(said) = session.core.poll_event() else { return };
            match said {
                Said::Draining => {
                    if !std::mem::replace(&mut session.is_draining, true) {
                        turn.events.push(Event::Draining { connection: key });
                    }
                }
                Said::Datagram(payload) => self.deliver_datagram(id, payload, turn),
                Said::MayOpen(direction) => {
                    let dir = match direction {
                        Direction::Both => Dir::Bi,
                        Direction::One => Dir::Uni,
                    };
                    turn.events.push(Event::MayOpen { connection: key, dir });
                }
                Said::MaySend => {
                    let streams = std::mem::take(&mut session.starving);
                    sessions.news.push_back(News::MaySend(streams));
                }
                Said::Closed { code, reason } => {
                    let is_broken = matches!(session.core.poll_event(), Some(Said::Failed(_)));
                    let reason = printable_reason(reason.as_bytes());
                    self.end_session(key, Lost::Closed { code: code.into(), reason });
                    if is_broken {
                        self.core.abort(id, Code::MESSAGE_ERROR);
                    } else {
                        let _ = self.core.data(id, Bytes::new(), true);
                    }
                }
                Said::Failed(error) => {
                    let reason = error.reason.to_owned();
                    self.end_session(key, Lost::Violated { code: error.code.0, reason });
                    self.core.abort(id, error.code);
                }
            }
        }
    }

    /// A CONNECT stream was broken off, by either side.
    pub(super) fn on_tunnel_broken(&mut self, id: u64, code: Code) {
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
    }

    /// A datagram of a session, or of a request.
    pub(super) fn on_session_datagram(&mut self, id: u64, payload: Bytes, turn: &mut Turn<'_>) {
        match self.standing(id) {
            Standing::Live(_) => self.deliver_datagram(id, payload, turn),
            Standing::Waits => {
                if let Some(sessions) = &mut self.sessions {
                    sessions.waiting.datagram(id, payload);
                }
            }
            Standing::Gone => {}
        }
    }

    fn deliver_datagram(&mut self, id: u64, payload: Bytes, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        let most = sessions.limits.datagram_bytes as usize;
        let Some((connection, session)) = sessions.of(id) else { return };
        match session.incoming {
            Incoming::Raw => {
                session.keep(payload, most);
                turn.events.push(Event::Datagram { connection });
            }
            Incoming::Lanes { .. } => {
                let Some((label, frame)) = datagram::split_label(&payload) else { return };
                // One that comes before its lane has a label, or after its end, is as good as lost.
                if let Some(lane) = session.labels.get(&label) {
                    turn.events.push(Event::LaneDatagram { lane: *lane, frame: frame.to_vec() });
                }
            }
            Incoming::Http(_) => {}
        }
    }

    /// A stream of a session came.
    pub(super) fn arrive(
        &mut self,
        id: StreamId,
        session: u64,
        rest: Bytes,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
        if let Some(slot) = self.place(id) {
            self.remove(slot, turn.now);
        }
        if let Err(error) = header::check(session) {
            self.closed.get_or_insert((error.code, error.reason));
            return;
        }
        let arrived = Arrived { id, rest };
        match (self.standing(session), &mut self.sessions) {
            (Standing::Live(key), Some(sessions)) => {
                sessions.news.push_back(News::Stream(key, arrived));
            }
            (Standing::Waits, Some(sessions)) => {
                if sessions.waiting.stream(session, arrived).is_some() {
                    give_up(id, Code::WT_BUFFERED_STREAM_REJECTED, quic);
                }
            }
            _ => give_up(id, Code::WT_SESSION_GONE, quic),
        }
    }

    fn standing(&mut self, id: u64) -> Standing {
        let Some(sessions) = &mut self.sessions else { return Standing::Gone };
        match sessions.of(id) {
            Some((key, session)) if session.is_open => return Standing::Live(key),
            Some(_) => return Standing::Waits,
            None => {}
        }
        let slot = self.places.get(&id).copied();
        let stream = slot.and_then(|slot| self.streams.get(slot as usize)?.as_ref());
        let may_come = match stream {
            Some(stream) => stream.session == Part::Asked || stream.is_headless(),
            None => self.core.role() == Role::Server && !self.core.has_begun(id),
        };
        if may_come { Standing::Waits } else { Standing::Gone }
    }

    // ---- what goes ----

    /// QUIC lets us open more streams.
    pub(super) fn on_available(&mut self, dir: Dir, quic: &mut Quic, turn: &mut Turn<'_>) {
        if dir == Dir::Bi {
            self.send_asks(quic, turn);
            self.settle(quic, turn);
        }
        let Some(sessions) = &self.sessions else { return };
        for connection in sessions.keys() {
            if sessions.get(connection).is_some_and(|session| session.is_open) {
                turn.events.push(Event::MayOpen { connection, dir });
            }
        }
    }

    /// Asks the peer to end its sessions.
    pub(super) fn drain_sessions(&mut self) {
        let Some(sessions) = &mut self.sessions else { return };
        for key in sessions.keys() {
            if let Some(session) = sessions.get_mut(key).filter(|session| session.is_open) {
                session.core.drain();
            }
        }
    }

    /// Sends the capsules that there are.
    pub(super) fn speak_sessions(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        if sessions.len() == 0 {
            return;
        }
        for key in sessions.keys() {
            let Some(sessions) = &mut self.sessions else { return };
            let Some(session) = sessions.get_mut(key).filter(|session| session.is_open) else {
                continue;
            };
            if let Some((id, capsules)) = session.id.zip(session.core.take_output()) {
                let _ = self.core.data(id, capsules, false);
            }
        }
        self.settle(quic, turn);
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
    pub(super) fn on_removed(&mut self, stream: &Stream) {
        let id = u64::from(stream.id);
        let Some(sessions) = &mut self.sessions else { return };
        if let Some(key) = sessions.key_of(id) {
            let reason = "the stream of the session came to its end".to_owned();
            self.end_session(key, Lost::Broken { reason });
        }
        self.reject_waiting(id);
    }
}

/// How a session stands that something came for.
enum Standing {
    Live(ConnectionKey),
    /// It may come to be.
    Waits,
    /// It is over, or never was.
    Gone,
}

/// The request for a session.
pub(crate) fn request(ask: &Ask, protocol: &[u8]) -> Result<RequestHead, Misuse> {
    let mut section = Section::default();
    section.push(b":method", b"CONNECT");
    section.push(b":scheme", b"https");
    section.push(b":authority", ask.authority.as_bytes());
    section.push(b":path", ask.path.as_bytes());
    section.push(b":protocol", protocol);
    for (name, value) in ask.fields.iter() {
        section.push(&name.to_ascii_lowercase(), value);
    }
    RequestHead::new(section, true).map_err(|error| Misuse::Malformed(error.reason))
}
