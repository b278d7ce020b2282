//! What no honest QUIC says, in packets that decrypt: who says it is sent away or costs little, and
//! nobody else notices.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::forger::{Attacker, Frames};
use super::world::World;
use super::{LANES, Pair, request, tags};
use crate::{ConnectionKey, Event, Lost};

/// A server, a client that behaves, and one that does not.
struct Siege {
    pair: Pair,
    attacker: Attacker,
    intruder: Option<ConnectionKey>,
    before: usize,
    /// One siege at a time: what the process occupies is measured.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

/// Bytes of memory that this process occupies.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

impl Siege {
    fn laid(world: &World, script: Option<Frames>) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = world.client(|_| {});
        let mut pair = Pair::between(world.serving(LANES), tls.clone()).settled();
        assert_alive(&mut pair);
        let server = pair.server.io().local_addr().unwrap();
        let attacker = Attacker::new(server, &tls, script);
        Self { pair, attacker, intruder: None, before: resident(), _alone: alone }
    }

    /// With the attacker's handshake behind it: honest until now, from now on `script`.
    fn begun(world: &World, script: Frames) -> Self {
        let mut siege = Self::laid(world, None);
        siege.until(|siege| {
            siege.intruder = siege.pair.from_server.iter().find_map(|event| match event {
                Event::Connected { connection, incoming: true } => Some(*connection),
                _ => None,
            });
            siege.intruder.is_some() && siege.attacker.quic.datagrams().max_size().is_some()
        });
        // What it has to acknowledge has been acknowledged.
        for _ in 0..20 {
            siege.turn();
        }
        siege.attacker.say(script);
        siege
    }

    fn turn(&mut self) {
        self.attacker.turn();
        self.pair.turn();
        // The rest is nobody's; an owner would have reacted and thrown it away.
        self.pair.from_server.retain(|event| {
            matches!(
                event,
                Event::Connected { .. } | Event::Lost { .. } | Event::HandshakeFailed { .. }
            )
        });
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "{:?}", self.pair.from_server);
            self.turn();
        }
    }

    /// So many packets, a few in each turn.
    fn shoot(&mut self, packets: usize) {
        for _ in 0..packets / 16 {
            for _ in 0..16 {
                self.attacker.shoot();
            }
            self.turn();
            if self.attacker.lost.is_some() {
                break;
            }
        }
    }

    /// How the server says that it lost the attacker.
    fn lost(&self) -> Option<&Lost> {
        self.pair.from_server.iter().find_map(|event| match event {
            Event::Lost { connection, reason } if Some(*connection) == self.intruder => {
                Some(reason)
            }
            Event::HandshakeFailed { reason, .. } => Some(reason),
            _ => None,
        })
    }

    /// Memory stayed bounded, and everybody else is served.
    fn lifted(mut self, slack: usize) {
        let grown = resident().saturating_sub(self.before);
        assert!(grown < slack, "grown by {grown} bytes");
        self.pair.from_server.clear();
        assert_alive(&mut self.pair);
    }

    /// The server has closed the attacker's connection, with this code.
    fn ended_with(mut self, code: u64, slack: usize) {
        self.until(|siege| siege.lost().is_some());
        let lost = self.lost();
        assert!(matches!(lost, Some(Lost::Failed { code: c, .. }) if *c == code), "{lost:?}");
        self.until(|siege| siege.pair.server.open_connections() == 1);
        self.lifted(slack);
    }
}

/// A call goes there and back.
fn assert_alive(pair: &mut Pair) {
    let lane = pair.lane();
    pair.client.write_lane(lane, request(7, b"there"));
    let opened = pair.opened();
    pair.server.write_lane(opened, request(8, b"back"));
    pair.until(|pair| tags(&pair.from_client, lane) == [8]);
    pair.from_server.clear();
    pair.from_client.clear();
}

/// A variable-length integer (RFC 9000, section 16), always of eight bytes.
fn number(value: u64) -> [u8; 8] {
    (value | 0xc000_0000_0000_0000).to_be_bytes()
}

fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(parts.iter().copied().flatten());
    out
}

/// A STREAM frame with offset and length (RFC 9000, section 19.8).
fn stream(id: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    frame(0x0e, &[&number(id), &number(offset), &number(data.len() as u64), data])
}

/// A CRYPTO frame (RFC 9000, section 19.6).
fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    frame(0x06, &[&number(offset), &number(data.len() as u64), data])
}

/// Numbers one after the other.
fn counting(mut make: impl FnMut(u64) -> Vec<u8> + Send + 'static) -> Frames {
    let mut count = 0;
    Box::new(move || {
        count += 1;
        make(count - 1)
    })
}

// RFC 9000, section 20.1.
const INTERNAL_ERROR: u64 = 0x01;
const FLOW_CONTROL_ERROR: u64 = 0x03;
const STREAM_LIMIT_ERROR: u64 = 0x04;
const CONNECTION_ID_LIMIT_ERROR: u64 = 0x09;
const PROTOCOL_VIOLATION: u64 = 0x0a;
const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;

#[test]
fn a_stream_of_gaps_is_given_up() {
    // Reassembly gaps (RUSTSEC-2026-0185): every other byte of a window, the first one never.
    let world = World::new();
    let gaps = counting(|n| stream(0, 1 + 2 * (n % 30_000), b"x"));
    let mut siege = Siege::begun(&world, gaps);
    siege.shoot(2_000);
    siege.ended_with(INTERNAL_ERROR, 16 << 20);
}

