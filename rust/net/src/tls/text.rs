//! What strangers wrote, made fit for a log line or a close frame: bounded, no control characters.

/// The most bytes of a reason that we send to a peer or take over from one.
///
/// A close frame must fit one packet beside its header (an Initial packet has 1,200 bytes and may
/// carry the close of two packet spaces); what is longer is cut, which the text then says.
pub const MAX_REASON_BYTES: usize = 512;

/// The most bytes of one name (a common name, an ALPN, an alternative name) within a text.
const MAX_NAME_BYTES: usize = 80;

/// The most names that one text lists.
const MAX_NAMES: usize = 8;

/// Bounds a whole reason to [`MAX_REASON_BYTES`], and says so if something was cut.
pub(super) fn reason(text: &str) -> String {
    let text = printable(text);
    if text.len() <= MAX_REASON_BYTES {
        return text;
    }
    let note = format!("… (cut at {MAX_REASON_BYTES} bytes)");
    let mut out = prefix(&text, MAX_REASON_BYTES - note.len()).to_owned();
    out.push_str(&note);
    out
}

/// One name, bounded.
pub(super) fn name(text: &str) -> String {
    let text = printable(text);
    if text.len() <= MAX_NAME_BYTES {
        return text;
    }
    format!("{}…", prefix(&text, MAX_NAME_BYTES - '…'.len_utf8()))
}

/// Some names, bounded in number and each in length.
pub(super) fn names(names: impl Iterator<Item = String>, separator: &str) -> String {
    let mut listed = Vec::new();
    let mut more = 0usize;
    for text in names {
        if listed.len() < MAX_NAMES {
            listed.push(name(&text));
        } else {
            more += 1;
        }
    }
    let mut out = listed.join(separator);
    if more > 0 {
        out.push_str(&format!("{separator}and {more} more"));
    }
    out
}

/// Protocol names: `[a, b]`. They are bytes; what is not ASCII is escaped.
pub(super) fn protocols(alpns: &[Vec<u8>]) -> String {
    let texts = alpns.iter().map(|alpn| alpn.escape_ascii().to_string());
    format!("[{}]", names(texts, ", "))
}

/// Control characters, and those that reorder the text around them, become U+FFFD: a certificate
/// or a peer must not be able to write into a terminal or forge a line of a log.
pub(super) fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

fn prefix(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters_and_says_so() {
        let cut = reason(&"ä".repeat(1000));
        assert!(cut.len() <= MAX_REASON_BYTES);
        assert!(cut.ends_with("… (cut at 512 bytes)"));
        assert_eq!(reason("short"), "short");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\x1b[31m\nb\u{202e}c"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn long_lists_are_counted() {
        let many = (0..12).map(|n| format!("n{n}"));
        assert_eq!(names(many, ","), "n0,n1,n2,n3,n4,n5,n6,n7,and 4 more");
        assert_eq!(name(&"x".repeat(200)).len(), MAX_NAME_BYTES);
        assert_eq!(protocols(&[b"h3".to_vec(), vec![0xfa]]), "[h3, \\xfa]");
    }
}
