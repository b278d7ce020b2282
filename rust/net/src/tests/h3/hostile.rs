//! What peers do wrong: a stream or the connection ends with the right code, and others go on.

use jetstream_proto::http3::{frame, qpack, varint};

use super::*;

/// A HEADERS frame.
pub(super) fn headers(fields: &[(&str, &str)]) -> Bytes {
    let mut section = qpack::PREFIX.to_vec();
    for (name, value) in fields {
        qpack::field(name.as_bytes(), value.as_bytes(), &mut section);
    }
    framed(frame::kind::HEADERS, &section)
}

fn framed(kind: u64, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    frame::whole(kind, payload, &mut out);
    out.into()
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];

/// A whole request.
pub(super) fn get() -> Bytes {
    headers(&GET)
}

impl World {
    /// Sends bytes on a new stream, of which the client's protocol knows nothing.
    pub(super) fn send(&mut self, dir: Dir, bytes: impl Into<Bytes>, finish: bool) -> StreamId {
        let key = self.visitors[0].key;
        let id = self.pair.client.open_stream(key, dir).unwrap();
        self.visitors[0].deaf.push(id.into());
        let mut bytes = bytes.into();
        self.pair.client.write(key, id, &mut bytes);
        assert!(bytes.is_empty());
        if finish {
            self.pair.client.finish(key, id);
        }
        id
    }

    /// What the server has to say on a stream that it does not answer.
    pub(super) fn verdict(&mut self, id: StreamId) -> u64 {
        let key = self.visitors[0].key;
        self.until(|world| match world.pair.client.read(key, id, 1000) {
            Read::Reset(code) => Some(code),
            Read::Blocked => None,
            other => panic!("{other:?}"),
        })
    }

    /// How the connection ends, at both ends.
    pub(super) fn end(&mut self) -> u64 {
        let lost = self.until(|world| world.visitors[0].lost.clone());
        let Lost::Closed { code, .. } = lost else { panic!("{lost:?}") };
        let there = self.until(|world| {
            world.events.iter().find_map(|event| match event {
                Event::Lost { reason, .. } => Some(reason.clone()),
                _ => None,
            })
        });
        assert!(matches!(there, Lost::Violated { code: same, .. } if same == code), "{there:?}");
        code
    }

    fn still_serves(&mut self) {
        let (id, exchange) = self.get("/");
        self.reply(exchange, whole(200, "hello"));
        assert_eq!(self.answer(id).body, b"hello");
    }
}

#[test]
fn a_malformed_request_costs_its_stream() {
    let mut world = World::new(|_| {});
    for (fields, code) in [
        (&GET[1..], Code::MESSAGE_ERROR),
        (&[GET[0], GET[1], GET[2], GET[3], ("Upper", "case")][..], Code::MESSAGE_ERROR),
        (&[GET[0], GET[1], GET[2], GET[3], ("connection", "close")][..], Code::MESSAGE_ERROR),
        (&[GET[0], GET[1], GET[2], GET[3], ("transfer-encoding", "x")][..], Code::MESSAGE_ERROR),
        (&[GET[0], GET[1], GET[2], GET[3], ("content-length", "5")][..], Code::MESSAGE_ERROR),
    ] {
        let id = world.send(Dir::Bi, headers(fields), true);
        assert_eq!(world.verdict(id), code.0, "{fields:?}");
    }
    let nothing = world.send(Dir::Bi, Bytes::new(), true);
    assert_eq!(world.verdict(nothing), Code::REQUEST_INCOMPLETE.0);
    while let Some((exchange, request)) = world.next_request() {
        // Only the one that is known to be wrong by its end was told, and is gone.
        assert!(request.fields.iter().any(|(name, _)| name == b"content-length"));
        assert!(world.gone(exchange));
    }
    world.still_serves();
}

#[test]
fn more_body_than_was_said_ends_the_exchange() {
    let mut world = World::new(|_| {});
    let fields = [("POST", "2"), ("POST", "4")];
    for (method, length) in fields {
        let head =
            headers(&[(":method", method), GET[1], GET[2], GET[3], ("content-length", length)]);
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(&framed(frame::kind::DATA, b"abc"));
        let id = world.send(Dir::Bi, bytes, true);
        let (exchange, _) = world.request();
        world.until(|world| world.gone(exchange).then_some(()));
        assert_eq!(world.verdict(id), Code::MESSAGE_ERROR.0);
    }
    world.still_serves();
}

#[test]
fn a_head_over_the_limits_is_answered_with_431() {
    let mut world = World::new(|limits| limits.fields = 10);
    let large = "x".repeat(20_000);
    let many: Vec<_> = GET.into_iter().chain((0..11).map(|_| ("a", "b"))).collect();
    let one = headers(&[GET[0], GET[1], GET[2], GET[3], ("x", &large)]);
    for bytes in [one, headers(&many)] {
        let id = world.send(Dir::Bi, bytes, true);
        let key = world.visitors[0].key;
        let read = world.until(|world| match world.pair.client.read(key, id, 1000) {
            Read::Data(data) => Some(data),
            Read::Blocked => None,
            other => panic!("{other:?}"),
        });
        assert_eq!(read[0], 1, "a HEADERS frame");
        let fields = qpack::decode(&read[2..], 10, 1000).unwrap();
        assert_eq!(fields.get(b":status"), Some(&b"431"[..]));
    }
    assert!(world.next_request().is_none());
    // As many as are allowed.
    let fine: Vec<_> = GET.into_iter().chain((0..10).map(|_| ("a", "b"))).collect();
    world.send(Dir::Bi, headers(&fine), true);
    world.request();
    world.still_serves();
}

