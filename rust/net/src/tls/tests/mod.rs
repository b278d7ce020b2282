//! Real handshakes in memory: what each side is told when one side does not accept the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clients;
mod material;
mod options;
pub(crate) mod pair;
pub(crate) mod pki;
mod resumption;
mod servers;
mod strangers;

use std::sync::Arc;

use super::{
    ClientAuth, ClientOptions, ClientTls, Identity, PeerCheck, ServerOptions, ServerTls, Trust,
    client, server, system_clock,
};
use pki::{Authority, Leaf};

pub(crate) const ALPN: &[u8] = b"jetstream";

pub(crate) fn server_options(identity: Identity) -> ServerOptions {
    ServerOptions {
        identity,
        client_auth: ClientAuth::None,
        client_roots: Vec::new(),
        crls: Vec::new(),
        check: None,
        alpns: vec![ALPN.to_vec()],
        sessions: 16,
        early_data: true,
        max_chain: 64 << 10,
        clock: system_clock(),
    }
}

pub(crate) fn client_options(trust: Trust) -> ClientOptions {
    ClientOptions {
        trust,
        crls: Vec::new(),
        check: None,
        identity: None,
        alpns: vec![ALPN.to_vec()],
        visits: 16,
        max_chain: 64 << 10,
        clock: system_clock(),
    }
}

/// A server of authority "Dev CA" for localhost and 127.0.0.1, with whatever is changed.
pub(crate) fn a_server(change: impl FnOnce(&mut ServerOptions)) -> (Authority, Arc<ServerTls>) {
    let authority = Authority::root("Dev CA");
    let identity = authority.issue(Leaf::new("dev", &["localhost", "127.0.0.1"]));
    let mut options = server_options(identity);
    change(&mut options);
    (authority, server(options).unwrap())
}

/// A client that trusts `authority`, with whatever is changed.
pub(crate) fn a_client(
    authority: &Authority,
    change: impl FnOnce(&mut ClientOptions),
) -> ClientTls {
    let mut options = client_options(Trust::Roots(vec![authority.der.clone()]));
    change(&mut options);
    client(options).unwrap()
}

/// A check that refuses with `reason`.
pub(crate) fn refusing(reason: &'static str) -> PeerCheck {
    Arc::new(move |_| Err(reason.to_owned()))
}
