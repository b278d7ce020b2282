//! TLS that changes under a running endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LANES, Pair, request, tags, transport};
use crate::tls::tests::pki::{Authority, Leaf};
use crate::tls::tests::{ALPN, client_options, server_options};
use crate::tls::{
    ClientAuth, ClientOptions, ClientTls, Identity, ServerTls, Trust, client, server,
};
use crate::{Event, Lost, ServerOptions};

/// Who is there, with what either end may be told anew.
struct World {
    authority: Authority,
    clients: Authority,
    own: Identity,
    alice: Identity,
}

impl World {
    fn new() -> Self {
        let (authority, clients) = (Authority::root("Dev CA"), Authority::root("Clients CA"));
        let own = authority.issue(Leaf::new("dev", &["localhost"]));
        let alice = clients.issue(Leaf::new("alice", &[]));
        Self { authority, clients, own, alice }
    }

    fn server(&self, change: impl FnOnce(&mut crate::tls::ServerOptions)) -> Arc<ServerTls> {
        let mut options = crate::tls::ServerOptions {
            client_auth: ClientAuth::Required,
            client_roots: vec![self.clients.der.clone()],
            ..server_options(self.own.clone())
        };
        change(&mut options);
        server(options).unwrap()
    }

    fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> ClientTls {
        let mut options = client_options(Trust::Roots(vec![self.authority.der.clone()]));
        options.identity = Some(self.alice.clone());
        change(&mut options);
        client(options).unwrap()
    }

    fn begun(&self) -> Pair {
        let options = ServerOptions {
            tls: self.server(|_| {}),
            incoming: HashMap::from([(ALPN.to_vec(), LANES)]),
            transport: transport(),
            max_connections: 10,
            retry_above: 10,
            handshake_timeout: Duration::from_secs(5),
        };
        Pair::between(options, self.client(|_| {}))
    }
}

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
    pair.server.serve(Some(ServerOptions {
        tls: world.server(|_| {}),
        incoming: HashMap::from([(ALPN.to_vec(), LANES)]),
        transport: transport(),
        max_connections: 10,
        retry_above: 0,
        handshake_timeout: Duration::from_secs(5),
    }));
    pair.client.transmit(Instant::now()).unwrap();
    for _ in 0..3 {
        pair.server.receive(Instant::now()).unwrap();
        pair.server.transmit(Instant::now()).unwrap();
    }
    // The token that is on its way was made before.
    pair.server.reload_server(world.server(|_| {}));
    assert_alive(&mut pair.settled());
}
