//! Settings of all drafts in use: what we say, and what a peer's say of it (section 9.2).

use super::limits::Limits;
use crate::http3::{Code, ConnectionError, Settings};

/// SETTINGS_ENABLE_WEBTRANSPORT of drafts 02 to 06.
pub const ENABLE_DRAFT_02: u64 = 0x2b60_3742;
/// SETTINGS_WEBTRANSPORT_MAX_SESSIONS of drafts 07 to 12.
pub const MAX_SESSIONS_DRAFT_07: u64 = 0xc671_706a;
/// SETTINGS_WT_MAX_SESSIONS of drafts 13 and 14.
pub const MAX_SESSIONS_DRAFT_13: u64 = 0x14e9_cd29;
/// SETTINGS_WT_ENABLED since draft 15.
pub const ENABLED: u64 = 0x2c7c_f000;
/// SETTINGS_WT_INITIAL_MAX_DATA since draft 13.
pub const INITIAL_MAX_DATA: u64 = 0x2b61;
/// SETTINGS_WT_INITIAL_MAX_STREAMS_UNI.
pub const INITIAL_MAX_STREAMS_UNI: u64 = 0x2b64;
/// SETTINGS_WT_INITIAL_MAX_STREAMS_BIDI.
pub const INITIAL_MAX_STREAMS_BIDI: u64 = 0x2b65;

/// A limit that nobody reaches: the most streams there may be (section 5.6.2), and as many bytes.
const NEVER: u64 = 1 << 60;

/// Adds to `settings` what an end says that takes sessions, or makes them.
pub fn announce(limits: &Limits, settings: &mut Settings) {
    let sessions = u64::from(limits.max_sessions);
    settings.extended_connect = true;
    settings.datagrams = true;
    settings.others.extend([
        (ENABLE_DRAFT_02, 1),
        (MAX_SESSIONS_DRAFT_07, sessions),
        (MAX_SESSIONS_DRAFT_13, sessions),
        (ENABLED, 1),
        (INITIAL_MAX_DATA, NEVER),
        (INITIAL_MAX_STREAMS_UNI, NEVER),
        (INITIAL_MAX_STREAMS_BIDI, NEVER),
    ]);
}

/// What a peer's settings say of WebTransport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// It says that it speaks any draft of it.
    pub speaks: bool,
    /// It takes datagrams of requests, which every session needs.
    pub datagrams: bool,
    /// It speaks draft 15.
    pub is_current: bool,
    /// How many sessions it takes at once, where it says.
    pub max_sessions: Option<u64>,
    /// Bytes that we may send in each session, at first.
    pub max_data: u64,
    /// Unidirectional streams that we may open in each, at first.
    pub max_streams_uni: u64,
    /// The same for bidirectional ones.
    pub max_streams_bidi: u64,
}

impl Peer {
    /// Reads the settings of a peer.
    ///
    /// # Errors
    /// One has a value that it cannot have (section 3.1).
    pub fn of(settings: &Settings) -> Result<Self, ConnectionError> {
        let mut peer = Self { datagrams: settings.datagrams, ..Self::default() };
        for (id, value) in &settings.others {
            match *id {
                ENABLE_DRAFT_02 => peer.speaks |= *value == 1,
                MAX_SESSIONS_DRAFT_07 | MAX_SESSIONS_DRAFT_13 => {
                    peer.speaks |= *value > 0;
                    peer.max_sessions = peer.max_sessions.max(Some(*value));
                }
                ENABLED => match *value {
                    0 => {}
                    1 => (peer.speaks, peer.is_current) = (true, true),
                    _ => {
                        const WRONG: ConnectionError = ConnectionError::new(
                            Code::SETTINGS_ERROR,
                            "WT_ENABLED that is neither 0 nor 1",
                        );
                        return Err(WRONG);
                    }
                },
                INITIAL_MAX_DATA => peer.max_data = *value,
                INITIAL_MAX_STREAMS_UNI => peer.max_streams_uni = *value,
                INITIAL_MAX_STREAMS_BIDI => peer.max_streams_bidi = *value,
                _ => {}
            }
        }
        Ok(peer)
    }

