//! The end of an endpoint: it waits until its peers have all that was said, but not for those of whom
//! nothing more is heard.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::connection::{Connection, ConnectionKey};
use crate::endpoint::Endpoint;
use crate::event::Lost;
use crate::stream::code;

/// Silence after which a peer is asked for a sign of life, and is given up if there is none for as long
/// again. What is lost on the way is sent once more within less.
const SILENCE: Duration = Duration::from_secs(2);

/// On slow paths it is as many round trips: three of QUIC's own probes (RFC 9002, section 6.2.1).
const ROUND_TRIPS: u32 = 9;

/// How long a peer may still be silent.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) until: Instant,
    /// It has been asked for a sign of life.
    asked: bool,
}

impl Connection {
    fn be_patient(&mut self, now: Instant, asked: bool) {
        let silence = SILENCE.max(self.quic.rtt().saturating_mul(ROUND_TRIPS));
        self.patience = now.checked_add(silence).map(|until| Patience { until, asked });
    }

    /// Something came from the peer, or from somebody in its place.
    pub(crate) fn on_heard(&mut self, now: Instant) {
        if self.patience.is_some() {
            self.be_patient(now, false);
        }
    }
}

impl Endpoint {
    /// There will be nothing more to say. From now on, peers that have not acknowledged everything and
    /// fall silent are given up.
    pub fn part(&mut self, now: Instant) {
        let open = self.connections.iter_mut().flatten().filter(|connection| !connection.is_over());
        let mut keys = Vec::new();
        for connection in open.filter(|connection| connection.patience.is_none()) {
            // Whoever is there answers this, also if it has everything or takes nothing.
            connection.quic.ping();
            connection.be_patient(now, true);
            keys.push(connection.key.0);
        }
        for key in keys {
            self.activate(key);
        }
    }

    /// A peer has been silent for long.
    pub(crate) fn on_silence(&mut self, key: u32, now: Instant) {
        let Some(connection) = self.touch(ConnectionKey(key)) else { return };
        let asked = connection.patience.is_some_and(|patience| patience.asked);
        // All that was queued is on its way, or held up by the peer: its streams tell.
        if connection.quic.streams().send_streams() == 0 {
            connection.be_patient(now, false);
        } else if asked {
            connection.lift.open();
            let reason = Bytes::from_static(b"nothing was heard");
            connection.quic.close(now, code(jetstream_proto::codes::SHUTDOWN.into()), reason);
            self.end(key, Lost::TimedOut);
        } else {
            connection.quic.ping();
            connection.be_patient(now, true);
        }
    }
}
