//! The streams of a connection that are lanes, and those that are read as they are.

use jetstream_proto::mux;
use quinn_proto::coding::Codec;
use quinn_proto::{Connection as Quic, StreamId, VarInt};

use super::{Connection, ConnectionKey, Surroundings};
use crate::event::Event;
use crate::http::Http3;
use crate::lane::{Lane, LaneKey};
use crate::slab::Slab;
use crate::stream::{self, Read};
use crate::webtransport::lane_end;

impl Connection {
    /// Makes a stream a lane; what has arrived on it is read in the next turn.
    pub(crate) fn add_lane(
        &mut self,
        owner: ConnectionKey,
        stream: StreamId,
        msize: u32,
        ours: bool,
        lanes: &mut Slab<Lane>,
    ) -> LaneKey {
        // What comes on a lane of ours are answers: reading them is never held up by what we ask.
        let high = if ours { usize::MAX } else { self.max_unsent };
        let lane = LaneKey(lanes.insert(Lane::new(owner, stream, msize, high)));
        self.lanes.insert(stream, lane);
        self.readable.push(lane);
        lane
    }

    /// Whether a stream may have a lane of its own.
    pub(crate) fn spares_lane(&mut self) -> bool {
        if self.allowed.is_none() {
            self.allowed = allowed_lanes(&self.quic);
        }
        let side = self.quic.side();
        let open = self.lanes.keys().filter(|stream| stream.initiator() == side).count();
        self.allowed.is_some_and(|allowed| mux::spares_a_lane(allowed, open as u64))
    }

    pub(crate) fn forget_lane(&mut self, stream: StreamId) {
        self.lanes.remove(&stream);
    }

    /// The lane on a stream.
    pub(crate) fn lane(&self, stream: StreamId) -> Option<LaneKey> {
        self.lanes.get(&stream).copied()
    }

    /// Reads the lanes of a session that is over, the last time.
    pub(crate) fn read_lanes_of(&mut self, session: ConnectionKey, around: &mut Surroundings<'_>) {
        let is_its =
            |key: &LaneKey| around.lanes.get(key.0).is_some_and(|lane| lane.connection == session);
        let mut its: Vec<LaneKey> = self.lanes.values().copied().filter(is_its).collect();
        its.sort();
        let others = std::mem::replace(&mut self.readable, its);
        while !self.readable.is_empty() {
            self.read_lanes(around);
        }
        self.readable = others;
    }

    /// Forgets the lanes of a session.
    pub(crate) fn drop_lanes(&mut self, session: ConnectionKey, lanes: &mut Slab<Lane>) {
        self.lanes.retain(|_, key| {
            let is_its = lanes.get(key.0).is_some_and(|lane| lane.connection == session);
            if is_its {
                lanes.remove(key.0);
            }
            !is_its
        });
    }

    /// A lane that is gone leaves its label to others.
    pub(crate) fn unlabel(&mut self, lane: &Lane) {
        let Some(label) = lane.label else { return };
        let session = self.sessions().and_then(|sessions| sessions.get_mut(lane.connection));
        if let Some(session) = session {
            session.labels.remove(&label);
        }
    }

    /// Nobody asks how a stream ended.
    pub(crate) fn forget_end(&mut self, stream: StreamId) {
        self.ends.remove(&stream);
    }

    pub(crate) fn mark_readable(&mut self, lane: LaneKey) {
        self.readable.push(lane);
    }

    pub(crate) fn mark_writable(&mut self, lane: LaneKey) {
        self.writable.push(lane);
    }

    pub(super) fn read_lanes(&mut self, around: &mut Surroundings<'_>) {
        for key in std::mem::take(&mut self.readable) {
            let Some(lane) = around.lanes.get_mut(key.0) else { continue };
            if self.lanes.get(&lane.stream) != Some(&key) {
                continue;
            }
            let owner = lane.connection;
            let incoming = lane.read(&mut self.quic);
            if let Some(run) = incoming.run {
                around.events.push(Event::Frames { lane: key, run });
            }
            if let Some(end) = incoming.end {
                let end = lane_end(owner, end);
                around.events.push(Event::LaneEnded { lane: key, end });
            }
            if incoming.more {
                self.readable.push(key);
            }
        }
    }

    /// Reads a raw stream.
    pub(crate) fn read_stream(&mut self, id: StreamId, limit: usize) -> Read {
        if let Some(end) = self.ends.remove(&id) {
            return end;
        }
        let (read, end) = stream::read(&mut self.quic, id, limit);
        if let Some(end) = end {
            self.ends.insert(id, end);
        }
        read
    }

    /// Whether a turn's bound left something to read.
    pub(crate) fn has_more_to_read(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Moves what the lanes have queued into their streams.
    pub(crate) fn write_lanes(&mut self, lanes: &mut Slab<Lane>, events: &mut Vec<Event>) {
        for key in std::mem::take(&mut self.writable) {
            let Some(lane) = lanes.get_mut(key.0) else { continue };
            if self.lanes.get(&lane.stream) != Some(&key) {
                continue;
            }
            let sessions = match lane.connection.is_session() {
                true => self.http.as_deref_mut().and_then(Http3::sessions_mut),
                false => None,
            };
            let wrote = match sessions {
                Some(sessions) => {
                    // Until its header has left, the stream tells when it may be written to.
                    let credit = sessions.credit(lane.stream, &mut self.quic);
                    let Some(credit) = credit else { continue };
                    let wrote = lane.write(&mut self.quic, credit);
                    sessions.sent(lane.stream, wrote.bytes, wrote.starved);
                    wrote
                }
                None => lane.write(&mut self.quic, u64::MAX),
            };
            if wrote.resumes {
                self.readable.push(key);
            }
            if lane.take_drained() {
                events.push(Event::LaneDrained { lane: key });
            }
            if lane.is_done() {
                self.lanes.remove(&lane.stream);
                if let Some(lane) = lanes.remove(key.0) {
                    self.unlabel(&lane);
                }
            }
        }
    }
}

/// Bidirectional streams that the peer lets us have open at once (RFC 9000, section 18.2); `None`
/// before it has said so. `quinn-proto` keeps what the peer said to itself, but not how it is written.
fn allowed_lanes(quic: &Quic) -> Option<u64> {
    const INITIAL_MAX_STREAMS_BIDI: VarInt = VarInt::from_u32(0x08);
    let said = quic.crypto_session().transport_parameters().ok()??;
    let mut written = Vec::new();
    said.write(&mut written);
    let mut rest = written.as_slice();
    while !rest.is_empty() {
        let id = VarInt::decode(&mut rest).ok()?;
        let size = VarInt::decode(&mut rest).ok()?.into_inner();
        let (mut value, behind) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        if id == INITIAL_MAX_STREAMS_BIDI {
            return VarInt::decode(&mut value).ok().map(VarInt::into_inner);
        }
        rest = behind;
    }
    // What is not said is none.
    Some(0)
}
