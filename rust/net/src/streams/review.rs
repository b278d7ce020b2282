//! New TLS for streams that are in use, as `crate::review` has it for QUIC.

use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::Streams;
use super::config::Target;
use super::wire::Phase;
use crate::event::Lost;
use crate::tls::{ClientTls, ServerTls};

/// Connections that one turn judges: a signature or two each, some tens of microseconds.
const REVIEWS_PER_TURN: usize = 64;

/// By which TLS those who are connected are judged, and who is still to be.
#[derive(Default)]
pub(super) struct Review {
    /// Counts the changes: a socket remembers with which one it was judged last.
    pub(super) generation: u32,
    incoming: Option<Arc<ServerTls>>,
    outgoing: Option<ClientTls>,
    waiting: Vec<u64>,
}

impl Streams {
    /// Serves with `tls` from the next handshake on. Clients that it would refuse are sent away in
    /// the next turns; all others notice nothing.
    pub fn reload_server(&mut self, tls: Arc<ServerTls>) {
        self.listeners.iter_mut().for_each(|listener| listener.set_tls(&tls));
        self.review.incoming = Some(tls);
        self.begin_review(true);
    }

    /// Leaves the servers that `tls` would refuse in the next turns, and opens the further lanes of
    /// the other connections with it.
    pub fn reload_client(&mut self, tls: &ClientTls) {
        for link in self.links.iter_mut() {
            if let Some(Target::Tcp(options, _)) = &mut link.target {
                options.tls = tls.clone();
            }
        }
        self.review.outgoing = Some(tls.clone());
        self.begin_review(false);
    }

    fn begin_review(&mut self, incoming: bool) {
        self.review.generation = self.review.generation.wrapping_add(1);
        self.review.waiting = self.wires.keys(|wire| wire.incoming == incoming);
    }

    /// Judges some of those who are connected. True if more are waiting.
    pub(super) fn review(&mut self, now: Instant) -> bool {
        for _ in 0..REVIEWS_PER_TURN {
            let Some(key) = self.review.waiting.pop() else { return false };
            self.review_one(key, now);
        }
        !self.review.waiting.is_empty()
    }

    /// Judges a peer that has not been since the last change; one whose handshake is not over is
    /// judged when it is. False if it is sent away.
    pub(super) fn review_one(&mut self, key: u64, now: Instant) -> bool {
        let generation = self.review.generation;
        let Some(wire) = self.wires.get_mut(key) else { return false };
        let (Phase::Open, Some(link), Some(tls)) = (wire.phase, wire.link, &wire.tls) else {
            return true;
        };
        if std::mem::replace(&mut wire.generation, generation) == generation {
            return true;
        }
        let chain: Vec<CertificateDer<'_>> =
            tls.peer_chain().into_iter().map(CertificateDer::from).collect();
        let target = self.links.get(link).and_then(|link| link.target.as_ref());
        let judged = match (target, &self.review.incoming, &self.review.outgoing) {
            (None, Some(tls), _) => tls.judge(&chain),
            (Some(Target::Tcp(options, _)), _, Some(tls)) => {
                tls.judge(&chain, &options.server_name)
            }
            _ => Ok(()),
        };
        let Err(failure) = judged else { return true };
        let wires = self.links.get(link).map(|link| link.wires.clone()).unwrap_or_default();
        for key in wires {
            if let Some(wire) = self.wires.get_mut(key).filter(|wire| wire.incoming) {
                wire.wind_up(now);
                self.activate(key);
            } else {
                self.give_up(key);
            }
        }
        self.lose(link, Lost::Tls(failure));
        false
    }
}
