//! What one handshake showed so far: the slot that verifiers write and endpoints read.
//!
//! rustls shares one configuration, with its verifiers, among all sessions, so a verifier cannot
//! know whose handshake it serves. It is called synchronously within `read_handshake` of exactly
//! one session; that session's slot is then the innermost one of its thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn_proto::Side;
use rustls::pki_types::CertificateDer;

use super::failure::{FailureKind, TlsFailure};
use super::tickets::Chain;
use crate::identity::Certificate;

/// Why the handshake of one connection failed; empty until it did. Cheap to clone: all clones are
/// one slot.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    failure: Option<TlsFailure>,
    asked: Option<String>,
    server_name: Option<String>,
    client_alpns: Vec<Vec<u8>>,
    cipher_suite: Option<u16>,
    /// Presented but not yet proven by a signature.
    presented: Option<Presented>,
    /// Proven in this handshake, or in the one that is resumed; until the handshake is over.
    proven: Option<Chain>,
    /// The chain of the ticket that was found in this step of the handshake.
    ticket: Option<Chain>,
    /// A ticket was offered, and no certificate was shown in its place.
    resumed: bool,
}

#[derive(Debug)]
struct Presented {
    leaf: Box<Certificate>,
    chain: Vec<CertificateDer<'static>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Diagnosis>> = const { RefCell::new(None) };
}

/// Puts back what was current before, also when the handshake unwinds.
struct Restore(Option<Diagnosis>);

impl Drop for Restore {
    fn drop(&mut self) {
        let previous = self.0.take();
        CURRENT.with(|current| current.replace(previous));
    }
}

impl Diagnosis {
    /// Why our side ended the handshake, if it did.
    pub fn failure(&self) -> Option<TlsFailure> {
        self.notes().failure.clone()
    }

    /// Runs `handshake` with this slot as the one that verifiers write to.
    pub(super) fn during<T>(&self, handshake: impl FnOnce() -> T) -> T {
        let previous = CURRENT.with(|current| current.replace(Some(self.clone())));
        let _restore = Restore(previous);
        handshake()
    }

    /// The slot of the handshake that is being read; a fresh one outside of any.
    pub(super) fn current() -> Self {
        CURRENT.with(|current| current.borrow().clone()).unwrap_or_default()
    }

    pub(super) fn set_asked(&self, name: &str) {
        self.notes().asked = Some(name.to_owned());
    }

    pub(super) fn set_hello(&self, server_name: Option<String>, client_alpns: Vec<Vec<u8>>) {
        let mut notes = self.notes();
        notes.server_name = server_name;
        notes.client_alpns = client_alpns;
    }

    pub(super) fn hello(&self) -> (Option<String>, Vec<Vec<u8>>) {
        let notes = self.notes();
        (notes.server_name.clone(), notes.client_alpns.clone())
    }

    /// The cipher suite that is agreed on, as IANA numbers them.
    pub(super) fn set_cipher_suite(&self, cipher_suite: Option<u16>) {
        self.notes().cipher_suite = cipher_suite;
    }

    pub(super) fn cipher_suite(&self) -> Option<u16> {
        self.notes().cipher_suite
    }

    pub(super) fn set_presented(
        &self,
        leaf: Box<Certificate>,
        chain: Vec<CertificateDer<'static>>,
    ) {
        self.notes().presented = Some(Presented { leaf, chain });
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let notes = self.notes();
        let presented = notes.presented.as_ref();
        presented.map(|p| p.chain.clone()).unwrap_or_default()
    }

    /// The chain is accepted.
    pub(super) fn accepted(&self) {
        let mut notes = self.notes();
        notes.proven = notes.presented.take().map(|presented| presented.chain.into());
        notes.resumed = false;
    }

    /// What the peer has proved so far; empty if nothing.
    pub(super) fn proven(&self) -> Chain {
        self.notes().proven.clone().unwrap_or_else(|| Chain::from([]))
    }

    /// A ticket was found, whose session was with the holder of `chain`.
    pub(super) fn set_resuming(&self, chain: Chain) {
        let mut notes = self.notes();
        notes.proven = Some(chain.clone());
        notes.ticket = Some(chain);
        notes.resumed = true;
    }

    /// The ticket that was found since this was last called.
    pub(super) fn take_ticket(&self) -> Option<Chain> {
        self.notes().ticket.take()
    }

    /// The ticket was not taken up: the handshake is a full one.
    pub(super) fn not_resumed(&self) {
        let mut notes = self.notes();
        notes.proven = None;
        notes.resumed = false;
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.notes().resumed
    }

    /// Drops the copy of the chain: the handshake is over, and an idle connection should stay
    /// small.
    pub(super) fn settle(&self) {
        let mut notes = self.notes();
        notes.proven = None;
        notes.ticket = None;
    }

    /// Writes down why; the first reason stands.
    pub(super) fn fail(&self, peer: Side, kind: FailureKind) {
        let mut notes = self.notes();
        if notes.failure.is_some() {
            return;
        }
        let presented = notes.presented.take().map(|p| p.leaf);
        notes.failure =
            Some(TlsFailure { peer, kind, alert: None, asked: notes.asked.clone(), presented });
    }

    /// Writes down why, as it was found elsewhere; the first reason stands.
    pub(super) fn fail_with(&self, failure: TlsFailure) {
        self.notes().failure.get_or_insert(failure);
    }

    pub(super) fn set_alert(&self, alert: Option<u8>) {
        if let Some(failure) = self.notes().failure.as_mut() {
            failure.alert = alert;
        }
    }

    /// A panic elsewhere while the slot was locked leaves it readable: it holds plain data.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
