//! A connection against every rule that its peer can break, the examples of both specifications, and
//! against itself.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use super::frame::{Header, Opcode};
use super::*;
use crate::random::Random;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const CONTEXTS: Deflate = Deflate { level: 6, threshold: 0, own_context: true, peer_context: true };

fn limits(message: usize) -> Limits {
    Limits { message, ..Limits::default() }
}

fn server(deflate: Option<Deflate>) -> Connection {
    Connection::server(limits(1 << 20), deflate)
}

fn client(deflate: Option<Deflate>) -> Connection {
    Connection::client(limits(1 << 20), deflate, Box::new(|| KEY))
}

/// What comes of `bytes` in pieces of `size`.
fn feed(connection: &mut Connection, bytes: &[u8], size: usize) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(event) = connection.read(&mut input) {
            events.push(match event {
                Event::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
                Event::Binary(bytes) => Event::Binary(Cow::Owned(bytes.into_owned())),
                Event::Pong => Event::Pong,
                Event::Closed(close) => Event::Closed(close),
                Event::Failed(violation) => Event::Failed(violation),
            });
        }
        assert!(input.is_empty(), "something was left");
    }
    events
}

fn text(text: &str) -> Event<'static> {
    Event::Text(Cow::Owned(text.to_owned()))
}

fn binary(bytes: &[u8]) -> Event<'static> {
    Event::Binary(Cow::Owned(bytes.to_vec()))
}

fn closed(code: u16, reason: &str) -> Event<'static> {
    Event::Closed(Close { code, reason: reason.to_owned() })
}

/// A client's frame: `first` is the first byte, with flags and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let opcode = Opcode::Binary;
    Header { key: Some(KEY), ..Header::whole(opcode, payload.len()) }.encode(&mut bytes);
    bytes[0] = first;
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask::apply(&mut bytes[start..], KEY);
    bytes
}

fn flushed(connection: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    connection.flush(&mut out);
    assert!(!connection.wants_flush());
    out
}

