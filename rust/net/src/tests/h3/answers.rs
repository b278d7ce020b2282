//! Requests and answers as they should be.

use super::*;
use crate::{ReplyError, Version};

#[test]
fn a_request_is_told_and_answered() {
    let mut world = World::new(|_| {});
    let head = head(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost:4433"),
        (":path", "/a%20b?c=d"),
        ("accept", "text/plain"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]);
    let id = world.ask(&head, Content::None);
    let (exchange, request) = world.request();
    assert_eq!(request.version, Version::Http3);
    assert_eq!(request.method, b"GET");
    assert_eq!(request.authority.as_deref(), Some(&b"localhost:4433"[..]));
    assert_eq!(request.target, b"/a%20b?c=d");
    assert!(request.secure && request.ended && !request.early && request.protocol.is_none());
    let fields: Vec<_> = request.fields.iter().collect();
    assert_eq!(fields, [(&b"accept"[..], &b"text/plain"[..]), (b"cookie", b"a=1; b=2")]);
    assert_eq!(world.pair.server.open_exchanges(), 1);
    let fields = lines(&[("Content-Type", "text/plain"), ("connection", "close")]);
    let body = Bytes::from_static(b"hello");
    world.reply(exchange, Reply::Head { status: 200, fields, body, end: true });
    let answer = world.answer(id);
    assert_eq!((answer.status, &answer.body[..]), (Some(200), &b"hello"[..]));
    assert_eq!(answer.field("content-type"), Some("text/plain"));
    assert_eq!(answer.field("content-length"), Some("5"));
    assert!(answer.field("date").is_some() && answer.field("connection").is_none());
    world.until(|world| world.answered(exchange).then_some(()));
    assert_eq!(world.pair.server.open_exchanges(), 0);
}

#[test]
fn an_answer_to_head_has_no_body_and_neither_have_204_and_304() {
    let mut world = World::new(|_| {});
    let id = world.ask(&asking("HEAD", "/"), Content::None);
    let (exchange, request) = world.request();
    assert_eq!(request.method, b"HEAD");
    world.reply(exchange, whole(200, "hello"));
    let answer = world.answer(id);
    assert_eq!((answer.body.len(), answer.field("content-length")), (0, Some("5")));
    // The owner need not know: what it gives in pieces goes nowhere, either.
    let id = world.ask(&asking("HEAD", "/"), Content::None);
    let (exchange, _) = world.request();
    world.reply(exchange, begins(200, &[("content-length", "1000")]));
    world.reply(exchange, body("abc", false));
    assert!(world.pair.server.http_unsent(exchange) < 200, "the head");
    world.reply(exchange, body("abc", true));
    let answer = world.answer(id);
    assert_eq!((answer.body.len(), answer.field("content-length")), (0, Some("1000")));
    for status in [204, 304] {
        let (id, exchange) = world.get("/");
        world.reply(exchange, whole(status, "gone"));
        let answer = world.answer(id);
        assert_eq!((answer.status, answer.body.len()), (Some(status), 0));
        assert_eq!(answer.field("content-length"), None);
    }
}

#[test]
fn early_hints_come_before_the_answer_and_trailers_behind_it() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    let fields = lines(&[("link", "</style.css>; rel=preload")]);
    world.reply(exchange, Reply::Inform { status: 103, fields });
    world.until(|world| {
        let answer = world.visitors[0].answers.get(&id);
        answer.filter(|answer| answer.interim == [103]).map(drop)
    });
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, body("abc", false));
    world.reply(exchange, Reply::Trailers { fields: lines(&[("x-sum", "1")]) });
    let answer = world.answer(id);
    assert_eq!((answer.status, &answer.body[..]), (Some(200), &b"abc"[..]));
    assert_eq!(answer.trailers, Some(vec![("x-sum".to_owned(), "1".to_owned())]));
    // Without any there is only an end.
    let (id, exchange) = world.get("/");
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, Reply::Trailers { fields: lines(&[]) });
    assert_eq!(world.answer(id).trailers, None);
}

#[test]
fn what_cannot_be_said_is_refused_and_the_answer_goes_on() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    let server = &mut world.pair.server;
    let inform = |status| Reply::Inform { status, fields: Fields::default() };
    let with = |fields: &[(&str, &str)]| begins(200, fields);
    for (reply, error) in [
        (whole(103, ""), ReplyError::Status(103)),
        (whole(1000, ""), ReplyError::Status(1000)),
        (inform(101), ReplyError::Status(101)),
        (inform(200), ReplyError::Status(200)),
        (body("early", false), ReplyError::NotBegun),
        (Reply::Trailers { fields: Fields::default() }, ReplyError::NotBegun),
        (Reply::Tunnel { fields: Fields::default() }, ReplyError::NotAsked),
        (with(&[("fine", "1"), ("x", "a\nb")]), ReplyError::Field("x".to_owned())),
        (with(&[("fine", "1"), ("a b", "")]), ReplyError::Field("a b".to_owned())),
        (with(&[(":status", "200")]), ReplyError::Field(":status".to_owned())),
    ] {
        assert_eq!(server.http_reply(exchange, reply), Err(error));
    }
    world.reply(exchange, begins(200, &[("content-length", "4")]));
    let server = &mut world.pair.server;
    assert_eq!(server.http_reply(exchange, whole(200, "")), Err(ReplyError::Begun));
    assert_eq!(server.http_reply(exchange, inform(103)), Err(ReplyError::Begun));
    for (data, end) in [("abc", true), ("abcde", false)] {
        assert_eq!(server.http_reply(exchange, body(data, end)), Err(ReplyError::Length));
    }
    world.reply(exchange, body("abcd", true));
    // What comes behind the end is nobody's.
    world.reply(exchange, body("more", true));
    assert_eq!(world.answer(id).body, b"abcd");
}

