//! New TLS for streams that are in use, as `crate::review` has it for QUIC.

use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::Streams;
use super::config::Target;
use super::wire::Phase;
use crate::docket::{Docket, Outcome, Reviewing};
use crate::event::{Event, Lost};
use crate::tls::{ClientTls, ServerTls, StreamTls};

/// By which TLS those who are connected are judged, and who is still to be.
#[derive(Default)]
pub(super) struct Review {
    /// Counts the changes: a socket remembers with which one it was judged last.
    pub(super) generation: u32,
    incoming: Option<Arc<ServerTls>>,
    outgoing: Option<ClientTls>,
    docket: Docket<u64>,
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
        self.review.docket.fill(self.wires.keys(|wire| wire.incoming == incoming));
    }

    /// Judges a peer that has not been since the last change; one whose handshake is not over is
    /// judged when it is. False if it is sent away.
    pub(super) fn stays(&mut self, key: u64, now: Instant) -> bool {
        let generation = self.review.generation;
        let Some(wire) = self.wires.get_mut(key) else { return false };
        let (Phase::Open, Some(link), Some(tls)) = (wire.phase, wire.link, &wire.tls) else {
            return true;
        };
        if std::mem::replace(&mut wire.generation, generation) == generation {
            return true;
        }
        let chain = chain_of(tls);
        let target = self.links.get(link).and_then(|link| link.target.as_ref());
        let Review { docket, incoming, outgoing, .. } = &mut self.review;
        let judged = match (target, incoming, outgoing) {
            (None, Some(tls), _) => docket.verdict(&chain, "", || tls.judge(&chain)),
            (Some(Target::Tcp(options, _)), _, Some(tls)) => {
                let asked = &options.server_name;
                docket.verdict(&chain, asked, || tls.judge(&chain, asked))
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

impl Reviewing for Streams {
    type Key = u64;

    fn docket(&mut self) -> &mut Docket<u64> {
        &mut self.review.docket
    }

    fn is_suspect(&self, key: u64) -> bool {
        let Some(wire) = self.wires.get(key).filter(|wire| wire.phase == Phase::Open) else {
            return false;
        };
        let chain = wire.tls.as_deref().map(chain_of).unwrap_or_default();
        match (wire.incoming, &self.review.incoming, &self.review.outgoing) {
            (true, Some(tls), _) => tls.suspects(&chain),
            (false, _, Some(tls)) => tls.suspects(&chain),
            _ => false,
        }
    }

    fn review_one(&mut self, key: u64, now: Instant) {
        self.stays(key, now);
    }

    fn on_reviewed(&mut self, outcome: Outcome) {
        let Outcome { judged, sent_away } = outcome;
        self.events.push(Event::Reviewed { judged, sent_away });
    }
}

fn chain_of(tls: &StreamTls) -> Vec<CertificateDer<'static>> {
    tls.peer_chain().into_iter().map(CertificateDer::from).collect()
}
