//! Two whole ends: HTTP/3 of a client and of a server, and a session between them, whose packets come
//! in any order.

use std::sync::Arc;

use super::*;
use crate::http3::{
    Action, Config, Connection, Content, Event as Came, Fields, RequestHead, Role, Settings,
};

fn config() -> Arc<Config> {
    let mut settings = Settings::default();
    settings::announce(&Limits::default(), &mut settings);
    Arc::new(Config {
        settings,
        foreign_uni: vec![header::ONE],
        foreign_bidi: vec![header::BOTH],
        early_datagrams: true,
        ..Config::default()
    })
}

/// What travels.
#[derive(Debug, Clone)]
enum Packet {
    Stream(u64, Bytes, bool),
    Datagram(Bytes),
}

struct End {
    core: Connection,
    control: u64,
    opened: Vec<u64>,
    peer: Option<Peer>,
    session: Option<Session>,
    waiting: Waiting<(u64, Bytes)>,
    /// Streams and datagrams that found the session, and what was heard of it.
    streams: Vec<(u64, Bytes)>,
    datagrams: Vec<Bytes>,
    heard: Vec<Event>,
    asked: Option<u64>,
}

impl End {
    fn new(role: Role) -> Self {
        Self {
            core: Connection::new(role, config()),
            control: if role == Role::Server { 3 } else { 2 },
            opened: Vec::new(),
            peer: None,
            session: None,
            waiting: Waiting::new(Limits::default()),
            streams: Vec::new(),
            datagrams: Vec::new(),
            heard: Vec::new(),
            asked: None,
        }
    }

    fn take(&mut self, packet: Packet) {
        match packet {
            Packet::Stream(stream, bytes, ends) => {
                // A stream opens those before it (RFC 9000, section 2.1).
                for earlier in (stream % 4..=stream).step_by(4) {
                    if !self.opened.contains(&earlier) {
                        self.opened.push(earlier);
                        self.core.opened(earlier);
                    }
                }
                if !bytes.is_empty() {
                    self.core.received(stream, bytes);
                }
                if ends {
                    self.core.finished(stream);
                }
            }
            Packet::Datagram(bytes) => self.core.datagram_received(bytes),
        }
        while let Some(event) = self.core.poll_event() {
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Came) {
        match event {
            Came::Settings(settings) => self.peer = Some(Peer::of(&settings).unwrap()),
            Came::Request { stream, head, .. } => {
                assert!(is_asked(head.protocol()));
                self.asked = Some(stream);
            }
            Came::Response { stream, head, .. } => {
                assert_eq!(head.status(), 200);
                self.admit(stream);
            }
            Came::Data { bytes, .. } => self.session.as_mut().unwrap().received(bytes),
            Came::Ended { .. } => self.session.as_mut().unwrap().finished(),
            Came::Foreign { stream, value, rest, .. } => {
                header::check(value).unwrap();
                match self.session {
                    Some(_) => self.streams.push((stream, rest)),
                    None => assert_eq!(self.waiting.stream(value, (stream, rest)), None),
                }
            }
            Came::Datagram { stream, payload } => match self.session {
                Some(_) => self.datagrams.push(payload),
                None => self.waiting.datagram(stream, payload),
            },
            other => panic!("{other:?}"),
        }
        if let Some(session) = &mut self.session {
            self.heard.extend(std::iter::from_fn(|| session.poll_event()));
        }
    }

    fn admit(&mut self, id: u64) {
        self.session = Some(Session::new(&self.peer.unwrap(), Limits::default()));
        let (streams, datagrams) = self.waiting.take(id);
        self.streams.extend(streams);
        self.datagrams.extend(datagrams);
    }

    /// What is to travel now.
    fn send(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenUni => self.core.opened_uni(self.control),
                Action::Write(stream, bytes) => packets.push(Packet::Stream(stream, bytes, false)),
                Action::Finish(stream) => packets.push(Packet::Stream(stream, Bytes::new(), true)),
                Action::Datagram(bytes) => packets.push(Packet::Datagram(bytes)),
                other => panic!("{other:?}"),
            }
        }
        packets
    }

    fn say(&mut self, id: u64, last: bool) {
        let output = self.session.as_mut().unwrap().take_output().unwrap_or_default();
        self.core.data(id, output, last).unwrap();
    }
}

fn stream_of(direction: Direction, id: u64, body: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    header::encode(direction, id, &mut bytes);
    bytes.extend_from_slice(body);
    bytes.into()
}

fn exchange(from: &mut End, to: &mut End) {
    for packet in from.send() {
        to.take(packet);
    }
}

#[test]
fn a_session_comes_about_in_whatever_order_its_packets_come() {
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
    for order in orders {
        let (mut client, mut server) = (End::new(Role::Client), End::new(Role::Server));
        exchange(&mut server, &mut client);
        let peer = client.peer.unwrap();
        assert!(peer.speaks && peer.datagrams && peer.most_sessions() == 16);
        exchange(&mut client, &mut server);
        let fields = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/"),
            (":protocol", std::str::from_utf8(peer.protocol()).unwrap()),
        ];
        let head = RequestHead::new(fields.iter().copied().collect::<Fields>(), true).unwrap();
        client.core.request(0, &head, Content::Follows).unwrap();
        client.core.send_datagram(0, b"soon").unwrap();
        // The client need not wait for the answer (section 4).
        let mut flight = client.send();
        flight.push(Packet::Stream(4, stream_of(Direction::Both, 0, b"one"), false));
        flight.push(Packet::Stream(6, stream_of(Direction::One, 0, b"two"), false));
        assert_eq!(flight.len(), 4);
        for index in order {
            let packet: Packet = flight[index].clone();
            server.take(packet);
        }
        let id = server.asked.unwrap();
        server.core.respond(id, 200, [("a", "b")], Content::Follows).unwrap();
        server.admit(id);
        server.streams.sort();
        let expected = [(4, Bytes::from_static(b"one")), (6, Bytes::from_static(b"two"))];
        assert_eq!(server.streams, expected, "{order:?}");
        assert_eq!(server.datagrams, [Bytes::from_static(b"soon")]);

        // A stream and a datagram of the server overtake its answer.
        server.core.send_datagram(id, b"hello").unwrap();
        let mut flight = server.send();
        flight.insert(0, Packet::Stream(1, stream_of(Direction::Both, id, b"yours"), false));
        flight.rotate_right(1);
        for packet in flight {
            client.take(packet);
        }
        assert_eq!(client.streams, [(1, Bytes::from_static(b"yours"))]);
        assert_eq!(client.datagrams, [Bytes::from_static(b"hello")]);

        // The end.
        server.session.as_mut().unwrap().drain();
        server.say(id, false);
        client.session.as_mut().unwrap().close(9, "bye");
        client.say(0, true);
        exchange(&mut server, &mut client);
        exchange(&mut client, &mut server);
        assert_eq!(client.heard, []);
        assert_eq!(server.heard, [closed(9, "bye")]);
        server.core.data(id, Bytes::new(), true).unwrap();
        exchange(&mut server, &mut client);
        assert_eq!((client.core.open_requests(), server.core.open_requests()), (0, 0));
    }
}
