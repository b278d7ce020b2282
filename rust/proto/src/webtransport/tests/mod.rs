//! Sessions: what comes on a CONNECT stream, and what that means.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pair;

use super::*;
use crate::http3::capsule::encode;
use crate::http3::{Code, varint};
use bytes::Bytes;

/// A peer whose limits count.
const STRICT: Peer = Peer {
    speaks: true,
    datagrams: true,
    is_current: true,
    max_sessions: None,
    max_data: 10,
    max_streams_uni: 0,
    max_streams_bidi: 1,
};

const LOOSE: Peer = Peer { max_data: 0, max_streams_bidi: 0, ..STRICT };

fn capsule(kind: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(kind, value, &mut out);
    out
}

fn integer(kind: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::encode(value, &mut bytes);
    capsule(kind, &bytes)
}

fn close(code: u32, reason: &[u8]) -> Vec<u8> {
    capsule(0x2843, &[&code.to_be_bytes(), reason].concat())
}

fn session(peer: &Peer) -> Session {
    Session::new(peer, Limits::default())
}

/// What a session is told of these bytes, in any pieces, and perhaps their end.
fn told(peer: &Peer, bytes: &[u8], ends: bool) -> Vec<Event> {
    let mut found: Option<Vec<Event>> = None;
    for size in [1, 2, 3, 7, bytes.len().max(1)] {
        let mut session = session(peer);
        for piece in bytes.chunks(size) {
            session.received(Bytes::copy_from_slice(piece));
            assert!(session.held() <= 1500);
        }
        if ends {
            session.finished();
        }
        let events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
        assert_eq!(*found.get_or_insert_with(|| events.clone()), events, "in pieces of {size}");
    }
    found.unwrap()
}

fn code(peer: &Peer, bytes: &[u8]) -> Option<Code> {
    match told(peer, bytes, false).pop() {
        Some(Event::Failed(error)) => Some(error.code),
        _ => None,
    }
}

fn closed(code: u32, reason: &str) -> Event {
    Event::Closed { code, reason: reason.to_owned() }
}

#[test]
fn a_session_ends_with_a_code_and_a_reason() {
    let said = close(7, "gehört".as_bytes());
    assert_eq!(told(&LOOSE, &said, true), [closed(7, "gehört")]);
    assert_eq!(told(&LOOSE, &close(u32::MAX, b""), false), [closed(u32::MAX, "")]);
    // Section 6: without a word it is code 0 and no reason.
    assert_eq!(told(&LOOSE, &[], true), [closed(0, "")]);
    assert_eq!(told(&LOOSE, &close(1, &[b'x'; 1024]), true), [closed(1, &"x".repeat(1024))]);
}

#[test]
fn ends_that_cannot_be() {
    // Section 6: over 1,024 bytes, or no UTF-8.
    assert_eq!(code(&LOOSE, &close(1, &[b'x'; 1025])), Some(Code::MESSAGE_ERROR));
    assert_eq!(code(&LOOSE, &close(1, &[0xff])), Some(Code::MESSAGE_ERROR));
    assert_eq!(code(&LOOSE, &capsule(0x2843, &[0; 3])), Some(Code::MESSAGE_ERROR));
    // The length alone is enough.
    let mut endless = Vec::new();
    varint::encode(0x2843, &mut endless);
    varint::encode(varint::MAX, &mut endless);
    assert_eq!(code(&LOOSE, &endless), Some(Code::MESSAGE_ERROR));
    // Anything behind it.
    let more = [close(1, b""), vec![0]].concat();
    assert_eq!(code(&LOOSE, &more), Some(Code::MESSAGE_ERROR));
    // RFC 9297, section 3.3: cut off.
    for cut in [1, 3, 6] {
        let events = told(&LOOSE, &close(1, b"bye")[..cut], true);
        assert!(matches!(&events[..], [Event::Failed(error)] if error.code == Code::MESSAGE_ERROR));
    }
}

#[test]
fn what_we_say_at_the_end() {
    let mut one = session(&STRICT);
    one.sent(10);
    one.close(5, "done");
    one.close(6, "again");
    assert_eq!(one.take_output().unwrap(), close(5, b"done"));
    assert_eq!(one.take_output(), None);
    assert!(!one.is_open() && !one.may_open(Direction::Both) && one.credit() == 0);
    one.starve();
    one.drain();
    assert_eq!(one.take_output(), None, "it was the last word");
    // What the peer says now is of no matter.
    one.received(Bytes::from(close(1, b"")));
    one.received(Bytes::from_static(&[0xff; 9]));
    one.finished();
    assert_eq!(one.poll_event(), None);
    // Nothing is nothing.
    let mut one = session(&LOOSE);
    one.close(0, "");
    assert_eq!(one.take_output(), None);
    // Cut between two characters.
    let mut one = session(&LOOSE);
    one.close(0, &"é".repeat(600));
    assert_eq!(one.take_output().unwrap(), close(0, "é".repeat(512).as_bytes()));
    let mut one = session(&LOOSE);
    one.close(0, &format!("x{}", "é".repeat(600)));
    assert_eq!(one.take_output().unwrap(), close(0, format!("x{}", "é".repeat(511)).as_bytes()));
}

#[test]
fn the_end_is_asked_for() {
    let drain = capsule(0x78ae, b"");
    assert_eq!(
        told(&LOOSE, &[&drain[..], &drain, &close(1, b"")].concat(), false),
        [Event::Draining, closed(1, "")]
    );
    assert_eq!(code(&LOOSE, &capsule(0x78ae, b"x")), Some(Code::MESSAGE_ERROR));
    let mut one = session(&LOOSE);
    one.drain();
    one.drain();
    assert_eq!(one.take_output().unwrap(), drain);
    assert!(one.is_open());
    one.drain();
    assert_eq!(one.take_output(), None);
}

