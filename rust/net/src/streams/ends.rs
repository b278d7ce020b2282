//! How sockets come about and how they end, and what that means for their connections.

use std::time::Instant;

use super::config::Target;
use super::link::Link;
use super::socket::{Socket, plain};
use super::taker::Taker;
use super::wire::{Ending, LINGER, Phase, Wire};
use super::{RETRY, Streams};
use crate::connection::ConnectionKey;
use crate::event::{Event, LaneEnd, Lost};
use crate::lane::LaneKey;
use crate::tls::StreamTls;
use quinn_proto::Dir;

impl Target {
    fn refused(&self, how: &str) -> Lost {
        let place = match self {
            Self::Tcp(options, _) => format!("TCP {}", options.remote),
            Self::Unix(address) => address.to_string(),
        };
        Lost::Refused { reason: format!("{place}: {how}") }
    }
}

impl Streams {
    // ---- the beginning ----

    /// Begins another connection to where `link` leads, in this turn's transmit.
    pub(super) fn add_wire(&mut self, link: u32, msize: u32) -> u64 {
        let mut wire = Wire::new(Taker::lane(msize));
        wire.generation = self.review.generation;
        wire.link = Some(link);
        let key = self.wires.insert(wire);
        if let Some(link) = self.links.get_mut(link) {
            link.wires.push(key);
        }
        self.activate(key);
        key
    }

    pub(super) fn dial(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let link = wire.link.and_then(|link| self.links.get(link));
        let Some(target) = link.and_then(|link| link.target.as_ref()) else { return };
        let dialled = match target {
            Target::Tcp(options, _) => Socket::tcp(options.remote, options.bind).map(Some),
            Target::Unix(address) => Socket::unix(address),
        };
        match dialled {
            Ok(Some(socket)) => {
                wire.socket = Some(socket);
                wire.phase = Phase::Dialling;
            }
            Ok(None) => {
                wire.phase = Phase::Waiting;
                wire.again = now.checked_add(RETRY);
                return;
            }
            Err(error) => {
                wire.ending = Some(Ending::Wire(target.refused(&plain(&error))));
                return;
            }
        }
        let tls = match target {
            Target::Tcp(options, name) => StreamTls::connect(&options.tls, name).map(Some),
            Target::Unix(_) => Ok(None),
        };
        match tls {
            Ok(tls) => wire.tls = tls.map(Box::new),
            Err(lost) => wire.ending = Some(Ending::Wire(lost)),
        }
        // A Unix socket is connected already.
        wire.writable = wire.tls.is_none();
        if let Err(error) = self.register(key) {
            if let Some(wire) = self.wires.get_mut(key) {
                wire.ending = Some(Ending::Wire(Lost::Broken { reason: plain(&error) }));
            }
        }
    }

    pub(super) fn finish_dialling(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let Some(socket) = wire.socket.as_ref().filter(|_| wire.writable) else { return };
        match socket.is_connected() {
            Ok(true) => {
                socket.tune(&self.limits);
                wire.phase = Phase::Handshake;
            }
            Ok(false) => wire.writable = false,
            Err(error) => {
                let how = plain(&error);
                let target = wire.link.and_then(|link| self.links.get(link)?.target.as_ref());
                let lost = target.map_or(Lost::Ended, |target| target.refused(&how));
                self.on_ending(key, Ending::Wire(lost), now);
            }
        }
    }

    // ---- the end ----

