//! How sessions end, and how connections with sessions do.

use super::*;

fn draining(events: &[Event], key: ConnectionKey) -> usize {
    let its =
        |event: &&Event| matches!(event, Event::Draining { connection } if *connection == key);
    events.iter().filter(its).count()
}

#[test]
fn an_end_tells_its_code_and_reason_and_takes_its_streams_with_it() {
    for by_client in [true, false] {
        let mut meeting = Meeting::new();
        let (client, server) = meeting.session(LANES, LANES);
        let other = meeting.session(LANES, LANES);
        let lane = meeting.lane(client);
        meeting.pair.client.write_lane(lane, crate::tests::request(0, b""));
        meeting.until(|pair| opened_on(&mut pair.from_server, server));
        let (here, there) = if by_client { (client, server) } else { (server, client) };
        let pair = &mut meeting.pair;
        let closing = if by_client { &mut pair.client } else { &mut pair.server };
        closing.close(Instant::now(), here, 7, "über".as_bytes());
        let events = closing.take_events();
        assert_eq!(lost_of(&events, here), Some(Lost::Here), "at once");
        assert_eq!(closing.open_lanes(), 0);
        assert_eq!(closing.beneath(here), None);
        assert!(closing.open_stream(here, Dir::Bi).is_none());
        assert!(closing.send_datagram(here, Bytes::new()).is_err());
        let lost = meeting.until(|pair| {
            let events = if by_client { &pair.from_server } else { &pair.from_client };
            lost_of(events, there)
        });
        assert_eq!(lost, closed(7, "über"));
        assert_eq!(meeting.pair.server.open_lanes() + meeting.pair.client.open_lanes(), 0);
        meeting.works(other);
        meeting.until(|pair| (pair.server.unacknowledged() == 0).then_some(()));
        meeting.until(|pair| (pair.client.unacknowledged() == 0).then_some(()));
    }
}

#[test]
fn lanes_that_are_given_up_before_the_end_is_heard_end_with_it() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    let mut begun = beginning(Dir::Bi, id, b"").to_vec();
    begun.extend(crate::tests::request(1, b"x"));
    let stream = world.send(Dir::Bi, begun, false);
    let lane = world.until(|world| opened_on(&mut world.events, key));
    world.until(|world| (crate::tests::tags(&world.events, lane) == [1]).then_some(()));
    let here = world.visitors[0].key;
    world.pair.client.reset(here, stream, Code::WT_SESSION_GONE.0);
    world.pair.client.stop(here, stream, Code::WT_SESSION_GONE.0);
    world.rest();
    world.say(id, capsule(0x2843, b"\0\0\0\x07bye"));
    assert_eq!(world.end_of(key), closed(7, "bye"));
    let is_its =
        |event: &Event| matches!(event, Event::LaneEnded { lane: its, .. } if *its == lane);
    assert!(!world.events.iter().any(is_its));
}

#[test]
fn what_was_ended_in_order_still_arrives() {
    let mut world = stranger(config());
    let (_, key) = world.session(Incoming::Raw);
    let stream = world.pair.server.open_stream(key, Dir::Uni).unwrap();
    world.visitors[0].deaf.push(stream.into());
    world.pair.server.write(key, stream, &mut Bytes::from_static(b"the last"));
    assert!(world.pair.server.finish(key, stream));
    let open = world.pair.server.open_stream(key, Dir::Bi).unwrap();
    world.visitors[0].deaf.push(open.into());
    world.pair.server.close(Instant::now(), key, 0, b"");
    let here = world.visitors[0].key;
    let mut read = Vec::new();
    let end = world.until(|world| match world.pair.client.read(here, stream, 100) {
        Read::Data(data) => {
            read.extend(data);
            None
        }
        Read::Blocked => None,
        end => Some(end),
    });
    assert_eq!(end, Read::Finished);
    assert!(read.ends_with(b"the last"), "{read:?}");
    let end = world.until(|world| match world.pair.client.read(here, open, 100) {
        Read::Data(_) | Read::Blocked => None,
        end => Some(end),
    });
    assert_eq!(end, Read::Reset(Code::WT_SESSION_GONE.0));
}

