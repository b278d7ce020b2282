//! What must not be taken from peers of HTTP/1.1.

use super::*;

#[test]
fn requests_that_others_may_read_otherwise_are_refused() {
    // Each is a way in which two servers see different requests (RFC 9112, section 11.2).
    let wrong = [
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "content-length: +3\r\n\r\nabc",
        "content-length: 3, 4\r\n\r\nabc",
        "content-length: 99999999999999999999\r\n\r\n",
        "content-length : 3\r\n\r\nabc",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "x-one: a\r\n b\r\n\r\n",
        "host: b\r\n\r\n",
        "na(me: a\r\n\r\n",
        "x-null: a\0b\r\n\r\n",
        "x-cr: a\rb\r\n\r\n",
    ];
    for fields in wrong {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}GET /next HTTP/1.1\r\n\r\n"));
        let text = world.read_all(&mut client);
        assert!(text.starts_with("HTTP/1.1 400 "), "{fields:?}: {text}");
        assert!(world.next_request().is_none());
    }
}

#[test]
fn a_host_has_to_be_named() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\n\r\n");
    let text = world.read_answer(&mut client);
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert!(world.next_request().is_none());
}

#[test]
fn a_websocket_has_a_key_of_16_bytes() {
    // RFC 6455, section 4.2.1.
    let wrong = [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25j*Q==",
    ];
    let asking = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    for key in wrong {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        client.send(format!("{asking}sec-websocket-key: {key}\r\n\r\n"));
        let text = world.read_all(&mut client);
        assert!(text.starts_with("HTTP/1.1 400 "), "{key:?}: {text}");
        assert!(world.next_request().is_none());
    }
    // Who does not ask for a WebSocket may say there what they want.
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nsec-websocket-key: short\r\n\r\n");
    assert_eq!(world.request_of(&mut client).1.protocol, None);
}

#[test]
fn chunked_overrides_a_length_and_the_connection_ends() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{both}GET /next HTTP/1.1\r\n\r\n"));
    let text = world.until(|world| {
        client.pump();
        if let Some((exchange, request)) = world.next_request() {
            assert_eq!(request.target, b"/");
            world.answer(exchange, 200, "first");
        }
        client.ended.then(|| String::from_utf8_lossy(&client.got).into_owned())
    });
    assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
}

#[test]
fn bad_chunks_end_the_connection() {
    for chunks in
        ["x\r\nabc\r\n", "3\r\nabcd\r\n", "-1\r\n", "fffffffffffffffff\r\n", "3;\n\r\nabc"]
    {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}{chunks}GET /next HTTP/1.1\r\n\r\n"));
        let (exchange, _) = world.request_of(&mut client);
        world.until(|world| {
            client.pump();
            (client.ended || world.gone(exchange)).then_some(())
        });
        assert!(!world.body_ended(exchange), "{chunks:?}");
        assert!(world.next_request().is_none());
    }
}

#[test]
fn heads_are_bounded() {
    let mut world = World::plain(|limits| limits.fields = 20);
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(20));
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(20_000));
    let endless = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(1 << 20));
    for request in [long, many, target, endless] {
        let mut client = Client::plain(&world);
        client.send(request);
        let text = world.read_all(&mut client);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        assert!(world.next_request().is_none());
    }
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    let mut answered = 0;
    let body = Bytes::from(vec![0; 100_000]);
    for _ in 0..2000 {
        client.waiting.extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let count = client.socket.write(&client.waiting).unwrap_or_default();
        client.waiting.drain(..count);
        world.turn();
        if let Some((exchange, _)) = world.next_request() {
            let (fields, body) = (Fields::default(), body.clone());
            world.reply(exchange, Reply::Head { status: 200, fields, body, end: true });
            answered += 1;
        }
        world.events.clear();
    }
    assert!(answered < 200, "{answered} answers of 100 kB were taken for nobody");
    assert!(world.server.unsent() < 1 << 20, "{}", world.server.unsent());
    // Another one is not harmed.
    let mut other = Client::plain(&world);
    other.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.until(|world| {
        other.pump();
        world.next_request().filter(|(_, request)| request.target == b"/other")
    });
    world.answer(exchange, 200, "well");
    assert!(world.read_answer(&mut other).ends_with("well"));
}

#[test]
fn nothing_is_reached_through_here() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n");
    let text = world.read_answer(&mut client);
    assert!(text.starts_with("HTTP/1.1 501 "), "{text}");
    assert!(world.next_request().is_none());
}

#[test]
fn what_a_proxy_may_read_otherwise_is_refused() {
    let codings = ["chunked, chunked", "gzip, chunked", "chunked\r\ntransfer-encoding: chunked"];
    let bodies = codings.map(|coding| {
        (format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"), 501)
    });
    let targets = ["foo", "foo.bar:80"]
        .map(|target| (format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"), 400));
    for (request, status) in bodies.into_iter().chain(targets) {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        client.send(&request);
        let text = world.read_all(&mut client);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{text}");
        assert!(world.next_request().is_none());
    }
}