#[test]
fn single_bytes_with_gaps_are_given_up_too() {
    // One in each packet, which the byte would keep in memory.
    let world = World::new();
    let mut say = true;
    let mut at = 0;
    let alone: Frames = Box::new(move || {
        say = !say;
        if say {
            return Vec::new();
        }
        at += 2;
        stream(0, at % 60_000, b"x")
    });
    let mut siege = Siege::begun(&world, alone);
    siege.shoot(24_000);
    siege.ended_with(INTERNAL_ERROR, 16 << 20);
}

#[test]
fn handshake_bytes_ahead_of_the_handshake_are_bounded() {
    // CRYPTO flood (aioquic#501): before the handshake, and after it.
    let world = World::new();
    let far = || counting(|_| crypto(1 << 20, b"x"));
    let siege = Siege::laid(&world, Some(far()));
    siege.ended_with(CRYPTO_BUFFER_EXCEEDED, 8 << 20);

    let mut siege = Siege::begun(&world, far());
    siege.shoot(16);
    siege.ended_with(CRYPTO_BUFFER_EXCEEDED, 8 << 20);
}

#[test]
fn handshake_bytes_with_gaps_are_given_up() {
    let world = World::new();
    let mut siege = Siege::begun(&world, counting(|n| crypto(1 + 2 * (n % 8_000), b"x")));
    siege.shoot(2_000);
    siege.ended_with(INTERNAL_ERROR, 8 << 20);
}

#[test]
fn a_handshake_message_without_end_is_refused() {
    // In order, so nothing is out of place but the size: 16 MiB are announced.
    let world = World::new();
    let mut siege = Siege::begun(
        &world,
        counting(|n| match n {
            0 => crypto(0, &[4, 0xff, 0xff, 0xff]),
            n => crypto(4 + 500 * (n - 1), &[0; 500]),
        }),
    );
    siege.shoot(1_600);
    siege.until(|siege| siege.lost().is_some());
    siege.lifted(8 << 20);
}

#[test]
fn connection_ids_without_end_end_the_connection() {
    // CVE-2024-22189: each retires the one before, and what is answered is never acknowledged.
    let world = World::new();
    let id = |n: u64, retire: u64| {
        let mut id = [7; 8];
        id[..8].copy_from_slice(&n.to_be_bytes());
        frame(0x18, &[&number(n), &number(retire), &[8], &id, &[9; 16]])
    };
    let mut siege = Siege::begun(&world, counting(move |n| id(n + 100, n + 100)));
    siege.shoot(4_000);
    siege.ended_with(CONNECTION_ID_LIMIT_ERROR, 16 << 20);

    let mut siege = Siege::begun(&world, counting(move |n| id(n + 100, 0)));
    siege.shoot(64);
    siege.ended_with(CONNECTION_ID_LIMIT_ERROR, 16 << 20);
}

#[test]
fn ids_that_were_never_given_cannot_be_retired() {
    let world = World::new();
    let mut siege = Siege::begun(&world, counting(|n| frame(0x19, &[&number(n + 1_000)])));
    siege.shoot(16);
    siege.ended_with(PROTOCOL_VIOLATION, 8 << 20);
}

#[test]
fn path_challenges_are_answered_once_a_packet_at_most() {
    // CVE-2023-49295: 120 challenges in each packet, none of the answers acknowledged.
    let world = World::new();
    let mut siege = Siege::begun(&world, counting(|n| frame(0x1a, &[&n.to_be_bytes()])));
    let (sent, received) = (siege.attacker.sent, siege.attacker.received);
    siege.shoot(8_000);
    let answers = siege.attacker.received - received;
    let asked = siege.attacker.sent - sent;
    assert!(asked >= 4_000, "{asked} packets left");
    assert!(answers <= asked + 100, "{answers} answers to {asked} packets");
    siege.lifted(16 << 20);
}

#[test]
fn pings_are_acknowledged_once_a_packet_at_most() {
    let world = World::new();
    let mut siege = Siege::begun(&world, counting(|_| vec![0x01]));
    let (sent, received) = (siege.attacker.sent, siege.attacker.received);
    siege.shoot(8_000);
    let answers = siege.attacker.received - received;
    let asked = siege.attacker.sent - sent;
    assert!(asked >= 4_000, "{asked} packets left");
    assert!(answers <= asked + 100, "{answers} answers to {asked} packets");
    assert_eq!(siege.lost(), None);
    siege.lifted(16 << 20);
}

#[test]
fn streams_that_are_reset_at_once_are_bounded() {
    // Rapid Reset (CVE-2023-44487) below the calls: more streams than may be open, at once given up.
    let world = World::new();
    let reset = |n: u64| frame(0x04, &[&number(4 * n), &number(0), &number(0)]);
    let mut siege = Siege::begun(&world, counting(reset));
    siege.shoot(64);
    siege.ended_with(STREAM_LIMIT_ERROR, 8 << 20);
}

#[test]
fn who_ignores_the_windows_is_sent_away() {
    let world = World::new();
    let mut siege = Siege::begun(&world, counting(|_| stream(0, 1 << 30, b"x")));
    siege.shoot(16);
    siege.ended_with(FLOW_CONTROL_ERROR, 8 << 20);
}
