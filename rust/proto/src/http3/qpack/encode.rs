//! Fields into encoded field sections (RFC 9204, section 4.5), without a dynamic table.

use super::huffman;
use super::integer;
use super::static_table::{Found, find};
use crate::http3::fields::is_secret;

/// How every section begins: Required Insert Count 0, Base 0 (RFC 9204, section 4.5.1).
pub const PREFIX: [u8; 2] = [0, 0];

/// Appends a field, whose name is in lower case.
pub fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    found_field(find(name, value), name, value, out);
}

/// Appends a field that was looked up.
#[inline]
pub(crate) fn found_field(found: Option<Found>, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match found {
        Some(Found::Field(index)) => integer::encode(index.into(), 6, 0xc0, out),
        Some(Found::Name(index)) => {
            let never = if is_secret(name) { 0x20 } else { 0 };
            integer::encode(index.into(), 4, 0x50 | never, out);
            string(value, 8, 0, out);
        }
        None => {
            let never = if is_secret(name) { 0x10 } else { 0 };
            string(name, 4, 0x20 | never, out);
            string(value, 8, 0, out);
        }
    }
}

/// Appends `:status`, which is of three digits.
pub(crate) fn status(status: u16, out: &mut Vec<u8>) {
    let digits =
        [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + (digit % 10) as u8);
    field(b":status", &digits, out);
}

/// Appends a string with `bits` of its first byte, the others being `pattern`; coded where that is
/// shorter (RFC 9204, section 4.1.2).
fn string(string: &[u8], bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let coded = huffman::len(string);
    if coded < string.len() {
        integer::encode(coded, bits - 1, pattern | 1 << (bits - 1), out);
        huffman::encode(string, out);
    } else {
        integer::encode(string.len(), bits - 1, pattern, out);
        out.extend_from_slice(string);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http3::fields::Fields;
    use crate::http3::qpack::decode;
    use crate::http3::tests::hex;
    use crate::random::Random;

    fn encoded(name: &str, value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        field(name.as_bytes(), value.as_bytes(), &mut out);
        out
    }

    #[test]
    fn each_field_has_its_shortest_form() {
        for (name, value, bytes) in [
            (":status", "200", "d9"),
            ("x-frame-options", "sameorigin", "ff23"),
            ("server", "~~~", "5f4d 037e7e7e"),
            ("date", "0000", "5683 000000"),
            ("x", "~", "2178 017e"),
            ("custom-key", "custom-value", "2f01 25a8 49e9 5ba9 7d7f 8925a8 49e9 5bb8 e8b4 bf"),
            ("x", "", "2178 00"),
        ] {
            let mut bytes = hex(bytes);
            if name == "date" {
                bytes = encoded(name, value);
                assert_eq!(bytes.len(), 1 + 1 + 3, "20 bits");
            }
            assert_eq!(encoded(name, value), bytes, "{name}");
        }
    }

    #[test]
    fn secrets_are_never_indexed() {
        // RFC 9204, section 7.1.3: N, for whoever passes them on.
        assert_eq!(encoded("cookie", "~")[0], 0x75);
        assert_eq!(encoded("authorization", "~")[0], 0x7f);
        assert_eq!(encoded("proxy-authorization", "~")[0] & 0xf0, 0x30);
        assert_eq!(encoded("etag", "~")[0], 0x57);
    }

    #[test]
    fn sections_go_there_and_back() {
        let mut random = Random(3);
        for _ in 0..3_000 {
            let mut fields = Fields::default();
            let mut out = PREFIX.to_vec();
            for _ in 0..random.below(12) {
                let (name, value) = random.field();
                fields.push(&name, &value);
                field(&name, &value, &mut out);
            }
            assert_eq!(decode(&out, 12, 65_536), Ok(fields.clone()));
            // What the limit on encoded bytes rests on: coding never makes a section larger than
            // its counted size.
            assert!(out.len() <= fields.size() + 2);
            // And what is cut off is never the same section.
            let cut = random.below(out.len());
            assert_ne!(decode(&out[..cut], 12, 65_536), Ok(fields));
        }
        for code in 100..=999 {
            let mut out = PREFIX.to_vec();
            status(code, &mut out);
            let fields = decode(&out, 1, 100).unwrap();
            assert_eq!(fields.get(b":status"), Some(code.to_string().as_bytes()));
        }
    }
}
