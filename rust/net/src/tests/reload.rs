//! TLS that changes under a running endpoint.

use std::time::Instant;

use super::world::World;
use super::{LANES, Pair, request, tags};
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
