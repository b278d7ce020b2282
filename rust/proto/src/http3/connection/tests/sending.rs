//! What the owner says, and what it may not.

use super::*;
use crate::http3::Misuse;

/// A server with requests on streams 0, 4, …, which are complete.
fn asked(requests: &[&[(&str, &str)]]) -> End {
    let mut server = End::server();
    for (stream, fields) in (0..).step_by(4).zip(requests) {
        server.whole(stream, &headers(fields));
    }
    server.events();
    server.actions();
    server
}

const HEAD: [(&str, &str); 4] =
    [(":method", "HEAD"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

/// All that was written to a stream, and whether it ended.
fn written(end: &mut End, stream: u64) -> (Vec<u8>, bool) {
    let (mut bytes, mut ended) = (Vec::new(), false);
    for action in end.actions() {
        match action {
            Action::Write(id, piece) if id == stream => bytes.extend_from_slice(&piece),
            Action::Finish(id) if id == stream => ended = true,
            other => panic!("{other:?}"),
        }
    }
    (bytes, ended)
}

#[test]
fn settings_are_the_first_that_is_sent() {
    // RFC 9114, section 6.2.1.
    let mut connection = Connection::new(Role::Server, Arc::new(config()));
    connection.go_away();
    assert_eq!(connection.poll_action(), Some(Action::OpenUni));
    assert_eq!(connection.poll_action(), None);
    connection.opened_uni(3);
    let expected = [
        vec![0],
        settings(&[(1, 0), (7, 0), (6, 65_536), (8, 1), (0x33, 1)]),
        frame(kind::GOAWAY, &[0]),
    ];
    assert_eq!(connection.poll_action(), Some(Action::Write(3, expected.concat().into())));
    connection.opened_uni(7);
    assert_eq!(connection.poll_action(), None, "once");
}

#[test]
fn a_response_in_one_write() {
    let mut server = asked(&[&GET, &GET, &GET]);
    let fields = [("Content-Type", "text/plain"), ("x-a", " b "), ("content-length", "5")];
    let sent =
        [(":status", "200"), ("content-type", "text/plain"), ("x-a", "b"), ("content-length", "5")];
    // RFC 9114, section 4.2: names become lower case.
    server.connection.respond(0, 200, fields, Content::Whole("hello".into())).unwrap();
    let actions = server.actions();
    let expected = Bytes::from([headers(&sent), data(b"hello")].concat());
    assert_eq!(actions, [Action::Write(0, expected), Action::Finish(0)]);
    // Large content is not copied.
    let large = Bytes::from(vec![7; 2000]);
    server.connection.respond(4, 200, [("a", "b")], Content::Whole(large.clone())).unwrap();
    let actions = server.actions();
    let [Action::Write(4, head), Action::Write(4, rest), Action::Finish(4)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(rest.as_ptr(), large.as_ptr());
    let mut expected = headers(&[(":status", "200"), ("a", "b")]);
    frame::header(kind::DATA, 2000, &mut expected);
    assert_eq!(head, &expected);
    server.connection.respond(8, 404, [("a", "b")], Content::None).unwrap();
    assert_eq!(written(&mut server, 8), (headers(&[(":status", "404"), ("a", "b")]), true));
    assert_eq!(server.connection.open_requests(), 0);
}

#[test]
fn a_response_piece_by_piece() {
    let mut server = asked(&[&GET]);
    let connection = &mut server.connection;
    connection.inform(0, 103, [("link", "</a>")]).unwrap();
    connection.respond(0, 200, [("a", "b")], Content::Follows).unwrap();
    connection.data(0, "one".into(), false).unwrap();
    connection.data(0, Bytes::new(), false).unwrap();
    connection.data(0, "two".into(), false).unwrap();
    connection.trailers(0, [("c", "d")]).unwrap();
    let expected = [
        headers(&[(":status", "103"), ("link", "</a>")]),
        headers(&[(":status", "200"), ("a", "b")]),
        data(b"one"),
        data(b"two"),
        headers(&[("c", "d")]),
    ];
    assert_eq!(written(&mut server, 0), (expected.concat(), true), "and no empty frame");
}

#[test]
fn nothing_malformed_is_sent() {
    // RFC 9114, sections 4.1.2, 4.2 and 10.3.
    for fields in [
        [("a", "b\r\nc: d")],
        [("a", "\0")],
        [("a b", "c")],
        [("", "c")],
        [("a:", "c")],
        [(":status", "200")],
        [(":path", "/")],
        [("content-length", "+1")],
        [("etag", "\n.")],
    ] {
        let mut server = asked(&[&GET]);
        let refused = server.connection.respond(0, 200, fields, Content::Follows);
        assert!(matches!(refused, Err(Misuse::Malformed(_))), "{fields:?}: {refused:?}");
        assert_eq!(server.actions(), [], "nothing is sent");
        server.connection.respond(0, 500, [("a", "b")], Content::None).unwrap();
    }
    // What HTTP/1.1 would say of its connection is left out.
    let mut server = asked(&[&GET]);
    let fields = [
        ("Connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "1"),
        ("te", "x"),
        ("a", "b"),
    ];
    server.connection.respond(0, 200, fields, Content::None).unwrap();
    assert_eq!(written(&mut server, 0), (headers(&[(":status", "200"), ("a", "b")]), true));
    for status in [0, 99, 100, 199, 1000] {
        let mut server = asked(&[&GET]);
        let refused = server.connection.respond(0, status, [("a", "b")], Content::None);
        assert!(matches!(refused, Err(Misuse::State(_))));
    }
    // Section 4.5: no 101.
    for status in [99, 101, 200] {
        let mut server = asked(&[&GET]);
        assert!(matches!(server.connection.inform(0, status, [("a", "b")]), Err(Misuse::State(_))));
    }
}

#[test]
fn lengths_are_kept_to() {
    // RFC 9114, section 4.1.2.
    let length = [("content-length", "5")];
    for content in [Content::None, Content::Whole("four".into()), Content::Whole("sixsix".into())] {
        let mut server = asked(&[&GET]);
        assert_eq!(server.connection.respond(0, 200, length, content), Err(Misuse::ContentLength));
        assert_eq!(server.actions(), []);
    }
    let mut server = asked(&[&GET]);
    let connection = &mut server.connection;
    connection.respond(0, 200, length, Content::Follows).unwrap();
    assert_eq!(connection.data(0, "sixsix".into(), false), Err(Misuse::ContentLength));
    connection.data(0, "two".into(), false).unwrap();
    assert_eq!(connection.data(0, Bytes::new(), true), Err(Misuse::ContentLength));
    assert_eq!(connection.trailers(0, [("a", "b")]), Err(Misuse::ContentLength));
    connection.data(0, "to".into(), true).unwrap();
    // Said twice is sent once; said differently is not.
    let mut server = asked(&[&GET, &GET]);
    let twice = [("content-length", "1"), ("Content-Length", "1")];
    server.connection.respond(0, 200, twice, Content::Whole("x".into())).unwrap();
    let expected = [headers(&[(":status", "200"), ("content-length", "1")]), data(b"x")].concat();
    assert_eq!(written(&mut server, 0), (expected, true));
    let unequal = [("content-length", "1"), ("content-length", "2")];
    let refused = server.connection.respond(4, 200, unequal, Content::Follows);
    assert_eq!(refused, Err(Misuse::ContentLength));
}

#[test]
fn content_that_cannot_be_is_left_out() {
    // RFC 9110, sections 6.4.1 and 8.6.
    for (method, status, sent) in [
        (&HEAD, 200, vec![(":status", "200"), ("content-length", "5")]),
        (&GET, 304, vec![(":status", "304"), ("content-length", "5")]),
        (&GET, 204, vec![(":status", "204")]),
    ] {
        let fields = [("content-length", "5")];
        let mut server = asked(&[method, method]);
        server.connection.respond(0, status, fields, Content::Whole("hello".into())).unwrap();
        assert_eq!(written(&mut server, 0), (headers(&sent), true));
        server.connection.respond(4, status, fields, Content::Follows).unwrap();
        server.connection.data(4, "hello".into(), false).unwrap();
        server.connection.trailers(4, [("a", "b")]).unwrap();
        assert_eq!(written(&mut server, 4), (headers(&sent), true));
    }
    // RFC 9110, section 9.3.6: a tunnel has no length, and section 4.4: no trailers.
    let mut server = End::server();
    server.open(0, &headers(&CONNECT));
    server.connection.respond(0, 200, [("content-length", "0")], Content::Follows).unwrap();
    server.connection.data(0, "hello".into(), false).unwrap();
    assert!(matches!(server.connection.trailers(0, [("a", "b")]), Err(Misuse::State(_))));
    assert_eq!(written(&mut server, 0), ([headers(&OK), data(b"hello")].concat(), false));
}

#[test]
fn commands_out_of_order_are_refused() {
    let mut server = asked(&[&GET]);
    let connection = &mut server.connection;
    assert_eq!(connection.respond(4, 200, [("a", "b")], Content::None), Err(Misuse::Gone(4)));
    assert!(matches!(connection.data(0, "x".into(), true), Err(Misuse::State(_))));
    assert!(matches!(connection.trailers(0, [("a", "b")]), Err(Misuse::State(_))));
    connection.respond(0, 200, [("a", "b")], Content::Follows).unwrap();
    assert!(matches!(
        connection.respond(0, 200, [("a", "b")], Content::None),
        Err(Misuse::State(_))
    ));
    assert!(matches!(connection.inform(0, 103, [("a", "b")]), Err(Misuse::State(_))));
    connection.data(0, Bytes::new(), true).unwrap();
    assert_eq!(connection.data(0, "x".into(), true), Err(Misuse::Gone(0)));
    let head = RequestHead::new(GET.into_iter().collect(), true).unwrap();
    assert!(matches!(connection.request(4, &head, Content::None), Err(Misuse::State(_))));
    let mut client = End::client(&[&GET]);
    assert!(matches!(client.connection.request(0, &head, Content::None), Err(Misuse::State(_))));
    assert!(matches!(client.connection.request(5, &head, Content::None), Err(Misuse::State(_))));
    assert!(matches!(
        client.connection.respond(0, 200, [("a", "b")], Content::None),
        Err(Misuse::State(_))
    ));
    // Section 4.1: a request whose peer has stopped it can still be answered.
    client.connection.data(0, Bytes::new(), true).unwrap();
    assert!(matches!(client.connection.data(0, "x".into(), false), Err(Misuse::State(_))));
}

#[test]
fn the_peers_limit_is_kept_to() {
    // RFC 9114, section 4.2.2. `:status` and its value are 42, `a` and `b` 34.
    let mut server = End::new(Role::Server, config());
    server.open(2, &[vec![0], settings(&[(0x06, 76)])].concat());
    server.whole(0, &headers(&GET));
    let refused = server.connection.respond(0, 200, [("a", "bc")], Content::None);
    assert_eq!(refused, Err(Misuse::TooLarge { size: 77, limit: 76 }));
    server.connection.respond(0, 200, [("a", "b")], Content::None).unwrap();
}
