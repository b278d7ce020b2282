//! Clients that do, and do not, accept a server.

use std::sync::{Arc, Mutex};

use rcgen::ExtendedKeyUsagePurpose;

use super::pair::{Outcome, shake};
use super::pki::{Authority, Leaf};
use super::{a_client, a_server, client_options, refusing, server_options};
use crate::identity;
use crate::tls::{
    ClientOptions, ConfigError, FailureKind, Identity, MAX_OFFERED_PROTOCOLS, MAX_REASON_BYTES,
    Trust, client, server,
};

/// Connects to `identity`; the client trusts `authority`.
fn to(identity: Identity, authority: &Authority, name: &str) -> (Outcome, Outcome) {
    to_with(identity, authority, name, |_| {})
}

fn to_with(
    identity: Identity,
    authority: &Authority,
    name: &str,
    change: impl FnOnce(&mut ClientOptions),
) -> (Outcome, Outcome) {
    let server = server(server_options(identity)).unwrap();
    shake(&a_client(authority, change), &server, name)
}

/// The client turned the server away, and both know why.
fn assert_rejected((client, server): &(Outcome, Outcome), alert: u8, reason: &str) {
    let failure = client.failure.as_ref().expect("the client knows why");
    assert_eq!(failure.reason(), reason);
    assert_eq!(failure.alert, Some(alert));
    assert_eq!(u64::from(client.local_code()), 0x100 + u64::from(alert));
    assert!(!client.connected && !server.connected);
    let rejection = server.rejection();
    assert_eq!((rejection.alert, rejection.text.as_str()), (alert, reason));
    assert_eq!(server.failure, None);
}

#[test]
fn a_good_server_is_accepted() {
    let (authority, server) = a_server(|_| {});
    let (client, server) = shake(&a_client(&authority, |_| {}), &server, "localhost");
    assert!(client.connected && server.connected);
    assert!(client.lost.is_none() && server.lost.is_none());
    assert_eq!((&client.failure, &server.failure), (&None, &None));
    let data = server.data.unwrap();
    assert_eq!(data.alpn.as_deref(), Some(super::ALPN));
    assert_eq!(data.server_name.as_deref(), Some("localhost"));
    assert_eq!(data.client_alpns, [super::ALPN]);
    assert_eq!(client.data.unwrap().alpn.as_deref(), Some(super::ALPN));
    let leaf = identity::parse(&client.peer[0]).unwrap();
    assert_eq!(leaf.common_name.as_deref(), Some("dev"));
    assert!(server.peer.is_empty());
}

#[test]
fn an_address_is_a_name_too() {
    let (authority, server) = a_server(|_| {});
    let (client, _) = shake(&a_client(&authority, |_| {}), &server, "127.0.0.1");
    assert!(client.connected);
}

#[test]
fn an_intermediate_is_followed() {
    let root = Authority::root("Root");
    let identity = root.below("Middle").issue(Leaf::new("dev", &["localhost"]));
    let (client, _) = to(identity, &root, "localhost");
    assert!(client.connected);
    assert_eq!(client.peer.len(), 2);
}

#[test]
fn another_name_is_a_mismatch() {
    let (authority, server) = a_server(|_| {});
    let outcome = shake(&a_client(&authority, |_| {}), &server, "api.local");
    assert_rejected(
        &outcome,
        42,
        "server certificate rejected: name mismatch (asked for api.local, presented \
         SAN=localhost,127.0.0.1)",
    );
    let failure = outcome.0.failure.unwrap();
    assert_eq!(failure.kind.slug(), "name_mismatch");
    assert_eq!(
        failure.to_string(),
        "server certificate rejected: name mismatch\n  \
         asked for  api.local\n  \
         presented  SAN=localhost,127.0.0.1 (CN=dev, expires 2126-12-04)\n  \
         issuer     Dev CA"
    );
}

#[test]
fn an_unknown_issuer_is_named() {
    let other = Authority::root("Other CA");
    let trusted = Authority::root("Dev CA");
    let below = other.below("Middle").issue(Leaf::new("dev", &["localhost"]));
    for identity in [other.issue(Leaf::new("dev", &["localhost"])), below] {
        let outcome = to(identity, &trusted, "localhost");
        let reason = "server certificate rejected: issuer \"Other CA\" is not trusted";
        assert_rejected(&outcome, 48, reason);
    }
}

#[test]
fn a_self_signed_certificate_is_called_so() {
    let identity = Leaf::new("dev", &["localhost"]).self_signed();
    let trusted = Authority::root("Dev CA");
    let outcome = to(identity.clone(), &trusted, "localhost");
    let reason = "server certificate rejected: issuer \"dev\" is not trusted (self-signed)";
    assert_rejected(&outcome, 48, reason);
    // As its own root it is trusted.
    let options = client_options(Trust::Roots(vec![identity.chain[0].clone()]));
    let server = server(server_options(identity)).unwrap();
    let (here, _) = shake(&client(options).unwrap(), &server, "localhost");
    assert!(here.connected);
}

