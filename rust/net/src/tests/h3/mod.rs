//! HTTP/3 over loopback: our server, and a client made of the same protocol over a raw connection.

mod answers;
mod bodies;
mod ends;
mod hostile;
mod webtransport;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetstream_proto::http3::{
    Action, Code, Config, Connection as Core, Content, Event as Said, Fields as Section, Priority,
    RequestHead, Role, Settings,
};

use super::{Pair, transport};
use crate::{
    ConnectionKey, Dir, Event, ExchangeKey, Fields, Http3Options, HttpEvent, HttpLimits, Incoming,
    Lost, Read, Reply, Request, ServerOptions, StreamId, Write,
};

fn limits() -> HttpLimits {
    HttpLimits {
        head: 16 << 10,
        fields: 50,
        streams: 16,
        body_window: 64 << 10,
        unsent: 256 << 10,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
    }
}

fn serving(change: impl FnOnce(&mut HttpLimits)) -> Incoming {
    let mut limits = limits();
    change(&mut limits);
    Incoming::Http(Http3Options::new(Arc::new(limits), Http3Options::config()))
}

/// What came of one request at the client.
#[derive(Debug, Default)]
struct Answer {
    interim: Vec<u16>,
    status: Option<u16>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Option<Vec<(String, String)>>,
    ended: bool,
    reset: Option<Code>,
    stopped: Option<Code>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A client on one connection.
struct Visitor {
    key: ConnectionKey,
    core: Core,
    sending: HashMap<u64, (VecDeque<Bytes>, bool)>,
    answers: HashMap<u64, Answer>,
    going: Vec<u64>,
    settings: Option<Settings>,
    lost: Option<Lost>,
    /// Streams that it does not read.
    deaf: Vec<u64>,
}

fn pairs<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    fields.map(|(name, value)| (text(name), text(value))).collect()
}

impl Visitor {
    fn new(key: ConnectionKey) -> Self {
        let settings = Settings { extended_connect: true, ..Settings::default() };
        Self::speaking(key, Config { settings, ..Config::default() })
    }

    fn speaking(key: ConnectionKey, config: Config) -> Self {
        let core = Core::new(Role::Client, Arc::new(config));
        Self {
            key,
            core,
            sending: HashMap::new(),
            answers: HashMap::new(),
            going: Vec::new(),
            settings: None,
            lost: None,
            deaf: Vec::new(),
        }
    }

    fn read(&mut self, id: u64, client: &mut crate::Endpoint) {
        if self.deaf.contains(&id) {
            return;
        }
        loop {
            match client.read(self.key, stream(id), 1 << 20) {
                Read::Data(data) => self.core.received(id, data.into()),
                Read::Finished => self.core.finished(id),
                Read::Reset(code) => self.core.reset(id, Code(code)),
                Read::Blocked | Read::Closed => return,
            }
        }
    }

    fn take(&mut self, event: &Event, client: &mut crate::Endpoint) {
        match event {
            Event::StreamOpened { stream, .. } => {
                self.core.opened((*stream).into());
                self.read((*stream).into(), client);
            }
            Event::Readable { stream, .. } => self.read((*stream).into(), client),
            Event::Writable { stream, .. } => self.write((*stream).into(), client),
            Event::Lost { reason, .. } => self.lost = Some(reason.clone()),
            _ => {}
        }
    }

    fn write(&mut self, id: u64, client: &mut crate::Endpoint) {
        let Some((queue, finishes)) = self.sending.get_mut(&id) else { return };
        while let Some(first) = queue.front_mut() {
            match client.write(self.key, stream(id), first) {
                Write::Taken(_) if first.is_empty() => drop(queue.pop_front()),
                Write::Taken(_) => {}
                Write::Blocked => return,
                Write::Stopped(code) => {
                    self.core.stopped(id, Code(code));
                    self.answers.entry(id).or_default().stopped = Some(Code(code));
                    queue.clear();
                    return;
                }
                Write::Closed => queue.clear(),
            }
        }
        if std::mem::take(finishes) {
            client.finish(self.key, stream(id));
        }
    }

