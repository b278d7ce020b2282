//! The extension `.x1`: what two ends of this project say beyond the protocol of the Rust crates.
//!
//! It is only spoken on a lane where both ends said so. The caller appends the build identifier
//! `x1` to the version that it asks for; a server that knows it answers with its own version and
//! `x1-on`. A peer that knows nothing of it ignores build identifiers (Semantic Versioning 2.0.0,
//! section 10), and one that echoes the caller's string echoes `x1`, which is no yes.
//!
//! | frame | payload | meaning |
//! |---|---|---|
//! | [`TMETA`] | `time left u64 in microseconds`, metadata | of the request that follows under the same tag |
//! | [`RMETA`] | metadata | of the answer that follows under the same tag |
//! | [`TITEM`] | a value | an item of the stream that the request under the same tag carries |
//! | [`TEND`] | nothing | that stream's end |
//! | [`CREDIT`] | `u32` bytes | so much more may be sent of the stream under the same tag |
//! | [`GOAWAY`] | nothing | the called end begins no further request (tag 65535) and has answered all that it has begun (again), or has not begun this one (its tag) |
//! | [`LOSSY`] | `sequence u32`, a value | an item of a lossy subscription, on the lane or as a datagram |
//! | [`TIME`] | `u64` in microseconds | the time that every request on the lane has that does not say |
//! | [`LABEL`] | `u64` | what the lane is called in datagrams (tag 65535), over WebTransport |
//!
//! Metadata is `u16` count, then for each entry a string key (`u16` length) and a bytes value
//! (`u32` length). `Tcancel` is understood for every method on such a lane.

use crate::frame::{self, FrameError};
use crate::limits::FRAME_HEADER;
use crate::version::Version;

/// What the caller appends to its version.
pub const OFFER: &str = "x1";
/// What the called end appends to its own.
pub const ACCEPT: &str = "x1-on";

/// Time left and metadata of the request that follows.
pub const TMETA: u8 = 11;
/// Metadata of the answer that follows.
pub const RMETA: u8 = 12;
/// An item of a stream from the caller.
pub const TITEM: u8 = 13;
/// The end of a stream from the caller.
pub const TEND: u8 = 14;
/// More may be sent of a stream.
pub const CREDIT: u8 = 15;
/// No further request is begun.
pub const GOAWAY: u8 = 16;
/// The time that requests have that do not say.
pub const TIME: u8 = 17;

/// An item of a lossy subscription, numbered.
pub const LOSSY: u8 = 18;

/// What the lane is called in datagrams where no end knows the numbers of streams, as in a browser:
/// its lowest bit says who opened it, 0 the client and 1 the server.
pub const LABEL: u8 = 19;

/// Whether the item numbered `next` is later than that numbered `last`. Numbers go round, so an item
/// that is half of them ahead counts as one of before.
pub fn is_later(next: u32, last: u32) -> bool {
    let ahead = next.wrapping_sub(last);
    ahead != 0 && ahead < 1 << 31
}

/// Reads the payload of [`LOSSY`]: the number, and the value's bytes.
///
/// # Errors
/// It is too short.
pub fn decode_lossy(payload: &[u8]) -> Result<(u32, &[u8]), ExtError> {
    let (number, value) = payload
        .split_first_chunk::<4>()
        .ok_or(ExtError::Payload("an item of a lossy subscription ends too early"))?;
    Ok((u32::from_le_bytes(*number), value))
}

/// Bytes of a stream (frames, headers included) that may be sent before any are granted.
pub const INITIAL_WINDOW: u32 = 64 << 10;

/// No limit of time.
pub const FOREVER: u64 = u64::MAX;

/// The longest key of metadata, in bytes.
pub const MAX_KEY: usize = 255;

/// Entries of metadata over which it is refused: each costs more than its bytes.
pub const MAX_ENTRIES: usize = 128;

/// Whether a version carries `mark` as its last build identifier.
pub fn is_marked(version: &Version, mark: &str) -> bool {
    version.build.rsplit('.').next() == Some(mark)
}

/// The same version with `mark` as its last build identifier.
#[must_use]
pub fn marked(version: &Version, mark: &str) -> Version {
    let build = match version.build.as_str() {
        "" => mark.to_owned(),
        build => format!("{build}.{mark}"),
    };
    Version { build, ..version.clone() }
}

/// Why bytes are no frame of the extension, or metadata cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtError {
    /// The payload is not what its type says.
    #[error("{0}")]
    Payload(&'static str),
    /// There is more metadata than is taken. The peer could not know how much that is: the call
    /// that it belongs to fails, and nothing else does.
    #[error("metadata of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size on the wire.
        size: usize,
        /// What is taken.
        limit: usize,
    },
    /// There are more entries than are taken.
    #[error("metadata of {0} entries is over the limit of {MAX_ENTRIES}")]
    TooMany(usize),
    /// A key that cannot be one.
    #[error("a metadata key has 1 to {MAX_KEY} bytes")]
    Key,
    /// A key that came twice.
    #[error("the metadata key {0:?} comes twice")]
    Twice(String),
}

