//! Priorities of responses (RFC 9218): the `priority` field and PRIORITY_UPDATE's value.

use std::fmt;

use super::head::RequestHead;
use super::syntax;

/// How soon a response is wanted, and whether parts of it are of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priority {
    /// From 0, first, to 7, last (RFC 9218, section 4.1).
    pub urgency: u8,
    /// Whether parts of it are of use (section 4.2).
    pub incremental: bool,
}

/// What is meant where nothing is said.
const URGENCY: u8 = 3;

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: URGENCY, incremental: false }
    }
}

impl fmt::Display for Priority {
    /// The value of a `priority` field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u={}", self.urgency)?;
        if self.incremental { f.write_str(", i") } else { Ok(()) }
    }
}

impl Priority {
    /// What a request says of itself: its `priority` fields, which are one dictionary (RFC 8941,
    /// section 4.2).
    pub fn of(head: &RequestHead) -> Self {
        let mut values =
            head.fields().filter(|(name, _)| *name == b"priority").map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Self::default(),
            (Some(only), None) => Self::parse(only),
            (Some(first), Some(second)) => {
                let all: Vec<_> = [first, second].into_iter().chain(values).collect();
                Self::parse(&all.join(&b", "[..]))
            }
        }
    }

    /// Reads a field value. What is unknown, out of range or of another type is ignored (RFC 9218,
    /// section 4), and all of it if it is no dictionary (RFC 8941, section 4.2).
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self::default();
        match dictionary(value, &mut priority) {
            Some(()) => priority,
            None => Self::default(),
        }
    }
}

/// A dictionary of items (RFC 8941, section 3.2); an inner list is none that anybody sends here, and
/// makes it invalid. Of a key that comes twice the last counts.
fn dictionary(value: &[u8], priority: &mut Priority) -> Option<()> {
    let mut rest = Rest(syntax::trim(value));
    while !rest.0.is_empty() {
        let key = rest.key()?;
        let item = if rest.skip(b'=') { rest.item()? } else { Item::Boolean(true) };
        match (key, item) {
            (b"u", Item::Integer(urgency)) => {
                // Out of range is as if it were not there, and so is what was before it.
                priority.urgency = match u8::try_from(urgency) {
                    Ok(urgency @ 0..=7) => urgency,
                    _ => URGENCY,
                };
            }
            (b"u", _) => priority.urgency = URGENCY,
            (b"i", Item::Boolean(incremental)) => priority.incremental = incremental,
            (b"i", _) => priority.incremental = false,
            _ => {}
        }
        rest.parameters()?;
        rest.blanks();
        if rest.0.is_empty() {
            break;
        }
        if !rest.skip(b',') {
            return None;
        }
        rest.blanks();
        // A comma with nothing behind it.
        rest.0.first()?;
    }
    Some(())
}

enum Item {
    Integer(i64),
    Boolean(bool),
    Other,
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn blanks(&mut self) {
        self.run(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !belongs(*byte)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        let key = self.run(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        (first.is_ascii_lowercase() || first == b'*').then_some(key)
    }

    /// `;key` or `;key=item`, any number of them: none means anything here.
    fn parameters(&mut self) -> Option<()> {
        while self.skip(b';') {
            self.run(|byte| byte == b' ');
            self.key()?;
            if self.skip(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    /// A bare item (RFC 8941, section 3.3).
    fn item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => {
                let negative = self.skip(b'-');
                let digits = self.run(|byte| byte.is_ascii_digit());
                let decimal = self.skip(b'.');
                if decimal {
                    let fraction = self.run(|byte| byte.is_ascii_digit());
                    let fits =
                        (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
                    return fits.then_some(Item::Other);
                }
                if !(1..=15).contains(&digits.len()) {
                    return None;
                }
                let digit = |byte: &u8| i64::from(byte - b'0');
                let number = digits.iter().fold(0, |number, byte| number * 10 + digit(byte));
                Some(Item::Integer(if negative { -number } else { number }))
            }
            b'?' => {
                self.skip(b'?');
                match (self.skip(b'1'), self.skip(b'0')) {
                    (true, false) => Some(Item::Boolean(true)),
                    (false, true) => Some(Item::Boolean(false)),
                    _ => None,
                }
            }
            b'"' => self.string(),
            b':' => {
                self.skip(b':');
                self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.skip(b':').then_some(Item::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.run(|byte| syntax::is_token(&[byte]) || b":/".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Item> {
        self.skip(b'"');
        loop {
            self.run(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\');
            if self.skip(b'"') {
                return Some(Item::Other);
            }
            if !(self.skip(b'\\') && (self.skip(b'"') || self.skip(b'\\'))) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> (u8, bool) {
        let priority = Priority::parse(value.as_bytes());
        (priority.urgency, priority.incremental)
    }

    #[test]
    fn parameters_are_read() {
        for (value, expected) in [
            ("", (3, false)),
            ("u=0", (0, false)),
            ("u=5, i", (5, true)),
            ("i", (3, true)),
            ("i=?1 , \t u=7", (7, true)),
            ("u=1, i=?0", (1, false)),
            ("  u=2  ", (2, false)),
            // RFC 8941, section 3.2: the last of a key, and parameters of members.
            ("u=1, u=2", (2, false)),
            ("u=1;a;b=\"x\\\"y\";c=:YQ==:, i;q=0.5", (1, true)),
        ] {
            assert_eq!(parsed(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for (value, expected) in [
            // RFC 9218, section 4: unknown, out of range, of another type.
            ("x=1, u=4, *y=tok/en, z=\"s\"", (4, false)),
            ("u=8, i", (3, true)),
            ("u=-1, i", (3, true)),
            ("u=1.5, i", (3, true)),
            ("u=?1, i=1", (3, false)),
            ("u, i", (3, true)),
            // RFC 8941, section 4.2: no dictionary at all, so nothing of it counts.
            ("u=1,", (3, false)),
            ("u=1 i", (3, false)),
            ("u=1,,i", (3, false)),
            ("u=", (3, false)),
            ("u=1, U=2", (3, false)),
            ("u=1, i=?2", (3, false)),
            ("u=1, a=\"x", (3, false)),
            ("u=1, a=1234567890123456", (3, false)),
            ("u=1, a=(1 2)", (3, false)),
            ("u=1\0", (3, false)),
        ] {
            assert_eq!(parsed(value), expected, "{value}");
        }
    }
}
