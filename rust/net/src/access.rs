//! What an endpoint's owner does between turns: with connections, raw streams and lanes.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Dir, StreamId};

use crate::connection::{Connection, ConnectionKey, Counters, EarlyData};
use crate::datagram::{self, Sent};
use crate::endpoint::Endpoint;
use crate::event::Lost;
use crate::lane::{Lane, LaneKey};
use crate::stream::{self, Read, Write, code};
use crate::webtransport::wire_code;

impl Endpoint {
    // ---- connections ----

    /// Closes a connection: one datagram says so, and everything on it ends now.
    pub fn close(&mut self, now: Instant, connection: ConnectionKey, error: u64, reason: &[u8]) {
        if connection.is_session() {
            return self.close_session(connection, error, reason);
        }
        let Some(found) = self.touch(connection) else { return };
        found.lift.open();
        found.quic.close(now, code(error), Bytes::copy_from_slice(reason));
        self.end(connection.0, Lost::Here);
    }

    /// The peer's address.
    pub fn remote(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        self.get(connection).map(|connection| connection.quic.remote_address())
    }

    /// The protocol that was agreed.
    pub fn alpn(&self, connection: ConnectionKey) -> Option<Vec<u8>> {
        self.get(connection)?.alpn()
    }

    /// The cipher suite that was agreed on, as IANA numbers them; on the server.
    pub fn cipher_suite(&self, connection: ConnectionKey) -> Option<u16> {
        self.get(connection)?.cipher_suite()
    }

    /// Our own address, as the peer sees it, where the system tells.
    pub fn local(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        let bound = self.io().local_addr().ok()?;
        let ip = self.get(connection)?.quic.local_ip();
        Some(SocketAddr::new(ip.unwrap_or(bound.ip()), bound.port()))
    }

