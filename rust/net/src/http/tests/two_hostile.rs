//! What must not be taken from peers of HTTP/2: frames written by hand, as no client writes them.

use super::two::{Two, answer_of, request_of};
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const FLOW_CONTROL_ERROR: u32 = 3;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `:method GET`, `:scheme https`, `:path /` from the static table (RFC 7541, appendix A), and
/// `:authority a`.
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
const POST: &[u8] = &[0x83, 0x87, 0x84, 0x41, 0x01, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A client that has begun.
fn begun(world: &World) -> Client {
    let mut client = Client::plain(world);
    client.send(PREFACE);
    client.send(frame(SETTINGS, 0, 0, &[]));
    client
}

/// The code of the GOAWAY that a server sent, if it did.
fn goaway(mut got: &[u8]) -> Option<u32> {
    while let Some((head, rest)) = got.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = rest.get(..length)?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        got = &rest[length..];
    }
    None
}

/// By how much a server has let the window of a stream grow.
fn granted(mut got: &[u8], stream: u32) -> u32 {
    let mut granted = 0;
    while let Some((head, rest)) = got.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = rest.get(..length) else { break };
        if head[3] == WINDOW_UPDATE && head[5..9] == stream.to_be_bytes() {
            granted += u32::from_be_bytes(payload.try_into().unwrap());
        }
        got = &rest[length..];
    }
    granted
}

/// The codes of the RST_STREAMs that a server sent, by stream.
fn resets(mut got: &[u8]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    while let Some((head, rest)) = got.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = rest.get(..length) else { break };
        if head[3] == RST_STREAM {
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
            found.push((number(&head[5..9]), number(payload)));
        }
        got = &rest[length..];
    }
    found
}

/// Sends until the server has had enough: why. What it reads meanwhile is bounded.
fn flood(
    world: &mut World,
    client: &mut Client,
    mut more: impl FnMut(u32) -> Vec<u8>,
) -> Option<u32> {
    for round in 0..20_000 {
        if client.waiting.len() < 1 << 16 {
            client.send(more(round));
        }
        client.pump();
        world.turn();
        if client.ended || goaway(&client.got).is_some() {
            break;
        }
    }
    assert!(client.ended || goaway(&client.got).is_some(), "it goes on for ever");
    goaway(&client.got)
}

/// Somebody else is served all the while.
fn unharmed(world: &mut World) {
    let mut two = Two::new(world);
    let mut answer = two.get("/other");
    let (exchange, _) = world.until(|world| {
        two.pump();
        world.next_request().filter(|(_, request)| request.target == b"/other")
    });
    world.answer(exchange, 200, "well");
    assert_eq!(answer_of(world, &mut two, &mut answer).unwrap().1, b"well");
}

#[test]
fn rapid_resets_are_answered_with_calm() {
    let mut world = World::plain(|_| {});
    let mut client = begun(&world);
    let code = flood(&mut world, &mut client, |round| {
        let mut bytes = Vec::new();
        for index in 0..100 {
            let stream = 2 * (100 * round + index) + 1;
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        bytes
    });
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    unharmed(&mut world);
}

#[test]
fn handlers_are_counted_and_not_streams() {
    let mut world = World::plain(|limits| limits.streams = 5);
    let mut client = begun(&world);
    let mut exchanges = Vec::new();
    // Each is taken before it is reset, and its handler does not end with that.
    for index in 0..5 {
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, GET));
        exchanges.push(world.request_of(&mut client).0);
        client.send(frame(RST_STREAM, 0, 2 * index + 1, &8_u32.to_be_bytes()));
    }
    world.until(|world| exchanges.iter().all(|exchange| world.gone(*exchange)).then_some(()));
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 11, GET));
    world.rest();
    client.pump();
    world.rest();
    assert!(world.next_request().is_none(), "five handlers run");
    world.server.http_release(exchanges[0]);
    let (exchange, _) = world.request_of(&mut client);
    assert_eq!(world.server.open_exchanges(), 1);
    world.answer(exchange, 200, "now");
}

#[test]
fn streams_that_are_made_to_be_reset_are_answered_with_calm() {
    let mut world = World::plain(|_| {});
    let mut client = begun(&world);
    let code = flood(&mut world, &mut client, |round| {
        let mut bytes = Vec::new();
        for index in 0..20 {
            let stream = 2 * (20 * round + index) + 1;
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
            // A window that grows too far: a mistake for which the server resets the stream.
            bytes.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        }
        bytes
    });
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    unharmed(&mut world);
}

