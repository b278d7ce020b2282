//! Stateless resets (RFC 9000, section 10.3): how a server that was killed and started again tells
//! its clients, at their next packet, that their connections are gone. Without them they would wait
//! for their idle timeouts.
//!
//! The reset token of a connection identifier is a function of the identifier and a key. The key
//! must outlive the process, so it is derived from the one secret that does: the private key of the
//! server's certificate. Where two servers have that in common, neither may answer for the other's
//! connections (RFC 9000, section 21.11), so the derivation takes in the machine and the address
//! that is listened on; and an identifier shows, to who has the key, that it was made with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, InvalidCid, RandomConnectionIdGenerator,
};
use ring::{hkdf, hmac};

/// Random bytes of an identifier: so many that none is ever given out twice.
const RANDOM: usize = 6;

/// Bytes of an identifier that show whose it is: one stray datagram in 65,536 is taken for ours.
const MARK: usize = 2;

/// At most one reset in this time. quinn's default, 20 ms, is against loops of resets between ends
/// that take every identifier for their own; ours do not, and a restarted server has many to tell.
const INTERVAL: Duration = Duration::from_micros(100);

/// What tells machines apart whose servers have the same certificate.
const MACHINE: [&str; 2] = ["/etc/machine-id", "/proc/sys/kernel/hostname"];

/// The secret of a server's private key from which its reset keys are derived.
#[derive(Clone)]
pub(crate) struct ResetSecret(hkdf::Prk);

impl ResetSecret {
    pub(crate) fn of_private_key(der: &[u8]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"jetstream stateless reset");
        Self(salt.extract(der))
    }

    /// Makes an endpoint that listens on `local` recognise the connections of its predecessors.
    pub(crate) fn configure(&self, config: &mut EndpointConfig, local: SocketAddr) {
        let Some(machine) = machine() else { return };
        let scope = format!("{machine}{local}");
        let key = |purpose: &[u8]| {
            let info = [purpose, scope.as_bytes()];
            self.0.expand(&info, hmac::HMAC_SHA256).ok().map(hmac::Key::from)
        };
        let (Some(tokens), Some(marks)) = (key(b"token "), key(b"identifier ")) else { return };
        config
            .reset_key(Arc::new(tokens))
            .min_reset_interval(INTERVAL)
            .cid_generator(move || Box::new(Identifiers::new(marks.clone())));
    }
}

/// `None` where the system does not tell: then no key outlives its process.
fn machine() -> Option<String> {
    let read = |path| std::fs::read_to_string(Path::new(path)).ok();
    let known: Vec<String> = MACHINE.into_iter().filter_map(read).collect();
    (!known.is_empty()).then(|| known.concat())
}

/// Identifiers that are random for everybody but the holder of the key.
struct Identifiers {
    random: RandomConnectionIdGenerator,
    key: hmac::Key,
}

impl Identifiers {
    fn new(key: hmac::Key) -> Self {
        Self { random: RandomConnectionIdGenerator::new(RANDOM), key }
    }

    fn mark(&self, random: &[u8]) -> [u8; MARK] {
        let tag = hmac::sign(&self.key, random);
        std::array::from_fn(|index| tag.as_ref().get(index).copied().unwrap_or_default())
    }
}

impl ConnectionIdGenerator for Identifiers {
    fn generate_cid(&mut self) -> ConnectionId {
        let random = self.random.generate_cid();
        ConnectionId::new(&[&random[..], &self.mark(&random)[..]].concat())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(RANDOM) {
            Some((random, mark)) if mark == &self.mark(random)[..] => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        RANDOM + MARK
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identifiers(key: u8) -> Identifiers {
        Identifiers::new(hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]))
    }

    #[test]
    fn identifiers_are_known_to_who_has_the_key() {
        let (mut ours, theirs) = (identifiers(1), identifiers(2));
        let made: Vec<ConnectionId> = (0..1_000).map(|_| ours.generate_cid()).collect();
        assert!(made.iter().all(|id| identifiers(1).validate(id).is_ok()));
        assert!(made.iter().filter(|id| theirs.validate(id).is_ok()).count() < 3);
        assert!(ours.validate(&ConnectionId::new(&[0; 5])).is_err());
        assert!(made.iter().all(|id| id.len() == ours.cid_len()));
    }
}