    /// Does what the protocol wants, and notes what it tells.
    fn settle(&mut self, client: &mut crate::Endpoint) {
        while let Some(event) = self.core.poll_event() {
            self.note(event);
        }
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenUni => {
                    let id = client.open_stream(self.key, Dir::Uni).unwrap();
                    self.core.opened_uni(id.into());
                }
                Action::Write(id, bytes) => {
                    self.sending.entry(id).or_default().0.push_back(bytes);
                    self.write(id, client);
                }
                Action::Finish(id) => {
                    self.sending.entry(id).or_default().1 = true;
                    self.write(id, client);
                }
                Action::Reset(id, code) => {
                    client.reset(self.key, stream(id), code.0);
                }
                Action::StopSending(id, code) => {
                    client.stop(self.key, stream(id), code.0);
                }
                Action::Datagram(bytes) => client.send_datagram(self.key, bytes).unwrap(),
                Action::Close(code, reason) => {
                    client.close(Instant::now(), self.key, code.0, reason.as_bytes());
                }
            }
        }
    }

    fn note(&mut self, event: Said) {
        let answers = &mut self.answers;
        match event {
            Said::Settings(settings) => self.settings = Some(settings),
            Said::Interim { stream, head } => {
                answers.entry(stream).or_default().interim.push(head.status());
            }
            Said::Response { stream, head, ended } => {
                let answer = answers.entry(stream).or_default();
                answer.status = Some(head.status());
                answer.fields = pairs(head.fields());
                answer.ended = ended;
            }
            Said::Data { stream, bytes } => {
                answers.entry(stream).or_default().body.extend_from_slice(&bytes);
            }
            Said::Trailers { stream, fields } => {
                answers.entry(stream).or_default().trailers = Some(pairs(fields.iter()));
            }
            Said::Ended { stream } => answers.entry(stream).or_default().ended = true,
            Said::Reset { stream, code } => {
                answers.entry(stream).or_default().reset = Some(code);
            }
            Said::GoingAway { id } => self.going.push(id),
            _ => {}
        }
    }
}

fn stream(id: u64) -> StreamId {
    let side = if id & 1 == 0 { crate::Side::Client } else { crate::Side::Server };
    let dir = if id & 2 == 0 { Dir::Bi } else { Dir::Uni };
    StreamId::new(side, dir, id >> 2)
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    RequestHead::new(fields.iter().copied().collect::<Section>(), true).unwrap()
}

fn asking(method: &str, path: &str) -> RequestHead {
    head(&[(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)])
}

fn lines(fields: &[(&str, &str)]) -> Fields {
    let mut made = Fields::default();
    fields.iter().for_each(|(name, value)| made.push(name.as_bytes(), value.as_bytes()));
    made
}

fn whole(status: u16, body: &'static str) -> Reply {
    let body = Bytes::from_static(body.as_bytes());
    Reply::Head { status, fields: Fields::default(), body, end: true }
}

fn begins(status: u16, fields: &[(&str, &str)]) -> Reply {
    Reply::Head { status, fields: lines(fields), body: Bytes::new(), end: false }
}

fn body(data: impl Into<Bytes>, end: bool) -> Reply {
    Reply::Body { data: data.into(), end }
}

/// Both ends.
struct World {
    pair: Pair,
    visitors: Vec<Visitor>,
    /// What the server was told, without the pieces of bodies.
    events: Vec<Event>,
    bodies: HashMap<ExchangeKey, Vec<u8>>,
    /// Wants each next piece of a body as soon as there is one.
    greedy: bool,
}

impl World {
    fn new(change: impl FnOnce(&mut HttpLimits)) -> Self {
        Self::with(change, |_| {})
    }

    fn with(
        change: impl FnOnce(&mut HttpLimits),
        options: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let pair = Pair::begun(serving(change), |server| {
            server.transport = crate::Transport { max_streams_bidi: 16, ..transport() };
            options(server);
        });
        let here = pair.here;
        Self::of(pair, here)
    }

