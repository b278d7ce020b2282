//! Error codes: those of the drafts, and how applications' travel among those of HTTP/3 (section 4.4).

use crate::http3::Code;
use crate::http3::settings::is_reserved;

/// What code 0 of an application is on the wire, and what `u32::MAX` is.
const FIRST: u64 = 0x52e4_a40f_a8db;
const LAST: u64 = 0x52e5_ac98_3162;

/// An application's code as it travels. Codes that HTTP/3 reserves are left out.
pub const fn to_wire(code: u32) -> Code {
    let code = code as u64;
    Code(FIRST + code + code / 0x1e)
}

/// The application's code; `None` if it is none of an application.
pub const fn from_wire(code: Code) -> Option<u32> {
    if code.0 < FIRST || code.0 > LAST || is_reserved(code.0) {
        return None;
    }
    let shifted = code.0 - FIRST;
    Some((shifted - shifted / 0x1f) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        assert_eq!(to_wire(0), Code(FIRST));
        assert_eq!(to_wire(u32::MAX), Code(LAST));
        for code in (0..200).chain([1 << 16, 1 << 31, u32::MAX - 31, u32::MAX - 1, u32::MAX]) {
            assert!(!is_reserved(to_wire(code).0), "{code}");
            assert_eq!(from_wire(to_wire(code)), Some(code));
        }
        // Two next to a reserved one are neighbours.
        let gaps = (0..100).filter(|code| to_wire(code + 1).0 - to_wire(*code).0 == 2).count();
        assert_eq!(gaps, 3);
    }

    #[test]
    fn what_is_no_applications_is_none() {
        for code in [0, 7, FIRST - 1, LAST + 1, u64::MAX] {
            assert_eq!(from_wire(Code(code)), None, "{code:#x}");
        }
        let reserved = (FIRST..).find(|code| is_reserved(*code)).map(Code);
        assert_eq!(reserved.and_then(from_wire), None);
        assert_eq!(from_wire(Code::WT_SESSION_GONE), None);
    }
}