    /// What a phase had to take has taken too long.
    pub(super) fn on_deadline(&mut self, key: u64) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let Some(link) = wire.link else {
            let handshaking = wire.phase == Phase::Handshake && !wire.finishing;
            let remote = wire.socket.as_ref().and_then(Socket::remote).filter(|_| handshaking);
            if let Some(remote) = remote {
                self.events.push(Event::HandshakeFailed { remote, reason: Lost::TimedOut });
            }
            if wire.write_over {
                // The system still delivers what it has taken; a reset would throw it away.
                self.bury(key);
            } else {
                self.give_up(key);
            }
            return;
        };
        wire.deadline = None;
        if wire.incoming {
            // Refused, and still there.
            self.lose(link, Lost::Here);
            self.give_up(key);
            return;
        }
        let seconds = self.limits.handshake_timeout.as_secs_f64();
        let target = self.links.get(link).and_then(|link| link.target.as_ref());
        let how = format!("no connection came about within {seconds} s");
        let lost = target.map_or(Lost::TimedOut, |target| target.refused(&how));
        wire.read_over = true;
        wire.ending = Some(Ending::Wire(lost));
    }

    /// Nothing more will be read from a socket.
    pub(super) fn on_ending(&mut self, key: u64, ending: Ending, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        if wire.is_gone() {
            return;
        }
        wire.read_over = true;
        let lane = LaneKey(key);
        let Some(link) = wire.link else {
            self.on_stray_ending(key, ending, now);
            return;
        };
        if wire.taker.http().is_some() {
            self.end_http(key, ending, now);
            return;
        }
        match ending {
            Ending::Lane(end) if wire.incoming => {
                if wire.owned {
                    self.events.push(Event::LaneEnded { lane, end });
                }
            }
            Ending::Wire(reason) if wire.incoming => {
                self.lose(link, reason);
                self.bury(key);
            }
            Ending::Lane(end @ (LaneEnd::Broken(_) | LaneEnd::Truncated { .. })) if wire.owned => {
                // For its owner to give up.
                self.events.push(Event::LaneEnded { lane, end });
            }
            ending => wire.ending = Some(ending),
        }
    }

    /// The end of a socket that has no connection: not yet, or not any more.
    fn on_stray_ending(&mut self, key: u64, ending: Ending, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let handshaking = wire.phase == Phase::Handshake && !wire.finishing;
        let reason = match ending {
            Ending::Wire(reason) => reason,
            Ending::Lane(_) => Lost::Ended,
        };
        let refused = handshaking && matches!(reason, Lost::Tls(_));
        let remote = wire.socket.as_ref().and_then(Socket::remote).filter(|_| handshaking);
        if let Some(remote) = remote {
            self.events.push(Event::HandshakeFailed { remote, reason });
        }
        if refused {
            // It is told, by an alert.
            wire.read_over = false;
            wire.wind_up(now);
        } else if !wire.finishing || wire.write_over {
            self.bury(key);
        }
    }

    /// A peer that has finished may still go, and then nobody waits for what it asked.
    pub(super) fn look_for_hang_up(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get(key) else { return };
        if wire.incoming && wire.read_over && wire.hung_up && wire.link.is_some() {
            self.on_ending(key, Ending::Wire(Lost::Ended), now);
        }
    }

    /// After writing: draws what follows from what has ended.
    pub(super) fn settle(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        if wire.is_gone() {
            return;
        }
        let broken = if wire.read_over { wire.broken.take() } else { None };
        if let Some(lost) = broken {
            self.on_ending(key, Ending::Wire(lost), now);
        }
        let Some(wire) = self.wires.get_mut(key).filter(|wire| !wire.is_gone()) else { return };
        let Some(link) = wire.link else {
            if wire.write_over && wire.read_over {
                self.bury(key);
            }
            return;
        };
        if wire.incoming {
            if wire.finishing && wire.discarding && wire.deadline.is_none() {
                wire.deadline = now.checked_add(LINGER);
            }
            if !wire.write_over || !wire.finishing {
                return;
            }
            if wire.read_over {
                self.lose(link, Lost::Ended);
                self.bury(key);
            } else if !wire.owned {
                wire.wind_up(now);
                self.lose(link, Lost::Here);
            }
            return;
        }
        if let Some(ending) = wire.ending.take() {
            self.end_outgoing(key, link, ending, now);
        } else if !wire.owned && wire.finishing && wire.write_over {
            // Released by its owner, and all of it is written.
            wire.wind_up(now);
            self.unlink(link, key);
        }
    }

    fn end_outgoing(&mut self, key: u64, link: u32, ending: Ending, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let (owned, handshaking) = (wire.owned, wire.phase == Phase::Handshake);
        let ending = match ending {
            Ending::Wire(Lost::Ended | Lost::Broken { .. }) if handshaking => {
                let target = self.links.get(link).and_then(|link| link.target.as_ref());
                let how = "the server ended the connection before the handshake was over; it may \
                           take no more of them, or speak no TLS";
                Ending::Wire(target.map_or(Lost::Ended, |target| target.refused(how)))
            }
            ending => ending,
        };
        if matches!(ending, Ending::Wire(Lost::Tls(_))) {
            wire.read_over = false;
            wire.wind_up(now);
            self.activate(key);
        } else {
            self.bury(key);
        }
        let last = self.links.get(link).is_none_or(|link| link.wires == [key]);
        self.unlink(link, key);
        if last {
            let reason = match ending {
                Ending::Wire(reason) => reason,
                Ending::Lane(_) => Lost::Ended,
            };
            self.lose(link, reason);
        } else if owned {
            let end = match ending {
                Ending::Wire(reason) => LaneEnd::Lost(reason),
                Ending::Lane(end) => end,
            };
            self.events.push(Event::LaneEnded { lane: LaneKey(key), end });
        }
    }

    /// A connection of ours has one socket less.
    pub(super) fn unlink(&mut self, link: u32, key: u64) {
        let Some(found) = self.links.get_mut(link) else { return };
        let full = found.wires.len() >= self.limits.max_lanes;
        found.forget(key);
        if full && !found.over {
            let connection = ConnectionKey(link);
            self.events.push(Event::MayOpen { connection, dir: Dir::Bi });
        }
    }

    /// The connection is gone; its sockets are not touched.
    pub(super) fn lose(&mut self, link: u32, reason: Lost) {
        let Some(found) = self.links.get_mut(link) else { return };
        if std::mem::replace(&mut found.over, true) {
            return;
        }
        for key in std::mem::take(&mut found.wires) {
            self.drop_exchanges(key);
        }
        let Some(found) = self.links.get_mut(link) else { return };
        *found = Link { over: true, target: found.target.take(), ..Link::default() };
        self.dead_links.push(link);
        self.events.push(Event::Lost { connection: ConnectionKey(link), reason });
    }

    /// Closes a socket in a way that says that nobody wants it any more.
    pub(super) fn give_up(&mut self, key: u64) {
        if let Some(socket) = self.wires.get(key).and_then(|wire| wire.socket.as_ref()) {
            socket.give_up();
        }
        self.bury(key);
    }

    pub(super) fn bury(&mut self, key: u64) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        if wire.is_gone() {
            return;
        }
        self.incoming -= usize::from(wire.incoming);
        self.drop_exchanges(key);
        let Some(wire) = self.wires.get_mut(key) else { return };
        wire.bury();
        self.dead_wires.push(key);
    }
}
