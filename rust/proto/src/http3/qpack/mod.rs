//! QPACK (RFC 9204) with a dynamic table of size 0 both ways: the static table, literals and Huffman
//! codes. We announce SETTINGS_QPACK_MAX_TABLE_CAPACITY 0 and never insert, so no field section
//! waits for another stream and no connection holds a table.

mod decode;
mod encode;
mod huffman;
mod instructions;
mod integer;
mod static_table;

pub use decode::{DecodeError, decode};
pub use encode::{PREFIX, field};
pub(crate) use encode::{found_field, status};
pub use instructions::{DecoderStream, encoder_stream};
pub(crate) use static_table::{Found, find};
