//! HTTP/3 on a QUIC connection: `jetstream_proto::http3` over the connection's streams.
//!
//! The QUIC connection tells what happened ([`Http3::on_stream`], [`Http3::accept`]) and lets it write
//! ([`Http3::write`]), see `bearer`; in between, the owner of the endpoint acts through `access`. What
//! may come and be said is the protocol's to know, and is not known here.

mod access;
mod answer;
mod bearer;
mod life;
mod request;
mod sending;
mod sessions;
mod stream;

use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jetstream_proto::http3::{Action, Code, Config, Connection as Core, Limits, Role, Settings};
use jetstream_proto::webtransport;
use quinn_proto::{Connection as Quic, Dir, StreamEvent, StreamId, VarInt};

use self::life::Life;
use self::sending::{PIECE, Sending, Wrote};
pub(crate) use self::sessions::request as session_request;
use self::stream::{Part, Ready, Stream};
use super::HttpLimits;
use super::turn::Turn;
use crate::stream::code;
use crate::webtransport::Sessions;

/// Bytes that all answers of one connection write in one turn, so that others get theirs.
const WRITE_PER_TURN: usize = 4 << 20;

/// Streams for which nothing is kept when none is open.
const CROWD: usize = 32;

/// Unidirectional streams that every peer may open: its control stream and QPACK's two, and some for
/// those that mean nothing (RFC 9114, section 6.2).
const STREAMS_UNI: u64 = 8;

/// The most control data that a request has, which its limit of fields does not count.
const CONTROL_DATA: u32 = 5;

/// Before all answers, which have 0 to 7 by their urgency.
const CONTROL_PRIORITY: i32 = 8;

/// How HTTP/3 is spoken, the same for all connections of one protocol.
#[derive(Debug, Clone)]
pub struct Http3Options {
    pub(crate) limits: Arc<HttpLimits>,
    pub(crate) config: Arc<Config>,
    pub(crate) webtransport: Option<webtransport::Limits>,
}

impl Http3Options {
    /// With these limits. Of `config` they say how large a request's head may be.
    pub fn new(limits: Arc<HttpLimits>, mut config: Config) -> Self {
        let fields = limits.fields.saturating_add(CONTROL_DATA);
        config.limits = Limits {
            max_field_section: limits.head,
            max_fields: u16::try_from(fields).unwrap_or(u16::MAX),
            ..config.limits
        };
        Self { limits, config: Arc::new(config), webtransport: None }
    }

    /// Takes WebTransport sessions as well, or makes them (a client's).
    #[must_use]
    pub fn webtransport(mut self, limits: webtransport::Limits) -> Self {
        let config = Arc::make_mut(&mut self.config);
        webtransport::settings::announce(&limits, &mut config.settings);
        config.foreign_uni = vec![webtransport::header::ONE];
        config.foreign_bidi = vec![webtransport::header::BOTH];
        config.early_datagrams = true;
        self.webtransport = Some(limits);
        self
    }

    /// What an ordinary server says of itself: that it takes extended CONNECT (RFC 9220).
    pub fn config() -> Config {
        let settings = Settings { extended_connect: true, ..Settings::default() };
        Config { settings, ..Config::default() }
    }
}