    fn of(pair: Pair, here: ConnectionKey) -> Self {
        let mut world = Self {
            pair,
            visitors: vec![Visitor::new(here)],
            events: Vec::new(),
            bodies: HashMap::new(),
            greedy: true,
        };
        world.until(|world| world.visitors[0].settings.as_ref().map(drop));
        world
    }

    fn turn(&mut self) {
        self.pair.turn();
        for event in std::mem::take(&mut self.pair.from_client) {
            let on = match &event {
                Event::StreamOpened { connection, .. }
                | Event::Readable { connection, .. }
                | Event::Writable { connection, .. }
                | Event::Lost { connection, .. } => *connection,
                _ => continue,
            };
            for visitor in self.visitors.iter_mut().filter(|visitor| visitor.key == on) {
                visitor.take(&event, &mut self.pair.client);
            }
        }
        let ready = self.pair.client.connections.iter().flatten();
        let ready: Vec<_> = ready.filter(|c| !c.is_handshaking()).map(|c| c.key).collect();
        for visitor in self.visitors.iter_mut().filter(|visitor| ready.contains(&visitor.key)) {
            visitor.settle(&mut self.pair.client);
        }
        self.take();
    }

    fn take(&mut self) {
        for event in std::mem::take(&mut self.pair.from_server) {
            if let Event::Http(HttpEvent::Body { exchange, data }) = &event {
                self.bodies.entry(*exchange).or_default().extend_from_slice(data);
                if self.greedy {
                    self.pair.server.http_want_body(*exchange);
                }
            }
            self.events.push(event);
        }
    }

    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = done(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "server: {:.3000}\nclient: {:.3000}",
                format!("{:?}", self.events),
                format!("{:?}", self.visitors[0].answers)
            );
            self.turn();
        }
    }

    /// As many turns as it takes until nothing happens any more.
    fn rest(&mut self) {
        for _ in 0..60 {
            self.turn();
        }
    }

    /// Begins a request of the first client.
    fn ask(&mut self, head: &RequestHead, content: Content) -> u64 {
        self.ask_of(0, head, content)
    }

    fn ask_of(&mut self, visitor: usize, head: &RequestHead, content: Content) -> u64 {
        let visitor = &mut self.visitors[visitor];
        let id = self.pair.client.open_stream(visitor.key, Dir::Bi).unwrap().into();
        visitor.core.request(id, head, content).unwrap();
        visitor.settle(&mut self.pair.client);
        id
    }

    /// The next request that the server was told of.
    fn request(&mut self) -> (ExchangeKey, Box<Request>) {
        self.until(Self::next_request)
    }

    fn next_request(&mut self) -> Option<(ExchangeKey, Box<Request>)> {
        let index = self
            .events
            .iter()
            .position(|event| matches!(event, Event::Http(HttpEvent::Request { .. })))?;
        match self.events.remove(index) {
            Event::Http(HttpEvent::Request { exchange, request, .. }) => Some((exchange, request)),
            _ => None,
        }
    }

    /// A request of the first client, and what the server makes of it.
    fn get(&mut self, path: &str) -> (u64, ExchangeKey) {
        let id = self.ask(&asking("GET", path), Content::None);
        (id, self.request().0)
    }

    fn reply(&mut self, exchange: ExchangeKey, reply: Reply) {
        self.pair.server.http_reply(exchange, reply).unwrap();
    }

    /// The answer to a request of the first client, when it is whole.
    fn answer(&mut self, id: u64) -> Answer {
        self.until(|world| {
            let answers = &mut world.visitors[0].answers;
            answers.get(&id).filter(|answer| answer.ended)?;
            answers.remove(&id)
        })
    }

    fn saw(&self, wanted: impl Fn(&HttpEvent) -> bool) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Http(event) if wanted(event)))
    }

    fn answered(&self, key: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::Answered { exchange } if *exchange == key))
    }

    fn gone(&self, key: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::Gone { exchange } if *exchange == key))
    }

    fn body_ended(&self, key: ExchangeKey) -> bool {
        self.saw(|event| matches!(event, HttpEvent::BodyEnded { exchange } if *exchange == key))
    }
}