#[test]
fn what_came_on_lanes_before_the_end_is_still_told() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let lane = meeting.lane(client);
    meeting.pair.client.write_lane(lane, crate::tests::request(0, b""));
    let opened = meeting.until(|pair| opened_on(&mut pair.from_server, server));
    // The answer and the end leave together.
    meeting.pair.server.write_lane(opened, crate::tests::request(5, b"the last"));
    meeting.pair.server.finish_lane(opened);
    meeting.pair.server.transmit(Instant::now()).unwrap();
    meeting.pair.server.close(Instant::now(), server, 1, b"");
    meeting.pair.server.transmit(Instant::now()).unwrap();
    meeting.until(|pair| lost_of(&pair.from_client, client));
    assert_eq!(crate::tests::tags(&meeting.pair.from_client, lane), [5]);
}

#[test]
fn an_end_without_a_word_is_code_0() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    world.visitors[0].core.data(id, Bytes::new(), true).unwrap();
    assert_eq!(world.end_of(key), closed(0, ""));
    world.until(|world| world.visitors[0].answers.get(&id)?.ended.then_some(()));
    // Ours is the same.
    let (id, key) = world.session(LANES);
    world.pair.server.close(Instant::now(), key, 0, b"");
    let answer = world.answer(id);
    assert_eq!((answer.body.len(), answer.reset), (0, None));
}

#[test]
fn a_connect_stream_that_is_broken_off_is_the_end() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    world.visitors[0].core.abort(id, Code::REQUEST_CANCELLED);
    let lost = world.end_of(key);
    assert!(
        matches!(&lost, Lost::Broken { reason } if reason.contains("H3_REQUEST_CANCELLED")),
        "{lost:?}"
    );
    // Only reset, or only stopped.
    let here = world.visitors[0].key;
    let (id, key) = world.session(LANES);
    world.pair.client.reset(here, stream(id), Code::INTERNAL_ERROR.0);
    assert!(matches!(world.end_of(key), Lost::Broken { .. }));
    let (id, key) = world.session(LANES);
    world.pair.client.stop(here, stream(id), Code::NO_ERROR.0);
    assert!(matches!(world.end_of(key), Lost::Broken { .. }));
    world.still_meets();
}

#[test]
fn a_request_that_is_taken_back_is_no_session() {
    let mut world = stranger(config());
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    world.send(Dir::Bi, beginning(Dir::Bi, id, b"x"), false);
    world.visitors[0].core.abort(id, Code::REQUEST_CANCELLED);
    world.until(|world| world.gone(exchange).then_some(()));
    let accepted = world.pair.server.accept_session(exchange, &Fields::default(), LANES);
    assert_eq!(accepted, Err(crate::ReplyError::Gone));
    world.pair.server.http_release(exchange);
    world.still_meets();
}

#[test]
fn a_client_takes_its_request_back() {
    let mut meeting = Meeting::new();
    let client = meeting.ask(LANES);
    let (exchange, _) = meeting.request();
    meeting.pair.client.close(Instant::now(), client, 0, b"");
    meeting.until(|pair| {
        let gone = |event: &Event| matches!(event, Event::Http(HttpEvent::Gone { exchange: on }) if *on == exchange);
        pair.from_server.iter().any(gone).then_some(())
    });
    meeting.pair.server.http_release(exchange);
    // And one that was not even made.
    let mut meeting = Meeting::of(speaking(LIMITS), speaking(LIMITS));
    let client = meeting.ask(LANES);
    meeting.pair.client.close(Instant::now(), client, 0, b"");
    meeting.rest();
    assert!(request_of(&mut meeting.pair.from_server).is_none());
    assert_eq!(lost_of(&meeting.pair.from_client, client), Some(Lost::Here));
}

