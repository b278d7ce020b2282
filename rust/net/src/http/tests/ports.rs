//! Who speaks what on which socket.

use super::*;
use crate::tls::{ClientOptions, Trust};
use crate::{Lost, Speaks, TcpOptions, UnixAddress};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_client_that_names_no_protocol_speaks_http1() {
    let mut world = World::secure(|_| {});
    let mut client = Client::secure(&world, &[]);
    client.send(GET);
    let (exchange, request) = world.request_of(&mut client);
    assert_eq!(request.version, Version::Http11);
    world.answer(exchange, 200, "unnamed");
    assert!(world.read_answer(&mut client).ends_with("unnamed"));
}

#[test]
fn where_http1_is_not_spoken_a_protocol_has_to_be_named() {
    for (alpns, http) in [(&[&b"test"[..]][..], false), (&[&b"h2"[..]][..], true)] {
        let mut world = World::secure(|_| {});
        let authority = world.authority.as_ref().unwrap();
        let options = TcpServer {
            tls: Some(server_tls(authority, ClientAuth::None, &ALPNS)),
            alpns: alpns.iter().map(|alpn| alpn.to_vec()).collect(),
            http: http.then(|| Arc::new(http_limits())),
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        world.address = world.server.listen_tcp(any, &options).unwrap();
        let mut client = Client::secure(&world, &[]);
        client.send(GET);
        let failed = |event: &Event| match event {
            Event::HandshakeFailed { reason: Lost::Tls(failure), .. } => Some(failure.to_string()),
            _ => None,
        };
        let reason = world.until(|world| {
            client.pump();
            world.events.iter().find_map(failed)
        });
        assert!(reason.contains("protocol"), "{reason}");
    }
}

#[test]
fn who_does_not_speak_tls_is_not_heard_where_it_is() {
    let mut world = World::secure(|_| {});
    let mut client = Client::plain(&world);
    client.send(GET);
    world.read(&mut client, |_| false);
    assert!(client.ended && world.next_request().is_none() && world.connection().is_none());
}

#[test]
fn lanes_and_http_share_a_port() {
    let mut world = World::secure(|_| {});
    let tls = crate::tls::client(ClientOptions {
        trust: Trust::Roots(vec![world.authority.as_ref().unwrap().der.clone()]),
        crls: Vec::new(),
        check: None,
        identity: None,
        alpns: vec![b"test".to_vec()],
        visits: 0,
        max_chain: 64 << 10,
        clock: system_clock(),
    });
    let mut caller = Streams::new(stream_limits()).unwrap();
    let (remote, server_name) = (world.address, "localhost".to_owned());
    let options = TcpOptions { remote, bind: None, server_name, tls: tls.unwrap() };
    let here = caller.connect_tcp(options).unwrap();
    let lane = caller.open_lane(here, 1 << 20).unwrap();
    caller.write_lane(lane, frame());
    let mut client = Client::secure(&world, &[b"http/1.1"]);
    client.send(GET);
    let (exchange, _) = world.until(|world| {
        client.pump();
        turn(&mut caller);
        let framed = world.events.iter().any(|event| matches!(event, Event::Frames { .. }));
        if framed { world.next_request() } else { None }
    });
    assert_eq!((world.server.open_lanes(), world.server.open_exchanges()), (1, 1));
    assert_eq!(world.server.open_connections(), 2);
    world.answer(exchange, 200, "beside");
    assert!(world.read_answer(&mut client).ends_with("beside"));
}

#[test]
fn first_bytes_tell_lanes_from_http() {
    let path = std::env::temp_dir().join(format!("jetstream-ports-{}.sock", std::process::id()));
    let address = UnixAddress::new(&path);
    let speaks = Speaks { lanes: true, http: Some(Arc::new(http_limits())), http2: true };
    let mut world = World::plain(|_| {});
    world.server.serve_unix(&address, 0o600, speaks).unwrap();
    let mut caller = Streams::new(stream_limits()).unwrap();
    let here = caller.connect_unix(address);
    let lane = caller.open_lane(here, 1 << 20).unwrap();
    caller.write_lane(lane, frame());
    let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
    socket.write_all(&GET.as_bytes()[..2]).unwrap();
    world.until(|world| {
        turn(&mut caller);
        world.events.iter().any(|event| matches!(event, Event::Frames { .. })).then_some(())
    });
    assert_eq!(world.server.open_connections(), 2);
    socket.write_all(&GET.as_bytes()[2..]).unwrap();
    let (exchange, request) = world.until(World::next_request);
    assert!(!request.secure);
    let connections: Vec<ConnectionKey> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Connected { connection, .. } => Some(*connection),
            _ => None,
        })
        .collect();
    let told = |key: &&ConnectionKey| world.server.is_http(**key);
    assert_eq!((connections.len(), connections.iter().filter(told).count()), (2, 1));
    for key in connections {
        assert!(world.server.is_unix(key) && world.server.credentials(key).is_some());
    }
    world.answer(exchange, 200, "over a file");
    world.rest();
    let mut buffer = [0; 4096];
    let count = socket.read(&mut buffer).unwrap();
    assert!(buffer[..count].ends_with(b"over a file"));
}

fn frame() -> Vec<u8> {
    use jetstream_proto::frame::{begin, finish, kind};
    let mut bytes = Vec::new();
    let start = begin(&mut bytes, kind::FIRST_METHOD, 1);
    finish(&mut bytes, start, u32::MAX).unwrap();
    bytes
}

fn turn(hub: &mut Streams) {
    hub.receive(Instant::now()).unwrap();
    hub.take_events();
    hub.transmit(Instant::now()).unwrap();
}

#[test]
fn a_peer_that_takes_nothing_is_lost_over_unix_sockets_too() {
    let path = std::env::temp_dir().join(format!("jetstream-stall-{}.sock", std::process::id()));
    let speaks = Speaks { lanes: false, http: Some(Arc::new(http_limits())), http2: true };
    let mut limits = stream_limits();
    limits.idle_timeout = Duration::from_millis(50);
    let mut world = World::plain(|_| {});
    world.server = Streams::new(limits).unwrap();
    world.server.serve_unix(&UnixAddress::new(&path), 0o600, speaks).unwrap();
    let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
    socket.write_all(GET.as_bytes()).unwrap();
    let (exchange, _) = world.until(World::next_request);
    world.reply(exchange, head(200, &[], "", false));
    world.reply(exchange, body(vec![0; 10 << 20], false));
    world.until(|world| world.gone(exchange).then_some(()));
    let timed_out = |event: &Event| matches!(event, Event::Lost { reason: Lost::TimedOut, .. });
    assert!(world.events.iter().any(timed_out), "{:?}", world.events);
}
