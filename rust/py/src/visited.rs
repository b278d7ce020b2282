//! What servers said on earlier visits: a client that comes back counts on the same, so that its
//! calls leave with the offer of a version, ahead of the handshake.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use jetstream_proto::version::Version;

use crate::caller::Agreed;
use crate::shared::lock;

/// Versions of one server that are remembered at most; it is asked for all others again.
const VERSIONS: usize = 64;

type Place = (SocketAddr, String);

/// What one server said.
#[derive(Default)]
struct Known {
    /// The protocol that it chose (ALPN): early data is of the same, or thrown away (RFC 8446,
    /// section 4.2.10).
    protocol: Option<Vec<u8>>,
    /// What it answered to offers of versions.
    agreed: HashMap<Version, Agreed>,
}

/// The servers that were visited with the same TLS settings.
pub(crate) struct Visited {
    limit: usize,
    servers: Mutex<HashMap<Place, Known>>,
}

impl Visited {
    /// Remembers `limit` servers at most.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, servers: Mutex::default() })
    }
}

/// One of the servers.
pub(crate) struct Server {
    pub(crate) visited: Arc<Visited>,
    pub(crate) place: Place,
}

impl Server {
    fn look<T>(&self, look: impl FnOnce(&Known) -> Option<T>) -> Option<T> {
        lock(&self.visited.servers).get(&self.place).and_then(look)
    }

    fn edit(&self, edit: impl FnOnce(&mut Known)) {
        let servers = &mut *lock(&self.visited.servers);
        if servers.len() >= self.visited.limit && !servers.contains_key(&self.place) {
            // Which one is of no matter: whoever is forgotten is asked.
            let some = servers.keys().next().cloned();
            some.and_then(|some| servers.remove(&some));
        }
        edit(servers.entry(self.place.clone()).or_default());
    }

    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        self.look(|known| known.protocol.clone())
    }

    pub(crate) fn set_protocol(&self, protocol: Option<Vec<u8>>) {
        self.edit(|known| known.protocol = protocol);
    }

    pub(crate) fn agreed(&self, version: &Version) -> Option<Agreed> {
        self.look(|known| known.agreed.get(version).copied())
    }

    pub(crate) fn set_agreed(&self, version: &Version, agreed: Agreed) {
        self.edit(|known| {
            if known.agreed.len() < VERSIONS || known.agreed.contains_key(version) {
                known.agreed.insert(version.clone(), agreed);
            }
        });
    }
}
