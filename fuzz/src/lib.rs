//! What fuzzing checks: one function of some bytes for each target. It panics where a rule does not
//! hold.
//!
//! `fuzz/run TARGET` searches for such bytes; `cargo test` replays `seeds/TARGET` and some thousand
//! variations of each, without cargo-fuzz; `cargo run --bin TARGET FILE…` replays single files, such
//! as those that a search left in `artifacts/`.

pub mod ext;
pub mod fault;
pub mod frame;
pub mod http3;
pub mod mux;
mod pieces;
pub mod qpack;
mod script;
pub mod subscription;
pub mod value;
pub mod version;
pub mod websocket;
pub mod webtransport;
pub mod window;

/// A target's program: libFuzzer's under cargo-fuzz, else one that replays the files it is given.
#[macro_export]
macro_rules! target {
    ($run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $run(input));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args_os().skip(1) {
                $run(&std::fs::read(path)?);
            }
            Ok(())
        }
    };
}
