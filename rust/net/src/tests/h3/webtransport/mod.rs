//! WebTransport over loopback: our server with our client, and with one that says what it wants.

mod ends;
mod hostile;
mod lanes;
mod raw;
mod sessions;

use jetstream_proto::webtransport::{Limits, header, settings};

use super::*;
use crate::{Carrier, Hub, LaneKey, Sent, SessionError};

const LANES: Incoming = Incoming::Lanes { msize: 1 << 20 };

const LIMITS: Limits = Limits {
    max_sessions: 3,
    streams_bidi: 8,
    streams_uni: 8,
    early_streams: 3,
    early_datagrams: 3,
    early_bytes: 1000,
    datagram_bytes: 1000,
    idle_capsules: 8,
    idle_bytes: 4096,
};

/// HTTP/3 with sessions, for either end.
fn speaking(limits: Limits) -> Incoming {
    let options = Http3Options::new(Arc::new(super::limits()), Http3Options::config());
    Incoming::Http(options.webtransport(limits))
}

/// Our client and our server, connected.
struct Meeting {
    pair: Pair,
}

impl Meeting {
    fn new() -> Self {
        Self::with(LIMITS)
    }

    fn with(limits: Limits) -> Self {
        Self::of(speaking(limits), speaking(LIMITS)).settled()
    }

    fn of(there: Incoming, here: Incoming) -> Self {
        Self { pair: Pair::of_both(there, here, |_| {}) }
    }

    fn settled(self) -> Self {
        Self { pair: self.pair.settled() }
    }

    fn until<T>(&mut self, mut done: impl FnMut(&mut Pair) -> Option<T>) -> T {
        let mut found = None;
        self.pair.until(|pair| {
            found = done(pair);
            found.is_some()
        });
        found.unwrap()
    }

    fn rest(&mut self) {
        for _ in 0..60 {
            self.pair.turn();
        }
    }

    fn ask(&mut self, incoming: Incoming) -> ConnectionKey {
        let fields = lines(&[("origin", "https://localhost")]);
        let here = self.pair.here;
        self.pair.client.connect_session(here, "localhost", "/echo?x=1", &fields, incoming).unwrap()
    }

    /// The next request that the server was told of.
    fn request(&mut self) -> (ExchangeKey, Box<Request>) {
        self.until(|pair| request_of(&mut pair.from_server))
    }

    fn accept(&mut self, exchange: ExchangeKey, incoming: Incoming) -> ConnectionKey {
        let fields = lines(&[("x", "y")]);
        self.pair.server.accept_session(exchange, &fields, incoming).unwrap()
    }

    /// A session: its keys with the client and with the server.
    fn session(&mut self, here: Incoming, there: Incoming) -> (ConnectionKey, ConnectionKey) {
        let client = self.ask(here);
        let (exchange, _) = self.request();
        let server = self.accept(exchange, there);
        self.until(|pair| {
            let both = [(&pair.from_client, client), (&pair.from_server, server)];
            both.iter().all(|(events, key)| is_connected(events, *key)).then_some(())
        });
        (client, server)
    }

    fn lane(&mut self, session: ConnectionKey) -> LaneKey {
        let stream = self.pair.client.open_stream(session, Dir::Bi).unwrap();
        self.pair.client.make_lane(session, stream, 1 << 20).unwrap()
    }

    /// Both sessions can be used.
    fn works(&mut self, (client, server): (ConnectionKey, ConnectionKey)) {
        let lane = self.lane(client);
        self.pair.client.write_lane(lane, crate::tests::request(1, b"hello"));
        let opened = self.until(|pair| opened_on(&mut pair.from_server, server));
        self.until(|pair| (crate::tests::tags(&pair.from_server, opened) == [1]).then_some(()));
        self.pair.server.write_lane(opened, crate::tests::request(2, b"hello"));
        self.until(|pair| (crate::tests::tags(&pair.from_client, lane) == [2]).then_some(()));
        self.pair.client.abort_lane(lane, 0);
        self.pair.server.abort_lane(opened, 0);
    }
}

fn request_of(events: &mut Vec<Event>) -> Option<(ExchangeKey, Box<Request>)> {
    let is_one = |event: &Event| matches!(event, Event::Http(HttpEvent::Request { .. }));
    let index = events.iter().position(is_one)?;
    match events.remove(index) {
        Event::Http(HttpEvent::Request { exchange, request, .. }) => Some((exchange, request)),
        _ => None,
    }
}

/// The next lane that was opened on a session.
fn opened_on(events: &mut Vec<Event>, session: ConnectionKey) -> Option<LaneKey> {
    let index = events.iter().position(
        |event| matches!(event, Event::LaneOpened { connection, .. } if *connection == session),
    )?;
    match events.remove(index) {
        Event::LaneOpened { lane, .. } => Some(lane),
        _ => None,
    }
}

