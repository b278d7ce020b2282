//! What goes over CONNECT streams.

use bytes::Bytes;
use jetstream_proto::http3::Code;
use jetstream_proto::webtransport::{Direction, Event as Said};
use quinn_proto::{Connection as Quic, Dir};

use super::super::Http3;
use crate::event::{Event, Lost};
use crate::http::turn::Turn;
use crate::tls::printable_reason;
use crate::webtransport::News;

impl Http3 {
    /// Content of a CONNECT stream.
    pub(in crate::http::h3) fn on_content(&mut self, id: u64, bytes: Bytes, turn: &mut Turn<'_>) {
        match self.sessions.as_mut().and_then(|all| all.of(id)) {
            Some((_, session)) if session.is_open => session.core.received(bytes),
            // Behind the peer's end nothing may come (section 6); behind ours it is of no matter.
            _ => {}
        }
        self.hear_session(id, turn);
    }

    /// The peer's side of a CONNECT stream is complete.
    pub(in crate::http::h3) fn on_content_end(&mut self, id: u64, turn: &mut Turn<'_>) {
        if let Some(slot) = self.places.get(&id).copied() {
            if let Some(stream) = self.stream_mut(slot) {
                stream.has_ended = true;
                if stream.is_said {
                    self.remove(slot, turn.now);
                    return;
                }
            }
        }
        match self.sessions.as_mut().and_then(|all| all.of(id)) {
            Some((_, session)) if session.is_open => session.core.finished(),
            _ => {}
        }
        self.hear_session(id, turn);
    }

    pub(super) fn hear_session(&mut self, id: u64, turn: &mut Turn<'_>) {
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
                    } else if !self.is_stopped(id) {
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

    /// QUIC lets us open more streams.
    pub(in crate::http::h3) fn on_available(
        &mut self,
        dir: Dir,
        quic: &mut Quic,
        turn: &mut Turn<'_>,
    ) {
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
    pub(in crate::http::h3) fn drain_sessions(&mut self) {
        let Some(sessions) = &mut self.sessions else { return };
        for key in sessions.keys() {
            if let Some(session) = sessions.get_mut(key).filter(|session| session.is_open) {
                session.core.drain();
            }
        }
    }

    /// Sends the capsules that there are.
    pub(in crate::http::h3) fn speak_sessions(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
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
}