#[test]
fn datagrams_may_come_as_capsules() {
    let bytes = capsule(0, b"hello");
    assert_eq!(told(&LOOSE, &bytes, false), [Event::Datagram(Bytes::from_static(b"hello"))]);
    assert_eq!(code(&LOOSE, &capsule(0, &[0; 1501])), Some(Code::EXCESSIVE_LOAD));
}

#[test]
fn what_means_nothing_is_skipped_and_bounded() {
    let unknown = capsule(0x1f * 7 + 0x21, &[7; 100]);
    let bytes = [&unknown[..], &unknown, &close(3, b"")].concat();
    assert_eq!(told(&LOOSE, &bytes, false), [closed(3, "")]);
    // Too many of them, or too large: the length alone is enough.
    assert_eq!(code(&LOOSE, &unknown.repeat(64)), None);
    assert_eq!(code(&LOOSE, &unknown.repeat(65)), Some(Code::EXCESSIVE_LOAD));
    let mut large = Vec::new();
    varint::encode(0x4242, &mut large);
    varint::encode((64 << 10) + 1, &mut large);
    assert_eq!(code(&LOOSE, &large), Some(Code::EXCESSIVE_LOAD));
    assert_eq!(code(&LOOSE, &capsule(0x78ae, b"").repeat(66)), Some(Code::EXCESSIVE_LOAD));
    // What means something gives it back.
    let flood = [unknown.repeat(60), capsule(0, b"x"), unknown.repeat(60)].concat();
    assert_eq!(code(&LOOSE, &flood), None);
}

#[test]
fn limits_of_streams_are_quics() {
    // Section 5.4.
    for kind in [0x190b_4d3e, 0x190b_4d42] {
        assert_eq!(code(&LOOSE, &integer(kind, 1)), Some(Code::WT_FLOW_CONTROL_ERROR));
    }
}

#[test]
fn bytes_are_sent_as_far_as_the_peer_lets() {
    let mut one = session(&STRICT);
    assert_eq!(one.credit(), 10);
    one.sent(10);
    assert_eq!(one.credit(), 0);
    one.starve();
    one.starve();
    assert_eq!(one.take_output().unwrap(), integer(0x190b_4d41, 10), "once for each limit");
    one.received(integer(0x190b_4d3d, 15).into());
    assert_eq!(one.poll_event(), Some(Event::MaySend));
    assert_eq!(one.credit(), 5);
    one.starve();
    assert_eq!(one.take_output(), None, "nothing is held up");
    one.received(integer(0x190b_4d3d, 20).into());
    assert_eq!((one.poll_event(), one.credit()), (None, 10));
}

#[test]
fn streams_are_opened_as_far_as_the_peer_lets() {
    let mut one = session(&STRICT);
    assert!(one.may_open(Direction::Both));
    one.opened(Direction::Both);
    assert!(!one.may_open(Direction::Both) && !one.may_open(Direction::One));
    assert!(!one.may_open(Direction::Both));
    let said = [integer(0x190b_4d43, 1), integer(0x190b_4d44, 0)].concat();
    assert_eq!(one.take_output().unwrap(), said);
    one.received([integer(0x190b_4d3f, 3), integer(0x190b_4d40, 1)].concat().into());
    assert_eq!(one.poll_event(), Some(Event::MayOpen(Direction::Both)));
    assert_eq!(one.poll_event(), Some(Event::MayOpen(Direction::One)));
    assert!(one.may_open(Direction::Both) && one.may_open(Direction::One));
    one.opened(Direction::Both);
    one.opened(Direction::Both);
    assert!(!one.may_open(Direction::Both));
}

#[test]
fn limits_only_rise_and_can_be() {
    for kind in [0x190b_4d3d, 0x190b_4d3f, 0x190b_4d40] {
        let twice = [integer(kind, 20), integer(kind, 20)].concat();
        assert_eq!(code(&STRICT, &twice), Some(Code::WT_FLOW_CONTROL_ERROR), "{kind:#x}");
        assert_eq!(code(&STRICT, &integer(kind, 0)), Some(Code::WT_FLOW_CONTROL_ERROR));
        assert_eq!(code(&STRICT, &capsule(kind, b"")), Some(Code::MESSAGE_ERROR));
        assert_eq!(code(&STRICT, &capsule(kind, &[0; 9])), Some(Code::MESSAGE_ERROR));
        assert_eq!(code(&STRICT, &capsule(kind, &[0, 0])), Some(Code::MESSAGE_ERROR));
        // Section 5.1: where none is agreed, none counts.
        assert_eq!(told(&LOOSE, &twice, false), []);
    }
    let most = integer(0x190b_4d3f, 1 << 60);
    assert_eq!(code(&STRICT, &most), None);
    let over = integer(0x190b_4d3f, (1 << 60) + 1);
    assert_eq!(code(&STRICT, &over), Some(Code::WT_FLOW_CONTROL_ERROR));
    assert_eq!(code(&LOOSE, &over), Some(Code::WT_FLOW_CONTROL_ERROR));
    let mut one = session(&LOOSE);
    assert_eq!(one.credit(), u64::MAX);
    assert!((0..99).all(|_| {
        one.opened(Direction::One);
        one.may_open(Direction::One)
    }));
    assert_eq!(one.take_output(), None);
}

#[test]
fn new_limits_cost_nothing_where_something_was_sent() {
    let mut one = session(&STRICT);
    for limit in 11..500 {
        one.sent(1);
        one.received(integer(0x190b_4d3d, limit).into());
        assert!(one.is_open());
    }
    for limit in 500..600 {
        one.received(integer(0x190b_4d3d, limit).into());
    }
    assert!(!one.is_open());
}
