//! HTTP/1.1: what its connections carry.

use super::*;

#[test]
fn a_request_is_told_and_answered() {
    for secure in [false, true] {
        let mut world = if secure { World::secure(|_| {}) } else { World::plain(|_| {}) };
        let mut client = match secure {
            true => Client::secure(&world, &[b"http/1.1"]),
            false => Client::plain(&world),
        };
        client.send("GET /path%20x?q=1 HTTP/1.1\r\nHost: here\r\nX-Some: a\r\nX-Some: b\r\n\r\n");
        let (exchange, request) = world.request_of(&mut client);
        assert_eq!(request.version, Version::Http11);
        assert_eq!((&*request.method, &*request.target), (&b"GET"[..], &b"/path%20x?q=1"[..]));
        assert_eq!((request.secure, request.ended, request.early), (secure, true, false));
        assert_eq!((field(&request, "host"), field(&request, "x-some")), (Some("here"), Some("a")));
        assert_eq!(request.fields.len(), 3);
        let connection = world.connection().unwrap();
        assert!(world.server.is_http(connection));
        assert_eq!(world.server.alpn(connection), secure.then(|| b"http/1.1".to_vec()));
        assert!(world.server.remote(connection).is_some());
        assert!(!world.server.is_unix(connection));
        assert_eq!((world.server.open_lanes(), world.server.open_exchanges()), (0, 1));
        world.reply(exchange, head(200, &[("content-type", "text/plain")], "hello", true));
        let text = world.read_answer(&mut client);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nhello"), "{text}");
        for line in ["content-type: text/plain\r\n", "content-length: 5\r\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(text.matches("date: ").count(), 1, "{text}");
        assert!(!text.contains("server:"), "{text}");
        assert!(world.saw(|event| matches!(event, HttpEvent::Answered { .. })));
        assert_eq!(world.server.open_exchanges(), 0);
    }
}

#[test]
fn connections_are_kept_alive_and_pipelined() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET /0 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3));
    for body in ["first", "second", "third"] {
        let (exchange, _) = world.request_of(&mut client);
        assert_eq!(world.server.open_exchanges(), 1, "one after the other");
        world.answer(exchange, 200, body);
        let text = world.read_answer(&mut client);
        assert!(text.ends_with(body), "{text}");
    }
    client.send("GET /1 HTTP/1.0\r\n\r\n");
    let (exchange, request) = world.request_of(&mut client);
    assert_eq!(request.version, Version::Http10);
    world.answer(exchange, 404, "last");
    let text = world.read_all(&mut client);
    assert!(text.starts_with("HTTP/1.0 404 Not Found\r\n") && text.ends_with("last"), "{text}");
    world.until(|world| (world.server.open_connections() == 0).then_some(()));
}

#[test]
fn a_whole_answer_leaves_in_one_write() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.answer(exchange, 200, "body");
    world.turn();
    let mut buffer = [0; 4096];
    let count = client.socket.read(&mut buffer).unwrap();
    assert!(whole(&buffer[..count]).is_some());
}

#[test]
fn bodies_go_both_ways_in_chunks() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let (exchange, request) = world.request_of(&mut client);
    assert!(!request.ended);
    client.send("3\r\nabc\r\n");
    world.until(|world| (world.bodies.get(&exchange)? == b"abc").then_some(()));
    world.reply(exchange, head(200, &[], "", false));
    world.reply(exchange, body("one", false));
    let text = world.read(&mut client, |got| got.ends_with(b"3\r\none\r\n"));
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\r\ntransfer-encoding: chunked\r\n"), "{text}");
    client.send("4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(world.whole_body(&mut client, exchange), b"abcdefg");
    world.reply(exchange, body("two", true));
    let text = world.read(&mut client, |got| got.ends_with(b"0\r\n\r\n"));
    assert_eq!(text, b"3\r\ntwo\r\n0\r\n\r\n");
    assert!(world.answered(exchange));
}

#[test]
fn a_body_comes_as_it_is_wanted_and_holds_its_peer_up() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = Client::plain(&world);
    let sent = vec![7; 8 << 20];
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", sent.len()));
    client.send(&sent);
    let (exchange, _) = world.request_of(&mut client);
    for _ in 0..300 {
        client.pump();
        world.turn();
    }
    // One piece is given unasked.
    let pieces = |world: &World| {
        let of_body = |event: &&Event| matches!(event, Event::Http(HttpEvent::Body { .. }));
        world.events.iter().filter(of_body).count()
    };
    assert_eq!(pieces(&world), 1);
    assert!(client.waiting.len() > 1 << 20, "the client is held up: {}", client.waiting.len());
    for asked in 2..6 {
        world.server.http_want_body(exchange);
        world.server.http_want_body(exchange);
        world.until(|world| {
            client.pump();
            (pieces(world) == asked).then_some(())
        });
    }
    world.greedy = true;
    world.server.http_want_body(exchange);
    assert_eq!(world.whole_body(&mut client, exchange).len(), sent.len());
    world.answer(exchange, 200, "got it");
    assert!(world.read_answer(&mut client).ends_with("got it"));
}

