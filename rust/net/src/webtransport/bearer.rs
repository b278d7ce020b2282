//! Streams of sessions as their QUIC connection has them: like its own, but for their first bytes, the
//! peer's limits, and codes, which travel among those of HTTP/3.

use bytes::Bytes;
use jetstream_proto::http3::Code;
use jetstream_proto::webtransport::code::{from_wire, to_wire};
use quinn_proto::{Connection as Quic, Dir, FinishError, StreamId, VarInt};

use super::{Arrived, News, Sessions, directions};
use crate::config::Incoming;
use crate::connection::{Connection, ConnectionKey, Surroundings};
use crate::event::{Event, LaneEnd, Lost};
use crate::http::Http3;
use crate::stream::{Read, Write, code};

/// A code of the owner's as it travels on a stream.
pub(crate) fn wire_code(owner: ConnectionKey, value: u64) -> VarInt {
    if owner.is_session() {
        return code(to_wire(u32::try_from(value).unwrap_or(u32::MAX)).0);
    }
    code(value)
}

/// The owner's code of one that came on a stream. What is no application's is none (section 4.4).
pub(crate) fn reset_code(owner: ConnectionKey, value: u64) -> u64 {
    if owner.is_session() { from_wire(Code(value)).unwrap_or(0).into() } else { value }
}

/// The same of how a lane ended.
pub(crate) fn lane_end(owner: ConnectionKey, end: LaneEnd) -> LaneEnd {
    match end {
        LaneEnd::Reset { code } => LaneEnd::Reset { code: reset_code(owner, code) },
        LaneEnd::Stopped { code } => LaneEnd::Stopped { code: reset_code(owner, code) },
        other => other,
    }
}

/// The same of a read.
pub(crate) fn read_of(owner: ConnectionKey, read: Read) -> Read {
    match read {
        Read::Reset(code) => Read::Reset(reset_code(owner, code)),
        other => other,
    }
}

/// The same of a write.
pub(crate) fn write_of(owner: ConnectionKey, write: Write) -> Write {
    match write {
        Write::Stopped(code) => Write::Stopped(reset_code(owner, code)),
        other => other,
    }
}

impl Connection {
    /// The book of its sessions, where it may have some.
    pub(crate) fn sessions(&mut self) -> Option<&mut Sessions> {
        self.http.as_deref_mut()?.sessions_mut()
    }

    /// The same, beside its QUIC.
    pub(crate) fn sessions_and_quic(&mut self) -> Option<(&mut Sessions, &mut Quic)> {
        let sessions = self.http.as_deref_mut()?.sessions_mut()?;
        Some((sessions, &mut self.quic))
    }

    /// Whose a stream is: a session's, or the connection's own.
    pub(crate) fn owner(&mut self, stream: StreamId) -> ConnectionKey {
        let session = self.sessions().and_then(|sessions| sessions.owner(stream));
        session.unwrap_or(self.key)
    }

    /// Does what sessions want of the connection.
    pub(crate) fn settle_sessions(&mut self, around: &mut Surroundings<'_>) {
        while let Some(news) = self.sessions().and_then(|sessions| sessions.news.pop_front()) {
            match news {
                News::Stream(key, arrived) => self.take_stream(key, arrived, around),
                News::MaySend(streams) => {
                    for stream in streams {
                        self.on_may_write(stream, around);
                    }
                }
                News::Over(key, reason) => self.end_session(key, reason, around),
                News::Reject(id) => {
                    let waited = self.sessions().map(|sessions| sessions.waiting.take(id));
                    for arrived in waited.into_iter().flat_map(|(streams, _)| streams) {
                        give_up(arrived.id, Code::WT_BUFFERED_STREAM_REJECTED, &mut self.quic);
                    }
                }
            }
        }
    }

    /// A stream of the peer belongs to a session.
    fn take_stream(&mut self, key: ConnectionKey, arrived: Arrived, around: &mut Surroundings<'_>) {
        let Arrived { id, rest } = arrived;
        let Some((sessions, quic)) = self.sessions_and_quic() else { return };
        let incoming = sessions.get(key).map(|session| session.incoming.clone());
        let Some(incoming) = incoming else {
            return give_up(id, Code::WT_SESSION_GONE, quic);
        };
        match incoming {
            Incoming::Raw => {
                sessions.own(key, id);
                sessions.keep_ahead(id, rest);
                around.events.push(Event::StreamOpened { connection: key, stream: id });
            }
            Incoming::Lanes { msize } if id.dir() == Dir::Bi => {
                sessions.own(key, id);
                let lane = self.add_lane(key, id, msize, false, around.lanes);
                if let Some(lane) = around.lanes.get_mut(lane.0) {
                    lane.ahead = rest;
                }
                around.events.push(Event::LaneOpened { connection: key, lane });
                // What came of it before it was known whose it is was nobody's.
                if let Ok(Some(stopped)) = self.quic.send_stream(id).stopped() {
                    let end = LaneEnd::Stopped { code: reset_code(key, stopped.into_inner()) };
                    around.events.push(Event::LaneEnded { lane, end });
                }
            }
            Incoming::Lanes { .. } | Incoming::Http(_) => {
                give_up(id, to_wire(jetstream_proto::codes::UNWANTED), quic);
            }
        }
    }

