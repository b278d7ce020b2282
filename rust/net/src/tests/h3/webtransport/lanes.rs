//! Lanes of sessions: as those of a QUIC connection.

use super::*;
use crate::LaneEnd;
use crate::tests::{request, tags};
use jetstream_proto::http3::varint;

fn ended(events: &[Event], lane: LaneKey) -> Option<LaneEnd> {
    events.iter().find_map(|event| match event {
        Event::LaneEnded { lane: on, end } if *on == lane => Some(end.clone()),
        _ => None,
    })
}

#[test]
fn frames_arrive_whole_and_in_order_both_ways() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    for tag in 0..100 {
        meeting.pair.client.write_lane(lane, request(tag, &vec![7; usize::from(tag) * 100]));
    }
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    meeting.until(|pair| (tags(&pair.from_server, opened).len() == 100).then_some(()));
    assert_eq!(tags(&meeting.pair.from_server, opened), (0..100).collect::<Vec<_>>());
    meeting.pair.server.write_lane(opened, request(7, b"back"));
    meeting.until(|pair| (tags(&pair.from_client, lane) == [7]).then_some(()));
    // The server opens one.
    let stream = meeting.pair.server.open_stream(server, Dir::Bi).unwrap();
    let lane = meeting.pair.server.make_lane(server, stream, 1 << 20).unwrap();
    meeting.pair.server.write_lane(lane, request(9, b"your turn"));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_client, client));
    meeting.until(|pair| (tags(&pair.from_client, opened) == [9]).then_some(()));
    meeting.pair.client.write_lane(opened, request(10, b"done"));
    meeting.until(|pair| (tags(&pair.from_server, lane) == [10]).then_some(()));
}

#[test]
fn lanes_are_of_their_session() {
    let mut meeting = Meeting::new();
    let one = meeting.session(LANES, LANES);
    let two = meeting.session(LANES, LANES);
    let (first, second) = (meeting.lane(one.0), meeting.lane(two.0));
    meeting.pair.client.write_lane(second, request(2, b""));
    meeting.pair.client.write_lane(first, request(1, b""));
    let there = meeting.until(|pair| opened_on(&mut pair.from_server, two.1));
    meeting.until(|pair| (tags(&pair.from_server, there) == [2]).then_some(()));
    let there = meeting.until(|pair| opened_on(&mut pair.from_server, one.1));
    meeting.until(|pair| (tags(&pair.from_server, there) == [1]).then_some(()));
}

#[test]
fn codes_travel_among_those_of_http3_and_come_out_as_they_were() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    meeting.pair.server.write_lane(opened, request(9, b"no"));
    meeting.pair.server.refuse_lane(opened, 3);
    let end = meeting.until(|pair| {
        let end = ended(&pair.from_client, lane)?;
        (tags(&pair.from_client, lane) == [9]).then_some(end)
    });
    assert_eq!(end, LaneEnd::Stopped { code: 3 });
    meeting.pair.client.abort_lane(lane, 7);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    meeting.pair.client.abort_lane(lane, u32::MAX);
    let end = meeting.until(|pair| {
        let ends: Vec<_> = pair
            .from_server
            .iter()
            .filter_map(|event| match event {
                Event::LaneEnded { lane, end } if *lane == opened => Some(end.clone()),
                _ => None,
            })
            .collect();
        ends.into_iter().find(|end| matches!(end, LaneEnd::Reset { .. }))
    });
    assert_eq!(end, LaneEnd::Reset { code: u32::MAX.into() });
    // On the wire it is none of ours.
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    let mut frame = request(1, b"");
    frame.splice(..0, beginning(Dir::Bi, id, b""));
    let stream = world.send(Dir::Bi, frame, false);
    let lane = world.until(|world| opened_on(&mut world.events, key));
    world.pair.server.abort_lane(lane, 0);
    assert_eq!(world.verdict(stream), 0x52e4_a40f_a8db);
    let stream = world.send(Dir::Bi, beginning(Dir::Bi, id, b""), false);
    let lane = world.until(|world| opened_on(&mut world.events, key));
    let here = world.visitors[0].key;
    world.pair.client.reset(here, stream, Code::REQUEST_CANCELLED.0);
    let end = world.until(|world| ended(&world.events, lane));
    assert_eq!(end, LaneEnd::Reset { code: 0 }, "no application's");
}

#[test]
fn a_released_lane_still_sends_what_it_has() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    for tag in 0..16 {
        meeting.pair.server.write_lane(opened, request(tag, &[0; 32 << 10]));
    }
    meeting.pair.server.finish_lane(opened);
    meeting.pair.server.release_lane(opened);
    let end = meeting.until(|pair| ended(&pair.from_client, lane));
    assert_eq!(end, LaneEnd::Finished);
    assert_eq!(tags(&meeting.pair.from_client, lane).len(), 16);
    meeting.until(|pair| (pair.server.open_lanes() == 0).then_some(()));
}

