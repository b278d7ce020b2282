//! Where streams and datagrams wait that come before their session is accepted (section 4.6): packets
//! come in any order. All of it is bounded.

use std::collections::VecDeque;

use bytes::Bytes;

use super::limits::Limits;

/// Streams, as their owner names them, and datagrams, of all sessions of one connection.
#[derive(Debug)]
pub struct Waiting<T> {
    streams: Vec<(u64, T)>,
    datagrams: VecDeque<(u64, Bytes)>,
    bytes: usize,
    limits: Limits,
}

impl<T> Waiting<T> {
    /// An empty one.
    pub const fn new(limits: Limits) -> Self {
        Self { streams: Vec::new(), datagrams: VecDeque::new(), bytes: 0, limits }
    }

    /// Has a stream wait for its session. It is given back where there is no room: then it is
    /// rejected.
    pub fn stream(&mut self, session: u64, stream: T) -> Option<T> {
        if self.streams.len() >= usize::from(self.limits.early_streams) {
            return Some(stream);
        }
        self.streams.push((session, stream));
        None
    }

    /// Has a datagram wait for its session, or drops it where there is no room.
    pub fn datagram(&mut self, session: u64, payload: Bytes) {
        let bytes = self.bytes.saturating_add(payload.len());
        let is_full = self.datagrams.len() >= usize::from(self.limits.early_datagrams);
        if !is_full && bytes <= self.limits.early_bytes as usize {
            self.bytes = bytes;
            self.datagrams.push_back((session, payload));
        }
    }

    /// Takes out what has waited for a session, in the order in which it came.
    pub fn take(&mut self, session: u64) -> (Vec<T>, Vec<Bytes>) {
        let is_its = |id: u64| id == session;
        let (streams, rest): (Vec<_>, _) =
            std::mem::take(&mut self.streams).into_iter().partition(|(id, _)| is_its(*id));
        self.streams = rest;
        let (datagrams, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.datagrams)
            .into_iter()
            .partition(|(id, _): &(u64, Bytes)| is_its(*id));
        self.datagrams = rest.into();
        self.bytes = self.datagrams.iter().map(|(_, payload)| payload.len()).sum();
        let streams = streams.into_iter().map(|(_, stream)| stream).collect();
        (streams, datagrams.into_iter().map(|(_, payload)| payload).collect())
    }

    /// Streams that wait.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of datagrams that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_sessions: 2,
        streams_bidi: 2,
        streams_uni: 2,
        early_streams: 3,
        early_datagrams: 3,
        early_bytes: 10,
        datagram_bytes: 10,
        idle_capsules: 1,
        idle_bytes: 10,
    };

    #[test]
    fn what_has_waited_comes_in_order_and_is_its_sessions() {
        let mut waiting = Waiting::new(LIMITS);
        for (session, stream) in [(0, 'a'), (4, 'b'), (0, 'c')] {
            assert_eq!(waiting.stream(session, stream), None);
            waiting.datagram(session, Bytes::from(vec![stream as u8]));
        }
        let datagrams = vec![Bytes::from_static(b"a"), Bytes::from_static(b"c")];
        assert_eq!(waiting.take(0), (vec!['a', 'c'], datagrams));
        assert_eq!(waiting.take(0), (vec![], vec![]));
        assert_eq!((waiting.streams(), waiting.bytes()), (1, 1));
        assert_eq!(waiting.take(4).0, ['b']);
        assert_eq!((waiting.streams(), waiting.bytes()), (0, 0));
    }

    #[test]
    fn there_is_so_much_room_and_no_more() {
        let mut waiting = Waiting::new(LIMITS);
        for stream in 0..3 {
            assert_eq!(waiting.stream(0, stream), None);
        }
        assert_eq!(waiting.stream(4, 3), Some(3));
        waiting.datagram(0, Bytes::from_static(b"12345678"));
        waiting.datagram(0, Bytes::from_static(b"123"));
        assert_eq!(waiting.bytes(), 8, "it would be too many bytes");
        for _ in 0..5 {
            waiting.datagram(4, Bytes::new());
        }
        assert_eq!(waiting.take(4).1.len(), 2, "there would be too many");
        waiting.take(0);
        assert_eq!(waiting.stream(4, 4), None);
    }
}