    /// Something may be written to a stream again.
    pub(crate) fn on_may_write(&mut self, stream: StreamId, around: &mut Surroundings<'_>) {
        if let Some((sessions, quic)) = self.sessions_and_quic() {
            if !sessions.has_begun(stream, quic) {
                return;
            }
        }
        let connection = self.owner(stream);
        match self.lane(stream) {
            Some(lane) => self.mark_writable(lane),
            None => around.events.push(Event::Writable { connection, stream }),
        }
    }

    /// A session is over: everything on it goes, and the owner is told.
    fn end_session(&mut self, key: ConnectionKey, reason: Lost, around: &mut Surroundings<'_>) {
        // What came before the end is still the owner's.
        self.read_lanes_of(key, around);
        around.sessions.remove(key);
        let owned = self.sessions().map(|sessions| sessions.disown(key)).unwrap_or_default();
        for stream in owned {
            give_up(stream, Code::WT_SESSION_GONE, &mut self.quic);
            self.forget_end(stream);
        }
        self.drop_lanes(key, around.lanes);
        around.events.push(Event::Lost { connection: key, reason });
    }

    /// The connection is over, and with it its sessions.
    pub(crate) fn lose_sessions(&mut self, reason: &Lost, around: &mut Surroundings<'_>) {
        let Some(sessions) = self.sessions() else { return };
        let over: Vec<_> = sessions
            .news
            .drain(..)
            .filter_map(|news| match news {
                News::Over(key, reason) => Some((key, reason)),
                _ => None,
            })
            .collect();
        let mut keys = sessions.keys();
        keys.retain(|key| over.iter().all(|(ended, _)| ended != key));
        for (key, reason) in
            over.into_iter().chain(keys.into_iter().map(|key| (key, reason.clone())))
        {
            around.sessions.remove(key);
            around.events.push(Event::Lost { connection: key, reason });
        }
    }

    /// The handshake is complete: what was early is not any more.
    pub(crate) fn on_sessions_connected(&mut self, around: &mut Surroundings<'_>) {
        let Some(sessions) = self.sessions() else { return };
        for key in sessions.keys() {
            let session = sessions.get_mut(key).filter(|session| session.is_early);
            if let Some(session) = session {
                session.is_early = false;
                around.events.push(Event::Connected { connection: key, incoming: true });
            }
        }
    }
}

impl Http3 {
    pub(crate) fn sessions_mut(&mut self) -> Option<&mut Sessions> {
        self.sessions.as_deref_mut()
    }
}

/// Gives a stream up on both sides. What we have ended in order still arrives.
pub(crate) fn give_up(stream: StreamId, reason: Code, quic: &mut Quic) {
    let (sends, receives) = directions(stream, quic.side());
    let reason = code(reason.0);
    if sends && quic.send_stream(stream).finish() != Err(FinishError::ClosedStream) {
        let _ = quic.send_stream(stream).reset(reason);
    }
    if receives {
        let _ = quic.recv_stream(stream).stop(reason);
    }
}

impl Connection {
    /// Reads a stream of a session.
    pub(crate) fn read_session(&mut self, key: ConnectionKey, id: StreamId, limit: usize) -> Read {
        let ahead = self.sessions().and_then(|sessions| sessions.take_ahead(id, limit));
        match ahead {
            Some(ahead) => Read::Data(ahead.to_vec()),
            None => read_of(key, self.read_stream(id, limit)),
        }
    }

    /// Writes to a stream of a session, as far as the peer lets.
    pub(crate) fn write_session(
        &mut self,
        key: ConnectionKey,
        id: StreamId,
        data: &mut Bytes,
    ) -> Write {
        let Some((sessions, quic)) = self.sessions_and_quic() else { return Write::Closed };
        let Some(credit) = sessions.credit(id, quic) else { return Write::Blocked };
        let most = usize::try_from(credit).unwrap_or(usize::MAX).min(data.len());
        let mut piece = data.slice(..most);
        let wrote = if most == 0 && !data.is_empty() {
            // That it is stopped or closed is more important.
            match quic.send_stream(id).stopped() {
                Ok(None) => Write::Blocked,
                Ok(Some(stopped)) => Write::Stopped(stopped.into_inner()),
                Err(_) => Write::Closed,
            }
        } else {
            crate::stream::write(quic, id, &mut piece)
        };
        let taken = if let Write::Taken(taken) = wrote { taken } else { 0 };
        let is_starved = taken == most && most < data.len();
        drop(data.split_to(taken));
        let is_open = matches!(wrote, Write::Taken(_) | Write::Blocked);
        sessions.sent(id, taken as u64, is_starved && is_open);
        write_of(key, wrote)
    }
}
