//! What anybody may send in the place of one end: frames that are nearly right, and bytes.

use jetstream_proto::ext::{CREDIT, GOAWAY, LOSSY, RMETA, TEND, TIME, TITEM, TMETA};
use jetstream_proto::frame::kind::{RCANCEL, RDONE, RERROR, RVERSION, TCANCEL, TVERSION};
use jetstream_proto::frame::{begin, finish};
use jetstream_proto::limits::NO_TAG;

use super::book::item;
use crate::script::Script;

/// Types that mean something to a calling end.
pub(super) const ANSWERS: [u8; 14] =
    [103, 105, 107, 109, 111, RERROR, RDONE, RCANCEL, RMETA, CREDIT, GOAWAY, LOSSY, RVERSION, 99];

/// And to a called end; one method is not known there.
pub(super) const REQUESTS: [u8; 14] =
    [102, 104, 106, 108, 110, 112, TCANCEL, TMETA, TITEM, TEND, CREDIT, TIME, TVERSION, 99];

/// Adds what the script says: a frame with some payload, or bytes as they are.
pub(super) fn speak(script: &mut Script<'_>, kinds: &[u8], out: &mut Vec<u8>) {
    let first = script.byte();
    if first == 0xff {
        let count = script.byte();
        out.extend_from_slice(script.bytes(count.into()));
        return;
    }
    let kind = kinds[usize::from(first) % kinds.len()];
    let tag = match script.byte() {
        0xff => NO_TAG,
        few => u16::from(few % 16),
    };
    let form = script.byte();
    let start = begin(out, kind, tag);
    match form % 8 {
        0 => {}
        1 => out.extend_from_slice(&u16::from(script.byte() % 16).to_le_bytes()),
        2 => out.extend_from_slice(&script.number().to_le_bytes()),
        3 => out.extend_from_slice(&u64::from(script.number()).to_le_bytes()),
        // What a Tcancel carries, and a TMETA.
        4 => {
            out.extend_from_slice(&u16::from(script.byte() % 16).to_le_bytes());
            out.extend_from_slice(&u64::from(form / 128).to_le_bytes());
        }
        5 => {
            out.extend_from_slice(&u64::from(script.number()).to_le_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        // The end of a stream.
        6 => out.extend_from_slice(&[script.byte(), 1, 2]),
        _ => {
            let number = script.byte();
            item(number.into(), number.into(), script.number() as usize % 8192, out);
        }
    }
    // Of any size, also one that nobody takes.
    let _ = finish(out, start, u32::MAX);
}
