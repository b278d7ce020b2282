//! HTTP over real sockets on loopback, driven by hand: the server in turns, clients by raw bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ends;
mod hostile;
mod one;
mod ports;
mod two;
mod two_hostile;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::tls::tests::pki::{Authority, Leaf};
use crate::tls::{ClientAuth, ServerOptions, ServerTls, system_clock};
use crate::{ConnectionKey, Event, StreamLimits, Streams, TcpServer};

/// What a server is in these tests.
struct World {
    server: Streams,
    address: SocketAddr,
    authority: Option<Authority>,
    events: Vec<Event>,
    /// What has come of each request's body.
    bodies: HashMap<ExchangeKey, Vec<u8>>,
    /// Wants each next piece of a body as soon as there is one.
    greedy: bool,
}

fn stream_limits() -> StreamLimits {
    StreamLimits {
        msize: 1 << 20,
        idle_timeout: Duration::from_secs(20),
        keep_alive: Some(Duration::from_secs(5)),
        handshake_timeout: Duration::from_secs(5),
        max_connections: 10,
        max_lanes: 4,
    }
}

fn http_limits() -> HttpLimits {
    HttpLimits {
        head: 16 << 10,
        fields: 100,
        streams: 100,
        body_window: 64 << 10,
        unsent: 256 << 10,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
    }
}

fn server_tls(authority: &Authority, client_auth: ClientAuth, alpns: &[&[u8]]) -> Arc<ServerTls> {
    let asked = client_auth != ClientAuth::None;
    crate::tls::server(ServerOptions {
        identity: authority.issue(Leaf::new("server", &["localhost"])),
        client_auth,
        client_roots: if asked { vec![authority.der.clone()] } else { Vec::new() },
        crls: Vec::new(),
        check: None,
        alpns: alpns.iter().map(|alpn| alpn.to_vec()).collect(),
        sessions: 0,
        early_data: false,
        clock: system_clock(),
    })
    .unwrap()
}

const ALPNS: [&[u8]; 3] = [b"h2", b"http/1.1", b"test"];

impl World {
    /// A server without TLS.
    fn plain(change: impl FnOnce(&mut HttpLimits)) -> Self {
        Self::new(None, change)
    }

    /// One with TLS that asks for no client certificate.
    fn secure(change: impl FnOnce(&mut HttpLimits)) -> Self {
        let authority = Authority::root("Test CA");
        Self::new(Some((authority, ClientAuth::None)), change)
    }

    fn new(tls: Option<(Authority, ClientAuth)>, change: impl FnOnce(&mut HttpLimits)) -> Self {
        let mut limits = http_limits();
        change(&mut limits);
        let mut server = Streams::new(stream_limits()).unwrap();
        let options = TcpServer {
            tls: tls.as_ref().map(|(authority, auth)| server_tls(authority, *auth, &ALPNS)),
            alpns: ALPNS.iter().map(|alpn| alpn.to_vec()).collect(),
            http: Some(Arc::new(limits)),
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = server.listen_tcp(any, &options).unwrap();
        let (events, bodies) = (Vec::new(), HashMap::new());
        let authority = tls.map(|(authority, _)| authority);
        Self { server, address, authority, events, bodies, greedy: true }
    }

    /// One turn.
    fn turn(&mut self) {
        let now = Instant::now();
        self.server.receive(now).unwrap();
        self.take();
        self.server.transmit(now).unwrap();
        self.take();
    }

    fn take(&mut self) {
        for event in self.server.take_events() {
            if let Event::Http(HttpEvent::Body { exchange, data }) = &event {
                self.bodies.entry(*exchange).or_default().extend_from_slice(data);
                if self.greedy {
                    self.server.http_want_body(*exchange);
                }
            }
            self.events.push(event);
        }
    }

    /// As many turns as it takes until nothing happens any more.
    fn rest(&mut self) {
        for _ in 0..50 {
            self.turn();
        }
    }

    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = done(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "server: {:.2000}", format!("{:?}", self.events));
            self.turn();
        }
    }

    /// The next request of a client.
    fn request_of(&mut self, client: &mut Client) -> (ExchangeKey, Box<Request>) {
        self.until(|world| {
            client.pump();
            world.next_request()
        })
    }

    fn next_request(&mut self) -> Option<(ExchangeKey, Box<Request>)> {
        let world = self;
        let index = world
            .events
            .iter()
            .position(|event| matches!(event, Event::Http(HttpEvent::Request { .. })))?;
        match world.events.remove(index) {
            Event::Http(HttpEvent::Request { exchange, request, .. }) => Some((exchange, request)),
            _ => None,
        }
    }

    /// What came of a request's body, when it is complete.
    fn whole_body(&mut self, client: &mut Client, exchange: ExchangeKey) -> Vec<u8> {
        self.until(|world| {
            client.pump();
            world.body_ended(exchange).then(|| world.bodies.remove(&exchange).unwrap_or_default())
        })
    }

    fn body_ended(&self, exchange: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::BodyEnded { exchange: of } if *of == exchange))
    }

    fn gone(&self, exchange: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::Gone { exchange: of } if *of == exchange))
    }

    fn answered(&self, exchange: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::Answered { exchange: of } if *of == exchange))
    }

    /// Everything until the end of the connection.
    fn read_all(&mut self, client: &mut Client) -> String {
        String::from_utf8(self.read(client, |_| false)).unwrap()
    }

    fn saw(&self, wanted: impl Fn(&HttpEvent) -> bool) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Http(event) if wanted(event)))
    }

    fn connection(&self) -> Option<ConnectionKey> {
        self.events.iter().find_map(|event| match event {
            Event::Connected { connection, .. } => Some(*connection),
            _ => None,
        })
    }

    fn reply(&mut self, exchange: ExchangeKey, reply: Reply) {
        self.server.http_reply(exchange, reply).unwrap();
    }

    /// Answers with a whole body.
    fn answer(&mut self, exchange: ExchangeKey, status: u16, body: &'static str) {
        self.reply(exchange, head(status, &[], body, true));
    }

    /// Reads from a client until `done` says so of all that it got.
    fn read(&mut self, client: &mut Client, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.until(|_| {
            client.pump();
            (done(&client.got) || client.ended).then(|| std::mem::take(&mut client.got))
        })
    }

    /// One whole answer that has a content-length.
    fn read_answer(&mut self, client: &mut Client) -> String {
        let length = self.until(|_| {
            client.pump();
            whole(&client.got).or(client.ended.then_some(client.got.len()))
        });
        String::from_utf8(client.got.drain(..length).collect()).unwrap()
    }
}