/// Metadata: keys with values, in the order in which they were given. A key comes once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(pub Vec<(String, Vec<u8>)>);

impl Metadata {
    /// Bytes on the wire.
    pub fn size(&self) -> usize {
        2 + self.0.iter().map(|(key, value)| 2 + key.len() + 4 + value.len()).sum::<usize>()
    }

    /// Checks that it can be sent to a peer that takes `limit` bytes.
    ///
    /// # Errors
    /// It is too large, or a key cannot be one.
    pub fn check(&self, limit: usize) -> Result<(), ExtError> {
        let size = self.size();
        if size > limit {
            return Err(ExtError::TooLarge { size, limit });
        }
        if self.0.len() > MAX_ENTRIES {
            return Err(ExtError::TooMany(self.0.len()));
        }
        for (index, (key, _)) in self.0.iter().enumerate() {
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(ExtError::Key);
            }
            if self.0[..index].iter().any(|(other, _)| other == key) {
                return Err(ExtError::Twice(key.clone()));
            }
        }
        Ok(())
    }

    /// Appends the bytes of metadata that was checked.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // At most MAX_ENTRIES of them, keys of at most MAX_KEY, values below any limit: `check`.
        out.extend_from_slice(&(self.0.len() as u16).to_le_bytes());
        for (key, value) in &self.0 {
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }

    /// Reads metadata that fills `payload`.
    ///
    /// # Errors
    /// It is malformed, or over `limit` bytes.
    pub fn decode(payload: &[u8], limit: usize) -> Result<Self, ExtError> {
        const SHORT: ExtError = ExtError::Payload("the metadata ends too early");
        if payload.len() > limit {
            return Err(ExtError::TooLarge { size: payload.len(), limit });
        }
        let (count, mut rest) = payload.split_first_chunk::<2>().ok_or(SHORT)?;
        let count = usize::from(u16::from_le_bytes(*count));
        if count > MAX_ENTRIES {
            return Err(ExtError::TooMany(count));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
            let length = usize::from(u16::from_le_bytes(*length));
            let (key, after) = after.split_at_checked(length).ok_or(SHORT)?;
            let (length, after) = after.split_first_chunk::<4>().ok_or(SHORT)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (value, after) = after.split_at_checked(length).ok_or(SHORT)?;
            rest = after;
            let key = std::str::from_utf8(key)
                .map_err(|_| ExtError::Payload("a metadata key is not UTF-8"))?;
            entries.push((key.to_owned(), value.to_vec()));
        }
        if !rest.is_empty() {
            return Err(ExtError::Payload("bytes after the metadata"));
        }
        let metadata = Self(entries);
        metadata.check(limit)?;
        Ok(metadata)
    }
}

/// What goes before a request: how much time it has left, in microseconds, and metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Microseconds until its caller gives up, or [`FOREVER`].
    pub time_left: u64,
    /// What else the caller says.
    pub metadata: Metadata,
}

impl Head {
    /// Reads the payload of [`TMETA`].
    ///
    /// # Errors
    /// It is malformed, or its metadata is over `limit` bytes.
    pub fn decode(payload: &[u8], limit: usize) -> Result<Self, ExtError> {
        let (time, rest) = payload
            .split_first_chunk::<8>()
            .ok_or(ExtError::Payload("the time of a request ends too early"))?;
        let time_left = u64::from_le_bytes(*time);
        Ok(Self { time_left, metadata: Metadata::decode(rest, limit)? })
    }
}

/// The size of a whole [`TMETA`] frame.
pub fn head_size(metadata: &Metadata) -> usize {
    FRAME_HEADER + size_of::<u64>() + metadata.size()
}

/// Checks that a [`TMETA`] frame is within what was agreed with the peer.
///
/// # Errors
/// It is larger.
pub fn check_head(metadata: &Metadata, limit: u32) -> Result<(), FrameError> {
    let size = head_size(metadata);
    match u32::try_from(size) {
        Ok(fits) if fits <= limit => Ok(()),
        _ => Err(FrameError::TooLarge { size: size as u64, limit }),
    }
}

/// Appends a whole [`TMETA`] frame; the metadata was checked.
pub fn head(tag: u16, time_left: u64, metadata: &Metadata, out: &mut Vec<u8>) {
    whole(TMETA, tag, out, |out| {
        out.extend_from_slice(&time_left.to_le_bytes());
        metadata.encode(out);
    });
}

/// Appends a whole [`RMETA`] frame; the metadata was checked.
pub fn reply_head(tag: u16, metadata: &Metadata, out: &mut Vec<u8>) {
    whole(RMETA, tag, out, |out| metadata.encode(out));
}

/// Appends a whole [`CREDIT`] frame.
pub fn credit(tag: u16, bytes: u32, out: &mut Vec<u8>) {
    whole(CREDIT, tag, out, |out| out.extend_from_slice(&bytes.to_le_bytes()));
}

/// Appends a whole [`TIME`] frame.
pub fn time(microseconds: u64, out: &mut Vec<u8>) {
    whole(TIME, crate::limits::NO_TAG, out, |out| {
        out.extend_from_slice(&microseconds.to_le_bytes());
    });
}

