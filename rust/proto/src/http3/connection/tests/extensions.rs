//! Datagrams, priorities, extended CONNECT, and streams that are the owner's.

use super::*;
use crate::http3::{Misuse, datagram};

#[test]
fn datagrams_belong_to_extended_connect() {
    let mut server = End::server();
    server.open(0, &headers(&extended("connect-udp")));
    server.connection.datagram_received(datagram::encode(0, b"hello"));
    let expected = Event::Datagram { stream: 0, payload: Bytes::from_static(b"hello") };
    assert_eq!(server.events()[1], expected);
    server.connection.send_datagram(0, b"you").unwrap();
    assert_eq!(server.actions(), [Action::Datagram(datagram::encode(0, b"you"))]);
    // RFC 9297, section 2: any other request has none.
    server.open(4, &headers(&POST));
    server.connection.datagram_received(datagram::encode(4, b""));
    assert_eq!(failed(&mut server, 4), Code::DATAGRAM_ERROR);
    assert_eq!(server.connection.send_datagram(4, b""), Err(Misuse::Gone(4)));
    // Section 2.1: those of streams that have not come, are not known yet, or are over, are dropped.
    server.connection.datagram_received(datagram::encode(4, b"x"));
    server.connection.datagram_received(datagram::encode(4000, b"x"));
    server.open(8, &headers(&GET)[..3]);
    server.connection.datagram_received(datagram::encode(8, b"x"));
    server.send(8, &headers(&GET)[3..]);
    assert_eq!(server.events(), [request(8, &GET, false)]);
    server.connection.finished(0);
    server.connection.datagram_received(datagram::encode(0, b"x"));
    assert_eq!(server.events(), [Event::Ended { stream: 0 }]);
    // None is sent when our side has ended.
    server.connection.respond(0, 200, [("a", "b")], Content::Follows).unwrap();
    server.connection.send_datagram(0, b"x").unwrap();
    server.connection.data(0, Bytes::new(), true).unwrap();
    assert_eq!(server.connection.send_datagram(0, b"x"), Err(Misuse::Gone(0)));
    server.open(12, &headers(&extended("connect-udp")));
    server.connection.respond(12, 200, [("a", "b")], Content::None).unwrap();
    assert!(matches!(server.connection.send_datagram(12, b"x"), Err(Misuse::State(_))));
    server.others_are_unharmed();
}

#[test]
fn datagrams_that_come_before_their_request_are_told_where_that_is_wanted() {
    let early = Config { early_datagrams: true, ..config() };
    let mut server = End::settled(Role::Server, early.clone());
    let told = |stream| Event::Datagram { stream, payload: Bytes::from_static(b"x") };
    let mut come = |stream| {
        server.connection.datagram_received(datagram::encode(stream, b"x"));
        server.events()
    };
    assert_eq!(come(400), [told(400)]);
    server.open(0, &headers(&GET)[..3]);
    server.connection.datagram_received(datagram::encode(0, b"x"));
    assert_eq!(server.events(), [told(0)]);
    server.connection.abort(0, Code::REQUEST_CANCELLED);
    server.connection.datagram_received(datagram::encode(0, b"x"));
    assert_eq!(server.events(), [], "it is over");
    let mut client = End::settled(Role::Client, early);
    client.connection.datagram_received(datagram::encode(400, b"x"));
    assert_eq!(client.events(), [], "only we make requests");
}

#[test]
fn datagrams_that_cannot_be() {
    // RFC 9297, section 2.1.
    for bytes in [&b""[..], &[0x40], &[0xd0, 0, 0, 0, 0, 0, 0, 0]] {
        for role in [Role::Server, Role::Client] {
            let mut end = End::settled(role, config());
            end.connection.datagram_received(Bytes::copy_from_slice(bytes));
            assert_eq!(end.code(), Some(Code::DATAGRAM_ERROR));
        }
    }
    // Section 2.1.1: not before both ends have said so.
    let mut server = End::new(Role::Server, config());
    server.open(0, &headers(&extended("connect-udp")));
    let refused = Err(Misuse::NotNegotiated("datagrams"));
    assert_eq!(server.connection.send_datagram(0, b""), refused);
    let mut server = End::settled(Role::Server, Config::default());
    server.open(0, &headers(&POST));
    assert_eq!(server.connection.send_datagram(0, b""), refused);
    server.connection.datagram_received(Bytes::new());
    server.is_fine();
}

#[test]
fn settings_of_extensions_are_checked() {
    // RFC 9297, section 2.1.1; RFC 8441, section 3; RFC 9114, section 7.2.4.
    for pairs in [&[(0x33, 2)][..], &[(0x08, 2)], &[(0x02, 0)], &[(6, 1), (6, 1)]] {
        let mut server = End::new(Role::Server, config());
        server.open(2, &[vec![0], settings(pairs)].concat());
        assert_eq!(server.code(), Some(Code::SETTINGS_ERROR), "{pairs:?}");
    }
}

