//! Counts what a peer does that brings nothing (RFC 9114, section 10.5).

use super::code::{Code, ConnectionError};

/// What is left of [`Limits::idle_work`](super::Limits::idle_work).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    left: u32,
    most: u32,
}

impl Budget {
    /// What something useful gives back. More than one, so that whoever pads or reprioritises each
    /// request is never short; few, so that no request pays for a flood.
    pub const EARNED: u32 = 8;

    /// A full one.
    pub const fn new(most: u32) -> Self {
        Self { left: most, most }
    }

    /// The peer did something that brings nothing.
    ///
    /// # Errors
    /// It has done too much of it.
    #[inline]
    pub fn spend(&mut self) -> Result<(), ConnectionError> {
        const USED_UP: ConnectionError =
            ConnectionError::new(Code::EXCESSIVE_LOAD, "too much that brings nothing");
        self.left = self.left.checked_sub(1).ok_or(USED_UP)?;
        Ok(())
    }

    /// The peer did something useful.
    #[inline]
    pub fn earn(&mut self) {
        self.left = self.left.saturating_add(Self::EARNED).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_work_is_bounded_and_useful_work_gives_some_back() {
        let mut budget = Budget::new(10);
        for _ in 0..10 {
            assert_eq!(budget.spend(), Ok(()));
        }
        assert_eq!(budget.spend().map_err(|error| error.code), Err(Code::EXCESSIVE_LOAD));
        budget.earn();
        budget.earn();
        assert_eq!(budget, Budget::new(10), "never more than at first");
    }
}