/// HTTP/3 on one connection.
pub(crate) struct Http3 {
    core: Core,
    limits: Arc<HttpLimits>,
    /// Our control stream, and what it has not taken.
    control: Option<StreamId>,
    said: Sending,
    /// The peer does not let us open our control stream yet.
    is_mute: bool,
    streams: Vec<Option<Stream>>,
    free: Vec<u32>,
    places: HashMap<u64, u32, BuildHasherDefault<Ids>>,
    /// Exchanges whose peer is gone and whose handler may still run.
    gone: usize,
    /// Streams of the peer may be waiting in QUIC, because handlers run that must end first.
    is_full: bool,
    /// Who may write, and how often somebody has.
    ready: BinaryHeap<Ready>,
    round: u64,
    life: Life,
    /// The handshake is not complete: whatever comes may be a copy (RFC 8470).
    pub(crate) is_early: bool,
    closed: Option<(Code, &'static str)>,
    /// Where there may be some.
    pub(crate) sessions: Option<Box<Sessions>>,
    has_begun: bool,
}

impl Http3 {
    pub(crate) fn new(options: &Http3Options, role: Role, now: Instant) -> Self {
        Self {
            core: Core::new(role, options.config.clone()),
            limits: options.limits.clone(),
            control: None,
            said: Sending::default(),
            is_mute: false,
            streams: Vec::new(),
            free: Vec::new(),
            places: HashMap::default(),
            gone: 0,
            is_full: false,
            ready: BinaryHeap::new(),
            round: 0,
            life: Life::new(now),
            is_early: false,
            closed: None,
            sessions: options.webtransport.map(|limits| Box::new(Sessions::new(limits))),
            has_begun: false,
        }
    }

    /// Says our settings, and allows as many streams as the limits do.
    pub(crate) fn begin(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let requests = match self.core.role() {
            Role::Server => u64::from(self.limits.streams),
            Role::Client => 0,
        };
        let (both, one) = self.session_streams();
        for (dir, wanted) in [(Dir::Bi, requests + both), (Dir::Uni, STREAMS_UNI + one)] {
            let allowed = quic.max_concurrent_streams(dir);
            if allowed < wanted || (dir == Dir::Bi && allowed != wanted) {
                let wanted = VarInt::from_u64(wanted).unwrap_or(VarInt::MAX);
                quic.set_max_concurrent_streams(dir, wanted);
            }
        }
        if turn.is_draining() {
            self.leave(quic, turn);
        }
        self.settle(quic, turn);
    }

    fn open(&self) -> usize {
        self.streams.len() - self.free.len()
    }

    fn has_room(&self) -> bool {
        let sessions = self.sessions.as_ref().map_or(0, |sessions| sessions.named());
        self.open().saturating_sub(sessions) + self.gone < self.limits.streams as usize
    }

    // ---- what QUIC tells ----

    pub(crate) fn on_stream(&mut self, event: StreamEvent, quic: &mut Quic, turn: &mut Turn<'_>) {
        match event {
            StreamEvent::Opened { dir } => self.accept(dir, quic, turn),
            StreamEvent::Readable { id } if id.dir() == Dir::Uni => self.read_uni(id, quic, turn),
            StreamEvent::Readable { id } => {
                if let Some(slot) = self.place(id) {
                    self.read(slot, quic, turn);
                }
            }
            StreamEvent::Writable { id } => self.on_writable(id, quic),
            StreamEvent::Stopped { id, error_code } => self.on_stopped(id, error_code, quic, turn),
            StreamEvent::Available { dir: Dir::Uni } if self.is_mute => {
                self.open_control(quic);
                self.settle(quic, turn);
            }
            StreamEvent::Available { dir } => self.on_available(dir, quic, turn),
            StreamEvent::Finished { .. } => {}
        }
    }

    /// Takes the streams that the peer has opened.
    pub(crate) fn accept(&mut self, dir: Dir, quic: &mut Quic, turn: &mut Turn<'_>) {
        match dir {
            Dir::Uni => {
                while let Some(id) = quic.streams().accept(dir) {
                    self.core.opened(id.into());
                    self.read_uni(id, quic, turn);
                }
            }
            // Handlers are counted and not streams: a stream that was reset is none any more. Those
            // over the limit wait in QUIC, whose own limit then holds the peer up.
            Dir::Bi => loop {
                self.is_full = !self.has_room();
                if self.is_full || self.closed.is_some() {
                    break;
                }
                let Some(id) = quic.streams().accept(dir) else { break };
                self.core.opened(id.into());
                let slot = self.add(id);
                self.read(slot, quic, turn);
                self.expect_head(slot, turn.now);
            },
        }
    }

