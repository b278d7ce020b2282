//! Two ends in one process, without sockets and TLS: for tests of services.
//!
//! Frames, versions and calls run as over QUIC; only the transport underneath is a pair of queues.

use std::time::Instant;

use jetstream_proto::frame::Splitter;

use crate::connection::ConnectionKey;
use crate::event::{Event, LaneEnd, Lost};
use crate::lane::{LaneKey, UNSENT_LOW};
use crate::slab::Slab;

struct End {
    peer: Option<u64>,
    splitter: Splitter,
    paused: bool,
    ended: Option<LaneEnd>,
    /// What this end has written waits for the other one, and this end waits for that.
    watched: bool,
}

/// A pair of connected ends: connection 0 is the client's, connection 1 the server's.
pub struct Memory {
    lanes: Slab<End>,
    events: Vec<Event>,
    msize: u32,
    chains: [Vec<Vec<u8>>; 2],
    single_lane: bool,
    closed: bool,
}

impl Memory {
    /// A pair whose lanes take frames of at most `msize` bytes. `chains` are the certificates that
    /// the client and the server show each other, in DER, each end's own first.
    pub fn new(msize: u32, chains: [Vec<Vec<u8>>; 2]) -> Self {
        let connected = |connection, incoming| Event::Connected { connection, incoming };
        Self {
            lanes: Slab::default(),
            events: vec![
                connected(ConnectionKey(1), true),
                connected(ConnectionKey(0), false),
                Event::Confirmed { connection: ConnectionKey(0) },
            ],
            msize,
            chains,
            single_lane: false,
            closed: false,
        }
    }

    /// The same pair, as one whose connection is a single ordered stream: only the client opens lanes,
    /// and a stream of items cannot have one of its own.
    pub fn single_lane(self) -> Self {
        Self { single_lane: true, ..self }
    }

    /// A pair that has been closed: what an endpoint becomes when its socket goes.
    pub fn closed() -> Self {
        Self {
            lanes: Slab::default(),
            events: Vec::new(),
            msize: 0,
            chains: Default::default(),
            single_lane: false,
            closed: true,
        }
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn open_connections(&self) -> usize {
        if self.closed { 0 } else { 2 }
    }

    pub(crate) fn open_lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn peer_chain(&self, connection: ConnectionKey) -> Vec<Vec<u8>> {
        // What an end sees is what the other end shows.
        self.chains.get(1 - (connection.0 as usize & 1)).cloned().unwrap_or_default()
    }

    pub(crate) fn close(
        &mut self,
        _now: Instant,
        connection: ConnectionKey,
        code: u64,
        why: &[u8],
    ) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.lanes = Slab::default();
        let reason = Lost::Closed { code, reason: crate::tls::printable_reason(why) };
        let other = ConnectionKey(1 - connection.0);
        self.events.push(Event::Lost { connection, reason: Lost::Here });
        self.events.push(Event::Lost { connection: other, reason });
    }

    pub(crate) fn many_lanes(&self) -> bool {
        !self.single_lane
    }

    pub(crate) fn can_open_lane(&self, connection: ConnectionKey) -> bool {
        !self.single_lane || connection == ConnectionKey(0)
    }

    pub(crate) fn open_lane(&mut self, connection: ConnectionKey, msize: u32) -> Option<LaneKey> {
        if self.closed || !self.can_open_lane(connection) {
            return None;
        }
        let other = ConnectionKey(1 - connection.0);
        let end = |peer, limit| {
            let splitter = Splitter::new(limit);
            End { peer, splitter, paused: false, ended: None, watched: false }
        };
        let here = self.lanes.insert(end(None, msize));
        let there = self.lanes.insert(end(Some(here), self.msize));
        if let Some(end) = self.lanes.get_mut(here) {
            end.peer = Some(there);
        }
        self.events.push(Event::LaneOpened { connection: other, lane: LaneKey(there) });
        Some(LaneKey(here))
    }

    pub(crate) fn set_lane_limit(&mut self, lane: LaneKey, msize: u32) {
        if let Some(end) = self.lanes.get_mut(lane.0) {
            end.splitter.set_limit(msize);
        }
    }

    pub(crate) fn write_lane(&mut self, lane: LaneKey, frames: &[u8]) {
        let Some(peer) = self.lanes.get(lane.0).and_then(|end| end.peer) else { return };
        let Some(end) = self.lanes.get_mut(peer) else { return };
        if end.ended.is_some() {
            return;
        }
        if let Err(error) = end.splitter.push(frames) {
            end.ended = Some(LaneEnd::Broken(error));
        }
        self.deliver(peer);
    }