#[test]
fn an_authority_of_the_same_name_with_another_key_has_not_signed() {
    let identity = Authority::root("Dev CA").issue(Leaf::new("dev", &["localhost"]));
    let outcome = to(identity, &Authority::root("Dev CA"), "localhost");
    assert_rejected(
        &outcome,
        51,
        "server certificate rejected: a signature in its chain does not verify",
    );
}

#[test]
fn times_are_told() {
    let authority = Authority::root("Dev CA");
    let leaf = || Leaf::new("dev", &["localhost"]);
    let old = authority.issue(leaf().valid(2020, 2024));
    assert_rejected(
        &to(old, &authority, "localhost"),
        45,
        "server certificate rejected: expired 2024-01-02T00:00:00Z",
    );
    let young = authority.issue(leaf().valid(2100, 2124));
    assert_rejected(
        &to(young, &authority, "localhost"),
        45,
        "server certificate rejected: not valid before 2100-01-02T00:00:00Z",
    );
}

#[test]
fn revocation_is_checked_for_the_whole_chain() {
    let root = Authority::root("Root");
    let middle = root.below("Middle");
    let leaf = || middle.issue(Leaf::new("dev", &["localhost"]));
    let with = |crls: Vec<_>| to_with(leaf(), &root, "localhost", |o| o.crls = crls);
    let (client, _) = with(vec![root.crl(&[], false), middle.crl(&[1], false)]);
    assert!(client.connected);
    assert_rejected(
        &with(vec![root.crl(&[], false), middle.crl(&[77], false)]),
        44,
        "server certificate rejected: revoked",
    );
    assert_rejected(
        &with(vec![middle.crl(&[], false)]),
        48,
        "server certificate rejected: not covered by a revocation list (one of every issuer is \
         needed)",
    );
    assert_rejected(
        &with(vec![root.crl(&[], false), middle.crl(&[], true)]),
        48,
        "server certificate rejected: the revocation list of its issuer expired \
         2024-02-03T00:00:00Z",
    );
}

#[test]
fn another_use_is_told() {
    let authority = Authority::root("Dev CA");
    let leaf = Leaf::new("dev", &["localhost"]).only_for(ExtendedKeyUsagePurpose::ClientAuth);
    assert_rejected(
        &to(authority.issue(leaf), &authority, "localhost"),
        43,
        "server certificate rejected: made for client authentication, not for server \
         authentication",
    );
    let leaf = Leaf::new("dev", &["localhost"]).authority();
    assert_rejected(
        &to(authority.issue(leaf), &authority, "localhost"),
        46,
        "server certificate rejected: it is the certificate of an authority (CA:TRUE), not of a \
         peer",
    );
}

#[test]
fn the_check_has_the_last_word() {
    let authority = Authority::root("Dev CA");
    let identity = || authority.issue(Leaf::new("dev", &["localhost"]));
    let outcome = to_with(identity(), &authority, "localhost", |options| {
        options.check = Some(refusing("not the pinned fingerprint"));
    });
    assert_rejected(&outcome, 49, "server certificate rejected: not the pinned fingerprint");
    assert!(outcome.0.failure.unwrap().presented.is_some());

    let seen = Arc::new(Mutex::new(Vec::new()));
    let slot = seen.clone();
    let (here, _) = to_with(identity(), &authority, "localhost", |options| {
        options.check = Some(Arc::new(move |chain| {
            let leaf = identity::parse(&chain[0]).map_err(|error| error.to_string())?;
            slot.lock().unwrap().push(leaf.common_name);
            Ok(())
        }));
    });
    assert!(here.connected);
    assert_eq!(*seen.lock().unwrap(), [Some("dev".to_owned())]);
}

#[test]
fn a_refused_server_is_not_shown_to_the_check() {
    let trusted = Authority::root("Dev CA");
    let identity = Authority::root("Other CA").issue(Leaf::new("dev", &["localhost"]));
    let outcome = to_with(identity, &trusted, "localhost", |options| {
        options.check = Some(Arc::new(|_| panic!("must not be called")));
    });
    assert_eq!(outcome.0.failure.unwrap().kind.slug(), "unknown_issuer");
}

#[test]
fn danger_anything_takes_anything_but_the_check_still_counts() {
    let identity = Leaf::new("dev", &["elsewhere"]).valid(2020, 2024).self_signed();
    let server = server(server_options(identity)).unwrap();
    let mut options = client_options(Trust::DangerAnything);
    let (here, _) = shake(&client(options.clone()).unwrap(), &server, "localhost");
    assert!(here.connected);
    options.check = Some(refusing("no"));
    let outcome = shake(&client(options).unwrap(), &server, "localhost");
    assert_rejected(&outcome, 49, "server certificate rejected: no");
}

