//! A tunnel's bytes in random pieces, as they come or as frames that a script describes: the same
//! events come out as from a reading of the whole, no message and nothing that is held goes over the
//! limit, nothing comes after the end, the answers are bounded, and what is sent is read back.

use jetstream_proto::websocket::frame::{Header, Opcode};
use jetstream_proto::websocket::handshake::{accept_key, names, subprotocols};
use jetstream_proto::websocket::{Connection, Deflate, Event, Limits, State};

use crate::pieces::pieces;
use crate::script::Script;

/// A mask that changes every byte.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest answer: a control frame of a client.
const MAX_ANSWER: usize = 2 + 4 + 125;

/// One input: what kind of connection and of input, the limit, how to cut, and the bytes.
pub fn run(input: &[u8]) {
    let [flags, limit, cut, rest @ ..] = input else { return };
    headers(rest);
    let limits = Limits { message: usize::from(*limit) * 8, idle_frames: u32::from(*limit) };
    let stream = if flags & 4 == 0 { rest.to_vec() } else { frames(rest, flags & 1 != 0) };
    let mut whole = connection(*flags, limits);
    let expected = read(&mut whole, &stream, limits);

    let mut end = connection(*flags, limits);
    let mut seen = Vec::new();
    for piece in pieces(&stream, *cut) {
        seen.extend(read(&mut end, piece, limits));
    }
    assert_eq!(seen, expected);
    assert_eq!((end.state(), end.close_code()), (whole.state(), whole.close_code()));
    assert_eq!(flushed(&mut end), flushed(&mut whole));
    let last =
        expected.iter().position(|event| matches!(event, Event::Closed(_) | Event::Failed(_)));
    assert!(last.is_none_or(|last| last + 1 == expected.len()), "something came after the end");
    assert_eq!(last.is_some(), end.state() == State::Closed);
    reads_back(*flags, rest, *cut);
}

fn connection(flags: u8, limits: Limits) -> Connection {
    let deflate = (flags & 2 != 0).then_some(Deflate {
        threshold: usize::from(flags >> 5),
        own_context: flags & 8 != 0,
        peer_context: flags & 16 != 0,
        ..Deflate::default()
    });
    if flags & 1 != 0 {
        Connection::client(limits, deflate, Box::new(|| KEY))
    } else {
        Connection::server(limits, deflate)
    }
}

/// The events of a piece.
fn read(end: &mut Connection, piece: &[u8], limits: Limits) -> Vec<Event<'static>> {
    let mut piece = piece.to_vec();
    let mut input = &mut piece[..];
    let mut events = Vec::new();
    while let Some(event) = end.read(&mut input) {
        events.push(match event {
            Event::Text(text) => Event::Text(text.into_owned().into()),
            Event::Binary(bytes) => Event::Binary(bytes.into_owned().into()),
            Event::Pong => unreachable!("no ping was sent"),
            Event::Closed(close) => Event::Closed(close),
            Event::Failed(violation) => Event::Failed(violation),
        });
        let size = match events.last() {
            Some(Event::Text(text)) => text.len(),
            Some(Event::Binary(bytes)) => bytes.len(),
            _ => 0,
        };
        assert!(size <= limits.message, "a message is over the limit");
    }
    assert!(input.is_empty(), "something was left");
    assert!(end.held() <= limits.message, "more is held than may be");
    events
}

fn flushed(end: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    end.flush(&mut out);
    assert!(out.len() <= MAX_ANSWER, "more than one answer");
    assert!(!end.wants_flush());
    out
}

/// Frames of any kinds in any order, with headers that mostly fit.
fn frames(input: &[u8], to_client: bool) -> Vec<u8> {
    let mut script = Script::new(input);
    let mut out = Vec::new();
    while let Some(step) = script.step() {
        let opcode = match step & 7 {
            0 => Opcode::Close,
            1 => Opcode::Ping,
            2 => Opcode::Pong,
            3 | 4 => Opcode::Text,
            5 => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        let length = script.byte();
        let payload = script.bytes(length.into());
        let key = (!to_client).then_some([0; 4]);
        let (fin, compressed) = (step & 8 == 0, step & 16 != 0);
        Header { fin, compressed, opcode, key, length: payload.len() as u64 }.encode(&mut out);
        out.extend_from_slice(payload);
    }
    out
}

/// The bytes as messages from one end to the other.
fn reads_back(flags: u8, bytes: &[u8], cut: u8) {
    // The same contexts, seen from the other side.
    let mirrored = flags & !25 | (flags & 8) << 1 | (flags & 16) >> 1 | (!flags & 1);
    let limits = Limits { message: bytes.len().max(64), idle_frames: 8 };
    let (mut sender, mut receiver) = (connection(flags, limits), connection(mirrored, limits));
    let mut out = Vec::new();
    let mut expected = Vec::new();
    for part in [bytes, &bytes[bytes.len() / 2..], bytes] {
        assert_eq!(sender.binary(part, &mut out), Ok(()));
        expected.push(Event::Binary(part.into()));
        if let Ok(text) = std::str::from_utf8(part) {
            assert_eq!(sender.text(text, &mut out), Ok(()));
            expected.push(Event::Text(text.into()));
        }
    }
    assert_eq!(sender.close(4000, "over", &mut out), Ok(()));
    let mut seen = Vec::new();
    for piece in pieces(&out, cut) {
        seen.extend(read(&mut receiver, piece, limits));
    }
    assert!(matches!(seen.pop(), Some(Event::Closed(close)) if close.code == 4000));
    assert_eq!(seen, expected);
    let answer = flushed(&mut receiver);
    assert_eq!(read(&mut sender, &answer, limits).len(), 1);
    assert_eq!((sender.state(), receiver.state()), (State::Closed, State::Closed));
}

/// The bytes as values of headers.
fn headers(value: &[u8]) {
    let wish = Deflate { own_context: true, ..Deflate::default() };
    if let Ok(Some((agreed, answer))) = wish.accept([value]) {
        let confirmed = wish.confirm([answer.as_bytes()]);
        // A limit for the server's window is repeated, and nothing else is that was not agreed on.
        let confirmed = confirmed.ok().flatten();
        assert!(confirmed.is_some_and(|ours| ours.own_context == agreed.peer_context));
        assert!(confirmed.is_some_and(|ours| ours.peer_context == agreed.own_context));
    }
    if let Ok(found) = subprotocols([value]) {
        assert!(found.iter().all(|name| names(value, name)));
    }
    if let Ok(accept) = accept_key(value) {
        assert_eq!(accept.len(), 28);
    }
}