    fn deliver(&mut self, lane: u64) {
        let Some(end) = self.lanes.get_mut(lane) else { return };
        if end.paused {
            // That the peer has given the lane up is heard all the same.
            if let Some(ended) = end.ended.take_if(|end| matches!(end, LaneEnd::Reset { .. })) {
                self.events.push(Event::LaneEnded { lane: LaneKey(lane), end: ended });
            }
            return;
        }
        if let Some(run) = end.splitter.take() {
            self.events.push(Event::Frames { lane: LaneKey(lane), run });
        }
        if let Some(ended) = end.ended.take() {
            self.events.push(Event::LaneEnded { lane: LaneKey(lane), end: ended });
        }
        let peer = end.peer;
        let watching = peer.and_then(|peer| Some((peer, self.lanes.get_mut(peer)?)));
        if let Some((peer, end)) = watching {
            if std::mem::take(&mut end.watched) {
                self.events.push(Event::LaneDrained { lane: LaneKey(peer) });
            }
        }
    }

    /// Bytes that the other end, being paused, has not been given.
    pub(crate) fn lane_unsent(&self, lane: LaneKey) -> usize {
        let peer = self.lanes.get(lane.0).and_then(|end| end.peer);
        peer.and_then(|peer| self.lanes.get(peer)).map_or(0, |end| end.splitter.held())
    }

    pub(crate) fn watch_drained(&mut self, lane: LaneKey) -> bool {
        let waits = self.lane_unsent(lane) >= UNSENT_LOW;
        if let Some(end) = self.lanes.get_mut(lane.0) {
            end.watched = waits;
        }
        waits
    }

    pub(crate) fn pause_lane(&mut self, lane: LaneKey, paused: bool) {
        if let Some(end) = self.lanes.get_mut(lane.0) {
            end.paused = paused;
            self.deliver(lane.0);
        }
    }

    fn end_peer(&mut self, lane: LaneKey, ended: LaneEnd) {
        let Some(peer) = self.lanes.get(lane.0).and_then(|end| end.peer) else { return };
        if let Some(end) = self.lanes.get_mut(peer) {
            end.ended.get_or_insert(ended);
            self.deliver(peer);
        }
    }

    pub(crate) fn finish_lane(&mut self, lane: LaneKey) {
        self.end_peer(lane, LaneEnd::Finished);
    }

    pub(crate) fn refuse_lane(&mut self, lane: LaneKey, code: u32) {
        // As over QUIC, where the refusal's code overtakes what the stream still carries.
        let Some(peer) = self.lanes.get(lane.0).and_then(|end| end.peer) else { return };
        let end = LaneEnd::Stopped { code: code.into() };
        let at = self
            .events
            .iter()
            .position(|event| matches!(event, Event::Frames { lane, .. } if lane.0 == peer));
        let event = Event::LaneEnded { lane: LaneKey(peer), end };
        self.events.insert(at.unwrap_or(self.events.len()), event);
    }

    pub(crate) fn abort_lane(&mut self, lane: LaneKey, code: u32) {
        self.end_peer(lane, LaneEnd::Reset { code: code.into() });
        self.release_lane(lane);
    }

    pub(crate) fn release_lane(&mut self, lane: LaneKey) {
        if let Some(peer) = self.lanes.remove(lane.0).and_then(|end| end.peer) {
            if let Some(end) = self.lanes.get_mut(peer) {
                end.peer = None;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jetstream_proto::frame;

    #[test]
    fn what_a_paused_end_is_not_given_is_unsent_until_it_is() {
        let mut memory = Memory::new(1 << 20, Default::default());
        let here = memory.open_lane(ConnectionKey(0), 1 << 20).unwrap();
        let opened = memory.take_events().into_iter().find_map(|event| match event {
            Event::LaneOpened { lane, .. } => Some(lane),
            _ => None,
        });
        let there = opened.unwrap();
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes, frame::kind::FIRST_METHOD, 1);
        bytes.resize(UNSENT_LOW, 0);
        frame::finish(&mut bytes, start, u32::MAX).unwrap();
        memory.write_lane(here, &bytes);
        assert_eq!(memory.lane_unsent(here), 0);
        assert!(!memory.watch_drained(here));
        memory.pause_lane(there, true);
        memory.write_lane(here, &bytes);
        assert_eq!(memory.lane_unsent(here), bytes.len());
        assert!(memory.watch_drained(here));
        memory.take_events();
        memory.pause_lane(there, false);
        let told = memory.take_events();
        let drained = |event: &Event| matches!(event, Event::LaneDrained { lane } if *lane == here);
        assert_eq!(told.iter().filter(|event| drained(event)).count(), 1, "{told:?}");
        assert_eq!(memory.lane_unsent(here), 0);
        // A paused end hears at once that the other one gives up, and of nothing else.
        memory.pause_lane(there, true);
        memory.write_lane(here, &bytes);
        assert!(memory.take_events().is_empty());
        memory.abort_lane(here, 7);
        let told = memory.take_events();
        let reset = LaneEnd::Reset { code: 7 };
        let told_of =
            |event: &Event| matches!(event, Event::LaneEnded { end, .. } if *end == reset);
        assert!(told.len() == 1 && told.iter().all(told_of), "{told:?}");
    }
}
