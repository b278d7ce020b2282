//! Streams and datagrams of sessions: whose they are, and what becomes of those that come too early.

use bytes::Bytes;
use jetstream_proto::http3::{Code, Role};
use jetstream_proto::webtransport::header;
use quinn_proto::{Connection as Quic, StreamId};

use super::super::Http3;
use super::super::stream::Part;
use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::datagram;
use crate::event::Event;
use crate::http::turn::Turn;
use crate::webtransport::{Arrived, News, give_up};

impl Http3 {
    /// A datagram of a session, or of a request.
    pub(in crate::http::h3) fn on_session_datagram(
        &mut self,
        id: u64,
        payload: Bytes,
        turn: &mut Turn<'_>,
    ) {
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

    pub(super) fn deliver_datagram(&mut self, id: u64, payload: Bytes, turn: &mut Turn<'_>) {
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
    pub(in crate::http::h3) fn arrive(
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
        let may_come = match self.connect_stream(id) {
            Some(stream) => stream.session == Part::Asked || stream.is_headless(),
            None => self.core.role() == Role::Server && !self.core.has_begun(id),
        };
        if may_come { Standing::Waits } else { Standing::Gone }
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
