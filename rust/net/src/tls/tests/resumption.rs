//! Visits after the first: shorter, and no less strict.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::pair::{Outcome, shake, shake_early};
use super::pki::{Authority, Leaf};
use super::{a_client, client_options, refusing, server_options};
use crate::tls::{
    ClientAuth, ClientOptions, ClientTls, Identity, PeerCheck, ServerOptions, ServerTls, Trust,
    client, server, server_after,
};

/// A clock that only the test moves: seconds of the Unix epoch.
#[derive(Debug)]
struct Hands(AtomicU64);

impl TimeProvider for Hands {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// When `until_2030` ends, 2030-01-02, and an hour before and after.
const END: u64 = 1_893_542_400;
const BEFORE: u64 = END - 3_600;
const AFTER: u64 = END + 3_600;

fn until_2030(leaf: Leaf) -> Leaf {
    leaf.valid(2020, 2030)
}

fn hands() -> Arc<Hands> {
    Arc::new(Hands(AtomicU64::new(BEFORE)))
}

/// Two ends that verify each other.
struct Ends {
    authority: Authority,
    clients: Authority,
    own: Identity,
    client: ClientTls,
    server: Arc<ServerTls>,
}

impl Ends {
    fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    fn with(
        change_server: impl FnOnce(&mut ServerOptions),
        change_client: impl FnOnce(&mut ClientOptions),
    ) -> Self {
        let authority = Authority::root("Dev CA");
        let clients = Authority::root("Clients CA");
        let own = authority.issue(Leaf::new("dev", &["localhost", "127.0.0.1"]));
        let mut options = mutual(&own, &clients);
        change_server(&mut options);
        let server = server(options).unwrap();
        let client = a_client(&authority, |options| {
            options.identity = Some(clients.issue(Leaf::new("alice", &[])));
            change_client(options);
        });
        Self { authority, clients, own, client, server }
    }

    fn shake(&self) -> (Outcome, Outcome) {
        shake(&self.client, &self.server, "localhost")
    }

    /// A visit that has to succeed; whether it was resumed.
    fn visit(&self) -> bool {
        let (here, there) = self.shake();
        assert_eq!(here.resumed(), there.resumed());
        here.resumed()
    }

