//! In which order those who are connected are judged by new TLS, and what was found.
//!
//! A judgment costs signatures. So everybody is looked at first, which costs next to nothing, and
//! whoever seems to have lost their trust is judged there and then; the others come after them, each
//! certificate chain once, in as many turns as it takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;

use crate::tls::{ClientTls, ServerTls, TlsFailure};

/// For how long one turn looks and judges: a few tens of judgments, and a pause that nobody notices.
const TIME_PER_TURN: Duration = Duration::from_millis(5);

/// Why somebody is to go, if so.
pub(crate) type Verdict = Result<(), Box<TlsFailure>>;

/// Who is still to be judged, named by `K`.
pub(crate) struct Docket<K> {
    /// Not looked at yet.
    unseen: Vec<K>,
    /// Those of whom nothing bad was seen.
    unsuspected: Vec<K>,
    /// What was said of each chain, under the name that it was to have. `None` while nobody waits.
    verdicts: Option<HashMap<[u8; 32], Verdict>>,
    pub(crate) outcome: Outcome,
}

/// What became of those who were judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) judged: usize,
    pub(crate) sent_away: usize,
}

impl<K> Default for Docket<K> {
    fn default() -> Self {
        let outcome = Outcome::default();
        Self { unseen: Vec::new(), unsuspected: Vec::new(), verdicts: None, outcome }
    }
}

impl<K: Copy> Docket<K> {
    /// Begins anew: whoever waited is among `all`.
    pub(crate) fn fill(&mut self, all: Vec<K>) {
        *self = Self { unseen: all, verdicts: Some(HashMap::new()), ..Self::default() };
    }

    fn is_empty(&self) -> bool {
        self.unseen.is_empty() && self.unsuspected.is_empty()
    }

    /// What `judge` says of `chain`, which is asked once. `asked` is the name that it is to have.
    pub(crate) fn verdict(
        &mut self,
        chain: &[CertificateDer<'_>],
        asked: &str,
        judge: impl FnOnce() -> Verdict,
    ) -> Verdict {
        let Some(verdicts) = &mut self.verdicts else { return judge() };
        let verdict = verdicts.entry(digest(chain, asked)).or_insert_with(judge).clone();
        self.outcome.judged += 1;
        self.outcome.sent_away += usize::from(verdict.is_err());
        verdict
    }
}

/// By which TLS those who are connected are judged, and who is still to be.
#[derive(Default)]
pub(crate) struct Review<K> {
    /// Counts the changes: beside each peer stands the one after which it was judged last.
    pub(crate) generation: u32,
    /// For clients.
    pub(crate) incoming: Option<Arc<ServerTls>>,
    /// For servers.
    pub(crate) outgoing: Option<ClientTls>,
    pub(crate) docket: Docket<K>,
}

impl<K: Copy> Review<K> {
    /// There is other TLS, by which all of these are to be judged.
    pub(crate) fn begin(&mut self, all: Vec<K>) {
        self.generation = self.generation.wrapping_add(1);
        self.docket.fill(all);
    }

