//! Two ends that verify each other, with all that either may be told anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{LANES, Pair, transport};
use crate::tls::tests::pki::{Authority, Leaf};
use crate::tls::tests::{ALPN, client_options, server_options};
use crate::tls::{
    ClientAuth, ClientOptions, ClientTls, Identity, ServerTls, Trust, client, server, server_after,
};
use crate::{Incoming, ServerOptions};

/// Who is there, with what either end may be told anew.
pub(super) struct World {
    pub(super) authority: Authority,
    pub(super) clients: Authority,
    pub(super) own: Identity,
    alice: Identity,
}

impl World {
    pub(super) fn new() -> Self {
        let (authority, clients) = (Authority::root("Dev CA"), Authority::root("Clients CA"));
        let own = authority.issue(Leaf::new("dev", &["localhost"]));
        let alice = clients.issue(Leaf::new("alice", &[]));
        Self { authority, clients, own, alice }
    }

    pub(super) fn server(
        &self,
        change: impl FnOnce(&mut crate::tls::ServerOptions),
    ) -> Arc<ServerTls> {
        server(self.options(change)).unwrap()
    }

    fn options(
        &self,
        change: impl FnOnce(&mut crate::tls::ServerOptions),
    ) -> crate::tls::ServerOptions {
        let mut options = crate::tls::ServerOptions {
            client_auth: ClientAuth::Required,
            client_roots: vec![self.clients.der.clone()],
            ..server_options(self.own.clone())
        };
        change(&mut options);
        options
    }

    /// In the place of `previous`, whose sessions it knows.
    pub(super) fn server_after(
        &self,
        previous: &ServerTls,
        change: impl FnOnce(&mut crate::tls::ServerOptions),
    ) -> Arc<ServerTls> {
        server_after(self.options(change), previous).unwrap()
    }

    pub(super) fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> ClientTls {
        let mut options = client_options(Trust::Roots(vec![self.authority.der.clone()]));
        options.identity = Some(self.alice.clone());
        change(&mut options);
        client(options).unwrap()
    }

    /// How the server serves.
    pub(super) fn serving(&self, mode: Incoming) -> ServerOptions {
        ServerOptions {
            tls: self.server(|_| {}),
            incoming: HashMap::from([(ALPN.to_vec(), mode)]),
            transport: transport(),
            max_connections: 10,
            max_handshakes: 10,
            retry_above: 10,
            handshake_timeout: Duration::from_secs(5),
        }
    }

    pub(super) fn begun(&self) -> Pair {
        Pair::between(self.serving(LANES), self.client(|_| {}))
    }
}
