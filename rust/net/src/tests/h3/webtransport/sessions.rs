//! How sessions come about.

use super::*;
use crate::tests::early::{acquainted, early};
use crate::tests::world::World as Acquaintance;

#[test]
fn a_session_is_a_connection() {
    let mut meeting = Meeting::new();
    let client = meeting.ask(LANES);
    let (exchange, request) = meeting.request();
    assert_eq!(request.protocol.as_deref(), Some(&b"webtransport-h3"[..]));
    assert_eq!((&request.target[..], &request.method[..]), (&b"/echo?x=1"[..], &b"CONNECT"[..]));
    let origin = request.fields.iter().find(|(name, _)| *name == b"origin");
    assert_eq!(origin, Some((&b"origin"[..], &b"https://localhost"[..])));
    assert!(!request.early && !request.ended);
    assert_eq!(meeting.pair.server.open_exchanges(), 1);
    assert!(!is_connected(&meeting.pair.from_client, client));
    assert!(meeting.pair.client.open_stream(client, Dir::Bi).is_none(), "it is not there yet");

    let server = meeting.accept(exchange, LANES);
    meeting.until(|pair| is_connected(&pair.from_client, client).then_some(()));
    let confirmed =
        |event: &Event| matches!(event, Event::Confirmed { connection } if *connection == client);
    assert!(meeting.pair.from_client.iter().any(confirmed));
    assert!(is_connected(&meeting.pair.from_server, server));
    assert_eq!(meeting.pair.server.open_exchanges(), 0);

    let Pair { server: ours, client: theirs, here, there, .. } = &mut meeting.pair;
    assert!(server.is_session() && client.is_session());
    assert_eq!(ours.beneath(server), Some(*there));
    assert_eq!(theirs.beneath(client), Some(*here));
    assert_eq!((ours.beneath(*there), ours.alpn(server)), (None, ours.alpn(*there)));
    assert_eq!(ours.remote(server), ours.remote(*there));
    assert!(ours.counters(server).is_some() && ours.local(server).is_some());
    assert!(ours.is_http(*there) && theirs.is_http(*here));
    assert!(!ours.is_http(server) && !theirs.is_http(client));
    assert_eq!((ours.open_connections(), theirs.open_connections()), (1, 1));
    assert_eq!(theirs.peer_chain(client).len(), 1);
    // Nothing is on its way, though CONNECT streams stay open.
    meeting.until(|pair| (pair.server.unacknowledged() == 0).then_some(()));
    meeting.until(|pair| (pair.client.unacknowledged() == 0).then_some(()));
    meeting.works((client, server));
}

#[test]
fn the_hub_knows_what_carries_a_session() {
    let mut meeting = Meeting::new();
    let (client, _) = meeting.session(LANES, LANES);
    let Pair { client: endpoint, here, .. } = meeting.pair;
    let hub = Hub::Quic(Box::new(endpoint));
    assert_eq!(hub.carrier(client), Carrier::WebTransport);
    assert_eq!(hub.carrier(here), Carrier::Quic);
    assert_eq!(hub.beneath(client), Some(here));
    assert!(hub.many_lanes(client) && hub.can_open_lane(client));
}

#[test]
fn several_sessions_share_a_connection_with_each_other() {
    let mut meeting = Meeting::new();
    let one = meeting.session(LANES, LANES);
    let two = meeting.session(LANES, LANES);
    meeting.works(one);
    meeting.works(two);
    meeting.works(one);
}

#[test]
fn sessions_go_beside_requests() {
    let mut world = stranger(config());
    let (_, key) = world.session(LANES);
    for _ in 0..20 {
        let (id, exchange) = world.get("/");
        world.reply(exchange, whole(200, "hello"));
        assert_eq!(world.answer(id).body, b"hello");
    }
    world.still_meets();
    assert_eq!(lost_of(&world.events, key), None);
}

#[test]
fn a_session_may_be_asked_for_before_the_handshake_is_complete() {
    let mut meeting = Meeting::of(speaking(LIMITS), speaking(LIMITS));
    let client = meeting.ask(LANES);
    let (exchange, _) = meeting.request();
    let server = meeting.accept(exchange, LANES);
    meeting.until(|pair| is_connected(&pair.from_client, client).then_some(()));
    meeting.works((client, server));
}

