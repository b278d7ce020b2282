//! The endpoint over real sockets on loopback, driven by hand: both ends in one thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod early;
mod forger;
mod h3;
mod parting;
mod rebind;
mod reload;
mod world;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetstream_proto::frame::{self, FrameError, kind};

use crate::tls::tests::pki::{Authority, Leaf};
use crate::tls::tests::{ALPN, client_options, server_options};
use crate::tls::{ClientTls, Trust, client, server};
use crate::{
    ConnectOptions, ConnectionKey, Dir, Endpoint, Event, Incoming, LaneEnd, LaneKey, Lost, Read,
    ServerOptions, Transport, Write,
};

fn transport() -> Transport {
    Transport {
        idle_timeout: Duration::from_secs(20),
        keep_alive: None,
        max_streams_bidi: 4,
        max_streams_uni: 2,
        stream_receive_window: 64 << 10,
        receive_window: 256 << 10,
        send_window: 256 << 10,
        max_unsent: 1 << 20,
        datagram_receive_buffer: 64 << 10,
        datagram_send_buffer: 64 << 10,
    }
}

fn visiting(tls: &ClientTls) -> ConnectOptions {
    ConnectOptions {
        tls: tls.clone(),
        incoming: Incoming::Raw,
        transport: transport(),
        early_data: false,
        handshake_timeout: Duration::from_secs(5),
    }
}

struct Pair {
    server: Endpoint,
    client: Endpoint,
    from_server: Vec<Event>,
    from_client: Vec<Event>,
    here: ConnectionKey,
    there: ConnectionKey,
    visiting: ConnectOptions,
}

impl Pair {
    fn connected(incoming: Incoming) -> Self {
        Self::begun(incoming, |_| {}).settled()
    }

    /// With the handshake behind it.
    fn settled(mut self) -> Self {
        let pair = &mut self;
        pair.until(|pair| {
            let confirmed = |event: &Event| matches!(event, Event::Confirmed { .. });
            pair.from_client.iter().any(confirmed) && !pair.from_server.is_empty()
        });
        let connection = pair.from_server.iter().find_map(|event| match event {
            Event::Connected { connection, incoming: true } => Some(*connection),
            _ => None,
        });
        pair.there = connection.unwrap();
        pair.from_server.clear();
        pair.from_client.clear();
        self
    }

    fn begun(incoming: Incoming, change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::of_both(incoming, Incoming::Raw, change)
    }

    fn of_both(
        incoming: Incoming,
        ours: Incoming,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let authority = Authority::root("Test CA");
        let identity = authority.issue(Leaf::new("server", &["localhost"]));
        let tls = server(server_options(identity)).unwrap();
        let mut options = ServerOptions {
            tls,
            incoming: HashMap::from([(ALPN.to_vec(), incoming)]),
            transport: transport(),
            max_connections: 10,
            max_handshakes: 10,
            retry_above: 10,
            handshake_timeout: Duration::from_secs(5),
        };
        change(&mut options);
        let tls = client(client_options(Trust::Roots(vec![authority.der.clone()]))).unwrap();
        Self::visited(options, ConnectOptions { incoming: ours, ..visiting(&tls) })
    }

    fn between(options: ServerOptions, tls: ClientTls) -> Self {
        Self::visited(options, visiting(&tls))
    }