#[test]
fn heads_without_end_are_given_up() {
    let mut world = World::plain(|_| {});
    let mut client = begun(&world);
    client.send(frame(HEADERS, END_STREAM, 1, GET));
    // Literal fields that are not to be remembered.
    let field = [&[0x10, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let code = flood(&mut world, &mut client, |_| frame(CONTINUATION, 0, 1, &field.repeat(100)));
    assert!(code.is_some());
    assert!(world.next_request().is_none());
    // Nor are those of which nothing comes.
    let mut client = begun(&world);
    client.send(frame(HEADERS, END_STREAM, 1, GET));
    let code = flood(&mut world, &mut client, |_| frame(CONTINUATION, 0, 1, &[]).repeat(100));
    assert!(code.is_some());
    unharmed(&mut world);
}

#[test]
fn empty_frames_of_a_body_are_answered_with_calm() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = begun(&world);
    client.send(frame(HEADERS, END_HEADERS, 1, POST));
    let code = flood(&mut world, &mut client, |_| frame(DATA, 0, 1, &[]).repeat(500));
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    unharmed(&mut world);
}

#[test]
fn tiny_frames_of_a_body_that_is_not_read_are_bounded() {
    let mut world = World::plain(|limits| limits.body_window = 1 << 20);
    world.greedy = false;
    let mut client = begun(&world);
    client.send(frame(HEADERS, END_HEADERS, 1, POST));
    let code = flood(&mut world, &mut client, |_| frame(DATA, 0, 1, b"x").repeat(500));
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    // It is the window that bounds them.
    assert!(resets(&client.got).contains(&(1, FLOW_CONTROL_ERROR)));
    unharmed(&mut world);
}

#[test]
fn small_frames_of_a_body_that_is_not_read_hold_their_peer_up() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = begun(&world);
    client.send(frame(HEADERS, END_HEADERS, 1, POST));
    let (exchange, _) = world.request_of(&mut client);
    // As much as the window allows.
    let sent: Vec<u8> = (0..65_535_u32).map(|index| (index / 5) as u8).collect();
    let frames: Vec<u8> = sent.iter().flat_map(|byte| frame(DATA, 0, 1, &[*byte])).collect();
    client.send(frames);
    // Others on the connection are served meanwhile.
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, GET));
    let (other, _) = world.request_of(&mut client);
    world.answer(other, 200, "well");
    world.until(|world| world.answered(other).then_some(()));
    // A piece had been given unasked.
    for _ in 0..2 {
        world.server.http_want_body(exchange);
        world.rest();
    }
    assert_eq!(world.bodies[&exchange], sent);
    // And now the peer may send as much again.
    world.read(&mut client, |got| granted(got, 1) == 65_535);
    assert!(!client.ended);
    client.send(frame(DATA, END_STREAM, 1, b"end"));
    assert!(!world.body_ended(exchange));
    world.server.http_want_body(exchange);
    world.until(|world| {
        client.pump();
        world.body_ended(exchange).then_some(())
    });
    assert_eq!(world.bodies[&exchange][sent.len()..], *b"end");
}

#[test]
fn bodies_that_nobody_took_leave_the_connection_its_window() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = begun(&world);
    // Twice as much as may be on its way on the connection at once.
    for stream in (1..=63).step_by(2) {
        client.send(frame(HEADERS, END_HEADERS, stream, POST));
        let (exchange, _) = world.request_of(&mut client);
        for flags in [0, 0, 0, END_STREAM] {
            client.send(frame(DATA, flags, stream, &[0; 16_000]));
            world.rest();
        }
        world.answer(exchange, 200, "enough");
        world.until(|world| world.answered(exchange).then_some(()));
    }
    client.pump();
    assert!(!client.ended && goaway(&client.got).is_none());
}

#[test]
fn pings_and_settings_cost_a_bounded_amount() {
    for bytes in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])] {
        let mut world = World::plain(|_| {});
        let mut client = begun(&world);
        let bytes = bytes.repeat(1000);
        let mut sent = 0;
        // The client does not read what is said to each.
        for _ in 0..3000 {
            sent += client.socket.write(&bytes).unwrap_or_default();
            world.turn();
        }
        assert!(world.server.unsent() < 1 << 20, "{} of {sent}", world.server.unsent());
        unharmed(&mut world);
    }
}

