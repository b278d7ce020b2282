//! SETTINGS (RFC 9114, section 7.2.4): what one end says about itself, once.

use super::code::{Code, ConnectionError};
use super::varint;

/// SETTINGS_QPACK_MAX_TABLE_CAPACITY (RFC 9204, section 5).
pub const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
/// SETTINGS_MAX_FIELD_SECTION_SIZE (RFC 9114, section 7.2.4.1).
pub const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
/// SETTINGS_QPACK_BLOCKED_STREAMS (RFC 9204, section 5).
pub const QPACK_BLOCKED_STREAMS: u64 = 0x07;
/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 9220, section 3).
pub const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
/// SETTINGS_H3_DATAGRAM (RFC 9297, section 2.1.1).
pub const H3_DATAGRAM: u64 = 0x33;

/// An identifier that means nothing to anybody (RFC 9114, section 7.2.4.1): also the form of
/// reserved frame types, stream types and error codes.
pub const fn reserved(number: u32) -> u64 {
    0x1f * number as u64 + 0x21
}

/// Whether an identifier is of that form.
pub const fn is_reserved(id: u64) -> bool {
    id >= 0x21 && (id - 0x21) % 0x1f == 0
}

const fn error(reason: &'static str) -> ConnectionError {
    ConnectionError::new(Code::SETTINGS_ERROR, reason)
}

/// The settings of one end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest field section that it wants to see; `None` if it did not say.
    pub max_field_section: Option<u64>,
    /// It takes extended CONNECT (RFC 9220).
    pub extended_connect: bool,
    /// It takes datagrams of requests (RFC 9297).
    pub datagrams: bool,
    /// What else it says: extensions', and those that mean nothing.
    pub others: Vec<(u64, u64)>,
}

impl Settings {
    /// Reads the payload of a SETTINGS frame with at most `most` settings.
    ///
    /// # Errors
    /// A setting is cut off, comes twice, is one of HTTP/2's or has a value that it cannot have; or
    /// there are too many.
    pub fn decode(mut payload: &[u8], most: u16) -> Result<Self, ConnectionError> {
        const CUT: ConnectionError =
            ConnectionError::new(Code::FRAME_ERROR, "SETTINGS end within a setting");
        let mut settings = Self::default();
        let mut seen: Vec<u64> = Vec::new();
        while !payload.is_empty() {
            let mut number = || {
                let (value, size) = varint::decode(payload)?;
                payload = payload.get(size..)?;
                Some(value)
            };
            let (id, value) = number().zip(number()).ok_or(CUT)?;
            if seen.len() >= usize::from(most) {
                return Err(ConnectionError::new(Code::EXCESSIVE_LOAD, "too many settings"));
            }
            // A linear search of at most `max_settings`.
            if seen.contains(&id) {
                return Err(error("a setting that comes twice"));
            }
            seen.push(id);
            settings.set(id, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, id: u64, value: u64) -> Result<(), ConnectionError> {
        match id {
            0x00 | 0x02..=0x05 => return Err(error("a setting of HTTP/2")),
            MAX_FIELD_SECTION_SIZE => self.max_field_section = Some(value),
            ENABLE_CONNECT_PROTOCOL => self.extended_connect = boolean(value)?,
            H3_DATAGRAM => self.datagrams = boolean(value)?,
            // What the peer's decoder would keep for us: we never insert.
            QPACK_MAX_TABLE_CAPACITY | QPACK_BLOCKED_STREAMS => {}
            _ => self.others.push((id, value)),
        }
        Ok(())
    }

    /// Appends the payload of a SETTINGS frame; that the dynamic table is of size 0 is always said.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |id, value| {
            varint::encode(id, out);
            varint::encode(value, out);
        };
        put(QPACK_MAX_TABLE_CAPACITY, 0);
        put(QPACK_BLOCKED_STREAMS, 0);
        if let Some(size) = self.max_field_section {
            put(MAX_FIELD_SECTION_SIZE, size.min(varint::MAX));
        }
        if self.extended_connect {
            put(ENABLE_CONNECT_PROTOCOL, 1);
        }
        if self.datagrams {
            put(H3_DATAGRAM, 1);
        }
        for (id, value) in &self.others {
            put((*id).min(varint::MAX), (*value).min(varint::MAX));
        }
    }
}

fn boolean(value: u64) -> Result<bool, ConnectionError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(error("a setting that is neither 0 nor 1")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn payload(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in settings {
            varint::encode(*id, &mut out);
            varint::encode(*value, &mut out);
        }
        out
    }

    fn refused(settings: &[(u64, u64)]) -> Code {
        Settings::decode(&payload(settings), 8).unwrap_err().code
    }

    #[test]
    fn settings_go_there_and_back() {
        let settings = Settings {
            max_field_section: Some(65_536),
            extended_connect: true,
            datagrams: true,
            others: vec![(0x2b60_3742, 1), (reserved(5), varint::MAX)],
        };
        let mut out = Vec::new();
        settings.encode(&mut out);
        assert_eq!(Settings::decode(&out, 8), Ok(settings));
        // RFC 9204, section 5: the table's size is said even though 0 is the default.
        assert_eq!(out[..4], [1, 0, 7, 0]);
        assert_eq!(Settings::decode(&[], 8), Ok(Settings::default()));
    }

    #[test]
    fn rules_of_settings() {
        // RFC 9114, section 7.2.4: no setting twice, not even one that means nothing.
        assert_eq!(refused(&[(6, 1), (6, 1)]), Code::SETTINGS_ERROR);
        assert_eq!(refused(&[(0x21, 1), (0x21, 2)]), Code::SETTINGS_ERROR);
        // RFC 9114, section 7.2.4.1: none of HTTP/2's.
        for id in [0, 2, 3, 4, 5] {
            assert_eq!(refused(&[(id, 0)]), Code::SETTINGS_ERROR, "{id}");
        }
        // RFC 8441, section 3, and RFC 9297, section 2.1.1: 0 or 1.
        assert_eq!(refused(&[(8, 2)]), Code::SETTINGS_ERROR);
        assert_eq!(refused(&[(0x33, 2)]), Code::SETTINGS_ERROR);
        // RFC 9114, section 7.2.4: unknown ones are ignored, which for us is to tell them.
        let unknown = Settings::decode(&payload(&[(0x4242, 7)]), 8).unwrap();
        assert_eq!(unknown, Settings { others: vec![(0x4242, 7)], ..Settings::default() });
        // RFC 9114, section 10.5: a bounded number.
        let many: Vec<_> = (0..9).map(|n| (reserved(n), 0)).collect();
        assert_eq!(refused(&many), Code::EXCESSIVE_LOAD);
        assert!(Settings::decode(&payload(&many[..8]), 8).is_ok());
    }

    #[test]
    fn a_setting_that_is_cut_off_is_a_frame_error() {
        // RFC 9114, section 7.1.
        let whole = payload(&[(0x06, 0x4000)]);
        for cut in 1..whole.len() {
            assert_eq!(Settings::decode(&whole[..cut], 8).unwrap_err().code, Code::FRAME_ERROR);
        }
    }

    #[test]
    fn reserved_identifiers_are_of_their_form() {
        for number in [0, 1, 1000] {
            assert!(is_reserved(reserved(number)));
            assert!(!is_reserved(reserved(number) + 1));
        }
        assert!(!is_reserved(0x02) && !is_reserved(0x41) && is_reserved(0x40));
    }
}