#[test]
fn a_paused_lane_holds_its_peer_up_and_no_other_session() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let other = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    meeting.pair.server.pause_lane(opened, true);
    for tag in 1..=20 {
        meeting.pair.client.write_lane(lane, request(tag, &[0; 16 << 10]));
    }
    meeting.rest();
    assert!(meeting.pair.client.lane_unsent(lane) > 100 << 10, "held by flow control");
    meeting.works(other);
    meeting.pair.server.pause_lane(opened, false);
    meeting.until(|pair| (tags(&pair.from_server, opened).len() == 21).then_some(()));
}

#[test]
fn streams_of_a_session_leave_nothing_behind() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    for round in 0..300_u16 {
        let lane = meeting.until(|pair| {
            let stream = pair.client.open_stream(client, Dir::Bi)?;
            pair.client.make_lane(client, stream, 1 << 20)
        });
        meeting.pair.client.write_lane(lane, request(round, b"x"));
        meeting.pair.client.finish_lane(lane);
        let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
        meeting.pair.server.finish_lane(opened);
        meeting.until(|pair| ended(&pair.from_client, lane).and(ended(&pair.from_server, opened)));
        meeting.pair.client.release_lane(lane);
        meeting.pair.server.release_lane(opened);
        meeting.pair.from_client.clear();
        meeting.pair.from_server.clear();
    }
    meeting.rest();
    let Pair { server: ours, client: theirs, here, there, .. } = &mut meeting.pair;
    assert_eq!((ours.open_lanes(), theirs.open_lanes()), (0, 0));
    for (endpoint, key) in [(ours, *there), (theirs, *here)] {
        let known = endpoint.touch(key).unwrap().sessions().unwrap().streams();
        assert!(known < 100, "{known} streams");
    }
}

#[test]
fn datagrams_of_a_lane_go_by_its_label() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    assert_eq!(meeting.pair.server.lane_datagram(opened, b"frame"), Sent::Unfit, "it has no label");
    assert!(meeting.pair.client.label_lane(lane, 6) && meeting.pair.server.label_lane(opened, 6));
    assert!(meeting.pair.server.label_lane(opened, 6), "the same once more");
    assert_eq!(meeting.pair.server.lane_datagram(opened, b"frame"), Sent::Sent);
    let frame = meeting.until(|pair| {
        pair.from_client.iter().find_map(|event| match event {
            Event::LaneDatagram { lane: on, frame } if *on == lane => Some(frame.clone()),
            _ => None,
        })
    });
    assert_eq!(frame, b"frame");
    // Another lane cannot have it, but when this one is gone.
    let other = meeting.lane(client);
    assert!(!meeting.pair.client.label_lane(other, 6));
    meeting.pair.client.abort_lane(lane, 0);
    assert!(meeting.pair.client.label_lane(other, 6));
    let most = meeting.pair.server.max_datagram_size(server).unwrap();
    assert_eq!(meeting.pair.server.lane_datagram(opened, &vec![0; most - 7]), Sent::Unfit);
    assert_eq!(meeting.pair.server.lane_datagram(opened, &vec![0; most - 8]), Sent::Sent);
}

/// A peer that counts bytes and streams.
fn strict(data: u64, streams: u64) -> Config {
    let mut config = config();
    config.settings.others.extend([
        (settings::ENABLED, 1),
        (settings::INITIAL_MAX_DATA, data),
        (settings::INITIAL_MAX_STREAMS_BIDI, streams),
    ]);
    config
}

fn limit(kind: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::encode(value, &mut bytes);
    capsule(kind, &bytes)
}

#[test]
fn we_send_what_the_peer_lets_and_then_the_rest() {
    let mut world = stranger(strict(1000, 1));
    let (id, key) = world.session(LANES);
    let stream = world.pair.server.open_stream(key, Dir::Bi).unwrap();
    let lane = world.pair.server.make_lane(key, stream, 1 << 20).unwrap();
    for tag in 0..30 {
        world.pair.server.write_lane(lane, request(tag, &[0; 93]));
    }
    world.pair.server.finish_lane(lane);
    // Its id, as the client names it.
    world.until(|world| (world.pair.server.lane_unsent(lane) == 2000).then_some(()));
    let blocked = world.until(|world| {
        let body = &world.visitors[0].answers.get(&id)?.body;
        (!body.is_empty()).then(|| body.clone())
    });
    assert_eq!(blocked, limit(0x190b_4d41, 1000));
    world.rest();
    assert_eq!(world.pair.server.lane_unsent(lane), 2000, "the header does not count");
    world.say(id, limit(0x190b_4d3d, 1500));
    world.until(|world| (world.pair.server.lane_unsent(lane) == 1500).then_some(()));
    world.say(id, limit(0x190b_4d3d, 3000));
    world.until(|world| (world.pair.server.lane_unsent(lane) == 0).then_some(()));
    // And streams.
    assert!(world.pair.server.open_stream(key, Dir::Bi).is_none());
    assert!(world.pair.server.open_stream(key, Dir::Uni).is_none());
    world.say(id, limit(0x190b_4d3f, 2));
    world.until(|world| {
        let may = |event: &Event| {
            matches!(event, Event::MayOpen { connection, dir: Dir::Bi } if *connection == key)
        };
        world.events.iter().any(may).then_some(())
    });
    assert!(world.pair.server.open_stream(key, Dir::Bi).is_some());
    assert!(world.pair.server.open_stream(key, Dir::Bi).is_none());
}
