//! A connection as a peer meets it: bytes in, events and actions out.
#![allow(clippy::unwrap_used, clippy::panic)]

mod exchanges;
mod extensions;
mod limits;
mod pair;
mod rules;
mod sending;
mod shutdown;

use super::*;
use crate::http3::qpack;

/// Our control stream, and the peer's, in either role.
const fn control(role: Role) -> (u64, u64) {
    match role {
        Role::Server => (3, 2),
        Role::Client => (2, 3),
    }
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
const CONNECT: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "a.example:443")];
const OK: [(&str, &str); 1] = [(":status", "200")];

fn extended(protocol: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields = vec![(":method", "CONNECT"), (":protocol", protocol)];
    fields.extend(&GET[1..]);
    fields
}

fn config() -> Config {
    let settings = Settings { extended_connect: true, datagrams: true, ..Settings::default() };
    Config { settings, ..Config::default() }
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::whole(kind, payload, &mut out);
    out
}

fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = qpack::PREFIX.to_vec();
    for (name, value) in fields {
        qpack::field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, &section(fields))
}

fn data(content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, content)
}

fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        varint::encode(*id, &mut payload);
        varint::encode(*value, &mut payload);
    }
    frame(kind::SETTINGS, &payload)
}

/// One end, and what it said since it was last asked.
struct End {
    connection: Connection,
}

impl End {
    fn new(role: Role, config: Config) -> Self {
        let mut end = Self { connection: Connection::new(role, Arc::new(config)) };
        let (ours, _) = control(role);
        assert_eq!(end.connection.poll_action(), Some(Action::OpenUni));
        end.connection.opened_uni(ours);
        let Some(Action::Write(stream, _)) = end.connection.poll_action() else { panic!() };
        assert_eq!(stream, ours);
        end
    }

    /// An end whose peer has said what it is, and takes everything.
    fn settled(role: Role, config: Config) -> Self {
        let mut end = Self::new(role, config);
        let mut bytes = vec![0];
        bytes.extend(settings(&[(0x08, 1), (0x33, 1)]));
        end.open(control(role).1, &bytes);
        let events = end.events();
        assert!(matches!(events[..], [Event::Settings(_)]), "{events:?}");
        end
    }

    fn server() -> Self {
        Self::settled(Role::Server, config())
    }

    /// A client that has made requests on streams 0, 4, ….
    fn client(requests: &[&[(&str, &str)]]) -> Self {
        let mut end = Self::settled(Role::Client, config());
        for (stream, fields) in (0..).step_by(4).zip(requests) {
            let head = RequestHead::new(fields.iter().copied().collect(), true).unwrap();
            end.connection.request(stream, &head, Content::Follows).unwrap();
        }
        end.actions();
        end
    }

    fn open(&mut self, stream: u64, bytes: &[u8]) {
        self.connection.opened(stream);
        self.send(stream, bytes);
    }

    fn send(&mut self, stream: u64, bytes: &[u8]) {
        self.connection.received(stream, Bytes::copy_from_slice(bytes));
    }

    /// A whole request or response on a stream, and its end.
    fn whole(&mut self, stream: u64, bytes: &[u8]) {
        self.open(stream, bytes);
        self.connection.finished(stream);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.connection.poll_action()).collect()
    }

    /// With what code the connection was closed, and that the transport was told.
    fn code(&mut self) -> Option<Code> {
        let code = self.connection.closed().map(|error| error.code);
        let told = self.actions().into_iter().find_map(|action| match action {
            Action::Close(code, _) => Some(code),
            _ => None,
        });
        assert_eq!(told, code);
        code
    }

    #[track_caller]
    fn is_fine(&mut self) {
        assert_eq!(self.connection.closed(), None);
    }

    /// A second request works as if nothing had been.
    #[track_caller]
    fn others_are_unharmed(&mut self) {
        self.is_fine();
        self.events();
        self.whole(400, &headers(&GET));
        let events = self.events();
        assert!(
            matches!(events[..], [Event::Request { stream: 400, ended: true, .. }]),
            "{events:?}"
        );
    }
}

use crate::http3::{Content, Fields, RequestHead, ResponseHead, StreamError};

fn request(stream: u64, fields: &[(&str, &str)], ended: bool) -> Event {
    let head = RequestHead::new(fields.iter().copied().collect(), true).unwrap();
    let priority = Priority::of(&head);
    Event::Request { stream, head, priority, ended }
}

fn response(fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead::new(fields.iter().copied().collect()).unwrap()
}

fn content(stream: u64, bytes: &'static [u8]) -> Event {
    Event::Data { stream, bytes: Bytes::from_static(bytes) }
}

/// The code with which a stream failed, by events and by actions.
#[track_caller]
fn failed(end: &mut End, stream: u64) -> Code {
    end.is_fine();
    let mut codes: Vec<Code> = Vec::new();
    for action in end.actions() {
        match action {
            Action::Reset(id, code) | Action::StopSending(id, code) if id == stream => {
                codes.push(code)
            }
            _ => {}
        }
    }
    let code = *codes.first().unwrap();
    assert!(codes.iter().all(|other| *other == code));
    for event in end.events() {
        if let Event::Failed { error: StreamError { code: told, .. }, .. } = event {
            assert_eq!(told, code);
        }
    }
    code
}