#[test]
fn the_examples_of_rfc_6455() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let plain = b"\x81\x05Hello";
    let fragments = b"\x01\x03Hel\x80\x02lo";
    let ping = b"\x89\x05Hello";
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    for size in 1..=11 {
        assert_eq!(feed(&mut server(None), hello, size), [text("Hello")]);
        assert_eq!(feed(&mut client(None), plain, size), [text("Hello")]);
        assert_eq!(feed(&mut client(None), fragments, size), [text("Hello")]);
        let mut end = client(None);
        assert_eq!(feed(&mut end, ping, size), []);
        assert_eq!(flushed(&mut end), pong);
        let mut end = server(None);
        let mut out = Vec::new();
        end.ping(b"Hello", &mut out).unwrap();
        assert_eq!(out, ping);
        assert_eq!(feed(&mut end, pong, size), [Event::Pong]);
    }
    let mut out = Vec::new();
    server(None).text("Hello", &mut out).unwrap();
    client(None).text("Hello", &mut out).unwrap();
    assert_eq!(out, [&plain[..], hello].concat());

    for (length, header) in
        [(256, &b"\x82\x7e\x01\x00"[..]), (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")]
    {
        let message = vec![7; length];
        let mut out = Vec::new();
        server(None).binary(&message, &mut out).unwrap();
        assert_eq!(out, [header, &message].concat());
        assert_eq!(feed(&mut client(None), &out, 1000), [binary(&message)]);
    }
}

#[test]
fn the_examples_of_rfc_7692() {
    let hello = text("Hello");
    for frames in [
        // Section 7.2.3.1: one block, whole and in fragments.
        &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
        // 7.2.3.3: a stored block.
        b"\xc1\x0b\x00\x05\x00\xfa\xffHello\x00",
        // 7.2.3.4: a last block.
        b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        // 7.2.3.5: two blocks.
        b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        // A last block, and nothing behind it.
        b"\xc1\x07\xf3\x48\xcd\xc9\xc9\x07\x00",
    ] {
        for size in 1..=frames.len() {
            let twice = [frames, frames].concat();
            let seen = feed(&mut client(Some(CONTEXTS)), &twice, size);
            assert_eq!(seen, [hello.clone(), hello.clone()], "{frames:x?} in pieces of {size}");
        }
    }
    // 7.2.3.2: with the context taken over. 7.2.3.6: nothing, compressed.
    let frames = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00\xc2\x01\x00";
    let seen = feed(&mut client(Some(CONTEXTS)), frames, 4);
    assert_eq!(seen, [hello.clone(), hello.clone(), binary(b"")]);

    let mut out = Vec::new();
    let mut end = server(Some(CONTEXTS));
    end.text("Hello", &mut out).unwrap();
    end.text("Hello", &mut out).unwrap();
    assert_eq!(out, frames[..frames.len() - 3]);
    let forgetful = Deflate { peer_context: false, ..CONTEXTS };
    let seen = feed(&mut client(Some(forgetful)), frames, 4);
    assert_eq!(seen, [hello, text("H\0\0\0\0"), binary(b"")], "zeros stand for what is forgotten");
}

/// The last byte is the one that breaks the rule, and no byte before it does.
#[test]
fn rules_of_frames() {
    use Violation as V;
    let long = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    for (bytes, violation) in [
        (&b"\xa1"[..], V::ReservedBits(0b010)),
        (b"\x91", V::ReservedBits(0b001)),
        (b"\xc1", V::ReservedBits(0b100)),
        (b"\xc9", V::ReservedBits(0b100)),
        (b"\x83", V::Opcode(3)),
        (b"\x87", V::Opcode(7)),
        (b"\x8b", V::Opcode(11)),
        (b"\x8f", V::Opcode(15)),
        (b"\x81\x05", V::Unmasked),
        (b"\x89\x00", V::Unmasked),
        (b"\x09", V::FragmentedControl(Opcode::Ping)),
        (b"\x08", V::FragmentedControl(Opcode::Close)),
        (b"\x89\xfe", V::LongControl(Opcode::Ping)),
        (b"\x8a\xff", V::LongControl(Opcode::Pong)),
        (b"\x88\xfe", V::LongControl(Opcode::Close)),
        (b"\x82\xfe\x00\x7d", V::Length),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", V::Length),
        (&long, V::Length),
        (b"\x80", V::Continuation),
        (b"\x00", V::Continuation),
        (b"\x81\x80\0\0\0\0\x80", V::Continuation),
        (b"\x01\x80\0\0\0\0\x81", V::Interleaved),
        (b"\x01\x80\0\0\0\0\x00\x80\0\0\0\0\x02", V::Interleaved),
        (b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x01\0\0\0\0", V::TooLarge(1 << 20)),
        (b"\x88\x81\0\0\0\0a", V::HalfCode),
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", V::Utf8),
        (b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00\0\0\0\0\xff", V::Utf8),
        (b"\x81\x81\0\0\0\0\xc3", V::Utf8),
        (b"\x01\x81\0\0\0\0\xc3\x80\x80\0\0\0\0", V::Utf8),
    ] {
        for size in 1..=bytes.len() {
            let mut end = server(None);
            let seen = feed(&mut end, &[bytes, b"\x81\x80\0\0\0\0"].concat(), size);
            assert_eq!(seen.last(), Some(&Event::Failed(violation)), "{bytes:x?}");
            assert_eq!((end.state(), end.close_code()), (State::Closing, code::ABNORMAL));
            let sent = feed(&mut client(None), &flushed(&mut end), 1000);
            assert_eq!(sent, [closed(violation.code(), &violation.to_string())], "{bytes:x?}");
            assert_eq!(end.state(), State::Closed);
        }
        let mut end = server(None);
        feed(&mut end, &bytes[..bytes.len() - 1], 1);
        assert_eq!(end.state(), State::Open, "{bytes:x?} is refused early");
    }
    let failed = feed(&mut client(None), b"\x81\x80", 2);
    assert_eq!(failed, [Event::Failed(V::Masked)]);
}

#[test]
fn rules_of_compressed_frames() {
    let late = [masked(0x42, b"\0"), masked(0xc0, b"\0")].concat();
    let mut end = server(Some(CONTEXTS));
    assert_eq!(feed(&mut end, &late, 3), [Event::Failed(Violation::ReservedBits(4))]);
    for first in [0xc8, 0xc9, 0xca] {
        let seen = feed(&mut server(Some(CONTEXTS)), &masked(first, b""), 3);
        assert_eq!(seen, [Event::Failed(Violation::ReservedBits(4))]);
    }
    for corrupt in [&b"\x07"[..], b"\x00\x05\x00\x00\x00Hello", b"\x1a\xff\xff\xff\xff"] {
        let seen = feed(&mut server(Some(CONTEXTS)), &masked(0xc1, corrupt), 3);
        assert_eq!(seen, [Event::Failed(Violation::Corrupt)], "{corrupt:x?}");
    }
    // What is behind the mask and the compression is still text.
    let mut out = Vec::new();
    client(Some(CONTEXTS)).binary(b"abc\xff", &mut out).unwrap();
    out[0] = 0xc1;
    assert_eq!(feed(&mut server(Some(CONTEXTS)), &out, 99), [Event::Failed(Violation::Utf8)]);
    // Streams that end in each message, and again and again in one.
    let ends = masked(0xc2, b"\x03\x00").repeat(100);
    assert_eq!(feed(&mut server(Some(CONTEXTS)), &ends, 99), vec![binary(b""); 100]);
    let seen = feed(&mut server(Some(CONTEXTS)), &masked(0xc2, &b"\x03\x00".repeat(100)), 99);
    assert_eq!(seen, [Event::Failed(Violation::Corrupt)]);
}

#[test]
fn codes_of_close_frames() {
    for code in 0..=u16::MAX {
        let defined = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        let allowed = defined.contains(&code) || (3000..5000).contains(&code);
        let mut out = Vec::new();
        let sent = client(None).close(code, "bye", &mut out);
        assert_eq!(sent, if allowed { Ok(()) } else { Err(SendError::Code(code)) });
        assert_eq!(out.is_empty(), !allowed);
        let body = [&code.to_be_bytes()[..], b"bye"].concat();
        let seen = feed(&mut server(None), &masked(0x88, &body), 99);
        let refused = Event::Failed(Violation::Code(code));
        assert_eq!(seen, [if allowed { closed(code, "bye") } else { refused }]);
    }
    let mut out = Vec::new();
    let long = "é".repeat(62);
    assert_eq!(server(None).close(1000, &long, &mut out), Err(SendError::Reason(124)));
    assert_eq!(server(None).close(1005, "x", &mut out), Err(SendError::Code(1005)));
    server(None).close(1000, &long[..122], &mut out).unwrap();
    assert_eq!(feed(&mut client(None), &out, 9), [closed(1000, &long[..122])]);
}

#[test]
fn an_end_that_is_closed_answers_once() {
    for (code, body) in [(4000, &b"\x0f\xa0why"[..]), (code::NO_STATUS, b"")] {
        let mut end = server(None);
        let after = [masked(0x88, body), masked(0x81, b"late"), masked(0x88, body)].concat();
        let reason = if body.is_empty() { "" } else { "why" };
        assert_eq!(feed(&mut end, &after, 5), [closed(code, reason)]);
        assert_eq!((end.state(), end.close_code()), (State::Closing, code));
        let mut out = Vec::new();
        assert_eq!(end.text("x", &mut out), Err(SendError::Closed));
        assert_eq!(end.ping(b"", &mut out), Err(SendError::Closed));
        assert_eq!(end.close(1000, "", &mut out), Err(SendError::Closed));
        assert!(out.is_empty());
        assert_eq!(feed(&mut client(None), &flushed(&mut end), 9), [closed(code, "")]);
        assert_eq!(end.state(), State::Closed);
        assert!(flushed(&mut end).is_empty());
    }
}

#[test]
fn an_end_that_closes_waits_for_the_other() {
    let mut end = server(Some(CONTEXTS));
    let mut out = Vec::new();
    // In the middle of a message, and with a pong that was not sent.
    let begun = [masked(0x01, b"begun"), masked(0x89, b"?")].concat();
    assert_eq!(feed(&mut end, &begun, 99), []);
    end.close(code::GOING_AWAY, "", &mut out).unwrap();
    assert_eq!((end.state(), end.held()), (State::Closing, 0));
    assert_eq!(end.binary(b"x", &mut out), Err(SendError::Closed));
    let rest = [
        masked(0x00, b"\xff more"),
        masked(0x89, b"?"),
        masked(0x80, b""),
        masked(0xc2, b"\x07"),
        masked(0x82, &vec![0; 2 << 20]),
        masked(0x88, b"\x03\xe9"),
        masked(0x81, b"late"),
    ];
    assert_eq!(feed(&mut end, &rest.concat(), 1000), [closed(code::GOING_AWAY, "")]);
    assert_eq!((end.state(), end.close_code()), (State::Closed, code::GOING_AWAY));
    assert!(!end.wants_flush(), "a close frame is answered by none");

    let mut end = server(None);
    end.close(code::NORMAL, "", &mut out).unwrap();
    let failed = feed(&mut end, b"\x81\x00", 1);
    assert_eq!(failed, [Event::Failed(Violation::Unmasked)]);
    assert_eq!((end.state(), end.wants_flush()), (State::Closed, false));
    assert_eq!(server(None).close_code(), code::ABNORMAL, "the tunnel may end without a word");
}

#[test]
fn the_last_ping_is_answered_whenever_it_can_be() {
    let mut end = server(None);
    let pings = [
        masked(0x01, b"in "),
        masked(0x89, b"one"),
        masked(0x89, b"two"),
        masked(0x80, b"pieces"),
        masked(0x89, &[7; 125]),
    ];
    for size in 1..200 {
        assert_eq!(feed(&mut end, &pings.concat(), size), [text("in pieces")]);
        assert_eq!(flushed(&mut end), [&b"\x8a\x7d"[..], &[7; 125]].concat());
    }
    assert!(flushed(&mut end).is_empty());
}

#[test]
fn pongs_that_nobody_asked_for_are_passed_over() {
    let mut end = server(None);
    let mut out = Vec::new();
    assert_eq!(feed(&mut end, &masked(0x8a, b""), 9), []);
    end.ping(b"first", &mut out).unwrap();
    end.ping(b"second", &mut out).unwrap();
    assert_eq!(end.ping(&[0; 126], &mut out), Err(SendError::Ping(126)));
    let pongs = [masked(0x8a, b"first"), masked(0x8a, b"second"), masked(0x8a, b"second")];
    assert_eq!(feed(&mut end, &pongs.concat(), 7), [Event::Pong]);
}

#[test]
fn frames_that_bring_nothing_are_counted() {
    let few = Limits { idle_frames: 3, ..limits(100) };
    for idle in [masked(0x89, b"?"), masked(0x8a, b"?"), masked(0x00, b"")] {
        let begun = masked(0x02, b"x");
        let mut end = Connection::server(few, None);
        assert_eq!(feed(&mut end, &[begun.clone(), idle.repeat(3)].concat(), 9), []);
        end.replenish();
        assert_eq!(feed(&mut end, &idle.repeat(3), 9), []);
        assert_eq!(feed(&mut end, &masked(0x00, b"y"), 9), []);
        assert_eq!(feed(&mut end, &idle, 9), []);
        assert_eq!(feed(&mut end, &idle, 9), [Event::Failed(Violation::Flood)]);
        assert_eq!(feed(&mut client(None), &flushed(&mut end), 9).len(), 1);
    }
}

#[test]
fn a_message_is_as_large_as_its_limit() {
    let message = vec![b'x'; 1000];
    let fragments = [masked(0x01, &message[..600]), masked(0x80, &message[600..])].concat();
    for (frames, header_of_last) in [(masked(0x81, &message), 8), (fragments, 608 + 8)] {
        for size in [1, 7, 2000] {
            let whole = feed(&mut Connection::server(limits(1000), None), &frames, size);
            assert_eq!(whole.len(), 1);
            assert!(matches!(&whole[0], Event::Text(text) if text.len() == 1000));
            let mut end = Connection::server(limits(999), None);
            let seen = feed(&mut end, &frames[..header_of_last], size);
            assert_eq!(seen, [Event::Failed(Violation::TooLarge(999))], "from the header alone");
            assert_eq!(end.held(), 0);
        }
    }
    // Fragments that are never the last.
    let mut end = Connection::server(limits(999), None);
    let seen = feed(&mut end, &[masked(0x02, b"x"), masked(0x00, b"y").repeat(2000)].concat(), 99);
    assert_eq!(seen, [Event::Failed(Violation::TooLarge(999))]);
}

#[test]
fn a_message_is_as_large_as_its_limit_when_it_is_decompressed() {
    let zeros = vec![0; 1 << 20];
    let mut bomb = Vec::new();
    let mut sender = client(Some(CONTEXTS));
    sender.binary(&zeros, &mut bomb).unwrap();
    assert!(bomb.len() < 2000);
    for opcode in [0xc1, 0xc2] {
        bomb[0] = opcode;
        for size in [1, 100, 2000] {
            for (limit, fits) in
                [(1 << 20, true), ((1 << 20) - 1, false), (1000, false), (0, false)]
            {
                let mut end = Connection::server(limits(limit), Some(CONTEXTS));
                let mut seen = Vec::new();
                for piece in bomb.chunks(size) {
                    seen.extend(feed(&mut end, piece, size));
                    assert!(end.held() <= limit);
                }
                match (&seen[..], fits) {
                    ([Event::Text(text)], true) => assert_eq!(text.as_bytes(), zeros),
                    ([Event::Binary(bytes)], true) => assert_eq!(bytes[..], zeros),
                    ([Event::Failed(violation)], false) => {
                        let declared = bomb.len() - 8 > limit + (limit >> 10) + 64;
                        assert!(declared || *violation == Violation::TooLarge(limit));
                    }
                    _ => assert!(seen.is_empty(), "{seen:?}"),
                }
            }
        }
    }
    // What is over the limit is not looked at, however much of it comes at once.
    let mut out = Vec::new();
    client(Some(CONTEXTS)).binary(b"12345678901234567890\xff", &mut out).unwrap();
    out[0] = 0xc1;
    for size in 1..out.len() {
        let seen = feed(&mut Connection::server(limits(20), Some(CONTEXTS)), &out, size);
        assert_eq!(seen, [Event::Failed(Violation::TooLarge(20))]);
        let seen = feed(&mut Connection::server(limits(21), Some(CONTEXTS)), &out, size);
        assert_eq!(seen, [Event::Failed(Violation::Utf8)]);
    }
    // What does not become smaller may be as large, too.
    let mut random = Random(5);
    let noise: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
    let mut out = Vec::new();
    client(Some(CONTEXTS)).binary(&noise, &mut out).unwrap();
    assert!(out.len() > noise.len() + 8 && out[0] == 0xc2);
    let mut end = Connection::server(limits(noise.len()), Some(CONTEXTS));
    assert_eq!(feed(&mut end, &out, 999), [binary(&noise)]);
}

#[test]
fn a_whole_message_is_borrowed_from_the_input() {
    let mut bytes = [masked(0x81, b"text"), masked(0x82, b"bytes")].concat();
    let mut input = &mut bytes[..];
    let mut end = server(None);
    assert!(matches!(end.read(&mut input), Some(Event::Text(Cow::Borrowed("text")))));
    assert!(matches!(end.read(&mut input), Some(Event::Binary(Cow::Borrowed(b"bytes")))));
    assert!(end.read(&mut input).is_none());
}

#[test]
fn short_messages_are_not_compressed_nor_those_that_would_grow() {
    let deflate = Deflate::default();
    let mut end = server(Some(deflate));
    let size = |end: &mut Connection, message: &[u8]| {
        let mut out = Vec::new();
        end.binary(message, &mut out).unwrap();
        (out[0], out.len())
    };
    assert_eq!(size(&mut end, &[b'x'; 63]), (0x82, 65));
    assert_eq!(size(&mut end, &[b'x'; 64]).0, 0xc2);
    assert!(size(&mut end, &[b'x'; 200]).1 < 20, "the header is as short as can be");
    let noise: Vec<u8> = (0..=255).collect();
    assert_eq!(size(&mut end, &noise), (0x82, 260));
}

/// Messages, pings and the end, both ways, cut anywhere, with each kind of compression.
#[test]
fn what_one_end_sends_the_other_reads() {
    let forgetful = Deflate { own_context: false, peer_context: false, ..CONTEXTS };
    for deflate in [None, Some(CONTEXTS), Some(forgetful), Some(Deflate { level: 1, ..CONTEXTS })] {
        for seed in 0..40 {
            let mut random = Random(seed);
            let mut ends = [server(deflate), client(deflate)];
            if seed % 2 == 1 {
                ends.reverse();
            }
            let [mut sender, mut receiver] = ends;
            let mut out = b"before".to_vec();
            let mut expected = Vec::new();
            for _ in 0..random.below(12) {
                let length = [3, 130, 3000, 70_000][random.below(4)];
                let length = random.below(length);
                let range = [2, 256][random.below(2)];
                match random.below(5) {
                    0 => sender.ping(&vec![1; length.min(125)], &mut out).unwrap(),
                    1 | 2 => {
                        let message: Vec<u8> =
                            (0..length).map(|_| random.below(range) as u8).collect();
                        sender.binary(&message, &mut out).unwrap();
                        expected.push(binary(&message));
                    }
                    _ => {
                        let letters = ["a", "é", "€", "𝄞"];
                        let message: String =
                            (0..length).map(|_| letters[random.below(4)]).collect();
                        sender.text(&message, &mut out).unwrap();
                        expected.push(text(&message));
                    }
                }
            }
            sender.close(3000 + seed as u16, "over", &mut out).unwrap();
            expected.push(closed(3000 + seed as u16, "over"));
            assert!(out.starts_with(b"before"));
            let seen = feed(&mut receiver, &out[6..], 1 + random.below(5000));
            assert!(seen == expected, "seed {seed} {deflate:?}");
            let answer = flushed(&mut receiver);
            assert_eq!(feed(&mut sender, &answer, 3), [closed(3000 + seed as u16, "")]);
            assert_eq!((sender.state(), receiver.state()), (State::Closed, State::Closed));
        }
    }
}
