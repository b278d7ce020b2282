//! What a server remembers of its clients: a ticket for each visit, good for one more.
//!
//! Tickets are names of sessions that are kept here, in memory, and nowhere else. Taking one
//! removes it, so the same first flight cannot be accepted twice; another process, or this one
//! after a restart, knows none of them and falls back to a full handshake (RFC 8446, section 8.1).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::server::StoresServerSessions;

use super::Clock;
use super::diagnosis::Diagnosis;
use super::verify::ClientVerifier;

/// Seconds for which a ticket is good: what rustls writes into it.
const LIFETIME: u64 = 24 * 60 * 60;

/// The bytes of a ticket's name: what rustls draws.
const NAME: usize = 32;

/// Bytes of certificates over which nobody is remembered: the peer chooses how many it shows, and real
/// chains have 1 to 6 KiB.
pub(super) const CHAIN_BYTES: usize = 8 << 10;

/// Bytes that there is room for, for each session that may be remembered. Usual ones have 1.5 KB.
const SESSION_BYTES: usize = 4 << 10;

/// A certificate chain that its holder has proved, its own first; empty for nobody in particular.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

struct Session {
    /// What rustls needs to resume it.
    value: Vec<u8>,
    chain: Chain,
    /// Seconds of the Unix epoch.
    since: u64,
}

impl Session {
    /// The chain is in `value` too; two sessions of one visit share their own.
    fn bytes(&self) -> usize {
        self.value.len() + chain_bytes(&self.chain)
    }
}

pub(super) fn chain_bytes(chain: &[CertificateDer<'_>]) -> usize {
    chain.iter().map(|der| der.len()).sum()
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<[u8; NAME], Session>,
    /// Names in the order of issue; those that have been taken meanwhile are passed over.
    order: VecDeque<[u8; NAME]>,
    /// What all sessions have together.
    bytes: usize,
}

impl Inner {
    fn remove(&mut self, name: [u8; NAME]) -> Option<Session> {
        let session = self.sessions.remove(&name)?;
        self.bytes -= session.bytes();
        Some(session)
    }
}

/// The sessions, shared by all configurations under which they may be resumed.
pub(super) struct Sessions {
    limit: usize,
    inner: Mutex<Inner>,
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, inner: Mutex::default() })
    }

    fn put(&self, name: [u8; NAME], session: Session) -> bool {
        if self.limit == 0 || chain_bytes(&session.chain) > CHAIN_BYTES {
            return false;
        }
        let room = self.limit.saturating_mul(SESSION_BYTES);
        let inner = &mut *self.inner();
        inner.remove(name);
        inner.bytes += session.bytes();
        inner.sessions.insert(name, session);
        inner.order.push_back(name);
        // One may always stay, however large.
        while inner.sessions.len() > self.limit || (inner.bytes > room && inner.sessions.len() > 1)
        {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.remove(oldest);
        }
        if inner.order.len() > 2 * self.limit {
            inner.order.retain(|name| inner.sessions.contains_key(name));
        }
        true
    }

    fn take(&self, name: [u8; NAME]) -> Option<Session> {
        self.inner().remove(name)
    }

    #[cfg(test)]
    pub(super) fn damage(&self) {
        for session in self.inner().sessions.values_mut() {
            // The secret is near the front, behind the name that was asked for and two numbers.
            let at = session.value.len().min(40);
            session.value[at - 1] ^= 1;
        }
    }

    /// A panic elsewhere while it was locked leaves it usable: it holds plain data.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions under one configuration, by whose rules a session that comes back is judged.
pub(super) struct Tickets {
    sessions: Arc<Sessions>,
    /// `None`: clients show no certificates.
    verifier: Option<Arc<ClientVerifier>>,
    clock: Clock,
}

impl Tickets {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        verifier: Option<Arc<ClientVerifier>>,
        clock: Clock,
    ) -> Self {
        Self { sessions, verifier, clock }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("limit", &self.sessions.limit).finish_non_exhaustive()
    }
}

/// Called by rustls within `read_handshake` of one session, whose notes are then the current ones.
impl StoresServerSessions for Tickets {
    fn put(&self, name: Vec<u8>, value: Vec<u8>) -> bool {
        let (Ok(name), Some(now)) = (name.try_into(), self.clock.current_time()) else {
            return false;
        };
        let chain = Diagnosis::current().proven();
        self.sessions.put(name, Session { value, chain, since: now.as_secs() })
    }

    /// Only older versions of TLS look at a session without taking it.
    fn get(&self, _name: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// A client whose certificate is not good any more gets a full handshake instead: there it may
    /// show a newer one, or be told what is wrong with it.
    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        let session = self.sessions.take(name.try_into().ok()?)?;
        let now = self.clock.current_time()?;
        if now.as_secs().saturating_sub(session.since) > LIFETIME {
            return None;
        }
        if let Some(verifier) = &self.verifier {
            verifier.trusts(&session.chain, now).ok()?;
        }
        Diagnosis::current().set_resuming(session.chain);
        Some(session.value)
    }

    fn can_cache(&self) -> bool {
        self.sessions.limit > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn session() -> Session {
        Session { value: vec![1], chain: Vec::new().into(), since: 0 }
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let sessions = Sessions::new(2);
        for name in 1..=3 {
            assert!(sessions.put([name; NAME], session()));
        }
        assert!(sessions.take([1; NAME]).is_none());
        assert!(sessions.take([2; NAME]).is_some());
        assert!(sessions.take([2; NAME]).is_none(), "only once");
        assert!(sessions.take([3; NAME]).is_some());
    }

    #[test]
    fn what_was_taken_takes_no_room() {
        let sessions = Sessions::new(4);
        for round in 0..100 {
            assert!(sessions.put([round; NAME], session()));
            assert!(sessions.take([round; NAME]).is_some());
        }
        assert!(sessions.inner().order.len() <= 8);
    }

    #[test]
    fn the_oldest_go_when_all_have_too_many_bytes() {
        let sessions = Sessions::new(100);
        let large = || Session { value: vec![0; 10 * SESSION_BYTES], ..session() };
        for name in 0..100 {
            assert!(sessions.put([name; NAME], large()));
            assert!(sessions.inner().bytes <= 100 * SESSION_BYTES);
        }
        assert_eq!(sessions.inner().sessions.len(), 10);
        assert!(sessions.take([89; NAME]).is_none());
        for name in 90..100 {
            assert!(sessions.take([name; NAME]).is_some());
        }
        assert_eq!(sessions.inner().bytes, 0);
    }

    #[test]
    fn one_is_kept_however_large() {
        let sessions = Sessions::new(1);
        let large = Session { value: vec![0; 2 * SESSION_BYTES], ..session() };
        assert!(sessions.put([1; NAME], large));
        assert!(sessions.take([1; NAME]).is_some());
    }

    #[test]
    fn a_limit_of_none_keeps_none() {
        assert!(!Sessions::new(0).put([0; NAME], session()));
    }
}
