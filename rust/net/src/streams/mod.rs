//! Ordered streams of bytes, TCP with TLS and Unix sockets, as connections of one lane each.
//!
//! All sockets are watched by one poll, whose descriptor the owner's loop watches. The poll tells
//! each readiness once, so what is ready is remembered here until it is used up.
//!
//! A stream has no room for what QUIC says beside it. What becomes of it:
//!
//! - **A lane's end is its connection's.** An orderly one is TLS's close_notify and the end of the
//!   stream; a TLS stream that ends without is cut off, which is a loss and not an end.
//! - **Closing** tells no code and no reason. A server that closes ends its streams in order, and its
//!   clients see [`Lost::Ended`]. Whoever gives a lane up resets its connection, as a client does that
//!   closes: the server sees a loss, and knows that nobody waits for its answers.
//! - **Further lanes** of a client's connection are further sockets to the same server, dialled when
//!   they are asked for. Each is verified like the first. If one fails, so does its lane; the
//!   connection is lost with its last socket, unless it was we who gave that up.

mod access;
mod config;
mod ends;
mod http;
mod link;
mod listener;
mod review;
mod socket;
mod taker;
#[cfg(test)]
mod tests;
mod unix;
mod wire;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use self::link::{Link, Links};
use self::listener::{Listener, Newcomer};
use self::taker::Taker;
use self::wire::{Ending, Phase, Wire};
use crate::connection::ConnectionKey;
use crate::docket::{Review, Reviewing};
use crate::endpoint::Progress;
use crate::event::{Event, LaneEnd, Lost};
use crate::http::{Board, Exchanges};
use crate::lane::LaneKey;
use crate::slab::Slab;
use crate::timers::Timers;

pub use self::config::{Credentials, StreamLimits, TcpOptions, TcpServer};
pub use self::taker::Speaks;
pub use self::unix::UnixAddress;

/// Sockets whose readiness one turn looks at.
const READY_PER_TURN: usize = 1024;

/// Bytes that one turn reads from all sockets.
const READ_PER_TURN: usize = 8 << 20;

/// Newcomers that one turn takes from a listening socket.
const ACCEPT_PER_TURN: usize = 64;

/// Bytes that one system call reads.
const BUFFER: usize = 256 << 10;

/// A server that says nothing for so long after the handshake has accepted our certificate: other
/// implementations than ours may have no word for it.
const CONSENT: Duration = Duration::from_secs(1);

/// When to ask again a server whose backlog is full.
const RETRY: Duration = Duration::from_millis(10);

/// Listening sockets have the last tokens, and the last key among the timers.
const FIRST_LISTENER: usize = usize::MAX / 2;
const LISTENERS: u32 = u32::MAX;

/// Streams, and the sockets that listen for them. Nothing happens but in [`Streams::receive`] and
/// [`Streams::transmit`], one turn; between them the owner takes the events and reacts.
pub struct Streams {
    poll: Poll,
    ready: Events,
    limits: StreamLimits,
    listeners: Vec<Listener>,
    /// When a timer for the listening sockets is set.
    listeners_armed: Option<Instant>,
    /// By lane: a socket carries one.
    wires: Slab<Wire>,
    links: Links,
    /// Keys that may be given out again once the owner has seen the end.
    dead_wires: Vec<u64>,
    dead_links: Vec<u32>,
    /// Sockets that peers opened.
    incoming: usize,
    /// Those of them whose handshake is not over.
    handshaking: usize,
    review: Review<u64>,
    timers: Timers,
    /// Sockets that must be looked at, each once.
    active: Vec<u64>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    exchanges: Exchanges,
    /// Who of HTTP wants to be looked at.
    board: Board,
    /// Who of HTTP was not done when a look was over.
    again: Vec<u64>,
    /// A buffer for what HTTP writes, lent to one connection after the other.
    spare: Vec<u8>,
}

