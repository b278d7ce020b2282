//! Peers that have gone while their endpoint waits for them.

use std::time::{Duration, Instant};

use super::{LANES, Pair, request};
use crate::{Event, LaneKey, Lost};

/// A server that has answered, and whose client has not heard that.
fn answered(size: usize) -> (Pair, LaneKey) {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(1, b"?"));
    let opened = pair.opened();
    pair.server.write_lane(opened, request(2, &vec![7; size]));
    pair.server.finish_lane(opened);
    pair.server.transmit(Instant::now()).unwrap();
    (pair, lane)
}

/// One turn of the server at that time, and whether it still waits for somebody.
fn waits(pair: &mut Pair, at: Instant) -> bool {
    pair.server.receive(at).unwrap();
    pair.server.transmit(at).unwrap();
    pair.from_server.extend(pair.server.take_events());
    pair.server.unsent() + pair.server.unacknowledged() > 0
}

#[test]
fn a_peer_that_is_gone_is_waited_for_no_longer_than_a_packet_may_take() {
    // The larger one is over the peer's window, so not all of it can leave.
    for size in [100, 100 << 10] {
        let (mut pair, _) = answered(size);
        let now = Instant::now();
        pair.server.part(now);
        assert!(waits(&mut pair, now + Duration::from_millis(1_900)));
        assert!(!waits(&mut pair, now + Duration::from_millis(2_100)));
        let lost = |event: &Event| matches!(event, Event::Lost { reason: Lost::TimedOut, .. });
        assert!(pair.from_server.iter().any(lost));
    }
}

#[test]
fn a_peer_that_takes_its_time_is_waited_for() {
    // It takes nothing of the answer for now, which is larger than its window.
    let (mut pair, lane) = answered(200 << 10);
    let began = Instant::now();
    pair.client.pause_lane(lane, true);
    pair.server.part(began);
    let mut tenths = 0;
    let mut turn = |pair: &mut Pair| {
        tenths += 1;
        let at = began + Duration::from_millis(100 * tenths);
        pair.client.receive(at).unwrap();
        pair.client.transmit(at).unwrap();
        waits(pair, at)
    };
    for _ in 0..150 {
        assert!(turn(&mut pair));
    }
    pair.client.pause_lane(lane, false);
    pair.client.finish_lane(lane);
    assert!((0..100).any(|_| !turn(&mut pair)), "{:?}", pair.from_server);
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(!pair.from_server.iter().any(lost), "{:?}", pair.from_server);
}
