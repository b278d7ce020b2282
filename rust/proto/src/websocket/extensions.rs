//! The value of `Sec-WebSocket-Extensions`: a list of extensions with parameters (RFC 6455, section
//! 9.1).

use std::borrow::Cow;

use super::handshake::HandshakeError;

/// Extensions that one request may list, and parameters of each: browsers list one with one.
const MAX_EXTENSIONS: usize = 32;
const MAX_PARAMETERS: usize = 16;

/// One extension of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub(super) name: &'a str,
    pub(super) parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// Reads the values of the header, one after another, as one list.
///
/// # Errors
/// A value is not of the header's form, or longer than anybody needs.
pub(super) fn parse<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Extension<'a>>, HandshakeError> {
    let mut found = Vec::new();
    for value in values {
        let mut scanner = Scanner { rest: value };
        loop {
            // Empty elements are allowed (RFC 9110, section 5.6.1).
            while scanner.takes(b',') {}
            if scanner.is_done() {
                break;
            }
            found.push(extension(&mut scanner).ok_or(HandshakeError::Extensions)?);
            if found.len() > MAX_EXTENSIONS || !(scanner.is_done() || scanner.takes(b',')) {
                return Err(HandshakeError::Extensions);
            }
        }
    }
    Ok(found)
}

fn extension<'a>(scanner: &mut Scanner<'a>) -> Option<Extension<'a>> {
    let name = scanner.token()?;
    let mut parameters = Vec::new();
    while scanner.takes(b';') {
        let name = scanner.token()?;
        let value = match scanner.takes(b'=') {
            true => Some(scanner.value()?),
            false => None,
        };
        if parameters.len() == MAX_PARAMETERS {
            return None;
        }
        parameters.push((name, value));
    }
    Some(Extension { name, parameters })
}

/// The tokens of a header's list, such as `Connection` and `Sec-WebSocket-Protocol` have.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = Option<&str>> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()).map(
        |item| {
            let mut scanner = Scanner { rest: item };
            scanner.token().filter(|_| scanner.is_done())
        },
    )
}

/// What is left of a header's value. White space goes with what is before or behind it.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn is_done(&mut self) -> bool {
        self.skip();
        self.rest.is_empty()
    }

    fn takes(&mut self, separator: u8) -> bool {
        self.skip();
        match self.rest.split_first() {
            Some((first, rest)) if *first == separator => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        self.skip();
        let end = self.rest.iter().position(|byte| !is_token(*byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() { None } else { std::str::from_utf8(token).ok() }
    }

    /// A token, or a quoted string in which there is one.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.takes(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            let byte = match first {
                b'"' if value.is_empty() => return None,
                b'"' => return Some(Cow::Owned(value)),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    *escaped
                }
                byte => *byte,
            };
            if !is_token(byte) {
                return None;
            }
            value.push(char::from(byte));
        }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Vec<(String, Vec<String>)>> {
        let written = |(name, value): &(&str, Option<Cow<'_, str>>)| match value {
            Some(value) => format!("{name}={value}"),
            None => (*name).to_owned(),
        };
        let found = parse([value.as_bytes()]).ok()?;
        let each =
            |it: &Extension<'_>| (it.name.into(), it.parameters.iter().map(written).collect());
        Some(found.iter().map(each).collect())
    }

    #[test]
    fn lists_are_read() {
        let one = |name: &str, parameters: &[&str]| {
            (name.to_owned(), parameters.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        for (value, expected) in [
            ("", vec![]),
            (" , ,", vec![]),
            ("foo", vec![one("foo", &[])]),
            ("foo,bar; baz=2", vec![one("foo", &[]), one("bar", &["baz=2"])]),
            ("foo; bar; baz", vec![one("foo", &["bar", "baz"])]),
            ("foo;bar=\"1\\0\" , ,x", vec![one("foo", &["bar=10"]), one("x", &[])]),
            ("\tfoo ;\ta = \"b\"\t", vec![one("foo", &["a=b"])]),
        ] {
            assert_eq!(read(value), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for value in [
            ";",
            "foo bar",
            "foo;",
            "foo; =1",
            "foo; a=",
            "foo; a=\"\"",
            "foo; a=\"1",
            "foo; a=\"1\\",
            "foo; a=\"1 2\"",
            "foo; a=\"1\"2",
            "foo; a=b=c",
            "f\u{f6}\u{f6}",
            "\"foo\"",
            "foo\0",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert!(read(&"foo,".repeat(MAX_EXTENSIONS)).is_some());
        assert!(read(&"foo,".repeat(MAX_EXTENSIONS + 1)).is_none());
        assert!(read(&("foo".to_owned() + &";a".repeat(MAX_PARAMETERS))).is_some());
        assert!(read(&("foo".to_owned() + &";a".repeat(MAX_PARAMETERS + 1))).is_none());
    }

    #[test]
    fn several_headers_are_one_list() {
        let found = parse([&b"a;b"[..], b"", b"c, d"]).unwrap();
        assert_eq!(found.iter().map(|it| it.name).collect::<Vec<_>>(), ["a", "c", "d"]);
    }
}
