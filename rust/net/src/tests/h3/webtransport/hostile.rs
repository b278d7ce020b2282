//! What peers do wrong: a session, a stream or the connection ends with the right code, memory is
//! bounded, and other sessions go on.

use super::*;
use jetstream_proto::http3::varint;

fn violated(lost: &Lost, wanted: Code) -> bool {
    matches!(lost, Lost::Violated { code, .. } if *code == wanted.0)
}

/// What the peer sees of the end of a CONNECT stream.
fn reset(world: &mut World, id: u64) -> Code {
    world.until(|world| world.visitors[0].answers.get(&id)?.reset)
}

#[test]
fn capsules_that_cannot_be_cost_their_session() {
    let long = [&[0, 0, 0, 1][..], &[b'x'; 1025]].concat();
    let mut endless = Vec::new();
    varint::encode(0x2843, &mut endless);
    varint::encode(varint::MAX, &mut endless);
    let mut unknown = Vec::new();
    varint::encode(0x4242, &mut unknown);
    varint::encode(1 << 40, &mut unknown);
    let behind = [capsule(0x2843, &[0; 4]), vec![0]].concat();
    let mut world = stranger(config());
    let (_, bystander) = world.session(LANES);
    for (bytes, code, what) in [
        (capsule(0x2843, &long), Code::MESSAGE_ERROR, "a reason over 1,024 bytes"),
        (capsule(0x2843, &[0, 0, 0, 1, 0xff]), Code::MESSAGE_ERROR, "no UTF-8"),
        (capsule(0x2843, &[0]), Code::MESSAGE_ERROR, "half a code"),
        (endless, Code::MESSAGE_ERROR, "declared endless"),
        (unknown, Code::EXCESSIVE_LOAD, "unknown and large"),
        (capsule(0x4242, b"x").repeat(9), Code::EXCESSIVE_LOAD, "unknown and many"),
        (capsule(0x190b_4d3e, &[1]), Code::WT_FLOW_CONTROL_ERROR, "a limit of a stream"),
        (capsule(0x190b_4d3f, &[0xff; 8]), Code::WT_FLOW_CONTROL_ERROR, "too many streams"),
        (capsule(0, &[0; 2000]), Code::EXCESSIVE_LOAD, "a long datagram"),
    ] {
        let (id, key) = world.session(LANES);
        world.say(id, bytes);
        let lost = world.end_of(key);
        assert!(violated(&lost, code), "{what}: {lost:?}");
        assert_eq!(reset(&mut world, id), code, "{what}");
    }
    let (id, key) = world.session(LANES);
    world.say(id, behind);
    assert_eq!(world.end_of(key), closed(0, ""), "the end was one");
    assert_eq!(reset(&mut world, id), Code::MESSAGE_ERROR);
    world.still_meets();
    assert_eq!(lost_of(&world.events, bystander), None);
}

#[test]
fn an_end_in_the_middle_of_a_capsule() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    world.visitors[0].core.data(id, capsule(0x2843, &[0; 9])[..6].to_vec().into(), true).unwrap();
    assert!(violated(&world.end_of(key), Code::MESSAGE_ERROR));
    world.still_meets();
}

#[test]
fn a_session_that_cannot_be_ends_the_connection() {
    for id in [1, 2, 3, 7] {
        for dir in [Dir::Bi, Dir::Uni] {
            let mut world = stranger(config());
            let (_, key) = world.session(LANES);
            world.send(dir, beginning(dir, id, b"x"), false);
            assert_eq!(world.end(), Code::ID_ERROR.0);
            assert!(violated(&world.end_of(key), Code::ID_ERROR));
        }
    }
}

#[test]
fn a_header_that_does_not_begin_its_stream_ends_the_connection() {
    let mut world = stranger(config());
    let (id, _) = world.session(LANES);
    let here = world.visitors[0].key;
    let mut bytes = beginning(Dir::Bi, id, b"");
    world.pair.client.write(here, stream(id), &mut bytes);
    assert_eq!(world.end(), Code::FRAME_ERROR.0);
}