    /// Whether its limits count: we have said some, too (section 5.1).
    pub const fn limits(&self) -> bool {
        self.max_data != 0 || self.max_streams_uni != 0 || self.max_streams_bidi != 0
    }

    /// Whether several sessions may share a connection with it. Since draft 15 that needs flow control
    /// (section 5.1).
    pub const fn shares(&self) -> bool {
        !self.is_current || self.limits()
    }

    /// Sessions that a client may have open on one connection with it.
    pub fn most_sessions(&self) -> u64 {
        if self.shares() { self.max_sessions.unwrap_or(u64::MAX).max(1) } else { 1 }
    }

    /// What `:protocol` is to be.
    pub const fn protocol(&self) -> &'static [u8] {
        if self.is_current { super::PROTOCOLS[1] } else { super::PROTOCOLS[0] }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(others: &[(u64, u64)]) -> Peer {
        Peer::of(&Settings { others: others.to_vec(), ..Settings::default() }).unwrap()
    }

    #[test]
    fn we_say_what_each_of_them_wants() {
        let mut settings = Settings::default();
        announce(&Limits::default(), &mut settings);
        let mut wire = Vec::new();
        settings.encode(&mut wire);
        let settings = Settings::decode(&wire, 64).unwrap();
        assert!(settings.extended_connect && settings.datagrams);
        let said = |id| settings.others.iter().find(|(found, _)| *found == id).map(|(_, v)| *v);
        // Chrome, Firefox; then Safari.
        assert_eq!(said(0x2b60_3742), Some(1));
        assert_eq!(said(0xc671_706a), Some(16));
        assert_eq!(said(0x14e9_cd29), Some(16));
        assert_eq!(said(0x2c7c_f000), Some(1));
        for id in [0x2b61, 0x2b64, 0x2b65] {
            assert_eq!(said(id), Some(1 << 60));
        }
        let ours = Peer::of(&settings).unwrap();
        assert!(ours.speaks && ours.datagrams && ours.is_current && ours.limits());
    }

    #[test]
    fn each_draft_is_understood() {
        for (settings, protocol) in [
            (&[(0x2b60_3742, 1)][..], "webtransport"),
            (&[(0xc671_706a, 1)], "webtransport"),
            (&[(0x14e9_cd29, 5)], "webtransport"),
            (&[(0x14e9_cd29, 5), (0x2c7c_f000, 1)], "webtransport-h3"),
        ] {
            assert!(peer(settings).speaks, "{settings:x?}");
            assert_eq!(peer(settings).protocol(), protocol.as_bytes());
        }
        for settings in [&[][..], &[(0x2b60_3742, 0)], &[(0xc671_706a, 0), (0x2c7c_f000, 0)]] {
            assert!(!peer(settings).speaks, "{settings:x?}");
        }
        let wrong = Settings { others: vec![(0x2c7c_f000, 2)], ..Settings::default() };
        assert_eq!(Peer::of(&wrong).map_err(|error| error.code), Err(Code::SETTINGS_ERROR));
    }

    #[test]
    fn several_sessions_need_flow_control_since_draft_15() {
        assert_eq!(peer(&[(0x2b60_3742, 1)]).most_sessions(), u64::MAX);
        assert_eq!(peer(&[(0xc671_706a, 4)]).most_sessions(), 4);
        assert_eq!(peer(&[(0x2c7c_f000, 1)]).most_sessions(), 1);
        assert_eq!(peer(&[(0x2c7c_f000, 1), (0x2b61, 1)]).most_sessions(), u64::MAX);
        assert_eq!(peer(&[(0x2c7c_f000, 1), (0x14e9_cd29, 3), (0x2b65, 9)]).most_sessions(), 3);
    }
}