    pub(crate) fn on_datagram(&mut self, datagram: Bytes, quic: &mut Quic, turn: &mut Turn<'_>) {
        self.core.datagram_received(datagram);
        self.settle(quic, turn);
    }

    // ---- what the protocol wants ----

    /// Takes what the protocol has to tell and does what it wants, until there is neither. What is
    /// to be written waits for [`Http3::write`].
    fn settle(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        // Before that QUIC has no streams for a client, or such as it may have to forget.
        while self.has_begun {
            // Events first: an exchange is known before it is over.
            if let Some(event) = self.core.poll_event() {
                self.hear(event, quic, turn);
            } else if let Some(action) = self.core.poll_action() {
                self.act(action, quic, turn);
            } else {
                return;
            }
        }
    }

    fn act(&mut self, action: Action, quic: &mut Quic, turn: &mut Turn<'_>) {
        match action {
            Action::OpenUni => self.open_control(quic),
            Action::Write(stream, bytes) => match self.places.get(&stream).copied() {
                Some(slot) => self.queue(slot, |sending| sending.push(bytes)),
                None => self.say(bytes, quic),
            },
            Action::Finish(stream) => {
                if let Some(slot) = self.places.get(&stream).copied() {
                    self.queue(slot, Sending::finish);
                }
            }
            Action::Reset(stream, reason) => {
                let id = stream_id(stream);
                let _ = quic.send_stream(id).reset(code(reason.0));
                if let Some(slot) = self.place(id).filter(|_| !self.is_asking(stream)) {
                    self.drop_exchange(slot, turn);
                }
            }
            Action::StopSending(stream, reason) => {
                let _ = quic.recv_stream(stream_id(stream)).stop(code(reason.0));
            }
            Action::Datagram(bytes) => {
                // One that cannot be sent is as good as lost.
                let _ = quic.datagrams().send(bytes, true);
            }
            Action::Close(reason, text) => {
                self.closed.get_or_insert((reason, text));
            }
        }
    }

    fn open_control(&mut self, quic: &mut Quic) {
        let opened = quic.streams().open(Dir::Uni);
        self.is_mute = opened.is_none();
        if let Some(id) = opened {
            let _ = quic.send_stream(id).set_priority(CONTROL_PRIORITY);
            self.control = Some(id);
            self.core.opened_uni(id.into());
        }
    }

    /// Writes to our control stream.
    fn say(&mut self, bytes: Bytes, quic: &mut Quic) {
        self.said.push(bytes);
        if let Some(id) = self.control {
            self.said.write(id, usize::MAX, quic);
        }
    }

    // ---- writing ----

    /// Hands over what flow control takes, the most urgent first and those alike in turns. True if
    /// the turn's bound was reached.
    pub(crate) fn write(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) -> bool {
        self.speak_sessions(quic, turn);
        let mut left = WRITE_PER_TURN;
        while left > 0 {
            let Some(ready) = self.ready.pop() else { break };
            left = left.saturating_sub(self.write_piece(&ready, quic, turn));
        }
        if self.is_full && self.has_room() {
            self.accept(Dir::Bi, quic, turn);
        }
        !self.ready.is_empty()
    }

    /// Writes a piece of an answer: how many bytes it was. With the last one the exchange is over.
    fn write_piece(&mut self, ready: &Ready, quic: &mut Quic, turn: &mut Turn<'_>) -> usize {
        let slot = ready.slot;
        let Some(stream) = self.stream_mut(slot).filter(|stream| stream.id == ready.id) else {
            return 0;
        };
        let before = stream.sending.bytes();
        let wrote = stream.sending.write(ready.id, PIECE, quic);
        let written = before - stream.sending.bytes();
        if stream.sending.take_drained() {
            stream.key.into_iter().for_each(|key| turn.drained(key));
        }
        match wrote {
            Wrote::All if stream.file.is_some() => self.read_file(slot, quic, turn),
            Wrote::Piece => self.queue(slot, |_| {}),
            Wrote::Finished => self.end(slot, quic, turn),
            Wrote::Blocked => self.note_stall(slot, turn.now),
            // That the peer has stopped it comes as an event of its own.
            Wrote::All | Wrote::Refused => {}
        }
        written
    }