#[test]
fn streams_before_their_session_wait_and_there_are_not_many() {
    let mut world = stranger(config());
    let frame = crate::tests::request(1, b"early");
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let bytes = beginning(Dir::Bi, id, &frame);
        streams.push(world.send(Dir::Bi, bytes, false));
        world.rest();
    }
    // Two too many.
    for stream in &streams[3..] {
        assert_eq!(world.verdict(*stream), Code::WT_BUFFERED_STREAM_REJECTED.0);
    }
    let fields = Fields::default();
    let key = world.pair.server.accept_session(exchange, &fields, LANES).unwrap();
    let lanes: Vec<_> =
        (0..3).map(|_| world.until(|world| opened_on(&mut world.events, key))).collect();
    for lane in lanes {
        world.until(|world| (crate::tests::tags(&world.events, lane) == [1]).then_some(()));
    }
    let connected = world.events.iter().position(
        |event| matches!(event, Event::Connected { connection, .. } if *connection == key),
    );
    assert!(connected.is_some());
    world.still_meets();
}

#[test]
fn more_of_a_stream_that_waits_is_not_lost() {
    for dir in [Dir::Bi, Dir::Uni] {
        let mut world = stranger(config());
        let id = world.ask(&connect("webtransport"), Content::Follows);
        let (exchange, _) = world.request();
        let stream = world.send(dir, beginning(dir, id, b"one "), false);
        world.rest();
        let here = world.visitors[0].key;
        world.pair.client.write(here, stream, &mut Bytes::from_static(b"two"));
        world.pair.client.finish(here, stream);
        world.rest();
        let fields = Fields::default();
        let key = world.pair.server.accept_session(exchange, &fields, Incoming::Raw).unwrap();
        let there = world.until(|world| stream_on(&mut world.events, key));
        let mut read = Vec::new();
        let end = world.until(|world| {
            loop {
                match world.pair.server.read(key, there, 100) {
                    Read::Data(data) => read.extend(data),
                    Read::Blocked => return None,
                    end => return Some(end),
                }
            }
        });
        assert_eq!((&read[..], end), (&b"one two"[..], Read::Finished));
    }
}

#[test]
fn streams_of_a_session_that_never_comes_are_few_and_harm_nobody() {
    let mut world = stranger(config());
    let (_, bystander) = world.session(LANES);
    // Requests that have not come.
    let mut streams = Vec::new();
    for number in 0..6_u64 {
        streams.push(world.send(Dir::Uni, beginning(Dir::Uni, 4000 + 4 * number, b"x"), false));
    }
    world.rest();
    let here = world.visitors[0].key;
    let rejected = streams.iter().filter(|stream| {
        let wrote = world.pair.client.write(here, **stream, &mut Bytes::from_static(b"more"));
        wrote == Write::Stopped(Code::WT_BUFFERED_STREAM_REJECTED.0)
    });
    assert_eq!(rejected.count(), 3);
    world.still_meets();
    assert_eq!(lost_of(&world.events, bystander), None);
}

#[test]
fn streams_of_what_is_no_session_are_refused() {
    let mut world = stranger(config());
    // One that is over.
    let (id, key) = world.session(LANES);
    world.pair.server.close(Instant::now(), key, 0, b"");
    world.until(|world| world.visitors[0].answers.get(&id)?.ended.then_some(()));
    let late = world.send(Dir::Bi, beginning(Dir::Bi, id, b"x"), false);
    assert_eq!(world.verdict(late), Code::WT_SESSION_GONE.0);
    // An ordinary request.
    let (get, exchange) = world.get("/");
    let wrong = world.send(Dir::Bi, beginning(Dir::Bi, get, b"x"), false);
    assert_eq!(world.verdict(wrong), Code::WT_SESSION_GONE.0);
    world.reply(exchange, whole(200, ""));
    world.answer(get);
    // One that is not accepted.
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    let vain = world.send(Dir::Bi, beginning(Dir::Bi, id, b"x"), false);
    world.rest();
    world.reply(exchange, whole(403, ""));
    assert_eq!(world.verdict(vain), Code::WT_BUFFERED_STREAM_REJECTED.0);
    world.still_meets();
}

#[test]
fn streams_that_are_open_when_their_session_ends_are_given_up() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    let open = world.send(Dir::Bi, beginning(Dir::Bi, id, b""), false);
    world.until(|world| opened_on(&mut world.events, key));
    world.say(id, capsule(0x2843, &[0, 0, 0, 1]));
    assert_eq!(world.end_of(key), closed(1, ""));
    assert_eq!(world.verdict(open), Code::WT_SESSION_GONE.0);
    assert_eq!(world.pair.server.open_lanes(), 0);
    world.still_meets();
}