#[test]
fn the_connections_end_is_the_sessions() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let asking = meeting.ask(LANES);
    let here = meeting.pair.here;
    meeting.pair.client.close(Instant::now(), here, 9, b"bye");
    meeting.rest();
    for key in [client, asking, here] {
        assert_eq!(lost_of(&meeting.pair.from_client, key), Some(Lost::Here));
    }
    let there = meeting.pair.there;
    for key in [server, there] {
        assert_eq!(lost_of(&meeting.pair.from_server, key), Some(closed(9, "bye")));
    }
    // Sessions first.
    let order: Vec<_> = meeting
        .pair
        .from_server
        .iter()
        .filter_map(|event| match event {
            Event::Lost { connection, .. } => Some(*connection),
            _ => None,
        })
        .collect();
    assert_eq!(order, [server, there]);
    assert_eq!(meeting.pair.server.beneath(server), None);
}

#[test]
fn a_drain_is_told_and_waits_for_sessions() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(LANES, LANES);
    let late = meeting.ask(LANES);
    let (exchange, _) = meeting.request();
    meeting.pair.server.http_drain();
    meeting.until(|pair| (draining(&pair.from_client, client) == 1).then_some(()));
    // One that was asked for before is told when it is there.
    let later = meeting.accept(exchange, LANES);
    meeting.until(|pair| (draining(&pair.from_client, late) == 1).then_some(()));
    let (here, there) = (meeting.pair.here, meeting.pair.there);
    let fields = Fields::default();
    let asked = meeting.pair.client.connect_session(here, "localhost", "/", &fields, LANES);
    assert_eq!(asked, Err(SessionError::GoingAway));
    meeting.works((client, server));
    meeting.rest();
    assert_eq!(draining(&meeting.pair.from_client, client), 1, "once");
    assert_eq!(lost_of(&meeting.pair.from_server, there), None);
    meeting.pair.client.close(Instant::now(), client, 0, b"");
    let since = Instant::now();
    meeting.pair.server.close(since, later, 3, b"enough");
    let ending = |pair: &Pair| pair.server.ending_sessions(Instant::now());
    assert!(ending(&meeting.pair) > 0);
    let lost = meeting.until(|pair| lost_of(&pair.from_client, late));
    assert_eq!(lost, closed(3, "enough"), "before the connection's end");
    meeting.until(|pair| (ending(pair) == 0).then_some(()));
    // A browser has to have read the one before the other comes.
    assert!(since.elapsed() >= Duration::from_millis(100));
    let lost = meeting.until(|pair| lost_of(&pair.from_client, here));
    assert_eq!(lost, closed(Code::NO_ERROR.0, ""));
    meeting.until(|pair| lost_of(&pair.from_server, there));
}

#[test]
fn a_drain_is_said_on_each_session() {
    let mut world = stranger(config());
    let (id, _) = world.session(LANES);
    let late = world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    world.pair.server.http_drain();
    world.pair.server.accept_session(exchange, &Fields::default(), LANES).unwrap();
    for id in [id, late] {
        let said = world.until(|world| {
            let body = &world.visitors[0].answers.get(&id)?.body;
            (!body.is_empty()).then(|| body.clone())
        });
        assert_eq!(said, capsule(0x78ae, b""));
    }
}

#[test]
fn a_session_that_is_to_end_says_so_by_itself() {
    let mut world = stranger(config());
    let (id, key) = world.session(LANES);
    world.say(id, capsule(0x78ae, b""));
    world.until(|world| (draining(&world.events, key) == 1).then_some(()));
    assert_eq!(lost_of(&world.events, key), None);
    world.still_meets();
}

#[test]
fn a_connection_with_a_session_is_not_idle() {
    let mut limits = limits();
    limits.idle_timeout = Duration::from_millis(50);
    let options = Http3Options::new(Arc::new(limits), Http3Options::config());
    let mut meeting =
        Meeting::of(Incoming::Http(options.webtransport(LIMITS)), speaking(LIMITS)).settled();
    let both = meeting.session(LANES, LANES);
    let later = Instant::now() + Duration::from_millis(150);
    meeting.until(|_| (Instant::now() > later).then_some(()));
    meeting.works(both);
    let there = meeting.pair.there;
    meeting.pair.client.close(Instant::now(), both.0, 0, b"");
    meeting.until(|pair| lost_of(&pair.from_server, there));
}
