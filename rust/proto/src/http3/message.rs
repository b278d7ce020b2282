//! Messages that we send, from what their owner says to the bytes of a HEADERS frame. Nothing that a
//! peer would have to call malformed gets out (RFC 9114, section 4.1.2).

use bytes::Bytes;

use super::code::Misuse;
use super::fields::OVERHEAD;
use super::frame::{self, ROOM, kind};
use super::qpack::{self, Found};
use super::syntax;

/// Content up to this size is copied behind its header: one buffer costs less than two.
const SMALL: usize = 1024;

/// What comes after a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the message is complete.
    None,
    /// Content or trailers, or at least an end, to be given later.
    Follows,
    /// All of the content; the message is complete.
    Whole(Bytes),
}

impl Content {
    /// How long it is, if that is known.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Follows => None,
            Self::Whole(bytes) => Some(bytes.len() as u64),
        }
    }
}

/// A field section that is being written.
pub(super) struct Section {
    out: Vec<u8>,
    size: usize,
    /// `content-length` must not be said here, so it is left out (RFC 9110, section 8.6).
    pub(super) is_without_length: bool,
    pub(super) content_length: Option<u64>,
}

impl Section {
    pub(super) fn new() -> Self {
        // The head of an ordinary response, coded.
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&[0; ROOM]);
        out.extend_from_slice(&qpack::PREFIX);
        Self { out, size: 0, is_without_length: false, content_length: None }
    }

    pub(super) fn status(&mut self, status: u16) {
        self.size += OVERHEAD + b":status".len() + 3;
        qpack::status(status, &mut self.out);
    }

    /// Appends what was validated before.
    pub(super) fn valid(&mut self, name: &[u8], value: &[u8]) {
        self.size += OVERHEAD + name.len() + value.len();
        qpack::field(name, value, &mut self.out);
    }

    /// Appends fields: names in lower case (section 4.2), values without white space around them,
    /// those of a connection left out.
    pub(super) fn fields<N, V>(
        &mut self,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse>
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        for (name, value) in fields {
            self.field(name.as_ref(), value.as_ref())?;
        }
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Misuse> {
        let value = syntax::trim(value);
        let found = qpack::find(name, value);
        match found {
            // What the table has is valid, control data aside.
            Some(Found::Field(_)) => {}
            _ if !syntax::is_value(value) => {
                return Err(Misuse::Malformed(
                    "a field value with a character that it cannot have",
                ));
            }
            Some(Found::Name(_)) => {}
            None if syntax::is_name(name) => {
                if syntax::is_of_connection(name) {
                    return Ok(());
                }
            }
            None => {
                let lower = name.to_ascii_lowercase();
                if !syntax::is_name(&lower) {
                    return Err(Misuse::Malformed(
                        "a field name with a character that it cannot have",
                    ));
                }
                return self.field(&lower, value);
            }
        }
        match name {
            [b':', ..] => return Err(Misuse::Malformed("a pseudo-header field among fields")),
            b"content-length" => {
                if self.is_without_length {
                    return Ok(());
                }
                let length = syntax::content_length(value)
                    .ok_or(Misuse::Malformed("a content-length that is no number"))?;
                match self.content_length.replace(length) {
                    None => {}
                    // Once is enough, and twice malformed.
                    Some(other) if other == length => return Ok(()),
                    Some(_) => return Err(Misuse::ContentLength),
                }
            }
            _ => {}
        }
        self.size += OVERHEAD + name.len() + value.len();
        qpack::found_field(found, name, value, &mut self.out);
        Ok(())
    }

    /// The frames: HEADERS, and with it a DATA frame of `content`, or the beginning of one and then
    /// its payload.
    pub(super) fn seal(
        self,
        limit: Option<u64>,
        content: Option<Bytes>,
    ) -> Result<(Bytes, Option<Bytes>), Misuse> {
        let size = self.size as u64;
        let over = |limit| Misuse::TooLarge { size, limit };
        if let Some(limit) = limit.filter(|limit| size > *limit) {
            return Err(over(limit));
        }
        let mut rest = None;
        let sealed = frame::seal(self.out, |out| {
            if let Some(content) = content {
                rest = begin_data(content, out);
            }
        });
        Ok((sealed.ok_or_else(|| over(u64::from(u32::MAX)))?, rest))
    }
}

/// Appends a DATA frame: all of it if it is small, else its header, and gives back the payload.
pub(super) fn begin_data(content: Bytes, out: &mut Vec<u8>) -> Option<Bytes> {
    frame::header(kind::DATA, content.len() as u64, out);
    if content.len() > SMALL {
        return Some(content);
    }
    out.extend_from_slice(&content);
    None
}
