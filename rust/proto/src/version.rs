//! Which service a lane speaks, and whether two ends may talk: `Tversion` and `Rversion`.
//!
//! A version string is `rs.jetstream.proto/<name>/<major.minor.patch>+<build>`. The build part
//! never decides (Semantic Versioning 2.0.0, section 10).

use std::fmt;

use crate::frame;
use crate::limits::{MAX_VERSION_STRING, NO_TAG};

/// How every version string begins.
pub const PREFIX: &str = "rs.jetstream.proto/";

/// The answer that refuses a version.
pub const UNKNOWN: &str = "unknown";

/// A service's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// The service's name, lower case.
    pub name: String,
    /// Major, minor, patch.
    pub number: (u64, u64, u64),
    /// Pre-release identifiers, without the hyphen; empty if none.
    pub pre: String,
    /// Build metadata, without the plus sign; empty if none. The Rust crates put a digest here.
    pub build: String,
}

/// Why a string is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// It is not of the form of this protocol (9P's own strings among them).
    #[error("{0:?} is not of the form {PREFIX}<name>/<major.minor.patch>+<digest>")]
    Form(String),
    /// It is longer than any version has reason to be.
    #[error("a version string of {0} bytes is over the limit of {MAX_VERSION_STRING}")]
    TooLong(usize),
    /// The frame's payload is not a size and a string.
    #[error("the payload is not `msize u32, version string`: {0}")]
    Payload(&'static str),
}

impl Version {
    /// Reads a version string.
    ///
    /// # Errors
    /// It is too long, or of another form.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_VERSION_STRING {
            return Err(VersionError::TooLong(text.len()));
        }
        let form = || VersionError::Form(text.to_owned());
        let (name, version) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).ok_or_else(form)?;
        if name.is_empty() || version.contains('/') {
            return Err(form());
        }
        let (rest, build) = version.split_once('+').unwrap_or((version, ""));
        let (numbers, pre) = rest.split_once('-').unwrap_or((rest, ""));
        let mut parts = numbers.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => Ok(Self {
                name: name.to_owned(),
                number: (major, minor, patch),
                pre: pre.to_owned(),
                build: build.to_owned(),
            }),
            _ => Err(form()),
        }
    }

    /// Whether a server of this version can serve a client of version `client`: the same name, the
    /// same major, and a (minor, patch) that is not older.
    pub fn serves(&self, client: &Self) -> bool {
        self.name == client.name
            && self.number.0 == client.number.0
            && (self.number.1, self.number.2) >= (client.number.1, client.number.2)
    }
}

/// A number as Semantic Versioning writes it: digits only, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (plain && (text.len() == 1 || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        write!(f, "{PREFIX}{}/{major}.{minor}.{patch}", self.name)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

/// What `Tversion` and `Rversion` carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The largest frame that the sender receives, header included.
    pub msize: u32,
    /// The version string, or [`UNKNOWN`].
    pub version: String,
}

impl Offer {
    /// Reads the payload of a version frame.
    ///
    /// # Errors
    /// It is too short or too long, or the string is not UTF-8 or over its limit.
    pub fn decode(payload: &[u8]) -> Result<Self, VersionError> {
        let short = VersionError::Payload("too short");
        let (msize, rest) = payload.split_first_chunk::<4>().ok_or(short.clone())?;
        let (length, text) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
        let length = usize::from(u16::from_le_bytes(*length));
        if length > MAX_VERSION_STRING {
            return Err(VersionError::TooLong(length));
        }
        if text.len() != length {
            return Err(if text.len() < length {
                short
            } else {
                VersionError::Payload("bytes after the end")
            });
        }
        let version =
            std::str::from_utf8(text).map_err(|_| VersionError::Payload("not UTF-8"))?.to_owned();
        Ok(Self { msize: u32::from_le_bytes(*msize), version })
    }

    /// Appends a whole version frame of type `kind` to `out`.
    pub fn encode(&self, kind: u8, tag: u16, out: &mut Vec<u8>) {
        let text = &self.version.as_bytes()[..self.version.len().min(MAX_VERSION_STRING)];
        let start = frame::begin(out, kind, tag);
        out.extend_from_slice(&self.msize.to_le_bytes());
        // The length fits: it was cut to MAX_VERSION_STRING just above.
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text);
        // Far below any limit that can be agreed, see MIN_MSIZE.
        let _ = frame::finish(out, start, u32::MAX);
    }
}

/// The caller's first frame.
pub fn offer(version: &Version, msize: u32, out: &mut Vec<u8>) {
    Offer { msize, version: version.to_string() }.encode(frame::kind::TVERSION, NO_TAG, out);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rust_crate() {
        let version = Version::parse("rs.jetstream.proto/vectors/0.1.0+deadbeef").unwrap();
        let mut out = Vec::new();
        offer(&version, u32::MAX, &mut out);
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "3600000064ffffffffffff290072732e6a657473747265616d2e70726f746f2f766563746f72732f302e\
             312e302b6465616462656566"
        );
        let payload = &out[7..];
        assert_eq!(Offer::decode(payload).unwrap().version, version.to_string());
    }

    #[test]
    fn versions_read_back_as_written() {
        for text in [
            "rs.jetstream.proto/echo/1.2.3",
            "rs.jetstream.proto/echo/15.0.0+bfd7d20e",
            "rs.jetstream.proto/echo/1.0.0-rc.1+x",
        ] {
            assert_eq!(Version::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "9P2000.L",
            "rs.jetstream.proto/",
            "rs.jetstream.proto/echo",
            "rs.jetstream.proto//1.0.0",
            "rs.jetstream.proto/echo/1.0",
            "rs.jetstream.proto/echo/1.0.0.0",
            "rs.jetstream.proto/echo/01.0.0",
            "rs.jetstream.proto/echo/1.0.x",
            "rs.jetstream.proto/echo/1.0.+1",
            "rs.jetstream.proto/a/b/1.0.0",
            "rs.jetstream.proto/echo/99999999999999999999.0.0",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert_eq!(Version::parse(&"x".repeat(2000)), Err(VersionError::TooLong(2000)));
    }

    #[test]
    fn only_an_equal_or_newer_server_of_the_same_major_serves() {
        let version = |number| Version {
            name: "echo".into(),
            number,
            pre: String::new(),
            build: String::new(),
        };
        let server = version((2, 3, 4));
        for (client, served) in [
            ((2, 3, 4), true),
            ((2, 3, 3), true),
            ((2, 2, 9), true),
            ((2, 3, 5), false),
            ((2, 4, 0), false),
            ((1, 0, 0), false),
            ((3, 0, 0), false),
        ] {
            assert_eq!(server.serves(&version(client)), served, "{client:?}");
        }
        let other = Version { name: "other".into(), ..version((2, 3, 4)) };
        assert!(!server.serves(&other));
        let build = Version { build: "ffff".into(), ..version((2, 3, 4)) };
        assert!(server.serves(&build), "the build part never decides");
    }

    #[test]
    fn a_malformed_offer_is_refused() {
        for payload in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\x05\0abc"] {
            assert_eq!(Offer::decode(payload), Err(VersionError::Payload("too short")));
        }
        assert_eq!(
            Offer::decode(b"\0\0\0\0\x01\0ab"),
            Err(VersionError::Payload("bytes after the end"))
        );
        assert_eq!(Offer::decode(b"\0\0\0\0\x01\0\xff"), Err(VersionError::Payload("not UTF-8")));
        assert!(matches!(Offer::decode(b"\0\0\0\0\xff\xff"), Err(VersionError::TooLong(65535))));
    }
}
