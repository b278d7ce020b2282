//! Sessions that we ask for, as a client.

use jetstream_proto::http3::{Code, Content, Fields as Section, Misuse, RequestHead, Role};
use jetstream_proto::webtransport::{Peer, Session as Core};
use quinn_proto::{Connection as Quic, Dir};

use super::super::Http3;
use super::super::stream::Part;
use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::event::{Event, Lost};
use crate::http::turn::Turn;
use crate::webtransport::{Ask, Session, SessionError, give_up};

impl Http3 {
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
    pub(in crate::http::h3) fn send_asks(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
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
            session.core = Core::new(&peer, limits);
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

    pub(in crate::http::h3) fn on_response(
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
    pub(in crate::http::h3) fn on_going_away(&mut self, turn: &mut Turn<'_>) {
        let Some(sessions) = &mut self.sessions else { return };
        for key in sessions.keys() {
            let Some(session) = sessions.get_mut(key) else { continue };
            if session.is_open && !std::mem::replace(&mut session.is_draining, true) {
                turn.events.push(Event::Draining { connection: key });
            }
        }
    }
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
