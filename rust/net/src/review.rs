//! New TLS for an endpoint that is in use: the next handshakes follow it, and those who are connected
//! are judged by it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use crate::connection::ConnectionKey;
use crate::docket::{Docket, Outcome, Reviewing};
use crate::endpoint::Endpoint;
use crate::event::{Event, Lost};
use crate::stream::code;
use crate::tls::{ClientTls, ServerTls, TlsFailure};

/// By which TLS those who are connected are judged, and who is still to be.
#[derive(Default)]
pub(crate) struct Review {
    /// Counts the changes: a connection remembers with which one it was judged last.
    pub(crate) generation: u32,
    pub(crate) incoming: Option<Arc<ServerTls>>,
    outgoing: Option<ClientTls>,
    docket: Docket<u32>,
}

impl Endpoint {
    /// Serves with `tls` from the next handshake on. Clients that it would refuse are sent away in
    /// the next turns; all others notice nothing.
    pub fn reload_server(&mut self, tls: Arc<ServerTls>) {
        if let (Some(server), Some(quic)) = (&mut self.server, &mut self.server_quic) {
            server.tls = tls.clone();
            // Only the TLS is new: the key of Retry tokens is not, so handshakes that began go on.
            quic.crypto = tls.clone();
            self.quic.set_server_config(Some(Arc::new(quic.clone())));
        }
        self.review.incoming = Some(tls);
        self.begin_review(true);
    }

    /// Leaves the servers that `tls` would refuse in the next turns. Connections are made with what
    /// is given to [`Endpoint::connect`].
    pub fn reload_client(&mut self, tls: ClientTls) {
        self.review.outgoing = Some(tls);
        self.begin_review(false);
    }

    fn begin_review(&mut self, incoming: bool) {
        self.review.generation = self.review.generation.wrapping_add(1);
        let found = self.connections.iter().flatten().filter(|found| found.server == incoming);
        let keys = found.map(|connection| connection.key.0).collect();
        self.review.docket.fill(keys);
    }

    fn send_away(&mut self, key: ConnectionKey, now: Instant, failure: Box<TlsFailure>) {
        let Some(found) = self.touch(key) else { return };
        found.lift.open();
        let reason = Bytes::from(failure.reason());
        found.quic.close(now, code(jetstream_proto::codes::REFUSED.into()), reason);
        self.end(key.0, Lost::Tls(failure));
    }
}

impl Reviewing for Endpoint {
    type Key = u32;

    fn docket(&mut self) -> &mut Docket<u32> {
        &mut self.review.docket
    }

    fn is_suspect(&self, key: u32) -> bool {
        let Some(connection) = self.get(ConnectionKey(key)) else { return false };
        let chain = connection.peer_chain();
        match (connection.server, &self.review.incoming, &self.review.outgoing) {
            (true, Some(tls), _) => tls.suspects(&chain),
            (false, _, Some(tls)) => tls.suspects(&chain),
            _ => false,
        }
    }

    /// Judges a connection that has not been since the last change. Nothing can be said of a peer
    /// that has not shown who it is yet: it is asked for when the handshake is complete.
    fn review_one(&mut self, key: u32, now: Instant) {
        let generation = self.review.generation;
        let Some(Some(connection)) = self.connections.get_mut(key as usize) else { return };
        if connection.is_over() || connection.generation == generation {
            return;
        }
        let chain = connection.peer_chain();
        if chain.is_empty() && connection.is_handshaking() {
            return;
        }
        connection.generation = generation;
        let asked = connection.asked.as_deref().unwrap_or_default();
        let Review { docket, incoming, outgoing, .. } = &mut self.review;
        let judged = match (connection.server, incoming, outgoing) {
            (true, Some(tls), _) => docket.verdict(&chain, asked, || tls.judge(&chain)),
            (false, _, Some(tls)) => docket.verdict(&chain, asked, || tls.judge(&chain, asked)),
            _ => Ok(()),
        };
        if let Err(failure) = judged {
            self.send_away(ConnectionKey(key), now, failure);
        }
    }

    fn on_reviewed(&mut self, outcome: Outcome) {
        let Outcome { judged, sent_away } = outcome;
        self.events.push(Event::Reviewed { judged, sent_away });
    }
}

/// A chain as TLS hands it over.
pub(crate) type Chain = Vec<CertificateDer<'static>>;
