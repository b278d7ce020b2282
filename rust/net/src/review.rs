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
        let found = self.connections.iter().flatten().filter(|found| found.server == incoming);
        let keys = found.map(|connection| connection.key.0).collect();
        self.review.begin(keys);
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
        self.review.suspects(connection.server, &connection.peer_chain())
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
        if let Err(failure) = self.review.verdict(&chain, connection.asked.as_deref()) {
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
