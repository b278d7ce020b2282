//! The sessions of one connection, and what belongs to each.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, Bytes};
use jetstream_proto::http3::{RequestHead, varint};
use jetstream_proto::webtransport::{Limits, Peer, Session as Core, Waiting};
use quinn_proto::{Chunks, Connection as Quic, Dir, Side, StreamId, WriteError};

use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::event::Lost;
use crate::http::Fields;
use crate::lane::LaneKey;

/// Streams that may be over and are known all the same.
const SLACK: usize = 32;

/// A stream of the peer, whose header has been read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) id: StreamId,
    /// What came behind the header.
    pub(crate) rest: Bytes,
}

/// What the QUIC connection is to do for a session.
#[derive(Debug)]
pub(crate) enum News {
    /// The peer opened a stream of it.
    Stream(ConnectionKey, Arrived),
    /// It has bytes to send again.
    MaySend(Vec<StreamId>),
    /// It is over, for this reason.
    Over(ConnectionKey, Lost),
    /// What has waited for it waits in vain.
    Reject(u64),
}

/// A session that is to be asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) fields: Fields,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) incoming: Incoming,
    /// The stream of its CONNECT, which a client's has not until it asks.
    pub(crate) id: Option<u64>,
    pub(crate) ask: Option<Box<Ask>>,
    pub(crate) is_open: bool,
    /// It was accepted before the handshake was complete.
    pub(crate) is_early: bool,
    /// The owner knows that the peer asks for the end.
    pub(crate) is_draining: bool,
    pub(crate) core: Core,
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    pub(crate) labels: HashMap<u64, LaneKey>,
    /// Streams that wait until the peer allows more bytes.
    pub(crate) starving: Vec<StreamId>,
}

impl Session {
    pub(crate) fn new(incoming: Incoming, peer: &Peer, limits: Limits) -> Self {
        Self {
            incoming,
            id: None,
            ask: None,
            is_open: false,
            is_early: false,
            is_draining: false,
            core: Core::new(peer, limits),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            labels: HashMap::new(),
            starving: Vec::new(),
        }
    }

    /// Keeps a datagram for the reader; older ones go if there are too many.
    pub(crate) fn keep(&mut self, payload: Bytes, most: usize) {
        self.inbox_bytes += payload.len();
        self.inbox.push_back(payload);
        // Empty ones cost something, too.
        while self.inbox_bytes + COST * self.inbox.len() > most {
            let Some(old) = self.inbox.pop_front() else { return };
            self.inbox_bytes -= old.len();
        }
    }

    pub(crate) fn take_datagram(&mut self) -> Option<Bytes> {
        let payload = self.inbox.pop_front()?;
        self.inbox_bytes -= payload.len();
        Some(payload)
    }
}

/// What a datagram costs beside its bytes.
const COST: usize = 32;

/// The beginning of a stream of ours, as far as QUIC has not taken it, and whether the end follows.
#[derive(Debug)]
struct Beginning {
    header: Bytes,
    finishes: bool,
}

pub(crate) struct Sessions {
    pub(crate) limits: Limits,
    /// What the peer's settings say, once they have come.
    pub(crate) peer: Option<Peer>,
    sessions: HashMap<ConnectionKey, Session>,
    by_id: HashMap<u64, ConnectionKey>,
    /// Whose each stream is. Those that are over are swept out now and then.
    owners: HashMap<StreamId, ConnectionKey>,
    swept: usize,
    beginnings: HashMap<StreamId, Beginning>,
    /// What came with the headers of streams that are read as they are.
    aheads: HashMap<StreamId, Bytes>,
    pub(crate) waiting: Waiting<Arrived>,
    pub(crate) news: VecDeque<News>,
    /// Requests that came before the peer's settings, without which they are not looked at: their
    /// stream, what they ask, and whether that is all.
    pub(crate) held: Vec<(u64, RequestHead, bool)>,
}

