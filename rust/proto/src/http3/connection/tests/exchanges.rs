//! Requests and responses, well formed and not.

use super::*;

#[test]
fn a_request_is_told_as_it_comes() {
    let mut server = End::server();
    let fields = [&POST[..], &[("content-length", "8")]].concat();
    let bytes = [
        frame(0x21, b"padding"),
        headers(&fields),
        data(b"hello"),
        frame(0x40, &[]),
        data(b""),
        data(b"you"),
        headers(&[("checksum", "1")]),
        frame(0x5f, &[1, 2]),
    ]
    .concat();
    server.whole(0, &bytes);
    let trailers: Fields = [("checksum", "1")].into_iter().collect();
    let expected = [
        request(0, &fields, false),
        content(0, b"hello"),
        content(0, b"you"),
        Event::Trailers { stream: 0, fields: trailers },
        Event::Ended { stream: 0 },
    ];
    assert_eq!(server.events(), expected);
    // RFC 9114, section 4.1: one without content is complete at once.
    server.whole(4, &headers(&GET));
    assert_eq!(server.events(), [request(4, &GET, true)]);
}

#[test]
fn pieces_of_any_size_make_the_same_message() {
    let fields = [&POST[..], &[("cookie", "a=1"), ("x", "a rather long value, of words")]].concat();
    let bytes = [headers(&fields), data(&[b'x'; 200]), headers(&[("a", "b")])].concat();
    for size in 1..bytes.len() {
        let mut server = End::server();
        server.connection.opened(0);
        let (mut held, mut events) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            server.send(0, piece);
            for event in server.events() {
                match event {
                    Event::Data { bytes, .. } => held.extend_from_slice(&bytes),
                    other => events.push(other),
                }
            }
        }
        server.connection.finished(0);
        events.extend(server.events());
        assert_eq!(held, [b'x'; 200]);
        assert_eq!(events[0], request(0, &fields, false), "pieces of {size}");
        assert!(matches!(events[1..], [Event::Trailers { .. }, Event::Ended { .. }]));
    }
}

#[test]
fn malformed_requests_are_of_their_stream() {
    // RFC 9114, section 4.1.2. The rules themselves are tested with `head`.
    for (bytes, what) in [
        (headers(&GET[..3]), "section 4.3.1: no :path"),
        (headers(&[&GET[..], &[("Upper", "x")]].concat()), "section 4.2: uppercase"),
        (headers(&[&GET[..], &[("connection", "close")]].concat()), "section 4.2: of a connection"),
        (headers(&[&GET[..], &[("a", "b\r\nc: d")]].concat()), "section 10.3: line ends"),
        ([headers(&POST), headers(&[(":path", "/")])].concat(), "section 4.3: in trailers"),
        ([headers(&POST), headers(&GET)].concat(), "section 4.1: a second request"),
    ] {
        let mut server = End::server();
        server.open(0, &bytes);
        assert_eq!(failed(&mut server, 0), Code::MESSAGE_ERROR, "{what}");
        assert_eq!(server.connection.open_requests(), 0);
        server.send(0, &data(b"x"));
        server.connection.finished(0);
        assert_eq!(server.events(), [], "nothing more of it is told");
        server.others_are_unharmed();
    }
    // Extended CONNECT that was not announced (RFC 9220, section 3).
    let mut server = End::settled(Role::Server, Config::default());
    server.open(0, &headers(&extended("websocket")));
    assert_eq!(failed(&mut server, 0), Code::MESSAGE_ERROR);
}

#[test]
fn malformed_responses_are_of_their_stream() {
    for (bytes, what) in [
        (headers(&[("a", "b")]), "section 4.3.2: no :status"),
        (headers(&[(":status", "101")]), "section 4.5"),
        ([headers(&OK), headers(&OK)].concat(), "section 4.1: a second final response"),
        (headers(&[(":status", "200"), ("te", "trailers")]), "section 4.2"),
    ] {
        let mut client = End::client(&[&GET, &GET]);
        client.send(0, &bytes);
        assert_eq!(failed(&mut client, 0), Code::MESSAGE_ERROR, "{what}");
        client.send(4, &headers(&OK));
        let response = Event::Response { stream: 4, head: response(&OK), ended: false };
        assert_eq!(client.events(), [response], "the other request is unharmed");
    }
}