impl Streams {
    /// Streams without a socket yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(limits: StreamLimits) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            ready: Events::with_capacity(READY_PER_TURN),
            limits,
            listeners: Vec::new(),
            listeners_armed: None,
            wires: Slab::default(),
            links: Links::default(),
            dead_wires: Vec::new(),
            dead_links: Vec::new(),
            incoming: 0,
            handshaking: 0,
            review: Review::default(),
            timers: Timers::default(),
            active: Vec::new(),
            events: Vec::new(),
            buffer: Vec::new(),
            exchanges: Exchanges::default(),
            board: Board::default(),
            again: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// The descriptor to be watched for readability.
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn activate(&mut self, key: u64) {
        if let Some(wire) = self.wires.get_mut(key) {
            if !wire.is_gone() && !std::mem::replace(&mut wire.queued, true) {
                self.active.push(key);
            }
        }
    }

    fn arm(&mut self, key: u64) {
        if let Some(wire) = self.wires.get_mut(key) {
            if let Some(at) = wire.due(&self.limits) {
                self.timers.arm(&mut wire.armed, at, key as u32);
            }
        }
    }

    // ---- the first half of a turn ----

    /// Takes in what has arrived and what is due; [`Streams::take_events`] then has the news. True if
    /// a bound was reached and more is waiting.
    ///
    /// # Errors
    /// The poll is broken.
    pub fn receive(&mut self, now: Instant) -> io::Result<bool> {
        self.release_dead();
        let mut more = self.collect()?;
        while let Some((at, index)) = self.timers.due(now) {
            self.on_timer(at, index, now);
        }
        more |= self.accept(now);
        more |= self.review(now);
        if self.buffer.is_empty() {
            // Pages that are never filled are never the process's.
            self.buffer = vec![0; BUFFER];
        }
        let mut budget = READ_PER_TURN;
        // They stay active until `transmit` has written what they have to say.
        for index in 0..self.active.len() {
            if budget == 0 {
                break;
            }
            budget = budget.saturating_sub(self.drive(self.active[index], now));
        }
        Ok(more)
    }

    fn release_dead(&mut self) {
        for key in std::mem::take(&mut self.dead_wires) {
            self.wires.remove(key);
        }
        for key in std::mem::take(&mut self.dead_links) {
            self.links.remove(key);
        }
    }

    /// Asks the poll what has become ready. True if it may have more to tell.
    fn collect(&mut self) -> io::Result<bool> {
        match self.poll.poll(&mut self.ready, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            polled => polled?,
        }
        let mut count = 0;
        for event in &self.ready {
            count += 1;
            let Token(token) = event.token();
            if let Some(index) = token.checked_sub(FIRST_LISTENER) {
                if let Some(listener) = self.listeners.get_mut(index) {
                    listener.ready = true;
                }
                continue;
            }
            let key = self.wires.key_at(token as u32).unwrap_or_default();
            let Some(wire) = self.wires.get_mut(key) else { continue };
            wire.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            wire.writable |= event.is_writable() || event.is_write_closed();
            wire.end_in_sight |= event.is_read_closed() || event.is_error();
            wire.hung_up |= (event.is_write_closed() || event.is_error()) && !wire.write_over;
            if !wire.is_gone() && !std::mem::replace(&mut wire.queued, true) {
                self.active.push(key);
            }
        }
        Ok(count == READY_PER_TURN)
    }

