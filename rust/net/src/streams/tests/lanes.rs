//! What lanes on streams carry, and what holds them up.

use jetstream_proto::frame::FrameError;

use super::*;
use crate::LaneEnd;

#[test]
fn frames_arrive_whole_and_in_order() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        for tag in 0..100 {
            pair.client.write_lane(lane, request(tag, &vec![7; usize::from(tag) * 300]));
        }
        pair.until(|pair| tags(&pair.from_server, opened).len() == 100);
        assert_eq!(tags(&pair.from_server, opened), (0..100).collect::<Vec<_>>());
        // And the other way, more than any buffer on the way holds.
        for tag in 0..20 {
            pair.server.write_lane(opened, request(tag, &vec![tag as u8; 700_000]));
        }
        assert!(pair.server.unsent() >= 14_000_000);
        pair.until(|pair| tags(&pair.from_client, lane).len() == 20);
        assert_eq!(tags(&pair.from_client, lane), (0..20).collect::<Vec<_>>());
        for event in &pair.from_client {
            if let Event::Frames { run, .. } = event {
                let intact = |frame: frame::Frame<'_>| {
                    frame.payload.iter().all(|byte| u16::from(*byte) == frame.tag)
                };
                assert!(frame::frames(run).all(intact));
            }
        }
        assert_eq!((pair.server.unsent(), pair.client.unsent()), (0, 0));
    }
}

#[test]
fn each_end_knows_who_is_at_the_other() {
    let (pair, _, _, there) = Pair::connected(Kind::Tcp, |_| {});
    let named = |chain: Vec<Vec<u8>>| {
        let leaf = crate::identity::parse(&chain[0]).unwrap();
        leaf.common_name.unwrap()
    };
    assert_eq!(named(pair.server.peer_chain(there)), "client");
    assert_eq!(named(pair.client.peer_chain(pair.here)), "server");
    assert_eq!(pair.server.alpn(there).as_deref(), Some(ALPN));
    let Place::Tcp(address) = pair.place else { panic!() };
    assert_eq!(pair.client.remote(pair.here), Some(address));
    assert_eq!(pair.server.credentials(there), None);

    let (pair, _, _, there) = Pair::connected(Kind::Unix, |_| {});
    for (hub, key) in [(&pair.server, there), (&pair.client, pair.here)] {
        let peer = hub.credentials(key).unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
        assert_eq!(hub.remote(key), None);
    }
}

#[test]
fn a_frame_over_the_limit_breaks_its_lane() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |limits| limits.msize = 5000);
        pair.client.write_lane(lane, request(1, &[0; 5000]));
        let broken = |event: &Event| {
            let limit = LaneEnd::Broken(FrameError::TooLarge { size: 5007, limit: 5000 });
            matches!(event, Event::LaneEnded { end, .. } if *end == limit)
        };
        pair.until(|pair| pair.from_server.iter().any(broken));
        pair.server.abort_lane(opened);
        assert_eq!(pair.lost_there(), Lost::Here);
        pair.lost_here();
        assert_eq!((pair.server.open_connections(), pair.client.open_lanes()), (0, 0));
    }
}

#[test]
fn a_paused_lane_holds_its_peer_up() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        pair.server.pause_lane(opened, true);
        // More than the kernel takes: most of it must stay on our side.
        for tag in 0..64 {
            pair.client.write_lane(lane, request(tag, &[0; 500_000]));
        }
        for _ in 0..200 {
            pair.turn();
        }
        assert!(pair.client.lane_unsent(lane) > 4 << 20, "held by flow control");
        assert_eq!(tags(&pair.from_server, opened), [0_u16; 0]);
        pair.server.pause_lane(opened, false);
        pair.until(|pair| tags(&pair.from_server, opened).len() == 64);
        assert_eq!(pair.client.lane_unsent(lane), 0);
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        // The client reads nothing, the server has 32 MiB of answers for it.
        pair.client.pause_lane(lane, true);
        for tag in 0..64 {
            pair.server.write_lane(opened, request(tag, &[0; 500_000]));
        }
        for _ in 0..200 {
            pair.turn();
        }
        pair.client.write_lane(lane, request(1, b"more"));
        for _ in 0..200 {
            pair.turn();
        }
        assert_eq!(tags(&pair.from_server, opened), [0_u16; 0], "no more requests are taken");
        pair.client.pause_lane(lane, false);
        pair.until(|pair| tags(&pair.from_server, opened).len() == 1);
        pair.until(|pair| tags(&pair.from_client, lane).len() == 64);
    }
}

