//! Data that goes ahead of the handshake.

use std::time::{Duration, Instant};

use super::world::World;
use super::{LANES, Pair, request, tags, visiting};
use crate::tls::ClientTls;
use crate::{ConnectOptions, Dir, EarlyData, Event, Incoming, Lost};

pub(super) fn early(tls: &ClientTls) -> ConnectOptions {
    ConnectOptions { early_data: true, ..visiting(tls) }
}

impl Pair {
    /// The client leaves, and begins another visit when both ends have forgotten it.
    pub(super) fn again(&mut self, options: ConnectOptions) {
        self.client.close(Instant::now(), self.here, 0, b"");
        self.until(|pair| {
            pair.client.open_connections() == 0 && pair.server.open_connections() == 0
        });
        self.from_server.clear();
        self.from_client.clear();
        let remote = self.server.io().local_addr().unwrap();
        self.here = self.client.connect(Instant::now(), remote, "localhost", options).unwrap();
        self.from_client.extend(self.client.take_events());
    }

    /// The first flight leaves, and the server takes it in.
    pub(super) fn first_flight(&mut self) {
        self.client.transmit(Instant::now()).unwrap();
        self.until_server(|pair| !pair.from_server.is_empty());
    }
}

/// Two ends that know each other, and the client's TLS with its memory.
pub(super) fn acquainted(world: &World, mode: Incoming) -> (Pair, ClientTls) {
    let tls = world.client(|_| {});
    let mut pair = Pair::between(world.serving(mode), tls.clone()).settled();
    // Until the ticket has come.
    let stream = pair.client.open_stream(pair.here, Dir::Uni).unwrap();
    pair.client.finish(pair.here, stream);
    let here = pair.here;
    pair.until(|pair| pair.client.is_acknowledged(here, stream));
    (pair, tls)
}

fn names(events: &[Event]) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Early { .. } => "early",
        Event::EarlyRejected { .. } => "rejected",
        Event::Connected { .. } => "connected",
        Event::LaneOpened { .. } => "opened",
        Event::StreamOpened { .. } => "stream",
        Event::Frames { .. } => "frames",
        Event::HandshakeFailed { .. } => "failed",
        Event::Lost { .. } => "lost",
        _ => "other",
    };
    events.iter().map(name).filter(|name| *name != "other").collect()
}

#[test]
fn calls_leave_in_the_first_flight_and_the_caller_is_known() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    pair.again(early(&tls));
    assert_eq!(names(&pair.from_client), ["early"]);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(7, b"first"));
    pair.first_flight();
    assert_eq!(names(&pair.from_server), ["early", "opened", "frames"]);
    let Some(Event::Early { connection: there, incoming: true }) = pair.from_server.first() else {
        panic!("{:?}", pair.from_server)
    };
    let there = *there;
    assert_eq!(pair.server.peer_chain(there).len(), 1);
    assert_eq!(pair.server.early_data(there), EarlyData::Sent);
    // The answer does not wait for the rest of the handshake either.
    let opened = pair.opened();
    pair.server.write_lane(opened, request(8, b"answer"));
    pair.server.transmit(Instant::now()).unwrap();
    pair.client.receive(Instant::now()).unwrap();
    pair.from_client.extend(pair.client.take_events());
    assert_eq!(tags(&pair.from_client, lane), [8]);
    pair.until(|pair| names(&pair.from_server).contains(&"connected"));
    let here = pair.here;
    assert!(pair.client.resumed(here) && pair.server.resumed(there));
    assert_eq!(pair.client.early_data(here), EarlyData::Accepted);
    assert_eq!(pair.server.early_data(there), EarlyData::Accepted);
}

#[test]
fn who_does_not_ask_for_it_sends_nothing_early() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    pair.again(visiting(&tls));
    assert!(pair.client.open_stream(pair.here, Dir::Bi).is_none());
    let mut pair = pair.settled();
    assert!(pair.client.resumed(pair.here));
    assert_eq!(pair.client.early_data(pair.here), EarlyData::None);
    assert_eq!(pair.server.early_data(pair.there), EarlyData::None);
    pair.lane();
}

#[test]
fn a_first_visit_is_never_early() {
    let world = World::new();
    let mut pair = world.begun();
    let tls = world.client(|_| {});
    let remote = pair.server.io().local_addr().unwrap();
    let here = pair.client.connect(Instant::now(), remote, "localhost", early(&tls)).unwrap();
    assert!(names(&pair.client.take_events()).is_empty());
    assert!(pair.client.open_stream(here, Dir::Bi).is_none());
}