#[test]
fn our_settings_do_not_wait_for_more_streams_than_the_server_has_allowed() {
    let mut meeting = Meeting::of(Incoming::Raw, speaking(LIMITS));
    meeting.ask(LANES);
    meeting.until(|pair| {
        let uni = |event: &Event| {
            matches!(event, Event::StreamOpened { stream, .. } if stream.dir() == Dir::Uni)
        };
        pair.from_server.iter().any(uni).then_some(())
    });
}

#[test]
fn each_token_is_taken() {
    for protocol in ["webtransport", "webtransport-h3"] {
        let mut world = stranger(config());
        let id = world.ask(&connect(protocol), Content::Follows);
        let (exchange, request) = world.request();
        assert_eq!(request.protocol.as_deref(), Some(protocol.as_bytes()));
        world.pair.server.accept_session(exchange, &Fields::default(), LANES).unwrap();
        let status = world.until(|world| world.visitors[0].answers.get(&id)?.status);
        assert_eq!(status, 200);
    }
}

#[test]
fn a_session_that_is_not_accepted_tells_the_status() {
    let mut meeting = Meeting::new();
    let client = meeting.ask(LANES);
    let (exchange, _) = meeting.request();
    let refused = meeting.pair.server.http_reply(exchange, whole(200, "what"));
    assert!(refused.is_err(), "it would be a session");
    meeting.pair.server.http_reply(exchange, whole(404, "not here")).unwrap();
    let lost = meeting.until(|pair| lost_of(&pair.from_client, client));
    assert_eq!(lost, Lost::Declined { status: 404 });
    assert_eq!(meeting.pair.client.beneath(client), None);
    let again = meeting.pair.server.accept_session(exchange, &Fields::default(), LANES);
    assert!(again.is_err());
    let both = meeting.session(LANES, LANES);
    meeting.works(both);
}

#[test]
fn what_is_no_request_for_a_session_is_not_accepted_as_one() {
    let mut world = stranger(config());
    let (id, exchange) = world.get("/");
    let accepted = world.pair.server.accept_session(exchange, &Fields::default(), LANES);
    assert_eq!(accepted, Err(crate::ReplyError::NotAsked));
    world.reply(exchange, whole(200, ""));
    world.answer(id);
    let accepted = world.pair.server.accept_session(exchange, &Fields::default(), LANES);
    assert_eq!(accepted, Err(crate::ReplyError::Gone));
    // And one for a session is no tunnel.
    world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, _) = world.request();
    let tunnel =
        world.pair.server.http_reply(exchange, Reply::Tunnel { fields: Fields::default() });
    assert_eq!(tunnel, Err(crate::ReplyError::NotAsked));
    let wrong = lines(&[("a b", "c")]);
    let accepted = world.pair.server.accept_session(exchange, &wrong, LANES);
    assert_eq!(accepted, Err(crate::ReplyError::Field("a b".to_owned())));
    let fields = Fields::default();
    assert!(world.pair.server.accept_session(exchange, &fields, LANES).is_ok(), "it still waits");
    world.still_meets();
}

#[test]
fn nothing_of_it_is_said_where_it_is_not_enabled() {
    let mut world = World::new(|_| {});
    let settings = world.visitors[0].settings.clone().unwrap();
    assert!(settings.others.is_empty() && !settings.datagrams);
    world.ask(&connect("webtransport"), Content::Follows);
    let (exchange, request) = world.request();
    assert_eq!(request.protocol.as_deref(), Some(&b"webtransport"[..]), "the owner may know it");
    let accepted = world.pair.server.accept_session(exchange, &Fields::default(), LANES);
    assert_eq!(accepted, Err(crate::ReplyError::NotAsked));

    let plain = Http3Options::new(Arc::new(limits()), Http3Options::config());
    let mut meeting = Meeting::of(Incoming::Http(plain.clone()), speaking(LIMITS)).settled();
    let client = meeting.ask(LANES);
    let lost = meeting.until(|pair| lost_of(&pair.from_client, client));
    assert!(
        matches!(&lost, Lost::Refused { reason } if reason.contains("WebTransport")),
        "{lost:?}"
    );

    let mut meeting = Meeting::of(speaking(LIMITS), Incoming::Http(plain)).settled();
    let here = meeting.pair.here;
    let fields = Fields::default();
    let mut ask = |on| meeting.pair.client.connect_session(on, "localhost", "/", &fields, LANES);
    assert_eq!(ask(here), Err(SessionError::NotHttp3));
    assert_eq!(ask(ConnectionKey(77)), Err(SessionError::NotHttp3));
    assert_eq!(ask(ConnectionKey(ConnectionKey::SESSION | 1)), Err(SessionError::NotHttp3));
}

