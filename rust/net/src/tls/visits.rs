//! What a client remembers of the servers it has been to: tickets for shorter handshakes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::Clock;
use super::diagnosis::Diagnosis;
use super::tickets::{CHAIN_BYTES, Chain, chain_bytes};
use super::verify::ServerVerifier;

/// Tickets that are kept of one server; the oldest goes first. Each is for one connection.
const TICKETS: usize = 4;

/// A name alone does not tell servers apart: many are called `localhost`.
type Place = (ServerName<'static>, SocketAddr);

#[derive(Default)]
struct Known {
    /// The key exchange that the server wanted.
    group: Option<NamedGroup>,
    tickets: VecDeque<(Tls13ClientSessionValue, Chain)>,
}

#[derive(Default)]
struct Inner {
    places: HashMap<Place, Known>,
    /// In the order of first visits.
    order: VecDeque<Place>,
}

/// The memory of all visits under one configuration.
pub(super) struct Visits {
    limit: usize,
    inner: Mutex<Inner>,
}

impl Visits {
    /// Remembers up to `limit` servers; then the one that was visited first is forgotten.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, inner: Mutex::default() })
    }

    fn edit(&self, place: Place, edit: impl FnOnce(&mut Known)) {
        if self.limit == 0 {
            return;
        }
        let inner = &mut *self.inner();
        if !inner.places.contains_key(&place) {
            if inner.places.len() == self.limit {
                if let Some(oldest) = inner.order.pop_front() {
                    inner.places.remove(&oldest);
                }
            }
            inner.order.push_back(place.clone());
        }
        edit(inner.places.entry(place).or_default());
    }

    /// A panic elsewhere while it was locked leaves it usable: it holds plain data.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One visit: the memory as one connection sees it.
pub(super) struct Visit {
    visits: Arc<Visits>,
    remote: SocketAddr,
    verifier: Arc<ServerVerifier>,
    clock: Clock,
    /// What the server has proved; known when the handshake is complete, as tickets come after.
    chain: OnceLock<Chain>,
}

impl Visit {
    pub(super) fn new(
        visits: Arc<Visits>,
        remote: SocketAddr,
        verifier: Arc<ServerVerifier>,
        clock: Clock,
    ) -> Self {
        Self { visits, remote, verifier, clock, chain: OnceLock::new() }
    }

    pub(super) fn set_chain(&self, chain: Chain) {
        let _ = self.chain.set(chain);
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl ClientSessionStore for Visit {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.visits.edit((name, self.remote), |known| known.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        let place = (name.to_owned(), self.remote);
        self.visits.inner().places.get(&place)?.group
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let Some(chain) = self.chain.get() else { return };
        if chain_bytes(chain) > CHAIN_BYTES {
            return;
        }
        self.visits.edit((name, self.remote), |known| {
            if known.tickets.len() == TICKETS {
                known.tickets.pop_front();
            }
            known.tickets.push_back((value, chain.clone()));
        });
    }

    /// The newest ticket, if the server that gave it would be accepted now. If not, a full
    /// handshake shows whether it has a better certificate meanwhile; and nothing is sent early to
    /// a server that is not trusted any more.
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let place = (name.clone(), self.remote);
        let (value, chain) = self.visits.inner().places.get_mut(&place)?.tickets.pop_back()?;
        let now = self.clock.current_time()?;
        self.verifier.judge(&chain, name, now).ok()?;
        Diagnosis::current().set_resuming(chain);
        Some(value)
    }

    // Only TLS 1.3 is spoken here.

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_visited_is_forgotten_when_there_are_too_many() {
        let visits = Visits::new(2);
        let place = |port| {
            (ServerName::try_from("localhost").unwrap(), SocketAddr::from(([127, 0, 0, 1], port)))
        };
        for port in [1, 2, 1, 3] {
            visits.edit(place(port), |known| known.group = Some(NamedGroup::X25519));
        }
        let inner = visits.inner();
        assert!(!inner.places.contains_key(&place(1)));
        assert!(inner.places.contains_key(&place(2)) && inner.places.contains_key(&place(3)));
        assert_eq!(inner.order.len(), 2);
    }
}