#[test]
fn a_refusal_forgets_the_lanes_and_new_ones_work() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    // The server forgets its tickets.
    pair.server.reload_server(world.server(|_| {}));
    pair.again(early(&tls));
    let old = pair.lane();
    pair.client.write_lane(old, request(7, &[0; 100_000]));
    pair.until(|pair| names(&pair.from_client).contains(&"connected"));
    assert_eq!(names(&pair.from_client), ["early", "rejected", "connected"]);
    assert_eq!(pair.client.early_data(pair.here), EarlyData::Refused);
    assert!(!pair.client.resumed(pair.here));
    assert_eq!(pair.client.open_lanes(), 0);
    // Who has not heard of it yet writes to nobody.
    pair.client.write_lane(old, request(8, b"lost"));
    let new = pair.lane();
    assert_ne!(old, new);
    pair.client.write_lane(new, request(9, b"again"));
    let opened = pair.opened();
    pair.until(|pair| tags(&pair.from_server, opened) == [9]);
    assert_eq!(names(&pair.from_server), ["connected", "opened", "frames"]);
}

#[test]
fn a_handshake_that_is_never_completed_ends_what_was_early() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    let patience = Duration::from_millis(20);
    let tls_there = pair.server.server.clone().unwrap().tls;
    pair.server.serve(Some(crate::ServerOptions {
        handshake_timeout: patience,
        tls: tls_there,
        ..world.serving(LANES)
    }));
    pair.again(early(&tls));
    let lane = pair.lane();
    pair.client.write_lane(lane, request(7, b"and no more"));
    pair.first_flight();
    pair.until_server(|pair| names(&pair.from_server).contains(&"lost"));
    assert_eq!(names(&pair.from_server), ["early", "opened", "frames", "lost"]);
    let timed_out =
        |event: &Event| matches!(event, Event::Lost { reason: Lost::HandshakeTimedOut { .. }, .. });
    assert!(pair.from_server.iter().any(timed_out));
    assert_eq!(pair.server.open_lanes(), 0);
}

#[test]
fn raw_streams_wait_until_the_handshake_is_complete() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, Incoming::Raw);
    pair.again(early(&tls));
    let stream = pair.client.open_stream(pair.here, Dir::Uni).unwrap();
    pair.client.write(pair.here, stream, &mut bytes::Bytes::from_static(b"early"));
    pair.client.transmit(Instant::now()).unwrap();
    for _ in 0..20 {
        pair.server.receive(Instant::now()).unwrap();
        pair.from_server.extend(pair.server.take_events());
        pair.server.transmit(Instant::now()).unwrap();
    }
    assert_eq!(pair.server.open_connections(), 1);
    assert!(names(&pair.from_server).is_empty(), "{:?}", pair.from_server);
    pair.until(|pair| names(&pair.from_server).contains(&"stream"));
    assert_eq!(names(&pair.from_server), ["connected", "stream"]);
}

#[test]
fn an_early_connection_to_nobody_is_given_up() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    let options = ConnectOptions { handshake_timeout: Duration::from_millis(20), ..early(&tls) };
    pair.again(options);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !names(&pair.from_client).contains(&"lost") {
        assert!(Instant::now() < deadline);
        let now = Instant::now();
        pair.client.receive(now).unwrap();
        pair.from_client.extend(pair.client.take_events());
        let progress = pair.client.transmit(now).unwrap();
        assert!(progress.timeout.is_some_and(|at| at < now + Duration::from_secs(1)));
    }
    let timed_out =
        |event: &Event| matches!(event, Event::Lost { reason: Lost::HandshakeTimedOut { .. }, .. });
    assert!(pair.from_client.iter().any(timed_out));
}

#[test]
fn a_client_that_was_revoked_meanwhile_runs_nothing_early() {
    let world = World::new();
    let (mut pair, tls) = acquainted(&world, LANES);
    let crl = world.clients.crl(&[77], false);
    let old = pair.server.server.clone().unwrap().tls;
    let renewed = world.server_after(&old, |options| options.crls = vec![crl]);
    pair.server.reload_server(renewed);
    pair.until(|pair| names(&pair.from_client).contains(&"lost"));
    pair.again(early(&tls));
    let lane = pair.lane();
    pair.client.write_lane(lane, request(7, b"let me in"));
    pair.until(|pair| names(&pair.from_client).contains(&"lost"));
    assert_eq!(names(&pair.from_server), ["failed"]);
}