#[test]
fn extended_connect_waits_for_the_server() {
    // RFC 8441, section 3.
    let mut client = End::new(Role::Client, config());
    let head = RequestHead::new(extended("websocket").into_iter().collect(), true).unwrap();
    let refused = Err(Misuse::NotNegotiated("extended CONNECT"));
    assert_eq!(client.connection.request(0, &head, Content::Follows), refused);
    assert_eq!(client.connection.open_requests(), 0);
    client.open(3, &[vec![0], settings(&[(0x08, 1)])].concat());
    assert_eq!(client.connection.request(0, &head, Content::Follows), Ok(()));
}

fn update(stream: u64, value: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    varint::encode(stream, &mut payload);
    payload.extend(value.as_bytes());
    frame(kind::PRIORITY_UPDATE_REQUEST, &payload)
}

fn priority_of(event: &Event) -> (u64, u8) {
    match event {
        Event::Request { stream, priority, .. } | Event::Priority { stream, priority } => {
            (*stream, priority.urgency)
        }
        _ => panic!("{event:?}"),
    }
}

#[test]
fn priorities_come_with_the_request_and_later() {
    let mut server = End::server();
    let fields = [&POST[..], &[("priority", "u=5"), ("priority", "i")]].concat();
    server.open(0, &headers(&fields));
    let Some(Event::Request { priority, .. }) = server.events().pop() else { panic!() };
    assert_eq!(priority, Priority { urgency: 5, incremental: true });
    server.send(2, &update(0, "u=1"));
    assert_eq!(priority_of(&server.events()[0]), (0, 1));
    // RFC 9218, section 7: the last that was said before the request counts, not the field.
    server.send(2, &[update(4, "u=7"), update(4, "u=6")].concat());
    server.connection.opened(4);
    server.send(2, &update(4, "u=2"));
    assert_eq!(server.events(), []);
    server.whole(4, &headers(&fields));
    assert_eq!(priority_of(&server.events()[0]), (4, 2));
    // Of a request that is over: nothing.
    server.connection.respond(4, 200, [("a", "b")], Content::None).unwrap();
    server.send(2, &update(4, "u=0"));
    assert_eq!(server.events(), []);
    assert!(server.connection.priorities.is_empty());
    // Those of requests that never come are bounded, and the oldest goes first.
    for stream in (8..=248).step_by(4) {
        server.send(2, &update(stream, "u=0"));
    }
    assert_eq!(server.connection.priorities.len(), 16);
    server.whole(8, &headers(&GET));
    server.whole(248, &headers(&GET));
    let told: Vec<_> = server.events().iter().map(priority_of).collect();
    assert_eq!(told, [(8, 3), (248, 0)]);
    // RFC 9218, section 7.2: of what is no request.
    server.send(2, &update(5, "u=0"));
    assert_eq!(server.code(), Some(Code::ID_ERROR));
}

/// WebTransport's types of streams, before WebTransport.
fn foreign(role: Role) -> End {
    End::settled(role, Config { foreign_uni: vec![0x54], foreign_bidi: vec![0x41], ..config() })
}

#[test]
fn streams_of_the_owners_kinds_are_handed_over() {
    for (role, uni, bidi) in [(Role::Server, 6, 4), (Role::Client, 7, 1)] {
        for (stream, kind, bytes) in
            [(uni, 0x54, [0x40, 0x54, 0x44, 0x00]), (bidi, 0x41, [0x40, 0x41, 0x44, 0x00])]
        {
            let expected = |rest| Event::Foreign { stream, kind, value: 0x400, rest };
            let mut whole = foreign(role);
            whole.open(stream, &[&bytes[..], b"rest"].concat());
            assert_eq!(whole.events(), [expected(Bytes::from_static(b"rest"))]);
            // The connection has forgotten it.
            whole.send(stream, b"more");
            whole.connection.finished(stream);
            assert_eq!((whole.events(), whole.actions()), (vec![], vec![]));
            let mut pieces = foreign(role);
            pieces.connection.opened(stream);
            for byte in bytes {
                pieces.send(stream, &[byte]);
            }
            assert_eq!(pieces.events(), [expected(Bytes::new())]);
            // It may also never become one.
            let mut cut = foreign(role);
            cut.open(stream, &bytes[..2]);
            cut.connection.reset(stream, Code::NO_ERROR);
            cut.is_fine();
            assert_eq!(cut.events(), []);
        }
    }
}

#[test]
fn other_streams_are_not_affected_by_the_owners_kinds() {
    let mut server = foreign(Role::Server);
    server.others_are_unharmed();
    // Only at the beginning of a stream.
    for before in [headers(&POST), frame(0x21, &[])] {
        let mut server = foreign(Role::Server);
        server.open(0, &[&before[..], &[0x40, 0x41, 0]].concat());
        assert_eq!(server.code(), Some(Code::FRAME_ERROR));
    }
    // A server's stream is an extension's or none (RFC 9114, section 6.1).
    for bytes in [headers(&GET), frame(0x21, &[]), data(b"x")] {
        let mut client = foreign(Role::Client);
        client.open(1, &bytes);
        assert_eq!(client.code(), Some(Code::STREAM_CREATION_ERROR));
    }
    // Where it is not registered, 0x41 is a frame that nobody knows.
    let mut server = End::server();
    server.open(0, &[&[0x40, 0x41, 2, 9, 9][..], &headers(&GET)].concat());
    assert_eq!(server.events(), [request(0, &GET, false)]);
}