#[test]
fn messages_that_end_too_early() {
    // RFC 9114, section 4.1: a request that is none.
    for bytes in [&[][..], &frame(0x21, b"padding")] {
        let mut server = End::server();
        server.whole(0, bytes);
        assert_eq!(server.actions(), [Action::Reset(0, Code::REQUEST_INCOMPLETE)]);
        assert_eq!(server.events(), []);
        server.others_are_unharmed();
    }
    // Section 4.1.2: a response that is none, or only interim.
    for bytes in [vec![], headers(&[(":status", "103")])] {
        let mut client = End::client(&[&GET]);
        client.send(0, &bytes);
        client.connection.finished(0);
        assert_eq!(failed(&mut client, 0), Code::MESSAGE_ERROR);
    }
}

#[test]
fn content_is_as_long_as_it_says() {
    // RFC 9114, section 4.1.2.
    let with = |length| headers(&[&POST[..], &[("content-length", length)]].concat());
    for (length, content, is_fine) in [
        ("0", vec![], true),
        ("3", data(b"abc"), true),
        ("3", [data(b"a"), data(b""), data(b"bc")].concat(), true),
        ("3", vec![], false),
        ("3", data(b"ab"), false),
        ("3", data(b"abcd"), false),
        ("0", data(b"a"), false),
        ("3", [data(b"abc"), data(b"d")].concat(), false),
        ("3", [data(b"ab"), headers(&[("a", "b")])].concat(), false),
    ] {
        let mut server = End::server();
        server.whole(0, &[with(length), content.clone()].concat());
        if is_fine {
            assert_eq!(server.actions(), []);
            continue;
        }
        assert_eq!(failed(&mut server, 0), Code::MESSAGE_ERROR, "{length} {content:?}");
        server.others_are_unharmed();
    }
    // Too much of it is seen from the frame's length alone, before any of it is told.
    let mut server = End::server();
    server.open(0, &[with("3"), vec![0, 4]].concat());
    assert_eq!(failed(&mut server, 0), Code::MESSAGE_ERROR);
    let none = |length, content: &[u8]| {
        let mut client = End::client(&[&POST]);
        let head = headers(&[(":status", "200"), ("content-length", length)]);
        client.send(0, &[&head[..], content].concat());
        client.connection.finished(0);
        client
            .actions()
            .iter()
            .any(|action| matches!(action, Action::Reset(0, Code::MESSAGE_ERROR)))
    };
    assert!(none("3", b"") && none("3", &data(b"ab")) && none("3", &data(b"abcd")));
    assert!(!none("3", &data(b"abc")));
}