/// Where an answer with a content-length ends.
fn whole(got: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(got).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse().unwrap();
    (rest.len() >= length).then_some(head.len() + 4 + length)
}

fn head(status: u16, fields: &[(&str, &str)], body: &'static str, end: bool) -> Reply {
    Reply::Head { status, fields: lines(fields), body: Bytes::from_static(body.as_bytes()), end }
}

fn body(data: impl Into<Bytes>, end: bool) -> Reply {
    Reply::Body { data: data.into(), end }
}

fn lines(fields: &[(&str, &str)]) -> Fields {
    let mut made = Fields::default();
    fields.iter().for_each(|(name, value)| made.push(name.as_bytes(), value.as_bytes()));
    made
}

fn field<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let found = request.fields.iter().find(|(found, _)| *found == name.as_bytes());
    found.map(|(_, value)| std::str::from_utf8(value).unwrap())
}

/// A client that says what it is told to, byte by byte.
struct Client {
    socket: TcpStream,
    tls: Option<rustls::ClientConnection>,
    got: Vec<u8>,
    ended: bool,
    /// Bytes that the socket did not take.
    waiting: Vec<u8>,
}

impl Client {
    fn plain(world: &World) -> Self {
        let socket = TcpStream::connect(world.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, tls: None, got: Vec::new(), ended: false, waiting: Vec::new() }
    }

    /// One with TLS that names these protocols.
    fn secure(world: &World, alpns: &[&[u8]]) -> Self {
        let authority = world.authority.as_ref().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
        let name = "localhost".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        tls.set_buffer_limit(None);
        Self { tls: Some(tls), ..Self::plain(world) }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes.as_ref()).unwrap(),
            None => self.waiting.extend_from_slice(bytes.as_ref()),
        }
        self.pump();
    }

    /// Moves what can be moved.
    fn pump(&mut self) {
        if self.ended {
            return;
        }
        if let Some(tls) = &mut self.tls {
            tls.write_tls(&mut self.waiting).unwrap();
        }
        if !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) => self.ended |= error.kind() != ErrorKind::WouldBlock,
            }
        }
        let mut buffer = [0; 65536];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.take(&buffer[..count]),
            Err(error) => self.ended |= error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let Some(tls) = &mut self.tls else {
            self.got.extend_from_slice(bytes);
            return;
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).unwrap();
            if tls.process_new_packets().is_err() {
                self.ended = true;
                return;
            }
            let mut plain = Vec::new();
            match tls.reader().read_to_end(&mut plain) {
                Ok(_) => self.ended = true,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            self.got.extend_from_slice(&plain);
        }
    }
}