#[test]
fn how_much_may_be_unsent_is_a_setting() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) =
            Pair::connected(kind, |limits| limits.max_unsent = 64 << 20);
        pair.client.pause_lane(lane, true);
        for tag in 0..64 {
            pair.server.write_lane(opened, request(tag, &[0; 500_000]));
        }
        for _ in 0..200 {
            pair.turn();
        }
        assert!(pair.server.lane_unsent(opened) > 1 << 20);
        pair.client.write_lane(lane, request(1, b"more"));
        pair.until(|pair| tags(&pair.from_server, opened) == [1]);
    }
}

#[test]
fn another_lane_is_another_connection() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        let second = pair.client.open_lane(pair.here, 1 << 20).unwrap();
        // What is written waits until the connection is there.
        pair.client.write_lane(second, request(5, b"first bytes"));
        pair.client.write_lane(lane, request(6, b""));
        pair.until(|pair| {
            tags(&pair.from_server, opened) == [6]
                && pair
                    .from_server
                    .iter()
                    .any(|event| matches!(event, Event::Frames { lane, .. } if *lane != opened))
        });
        assert_eq!((pair.server.open_connections(), pair.client.open_connections()), (2, 1));
        assert!(!pair.from_client.iter().any(|event| matches!(event, Event::Connected { .. })));
        assert!(pair.client.can_open_lane(pair.here));
        // There is an end to it, which is told when it is over.
        assert!(pair.client.open_lane(pair.here, 1 << 20).is_some());
        assert!(pair.client.open_lane(pair.here, 1 << 20).is_some());
        assert!(pair.client.open_lane(pair.here, 1 << 20).is_none());
        pair.client.abort_lane(second);
        let may = |event: &Event| matches!(event, Event::MayOpen { .. });
        pair.until(|pair| pair.from_client.iter().any(may));
        assert!(pair.client.open_lane(pair.here, 1 << 20).is_some());
        // The server opens none.
        let Some(Event::Connected { connection, .. }) =
            pair.from_server.iter().find(|event| matches!(event, Event::Connected { .. }))
        else {
            panic!()
        };
        assert!(!pair.server.can_open_lane(*connection));
        assert!(pair.server.open_lane(*connection, 1 << 20).is_none());
    }
}

#[test]
fn a_lane_that_cannot_come_about_fails_alone() {
    for kind in BOTH {
        let (mut pair, lane, opened, _) = Pair::connected(kind, |_| {});
        pair.server.stop_listening();
        let second = pair.client.open_lane(pair.here, 1 << 20).unwrap();
        pair.client.write_lane(second, request(5, b"never"));
        let ended = |event: &Event| {
            let Event::LaneEnded { lane, end: LaneEnd::Lost(Lost::Refused { reason }) } = event
            else {
                return false;
            };
            *lane == second && (reason.contains("refused") || reason.contains("No such file"))
        };
        pair.until(|pair| pair.from_client.iter().any(ended));
        pair.client.write_lane(lane, request(6, b"the first goes on"));
        pair.until(|pair| tags(&pair.from_server, opened) == [6]);
        assert_eq!(lost(&pair.from_client), None);
    }
}

#[test]
fn a_lane_is_dialled_anew_when_we_gave_the_first_up() {
    for kind in BOTH {
        let (mut pair, lane, _, _) = Pair::connected(kind, |_| {});
        pair.client.abort_lane(lane);
        pair.lost_there();
        assert_eq!(lost(&pair.from_client), None, "the connection is not lost");
        pair.from_server.clear();
        let again = pair.client.open_lane(pair.here, 1 << 20).unwrap();
        pair.client.write_lane(again, request(1, b""));
        let frames = |event: &Event| matches!(event, Event::Frames { .. });
        pair.until(|pair| pair.from_server.iter().any(frames));
    }
}