/// Appends a [`LABEL`] frame.
pub fn label(label: u64, out: &mut Vec<u8>) {
    whole(LABEL, crate::limits::NO_TAG, out, |out| {
        out.extend_from_slice(&label.to_le_bytes());
    });
}

/// Appends a whole frame without a payload.
pub fn empty(kind: u8, tag: u16, out: &mut Vec<u8>) {
    whole(kind, tag, out, |_| {});
}

/// Appends a whole frame whose size is known to be small, or was checked.
pub(crate) fn whole(kind: u8, tag: u16, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = frame::begin(out, kind, tag);
    payload(out);
    let _ = frame::finish(out, start, u32::MAX);
}

/// Reads the payload of [`CREDIT`].
///
/// # Errors
/// It is not four bytes.
pub fn decode_credit(payload: &[u8]) -> Result<u32, ExtError> {
    let bytes = payload.try_into().map_err(|_| ExtError::Payload("a credit is four bytes"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// Reads the payload of [`TIME`].
///
/// # Errors
/// It is not eight bytes.
pub fn decode_time(payload: &[u8]) -> Result<u64, ExtError> {
    let bytes = payload.try_into().map_err(|_| ExtError::Payload("a time is eight bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads the payload of [`LABEL`].
///
/// # Errors
/// It is not eight bytes.
pub fn decode_label(payload: &[u8]) -> Result<u64, ExtError> {
    let bytes = payload.try_into().map_err(|_| ExtError::Payload("a label is eight bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::frames;

    fn metadata() -> Metadata {
        Metadata(vec![("traceparent".into(), b"00-ab".to_vec()), ("x".into(), vec![0, 255])])
    }

    #[test]
    fn a_head_reads_back_as_written_and_no_cut_of_it_does() {
        let mut out = Vec::new();
        head(7, 1_000, &metadata(), &mut out);
        let frame = frames(&out).next().unwrap();
        assert_eq!((frame.kind, frame.tag), (TMETA, 7));
        let read = Head::decode(frame.payload, 1024).unwrap();
        assert_eq!(read, Head { time_left: 1_000, metadata: metadata() });
        for end in 0..frame.payload.len() {
            assert!(Head::decode(&frame.payload[..end], 1024).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn metadata_is_bounded() {
        let size = metadata().size();
        assert_eq!(metadata().check(size), Ok(()));
        assert_eq!(metadata().check(size - 1), Err(ExtError::TooLarge { size, limit: size - 1 }));
        let mut out = Vec::new();
        metadata().encode(&mut out);
        assert_eq!(out.len(), size);
        assert!(Metadata::decode(&out, size - 1).is_err());
        let many = Metadata((0..129).map(|n| (n.to_string(), Vec::new())).collect());
        assert_eq!(many.check(1 << 20), Err(ExtError::TooMany(129)));
        // A count alone must not make room for so many.
        assert_eq!(Metadata::decode(&[255, 255], 1 << 20), Err(ExtError::TooMany(65535)));
    }

    #[test]
    fn a_head_is_a_frame_that_was_agreed_on() {
        let mut out = Vec::new();
        head(7, 1_000, &metadata(), &mut out);
        let size = head_size(&metadata());
        assert_eq!(size, out.len());
        let limit = u32::try_from(size).unwrap();
        assert_eq!(check_head(&metadata(), limit), Ok(()));
        let over = FrameError::TooLarge { size: size as u64, limit: limit - 1 };
        assert_eq!(check_head(&metadata(), limit - 1), Err(over));
    }

    #[test]
    fn a_key_comes_once_and_is_not_empty() {
        let twice = Metadata(vec![("a".into(), vec![]), ("a".into(), vec![])]);
        assert_eq!(twice.check(100), Err(ExtError::Twice("a".into())));
        assert_eq!(Metadata(vec![(String::new(), vec![])]).check(100), Err(ExtError::Key));
    }

    #[test]
    fn numbers_of_items_go_round() {
        assert!(is_later(1, 0) && is_later(0, u32::MAX) && is_later(5, u32::MAX - 5));
        assert!(!is_later(0, 0) && !is_later(0, 1) && !is_later(u32::MAX, 0));
    }

    #[test]
    fn an_echo_of_the_offer_is_no_yes() {
        let ours = Version::parse("rs.jetstream.proto/echo/1.0.0+0a1b").unwrap();
        let offered = marked(&ours, OFFER);
        assert_eq!(offered.to_string(), "rs.jetstream.proto/echo/1.0.0+0a1b.x1");
        assert!(is_marked(&offered, OFFER) && !is_marked(&offered, ACCEPT));
        let accepted = marked(&ours, ACCEPT);
        assert!(is_marked(&accepted, ACCEPT) && !is_marked(&accepted, OFFER));
        let bare = marked(&Version::parse("rs.jetstream.proto/echo/1.0.0").unwrap(), OFFER);
        assert_eq!(bare.to_string(), "rs.jetstream.proto/echo/1.0.0+x1");
        assert_eq!(Version::parse(&bare.to_string()).unwrap(), bare);
    }
}