    fn visited(options: ServerOptions, visiting: ConnectOptions) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listening = Endpoint::bind(any, Some(options)).unwrap();
        let mut calling = Endpoint::bind(any, None).unwrap();
        let remote = listening.io().local_addr().unwrap();
        let here = calling.connect(Instant::now(), remote, "localhost", visiting.clone()).unwrap();
        Self {
            server: listening,
            client: calling,
            from_server: Vec::new(),
            from_client: Vec::new(),
            here,
            there: ConnectionKey(u32::MAX),
            visiting,
        }
    }

    /// One turn of each end.
    fn turn(&mut self) {
        for (endpoint, events) in
            [(&mut self.client, &mut self.from_client), (&mut self.server, &mut self.from_server)]
        {
            endpoint.receive(Instant::now()).unwrap();
            events.extend(endpoint.take_events());
            endpoint.transmit(Instant::now()).unwrap();
            events.extend(endpoint.take_events());
        }
    }

    /// Only the server takes turns.
    fn until_server(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "server: {:?}", self.from_server);
            self.server.receive(Instant::now()).unwrap();
            self.from_server.extend(self.server.take_events());
            self.server.transmit(Instant::now()).unwrap();
        }
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "client: {:?}\nserver: {:?}",
                self.from_client,
                self.from_server
            );
            self.turn();
        }
    }

    fn lane(&mut self) -> LaneKey {
        let stream = self.client.open_stream(self.here, Dir::Bi).unwrap();
        self.client.make_lane(self.here, stream, 1 << 20).unwrap()
    }

    fn opened(&mut self) -> LaneKey {
        let find = |pair: &Self| {
            pair.from_server.iter().find_map(|event| match event {
                Event::LaneOpened { lane, .. } => Some(*lane),
                _ => None,
            })
        };
        self.until(|pair| find(pair).is_some());
        find(self).unwrap()
    }
}

fn request(tag: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out, kind::FIRST_METHOD, tag);
    out.extend_from_slice(payload);
    frame::finish(&mut out, start, u32::MAX).unwrap();
    out
}

fn tags(events: &[Event], lane: LaneKey) -> Vec<u16> {
    let runs = events.iter().filter_map(|event| match event {
        Event::Frames { lane: on, run } if *on == lane => Some(run),
        _ => None,
    });
    runs.flat_map(|run| frame::frames(run).map(|frame| frame.tag).collect::<Vec<_>>()).collect()
}

const LANES: Incoming = Incoming::Lanes { msize: 1 << 20 };

#[test]
fn frames_arrive_whole_and_in_order() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    for tag in 0..100 {
        pair.client.write_lane(lane, request(tag, &vec![7; usize::from(tag) * 100]));
    }
    let opened = pair.opened();
    pair.until(|pair| tags(&pair.from_server, opened).len() == 100);
    assert_eq!(tags(&pair.from_server, opened), (0..100).collect::<Vec<_>>());
    // And the other way.
    pair.server.write_lane(opened, request(7, b"back"));
    pair.until(|pair| tags(&pair.from_client, lane) == [7]);
}

#[test]
fn a_frame_over_the_limit_breaks_its_lane_and_no_other() {
    let mut pair = Pair::connected(Incoming::Lanes { msize: 5000 });
    let (bad, good) = (pair.lane(), pair.lane());
    pair.client.write_lane(bad, request(1, &[0; 5000]));
    pair.client.write_lane(good, request(2, b"fine"));
    let broken = |event: &Event| {
        let limit = LaneEnd::Broken(FrameError::TooLarge { size: 5007, limit: 5000 });
        matches!(event, Event::LaneEnded { end, .. } if *end == limit)
    };
    pair.until(|pair| {
        let fine = pair.from_server.iter().any(|event| matches!(event, Event::Frames { .. }));
        fine && pair.from_server.iter().any(broken)
    });
}

#[test]
fn a_paused_lane_holds_its_peer_up() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b""));
    let opened = pair.opened();
    pair.until(|pair| tags(&pair.from_server, opened).len() == 1);
    pair.server.pause_lane(opened, true);
    // More than the peer's window takes: some of it must stay on our side.
    for tag in 1..=20 {
        pair.client.write_lane(lane, request(tag, &[0; 16 << 10]));
    }
    for _ in 0..200 {
        pair.turn();
    }
    assert!(pair.client.lane_unsent(lane) > 200 << 10, "held by flow control");
    assert_eq!(tags(&pair.from_server, opened).len(), 1);
    pair.server.pause_lane(opened, false);
    pair.until(|pair| tags(&pair.from_server, opened).len() == 21);
    assert_eq!(pair.client.lane_unsent(lane), 0);
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b""));
    let opened = pair.opened();
    pair.until(|pair| tags(&pair.from_server, opened).len() == 1);
    // The client reads nothing, the server has 2 MiB of answers for it.
    pair.client.pause_lane(lane, true);
    for tag in 0..32 {
        pair.server.write_lane(opened, request(tag, &[0; 64 << 10]));
    }
    for tag in 1..=20 {
        pair.client.write_lane(lane, request(tag, &[0; 16 << 10]));
    }
    for _ in 0..200 {
        pair.turn();
    }
    assert_eq!(tags(&pair.from_server, opened).len(), 1, "no more requests are taken");
    pair.client.pause_lane(lane, false);
    pair.until(|pair| tags(&pair.from_server, opened).len() == 21);
    pair.until(|pair| tags(&pair.from_client, lane).len() == 32);
}