#[test]
fn responses_without_content() {
    // RFC 9114, section 4.1.2; RFC 9110, section 6.4.1: whatever they say of their length.
    const HEAD: [(&str, &str); 4] =
        [(":method", "HEAD"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
    for (method, status) in [(&HEAD, "200"), (&GET, "204"), (&GET, "304")] {
        let head = [(":status", status), ("content-length", "5")];
        let mut client = End::client(&[method]);
        client.send(0, &headers(&head));
        client.connection.finished(0);
        assert_eq!(
            client.events(),
            [Event::Response { stream: 0, head: response(&head), ended: true }]
        );
        let mut client = End::client(&[method]);
        client.send(0, &[headers(&head), data(b"hello")].concat());
        assert_eq!(failed(&mut client, 0), Code::MESSAGE_ERROR, "{status}");
        let mut client = End::client(&[method]);
        client.send(0, &[headers(&head), data(b"")].concat());
        assert_eq!(client.actions(), [], "an empty frame is no content");
    }
    // RFC 9110, section 9.3.6: the length of a tunnel is nobody's.
    let mut client = End::client(&[&CONNECT]);
    client.send(
        0,
        &[headers(&[(":status", "200"), ("content-length", "1")]), data(b"hello")].concat(),
    );
    client.connection.finished(0);
    assert_eq!(client.actions(), []);
    let mut server = End::server();
    server.whole(
        0,
        &[headers(&[&CONNECT[..], &[("content-length", "1")]].concat()), data(b"hello")].concat(),
    );
    assert_eq!(server.actions(), []);
}

#[test]
fn interim_responses_come_before_the_final_one() {
    // RFC 9114, section 4.1.
    let mut client = End::client(&[&GET]);
    let hints = [(":status", "103"), ("link", "</a>")];
    client.send(
        0,
        &[headers(&hints), headers(&[(":status", "100")]), headers(&OK), data(b"x")].concat(),
    );
    client.connection.finished(0);
    let expected = [
        Event::Interim { stream: 0, head: response(&hints) },
        Event::Interim { stream: 0, head: response(&[(":status", "100")]) },
        Event::Response { stream: 0, head: response(&OK), ended: false },
        content(0, b"x"),
        Event::Ended { stream: 0 },
    ];
    assert_eq!(client.events(), expected);
}

#[test]
fn a_request_that_is_taken_back() {
    // RFC 9114, section 4.1.1. Before it is one, nobody hears of it.
    let mut server = End::server();
    server.open(0, &headers(&GET)[..3]);
    server.connection.reset(0, Code::REQUEST_CANCELLED);
    assert_eq!(server.actions(), [Action::Reset(0, Code::REQUEST_REJECTED)]);
    assert_eq!(server.events(), []);
    // Afterwards its owner does, and decides.
    server.open(4, &headers(&POST));
    server.connection.reset(4, Code::REQUEST_CANCELLED);
    assert_eq!(server.actions(), []);
    let gone = Event::Reset { stream: 4, code: Code::REQUEST_CANCELLED };
    assert_eq!(server.events(), [request(4, &POST, false), gone]);
    server.connection.abort(4, Code::REQUEST_CANCELLED);
    assert_eq!(server.actions(), [Action::Reset(4, Code::REQUEST_CANCELLED)]);
    // A response that nobody wants (RFC 9000, section 3.5: the same code).
    server.open(8, &headers(&POST));
    server.connection.stopped(8, Code(77));
    assert_eq!(
        server.actions(),
        [Action::Reset(8, Code(77)), Action::StopSending(8, Code::REQUEST_CANCELLED)]
    );
    assert_eq!(server.events()[1], Event::Stopped { stream: 8, code: Code(77) });
    assert_eq!(server.connection.open_requests(), 0);
    server.others_are_unharmed();
}

#[test]
fn a_response_that_is_broken_off() {
    let mut client = End::client(&[&POST, &POST]);
    // RFC 9114, section 4.1: what is left of the request is not wanted, the response comes.
    client.connection.stopped(0, Code::NO_ERROR);
    assert_eq!(client.actions(), [Action::Reset(0, Code::NO_ERROR)]);
    client.send(0, &headers(&OK));
    client.connection.finished(0);
    let stopped = Event::Stopped { stream: 0, code: Code::NO_ERROR };
    assert_eq!(
        client.events(),
        [stopped, Event::Response { stream: 0, head: response(&OK), ended: true }]
    );
    // Section 4.1.1: and if it does not, both sides end, never with the server's own code.
    client.connection.reset(4, Code::REQUEST_REJECTED);
    assert_eq!(client.actions(), [Action::Reset(4, Code::REQUEST_CANCELLED)]);
    assert_eq!(client.events(), [Event::Reset { stream: 4, code: Code::REQUEST_REJECTED }]);
    assert_eq!(client.connection.open_requests(), 0);
}

#[test]
fn what_comes_after_the_end_is_ignored() {
    let mut server = End::server();
    server.whole(0, &headers(&GET));
    server.connection.respond(0, 200, [("a", "b")], Content::None).unwrap();
    server.events();
    server.actions();
    server.connection.reset(0, Code::NO_ERROR);
    server.connection.stopped(0, Code::NO_ERROR);
    server.connection.finished(0);
    server.send(0, &data(b"x"));
    server.send(1234, b"never opened");
    assert_eq!((server.events(), server.actions()), (vec![], vec![]));
    // Nor does reading go on when it was stopped.
    server.open(4, &headers(&POST));
    server.connection.stop_reading(4, Code::NO_ERROR);
    server.send(4, &data(b"x"));
    server.connection.finished(4);
    assert_eq!(server.actions(), [Action::StopSending(4, Code::NO_ERROR)]);
    assert_eq!(server.events(), [request(4, &POST, false)]);
    server.connection.respond(4, 200, [("a", "b")], Content::None).unwrap();
    assert_eq!(server.connection.open_requests(), 0);
}