#[test]
fn a_body_that_nobody_reads_does_not_harm_the_next_request() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = Client::plain(&world);
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12345";
    client.send(request.repeat(2));
    for _ in 0..2 {
        let (exchange, _) = world.request_of(&mut client);
        world.answer(exchange, 200, "no, thanks");
        assert!(world.read_answer(&mut client).ends_with("no, thanks"));
    }
    // One that is too long to be read past ends the connection.
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n12345");
    let (exchange, _) = world.request_of(&mut client);
    world.answer(exchange, 200, "no, thanks");
    assert!(world.read_all(&mut client).ends_with("no, thanks"));
}

#[test]
fn the_peer_is_told_to_go_on_when_its_body_is_wanted() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    client.send(head);
    let (exchange, _) = world.request_of(&mut client);
    world.rest();
    client.pump();
    assert_eq!(client.got, b"");
    world.server.http_want_body(exchange);
    world.read(&mut client, |got| got == b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(world.whole_body(&mut client, exchange), b"abc");
    world.answer(exchange, 200, "thanks");
    assert!(world.read_answer(&mut client).starts_with("HTTP/1.1 200"));
    // One that is answered without is not told.
    client.send(head);
    let (exchange, _) = world.request_of(&mut client);
    world.answer(exchange, 413, "too much");
    assert!(world.read_answer(&mut client).starts_with("HTTP/1.1 413"));
}

#[test]
fn hints_come_before_the_answer() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    let hint = || Reply::Inform { status: 103, fields: lines(&[("link", "</style.css>")]) };
    world.reply(exchange, hint());
    let text = world.read(&mut client, |got| got.ends_with(b"\r\n\r\n"));
    assert_eq!(text, b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    world.answer(exchange, 200, "page");
    assert!(world.read_answer(&mut client).ends_with("page"));
    client.send("GET / HTTP/1.0\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, hint());
    world.answer(exchange, 200, "page");
    assert!(world.read_all(&mut client).starts_with("HTTP/1.0 200 OK"));
}

#[test]
fn trailers_follow_the_body_of_those_who_take_them() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, head(200, &[("trailer", "x-sum")], "data", false));
    world.reply(exchange, Reply::Trailers { fields: lines(&[("x-sum", "42")]) });
    let text = world.read(&mut client, |got| got.ends_with(b"\r\n\r\n") && got.contains(&b'4'));
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("4\r\ndata\r\n0\r\nx-sum: 42\r\n\r\n"), "{text}");
    assert!(world.answered(exchange));
}

#[test]
fn answers_without_a_body_have_none() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    for (method, status, fields, end) in [
        ("HEAD", 200, &[("content-length", "12")][..], true),
        ("HEAD", 200, &[("content-length", "12")][..], false),
        ("HEAD", 200, &[][..], true),
        ("GET", 204, &[][..], true),
        ("GET", 304, &[("etag", "x")][..], false),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"));
        let (exchange, _) = world.request_of(&mut client);
        world.reply(exchange, head(status, fields, "twelve bytes", end));
        if !end {
            world.reply(exchange, body(" and more", true));
        }
        let text = world.read(&mut client, |got| got.ends_with(b"\r\n\r\n"));
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert_eq!(text.contains("content-length: 12\r\n"), method == "HEAD", "{text}");
        world.until(|world| world.answered(exchange).then_some(()));
        assert_eq!(client.got, b"");
    }
}

/// A file with a mebibyte of something.
pub(super) fn some_file() -> (std::fs::File, Vec<u8>) {
    let path = std::env::temp_dir().join(format!(
        "jetstream-http-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let content: Vec<u8> = (0..1_u32 << 20).map(|index| (index / 7) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    (file, content)
}

#[test]
fn parts_of_files_are_sent() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    let (file, content) = some_file();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, head(206, &[("content-length", "1000000")], "", false));
    let part = Reply::File { file: file.try_clone().unwrap(), offset: 100, length: 1_000_000 };
    world.reply(exchange, part);
    let got = world.read(&mut client, |got| got.len() > 1_000_000);
    assert!(got.ends_with(&content[100..1_000_100]));
    world.until(|world| world.answered(exchange).then_some(()));
    // One that is shorter than it was said to be cannot be completed.
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, head(200, &[("content-length", "2000000")], "", false));
    world.reply(exchange, Reply::File { file, offset: 0, length: 2_000_000 });
    let got = world.read(&mut client, |_| false);
    assert!(client.ended && got.len() < 2_000_000);
}

