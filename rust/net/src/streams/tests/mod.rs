//! Streams over real sockets on loopback, driven by hand: both ends in one thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endings;
mod lanes;
mod names;
mod strangers;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jetstream_proto::frame::{self, kind};

use super::{StreamLimits, Streams, TcpOptions, TcpServer, UnixAddress};
use crate::tls::tests::pki::{Authority, Leaf};
use crate::tls::{
    ClientAuth, ClientOptions, ClientTls, ServerOptions, ServerTls, Trust, system_clock,
};
use crate::{ConnectionKey, Event, LaneKey, Lost};

const ALPN: &[u8] = b"test";

/// What both transports have in common is tested on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

const BOTH: [Kind; 2] = [Kind::Tcp, Kind::Unix];

fn limits() -> StreamLimits {
    StreamLimits {
        msize: 1 << 20,
        idle_timeout: Duration::from_secs(20),
        keep_alive: Some(Duration::from_secs(5)),
        handshake_timeout: Duration::from_secs(5),
        max_connections: 10,
        max_handshakes: 10,
        max_unsent: 1 << 20,
        max_lanes: 4,
    }
}

/// A name for a socket that no other test has; the file is gone when the listening hub is.
fn name() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("jetstream-test-{}-{count}.sock", std::process::id()))
}

fn server_tls(authority: &Authority, client_auth: ClientAuth) -> Arc<ServerTls> {
    let asked = client_auth != ClientAuth::None;
    crate::tls::server(ServerOptions {
        identity: authority.issue(Leaf::new("server", &["localhost"])),
        client_auth,
        client_roots: if asked { vec![authority.der.clone()] } else { Vec::new() },
        crls: Vec::new(),
        check: None,
        alpns: vec![ALPN.to_vec(), b"raw".to_vec()],
        sessions: 0,
        early_data: false,
        max_chain: 64 << 10,
        clock: system_clock(),
    })
    .unwrap()
}

fn client_tls(authority: &Authority, leaf: Option<Leaf>, alpn: &[u8]) -> ClientTls {
    crate::tls::client(ClientOptions {
        trust: Trust::Roots(vec![authority.der.clone()]),
        crls: Vec::new(),
        check: None,
        identity: leaf.map(|leaf| authority.issue(leaf)),
        alpns: vec![alpn.to_vec()],
        visits: 0,
        max_chain: 64 << 10,
        clock: system_clock(),
    })
    .unwrap()
}

/// Where a server listens.
#[derive(Debug, Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(UnixAddress),
}

fn listen(kind: Kind, tls: &Arc<ServerTls>, limits: StreamLimits) -> (Streams, Place) {
    let mut hub = Streams::new(limits).unwrap();
    let place = match kind {
        Kind::Tcp => {
            let server =
                TcpServer { tls: Some(tls.clone()), alpns: vec![ALPN.to_vec()], http: None };
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Place::Tcp(hub.listen_tcp(any, &server).unwrap())
        }
        Kind::Unix => {
            let address = UnixAddress::new(&name());
            hub.listen_unix(&address, 0o600).unwrap();
            Place::Unix(address)
        }
    };
    (hub, place)
}

fn connect(hub: &mut Streams, place: &Place, tls: ClientTls) -> ConnectionKey {
    match place {
        Place::Tcp(remote) => {
            let server_name = "localhost".to_owned();
            let options = TcpOptions { remote: *remote, bind: None, server_name, tls };
            hub.connect_tcp(options).unwrap()
        }
        Place::Unix(address) => hub.connect_unix(address.clone()),
    }
}

/// A client and a server, and what they have been told.
struct Pair {
    place: Place,
    server: Streams,
    client: Streams,
    from_server: Vec<Event>,
    from_client: Vec<Event>,
    here: ConnectionKey,
}

impl Pair {
    fn begun(kind: Kind, change: impl FnOnce(&mut StreamLimits)) -> Self {
        let authority = Authority::root("Test CA");
        let tls = server_tls(&authority, ClientAuth::Required);
        let mut changed = limits();
        change(&mut changed);
        let (server, place) = listen(kind, &tls, changed);
        let leaf = Leaf::new("client", &["client.example"]);
        Self::joined(server, place, client_tls(&authority, Some(leaf), ALPN))
    }

    fn joined(server: Streams, place: Place, tls: ClientTls) -> Self {
        let mut client = Streams::new(limits()).unwrap();
        let here = connect(&mut client, &place, tls);
        let (from_server, from_client) = (Vec::new(), Vec::new());
        Self { place, server, client, from_server, from_client, here }
    }

    /// A pair that is connected, its lane on the client, and the same on the server.
    fn connected(
        kind: Kind,
        change: impl FnOnce(&mut StreamLimits),
    ) -> (Self, LaneKey, LaneKey, ConnectionKey) {
        let mut pair = Self::begun(kind, change);
        pair.until(|pair| {
            let confirmed = |event: &Event| matches!(event, Event::Confirmed { .. });
            pair.from_client.iter().any(confirmed) && pair.from_server.len() >= 2
        });
        let lane = pair.client.open_lane(pair.here, 1 << 20).unwrap();
        let [
            Event::Connected { connection, incoming: true },
            Event::LaneOpened { lane: opened, .. },
        ] = pair.from_server.as_slice()
        else {
            panic!("{:?}", pair.from_server);
        };
        let (there, opened) = (*connection, *opened);
        pair.from_server.clear();
        pair.from_client.clear();
        (pair, lane, opened, there)
    }

    /// One turn of each end.
    fn turn(&mut self) {
        for (hub, events) in
            [(&mut self.client, &mut self.from_client), (&mut self.server, &mut self.from_server)]
        {
            turn(hub, events);
        }
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "client: {:?}\nserver: {:?}",
                self.from_client,
                self.from_server
            );
            self.turn();
        }
    }

    /// Why the client's connection was lost.
    fn lost_here(&mut self) -> Lost {
        self.until(|pair| lost(&pair.from_client).is_some());
        lost(&self.from_client).unwrap()
    }

    /// Why the server's was.
    fn lost_there(&mut self) -> Lost {
        self.until(|pair| lost(&pair.from_server).is_some());
        lost(&self.from_server).unwrap()
    }
}

fn turn(hub: &mut Streams, events: &mut Vec<Event>) {
    hub.receive(Instant::now()).unwrap();
    events.extend(hub.take_events());
    hub.transmit(Instant::now()).unwrap();
    events.extend(hub.take_events());
}

fn lost(events: &[Event]) -> Option<Lost> {
    events.iter().find_map(|event| match event {
        Event::Lost { reason, .. } | Event::HandshakeFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn request(tag: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out, kind::FIRST_METHOD, tag);
    out.extend_from_slice(payload);
    frame::finish(&mut out, start, u32::MAX).unwrap();
    out
}

fn tags(events: &[Event], lane: LaneKey) -> Vec<u16> {
    let runs = events.iter().filter_map(|event| match event {
        Event::Frames { lane: on, run } if *on == lane => Some(run),
        _ => None,
    });
    runs.flat_map(|run| frame::frames(run).map(|frame| frame.tag).collect::<Vec<_>>()).collect()
}
