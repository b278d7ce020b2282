//! Which bytes may be in names, values and control data (RFC 9110, section 5; RFC 3986), and which
//! fields HTTP/3 does not know (RFC 9114, section 4.2).

const TOKEN: u8 = 1;
const LOWER_TOKEN: u8 = 2;
const VALUE: u8 = 4;
const AUTHORITY: u8 = 8;
const PATH: u8 = 16;

/// What each byte may be part of.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        let alphanumeric = character.is_ascii_alphanumeric();
        // RFC 9110, section 5.6.2.
        if alphanumeric || within(character, b"!#$%&'*+-.^_`|~") {
            classes[byte] |= TOKEN;
            if !character.is_ascii_uppercase() {
                classes[byte] |= LOWER_TOKEN;
            }
        }
        // RFC 9110, section 5.5: field-vchar, and space and tab between them.
        if character >= 0x20 && character != 0x7f || character == b'\t' {
            classes[byte] |= VALUE;
        }
        // RFC 3986, section 3.2.2 and 3.2.3: a host, a colon, a port. No userinfo.
        if alphanumeric || within(character, b"-._~!$&'()*+,;=%:[]") {
            classes[byte] |= AUTHORITY;
        }
        // RFC 3986, sections 3.3 and 3.4, and what clients send unescaped beside it. Neither a
        // fragment nor a blank, which would end a request line of HTTP/1.1.
        if character > 0x20 && character < 0x7f && character != b'#' {
            classes[byte] |= PATH;
        }
        byte += 1;
    }
    classes
};

const fn within(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

#[inline]
fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|byte| CLASSES[usize::from(*byte)] & class != 0)
}

/// A field's name, in lower case.
#[inline]
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && all(name, LOWER_TOKEN)
}

/// A field's value, without white space around it: RFC 9114, section 10.3, asks for `field-content`.
#[inline]
pub(super) fn is_value(value: &[u8]) -> bool {
    all(value, VALUE) && trim(value).len() == value.len()
}

/// A value without the blanks around it (RFC 9110, section 5.6.3), and with any other character.
#[inline]
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A method (RFC 9110, section 9.1).
pub(super) fn is_token(method: &[u8]) -> bool {
    !method.is_empty() && all(method, TOKEN)
}

/// A scheme (RFC 3986, section 3.1).
pub(super) fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// A host and perhaps a port.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    all(authority, AUTHORITY)
}

/// A host and a port (RFC 9110, section 9.3.6).
pub(super) fn is_host_and_port(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|byte| *byte == b':');
    let Some((host, port)) = colon.and_then(|at| authority.split_at_checked(at)) else {
        return false;
    };
    let port = std::str::from_utf8(port.get(1..).unwrap_or_default()).unwrap_or_default();
    is_authority(authority)
        && !host.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

/// A path with perhaps a query. `*` is for OPTIONS alone (RFC 9110, section 9.3.7).
pub(super) fn is_path(path: &[u8], method: &[u8]) -> bool {
    match path {
        [b'/', ..] => all(path, PATH),
        b"*" => method == b"OPTIONS",
        _ => false,
    }
}

/// The value of `:protocol` (RFC 8441, section 4): an upgrade token, perhaps with a version.
pub(super) fn is_protocol(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |byte| *byte == b'/');
    parts.all(is_token)
}

/// The fields that HTTP/3 has no use for (RFC 9114, section 4.2; RFC 9110, section 7.6.1); `te` is
/// one, but for `trailers` in a request.
pub(super) fn is_of_connection(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// A number of bytes (RFC 9110, section 8.6).
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    // `parse` takes a sign, too.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_those_of_rfc_9110() {
        for byte in 0..=255_u8 {
            let name = byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_name(&[b'a', byte]), name, "{byte:#x}");
            let value = matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
            assert_eq!(is_value(&[b'a', byte, b'a']), value, "{byte:#x}");
        }
        assert!(!is_name(b"") && is_value(b""));
        for around in [&b" a"[..], b"a ", b"\ta", b"a\t", b" "] {
            assert!(!is_value(around));
        }
    }

    #[test]
    fn control_data_is_that_of_rfc_3986() {
        for good in ["a", "a.example:443", "[::1]:443", "127.0.0.1", "x%20y"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["u@h", "a/b", "a b", "a?b", "a#b", "a\\b", "\u{e9}"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        for good in ["a:1", "[::1]:65535", "h.example:0443"] {
            assert!(is_host_and_port(good.as_bytes()), "{good}");
        }
        for bad in ["a", "a:", ":1", "a:65536", "a:+1", "a:b", "u@a:1", "a:1 "] {
            assert!(!is_host_and_port(bad.as_bytes()), "{bad}");
        }
        for good in ["/", "/a?b=c&d", "/~a/%20", "/a|b\"{}"] {
            assert!(is_path(good.as_bytes(), b"GET"), "{good}");
        }
        for bad in ["", "a", "*", "/a b", "/a#b", "/\u{e9}", "/\0", "/\r\n", "http://a/"] {
            assert!(!is_path(bad.as_bytes(), b"GET"), "{bad}");
        }
        assert!(is_path(b"*", b"OPTIONS") && !is_path(b"", b"OPTIONS"));
        assert!(is_scheme(b"https") && is_scheme(b"coap+tcp"));
        assert!(!is_scheme(b"") && !is_scheme(b"1a") && !is_scheme(b"a:"));
        assert!(is_protocol(b"websocket") && is_protocol(b"a/1.1"));
        assert!(!is_protocol(b"") && !is_protocol(b"a/") && !is_protocol(b"a b"));
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"1, 1", b"1.0", b"0x1", b"18446744073709551616"]
        {
            assert_eq!(content_length(bad), None);
        }
    }
}