#[test]
fn a_connection_becomes_a_tunnel() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nahead",
    );
    let (exchange, request) = world.request_of(&mut client);
    assert_eq!(request.protocol.as_deref(), Some(&b"websocket"[..]));
    assert!(request.ended);
    // A refused agreement can be repeated.
    let wrong = Reply::Tunnel { fields: lines(&[("x-name", "a\r\nb: c")]) };
    let refused = world.server.http_reply(exchange, wrong).unwrap_err();
    assert_eq!(refused, ReplyError::Field("x-name".to_owned()));
    world.reply(exchange, Reply::Tunnel { fields: lines(&[("sec-websocket-protocol", "chat")]) });
    let text = world.read(&mut client, |got| got.ends_with(b"\r\n\r\n"));
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "sec-websocket-protocol: chat\r\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    world.until(|world| (world.bodies.get(&exchange)? == b"ahead").then_some(()));
    client.send(" and behind");
    world.until(|world| (world.bodies.get(&exchange)? == b"ahead and behind").then_some(()));
    world.reply(exchange, body("to you", false));
    assert_eq!(world.read(&mut client, |got| got.len() == 6), b"to you");
    // What is sent before the end is not lost with it.
    client.send(" bye");
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(world.whole_body(&mut client, exchange), b"ahead and behind bye");
    assert!(!world.gone(exchange));
    world.reply(exchange, body("bye", true));
    assert_eq!(world.read_all(&mut client), "bye");
    assert!(world.answered(exchange));
    world.until(|world| (world.server.open_connections() == 0).then_some(()));
}

#[test]
fn a_handshake_has_no_body() {
    for body in ["content-length: 5", "transfer-encoding: chunked"] {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {body}\r\n\r\n"
        ));
        let text = world.read_all(&mut client);
        assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
        assert!(world.next_request().is_none());
    }
}

#[test]
fn replies_that_cannot_be_sent_are_refused() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    let refused = |world: &mut World, reply| world.server.http_reply(exchange, reply).unwrap_err();
    let wrong = head(200, &[("x-name", "a\r\nb: c")], "", true);
    assert_eq!(refused(&mut world, wrong), ReplyError::Field("x-name".to_owned()));
    let wrong = head(200, &[("na me", "a")], "", true);
    assert_eq!(refused(&mut world, wrong), ReplyError::Field("na me".to_owned()));
    for status in [99, 103, 101, 1000] {
        assert_eq!(refused(&mut world, head(status, &[], "", true)), ReplyError::Status(status));
    }
    assert_eq!(refused(&mut world, body("x", true)), ReplyError::NotBegun);
    let tunnel = Reply::Tunnel { fields: Fields::default() };
    assert_eq!(refused(&mut world, tunnel), ReplyError::NotAsked);
    world.reply(exchange, head(200, &[], "", false));
    assert_eq!(refused(&mut world, head(200, &[], "", true)), ReplyError::Begun);
    world.reply(exchange, body("x", true));
    assert!(
        world.read(&mut client, |got| got.ends_with(b"0\r\n\r\n")).starts_with(b"HTTP/1.1 200")
    );
    // Nobody waits for more.
    world.reply(exchange, body("x", true));
}

#[test]
fn what_the_peer_does_not_take_waits_with_its_owner() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, head(200, &[], "", false));
    assert!(!world.server.http_watch(exchange));
    let mut given = 0;
    // Whoever watches what is unsent gives no more than the network and the bounds take.
    while world.server.http_unsent(exchange) <= 256 << 10 {
        world.reply(exchange, body(vec![1; 100_000], false));
        given += 100_000;
        world.turn();
        assert!(given < 64 << 20, "held up");
    }
    assert!(world.server.http_watch(exchange));
    world.rest();
    let drained = |event: &HttpEvent| matches!(event, HttpEvent::Drained { .. });
    assert!(!world.saw(drained));
    let got = std::cell::Cell::new(0);
    world.until(|world| {
        client.pump();
        got.set(got.get() + std::mem::take(&mut client.got).len());
        world.saw(drained).then_some(())
    });
    world.reply(exchange, body("", true));
    world.until(|world| {
        client.pump();
        got.set(got.get() + std::mem::take(&mut client.got).len());
        (got.get() > given && world.answered(exchange)).then_some(())
    });
}

#[test]
fn the_end_of_a_body_is_sent_however_full_the_way_was_when_it_was_given() {
    let mut world = World::plain(|_| {});
    // Somewhere among these hyper has taken the last piece, and has no room for the end.
    for pieces in 1..=96 {
        let mut client = Client::plain(&world);
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (exchange, _) = world.request_of(&mut client);
        world.reply(exchange, head(200, &[], "", false));
        for _ in 0..pieces {
            world.reply(exchange, body(vec![b'x'; 64 << 10], false));
            world.turn();
        }
        world.reply(exchange, body("", true));
        world.turn();
        let text = world.read_all(&mut client);
        assert!(text.ends_with("x\r\n0\r\n\r\n"), "after {pieces} pieces: {:?}", text.get(..200));
    }
}