#[test]
fn a_file_is_sent_in_pieces() {
    let mut world = World::new(|_| {});
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let path = std::env::temp_dir().join(format!("h3-file-{}", std::process::id()));
    std::fs::write(&path, &content).unwrap();
    let open = || std::fs::File::open(&path).unwrap();
    let (id, exchange) = world.get("/");
    world.reply(exchange, begins(200, &[("content-length", "2999000")]));
    world.reply(exchange, Reply::File { file: open(), offset: 1000, length: 2_999_000 });
    let answer = world.answer(id);
    assert!(answer.body == content[1000..], "{} bytes", answer.body.len());
    world.until(|world| world.answered(exchange).then_some(()));
    // A part of one of which there is less than was said cannot be whole.
    let (id, exchange) = world.get("/");
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, Reply::File { file: open(), offset: 2_999_990, length: 20 });
    world.until(|world| world.visitors[0].answers.get(&id)?.reset.map(drop));
    world.until(|world| world.gone(exchange).then_some(()));
    // Nothing of one is an end.
    let (id, exchange) = world.get("/");
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, Reply::File { file: open(), offset: 0, length: 0 });
    assert_eq!(world.answer(id).body.len(), 0);
    std::fs::remove_file(&path).unwrap();
}

fn websocket() -> RequestHead {
    head(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ])
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_each_way_ends_by_itself() {
    let mut world = World::new(|_| {});
    let id = world.ask(&websocket(), Content::Follows);
    let (exchange, request) = world.request();
    assert_eq!(request.protocol.as_deref(), Some(&b"websocket"[..]));
    assert!(!request.ended && request.target == b"/chat");
    let fields = lines(&[("sec-websocket-accept", "x"), ("sec-websocket-protocol", "chat")]);
    world.reply(exchange, Reply::Tunnel { fields });
    world.reply(exchange, body("welcome", false));
    world.until(|world| {
        let answer = world.visitors[0].answers.get(&id)?;
        (answer.body == b"welcome").then_some(())
    });
    let answer = &world.visitors[0].answers[&id];
    assert_eq!(answer.status, Some(200));
    assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(
        (answer.field("sec-websocket-accept"), answer.field("content-length")),
        (None, None)
    );
    for word in ["one ", "two"] {
        world.visitors[0].core.data(id, word.into(), false).unwrap();
        world.rest();
    }
    assert_eq!(world.bodies[&exchange], b"one two");
    world.visitors[0].core.data(id, Bytes::new(), true).unwrap();
    world.until(|world| world.body_ended(exchange).then_some(()));
    world.reply(exchange, body("bye", true));
    assert_eq!(world.answer(id).body, b"welcomebye");
    world.until(|world| world.answered(exchange).then_some(()));
}

#[test]
fn a_tunnel_that_is_refused_is_answered_like_anything_else() {
    let mut world = World::new(|_| {});
    let id = world.ask(&websocket(), Content::Follows);
    let (exchange, _) = world.request();
    world.reply(exchange, whole(403, "no"));
    let answer = world.answer(id);
    assert_eq!((answer.status, &answer.body[..]), (Some(403), &b"no"[..]));
    // Nothing is reached through here.
    let plain = head(&[(":method", "CONNECT"), (":authority", "example.com:443")]);
    let id = world.ask(&plain, Content::Follows);
    assert_eq!(world.answer(id).status, Some(501));
    assert!(world.next_request().is_none());
}

#[test]
fn many_answers_leave_on_one_connection_and_many_connections_beside_each_other() {
    let many =
        |server: &mut ServerOptions| (server.max_connections, server.max_handshakes) = (50, 50);
    let mut world = World::with(|_| {}, many);
    let remote = world.pair.server.io().local_addr().unwrap();
    for _ in 0..20 {
        let options = world.pair.visiting.clone();
        let client = &mut world.pair.client;
        let key = client.connect(Instant::now(), remote, "localhost", options).unwrap();
        world.visitors.push(Visitor::new(key));
    }
    world.until(|world| {
        world.visitors.iter().all(|visitor| visitor.settings.is_some()).then_some(())
    });
    let mut asked = Vec::new();
    for visitor in 0..world.visitors.len() {
        for _ in 0..10 {
            asked.push((visitor, world.ask_of(visitor, &asking("GET", "/"), Content::None)));
        }
    }
    world.until(|world| {
        while let Some((exchange, _)) = world.next_request() {
            world.reply(exchange, whole(200, "hello"));
        }
        let whole = |(visitor, id): &(usize, u64)| {
            let answer = world.visitors[*visitor].answers.get(id);
            answer.is_some_and(|answer| answer.ended && answer.body == b"hello")
        };
        asked.iter().all(whole).then_some(())
    });
    assert_eq!(world.pair.server.open_exchanges(), 0);
    // Each is told of once.
    let told = |world: &World| {
        let keys = world.events.iter().filter_map(|event| match event {
            Event::Http(HttpEvent::Answered { exchange }) => Some(*exchange),
            _ => None,
        });
        keys.collect::<Vec<_>>()
    };
    let mut keys = world.until(|world| Some(told(world)).filter(|keys| keys.len() >= asked.len()));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), asked.len());
}