    fn on_writable(&mut self, id: StreamId, quic: &mut Quic) {
        if Some(id) == self.control {
            self.say(Bytes::new(), quic);
        } else if let Some(slot) = self.place(id) {
            self.queue(slot, Sending::unblock);
        }
    }

    /// Changes what is to be sent, and has it wait for its turn if there is anything.
    fn queue(&mut self, slot: u32, change: impl FnOnce(&mut Sending)) {
        self.round += 1;
        let round = self.round;
        if let Some(stream) = self.stream_mut(slot) {
            change(&mut stream.sending);
            if stream.sending.wait() {
                let ready = Ready { urgency: stream.urgency, round, slot, id: stream.id };
                self.ready.push(ready);
            }
        }
    }

    // ---- streams ----

    fn place(&self, id: StreamId) -> Option<u32> {
        self.places.get(&u64::from(id)).copied()
    }

    fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.streams.get_mut(slot as usize)?.as_mut()
    }

    fn add(&mut self, id: StreamId) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.streams.push(None);
                (self.streams.len() - 1) as u32
            }
        };
        if let Some(place) = self.streams.get_mut(slot as usize) {
            *place = Some(Stream::new(id));
        }
        self.places.insert(id.into(), slot);
        slot
    }

    fn remove(&mut self, slot: u32, now: Instant) -> Option<Stream> {
        let stream = self.streams.get_mut(slot as usize)?.take()?;
        self.on_removed(&stream, now);
        self.places.remove(&u64::from(stream.id));
        self.free.push(slot);
        if self.open() == 0 {
            self.life.rest(now);
            if self.streams.len() > CROWD {
                // What a crowd needed is not kept for a connection that may stay idle.
                (self.streams, self.free) = (Vec::new(), Vec::new());
                (self.places, self.ready) = (HashMap::default(), BinaryHeap::new());
            }
        }
        Some(stream)
    }

    /// An answer is handed over whole.
    fn end(&mut self, slot: u32, quic: &mut Quic, turn: &mut Turn<'_>) {
        if self.waits_for_end(slot, turn.now) {
            return;
        }
        let Some(stream) = self.remove(slot, turn.now) else { return };
        if let Some(key) = stream.key {
            turn.answered_later(key);
        }
        // The rest of a request that is answered is of no use (RFC 9114, section 4.1).
        if !stream.has_ended {
            let reason = match stream.session {
                Part::None => Code::NO_ERROR,
                _ => Code::WT_SESSION_GONE,
            };
            self.core.stop_reading(stream.id.into(), reason);
            self.settle(quic, turn);
        }
    }

    /// An exchange ends without its answer.
    fn drop_exchange(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let Some(stream) = self.remove(slot, turn.now) else { return };
        match stream.key {
            Some(key) if stream.is_aborted => turn.forget(key),
            Some(key) => {
                turn.gone(key);
                self.gone += 1;
            }
            None => {}
        }
    }
}

/// The streams of a connection by their ids. QUIC hands those out one after the other and bounds how
/// many are open, so no peer can choose many that collide.
#[derive(Debug, Clone, Copy, Default)]
struct Ids(u64);

impl Hasher for Ids {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, id: u64) {
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A stream as QUIC's state machine names it: by who opened it, and whether it goes both ways (RFC
/// 9000, section 2.1).
fn stream_id(stream: u64) -> StreamId {
    VarInt::from_u64(stream).unwrap_or(VarInt::MAX).into()
}
