//! Names of Unix sockets, and the files behind them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::{Domain, Socket, Type};

use super::*;

fn hub() -> Streams {
    Streams::new(limits()).unwrap()
}

#[test]
fn a_file_has_its_mode_and_goes_with_the_server() {
    for mode in [0o600, 0o660] {
        let path = name();
        let mut hub = hub();
        hub.listen_unix(&UnixAddress::new(&path), mode).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        hub.stop_listening();
        assert!(!path.exists());
    }
}

#[test]
fn a_file_that_was_left_behind_is_replaced() {
    let path = name();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut hub = hub();
    hub.listen_unix(&UnixAddress::new(&path), 0o600).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_file_at_which_somebody_listens_is_not() {
    let path = name();
    let address = UnixAddress::new(&path);
    let mut first = hub();
    first.listen_unix(&address, 0o600).unwrap();
    assert_eq!(hub().listen_unix(&address, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_not() {
    let path = name();
    fs::write(&path, "precious").unwrap();
    let error = hub().listen_unix(&UnixAddress::new(&path), 0o600).unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_that_another_server_put_there_stays() {
    let path = name();
    let mut hub = hub();
    hub.listen_unix(&UnixAddress::new(&path), 0o600).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    hub.stop_listening();
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn an_abstract_name_has_no_file() {
    let text = format!("@jetstream-test-{}", std::process::id());
    let address = UnixAddress::new(text.as_ref());
    assert!(matches!(&address, UnixAddress::Abstract(_)));
    assert_eq!(address.to_string(), format!("unix:{text}"));
    let mut server = hub();
    server.listen_unix(&address, 0o600).unwrap();
    assert_eq!(hub().listen_unix(&address, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
    let mut client = hub();
    client.connect_unix(address);
    let (mut there, mut here) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while (there.is_empty() || here.is_empty()) && Instant::now() < deadline {
        turn(&mut client, &mut here);
        turn(&mut server, &mut there);
    }
    assert!(matches!(here.first(), Some(Event::Connected { .. })), "{here:?}");
}

#[test]
fn names_that_cannot_be() {
    for bad in [String::new(), "x".repeat(200)] {
        let error = hub().listen_unix(&UnixAddress::new(bad.as_ref()), 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_whose_backlog_is_full_is_asked_again() {
    let path = name();
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    busy.bind(&address).unwrap();
    busy.listen(0).unwrap();
    let mut before = Vec::new();
    loop {
        let next = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        next.set_nonblocking(true).unwrap();
        if next.connect(&address).is_err() {
            break;
        }
        before.push(next);
    }
    let mut client = hub();
    client.connect_unix(UnixAddress::new(&path));
    let mut events = Vec::new();
    for _ in 0..20 {
        turn(&mut client, &mut events);
    }
    assert!(events.is_empty(), "{events:?}");
    let _taken = busy.accept().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while events.is_empty() && Instant::now() < deadline {
        turn(&mut client, &mut events);
    }
    assert!(matches!(events.first(), Some(Event::Connected { .. })), "{events:?}");
    fs::remove_file(&path).unwrap();
}