#[test]
fn requests_that_cannot_be_are_not_made() {
    let mut meeting = Meeting::new();
    let here = meeting.pair.here;
    for (authority, path, fields) in [
        ("localhost", "/", &[("a b", "c")][..]),
        ("localhost", "/", &[("a", "b\nc")]),
        ("localhost", "", &[]),
        ("", "/", &[]),
    ] {
        let fields = lines(fields);
        let asked = meeting.pair.client.connect_session(here, authority, path, &fields, LANES);
        assert!(matches!(asked, Err(SessionError::Malformed(_))), "{authority:?} {path:?}");
    }
}

#[test]
fn there_are_so_many_sessions_and_no_more() {
    let mut meeting = Meeting::with(Limits { max_sessions: 2, ..LIMITS });
    let one = meeting.session(LANES, LANES);
    let two = meeting.session(LANES, LANES);
    // The server has said how many.
    let (here, fields) = (meeting.pair.here, Fields::default());
    let asked = meeting.pair.client.connect_session(here, "localhost", "/", &fields, LANES);
    assert_eq!(asked, Err(SessionError::TooMany(2)));
    meeting.pair.client.close(Instant::now(), one.0, 0, b"");
    meeting.until(|pair| lost_of(&pair.from_server, one.1));
    let three = meeting.session(LANES, LANES);
    meeting.works(two);
    meeting.works(three);
}

#[test]
fn a_request_waits_for_the_settings_of_its_client() {
    let mut world = unheard(config());
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
    for _ in 0..60 {
        world.pair.turn();
    }
    world.take();
    assert!(world.next_request().is_none(), "nobody knows what it speaks");
    // The settings come.
    let (exchange, _) = world.request();
    let key = world.pair.server.accept_session(exchange, &Fields::default(), LANES).unwrap();
    let mut frame = crate::tests::request(1, b"fine");
    frame.splice(..0, beginning(Dir::Bi, id.into(), b""));
    world.send(Dir::Bi, frame, false);
    world.until(|world| opened_on(&mut world.events, key));
}

#[test]
fn a_client_that_takes_no_datagrams_gets_no_session() {
    let mut config = config();
    config.settings.datagrams = false;
    let mut world = stranger(config);
    let id = world.ask(&connect("webtransport"), Content::Follows);
    let reset = world.until(|world| world.visitors[0].answers.get(&id)?.reset);
    assert_eq!(reset, Code::MESSAGE_ERROR);
    assert!(world.next_request().is_none());
}

#[test]
fn a_session_in_the_first_flight_is_early_until_the_handshake_is_complete() {
    let acquaintance = Acquaintance::new();
    let (mut pair, tls) = acquainted(&acquaintance, speaking(LIMITS));
    pair.again(early(&tls));
    let visitors = vec![Visitor::speaking(pair.here, config())];
    let (events, bodies) = (Vec::new(), HashMap::new());
    let mut world = World { pair, visitors, events, bodies, greedy: true };
    world.visitors[0].settle(&mut world.pair.client);
    // Nobody should ask that early; whoever records it can.
    let fields = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        (":protocol", "webtransport"),
    ];
    let id = world.send(Dir::Bi, super::super::hostile::headers(&fields), false);
    let frame = crate::tests::request(1, b"once");
    world.send(Dir::Bi, [beginning(Dir::Bi, id.into(), b"").as_ref(), &frame].concat(), false);
    world.pair.first_flight();
    world.take();
    let (exchange, request) = world.next_request().unwrap();
    assert!(request.early);
    let key = world.pair.server.accept_session(exchange, &Fields::default(), LANES).unwrap();
    let names = |events: &[Event]| -> Vec<&'static str> {
        let name = |event: &Event| match event {
            Event::Early { connection, .. } if *connection == key => Some("early"),
            Event::Connected { connection, .. } if *connection == key => Some("connected"),
            Event::Frames { .. } => Some("frames"),
            _ => None,
        };
        events.iter().filter_map(name).collect()
    };
    world.pair.until_server(|pair| names(&pair.from_server).contains(&"frames"));
    assert_eq!(names(&world.pair.from_server), ["early", "frames"]);
    world.take();
    world.until(|world| (names(&world.events) == ["early", "frames", "connected"]).then_some(()));
}