    /// What became of the data that went ahead of the handshake.
    pub fn early_data(&self, connection: ConnectionKey) -> EarlyData {
        self.get(connection).map(Connection::early_data).unwrap_or_default()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn resumed(&self, connection: ConnectionKey) -> bool {
        self.get(connection).is_some_and(Connection::resumed)
    }

    /// The peer's certificates in DER, its own first; empty if it showed none.
    pub fn peer_chain(&self, connection: ConnectionKey) -> Vec<Vec<u8>> {
        let chain = self.get(connection).map(Connection::peer_chain).unwrap_or_default();
        chain.iter().map(|der| der.to_vec()).collect()
    }

    /// Figures about a connection.
    pub fn counters(&self, connection: ConnectionKey) -> Option<Counters> {
        self.get(connection).map(Connection::counters)
    }

    /// Asks the peer for a sign of life (PING, RFC 9000, section 19.2).
    pub fn ping(&mut self, connection: ConnectionKey) {
        if let Some(found) = self.touch(connection) {
            found.quic.ping();
        }
    }

    /// Opens a stream; `None` while the peer allows no more of them.
    pub fn open_stream(&mut self, connection: ConnectionKey, dir: Dir) -> Option<StreamId> {
        if connection.is_session() {
            return self.touch(connection)?.open_session_stream(connection, dir);
        }
        self.touch(connection)?.quic.streams().open(dir)
    }

    /// Whether a stream may have a lane of its own, see [`spares_a_lane`].
    ///
    /// [`spares_a_lane`]: jetstream_proto::mux::spares_a_lane
    pub fn spares_lane(&mut self, connection: ConnectionKey) -> bool {
        self.touch(connection).is_some_and(Connection::spares_lane)
    }

    /// Sends a datagram, dropping older ones if they have not left yet.
    ///
    /// # Errors
    /// Why it can never be sent: too large, or the peer takes none.
    pub fn send_datagram(&mut self, connection: ConnectionKey, data: Bytes) -> Result<(), String> {
        let Some(found) = self.touch(connection) else {
            return Err("the connection is closed".to_owned());
        };
        if connection.is_session() {
            return found.send_session_datagram(connection, &data);
        }
        found.quic.datagrams().send(data, true).map_err(|error| error.to_string())
    }

    /// The largest datagram that can be sent now, in bytes; `None` if the peer takes none.
    pub fn max_datagram_size(&mut self, connection: ConnectionKey) -> Option<usize> {
        let found = self.touch(connection)?;
        let whole = found.quic.datagrams().max_size()?;
        if connection.is_session() {
            return found.session_datagram_size(connection, whole);
        }
        Some(whole)
    }

    /// Takes a datagram that arrived.
    pub fn receive_datagram(&mut self, connection: ConnectionKey) -> Option<Bytes> {
        let found = self.touch(connection)?;
        if connection.is_session() {
            return found.sessions()?.get_mut(connection)?.take_datagram();
        }
        found.quic.datagrams().recv()
    }

    // ---- raw streams ----

    /// Reads from a stream.
    pub fn read(&mut self, connection: ConnectionKey, stream: StreamId, limit: usize) -> Read {
        match self.touch(connection) {
            Some(found) if connection.is_session() => found.read_session(connection, stream, limit),
            Some(found) => found.read_stream(stream, limit),
            None => Read::Closed,
        }
    }

    /// Writes to a stream; `data` keeps what was not taken.
    pub fn write(
        &mut self,
        connection: ConnectionKey,
        stream: StreamId,
        data: &mut Bytes,
    ) -> Write {
        match self.touch(connection) {
            Some(found) if connection.is_session() => found.write_session(connection, stream, data),
            Some(found) => stream::write(&mut found.quic, stream, data),
            None => Write::Closed,
        }
    }

    /// Ends what is sent on a stream. False if it has ended before.
    pub fn finish(&mut self, connection: ConnectionKey, stream: StreamId) -> bool {
        self.touch(connection).is_some_and(|found| {
            let later = found.sessions().is_some_and(|sessions| sessions.finishes_later(stream));
            later || found.quic.send_stream(stream).finish().is_ok()
        })
    }

    /// Whether all that was written to a finished stream has arrived, or nobody cares any more.
    pub fn is_acknowledged(&mut self, connection: ConnectionKey, stream: StreamId) -> bool {
        self.touch(connection).is_none_or(|found| found.quic.send_stream(stream).stopped().is_err())
    }

    /// Streams of all connections on which something was sent that has not been acknowledged, or
    /// that have not been finished.
    pub fn unacknowledged(&mut self) -> usize {
        let all = self.connections.iter_mut().flatten().map(Box::as_mut);
        let open = all.filter(|connection| !connection.is_over());
        open.map(Connection::unacknowledged).sum()
    }

    /// Sessions of all connections that are over, and whose peers have not said that they know.
    pub fn ending_sessions(&self, now: Instant) -> usize {
        let all = self.connections.iter().flatten();
        let open = all.filter(|connection| !connection.is_over());
        open.map(|connection| connection.ending_sessions(now)).sum()
    }

    /// Gives up what is sent on a stream. False if it has ended before.
    pub fn reset(&mut self, connection: ConnectionKey, stream: StreamId, error: u64) -> bool {
        let error = wire_code(connection, error);
        self.touch(connection)
            .is_some_and(|found| found.quic.send_stream(stream).reset(error).is_ok())
    }

    /// Asks the peer to send no more on a stream. False if it has ended before.
    pub fn stop(&mut self, connection: ConnectionKey, stream: StreamId, error: u64) -> bool {
        let error = wire_code(connection, error);
        self.touch(connection).is_some_and(|found| {
            if let Some(sessions) = found.sessions() {
                sessions.take_ahead(stream, usize::MAX);
            }
            found.quic.recv_stream(stream).stop(error).is_ok()
        })
    }

    // ---- lanes ----

    /// Makes a bidirectional stream a lane with frames of at most `msize` bytes.
    pub fn make_lane(
        &mut self,
        connection: ConnectionKey,
        stream: StreamId,
        msize: u32,
    ) -> Option<LaneKey> {
        let place = self.sessions.place(connection)?;
        self.activate(place);
        let found = self.connections.get_mut(place as usize)?.as_deref_mut()?;
        (!found.is_over()).then(|| found.add_lane(connection, stream, msize, true, &mut self.lanes))
    }

    /// The stream that a lane is.
    pub fn lane_stream(&self, lane: LaneKey) -> Option<StreamId> {
        self.lanes.get(lane.0).map(|lane| lane.stream)
    }

    /// Changes the largest frame that a lane takes.
    pub fn set_lane_limit(&mut self, lane: LaneKey, msize: u32) {
        if let Some(lane) = self.lanes.get_mut(lane.0) {
            lane.splitter.set_limit(msize);
        }
    }

    /// Queues frames on a lane; they leave in this turn's transmit.
    pub fn write_lane(&mut self, lane: LaneKey, frames: Vec<u8>) {
        let Some(found) = self.lanes.get_mut(lane.0) else { return };
        found.queue(frames);
        self.touch_lane(lane, |connection| connection.mark_writable(lane));
    }

    /// Sends a frame of a lane as a datagram, if it can leave at once.
    pub fn lane_datagram(&mut self, lane: LaneKey, frame: &[u8]) -> Sent {
        let Some(found) = self.lanes.get(lane.0) else { return Sent::Unfit };
        let (key, stream, label) = (found.connection, found.stream, found.label);
        let Some(connection) = self.touch(key) else { return Sent::Unfit };
        let mut prefix = Vec::new();
        let name = if key.is_session() {
            // Without a label nobody knows whose it would be.
            let Some(label) = label else { return Sent::Unfit };
            let Some(its) = connection.session_prefix(key) else { return Sent::Unfit };
            prefix = its;
            label
        } else {
            u64::from(stream)
        };
        let buffer = connection.datagram_send_buffer;
        datagram::send(&mut connection.quic, buffer, prefix, name, frame)
    }

    /// Bytes queued on a lane that its stream has not taken.
    pub fn lane_unsent(&self, lane: LaneKey) -> usize {
        self.lanes.get(lane.0).map_or(0, Lane::unsent_bytes)
    }

    /// Asks for an event when little is unsent on a lane; false if that is so now.
    pub fn watch_drained(&mut self, lane: LaneKey) -> bool {
        self.lanes.get_mut(lane.0).is_some_and(Lane::watch_drained)
    }

    /// Bytes queued on all lanes that their streams have not taken.
    pub fn unsent(&self) -> usize {
        self.lanes.iter().map(Lane::unsent_bytes).sum()
    }

    /// Stops or resumes reading a lane; while it is paused the peer is held up by flow control.
    pub fn pause_lane(&mut self, lane: LaneKey, paused: bool) {
        let Some(found) = self.lanes.get_mut(lane.0) else { return };
        if std::mem::replace(&mut found.paused, paused) && !paused {
            self.touch_lane(lane, |connection| connection.mark_readable(lane));
        }
    }

    /// Ends a lane in order: what is queued is sent, then the end.
    pub fn finish_lane(&mut self, lane: LaneKey) {
        let Some(found) = self.lanes.get_mut(lane.0) else { return };
        found.finish();
        self.touch_lane(lane, |connection| connection.mark_writable(lane));
    }

    /// Ends a lane in order and asks the peer to send no more, with a code that says why.
    pub fn refuse_lane(&mut self, lane: LaneKey, error: u32) {
        self.finish_lane(lane);
        let Some(found) = self.lanes.get(lane.0) else { return };
        let (key, stream) = (found.connection, found.stream);
        if let Some(connection) = self.touch(key) {
            let _ = connection.quic.recv_stream(stream).stop(wire_code(key, error.into()));
        }
    }

    /// Gives a lane up at once, in both directions, with a code that explains.
    pub fn abort_lane(&mut self, lane: LaneKey, error: u32) {
        let Some(found) = self.lanes.remove(lane.0) else { return };
        let Some(connection) = self.touch(found.connection) else { return };
        connection.forget_lane(found.stream);
        connection.unlabel(&found);
        let error = wire_code(found.connection, error.into());
        let _ = connection.quic.send_stream(found.stream).reset(error);
        let _ = connection.quic.recv_stream(found.stream).stop(error);
    }

    /// Forgets a lane of which nothing more is expected; what it has queued is still sent.
    pub fn release_lane(&mut self, lane: LaneKey) {
        let Some(found) = self.lanes.get_mut(lane.0) else { return };
        found.released = true;
        self.touch_lane(lane, |connection| connection.mark_writable(lane));
    }

    fn touch_lane(&mut self, lane: LaneKey, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.lanes.get(lane.0).map(|lane| lane.connection) {
            if let Some(connection) = self.touch(connection) {
                change(connection);
            }
        }
    }
}