#[test]
fn how_much_may_be_unsent_is_a_setting() {
    for (max_unsent, read) in [(100 << 10, 1), (1 << 20, 2)] {
        let pair = Pair::begun(LANES, |options| options.transport.max_unsent = max_unsent);
        let mut pair = pair.settled();
        let lane = pair.lane();
        pair.client.write_lane(lane, request(0, b""));
        let opened = pair.opened();
        pair.until(|pair| tags(&pair.from_server, opened).len() == 1);
        pair.client.pause_lane(lane, true);
        for tag in 0..8 {
            pair.server.write_lane(opened, request(tag, &[0; 64 << 10]));
        }
        pair.turn();
        pair.client.write_lane(lane, request(1, b""));
        for _ in 0..100 {
            pair.turn();
        }
        assert_eq!(tags(&pair.from_server, opened).len(), read, "{max_unsent}");
    }
}

#[test]
fn a_released_lane_still_sends_what_it_has() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b""));
    let opened = pair.opened();
    // More than fits at once, then the end, then it is forgotten.
    for tag in 0..16 {
        pair.server.write_lane(opened, request(tag, &[0; 32 << 10]));
    }
    pair.server.finish_lane(opened);
    pair.server.release_lane(opened);
    pair.until(|pair| {
        let ended =
            |event: &Event| matches!(event, Event::LaneEnded { end: LaneEnd::Finished, .. });
        pair.from_client.iter().any(ended)
    });
    assert_eq!(tags(&pair.from_client, lane).len(), 16);
    pair.until(|pair| pair.server.open_lanes() == 0);
}

#[test]
fn a_refusal_tells_its_code() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b""));
    let opened = pair.opened();
    pair.server.write_lane(opened, request(9, b"no"));
    pair.server.refuse_lane(opened, 3);
    pair.until(|pair| {
        let stopped = |event: &Event| {
            matches!(event, Event::LaneEnded { end: LaneEnd::Stopped { code: 3 }, .. })
        };
        pair.from_client.iter().any(stopped) && tags(&pair.from_client, lane) == [9]
    });
}

#[test]
fn raw_streams_carry_data_ends_and_resets() {
    let mut pair = Pair::connected(Incoming::Raw);
    let stream = pair.client.open_stream(pair.here, Dir::Uni).unwrap();
    let mut data = Bytes::from_static(b"hello");
    assert_eq!(pair.client.write(pair.here, stream, &mut data), Write::Taken(5));
    assert!(pair.client.finish(pair.here, stream));
    assert!(!pair.client.finish(pair.here, stream), "only once");
    let there = pair.there;
    pair.until(|pair| {
        pair.from_server.iter().any(|event| matches!(event, Event::StreamOpened { .. }))
    });
    // The end came right behind the data, and must not be lost.
    assert_eq!(pair.server.read(there, stream, 100), Read::Data(b"hello".to_vec()));
    assert_eq!(pair.server.read(there, stream, 100), Read::Finished);
    assert_eq!(pair.server.read(there, stream, 100), Read::Closed);
    let other = pair.client.open_stream(pair.here, Dir::Uni).unwrap();
    pair.client.write(pair.here, other, &mut Bytes::from_static(b"x"));
    assert!(pair.client.reset(pair.here, other, 77));
    let mut seen = Read::Blocked;
    pair.until(|pair| {
        seen = pair.server.read(there, other, 100);
        !matches!(seen, Read::Blocked | Read::Closed)
    });
    assert_eq!(seen, Read::Reset(77));
}

