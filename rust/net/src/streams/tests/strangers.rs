//! Peers that are refused, and peers that are none.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::tls::FailureKind;

fn refused(client: Option<Leaf>, alpn: &[u8], change: impl FnOnce(&mut TcpOptions)) -> Pair {
    let authority = Authority::root("Test CA");
    let tls = server_tls(&authority, ClientAuth::Required);
    let (server, place) = listen(Kind::Tcp, &tls, limits());
    let Place::Tcp(remote) = place else { panic!() };
    let mut options = TcpOptions {
        remote,
        bind: None,
        server_name: "localhost".to_owned(),
        tls: client_tls(&authority, client, alpn),
    };
    change(&mut options);
    let mut client = Streams::new(limits()).unwrap();
    let here = client.connect_tcp(options).unwrap();
    let (from_server, from_client) = (Vec::new(), Vec::new());
    Pair { place, server, client, from_server, from_client, here }
}

fn alert(lost: &Lost) -> u8 {
    match lost {
        Lost::Rejected(rejection) => rejection.alert,
        other => panic!("no alert: {other:?}"),
    }
}

fn failure(lost: Lost) -> FailureKind {
    match lost {
        Lost::Tls(failure) => failure.kind,
        other => panic!("not refused here: {other:?}"),
    }
}

fn leaf() -> Option<Leaf> {
    Some(Leaf::new("client", &["client.example"]))
}

#[test]
fn a_client_without_a_certificate_is_told_before_its_connection_is_confirmed() {
    let mut pair = refused(None, ALPN, |_| {});
    assert_eq!(alert(&pair.lost_here()), 116);
    assert_eq!(failure(pair.lost_there()), FailureKind::NoCertificate);
    assert!(!pair.from_client.iter().any(|event| matches!(event, Event::Confirmed { .. })));
    pair.until(|pair| pair.server.open_connections() == 0);
}

#[test]
fn a_client_of_another_authority_or_time_is_told() {
    let mut pair = refused(Some(Leaf::new("client", &["c"]).valid(2020, 2021)), ALPN, |_| {});
    assert_eq!(alert(&pair.lost_here()), 45);
    assert!(matches!(failure(pair.lost_there()), FailureKind::Expired { .. }));
}

#[test]
fn a_server_of_another_authority_or_name_is_told() {
    let other = Authority::root("Elsewhere");
    let mut pair = refused(leaf(), ALPN, |options| options.tls = client_tls(&other, leaf(), ALPN));
    assert!(matches!(failure(pair.lost_here()), FailureKind::UnknownIssuer { .. }));
    assert_eq!(alert(&pair.lost_there()), 48);
    let mut pair = refused(leaf(), ALPN, |options| options.server_name = "other.example".into());
    assert_eq!(failure(pair.lost_here()), FailureKind::NameMismatch);
}

#[test]
fn no_shared_protocol() {
    // The server speaks that protocol, but not over streams.
    let mut pair = refused(leaf(), b"raw", |_| {});
    assert_eq!(alert(&pair.lost_here()), 120);
    let FailureKind::NoSharedProtocol { ours, theirs } = failure(pair.lost_there()) else {
        panic!()
    };
    assert_eq!((ours, theirs), (vec![ALPN.to_vec()], vec![b"raw".to_vec()]));
}

#[test]
fn a_name_that_cannot_be_a_servers() {
    let authority = Authority::root("Test CA");
    let options = TcpOptions {
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
        bind: None,
        server_name: "no such name".to_owned(),
        tls: client_tls(&authority, None, ALPN),
    };
    assert!(Streams::new(limits()).unwrap().connect_tcp(options).is_err());
}

#[test]
fn nobody_listens() {
    let authority = Authority::root("Test CA");
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = Place::Tcp(gone.local_addr().unwrap());
    drop(gone);
    for (place, why) in [
        (tcp, "Connection refused"),
        (Place::Unix(UnixAddress::new(&name())), "No such file or directory"),
    ] {
        let mut hub = Streams::new(limits()).unwrap();
        connect(&mut hub, &place, client_tls(&authority, None, ALPN));
        let mut events = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while lost(&events).is_none() && Instant::now() < deadline {
            turn(&mut hub, &mut events);
        }
        let Some(Lost::Refused { reason }) = lost(&events) else { panic!("{events:?}") };
        assert!(reason.ends_with(why), "{reason}");
    }
}

/// A server, and sockets that speak no TLS to it.
struct Door {
    server: Streams,
    events: Vec<Event>,
    address: SocketAddr,
}

impl Door {
    fn open(change: impl FnOnce(&mut StreamLimits)) -> Self {
        let tls = server_tls(&Authority::root("Test CA"), ClientAuth::None);
        let mut changed = limits();
        change(&mut changed);
        let (server, place) = listen(Kind::Tcp, &tls, changed);
        let Place::Tcp(address) = place else { panic!() };
        Self { server, events: Vec::new(), address }
    }

    fn knock(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "{:?}", self.events);
            turn(&mut self.server, &mut self.events);
        }
    }
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let mut door = Door::open(|_| {});
    let mut stranger = door.knock();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    door.until(|door| lost(&door.events).is_some());
    assert!(matches!(lost(&door.events), Some(Lost::Tls(_))), "{:?}", door.events);
    stranger.set_nonblocking(true).unwrap();
    let mut answer = Vec::new();
    door.until(|_| stranger.read_to_end(&mut answer).is_ok());
    // An alert of TLS: type 21, version, two bytes, fatal.
    assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
    drop(stranger);
    door.until(|door| door.server.open_connections() == 0);
}

#[test]
fn who_says_nothing_is_given_up() {
    let mut door = Door::open(|limits| limits.handshake_timeout = Duration::from_millis(30));
    let _silent = door.knock();
    let after = Duration::from_millis(30);
    door.until(|door| lost(&door.events) == Some(Lost::HandshakeTimedOut { after }));
    assert_eq!(door.server.open_connections(), 0);
}

#[test]
fn who_goes_in_the_handshake_leaves_nothing() {
    let mut door = Door::open(|_| {});
    drop(door.knock());
    door.until(|door| lost(&door.events) == Some(Lost::Ended));
    assert_eq!(door.server.open_connections(), 0);
}

#[test]
fn who_comes_while_enough_handshakes_are_under_way_is_closed() {
    let mut door = Door::open(|limits| limits.max_handshakes = 2);
    let first = door.knock();
    let _second = door.knock();
    door.until(|door| door.server.open_connections() == 2);
    let mut third = door.knock();
    third.set_nonblocking(true).unwrap();
    let mut byte = [0];
    door.until(|_| third.read(&mut byte).is_ok());
    assert_eq!(door.server.open_connections(), 2);
    // One that goes leaves its place to another.
    drop(first);
    door.until(|door| door.server.open_connections() == 1);
    let _fourth = door.knock();
    door.until(|door| door.server.open_connections() == 2);
}

#[test]
fn a_full_server_closes_at_once() {
    let mut door = Door::open(|limits| limits.max_connections = 3);
    let _kept: Vec<TcpStream> = (0..3).map(|_| door.knock()).collect();
    door.until(|door| door.server.open_connections() == 3);
    let mut fourth = door.knock();
    fourth.set_nonblocking(true).unwrap();
    let mut byte = [0];
    door.until(|_| fourth.read(&mut byte).is_ok());
    assert_eq!(door.server.open_connections(), 3);
    // Who stops listening stops waiting for handshakes, too.
    door.server.stop_listening();
    assert_eq!(door.server.open_connections(), 0);
    assert!(TcpStream::connect(door.address).is_err());
}