    fn accept(&mut self, now: Instant) -> bool {
        let mut more = false;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_PER_TURN {
                let Some(listener) = self.listeners.get_mut(index) else { break };
                if !listener.ready || listener.again.is_some() {
                    break;
                }
                match listener.accept(now) {
                    Some(newcomer) => self.welcome(newcomer, now),
                    None => break,
                }
            }
            let Some(listener) = self.listeners.get(index) else { continue };
            match listener.again {
                Some(at) => self.timers.arm(&mut self.listeners_armed, at, LISTENERS),
                None => more |= listener.ready,
            }
        }
        more
    }

    fn welcome(&mut self, newcomer: Newcomer, now: Instant) {
        let Newcomer { socket, remote, tls, speaks } = newcomer;
        let busy = tls.is_some() && self.handshaking >= self.limits.max_handshakes;
        // The handlers of those who went away count, too.
        let full = self.incoming + self.exchanges.gone() >= self.limits.max_connections;
        if busy || full {
            // Closed at once: there is nothing to say to it.
            return;
        }
        let taker = match &speaks.http {
            Some(_) => Taker::Undecided(Vec::new()),
            None => Taker::lane(self.limits.msize),
        };
        let mut wire = Wire::new(taker, Some(self.limits.max_unsent));
        wire.speaks = speaks;
        wire.generation = self.review.generation;
        let tls = match tls.map(|tls| tls.accept()).transpose() {
            Ok(tls) => tls,
            Err(reason) => {
                if let Some(remote) = remote {
                    self.events.push(Event::HandshakeFailed { remote, reason });
                }
                return;
            }
        };
        wire.writable = true;
        wire.phase = Phase::Handshake;
        wire.deadline = now.checked_add(self.limits.handshake_timeout);
        wire.tls = tls.map(Box::new);
        socket.tune(&self.limits);
        wire.socket = Some(socket);
        self.handshaking += usize::from(wire.is_shaking());
        let key = self.wires.insert(wire);
        self.incoming += 1;
        if self.register(key).is_err() {
            self.bury(key);
            return;
        }
        self.activate(key);
        self.arm(key);
    }

    fn register(&mut self, key: u64) -> io::Result<()> {
        let Some(socket) = self.wires.get_mut(key).and_then(|wire| wire.socket.as_mut()) else {
            return Ok(());
        };
        socket.register(self.poll.registry(), Token(key as u32 as usize))
    }

    fn on_timer(&mut self, at: Instant, index: u32, now: Instant) {
        if index == LISTENERS {
            if self.listeners_armed == Some(at) {
                self.listeners_armed = None;
                self.listeners.iter_mut().for_each(|listener| listener.again = None);
            }
            return;
        }
        let Some(key) = self.wires.key_at(index) else { return };
        let Some(wire) = self.wires.get_mut(key) else { return };
        if wire.armed != Some(at) {
            return;
        }
        wire.armed = None;
        if wire.deadline.is_some_and(|due| due <= now) {
            self.on_deadline(key);
        } else if wire.again.is_some_and(|due| due <= now) {
            wire.again = None;
            let waiting = wire.phase == Phase::Waiting;
            let link = wire.link;
            if waiting {
                self.dial(key, now);
            } else if let Some(link) = link {
                self.confirm(link);
            }
        } else if wire.stalls(&self.limits).is_some_and(|due| due <= now) {
            self.on_ending(key, Ending::Wire(Lost::TimedOut), now);
        } else if wire.http_due().is_some_and(|due| due <= now) {
            self.expire_http(key, now);
        } else if wire.is_silent(&self.limits, now) {
            self.on_ending(key, Ending::Wire(Lost::TimedOut), now);
        }
        self.activate(key);
        self.arm(key);
    }

    /// Looks at one socket: how many bytes were read.
    fn drive(&mut self, key: u64, now: Instant) -> usize {
        if self.wires.get(key).is_some_and(|wire| wire.phase == Phase::Dialling) {
            self.finish_dialling(key, now);
        }
        let Some(wire) = self.wires.get_mut(key) else { return 0 };
        if !matches!(wire.phase, Phase::Handshake | Phase::Open) {
            return 0;
        }
        let (count, ending) = wire.read(&mut self.buffer, now);
        let handshaking = wire.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        if wire.phase == Phase::Handshake && !handshaking {
            // Who takes its bytes may be for the first of them to tell.
            let known = self.decide(key, now);
            if known && !self.establish(key, now) {
                return count;
            }
        }
        let Some(wire) = self.wires.get_mut(key) else { return count };
        let link = wire.link;
        let wrong = wire.wrong.take();
        let ending = wrong.map(|error| Ending::Lane(LaneEnd::Broken(error))).or(ending);
        if wire.taker.http().is_some() {
            self.drive_http(key, count, ending, now);
            self.look_for_hang_up(key, now);
            return count;
        }
        if let (Some(run), true) = (wire.taker.frames(), wire.owned) {
            self.events.push(Event::Frames { lane: LaneKey(key), run });
        }
        let heard = wire.tls.as_ref().is_none_or(|tls| tls.is_confirmed());
        if let (Some(link), true) = (link, heard && count > 0) {
            self.confirm(link);
        }
        if let Some(ending) = ending {
            self.on_ending(key, ending, now);
        }
        self.look_for_hang_up(key, now);
        count
    }

    /// The handshake is over, or there was none to make. False if it came to nothing after all.
    fn establish(&mut self, key: u64, now: Instant) -> bool {
        let Some(wire) = self.wires.get_mut(key) else { return false };
        if let Some(tls) = wire.tls.as_mut() {
            if let Err(failure) = tls.settle() {
                self.on_ending(key, Ending::Wire(Lost::Tls(failure)), now);
                return false;
            }
        }
        self.handshaking -= usize::from(wire.is_shaking());
        wire.phase = Phase::Open;
        wire.deadline = None;
        wire.heard = Some(now);
        let socket = wire.socket.as_ref();
        let remote = socket.and_then(socket::Socket::remote);
        let credentials = socket.and_then(socket::Socket::credentials);
        let unconfirmed = wire.tls.as_ref().is_some_and(|tls| !tls.is_confirmed());
        if wire.incoming {
            let is_lane = wire.taker.http().is_none();
            let unix = matches!(socket, Some(socket::Socket::Unix(_)));
            wire.owned = is_lane;
            let wires = vec![key];
            let made =
                Link { wires, connected: true, remote, credentials, unix, ..Link::default() };
            let link = self.links.insert(made);
            wire.link = Some(link);
            let connection = ConnectionKey(link);
            self.events.push(Event::Connected { connection, incoming: true });
            if is_lane {
                self.events.push(Event::LaneOpened { connection, lane: LaneKey(key) });
            }
            return self.stays(key, now);
        }
        let Some(link) = wire.link else { return true };
        let Some(found) = self.links.get_mut(link) else { return true };
        if !std::mem::replace(&mut found.connected, true) {
            found.remote = remote;
            found.credentials = credentials;
            let connection = ConnectionKey(link);
            self.events.push(Event::Connected { connection, incoming: false });
            if unconfirmed {
                wire.again = now.checked_add(CONSENT);
                self.arm(key);
            } else {
                self.confirm(link);
            }
        }
        self.stays(key, now)
    }

    /// The server has accepted us.
    fn confirm(&mut self, link: u32) {
        let Some(found) = self.links.get_mut(link) else { return };
        if found.is_incoming() || !found.connected || found.over {
            return;
        }
        if !std::mem::replace(&mut found.confirmed, true) {
            self.events.push(Event::Confirmed { connection: ConnectionKey(link) });
        }
    }

    /// What happened since the last time, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    // ---- the second half of a turn ----

    /// Writes what there is to write.
    ///
    /// # Errors
    /// None; the signature is that of the other transports.
    pub fn transmit(&mut self, now: Instant) -> io::Result<Progress> {
        for key in self.board.take() {
            self.activate(key);
        }
        for key in std::mem::take(&mut self.active) {
            let Some(wire) = self.wires.get_mut(key) else { continue };
            wire.queued = false;
            if wire.phase == Phase::Waiting && wire.deadline.is_none() {
                wire.deadline = now.checked_add(self.limits.handshake_timeout);
                self.dial(key, now);
            }
            self.flush_http(key, now);
            let Some(wire) = self.wires.get_mut(key) else { continue };
            let unfinished = wire.write();
            if wire.take_drained() {
                self.events.push(Event::LaneDrained { lane: LaneKey(key) });
            }
            self.settle(key, now);
            let Some(wire) = self.wires.get(key) else { continue };
            if wire.is_gone() {
                continue;
            }
            let more = unfinished || wire.has_more_to_read();
            if self.recover_http(key, now) || more {
                self.activate(key);
            }
            self.arm(key);
        }
        for key in std::mem::take(&mut self.again) {
            self.activate(key);
        }
        let wires = &self.wires;
        self.timers.prune(wires.len(), |at, index| {
            let wire = wires.key_at(index).and_then(|key| wires.get(key));
            index == LISTENERS || wire.is_some_and(|wire| wire.armed == Some(at))
        });
        let more = !self.active.is_empty() || !self.events.is_empty() || !self.board.is_empty();
        // That a socket takes bytes again makes the poll readable, too.
        Ok(Progress { more, blocked: false, timeout: self.timers.next() })
    }

    /// Connections that exist, those that are coming about or ending included.
    pub fn open_connections(&self) -> usize {
        let outgoing = self.links.iter().filter(|link| !link.is_incoming() && !link.over);
        self.incoming + outgoing.count()
    }

    /// Lanes that exist.
    pub fn open_lanes(&self) -> usize {
        self.wires.iter().filter(|wire| wire.owned).count()
    }
}