#[test]
fn streams_over_the_limit_wait_for_room() {
    let mut pair = Pair::connected(Incoming::Raw);
    let first = pair.client.open_stream(pair.here, Dir::Uni).unwrap();
    assert!(pair.client.open_stream(pair.here, Dir::Uni).is_some());
    assert!(pair.client.open_stream(pair.here, Dir::Uni).is_none(), "two are allowed");
    pair.client.reset(pair.here, first, 0);
    let there = pair.there;
    pair.until(|pair| {
        pair.server.read(there, first, 10);
        let may = |event: &Event| matches!(event, Event::MayOpen { dir: Dir::Uni, .. });
        pair.from_client.iter().any(may)
    });
    assert!(pair.client.open_stream(pair.here, Dir::Uni).is_some());
}

#[test]
fn a_close_reaches_the_other_end_with_its_reason() {
    let mut pair = Pair::connected(LANES);
    pair.lane();
    pair.client.close(Instant::now(), pair.here, 42, b"enough");
    pair.until(|pair| {
        let reason = Lost::Closed { code: 42, reason: "enough".to_owned() };
        let lost = |event: &Event| matches!(event, Event::Lost { reason: r, .. } if *r == reason);
        pair.from_server.iter().any(lost)
    });
    let here = |event: &Event| matches!(event, Event::Lost { reason: Lost::Here, .. });
    assert!(pair.from_client.iter().any(here));
    assert_eq!((pair.client.open_lanes(), pair.server.open_lanes()), (0, 0));
    assert_eq!(
        pair.client.read(pair.here, crate::StreamId::new(crate::Side::Client, Dir::Bi, 0), 1),
        Read::Closed
    );
}

#[test]
fn a_full_server_refuses_and_a_handshake_has_an_end() {
    let mut pair = Pair::begun(LANES, |options| options.max_connections = 0);
    pair.until(|pair| pair.from_client.iter().any(|event| matches!(event, Event::Lost { .. })));
    let mut slow = Pair::begun(LANES, |options| {
        options.handshake_timeout = Duration::from_millis(1);
    });
    // The server hears the first flight, and then nothing more from this client.
    slow.client.transmit(Instant::now()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while slow.from_server.is_empty() && Instant::now() < deadline {
        slow.server.receive(Instant::now()).unwrap();
        slow.server.transmit(Instant::now()).unwrap();
        slow.from_server.extend(slow.server.take_events());
    }
    let failed = |event: &Event| {
        matches!(event, Event::HandshakeFailed { reason: Lost::HandshakeTimedOut { .. }, .. })
    };
    assert!(slow.from_server.iter().any(failed), "{:?}", slow.from_server);
}

#[test]
fn who_comes_while_enough_handshakes_are_under_way_is_refused() {
    let mut pair = Pair::begun(LANES, |options| options.max_handshakes = 1);
    // The server hears the first flight, and then for a while nothing more from this client.
    pair.client.transmit(Instant::now()).unwrap();
    pair.until_server(|pair| pair.server.handshaking == 1);
    let authority = Authority::root("Other CA");
    let tls = client(client_options(Trust::Roots(vec![authority.der.clone()]))).unwrap();
    let remote = pair.server.io().local_addr().unwrap();
    let mut late = Endpoint::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
    late.connect(Instant::now(), remote, "localhost", visiting(&tls)).unwrap();
    late.transmit(Instant::now()).unwrap();
    let mut seen = Vec::new();
    pair.until_server(|_| {
        late.receive(Instant::now()).unwrap();
        seen.extend(late.take_events());
        !seen.is_empty()
    });
    // RFC 9000, section 20.1: CONNECTION_REFUSED.
    let refused =
        |event: &Event| matches!(event, Event::Lost { reason: Lost::Aborted { code: 2, .. }, .. });
    assert!(seen.iter().any(refused), "{seen:?}");
    assert_eq!(pair.server.open_connections(), 1);
    // The first one's handshake goes on, and then there is room again.
    pair = pair.settled();
    assert_eq!(pair.server.handshaking, 0);
}

#[test]
fn what_comes_ahead_of_tls_is_bounded() {
    let quic = transport().quic(Ipv4Addr::LOCALHOST.into(), &crate::congestion::Lift::default());
    let told = format!("{quic:?}");
    assert!(told.contains("crypto_buffer_size: 16384"), "{told}");
}

#[test]
fn a_retry_proves_the_address_and_the_handshake_goes_on() {
    let mut pair = Pair::begun(LANES, |options| options.retry_above = 0);
    pair.until(|pair| {
        pair.from_client.iter().any(|event| matches!(event, Event::Confirmed { .. }))
    });
}

#[test]
fn datagrams_come_through_and_have_a_size() {
    let mut pair = Pair::connected(Incoming::Raw);
    let limit = pair.client.max_datagram_size(pair.here).unwrap();
    assert!(pair.client.send_datagram(pair.here, Bytes::from(vec![0; limit + 1])).is_err());
    pair.client.send_datagram(pair.here, Bytes::from_static(b"ping")).unwrap();
    pair.until(|pair| pair.from_server.iter().any(|event| matches!(event, Event::Datagram { .. })));
    assert_eq!(pair.server.receive_datagram(pair.there).unwrap(), b"ping"[..]);
    assert!(pair.server.receive_datagram(pair.there).is_none());
}

#[test]
fn datagrams_that_do_not_leave_go_when_there_are_too_many() {
    let pair = Pair::begun(Incoming::Raw, |options| options.transport.datagram_send_buffer = 3000);
    let mut pair = pair.settled();
    for number in 0..10 {
        pair.server.send_datagram(pair.there, Bytes::from(vec![number; 1000])).unwrap();
    }
    let mut seen = Vec::new();
    pair.until(|pair| {
        while let Some(datagram) = pair.client.receive_datagram(pair.here) {
            seen.push(datagram[0]);
        }
        seen.last() == Some(&9)
    });
    assert_eq!(seen, [8, 9], "the oldest go first");
}

impl Pair {
    /// The server's process is killed and another one started in its place, with these options.
    fn restart(&mut self, options: Option<ServerOptions>) {
        let local = self.server.io().local_addr().unwrap();
        self.server = Endpoint::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
        self.server = Endpoint::bind(local, options).unwrap();
    }
}

#[test]
fn a_restarted_server_tells_that_it_knows_nothing() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(1, b"before"));
    pair.opened();
    pair.restart(pair.server.server.clone());
    pair.client.write_lane(lane, request(2, b"after"));
    let began = Instant::now();
    pair.until(|pair| {
        let reset = |event: &Event| matches!(event, Event::Lost { reason: Lost::Reset, .. });
        pair.from_client.iter().any(reset)
    });
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn another_server_in_its_place_cannot_end_its_connections() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(1, b"before"));
    pair.opened();
    // Same port, another private key.
    let other = Pair::begun(LANES, |_| {}).server.server;
    pair.restart(other);
    pair.client.write_lane(lane, request(2, b"after"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        pair.turn();
    }
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(!pair.from_client.iter().any(lost), "{:?}", pair.from_client);
}