#[test]
fn a_flood_of_sessions_is_rejected() {
    let mut world = stranger(config());
    let (_, bystander) = world.session(LANES);
    let first = world.ask(&connect("webtransport"), Content::Follows);
    world.request();
    let second = world.ask(&connect("webtransport"), Content::Follows);
    world.request();
    for _ in 0..100 {
        let id = world.ask(&connect("webtransport"), Content::Follows);
        assert_eq!(reset(&mut world, id), Code::REQUEST_REJECTED);
    }
    assert!(world.next_request().is_none());
    assert_eq!(world.pair.server.open_exchanges(), 2);
    world.visitors[0].core.abort(first, Code::REQUEST_CANCELLED);
    world.visitors[0].core.abort(second, Code::REQUEST_CANCELLED);
    world.rest();
    world.still_meets();
    assert_eq!(lost_of(&world.events, bystander), None);
}

#[test]
fn sessions_that_come_and_go_leave_nothing_behind() {
    let mut world = stranger(config());
    for _ in 0..100 {
        world.still_meets();
    }
    assert_eq!((world.pair.server.open_lanes(), world.pair.server.open_exchanges()), (0, 0));
    world.until(|world| (world.pair.server.unacknowledged() == 0).then_some(()));
}

#[test]
fn a_flood_of_datagrams_is_bounded_wherever_it_goes() {
    let mut world = stranger(config());
    let (id, key) = world.session(Incoming::Raw);
    let waiting = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    for round in 0..20 {
        for _ in 0..20 {
            world.datagram(id, &[7; 100]);
            world.datagram(waiting, &[8; 100]);
            world.datagram(4000 + 4 * round, &[9; 100]);
        }
        world.turn();
    }
    world.rest();
    let kept = std::iter::from_fn(|| world.pair.server.receive_datagram(key)).count();
    assert!((1..=7).contains(&kept), "{kept}");
    let fields = Fields::default();
    let other = world.pair.server.accept_session(exchange, &fields, Incoming::Raw).unwrap();
    world.rest();
    let kept = std::iter::from_fn(|| world.pair.server.receive_datagram(other)).count();
    assert!(kept <= 3, "{kept}");
    // Half a number ends the connection; one for nobody is dropped.
    world.datagram(8, b"x");
    world.rest();
    assert_eq!(lost_of(&world.events, key), None);
}

#[test]
fn a_datagram_before_its_session_waits() {
    let mut world = stranger(config());
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    world.datagram(id, b"early");
    world.rest();
    let fields = Fields::default();
    let key = world.pair.server.accept_session(exchange, &fields, Incoming::Raw).unwrap();
    assert_eq!(world.pair.server.receive_datagram(key).unwrap(), b"early"[..]);
}

#[test]
fn a_session_that_is_never_answered_is_its_owners() {
    // A request whose settings never come is given up in time.
    let mut limits = limits();
    limits.head_timeout = Duration::from_millis(50);
    let options = Http3Options::new(Arc::new(limits), Http3Options::config());
    let pair = Pair::begun(Incoming::Http(options.webtransport(LIMITS)), |_| {});
    let here = pair.here;
    let visitors = vec![Visitor::speaking(here, config())];
    let mut world =
        World { pair, visitors, events: Vec::new(), bodies: HashMap::new(), greedy: true };
    world.pair.until(|pair| {
        pair.from_client.iter().any(|event| matches!(event, Event::Confirmed { .. }))
    });
    let fields = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        (":protocol", "webtransport"),
    ];
    let id = world.send(Dir::Bi, super::super::hostile::headers(&fields), false);
    let mut told = Read::Blocked;
    world.pair.until(|pair| {
        told = pair.client.read(here, id, 100);
        matches!(told, Read::Reset(_))
    });
    assert_eq!(told, Read::Reset(Code::REQUEST_REJECTED.0));
}

#[test]
fn capsules_before_the_answer_are_not_looked_at() {
    let mut world = stranger(config());
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    world.say(id, capsule(0x78ae, b""));
    world.rest();
    let body = |event: &HttpEvent| matches!(event, HttpEvent::Body { .. });
    assert!(!world.saw(body));
    let key = world.pair.server.accept_session(exchange, &Fields::default(), LANES).unwrap();
    world.until(|world| {
        let its =
            |event: &Event| matches!(event, Event::Draining { connection } if *connection == key);
        world.events.iter().any(its).then_some(())
    });
}