#[test]
fn long_and_hostile_texts_are_bounded() {
    let authority = Authority::root("Dev CA");
    let names: Vec<String> = (0..40).map(|n| format!("host-{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = authority.issue(Leaf::new("dev\n\u{1b}[31m", &names));
    let outcome = to_with(identity.clone(), &authority, "localhost", |_| {});
    let failure = outcome.0.failure.as_ref().unwrap();
    assert!(failure.reason().ends_with("host-7.example,and 32 more)"));
    assert!(failure.to_string().contains("CN=dev\u{fffd}\u{fffd}[31m"));
    let outcome = to_with(identity, &authority, names[0], |options| {
        options.check = Some(Arc::new(|_| Err("x".repeat(5000))));
    });
    let said = outcome.1.rejection().text;
    assert!(said.len() <= MAX_REASON_BYTES);
    assert!(said.ends_with("… (cut at 512 bytes)"));
    let kept = outcome.0.failure.unwrap().kind;
    assert_eq!(kept, FailureKind::Refused("x".repeat(5000)));
}

#[test]
fn protocols_must_be_shared() {
    let (authority, server) = a_server(|options| {
        options.alpns = vec![b"jetstream".to_vec(), b"h3".to_vec()];
    });
    let client = a_client(&authority, |options| {
        options.alpns = vec![b"a".to_vec(), b"b".to_vec()];
    });
    let (here, there) = shake(&client, &server, "localhost");
    let reason = "no shared protocol: the client offers [a, b], the server speaks [jetstream, h3]";
    let failure = there.failure.unwrap();
    assert_eq!(failure.reason(), reason);
    assert_eq!(failure.alert, Some(120));
    assert_eq!(
        failure.kind,
        FailureKind::NoSharedProtocol {
            ours: vec![b"jetstream".to_vec(), b"h3".to_vec()],
            theirs: vec![b"a".to_vec(), b"b".to_vec()],
        }
    );
    // It failed within `Endpoint::accept`, so there never was a connection.
    assert!(there.data.is_none());
    let rejection = here.rejection();
    assert_eq!((rejection.alert, rejection.text.as_str()), (120, reason));
}

#[test]
fn a_hello_of_several_packets_fails_after_there_is_a_connection() {
    let (authority, server) = a_server(|_| {});
    let client = a_client(&authority, |options| {
        options.alpns = (0..60).map(|n| format!("{n:060}").into_bytes()).collect();
    });
    let (here, there) = shake(&client, &server, "localhost");
    let data = there.data.unwrap();
    assert_eq!(data.server_name.as_deref(), Some("localhost"));
    assert_eq!(data.client_alpns.len(), MAX_OFFERED_PROTOCOLS);
    let failure = there.failure.unwrap();
    assert_eq!(server.last_failure(), Some(failure.clone()));
    let said = here.rejection().text;
    assert_eq!(said, failure.reason());
    assert!(said.len() <= MAX_REASON_BYTES && said.starts_with("no shared protocol: the client"));
}

#[test]
fn the_system_does_not_trust_a_development_authority() {
    let (_, server) = a_server(|_| {});
    let options = client_options(Trust::System);
    // A bare machine has no roots at all, which is said when the client is set up.
    match client(options) {
        Ok(client) => assert_rejected(
            &shake(&client, &server, "localhost"),
            48,
            "server certificate rejected: issuer \"Dev CA\" is not trusted",
        ),
        Err(error) => assert!(matches!(error, ConfigError::SystemRoots(_)), "{error}"),
    }
}

#[test]
fn a_server_of_a_new_key_is_judged_by_the_list_of_that_key() {
    let [old, new] = [(); 2].map(|()| Authority::root("Root"));
    for authority in [&old, &new] {
        let own = || authority.issue(Leaf::new("dev", &["localhost"]));
        let roots = || Trust::Roots(vec![old.der.clone(), new.der.clone()]);
        let lists = vec![old.crl(&[], false), new.crl(&[], false)];
        let (client, _) = to_with(own(), authority, "localhost", |options| {
            options.trust = roots();
            options.crls = lists;
        });
        assert!(client.connected);
        let revoked = |authority: &Authority| authority.crl(&[77], false);
        let lists = vec![revoked(&old), revoked(&new)];
        let outcome = to_with(own(), authority, "localhost", |options| {
            options.trust = roots();
            options.crls = lists;
        });
        assert_rejected(&outcome, 44, "server certificate rejected: revoked");
    }
}