    /// The server takes new options, as it does when its files have changed.
    fn reload(&mut self, change: impl FnOnce(&mut ServerOptions)) {
        let mut options = mutual(&self.own, &self.clients);
        change(&mut options);
        self.server = server_after(options, &self.server).unwrap();
    }
}

fn mutual(own: &Identity, clients: &Authority) -> ServerOptions {
    ServerOptions {
        client_auth: ClientAuth::Required,
        client_roots: vec![clients.der.clone()],
        ..server_options(own.clone())
    }
}

fn counting(calls: &Arc<AtomicUsize>) -> PeerCheck {
    let calls = calls.clone();
    Arc::new(move |chain| {
        assert!(!chain.is_empty());
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// Accepts the first time, and refuses from then on.
fn once_only(reason: &'static str) -> PeerCheck {
    let calls = AtomicUsize::new(0);
    Arc::new(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(reason.to_owned()),
    })
}

#[test]
fn the_second_visit_is_resumed_and_both_know_each_other() {
    let ends = Ends::new();
    let (first, _) = ends.shake();
    assert!(!first.resumed());
    for _ in 0..3 {
        let (here, there) = ends.shake();
        assert!(here.resumed() && there.resumed());
        assert_eq!(here.peer, ends.own.chain);
        assert_eq!(here.peer, first.peer);
        assert_eq!(there.peer.len(), 1);
        assert!(!here.early, "nobody asked for it");
    }
}

#[test]
fn early_data_is_for_those_who_ask_and_where_it_is_taken() {
    let ends = Ends::new();
    let (first, _) = shake_early(&ends.client, &ends.server);
    assert!(!first.early, "there is no ticket yet");
    let (here, there) = shake_early(&ends.client, &ends.server);
    assert!(here.resumed() && here.early && there.early);
    let ends = Ends::with(|options| options.early_data = false, |_| {});
    assert!(!ends.visit());
    let (here, there) = shake_early(&ends.client, &ends.server);
    assert!(here.resumed() && !here.early && !there.early);
}

#[test]
fn nothing_is_remembered_beyond_the_limits() {
    let ends = Ends::with(|options| options.sessions = 0, |_| {});
    assert!(!ends.visit() && !ends.visit());
    let ends = Ends::with(|_| {}, |options| options.visits = 0);
    assert!(!ends.visit() && !ends.visit());
    // The server's room is for one session: the visit of another client takes it.
    let ends = Ends::with(|options| options.sessions = 1, |_| {});
    let other = a_client(&ends.authority, |options| {
        options.identity = Some(ends.clients.issue(Leaf::new("bob", &[])));
    });
    assert!(!ends.visit());
    assert!(!shake(&other, &ends.server, "localhost").0.resumed());
    assert!(!ends.visit());
    assert!(ends.visit());
}

#[test]
fn another_process_knows_no_tickets() {
    let mut ends = Ends::new();
    assert!(!ends.visit());
    ends.server = server(mutual(&ends.own, &ends.clients)).unwrap();
    assert!(!ends.visit());
    assert!(ends.visit());
}

#[test]
fn a_ticket_ends_after_a_day() {
    let clock = hands();
    let (here, there) = (clock.clone(), clock.clone());
    let ends = Ends::with(|options| options.clock = there, |options| options.clock = here);
    assert!(!ends.visit());
    clock.0.store(BEFORE + 23 * 3_600, Ordering::Relaxed);
    assert!(ends.visit());
    clock.0.store(BEFORE + 48 * 3_600, Ordering::Relaxed);
    assert!(!ends.visit());
}

#[test]
fn a_client_that_forgets_no_tickets_is_judged_by_the_servers_clock() {
    let clock = hands();
    let there = clock.clone();
    let ends = Ends::with(|options| options.clock = there, |_| {});
    assert!(!ends.visit());
    clock.0.store(BEFORE + 48 * 3_600, Ordering::Relaxed);
    assert!(!ends.visit(), "the client's clock says that no time has passed");
}

#[test]
fn a_client_that_expired_meanwhile_is_refused_as_ever() {
    let clock = hands();
    let (here, there) = (clock.clone(), clock.clone());
    let mut ends = Ends::with(|options| options.clock = there, |_| {});
    ends.client = a_client(&ends.authority, |options| {
        options.clock = here;
        options.identity = Some(ends.clients.issue(until_2030(Leaf::new("alice", &[]))));
    });
    assert!(!ends.visit());
    assert!(ends.visit());
    clock.0.store(AFTER, Ordering::Relaxed);
    assert_refused(&ends.shake(), 45, "client certificate rejected: expired 2030-01-02T00:00:00Z");
}

/// The server turned the client away, and both know why.
fn assert_refused((here, there): &(Outcome, Outcome), alert: u8, reason: &str) {
    assert!(!there.connected);
    assert_eq!(there.failure.as_ref().unwrap().reason(), reason);
    let rejection = here.rejection();
    assert_eq!((rejection.alert, rejection.text.as_str()), (alert, reason));
}

/// The client turned the server away, and both know why.
fn assert_believed_no_more((here, there): &(Outcome, Outcome), alert: u8, reason: &str) {
    assert!(!here.connected && !there.connected);
    assert_eq!(here.failure.as_ref().unwrap().reason(), reason);
    let rejection = there.rejection();
    assert_eq!((rejection.alert, rejection.text.as_str()), (alert, reason));
}

#[test]
fn a_server_that_expired_meanwhile_is_refused_as_ever() {
    let clock = hands();
    let (here, there) = (clock.clone(), clock.clone());
    let mut ends = Ends::with(|_| {}, |options| options.clock = here);
    ends.own = ends.authority.issue(until_2030(Leaf::new("dev", &["localhost"])));
    ends.reload(|options| options.clock = there);
    assert!(!ends.visit());
    assert!(ends.visit());
    clock.0.store(AFTER, Ordering::Relaxed);
    let reason = "server certificate rejected: expired 2030-01-02T00:00:00Z";
    // Nothing is sent early either.
    let outcome = shake_early(&ends.client, &ends.server);
    assert!(!outcome.0.early);
    assert_believed_no_more(&outcome, 45, reason);
}

#[test]
fn a_server_that_was_renewed_in_time_is_visited_as_ever() {
    let clock = hands();
    let (here, there) = (clock.clone(), clock.clone());
    let mut ends = Ends::with(|_| {}, |options| options.clock = here);
    ends.own = ends.authority.issue(until_2030(Leaf::new("dev", &["localhost"])));
    ends.reload(|options| options.clock = there.clone());
    assert!(!ends.visit());
    ends.own = ends.authority.issue(Leaf::new("dev", &["localhost"]));
    ends.reload(|options| options.clock = there);
    clock.0.store(AFTER, Ordering::Relaxed);
    assert!(!ends.visit(), "the old certificate would have been refused");
    assert!(ends.visit());
}

#[test]
fn a_client_that_was_revoked_meanwhile_is_refused_as_ever() {
    let mut ends = Ends::new();
    let lists = [ends.clients.crl(&[1], false), ends.clients.crl(&[77], false)];
    assert!(!ends.visit());
    ends.reload(|options| options.crls = lists[..1].to_vec());
    assert!(ends.visit(), "the list does not name it");
    ends.reload(|options| options.crls = lists[1..].to_vec());
    assert_refused(&ends.shake(), 44, "client certificate rejected: revoked");
}

#[test]
fn a_client_whose_authority_is_gone_is_refused_as_ever() {
    let mut ends = Ends::new();
    let other = Authority::root("Other CA");
    assert!(!ends.visit());
    ends.reload(|options| options.client_roots.push(other.der.clone()));
    assert!(ends.visit());
    ends.reload(|options| options.client_roots = vec![other.der.clone()]);
    let reason = "client certificate rejected: issuer \"Clients CA\" is not trusted";
    assert_refused(&ends.shake(), 48, reason);
}

#[test]
fn the_checks_of_both_sides_are_asked_at_every_visit() {
    let calls = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let ends = Ends::with(
        |options| options.check = Some(counting(&calls[0])),
        |options| options.check = Some(counting(&calls[1])),
    );
    assert!(!ends.visit() && ends.visit() && ends.visit());
    assert_eq!(calls.map(|calls| calls.load(Ordering::Relaxed)), [3, 3]);
}

#[test]
fn a_check_that_changed_its_mind_refuses_as_ever() {
    let ends = Ends::with(|options| options.check = Some(once_only("not twice")), |_| {});
    assert!(!ends.visit());
    assert_refused(&ends.shake(), 49, "client certificate rejected: not twice");
    let ends = Ends::with(|_| {}, |options| options.check = Some(once_only("not twice")));
    assert!(!ends.visit());
    assert_believed_no_more(&ends.shake(), 49, "server certificate rejected: not twice");
}

#[test]
fn a_check_sees_nobody_who_lost_the_ticket_to_somebody_else() {
    // The name of a ticket can be seen on the way, its secret cannot: here the client has another
    // one for it, as somebody has who copied the name.
    let ends = Ends::new();
    assert!(!ends.visit());
    let calls = Arc::new(AtomicUsize::new(0));
    let mut options = mutual(&ends.own, &ends.clients);
    options.check = Some(counting(&calls));
    let judged = server_after(options, &ends.server).unwrap();
    judged.damage_sessions();
    let (here, there) = shake(&ends.client, &judged, "localhost");
    assert!(!here.connected && !there.connected);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn another_certificate_is_shown_from_the_next_handshake_on() {
    let mut ends = Ends::new();
    assert!(!ends.visit());
    ends.own = ends.authority.issue(Leaf::new("dev", &["localhost"]));
    ends.reload(|_| {});
    let (here, _) = ends.shake();
    assert!(!here.resumed());
    assert_eq!(here.peer, ends.own.chain);
    assert!(ends.visit());
}

#[test]
fn clients_that_were_not_asked_before_are_asked_anew() {
    let mut ends = Ends::with(
        |options| {
            options.client_auth = ClientAuth::None;
            options.client_roots.clear();
        },
        |_| {},
    );
    let (here, there) = ends.shake();
    assert!(!here.resumed() && there.peer.is_empty());
    let (here, there) = ends.shake();
    assert!(here.resumed() && there.resumed() && there.peer.is_empty());
    ends.reload(|_| {});
    let (here, there) = ends.shake();
    assert!(!here.resumed());
    assert_eq!(there.peer.len(), 1);
}

#[test]
fn a_reloaded_client_begins_anew() {
    let mut ends = Ends::new();
    assert!(!ends.visit());
    let mut options = client_options(Trust::Roots(vec![ends.authority.der.clone()]));
    options.identity = Some(ends.clients.issue(Leaf::new("bob", &[])));
    ends.client = client(options).unwrap();
    let (here, there) = ends.shake();
    assert!(!here.resumed());
    let leaf = crate::identity::parse(&there.peer[0]).unwrap();
    assert_eq!(leaf.common_name.as_deref(), Some("bob"));
}

#[test]
fn those_who_are_there_are_judged_like_those_who_come() {
    let mut ends = Ends::new();
    let (here, there) = ends.shake();
    ends.reload(|options| options.crls = vec![ends_crl(&Authority::root("x"))]);
    let unknown = ends.server.judge(&there.peer).unwrap_err();
    assert_eq!(unknown.kind.slug(), "revocation_unknown");
    ends.reload(|options| options.check = Some(refusing("no more")));
    let refused = ends.server.judge(&there.peer).unwrap_err();
    assert_eq!(refused.reason(), "client certificate rejected: no more");
    assert_eq!(ends.server.judge(&[]).unwrap_err().kind.slug(), "no_certificate");
    assert_eq!(ends.client.judge(&here.peer, "localhost"), Ok(()));
    let other = ends.client.judge(&here.peer, "api.local").unwrap_err();
    assert_eq!(other.kind.slug(), "name_mismatch");
}

fn ends_crl(authority: &Authority) -> rustls::pki_types::CertificateRevocationListDer<'static> {
    authority.crl(&[], false)
}

#[test]
fn nobody_is_remembered_with_more_certificates_than_are_real() {
    let many: Vec<String> = (0..400).map(|n| format!("number-{n}.of.many.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let padding = Leaf::new("padding", &many).self_signed().chain;
    assert!(padding[0].len() > 8 << 10);
    let clients = Authority::root("Clients CA");
    let mut bob = clients.issue(Leaf::new("bob", &[]));
    bob.chain.extend(padding.clone());
    let mut ends = Ends::with(
        |options| options.client_roots = vec![clients.der.clone()],
        |options| options.identity = Some(bob),
    );
    assert!(!ends.visit());
    assert!(!ends.visit(), "the server gave no ticket");
    let alice = ends.clients.issue(Leaf::new("alice", &[]));
    ends.client = a_client(&ends.authority, |options| options.identity = Some(alice));
    ends.own.chain.extend(padding);
    ends.reload(|_| {});
    assert!(!ends.visit());
    assert!(!ends.visit(), "the client kept none");
}
