//! What one end is and takes, the same for all its connections.

use super::limits::Limits;
use super::settings::Settings;

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers requests.
    Server,
    /// Makes them.
    Client,
}

/// What the connections of one end have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What is announced: `max_field_section` is set from the limits; extended CONNECT and datagrams
    /// only work where they are announced; extensions put theirs into `others`.
    pub settings: Settings,
    /// How much is taken.
    pub limits: Limits,
    /// Types of unidirectional streams that the owner takes, each followed by one integer, as
    /// WebTransport's is by its session: they become [`Event::Foreign`](super::Event::Foreign). The
    /// peer is asked to stop those of other types.
    pub foreign_uni: Vec<u64>,
    /// The same for bidirectional streams: what they begin with instead of a frame type.
    pub foreign_bidi: Vec<u64>,
    /// Whether datagrams of requests that have not come yet are told as well: packets come in any
    /// order, and the owner keeps some. Else they are dropped.
    pub early_datagrams: bool,
}
