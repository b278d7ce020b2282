//! Who gets a lane where the peer bounds how many there are at once.
//!
//! A channel needs a lane, or none of its calls leaves. A stream (a subscription, or a call with a
//! stream from the caller) only has it better on one of its own: on its channel's it goes as well,
//! within its window. So streams leave some lanes for channels that are yet to come.

/// Lanes that streams leave at least. A peer tells of lanes that have become free only when they are
/// some (quinn: an eighth of all), so the share of a large number has to be more.
const LEAST: u64 = 16;

/// Whether a stream may have a lane of its own.
///
/// # Arguments
/// * `allowed`: lanes that the peer lets us have open at once.
/// * `open`: those that are.
pub fn spares_a_lane(allowed: u64, open: u64) -> bool {
    allowed.saturating_sub(open) > LEAST.max(allowed / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(allowed: u64) -> u64 {
        (0..allowed).find(|open| !spares_a_lane(allowed, *open)).unwrap_or(allowed)
    }

    #[test]
    fn streams_leave_some_lanes_for_channels() {
        assert_eq!(most(0), 0);
        assert_eq!(most(16), 0);
        assert_eq!(most(20), 4);
        assert_eq!(most(100), 75);
        assert_eq!(most(128), 96);
    }

    #[test]
    fn what_the_peer_has_not_told_yet_is_within_what_they_leave() {
        for allowed in 0..10_000 {
            let untold = allowed / 8;
            let left = allowed - most(allowed);
            assert!(left > untold || left == allowed, "{left} of {allowed}");
        }
    }

    #[test]
    fn more_than_are_allowed_may_be_open() {
        // The peer may have allowed more meanwhile, which nobody tells here.
        assert!(!spares_a_lane(128, 200));
    }
}
