//! Servers that do, and do not, accept a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::ExtendedKeyUsagePurpose;

use super::pair::{Outcome, shake};
use super::pki::{Authority, Leaf};
use super::{a_client, a_server, refusing};
use crate::identity;
use crate::tls::{ClientAuth, Identity, ServerOptions};

/// A client with `identity` connects to a server that is configured by `change`.
fn from(identity: Option<Identity>, change: impl FnOnce(&mut ServerOptions)) -> (Outcome, Outcome) {
    let (authority, server) = a_server(change);
    let client = a_client(&authority, |options| options.identity = identity);
    shake(&client, &server, "localhost")
}

fn require(authority: &Authority) -> impl FnOnce(&mut ServerOptions) {
    let root = authority.der.clone();
    |options| {
        options.client_auth = ClientAuth::Required;
        options.client_roots = vec![root];
    }
}

/// The server turned the client away, and both know why.
fn assert_rejected((client, server): &(Outcome, Outcome), alert: u8, reason: &str) {
    let failure = server.failure.as_ref().expect("the server knows why");
    assert_eq!(failure.reason(), reason);
    assert_eq!(failure.alert, Some(alert));
    assert_eq!(u64::from(server.local_code()), 0x100 + u64::from(alert));
    assert!(!server.connected);
    // TLS 1.3: the client is done before the server has looked at its certificate.
    assert!(client.connected);
    let rejection = client.rejection();
    assert_eq!((rejection.alert, rejection.text.as_str()), (alert, reason));
    assert_eq!(client.failure, None);
}

#[test]
fn a_good_client_is_accepted_and_known() {
    let clients = Authority::root("Clients CA");
    let identity = clients.issue(Leaf::new("alice", &[]));
    let (client, server) = from(Some(identity), require(&clients));
    assert!(client.connected && server.connected);
    assert!(client.lost.is_none() && server.lost.is_none());
    let leaf = identity::parse(&server.peer[0]).unwrap();
    assert_eq!(leaf.common_name.as_deref(), Some("alice"));
}

#[test]
fn a_client_without_a_certificate_is_turned_away() {
    let clients = Authority::root("Clients CA");
    let outcome = from(None, require(&clients));
    assert_rejected(&outcome, 116, "client certificate required but none was presented");
    assert_eq!(outcome.1.failure.unwrap().kind.slug(), "no_certificate");
}

#[test]
fn optional_lets_in_without_a_certificate_but_not_with_a_bad_one() {
    let clients = Authority::root("Clients CA");
    let optional = |options: &mut ServerOptions| {
        require(&clients)(options);
        options.client_auth = ClientAuth::Optional;
    };
    let (client, server) = from(None, optional);
    assert!(client.connected && server.connected && client.lost.is_none());
    let stranger = Authority::root("Other CA").issue(Leaf::new("mallory", &[]));
    assert_rejected(
        &from(Some(stranger), optional),
        48,
        "client certificate rejected: issuer \"Other CA\" is not trusted",
    );
}

#[test]
fn a_server_that_does_not_ask_does_not_see_the_certificate() {
    let identity = Authority::root("Clients CA").issue(Leaf::new("alice", &[]));
    let (client, server) = from(Some(identity), |_| {});
    assert!(client.connected && server.connected && server.peer.is_empty());
}

#[test]
fn the_reason_is_told_to_the_client() {
    let clients = Authority::root("Clients CA");
    let alice = || Leaf::new("alice", &[]);
    let stranger = Authority::root("Other CA").issue(alice());
    let outcome = from(Some(stranger), require(&clients));
    assert_rejected(
        &outcome,
        48,
        "client certificate rejected: issuer \"Other CA\" is not trusted",
    );
    assert_eq!(
        outcome.1.failure.unwrap().to_string(),
        "client certificate rejected: issuer \"Other CA\" is not trusted\n  \
         presented  no SAN (CN=alice, expires 2126-12-04)\n  \
         issuer     Other CA"
    );
    assert_rejected(
        &from(Some(clients.issue(alice().valid(2020, 2026))), require(&clients)),
        45,
        "client certificate rejected: expired 2026-01-02T00:00:00Z",
    );
    assert_rejected(
        &from(Some(clients.issue(alice().valid(2100, 2126))), require(&clients)),
        45,
        "client certificate rejected: not valid before 2100-01-02T00:00:00Z",
    );
    let leaf = alice().only_for(ExtendedKeyUsagePurpose::ServerAuth);
    assert_rejected(
        &from(Some(clients.issue(leaf)), require(&clients)),
        43,
        "client certificate rejected: made for server authentication, not for client \
         authentication",
    );
}

