//! Which generation of the Rust crates a lane follows: how methods are numbered, and whether the
//! first frame agrees the version.
//!
//! The connection's protocol name (ALPN) tells. Crates 15.x connect under the whole version string
//! of the one service that the connection is for, so nothing is left to agree:
//!
//! | crates | protocol name | first method | `Tversion` |
//! |---|---|---|---|
//! | 16.x | `jetstream`, or none | 102 | the first frame on every lane |
//! | 15.2 | `rs.jetstream.proto/<name>/<version>+<digest>` | 102 | an ordinary call, or never |
//! | 15.1 | `rs.jetstream.proto/<name>/<version>-<digest>` | 101 | is unknown |

use crate::frame::kind::FIRST_METHOD;
use crate::version::{PREFIX, Version};

/// How a lane begins and how its methods are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Every lane begins with its version.
    V16,
    /// Calls start at once; a version is answered whenever it is asked for.
    V15_2,
    /// Calls start at once, numbered one lower; there is no version.
    V15_1,
}

/// The connection's protocol is the version string of another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherService;

impl Dialect {
    /// The dialect for a service of `version` on a connection of this protocol.
    ///
    /// # Errors
    /// The connection is for one service, and this is another one.
    pub fn under(protocol: Option<&[u8]>, version: &Version) -> Result<Self, OtherService> {
        let Some(protocol) = protocol.filter(|name| name.starts_with(PREFIX.as_bytes())) else {
            return Ok(Self::V16);
        };
        if protocol == version.to_string().as_bytes() {
            return Ok(Self::V15_2);
        }
        // Before 15.2 the digest stood where Semantic Versioning has the pre-release.
        let hyphened =
            Version { pre: version.build.clone(), build: String::new(), ..version.clone() };
        if protocol == hyphened.to_string().as_bytes() {
            return Ok(Self::V15_1);
        }
        Err(OtherService)
    }

    /// Whether a lane begins with `Tversion`, and calls wait for its answer.
    pub const fn negotiates(self) -> bool {
        matches!(self, Self::V16)
    }

    /// Whether `Tversion` is a call like any other.
    pub const fn version_is_a_call(self) -> bool {
        matches!(self, Self::V15_2)
    }

    const fn first(self) -> u8 {
        match self {
            Self::V16 | Self::V15_2 => FIRST_METHOD,
            Self::V15_1 => FIRST_METHOD - 1,
        }
    }

    /// The request type of the method at `index`.
    pub const fn request(self, index: u8) -> u8 {
        self.first() + 2 * index
    }

    /// The reply type of the method at `index`.
    pub const fn reply(self, index: u8) -> u8 {
        self.first() + 1 + 2 * index
    }

    /// The method that a request type asks for, if it is a request of a method at all.
    pub const fn method_of_request(self, kind: u8) -> Option<u8> {
        match kind.checked_sub(self.first()) {
            Some(offset) if offset % 2 == 0 => Some(offset / 2),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version::parse("rs.jetstream.proto/echo/15.2.0+0a1b2c3d").unwrap()
    }

    fn under(protocol: &str) -> Result<Dialect, OtherService> {
        Dialect::under(Some(protocol.as_bytes()), &version())
    }

    #[test]
    fn the_protocol_name_tells_the_dialect() {
        assert_eq!(Dialect::under(None, &version()), Ok(Dialect::V16));
        assert_eq!(under("jetstream"), Ok(Dialect::V16));
        assert_eq!(under("a-protocol/of-ones-own"), Ok(Dialect::V16));
        assert_eq!(under("rs.jetstream.proto/echo/15.2.0+0a1b2c3d"), Ok(Dialect::V15_2));
        assert_eq!(under("rs.jetstream.proto/echo/15.2.0-0a1b2c3d"), Ok(Dialect::V15_1));
    }

    #[test]
    fn a_version_string_of_something_else_is_no_dialect() {
        for other in [
            "rs.jetstream.proto/echo/15.2.0+00000000",
            "rs.jetstream.proto/echo/15.2.0-00000000",
            "rs.jetstream.proto/echo/15.2.1+0a1b2c3d",
            "rs.jetstream.proto/other/15.2.0+0a1b2c3d",
            "rs.jetstream.proto/echo/15.2.0",
            "rs.jetstream.proto/",
        ] {
            assert_eq!(under(other), Err(OtherService), "{other}");
        }
    }

    #[test]
    fn only_15_1_numbers_from_101() {
        for dialect in [Dialect::V16, Dialect::V15_2] {
            assert_eq!((dialect.request(0), dialect.reply(0)), (102, 103));
            assert_eq!((dialect.request(76), dialect.reply(76)), (254, 255));
            assert_eq!(dialect.method_of_request(102), Some(0));
            assert_eq!(dialect.method_of_request(254), Some(76));
            for no_request in [0, 5, 100, 101, 103, 255] {
                assert_eq!(dialect.method_of_request(no_request), None);
            }
        }
        let old = Dialect::V15_1;
        assert_eq!((old.request(0), old.reply(0)), (101, 102));
        assert_eq!((old.request(76), old.reply(76)), (253, 254));
        assert_eq!(old.method_of_request(101), Some(0));
        assert_eq!(old.method_of_request(103), Some(1));
        for no_request in [0, 5, 100, 102, 254] {
            assert_eq!(old.method_of_request(no_request), None);
        }
    }

    #[test]
    fn only_16_begins_with_the_version() {
        let of = |dialect: Dialect| (dialect.negotiates(), dialect.version_is_a_call());
        assert_eq!(of(Dialect::V16), (true, false));
        assert_eq!(of(Dialect::V15_2), (false, true));
        assert_eq!(of(Dialect::V15_1), (false, false));
    }
}
