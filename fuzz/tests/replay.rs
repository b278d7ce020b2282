//! Every seed and some thousand variations of it, the same ones each time, through the functions
//! that fuzzing calls.

use std::fs;
use std::path::Path;

/// Variations of each seed.
const VARIATIONS: u64 = 3_000;

/// Bytes at which counts and sizes turn.
const EDGES: [u8; 8] = [0, 1, 2, 6, 7, 0x7f, 0x80, 0xff];

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are no seeds");
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, seed) in paths.iter().zip(&seeds) {
        run(seed);
        for number in 0..VARIATIONS {
            let input = vary(seed, &seeds, &mut Random(number + 1));
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "variation {number} of {}: {input:02x?}", path.display());
        }
    }
}

#[test]
fn frame() {
    replay("frame", jetstream_fuzz::frame::run);
}

#[test]
fn version() {
    replay("version", jetstream_fuzz::version::run);
}

#[test]
fn fault() {
    replay("fault", jetstream_fuzz::fault::run);
}

#[test]
fn mux() {
    replay("mux", jetstream_fuzz::mux::run);
}

#[test]
fn ext() {
    replay("ext", jetstream_fuzz::ext::run);
}

#[test]
fn window() {
    replay("window", jetstream_fuzz::window::run);
}

#[test]
fn subscription() {
    replay("subscription", jetstream_fuzz::subscription::run);
}

#[test]
fn value() {
    replay("value", jetstream_fuzz::value::run);
}

#[test]
fn websocket() {
    replay("websocket", jetstream_fuzz::websocket::run);
}

#[test]
fn qpack() {
    replay("qpack", jetstream_fuzz::qpack::run);
}

#[test]
fn http3() {
    replay("http3", jetstream_fuzz::http3::run);
}

#[test]
fn webtransport() {
    replay("webtransport", jetstream_fuzz::webtransport::run);
}

/// SplitMix64: enough for this, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

fn vary(seed: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(9)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = EDGES[random.below(EDGES.len())],
            2 => drop(input.drain(at..end)),
            3 => input.insert(at, random.below(256) as u8),
            4 => {
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => input.truncate(at),
            _ => {
                let other = &others[random.below(others.len())];
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    input
}