#[test]
fn fields_are_counted() {
    let mut world = World::plain(|limits| limits.fields = 20);
    let mut two = Two::new(&mut world);
    let many = (0..30).fold(::http::Request::get("https://here/"), |request, index| {
        request.header(format!("x-{index}"), "y")
    });
    let large = ::http::Request::get("https://here/").header("x", "y".repeat(20_000));
    for request in [many, large] {
        let (mut answer, _) = two.ask(request, true);
        let (head, _, _) = answer_of(&mut world, &mut two, &mut answer).unwrap();
        assert_eq!(head.status.as_u16(), 431);
    }
    assert!(world.next_request().is_none());
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount() {
    let mut world = World::plain(|_| {});
    let mut client = begun(&world);
    // It allows as much as can be allowed.
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    client.send(frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
    let mut given = 0;
    let body = Bytes::from(vec![0; 100_000]);
    for index in 0..3000_u32 {
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, GET);
        let _ = client.socket.write(&request).unwrap_or_default();
        world.turn();
        if let Some((exchange, _)) = world.next_request() {
            let (fields, body) = (Fields::default(), body.clone());
            world.reply(exchange, Reply::Head { status: 200, fields, body, end: true });
            given += 1;
        }
        world.events.clear();
    }
    assert!(given < 300, "{given} answers of 100 kB were taken for nobody");
    assert!(world.server.unsent() < 1 << 20, "{}", world.server.unsent());
    unharmed(&mut world);
}

#[test]
fn a_stream_without_a_window_is_given_up() {
    let mut world = World::plain(|limits| limits.streams = 3);
    let patience = http_limits().idle_timeout;
    let mut client = begun(&world);
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    let exchanges = [1, 3, 5].map(|stream| {
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
        let (exchange, _) = world.request_of(&mut client);
        world.reply(exchange, head(200, &[], "", false));
        world.reply(exchange, body(vec![0; 50_000], false));
        exchange
    });
    world.rest();
    let mut grant = |world: &mut World, stream, bytes: u32| {
        client.send(frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()));
        world.rest();
    };
    let later = |world: &mut World, times: u32| {
        let now = Instant::now() + patience * times + Duration::from_secs(1);
        world.server.receive(now).unwrap();
        world.take();
        world.server.transmit(now).unwrap();
        exchanges.map(|exchange| world.gone(exchange))
    };
    // One is taken from, be it slowly, one whole; of a third nothing is.
    grant(&mut world, 1, 1);
    grant(&mut world, 3, 50_000);
    assert_eq!(later(&mut world, 1), [false; 3], "its turn may be yet to come");
    for _ in 0..10 {
        grant(&mut world, 1, 1);
    }
    assert_eq!(later(&mut world, 2), [false, false, true]);
    assert_eq!(later(&mut world, 3), [true, false, true]);
    // One that waits for its owner is not its peer's fault.
    world.reply(exchanges[1], body("", true));
    world.until(|world| world.answered(exchanges[1]).then_some(()));
    let got = world.read(&mut client, |got| resets(got).len() == 2);
    assert_eq!(resets(&got), [(5, CANCEL), (1, CANCEL)]);
    unharmed(&mut world);
}

#[test]
fn what_breaks_the_rules_ends_the_connection() {
    for bytes in [
        frame(DATA, 0, 1, b"x"),
        frame(HEADERS, END_HEADERS, 2, GET),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
        frame(SETTINGS, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, GET),
        [0xff; 64].to_vec(),
    ] {
        let mut world = World::plain(|_| {});
        let mut client = begun(&world);
        client.send(bytes);
        let got = world.read(&mut client, |_| false);
        assert!(client.ended && goaway(&got).is_some_and(|code| code != 0));
        world.until(|world| (world.server.open_connections() == 0).then_some(()));
    }
}

#[test]
fn what_comes_in_one_turn_is_answered_in_one_write() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    let mut answers: Vec<_> = (0..20).map(|_| two.get("/")).collect();
    let asked: Vec<_> = (0..20).map(|_| request_of(&mut world, &mut two)).collect();
    two.pump();
    world.rest();
    for (exchange, _) in asked {
        world.answer(exchange, 200, "small");
    }
    world.server.transmit(Instant::now()).unwrap();
    // One record of TLS has all of them.
    let mut buffer = [0; 1 << 16];
    let count = two.client.socket.read(&mut buffer).unwrap();
    let length = usize::from(u16::from_be_bytes([buffer[3], buffer[4]]));
    assert_eq!(count, 5 + length);
    two.client.take(&buffer[..count]);
    for answer in &mut answers {
        assert_eq!(answer_of(&mut world, &mut two, answer).unwrap().1, b"small");
    }
}
