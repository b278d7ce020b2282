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
        self.review.begin(self.wires.keys(|wire| wire.incoming == incoming));
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
        let asked = match target {
            None => None,
            Some(Target::Tcp(options, _)) => Some(options.server_name.as_str()),
            Some(Target::Unix(..)) => return true,
        };
        let Err(failure) = self.review.verdict(&chain, asked) else { return true };
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
        self.review.suspects(wire.incoming, &chain)
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
