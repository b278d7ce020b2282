//! Who takes the plain bytes of a wire: a lane of frames, or HTTP.

use std::sync::Arc;

use jetstream_proto::frame::{FrameError, Splitter};

use crate::event::LaneEnd;
use crate::http::{Http, HttpLimits};

/// What is spoken on the connections of a listening socket.
#[derive(Debug, Clone, Default)]
pub struct Speaks {
    /// Lanes of frames.
    pub lanes: bool,
    /// HTTP, within these limits.
    pub http: Option<Arc<HttpLimits>>,
    /// HTTP/2 with clients that begin with it where TLS names nothing (RFC 9113, section 3.3).
    pub http2: bool,
}

impl Speaks {
    /// Lanes, and nothing else.
    pub fn lanes() -> Self {
        Self { lanes: true, http: None, http2: false }
    }
}

#[derive(Debug)]
pub(super) enum Taker {
    /// Not known yet: what has come meanwhile.
    Undecided(Vec<u8>),
    Lane(Splitter),
    Http(Box<Http>),
}

/// What the first bytes of a connection are.
pub(super) enum First {
    Unknown,
    Frame,
    Http,
}

impl Taker {
    pub(super) fn lane(limit: u32) -> Self {
        Self::Lane(Splitter::new(limit))
    }

    pub(super) fn push(&mut self, plain: &[u8]) -> Result<(), FrameError> {
        match self {
            Self::Undecided(waiting) => waiting.extend_from_slice(plain),
            Self::Lane(splitter) => return splitter.push(plain),
            Self::Http(http) => http.push(plain),
        }
        Ok(())
    }

    /// A frame begins with its size, least significant byte first, and none is as large as what four
    /// letters of a method mean.
    pub(super) fn first(&self) -> First {
        let Self::Undecided(waiting) = self else { return First::Unknown };
        match waiting.get(3) {
            None => First::Unknown,
            Some(0) => First::Frame,
            Some(_) => First::Http,
        }
    }

    /// Hands over to whoever takes what came and what comes.
    ///
    /// # Errors
    /// It is nothing for a lane.
    pub(super) fn become_other(&mut self, other: Self) -> Result<(), FrameError> {
        let before = std::mem::replace(self, other);
        match before {
            Self::Undecided(waiting) if !waiting.is_empty() => self.push(&waiting),
            _ => Ok(()),
        }
    }

    /// Whole frames, where it is a lane.
    pub(super) fn frames(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Lane(splitter) => splitter.take(),
            Self::Undecided(_) | Self::Http(_) => None,
        }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        if let Self::Lane(splitter) = self {
            splitter.set_limit(limit);
        }
    }

    /// How an orderly end is to be taken.
    pub(super) fn end(&self) -> LaneEnd {
        let unfinished = match self {
            Self::Lane(splitter) => splitter.unfinished(),
            Self::Undecided(waiting) => waiting.len(),
            Self::Http(_) => 0,
        };
        match unfinished {
            0 => LaneEnd::Finished,
            bytes => LaneEnd::Truncated { bytes },
        }
    }

    pub(super) fn http(&self) -> Option<&Http> {
        match self {
            Self::Http(http) => Some(http),
            Self::Undecided(_) | Self::Lane(_) => None,
        }
    }

    pub(super) fn http_mut(&mut self) -> Option<&mut Http> {
        match self {
            Self::Http(http) => Some(http),
            Self::Undecided(_) | Self::Lane(_) => None,
        }
    }
}