#[test]
fn a_lane_tells_once_when_it_has_drained() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    assert!(!pair.client.watch_drained(lane), "nothing is unsent");
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes, kind::FIRST_METHOD, 1);
    bytes.resize(700 << 10, 0);
    frame::finish(&mut bytes, start, u32::MAX).unwrap();
    // Far over the stream's window: the rest is unsent until the peer has read.
    pair.client.write_lane(lane, bytes);
    assert!(pair.client.watch_drained(lane));
    let drained = |event: &Event| matches!(event, Event::LaneDrained { lane: l } if *l == lane);
    pair.until(|pair| pair.from_client.iter().any(drained));
    assert!(pair.client.lane_unsent(lane) < 64 << 10);
    pair.from_client.clear();
    pair.until(|pair| pair.client.lane_unsent(lane) == 0);
    assert!(!pair.from_client.iter().any(drained), "it is told once");
}

#[test]
fn a_lane_that_is_not_read_hears_that_it_was_given_up() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(1, b"before"));
    let there = pair.opened();
    pair.server.pause_lane(there, true);
    pair.client.write_lane(lane, request(2, b"not read"));
    pair.turn();
    pair.client.abort_lane(lane, 9);
    pair.from_server.clear();
    let reset = LaneEnd::Reset { code: 9 };
    pair.until(|pair| {
        let told = |event: &Event| matches!(event, Event::LaneEnded { end, .. } if *end == reset);
        pair.from_server.iter().any(told)
    });
    let frames = |event: &Event| matches!(event, Event::Frames { .. });
    assert!(!pair.from_server.iter().any(frames));
}
