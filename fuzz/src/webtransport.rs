//! A session of WebTransport with a peer that says anything: capsules in any pieces have the effect
//! that they have as a whole, little is held, the peer's limits are kept, and a second session
//! understands all that the first one says. Beside it a waiting room, which never holds too much.

use bytes::Bytes;
use jetstream_proto::http3::{Budget, Code, Settings, capsule, varint};
use jetstream_proto::webtransport::{
    Direction, Event, Limits, MAX_REASON, Peer, Session, Waiting, code, header, settings,
};

use crate::script::Script;

const LIMITS: Limits = Limits {
    max_sessions: 4,
    streams_bidi: 8,
    streams_uni: 8,
    early_streams: 3,
    early_datagrams: 4,
    early_bytes: 64,
    datagram_bytes: 64,
    idle_capsules: 6,
    idle_bytes: 512,
};

/// What capsules there are, and some that mean nothing.
const KINDS: [u64; 13] = [
    0x00,
    0x2843,
    0x78ae,
    0x190b_4d3d,
    0x190b_4d3e,
    0x190b_4d3f,
    0x190b_4d40,
    0x190b_4d41,
    0x190b_4d42,
    0x190b_4d43,
    0x190b_4d44,
    0x21,
    0x4242,
];

/// The longest capsule that is kept.
const MOST: usize = 1500;

/// One input: the peer's settings, then the steps.
pub fn run(input: &[u8]) {
    let whole = talk(input, usize::MAX);
    for size in [1, 3] {
        assert_eq!(whole, talk(input, size), "in pieces of {size}");
    }
    wait(input);
    codes(input);
}

/// A session, who hears it, and what is known of both.
struct Ends {
    here: Session,
    there: Session,
    /// What the peer lets us have, and what we had of it.
    counts: bool,
    data: (u64, u64),
    both: (u64, u64),
    one: (u64, u64),
    /// Reads what the session reads.
    shadow: capsule::Reader,
    said: Vec<String>,
    is_over: bool,
    closed: Option<(u32, String)>,
}

fn talk(input: &[u8], size: usize) -> Vec<String> {
    let mut script = Script::new(input);
    let mut said = Settings { datagrams: true, ..Settings::default() };
    for id in [
        settings::INITIAL_MAX_DATA,
        settings::INITIAL_MAX_STREAMS_BIDI,
        settings::INITIAL_MAX_STREAMS_UNI,
        settings::ENABLED,
    ] {
        said.others.push((id, script.number().into()));
    }
    let Ok(peer) = Peer::of(&said) else { return Vec::new() };
    let mut loose = said.clone();
    loose.others.clear();
    let Ok(nobody) = Peer::of(&loose) else { panic!("settings without anything") };
    let mut ends = Ends {
        here: Session::new(&peer, LIMITS),
        there: Session::new(&nobody, Limits { idle_capsules: u16::MAX, ..LIMITS }),
        counts: peer.limits(),
        data: (peer.max_data, 0),
        both: (peer.max_streams_bidi, 0),
        one: (peer.max_streams_uni, 0),
        shadow: capsule::Reader::default(),
        said: Vec::new(),
        is_over: false,
        closed: None,
    };
    while let Some(step) = script.step() {
        ends.step(step, &mut script, size);
        ends.agree(size);
    }
    ends.said
}

impl Ends {
    fn give(&mut self, bytes: &[u8], size: usize) {
        self.note_limits(bytes);
        for piece in bytes.chunks(size.min(bytes.len().max(1))) {
            self.here.received(Bytes::copy_from_slice(piece));
            assert!(self.here.held() < MOST);
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>, size: usize) {
        match step % 9 {
            0 => {
                let length = script.number() as usize;
                self.give(script.bytes(length), size);
            }
            1 => {
                // A capsule, declared a little wrong now and then.
                let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
                let (wrong, length) = (u64::from(script.byte() / 250), script.number() as usize);
                let value = script.bytes(length);
                let mut bytes = Vec::new();
                varint::encode(kind, &mut bytes);
                varint::encode(value.len() as u64 + wrong, &mut bytes);
                bytes.extend_from_slice(value);
                self.give(&bytes, size);
            }
            2 => {
                let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
                let shift = script.byte() % 62;
                let mut value = Vec::new();
                varint::encode(u64::from(script.number()) << shift & varint::MAX, &mut value);
                let mut bytes = Vec::new();
                capsule::encode(kind, &value, &mut bytes);
                self.give(&bytes, size);
            }
            3 => self.here.finished(),
            4 => self.open(if script.byte() % 2 == 0 { Direction::Both } else { Direction::One }),
            5 => {
                let bytes = u64::from(script.number()).min(self.here.credit());
                self.here.sent(bytes);
                self.data.1 += bytes;
            }
            6 => self.here.starve(),
            7 => self.here.drain(),
            _ => {
                let (number, length) = (script.number(), script.number() as usize);
                let reason = String::from_utf8_lossy(script.bytes(length)).into_owned();
                if self.here.is_open() && self.closed.is_none() {
                    self.closed = Some((number, reason.clone()));
                }
                self.here.close(number, &reason);
                assert!(!self.here.is_open() && self.here.credit() == 0);
            }
        }
    }

    /// The largest limits that were said, whatever a session makes of them.
    fn note_limits(&mut self, bytes: &[u8]) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        let kept = |kind| matches!(kind, 0x190b_4d3d | 0x190b_4d3f | 0x190b_4d40).then_some(8);
        while let Ok(Some(found)) = self.shadow.next(&mut bytes, &mut Budget::new(1 << 20), kept) {
            let known = match found.kind {
                0x190b_4d3d => &mut self.data,
                0x190b_4d3f => &mut self.both,
                _ => &mut self.one,
            };
            known.0 = known.0.max(varint::whole(&found.value).unwrap_or(0));
        }
    }

