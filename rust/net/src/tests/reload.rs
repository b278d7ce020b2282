//! TLS that changes under a running endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rcgen::SerialNumber;

use super::world::World;
use super::{LANES, Pair, request, tags, visiting};
use crate::tls::Identity;
use crate::tls::tests::pki::Leaf;
use crate::tls::tests::refusing;
use crate::{Event, Lost, ServerOptions};

fn lost(events: &[Event]) -> Option<&Lost> {
    events.iter().find_map(|event| match event {
        Event::Lost { reason, .. } => Some(reason),
        _ => None,
    })
}

/// A call goes there and back.
fn assert_alive(pair: &mut Pair) {
    let lane = pair.lane();
    pair.client.write_lane(lane, request(7, b"there"));
    let opened = pair.opened();
    pair.server.write_lane(opened, request(8, b"back"));
    pair.until(|pair| tags(&pair.from_client, lane) == [8]);
}

const REVOKED: &str = "client certificate rejected: revoked";

fn closed_for(reason: &str) -> Lost {
    Lost::Closed { code: 7, reason: reason.to_owned() }
}

#[test]
fn a_client_that_the_new_tls_refuses_is_sent_away() {
    let world = World::new();
    let mut pair = world.begun().settled();
    let crl = world.clients.crl(&[77], false);
    pair.server.reload_server(world.server(|options| options.crls = vec![crl]));
    pair.until(|pair| lost(&pair.from_server).is_some() && lost(&pair.from_client).is_some());
    let Some(Lost::Tls(failure)) = lost(&pair.from_server) else { panic!("for another reason") };
    assert_eq!(failure.reason(), REVOKED);
    assert_eq!(lost(&pair.from_client), Some(&closed_for(REVOKED)));
}

#[test]
fn a_server_that_the_new_tls_refuses_is_left() {
    let world = World::new();
    let mut pair = world.begun().settled();
    let crl = world.authority.crl(&[77], false);
    pair.client.reload_client(world.client(|options| options.crls = vec![crl]));
    pair.until(|pair| lost(&pair.from_server).is_some() && lost(&pair.from_client).is_some());
    let Some(Lost::Tls(failure)) = lost(&pair.from_client) else { panic!("for another reason") };
    assert_eq!(failure.reason(), "server certificate rejected: revoked");
    assert_eq!(failure.asked.as_deref(), Some("localhost"));
    let reason = closed_for("server certificate rejected: revoked");
    assert_eq!(lost(&pair.from_server), Some(&reason));
}

#[test]
fn all_others_notice_nothing() {
    let world = World::new();
    let mut pair = world.begun().settled();
    let crl = world.clients.crl(&[1, 2, 3], false);
    pair.server.reload_server(world.server(|options| options.crls = vec![crl]));
    let crl = world.authority.crl(&[1, 2, 3], false);
    pair.client.reload_client(world.client(|options| options.crls = vec![crl]));
    assert_alive(&mut pair);
    assert_eq!((lost(&pair.from_client), lost(&pair.from_server)), (None, None));
}

#[test]
fn a_handshake_that_began_before_is_judged_when_it_is_complete() {
    let world = World::new();
    let mut pair = world.begun();
    // The server has read the client's first flight, and waits for its certificate.
    pair.client.transmit(Instant::now()).unwrap();
    pair.until_server(|pair| pair.server.open_connections() == 1);
    let crl = world.clients.crl(&[77], false);
    pair.server.reload_server(world.server(|options| options.crls = vec![crl]));
    pair.until(|pair| lost(&pair.from_server).is_some() && lost(&pair.from_client).is_some());
    assert_eq!(lost(&pair.from_client), Some(&closed_for(REVOKED)));
}

#[test]
fn a_handshake_with_a_retry_survives_a_reload() {
    let world = World::new();
    let mut pair = world.begun();
    pair.server.serve(Some(ServerOptions { retry_above: 0, ..world.serving(LANES) }));
    pair.client.transmit(Instant::now()).unwrap();
    for _ in 0..3 {
        pair.server.receive(Instant::now()).unwrap();
        pair.server.transmit(Instant::now()).unwrap();
    }
    // The token that is on its way was made before.
    pair.server.reload_server(world.server(|_| {}));
    assert_alive(&mut pair.settled());
}

/// Another client connects.
fn join(pair: &mut Pair, world: &World, who: &Identity) {
    let tls = world.client(|options| options.identity = Some(who.clone()));
    let remote = pair.server.io().local_addr().unwrap();
    pair.client.connect(Instant::now(), remote, "localhost", visiting(&tls)).unwrap();
    pair.until(|pair| {
        let connected = |event: &Event| matches!(event, Event::Connected { .. });
        pair.from_server.iter().any(connected)
    });
    pair.from_server.clear();
}

#[test]
fn who_is_on_the_list_goes_before_anybody_else_is_judged() {
    let world = World::new();
    let mut pair = world.begun().settled();
    let (revoked, alice) = (5, 77);
    let serials = [1, 2, 3, 4, revoked, 6, 7, 8, 9].map(|serial: u64| {
        let mut leaf = Leaf::new("bob", &[]);
        leaf.params.serial_number = Some(SerialNumber::from(serial));
        let who = world.clients.issue(leaf);
        join(&mut pair, &world, &who);
        serial
    });
    let crl = world.clients.crl(&[revoked], false);
    pair.server.reload_server(world.server(|options| {
        options.crls = vec![crl];
        options.check = Some(refusing("nobody else either"));
    }));
    let gone = |pair: &Pair| -> Vec<(u64, String)> {
        let failures = pair.from_server.iter().filter_map(|event| match event {
            Event::Lost { reason: Lost::Tls(failure), .. } => Some(failure),
            _ => None,
        });
        let serial = |failure: &crate::tls::TlsFailure| {
            failure.presented.as_ref().unwrap().serial.iter().fold(0, |n, b| n << 8 | u64::from(*b))
        };
        failures.map(|failure| (serial(failure), failure.reason())).collect()
    };
    pair.until(|pair| gone(pair).len() == serials.len() + 1);
    let gone = gone(&pair);
    assert_eq!(gone[0], (revoked, REVOKED.to_owned()));
    assert!(gone[1..].iter().all(|(_, why)| why.contains("nobody else either")), "{gone:?}");
    assert!(gone.iter().any(|(serial, _)| *serial == alice));
}

#[test]
fn many_connections_with_one_certificate_are_judged_once() {
    let world = World::new();
    let mut pair = world.begun().settled();
    let who = world.clients.issue(Leaf::new("bob", &[]));
    for _ in 0..8 {
        join(&mut pair, &world, &who);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    pair.server.reload_server(world.server(|options| {
        options.check = Some(Arc::new(move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            Err("no more".to_owned())
        }));
    }));
    pair.until(|pair| pair.server.open_connections() == 0);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "alice's and bob's");
}
