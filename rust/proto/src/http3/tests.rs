//! What tests of several modules use.

use crate::random::Random;

impl Random {
    /// A field as they are, or of any bytes.
    pub(super) fn field(&mut self) -> (Vec<u8>, Vec<u8>) {
        const NAMES: [&str; 8] = [
            ":status",
            "content-type",
            "cookie",
            "x-a",
            "vary",
            "etag",
            "a-rather-long-name-of-ours",
            "",
        ];
        const VALUES: [&str; 6] =
            ["200", "text/plain", "", "accept-encoding", "~{}|<>", "some words"];
        let name = NAMES[self.below(NAMES.len())].as_bytes().to_vec();
        let value = match self.below(3) {
            0 => (0..self.below(200)).map(|_| self.below(256) as u8).collect(),
            _ => VALUES[self.below(VALUES.len())].as_bytes().to_vec(),
        };
        (name, value)
    }
}

/// Bytes of a dump as the RFCs print them.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | value(*digit)))
        .collect()
}
