//! A whole HTTP/3 connection, in either role, with a peer that says anything: bytes in any pieces
//! have the effect that they have as a whole, nothing is held but what is not whole, and what is told
//! of a stream and what is asked of the transport makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jetstream_proto::http3::settings::Settings;
use jetstream_proto::http3::{
    Action, Code, Config, Connection, Content, Event, Limits, Priority, RequestHead, Role, qpack,
};
use jetstream_proto::http3::{frame, varint};

use crate::script::Script;

const LIMITS: Limits = Limits {
    max_field_section: 512,
    max_fields: 12,
    max_settings: 6,
    max_priority: 16,
    max_early_priorities: 2,
    idle_work: 40,
};

/// The peer's streams, and in a client the requests.
const OF_A_CLIENT: [u64; 8] = [2, 0, 4, 8, 6, 10, 14, 12];
const OF_A_SERVER: [u64; 8] = [3, 0, 4, 8, 7, 11, 15, 1];

/// Messages that get far.
const HEADS: [&[(&str, &str)]; 10] = [
    &[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")],
    &[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/"),
        ("host", "a"),
        ("content-length", "5"),
    ],
    &[
        (":method", "HEAD"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
        ("priority", "u=1"),
    ],
    &[(":method", "CONNECT"), (":authority", "a:1")],
    &[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
    ],
    &[(":status", "200"), ("content-length", "5")],
    &[(":status", "103"), ("link", "x")],
    &[(":status", "204")],
    &[("checksum", "1")],
    &[(":method", "GET"), ("Upper", "x")],
];

/// One input: the role and what is registered, then the steps.
pub fn run(input: &[u8]) {
    let whole = talk(input, usize::MAX);
    for size in [1, 3] {
        let pieces = talk(input, size);
        assert_eq!(whole.said, pieces.said, "in pieces of {size}");
    }
}

/// One end, and all that it said.
struct End {
    connection: Connection,
    role: Role,
    opened: BTreeSet<u64>,
    given: usize,
    told: BTreeMap<u64, Told>,
    asked: BTreeMap<u64, Asked>,
    requests: Vec<u64>,
    said: Vec<String>,
    is_closed: bool,
}

/// What was told of a stream.
#[derive(Default)]
struct Told {
    has_head: bool,
    is_complete: bool,
    is_over: bool,
}

/// What was asked of the transport for a stream.
#[derive(Default)]
struct Asked {
    is_ended: bool,
    is_stopped: bool,
}

fn talk(input: &[u8], size: usize) -> End {
    let mut script = Script::new(input);
    let first = script.byte();
    let role = if first & 1 == 0 { Role::Server } else { Role::Client };
    let (foreign_uni, foreign_bidi) =
        if first & 2 == 0 { (vec![], vec![]) } else { (vec![0x54], vec![0x41]) };
    let others = vec![(0x2b60_3742, 1)];
    let settings =
        Settings { extended_connect: true, datagrams: true, others, ..Settings::default() };
    let config = Arc::new(Config {
        settings,
        limits: LIMITS,
        foreign_uni,
        foreign_bidi,
        early_datagrams: first & 2 != 0,
    });
    let mut end = End {
        connection: Connection::new(role, config),
        role,
        opened: BTreeSet::new(),
        given: 0,
        told: BTreeMap::new(),
        asked: BTreeMap::new(),
        requests: Vec::new(),
        said: Vec::new(),
        is_closed: false,
    };
    if first & 4 == 0 {
        end.connection.opened_uni(if role == Role::Server { 3 } else { 2 });
    }
    if first & 8 == 0 {
        end.begin();
    }
    while let Some(step) = script.step() {
        end.step(step, &mut script, size);
        end.agree();
    }
    end
}

impl End {
    /// What every peer begins with; and in a client, requests.
    fn begin(&mut self) {
        let mut bytes = vec![0];
        frame::whole(frame::kind::SETTINGS, &[0x08, 1, 0x33, 1], &mut bytes);
        self.give(self.stream(0), &bytes, usize::MAX);
        if self.role == Role::Client {
            for (stream, fields) in [0, 4, 8].into_iter().zip([HEADS[0], HEADS[4], HEADS[2]]) {
                let head = RequestHead::new(fields.iter().copied().collect(), true);
                let asked =
                    head.map(|head| self.connection.request(stream, &head, Content::Follows));
                assert!(asked.is_ok_and(|asked| asked.is_ok()));
            }
        }
        self.agree();
    }

    fn stream(&self, index: u8) -> u64 {
        let streams = if self.role == Role::Server { OF_A_CLIENT } else { OF_A_SERVER };
        streams[usize::from(index) % streams.len()]
    }

    fn open(&mut self, stream: u64) {
        if self.opened.insert(stream) {
            self.connection.opened(stream);
        }
    }

    fn give(&mut self, stream: u64, bytes: &[u8], size: usize) {
        self.open(stream);
        self.given += bytes.len();
        for piece in bytes.chunks(size.min(bytes.len().max(1))) {
            self.connection.received(stream, Bytes::copy_from_slice(piece));
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>, size: usize) {
        let stream = self.stream(script.byte());
        match step % 12 {
            0 => {
                let length = script.number() as usize;
                self.give(stream, script.bytes(length), size);
            }
            1 => {
                let mut out = Vec::new();
                let mut section = qpack::PREFIX.to_vec();
                for (name, value) in HEADS[usize::from(script.byte()) % HEADS.len()] {
                    qpack::field(name.as_bytes(), value.as_bytes(), &mut section);
                }
                frame::whole(frame::kind::HEADERS, &section, &mut out);
                self.give(stream, &out, size);
            }
            2 => {
                // A frame of any type, declared a little wrong now and then.
                let kind = u64::from(script.byte());
                let length = script.number() as usize;
                let wrong = u64::from(script.byte() / 250);
                let payload = script.bytes(length);
                let mut out = Vec::new();
                frame::header(kind, payload.len() as u64 + wrong, &mut out);
                out.extend_from_slice(payload);
                self.give(stream, &out, size);
            }
            3 => {
                self.open(stream);
                self.connection.finished(stream);
            }
            4 => {
                self.open(stream);
                self.connection.reset(stream, Code(script.byte().into()));
            }
            5 => self.connection.stopped(stream, Code(script.byte().into())),
            6 => {
                let length = usize::from(script.byte());
                self.connection.datagram_received(Bytes::copy_from_slice(script.bytes(length)));
            }
            7 => self.answer(script),
            8 => self.send(stream, script),
            9 => match script.byte() % 3 {
                0 => self.connection.announce_going_away(),
                1 => self.connection.go_away(),
                _ => self.connection.opened_uni(if self.role == Role::Server { 3 } else { 2 }),
            },
            10 => {
                // A change of priority, or anything else with an id.
                let mut out = Vec::new();
                let mut payload = Vec::new();
                varint::encode(script.number().into(), &mut payload);
                let length = usize::from(script.byte() % 24);
                payload.extend_from_slice(script.bytes(length));
                frame::whole(frame::kind::PRIORITY_UPDATE_REQUEST, &payload, &mut out);
                self.give(self.stream(0), &out, size);
            }
            _ => self.connection.stop_reading(stream, Code::NO_ERROR),
        }
    }

    /// Answers the request that has waited for longest.
    fn answer(&mut self, script: &mut Script<'_>) {
        if self.requests.is_empty() {
            return;
        }
        let stream = self.requests.remove(0);
        let length = usize::from(script.byte());
        let fields =
            [("content-length", length.to_string()), ("Content-Type", "text/plain".into())];
        let fields = fields.into_iter().skip(usize::from(script.byte() % 2));
        let status = [200, 204, 304, 404][usize::from(script.byte() % 4)];
        let content = match script.byte() % 3 {
            0 => Content::None,
            1 => Content::Follows,
            _ => Content::Whole(vec![7; length].into()),
        };
        let _ = self.connection.inform(stream, 103, [("link", "x")]);
        let _ = self.connection.respond(stream, status, fields, content);
    }

    fn send(&mut self, stream: u64, script: &mut Script<'_>) {
        let length = usize::from(script.byte());
        let bytes = Bytes::from(vec![7; length]);
        match script.byte() % 6 {
            0 => drop(self.connection.data(stream, bytes, false)),
            1 => drop(self.connection.data(stream, bytes, true)),
            2 => drop(self.connection.trailers(stream, [("checksum", "1")])),
            3 => self.connection.abort(stream, Code::REQUEST_CANCELLED),
            4 => drop(self.connection.send_datagram(stream, &bytes)),
            _ => drop(self.connection.prioritise(stream, Priority::default())),
        }
    }

    /// Takes what there is, and looks whether it can be.
    fn agree(&mut self) {
        let was_closed = self.is_closed;
        let mut last_data = None;
        while let Some(event) = self.connection.poll_event() {
            assert!(!was_closed, "{event:?} after the end");
            self.told(&event);
            // Cuts show in nothing but these.
            let text = match event {
                Event::Data { stream, bytes } => {
                    let bytes = bytes.escape_ascii();
                    match self.said.last_mut().filter(|_| last_data == Some(stream)) {
                        Some(text) => text.push_str(&bytes.to_string()),
                        None => self.said.push(format!("data {stream} {bytes}")),
                    }
                    last_data = Some(stream);
                    continue;
                }
                Event::Foreign { stream, kind, value, .. } => format!("{stream} {kind} {value}"),
                other => format!("{other:?}"),
            };
            last_data = None;
            self.said.push(text);
        }
        while let Some(action) = self.connection.poll_action() {
            assert!(!self.is_closed, "{action:?} after the end");
            self.asked(&action);
            self.said.push(format!("{action:?}"));
        }
        assert_eq!(self.is_closed, self.connection.closed().is_some());
        let most = (self.opened.len() + 3) * LIMITS.max_field_section as usize;
        assert!(self.connection.held() <= self.given.min(most));
    }

    fn told(&mut self, event: &Event) {
        let (stream, is_head, is_end) = match event {
            Event::Request { stream, ended, .. } | Event::Response { stream, ended, .. } => {
                if self.role == Role::Server {
                    self.requests.push(*stream);
                }
                (*stream, true, *ended)
            }
            Event::Data { stream, bytes } => {
                assert!(!bytes.is_empty());
                (*stream, false, false)
            }
            Event::Trailers { stream, .. } => (*stream, false, false),
            Event::Ended { stream } => (*stream, false, true),
            Event::Reset { stream, .. }
            | Event::Stopped { stream, .. }
            | Event::Failed { stream, .. } => {
                let told = self.told.entry(*stream).or_default();
                assert!(told.has_head || self.role == Role::Client, "nobody knows of {event:?}");
                assert!(!told.is_over, "{event:?}");
                match event {
                    Event::Failed { .. } => told.is_over = true,
                    Event::Reset { .. } => told.is_complete = true,
                    _ => {}
                }
                return;
            }
            _ => return,
        };
        let told = self.told.entry(stream).or_default();
        assert!(!told.is_over && !told.is_complete, "{event:?} of a stream that is over");
        assert!(told.has_head != is_head, "{event:?}");
        told.has_head = true;
        told.is_complete |= is_end;
    }

    fn asked(&mut self, action: &Action) {
        match action {
            Action::Write(stream, bytes) => {
                let asked = self.asked.entry(*stream).or_default();
                assert!(!asked.is_ended && !bytes.is_empty(), "{action:?}");
            }
            Action::Finish(stream) | Action::Reset(stream, _) => {
                let asked = self.asked.entry(*stream).or_default();
                assert!(!std::mem::replace(&mut asked.is_ended, true), "{action:?}");
            }
            Action::StopSending(stream, _) => {
                let asked = self.asked.entry(*stream).or_default();
                assert!(!std::mem::replace(&mut asked.is_stopped, true), "{action:?}");
            }
            Action::Close(..) => self.is_closed = true,
            Action::OpenUni | Action::Datagram(_) => {}
        }
    }
}