/// The next stream that was opened on a session.
fn stream_on(events: &mut Vec<Event>, session: ConnectionKey) -> Option<StreamId> {
    let index = events.iter().position(
        |event| matches!(event, Event::StreamOpened { connection, .. } if *connection == session),
    )?;
    match events.remove(index) {
        Event::StreamOpened { stream, .. } => Some(stream),
        _ => None,
    }
}

fn is_connected(events: &[Event], key: ConnectionKey) -> bool {
    let its =
        |event: &Event| matches!(event, Event::Connected { connection, .. } if *connection == key);
    events.iter().any(its)
}

fn lost_of(events: &[Event], key: ConnectionKey) -> Option<Lost> {
    events.iter().find_map(|event| match event {
        Event::Lost { connection, reason } if *connection == key => Some(reason.clone()),
        _ => None,
    })
}

fn closed(code: u64, reason: &str) -> Lost {
    Lost::Closed { code, reason: reason.to_owned() }
}

// ---- a client that says what it wants ----

/// What it says of itself.
fn config() -> Config {
    let mut config = Config { foreign_bidi: vec![header::BOTH], ..Config::default() };
    config.foreign_uni = vec![header::ONE];
    config.settings.datagrams = true;
    config.settings.others = vec![(settings::ENABLE_DRAFT_02, 1)];
    config
}

/// A stranger who has heard our settings, and our server.
fn stranger(config: Config) -> World {
    let mut world = unheard(config);
    world.until(|world| world.visitors[0].settings.as_ref().map(drop));
    world
}

fn unheard(config: Config) -> World {
    let pair = Pair::begun(speaking(LIMITS), |server| {
        server.transport = crate::Transport { max_streams_bidi: 16, ..transport() };
    });
    let here = pair.here;
    let visitors = vec![Visitor::speaking(here, config)];
    World { pair, visitors, events: Vec::new(), bodies: HashMap::new(), greedy: true }
}

fn connect(protocol: &str) -> RequestHead {
    head(&[
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        (":protocol", protocol),
    ])
}

/// The first bytes of a stream of a session, and what follows.
fn beginning(dir: Dir, session: u64, rest: &[u8]) -> Bytes {
    let direction = match dir {
        Dir::Bi => jetstream_proto::webtransport::Direction::Both,
        Dir::Uni => jetstream_proto::webtransport::Direction::One,
    };
    let mut bytes = Vec::new();
    header::encode(direction, session, &mut bytes);
    bytes.extend_from_slice(rest);
    bytes.into()
}

impl World {
    /// A session of the stranger's: its CONNECT stream, and its key with the server.
    fn session(&mut self, incoming: Incoming) -> (u64, ConnectionKey) {
        let id = self.ask(&connect("webtransport"), Content::Follows);
        let (exchange, _) = self.request();
        let fields = Fields::default();
        let key = self.pair.server.accept_session(exchange, &fields, incoming).unwrap();
        self.until(|world| world.visitors[0].answers.get(&id)?.status);
        (id, key)
    }

    /// What the server was told of the end of a session.
    fn end_of(&mut self, key: ConnectionKey) -> Lost {
        self.until(|world| lost_of(&world.events, key))
    }

    /// Says something on a CONNECT stream.
    fn say(&mut self, id: u64, content: impl Into<Bytes>) {
        self.visitors[0].core.data(id, content.into(), false).unwrap();
        self.visitors[0].settle(&mut self.pair.client);
    }

    fn datagram(&mut self, session: u64, payload: &[u8]) {
        let key = self.visitors[0].key;
        let datagram = jetstream_proto::http3::datagram::encode(session, payload);
        self.pair.client.send_datagram(key, datagram).unwrap();
    }

    /// A further session works.
    fn still_meets(&mut self) {
        let (id, key) = self.session(LANES);
        let mut frame = crate::tests::request(1, b"fine");
        frame.splice(..0, beginning(Dir::Bi, id, b""));
        let stream = self.send(Dir::Bi, frame, false);
        let lane = self.until(|world| opened_on(&mut world.events, key));
        self.until(|world| (crate::tests::tags(&world.events, lane) == [1]).then_some(()));
        self.pair.server.close(Instant::now(), key, 0, b"");
        self.until(|world| world.visitors[0].answers.get(&id)?.ended.then_some(()));
        assert_eq!(self.verdict(stream), Code::WT_SESSION_GONE.0);
        let here = self.visitors[0].key;
        self.pair.client.reset(here, stream, Code::WT_SESSION_GONE.0);
        self.visitors[0].core.data(id, Bytes::new(), true).unwrap();
        self.rest();
    }
}

fn capsule(kind: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    jetstream_proto::http3::capsule::encode(kind, value, &mut out);
    out
}
