//! How lanes and connections end, and what the other end is told.

use super::*;
use crate::LaneEnd;

fn finished(event: &Event) -> bool {
    matches!(event, Event::LaneEnded { end: LaneEnd::Finished, .. })
}

#[test]
fn a_released_lane_still_sends_what_it_has() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        for tag in 0..32 {
            pair.server.write_lane(opened, request(tag, &[0; 200_000]));
        }
        pair.server.finish_lane(opened);
        pair.server.release_lane(opened);
        assert_eq!(pair.lost_here(), Lost::Ended);
        assert_eq!(tags(&pair.from_client, lane).len(), 32);
        pair.until(|pair| pair.server.open_connections() == 0);
        assert_eq!(pair.server.unfinished(), 0);
    }
}

#[test]
fn a_caller_that_asks_no_more_still_gets_its_answers() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        pair.client.write_lane(lane, request(1, b"last"));
        pair.client.finish_lane(lane);
        pair.until(|pair| pair.from_server.iter().any(finished));
        assert_eq!(tags(&pair.from_server, opened), [1]);
        pair.server.write_lane(opened, request(2, b"answer"));
        pair.server.finish_lane(opened);
        pair.server.release_lane(opened);
        assert_eq!(pair.lost_here(), Lost::Ended);
        assert_eq!(tags(&pair.from_client, lane), [2]);
        assert_eq!(pair.lost_there(), Lost::Ended);
    }
}

#[test]
fn an_end_inside_a_frame_is_told_as_such() {
    for kind in BOTH {
        let (mut pair, _, opened, _) = Pair::connected(kind, |_| {});
        let half = request(1, &[0; 100])[..50].to_vec();
        pair.server.write_lane(opened, half);
        pair.server.finish_lane(opened);
        let truncated = |event: &Event| {
            matches!(event, Event::LaneEnded { end: LaneEnd::Truncated { bytes: 50 }, .. })
        };
        pair.until(|pair| pair.from_client.iter().any(truncated));
    }
}

#[test]
fn a_server_that_closes_ends_its_streams_in_order() {
    for kind in BOTH {
        let (mut pair, lane, opened, there) = Pair::connected(kind, |_| {});
        pair.server.write_lane(opened, request(1, b"last"));
        pair.server.close(Instant::now(), there);
        assert_eq!(lost(&pair.server.take_events()), Some(Lost::Here));
        assert_eq!(pair.lost_here(), Lost::Ended);
        assert_eq!(tags(&pair.from_client, lane), [1]);
        pair.until(|pair| pair.server.open_connections() == 0);
    }
}

#[test]
fn a_client_that_closes_is_gone() {
    for (kind, reason) in [
        (Kind::Tcp, Lost::Broken { reason: "the peer gave it up (connection reset)".to_owned() }),
        (Kind::Unix, Lost::Ended),
    ] {
        let (mut pair, _, _, _) = Pair::connected(kind, |_| {});
        pair.client.close(Instant::now(), pair.here);
        assert_eq!(pair.lost_here(), Lost::Here);
        assert_eq!(pair.lost_there(), reason);
        assert!(!pair.from_server.iter().any(finished), "it does not wait for answers");
    }
}

#[test]
fn a_caller_that_finishes_and_then_goes_is_noticed() {
    let (mut pair, lane, _, _) = Pair::connected(Kind::Unix, |_| {});
    pair.client.finish_lane(lane);
    pair.until(|pair| pair.from_server.iter().any(finished));
    assert_eq!(lost(&pair.from_server), None);
    pair.client.close(Instant::now(), pair.here);
    pair.lost_there();
}

#[test]
fn a_stream_that_is_cut_off_is_a_loss_and_not_an_end() {
    let (mut pair, lane, opened, _) = Pair::connected(Kind::Tcp, |_| {});
    pair.client.write_lane(lane, request(1, b"whole"));
    pair.until(|pair| tags(&pair.from_server, opened) == [1]);
    // The sockets are closed, and TLS had no time to say so.
    pair.client = Streams::new(limits()).unwrap();
    let Lost::Broken { reason } = pair.lost_there() else { panic!("{:?}", pair.from_server) };
    assert!(reason.contains("cut off"), "{reason}");
    assert!(!pair.from_server.iter().any(finished));
}

#[test]
fn a_refused_lane_ends_and_does_not_stay_for_ever() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        pair.server.write_lane(opened, request(9, b"no"));
        pair.server.refuse_lane(opened);
        assert_eq!(pair.lost_here(), Lost::Ended);
        assert_eq!(tags(&pair.from_client, lane), [9]);
        pair.until(|pair| pair.server.open_connections() == 0);
    }
}

#[test]
fn a_refusal_that_we_heard_does_not_lose_the_connection() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        pair.server.write_lane(opened, request(9, b"no"));
        pair.server.refuse_lane(opened);
        // The owner gives the lane up when it has read the answer, in the same turn.
        let deadline = Instant::now() + Duration::from_secs(10);
        while tags(&pair.from_client, lane).is_empty() && Instant::now() < deadline {
            pair.client.receive(Instant::now()).unwrap();
            pair.from_client.extend(pair.client.take_events());
            if !tags(&pair.from_client, lane).is_empty() {
                pair.client.abort_lane(lane);
            }
            pair.client.transmit(Instant::now()).unwrap();
            turn(&mut pair.server, &mut pair.from_server);
        }
        pair.lost_there();
        pair.turn();
        assert_eq!(lost(&pair.from_client), None);
        assert!(pair.client.open_lane(pair.here, 1 << 20).is_some());
    }
}

#[test]
fn a_connection_without_keep_alive_falls_silent() {
    for kind in BOTH {
        let (mut pair, _, _, _) = Pair::connected(kind, |limits| {
            limits.keep_alive = None;
            limits.idle_timeout = Duration::from_millis(50);
        });
        assert_eq!(pair.lost_there(), Lost::TimedOut);
    }
}

#[test]
fn what_was_lost_leaves_nothing() {
    for kind in BOTH {
        let (mut pair, _, _, there) = Pair::connected(kind, |_| {});
        pair.server.close(Instant::now(), there);
        pair.lost_here();
        pair.until(|pair| {
            let hubs = [&pair.server, &pair.client];
            hubs.iter().all(|hub| hub.wires.len() == 0 && hub.links.iter().count() == 0)
        });
        // The keys are given out again.
        let Place::Unix(address) = &pair.place else { continue };
        let again = pair.client.connect_unix(address.clone());
        assert_eq!(again, pair.here);
    }
}