impl Sessions {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            peer: None,
            sessions: HashMap::new(),
            by_id: HashMap::new(),
            owners: HashMap::new(),
            swept: 0,
            beginnings: HashMap::new(),
            aheads: HashMap::new(),
            waiting: Waiting::new(limits),
            news: VecDeque::new(),
            held: Vec::new(),
        }
    }

    // ---- sessions ----

    pub(crate) fn insert(&mut self, key: ConnectionKey, session: Session) {
        if let Some(id) = session.id {
            self.by_id.insert(id, key);
        }
        self.sessions.insert(key, session);
    }

    /// Notes on which stream a session was asked for.
    pub(crate) fn name(&mut self, key: ConnectionKey, id: u64) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.id = Some(id);
            self.by_id.insert(id, key);
        }
    }

    /// Takes a session out. Its streams are known until [`Sessions::disown`].
    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Session> {
        let session = self.sessions.remove(&key)?;
        if let Some(id) = session.id {
            self.by_id.remove(&id);
        }
        Some(session)
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Session> {
        self.sessions.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Session> {
        self.sessions.get_mut(&key)
    }

    pub(crate) fn key_of(&self, id: u64) -> Option<ConnectionKey> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn of(&mut self, id: u64) -> Option<(ConnectionKey, &mut Session)> {
        let key = self.key_of(id)?;
        Some((key, self.sessions.get_mut(&key)?))
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        let mut keys: Vec<_> = self.sessions.keys().copied().collect();
        keys.sort();
        keys
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Sessions, those that are being asked for included.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Those that have a CONNECT stream.
    pub(crate) fn named(&self) -> usize {
        self.by_id.len()
    }

    // ---- streams ----

    /// Streams that are known.
    #[cfg(test)]
    pub(crate) fn streams(&self) -> usize {
        self.owners.len() + self.beginnings.len() + self.aheads.len()
    }

    /// Whose a stream is.
    pub(crate) fn owner(&self, stream: StreamId) -> Option<ConnectionKey> {
        self.owners.get(&stream).copied()
    }

    /// Notes whose a stream is.
    pub(crate) fn own(&mut self, key: ConnectionKey, stream: StreamId) {
        self.owners.insert(stream, key);
    }

    /// Forgets streams that are over, now and then; QUIC has told all that it has to tell.
    pub(crate) fn sweep(&mut self, quic: &mut Quic) {
        if self.owners.len() > 2 * self.swept + SLACK {
            self.owners.retain(|stream, _| is_alive(*stream, quic));
            self.swept = self.owners.len();
            self.beginnings.retain(|stream, _| self.owners.contains_key(stream));
        }
    }

    /// Forgets the streams of a session that is over.
    pub(crate) fn disown(&mut self, key: ConnectionKey) -> Vec<StreamId> {
        let its = self.owners.iter().filter(|(_, owner)| **owner == key);
        let streams: Vec<StreamId> = its.map(|(stream, _)| *stream).collect();
        for stream in &streams {
            self.owners.remove(stream);
            self.beginnings.remove(stream);
            self.aheads.remove(stream);
        }
        streams
    }

    /// Bytes of a stream's beginning that its reader has not seen.
    pub(crate) fn keep_ahead(&mut self, stream: StreamId, rest: Bytes) {
        if !rest.is_empty() {
            self.aheads.insert(stream, rest);
        }
    }

    pub(crate) fn take_ahead(&mut self, stream: StreamId, limit: usize) -> Option<Bytes> {
        let rest = self.aheads.get_mut(&stream)?;
        let piece = rest.split_to(limit.min(rest.len()));
        if rest.is_empty() {
            self.aheads.remove(&stream);
        }
        Some(piece)
    }

    /// Begins a stream of ours with its header.
    pub(crate) fn begin(&mut self, stream: StreamId, header: Vec<u8>, quic: &mut Quic) {
        let beginning = Beginning { header: header.into(), finishes: false };
        self.beginnings.insert(stream, beginning);
        self.has_begun(stream, quic);
    }

    /// Whether QUIC has taken a stream's header; tries that once more.
    pub(crate) fn has_begun(&mut self, stream: StreamId, quic: &mut Quic) -> bool {
        let Some(beginning) = self.beginnings.get_mut(&stream) else { return true };
        match quic.send_stream(stream).write(&beginning.header) {
            Ok(count) => beginning.header.advance(count.min(beginning.header.len())),
            Err(WriteError::Blocked) => {}
            // Whoever writes behind it is told.
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => beginning.header.clear(),
        }
        if !beginning.header.is_empty() {
            return false;
        }
        if beginning.finishes {
            let _ = quic.send_stream(stream).finish();
        }
        self.beginnings.remove(&stream);
        true
    }

    /// Whether the end of a stream has to wait for its header; then it follows.
    pub(crate) fn finishes_later(&mut self, stream: StreamId) -> bool {
        match self.beginnings.get_mut(&stream) {
            Some(beginning) => {
                beginning.finishes = true;
                true
            }
            None => false,
        }
    }

    /// Bytes that a stream may send now, its header being on its way; `None` while it is not.
    pub(crate) fn credit(&mut self, stream: StreamId, quic: &mut Quic) -> Option<u64> {
        if !self.has_begun(stream, quic) {
            return None;
        }
        let session = self.owners.get(&stream).and_then(|key| self.sessions.get(key));
        Some(session.map_or(0, |session| session.core.credit()))
    }

    /// So many bytes were sent on a stream, which has more where it is starved.
    pub(crate) fn sent(&mut self, stream: StreamId, bytes: u64, starved: bool) {
        let Some(key) = self.owner(stream) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if bytes > 0 {
            session.core.sent(bytes);
        }
        if starved {
            session.core.starve();
            if !session.starving.contains(&stream) {
                session.starving.push(stream);
            }
        }
    }
}

/// What a datagram of the session on `stream` begins with (RFC 9297, section 2.1).
pub(crate) fn prefix(id: u64) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(16);
    varint::encode(id / 4, &mut prefix);
    prefix
}

/// Whether QUIC knows a stream in either direction.
fn is_alive(stream: StreamId, quic: &mut Quic) -> bool {
    let (sends, receives) = directions(stream, quic.side());
    let is_open = receives && quic.recv_stream(stream).read(true).map(Chunks::finalize).is_ok();
    is_open || (sends && quic.send_stream(stream).stopped().is_ok())
}

/// Whether one end sends on a stream, and whether it receives.
pub(crate) fn directions(stream: StreamId, side: Side) -> (bool, bool) {
    let (is_both, is_ours) = (stream.dir() == Dir::Bi, stream.initiator() == side);
    (is_both || is_ours, is_both || !is_ours)
}
