//! A client and a server that talk to each other, with bytes in any pieces and streams in any order.

use std::collections::BTreeMap;

use super::*;
use crate::random::Random;

/// What is on its way to one end.
#[derive(Default)]
struct Way {
    streams: BTreeMap<u64, (VecDeque<Bytes>, bool, bool)>,
    datagrams: VecDeque<Bytes>,
}

impl Way {
    fn carry(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Write(stream, bytes) => {
                    self.streams.entry(stream).or_default().0.push_back(bytes)
                }
                Action::Finish(stream) => self.streams.entry(stream).or_default().1 = true,
                Action::Datagram(bytes) => self.datagrams.push_back(bytes),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Delivers a little of something.
    fn deliver(&mut self, end: &mut End, random: &mut Random) -> bool {
        if let Some(datagram) = self.datagrams.pop_front() {
            end.connection.datagram_received(datagram);
            return true;
        }
        let ready: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, way)| !way.0.is_empty() || way.1)
            .map(|(id, _)| *id)
            .collect();
        let Some(stream) = ready.get(random.below(ready.len())) else { return false };
        let Some((pieces, ended, is_open)) = self.streams.get_mut(stream) else { return false };
        if !std::mem::replace(is_open, true) {
            end.connection.opened(*stream);
        }
        match pieces.front_mut() {
            Some(bytes) => {
                let piece = bytes.split_to(1 + random.below(bytes.len().min(40)));
                if bytes.is_empty() {
                    pieces.pop_front();
                }
                end.connection.received(*stream, piece);
            }
            None => {
                *ended = false;
                end.connection.finished(*stream);
            }
        }
        true
    }
}

#[test]
fn many_exchanges_at_once() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut client = End::new(Role::Client, config());
        let mut server = End::new(Role::Server, config());
        let (mut to_client, mut to_server) = (Way::default(), Way::default());
        // The two control streams, whose first bytes the ends have taken out already.
        for (role, way) in [(Role::Client, &mut to_server), (Role::Server, &mut to_client)] {
            let mut connection = Connection::new(role, Arc::new(config()));
            connection.poll_action();
            connection.opened_uni(control(role).0);
            way.carry(std::iter::from_fn(|| connection.poll_action()).collect());
        }
        let mut expected = BTreeMap::new();
        for stream in (0..80).step_by(4) {
            let size = random.below(3000);
            let body = Bytes::from(vec![stream as u8; size]);
            let length = size.to_string();
            let mut fields = POST.to_vec();
            fields.push(("content-length", &length));
            let head = RequestHead::new(fields.into_iter().collect(), false).unwrap();
            client.connection.request(stream, &head, Content::Follows).unwrap();
            for piece in body.chunks(700) {
                client.connection.data(stream, Bytes::copy_from_slice(piece), false).unwrap();
            }
            match random.below(2) {
                0 => client.connection.data(stream, Bytes::new(), true).unwrap(),
                _ => client.connection.trailers(stream, [("end", "yes")]).unwrap(),
            }
            expected.insert(stream, body);
        }
        let (mut asked, mut answered) =
            (BTreeMap::<u64, Vec<u8>>::new(), BTreeMap::<u64, Vec<u8>>::new());
        let mut ended = 0;
        loop {
            to_server.carry(client.actions());
            to_client.carry(server.actions());
            let moved = match random.below(2) {
                0 => {
                    to_server.deliver(&mut server, &mut random)
                        || to_client.deliver(&mut client, &mut random)
                }
                _ => {
                    to_client.deliver(&mut client, &mut random)
                        || to_server.deliver(&mut server, &mut random)
                }
            };
            server.is_fine();
            client.is_fine();
            for event in server.events() {
                match event {
                    Event::Request { stream, .. } => drop(asked.insert(stream, Vec::new())),
                    Event::Data { stream, bytes } => asked.get_mut(&stream).unwrap().extend(&bytes),
                    Event::Ended { stream } => {
                        // The content comes back.
                        let body = Bytes::from(asked.remove(&stream).unwrap());
                        assert_eq!(body, expected[&stream]);
                        let connection = &mut server.connection;
                        connection.inform(stream, 103, [("link", "x")]).unwrap();
                        match random.below(2) {
                            0 => connection
                                .respond(stream, 200, [("a", "b")], Content::Whole(body))
                                .unwrap(),
                            _ => {
                                connection
                                    .respond(stream, 200, [("a", "b")], Content::Follows)
                                    .unwrap();
                                connection.data(stream, body, false).unwrap();
                                connection.trailers(stream, [("end", "yes")]).unwrap();
                            }
                        }
                    }
                    Event::Settings(_) | Event::Trailers { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            for event in client.events() {
                match event {
                    Event::Response { stream, ended: is_ended, .. } => {
                        answered.insert(stream, Vec::new());
                        ended += usize::from(is_ended);
                    }
                    Event::Data { stream, bytes } => {
                        answered.get_mut(&stream).unwrap().extend(&bytes)
                    }
                    Event::Ended { .. } => ended += 1,
                    Event::Settings(_) | Event::Trailers { .. } | Event::Interim { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            if !moved {
                break;
            }
        }
        assert_eq!(ended, expected.len());
        assert!(expected.iter().all(|(stream, body)| answered[stream] == *body));
        assert_eq!((client.connection.open_requests(), server.connection.open_requests()), (0, 0));
    }
}

#[test]
fn a_tunnel_with_datagrams() {
    let mut client = End::client(&[&extended("connect-udp")]);
    let mut server = End::server();
    server.whole(0, &[]);
    let mut server = End::server();
    server.open(0, &headers(&extended("connect-udp")));
    server.connection.respond(0, 200, [("capsule-protocol", "?1")], Content::Follows).unwrap();
    server.connection.data(0, "capsules".into(), false).unwrap();
    server.connection.send_datagram(0, b"datagram").unwrap();
    for action in server.actions() {
        match action {
            Action::Write(0, bytes) => client.connection.received(0, bytes),
            Action::Datagram(bytes) => client.connection.datagram_received(bytes),
            Action::OpenUni | Action::Write(..) => {}
            other => panic!("{other:?}"),
        }
    }
    let events = client.events();
    assert_eq!(
        events[1..],
        [
            content(0, b"capsules"),
            Event::Datagram { stream: 0, payload: Bytes::from_static(b"datagram") }
        ]
    );
    client.connection.send_datagram(0, b"back").unwrap();
    client.connection.prioritise(0, Priority { urgency: 1, incremental: true }).unwrap();
    let expected = frame(kind::PRIORITY_UPDATE_REQUEST, b"\0u=1, i");
    assert_eq!(client.actions()[1], Action::Write(2, expected.into()));
}
