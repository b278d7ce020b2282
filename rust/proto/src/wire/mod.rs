//! Values: how an annotation is laid out (`plan`), and the rules by which values of it become bytes
//! and bytes become values again.
//!
//! Every rule of the wire lives here: bounds, UTF-8, counts against the bytes that arrived, order
//! and uniqueness of keys, depth. What a value *is* does not: decoding makes values through
//! [`Build`], encoding reads them through [`Source`], and both are compiled for each
//! implementation, so the seam costs nothing. [`Value`] is the implementation in plain Rust.
mod decode;
mod encode;
mod order;
mod plan;
mod reader;
mod source;
mod trace;
mod value;

pub use decode::{Build, DecodeReason, decode, decode_fields};
pub use encode::{encode, encode_fields};
pub use plan::{Field, Node, NodeId, Plan, PlanError, Shape};
pub use reader::Reader;
pub use source::{EncodeReason, Integer, Source};
pub use trace::{Failure, Segment};
pub use value::{Build as ValueBuild, Value, decode_value, encode_value};

/// Bytes in a string, items in a list, entries in a map or set: the count is a `u16`.
pub const MAX_COUNT: usize = u16::MAX as usize;

/// Bytes in one `data` value. The Rust crates refuse more, so more could never be read.
pub const MAX_DATA: usize = 32 * 1024 * 1024;

/// How deep values may nest, counting every option, list, tuple, map, set, struct and union.
///
/// A recursive type has no depth of its own and the sender chooses it, yet each level costs both
/// sides stack: a few hundred bytes here, so this stays far below the smallest thread stack in use
/// (128 KiB). serde_json stops at 128, protobuf at 100.
pub const MAX_DEPTH: u32 = 128;

/// Elements of no size (unit and structs of nothing) in one whole value.
///
/// Such elements cost the sender nothing, so the bytes that arrived do not bound them: without
/// this, `list[list[None]]` would turn two bytes into 65,535 elements again and again.
pub const MAX_EMPTY: usize = MAX_COUNT;

/// RFC 3986, section 3.1: a letter, then letters, digits, `+`, `-` and `.`, up to a colon. The
/// rest of a URL is for whoever opens it; without a scheme the Rust crates refuse it.
fn has_scheme(text: &[u8]) -> bool {
    let Some(colon) = text.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let Some((first, rest)) = text[..colon].split_first() else {
        return false;
    };
    first.is_ascii_alphabetic()
        && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

#[cfg(test)]
mod tests;