    /// Whether a client, if it is `incoming`, or a server seems to have lost the trust that it had.
    pub(crate) fn suspects(&self, incoming: bool, chain: &[CertificateDer<'_>]) -> bool {
        match incoming {
            true => self.incoming.as_ref().is_some_and(|tls| tls.suspects(chain)),
            false => self.outgoing.as_ref().is_some_and(|tls| tls.suspects(chain)),
        }
    }

    /// Judges a server that is to have the name `asked`, or without one a client.
    pub(crate) fn verdict(&mut self, chain: &[CertificateDer<'_>], asked: Option<&str>) -> Verdict {
        match (asked, &self.incoming, &self.outgoing) {
            (None, Some(tls), _) => self.docket.verdict(chain, "", || tls.judge(chain)),
            (Some(name), _, Some(tls)) => {
                self.docket.verdict(chain, name, || tls.judge(chain, name))
            }
            _ => Ok(()),
        }
    }
}

fn digest(chain: &[CertificateDer<'_>], asked: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(asked.as_bytes()).chain(chain.iter().map(AsRef::as_ref)) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Who has a docket.
pub(crate) trait Reviewing {
    /// Names a peer.
    type Key: Copy;

    fn docket(&mut self) -> &mut Docket<Self::Key>;

    /// Whether a peer seems to have lost the trust that it had.
    fn is_suspect(&self, key: Self::Key) -> bool;

    /// Judges a peer, and sends it away if it is to go.
    fn review_one(&mut self, key: Self::Key, now: Instant);

    /// Everybody has been judged.
    fn on_reviewed(&mut self, outcome: Outcome);

    /// Looks at those who wait, and judges, for a while. True if more are waiting.
    fn review(&mut self, now: Instant) -> bool {
        let began = Instant::now();
        loop {
            if let Some(key) = self.docket().unseen.pop() {
                if self.is_suspect(key) {
                    self.review_one(key, now);
                } else {
                    self.docket().unsuspected.push(key);
                }
            } else if let Some(key) = self.docket().unsuspected.pop() {
                self.review_one(key, now);
            }
            if self.docket().is_empty() {
                let before = std::mem::take(self.docket());
                if before.outcome.judged > 0 {
                    self.on_reviewed(before.outcome);
                }
                return false;
            }
            if began.elapsed() >= TIME_PER_TURN {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::Side;

    use super::*;
    use crate::tls::FailureKind;

    fn failure() -> TlsFailure {
        let kind = FailureKind::Refused("not them".to_owned());
        TlsFailure { peer: Side::Client, kind, alert: None, asked: None, presented: None }
    }

    /// Peers by number, of whom some are suspect, and every five show the same certificate.
    struct Crowd {
        docket: Docket<u32>,
        suspects: Vec<u32>,
        judged: Vec<u32>,
        judgments: usize,
        outcome: Option<Outcome>,
    }

    impl Reviewing for Crowd {
        type Key = u32;

        fn docket(&mut self) -> &mut Docket<u32> {
            &mut self.docket
        }

        fn is_suspect(&self, key: u32) -> bool {
            self.suspects.contains(&key)
        }

        fn review_one(&mut self, key: u32, _now: Instant) {
            self.judged.push(key);
            let chain = [CertificateDer::from((key / 5).to_be_bytes().to_vec())];
            let judgments = &mut self.judgments;
            let judge = || {
                *judgments += 1;
                if key < 10 { Err(Box::new(failure())) } else { Ok(()) }
            };
            assert_eq!(self.docket.verdict(&chain, "", judge).is_err(), key < 10);
        }

        fn on_reviewed(&mut self, outcome: Outcome) {
            assert_eq!(self.outcome.replace(outcome), None, "it is told once");
        }
    }

    fn crowd(count: u32, suspects: Vec<u32>) -> Crowd {
        let mut docket = Docket::default();
        docket.fill((0..count).collect());
        Crowd { docket, suspects, judged: Vec::new(), judgments: 0, outcome: None }
    }

    #[test]
    fn suspects_of_twenty_thousand_are_judged_before_anybody_else() {
        let mut crowd = crowd(20_000, vec![0, 7_000, 19_999]);
        while crowd.review(Instant::now()) {}
        assert_eq!(crowd.judged[..3], [19_999, 7_000, 0]);
        assert_eq!(crowd.judged.len(), 20_000, "and everybody is in the end");
        assert_eq!(crowd.judgments, 4_000, "each chain once");
        assert_eq!(crowd.outcome, Some(Outcome { judged: 20_000, sent_away: 10 }));
    }

    #[test]
    fn a_name_that_is_asked_for_is_judged_by_itself() {
        let mut docket = Docket::default();
        docket.fill(vec![1]);
        let chain = [CertificateDer::from(vec![1])];
        let mut judgments = 0;
        for asked in ["a", "b", "a", "b"] {
            let judge = || {
                judgments += 1;
                Ok(())
            };
            assert!(docket.verdict(&chain, asked, judge).is_ok());
        }
        assert_eq!(judgments, 2);
    }

    #[test]
    fn nothing_is_kept_when_all_are_judged() {
        let mut crowd = crowd(10, Vec::new());
        while crowd.review(Instant::now()) {}
        assert!(crowd.docket.verdicts.is_none());
        assert!(!crowd.review(Instant::now()));
    }
}
