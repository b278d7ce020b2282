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
        let (exchange, request) = world.until(|world| {
            client.pump();
            world.turn();
            let asked = world.saw(|event| matches!(event, HttpEvent::Request { .. }));
            asked.then(|| world.request())
        });
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
