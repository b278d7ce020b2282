//! A field section (RFC 9114, section 4.2): names and values, in one buffer.

use std::borrow::Cow;
use std::fmt;

/// What each field costs beside its bytes, when the size of a section is counted (RFC 9114, section
/// 4.2.2).
pub const OVERHEAD: usize = 32;

/// Fields in the order in which they came: one buffer of names and values, and where each ends. No
/// field has an allocation of its own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    /// Where the name ends, and where the value does.
    ends: Vec<(u32, u32)>,
}

impl Fields {
    /// None, with room for `fields` of them of `bytes` bytes.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(fields) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of names and values, and [`OVERHEAD`] for each field.
    pub fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD * self.ends.len()
    }

    /// Appends a field, as it is.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.close(middle);
    }

    /// Where names and values are appended by [`close`](Self::close)'s caller.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended to the buffer is a field whose name ends at `middle`.
    pub(crate) fn close(&mut self, middle: usize) {
        // A section is bounded by `max_field_section`, a u32.
        self.ends.push((middle as u32, self.bytes.len() as u32));
    }

    /// The field at `index`.
    pub fn at(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let &(middle, end) = self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before)?.1,
            None => 0,
        };
        let name = self.bytes.get(start as usize..middle as usize)?;
        Some((name, self.bytes.get(middle as usize..end as usize)?))
    }

    /// All of them.
    pub fn iter(&self) -> Iter<'_> {
        self.from(0)
    }

    /// Those from `index` on.
    pub(crate) fn from(&self, index: usize) -> Iter<'_> {
        let start =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |e| e.1);
        Iter { bytes: &self.bytes, start, ends: self.ends.get(index..).unwrap_or_default().iter() }
    }

    /// The value of the first field of that name, which is in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The same fields with all cookies in one, where the first one was (RFC 9114, section 4.2.1):
    /// so they leave HTTP/3.
    pub(crate) fn join_cookies(&mut self) {
        let mut cookies =
            self.iter().filter(|(name, _)| *name == b"cookie").map(|(_, value)| value);
        let joined: Cow<'_, [u8]> = match (cookies.next(), cookies.next()) {
            (Some(first), Some(second)) => {
                let mut joined = first.to_vec();
                for next in std::iter::once(second).chain(cookies) {
                    joined.extend_from_slice(b"; ");
                    joined.extend_from_slice(next);
                }
                joined.into()
            }
            _ => return,
        };
        let mut fields = Self::with_capacity(self.len(), self.bytes.len());
        let mut written = false;
        for (name, value) in self.iter() {
            if name != b"cookie" {
                fields.push(name, value);
            } else if !std::mem::replace(&mut written, true) {
                fields.push(name, &joined);
            }
        }
        *self = fields;
    }
}

/// Iterates over the fields of a section.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    start: u32,
    ends: std::slice::Iter<'a, (u32, u32)>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let &(middle, end) = self.ends.next()?;
        let name = self.bytes.get(self.start as usize..middle as usize)?;
        let value = self.bytes.get(middle as usize..end as usize)?;
        self.start = end;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut all = Self::default();
        for (name, value) in fields {
            all.push(name.as_ref(), value.as_ref());
        }
        all
    }
}

/// Whether a value is a secret: it is marked so for whoever passes it on (RFC 9204, section 7.1.3),
/// and is not shown in logs.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"authorization" | b"proxy-authorization" | b"cookie" | b"set-cookie")
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self {
            let name = String::from_utf8_lossy(name);
            if is_secret(name.as_bytes()) {
                map.entry(&name, &format_args!("({} bytes)", value.len()));
            } else {
                map.entry(&name, &String::from_utf8_lossy(value));
            }
        }
        map.finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in() {
        let pairs: [(&[u8], &[u8]); 4] = [(b"a", b""), (b"bc", b"def"), (b"", b"x"), (b"a", b"2")];
        let fields: Fields = pairs.into_iter().collect();
        assert_eq!(fields.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(fields.from(2).collect::<Vec<_>>(), pairs[2..]);
        assert_eq!(fields.from(9).count(), 0);
        for (index, pair) in pairs.iter().enumerate() {
            assert_eq!(fields.at(index), Some(*pair));
        }
        assert_eq!(fields.at(4), None);
        assert_eq!(fields.get(b"a"), Some(&b""[..]));
        assert_eq!(fields.get(b"z"), None);
        assert_eq!((fields.len(), fields.iter().len(), fields.size()), (4, 4, 9 + 4 * 32));
    }

    #[test]
    fn cookies_are_joined_where_the_first_one_was() {
        // RFC 9114, section 4.2.1.
        let mut fields: Fields =
            [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]
                .into_iter()
                .collect();
        fields.join_cookies();
        let joined: Fields = [("cookie", "a=1; b=2; c=3"), ("x", "y")].into_iter().collect();
        assert_eq!(fields, joined);
        fields.join_cookies();
        assert_eq!(fields, joined, "one is left as it is");
    }

    #[test]
    fn secrets_are_not_shown() {
        let fields: Fields = [("cookie", "secret"), ("x", "shown")].into_iter().collect();
        let text = format!("{fields:?}");
        assert!(text.contains("shown") && text.contains("(6 bytes)") && !text.contains("secret"));
    }
}