    fn open(&mut self, direction: Direction) {
        if !self.here.may_open(direction) {
            return;
        }
        self.here.opened(direction);
        let known = match direction {
            Direction::Both => &mut self.both,
            Direction::One => &mut self.one,
        };
        known.1 += 1;
        assert!(!self.counts || known.1 <= known.0, "a stream over the peer's limit");
    }

    fn agree(&mut self, size: usize) {
        assert!(!self.counts || self.data.1 <= self.data.0, "bytes over the peer's limit");
        while let Some(event) = self.here.poll_event() {
            match &event {
                Event::Failed(_) => self.is_over = true,
                _ => assert!(!self.is_over, "{event:?} after the end"),
            }
            if let Event::Closed { reason, .. } = &event {
                self.is_over = true;
                assert!(reason.len() <= MAX_REASON);
            }
            self.said.push(format!("{event:?}"));
        }
        assert_eq!(self.is_over || self.closed.is_some(), !self.here.is_open());
        if let Some(output) = self.here.take_output() {
            self.said.push(format!("{:x?}", &output[..]));
            for piece in output.chunks(size.min(output.len())) {
                self.there.received(Bytes::copy_from_slice(piece));
            }
        }
        let mut closed = None;
        while let Some(event) = self.there.poll_event() {
            match event {
                Event::Failed(error) => panic!("we said what cannot be: {error}"),
                Event::Closed { code, reason } => closed = Some((code, reason)),
                _ => {}
            }
        }
        if let Some((code, reason)) = closed {
            let ours = self.closed.as_ref();
            assert!(ours.is_some_and(|(said, why)| *said == code && why.starts_with(&reason)));
        }
    }
}

/// Streams and datagrams that come before their sessions.
fn wait(input: &[u8]) {
    let mut script = Script::new(input);
    let mut waiting = Waiting::new(LIMITS);
    let (mut number, mut streams) = (0, Vec::new());
    while let Some(step) = script.step() {
        let session = u64::from(script.byte() % 4) * 4;
        match step % 3 {
            0 => {
                number += 1;
                match waiting.stream(session, number) {
                    None => streams.push((session, number)),
                    Some(rejected) => assert_eq!((rejected, streams.len()), (number, 3)),
                }
            }
            1 => {
                let length = usize::from(script.byte());
                waiting.datagram(session, Bytes::copy_from_slice(script.bytes(length)));
            }
            _ => {
                let (found, datagrams) = waiting.take(session);
                let its = streams.iter().filter(|(of, _)| *of == session).map(|(_, one)| *one);
                assert_eq!(found, its.collect::<Vec<_>>());
                streams.retain(|(of, _)| *of != session);
                assert!(datagrams.len() <= 4);
            }
        }
        assert_eq!(waiting.streams(), streams.len());
        assert!(waiting.streams() <= 3 && waiting.bytes() <= 64);
    }
}

/// Codes and first bytes.
fn codes(input: &[u8]) {
    for bytes in input.chunks_exact(8).filter_map(|chunk| chunk.first_chunk::<8>()) {
        let number = u64::from_be_bytes(*bytes);
        let application = number as u32;
        assert_eq!(code::from_wire(code::to_wire(application)), Some(application));
        if let Some(found) = code::from_wire(Code(number)) {
            assert_eq!(code::to_wire(found), Code(number));
        }
        let session = number & varint::MAX;
        assert_eq!(header::check(session).is_ok(), session % 4 == 0);
        for (direction, kind) in [(Direction::Both, header::BOTH), (Direction::One, header::ONE)] {
            let mut out = Vec::new();
            header::encode(direction, session, &mut out);
            let Some((found, size)) = varint::decode(&out) else { panic!("no kind") };
            assert_eq!((found, varint::whole(&out[size..])), (kind, Some(session)));
        }
    }
}