#[test]
fn rules_of_the_connection_end_it() {
    let second = [&[0][..], &framed(frame::kind::SETTINGS, &[])].concat();
    for (what, dir, bytes, code) in [
        ("DATA before HEADERS", Dir::Bi, framed(0, b"x").to_vec(), Code::FRAME_UNEXPECTED),
        ("SETTINGS on a request", Dir::Bi, framed(4, b"").to_vec(), Code::FRAME_UNEXPECTED),
        ("a frame of HTTP/2", Dir::Bi, framed(6, b"").to_vec(), Code::FRAME_UNEXPECTED),
        (
            "a dynamic entry",
            Dir::Bi,
            framed(1, &[5, 0, 0x80]).to_vec(),
            Code::QPACK_DECOMPRESSION_FAILED,
        ),
        ("a second control stream", Dir::Uni, second, Code::STREAM_CREATION_ERROR),
        ("a push stream", Dir::Uni, vec![1], Code::STREAM_CREATION_ERROR),
        ("an insertion", Dir::Uni, vec![2, 0x40], Code::QPACK_ENCODER_STREAM_ERROR),
    ] {
        let mut world = World::new(|_| {});
        let (_, exchange) = world.get("/");
        world.rest();
        world.send(dir, bytes, false);
        assert_eq!(world.end(), code.0, "{what}");
        assert!(world.gone(exchange), "{what}");
        world.pair.server.http_release(exchange);
    }
}

#[test]
fn the_streams_that_a_connection_needs_may_not_end() {
    for how in 0..3 {
        let mut world = World::new(|_| {});
        world.rest();
        let key = world.visitors[0].key;
        let control = StreamId::new(crate::Side::Client, Dir::Uni, 0);
        match how {
            0 => assert!(world.pair.client.finish(key, control)),
            1 => assert!(world.pair.client.reset(key, control, 0)),
            _ => {
                let theirs = StreamId::new(crate::Side::Server, Dir::Uni, 0);
                assert!(world.pair.client.stop(key, theirs, 0));
            }
        }
        assert_eq!(world.end(), Code::CLOSED_CRITICAL_STREAM.0, "{how}");
    }
}

#[test]
fn streams_of_unknown_types_are_not_read_and_do_no_harm() {
    let mut world = World::new(|_| {});
    let key = world.visitors[0].key;
    let mut bytes = Vec::new();
    varint::encode(0x21, &mut bytes);
    bytes.extend_from_slice(&[0; 100]);
    let id = world.send(Dir::Uni, bytes, false);
    let write =
        |world: &mut World| world.pair.client.write(key, id, &mut Bytes::from_static(b"more"));
    world.until(|world| {
        matches!(write(world), Write::Stopped(code) if code == Code::STREAM_CREATION_ERROR.0)
            .then_some(())
    });
    world.still_serves();
}

#[test]
fn unknown_frames_are_skipped() {
    let mut world = World::new(|_| {});
    let mut bytes = framed(0x21, &[0; 300]).to_vec();
    bytes.extend_from_slice(&get());
    bytes.extend_from_slice(&framed(0x40, b"after"));
    world.send(Dir::Bi, bytes, true);
    let (exchange, _) = world.request();
    world.reply(exchange, whole(200, ""));
    world.until(|world| world.answered(exchange).then_some(()));
    world.still_serves();
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_never_runs_more_handlers_than_allowed() {
    let mut world = World::new(|_| {});
    let key = world.visitors[0].key;
    let mut running = Vec::new();
    let mut most = 0;
    let lost = world.until(|world| {
        while let Some(id) = world.pair.client.open_stream(key, Dir::Bi) {
            world.pair.client.write(key, id, &mut get());
            world.pair.client.finish(key, id);
            // Sometimes in the same flight, sometimes not.
            if u64::from(id) % 8 == 0 {
                world.pair.turn();
            }
            world.pair.client.reset(key, id, Code::REQUEST_CANCELLED.0);
            world.pair.client.stop(key, id, Code::REQUEST_CANCELLED.0);
        }
        while let Some((exchange, _)) = world.next_request() {
            running.push(exchange);
        }
        most = most.max(running.len());
        // The handlers are slow: some end now and then.
        if world.pair.server.open_exchanges() == 0 {
            running.drain(..).for_each(|exchange| world.pair.server.http_release(exchange));
        }
        world.visitors[0].lost.clone()
    });
    assert!(
        matches!(lost, Lost::Closed { code, .. } if code == Code::EXCESSIVE_LOAD.0),
        "{lost:?}"
    );
    assert!(most <= 16, "{most}");
}

#[test]
fn a_second_client_does_not_notice_a_first_that_floods() {
    let mut world = World::new(|_| {});
    let remote = world.pair.server.io().local_addr().unwrap();
    let options = world.pair.visiting.clone();
    let flooding = world.pair.client.connect(Instant::now(), remote, "localhost", options).unwrap();
    world.rest();
    let id = world.pair.client.open_stream(flooding, Dir::Bi).unwrap();
    let mut flood = get().to_vec();
    (0..2000).for_each(|_| flood.extend_from_slice(&framed(0x21, b"")));
    world.pair.client.write(flooding, id, &mut flood.into());
    world.until(|world| {
        world.events.iter().find_map(|event| match event {
            Event::Lost { reason: Lost::Violated { code, .. }, .. } => Some(*code),
            _ => None,
        })
    });
    world.events.clear();
    world.still_serves();
}