#[test]
fn a_revoked_client_is_turned_away() {
    let clients = Authority::root("Clients CA");
    let with = |crl| {
        let change = |options: &mut ServerOptions| {
            require(&clients)(options);
            options.crls = vec![crl];
        };
        from(Some(clients.issue(Leaf::new("alice", &[]))), change)
    };
    assert!(with(clients.crl(&[1, 2], false)).0.lost.is_none());
    assert_rejected(&with(clients.crl(&[77], false)), 44, "client certificate rejected: revoked");
}

#[test]
fn a_check_alone_decides_about_any_chain() {
    let anyone = || Leaf::new("anyone", &[]).self_signed();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let (client, server) = from(Some(anyone()), |options| {
        options.client_auth = ClientAuth::Required;
        options.check = Some(Arc::new(move |chain| {
            counter.fetch_add(chain.len(), Ordering::Relaxed);
            Ok(())
        }));
    });
    assert!(client.connected && server.connected);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_rejected(
        &from(Some(anyone()), |options| {
            options.client_auth = ClientAuth::Required;
            options.check = Some(refusing("alice is suspended"));
        }),
        49,
        "client certificate rejected: alice is suspended",
    );
    assert_rejected(
        &from(None, |options| {
            options.client_auth = ClientAuth::Required;
            options.check = Some(refusing("never asked"));
        }),
        116,
        "client certificate required but none was presented",
    );
}

#[test]
fn roots_come_before_the_check() {
    let clients = Authority::root("Clients CA");
    let stranger = Authority::root("Other CA").issue(Leaf::new("mallory", &[]));
    let strict = |options: &mut ServerOptions| {
        require(&clients)(options);
        options.check = Some(refusing("suspended"));
    };
    let outcome = from(Some(stranger), strict);
    assert_eq!(outcome.1.failure.unwrap().kind.slug(), "unknown_issuer");
    let alice = clients.issue(Leaf::new("alice", &[]));
    let outcome = from(Some(alice), strict);
    assert_rejected(&outcome, 49, "client certificate rejected: suspended");
}

/// An authority that has changed its key: two of one name.
fn rekeyed() -> [Authority; 2] {
    [(); 2].map(|()| Authority::root("Clients CA"))
}

#[test]
fn clients_of_an_old_and_of_a_new_key_are_judged_by_the_list_of_theirs() {
    let keys = rekeyed();
    let other = Authority::root("Other CA");
    for order in [[0, 1], [1, 0]] {
        for revoked in [0, 1] {
            let crls: Vec<_> = order
                .iter()
                .map(|key| keys[*key].crl(if *key == revoked { &[77] } else { &[] }, false))
                .chain([other.crl(&[], false)])
                .collect();
            let visit = |authority: &Authority| {
                from(Some(authority.issue(Leaf::new("alice", &[]))), |options| {
                    options.client_auth = ClientAuth::Required;
                    options.client_roots =
                        [&keys[0], &other, &keys[1]].map(|root| root.der.clone()).to_vec();
                    options.crls = crls.clone();
                })
            };
            assert!(visit(&keys[1 - revoked]).0.lost.is_none());
            assert!(visit(&other).0.lost.is_none());
            let why = "client certificate rejected: revoked";
            assert_rejected(&visit(&keys[revoked]), 44, why);
        }
    }
}

#[test]
fn a_new_key_without_a_list_covers_nobody() {
    let keys = rekeyed();
    let outcome = from(Some(keys[1].issue(Leaf::new("alice", &[]))), |options| {
        options.client_auth = ClientAuth::Required;
        options.client_roots = keys.iter().map(|root| root.der.clone()).collect();
        options.crls = vec![keys[0].crl(&[], false)];
    });
    assert!(outcome.1.failure.is_some(), "not even without a list that could be checked");
}
