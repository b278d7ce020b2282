//! How much the streams that come over one connection may make us hold together.
//!
//! The peer may send [`INITIAL_WINDOW`] of each stream unasked, so each has that from its beginning
//! to its end, whatever the others do, and none waits for another. What a window is wider is lent,
//! and an item that goes over its window is counted, too.

use super::Receiving;
use crate::ext::INITIAL_WINDOW;

/// The bytes that all streams of one connection may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    most: u64,
    used: u64,
}

impl Budget {
    /// At most `most` bytes.
    pub fn new(most: u32) -> Self {
        Self { most: most.into(), used: 0 }
    }

    /// The most.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Bytes that are spoken for.
    pub fn used(&self) -> u64 {
        self.used
    }

    fn take(&mut self, bytes: u64) -> bool {
        self.take_up_to(bytes, self.most)
    }

    /// Wider windows leave half of it for streams that have not begun.
    fn lend(&mut self, bytes: u64) -> bool {
        self.take_up_to(bytes, self.most / 2)
    }

    fn take_up_to(&mut self, bytes: u64, most: u64) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= most => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// What an item that arrived means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// It is to be held until it is taken.
    Held,
    /// Nothing was granted any more: the peer broke the rules.
    NotGranted,
    /// It was rightly sent, and there is no room for it.
    NoRoom,
}

/// What one stream has of a budget. To be given back with [`Share::end`].
#[derive(Debug)]
pub struct Share {
    receiving: Receiving,
    /// The window that it should have.
    window: u32,
    held: u64,
}

impl Share {
    /// A stream that begins, and should have `window` bytes ahead of the application. `None` if
    /// there is no room for another.
    pub fn begin(window: u32, budget: &mut Budget) -> Option<Self> {
        let receiving = Receiving::new(INITIAL_WINDOW);
        let held = receiving.may_hold();
        budget.take(held).then_some(Self { receiving, window, held })
    }

    /// Widens the window to what it should be, if there is room now: what to grant the peer.
    pub fn widen(&mut self, budget: &mut Budget) -> Option<u32> {
        let more = self.window.checked_sub(self.receiving.window()).filter(|more| *more > 0)?;
        if !budget.lend(more.into()) {
            return None;
        }
        self.receiving.widen(more);
        self.held += u64::from(more);
        Some(more)
    }

    /// An item of `bytes` arrived.
    pub fn arrived(&mut self, bytes: usize, budget: &mut Budget) -> Arrived {
        if !self.receiving.arrived(bytes) {
            return Arrived::NotGranted;
        }
        match self.settle(budget) {
            true => Arrived::Held,
            false => Arrived::NoRoom,
        }
    }

    /// The application took an item of `bytes`. What to grant the peer now, if it is worth a frame.
    pub fn took(&mut self, bytes: usize, budget: &mut Budget) -> Option<u32> {
        let grant = self.receiving.took(bytes)?;
        self.settle(budget);
        Some(grant.saturating_add(self.widen(budget).unwrap_or_default()))
    }

    /// Makes what is spoken for what may be held; false if that is too much.
    fn settle(&mut self, budget: &mut Budget) -> bool {
        let holds = self.receiving.may_hold();
        if holds > self.held && !budget.take(holds - self.held) {
            return false;
        }
        budget.give_back(self.held.saturating_sub(holds));
        self.held = holds;
        true
    }

    /// Nothing of the stream is held any more.
    pub fn end(&mut self, budget: &mut Budget) {
        budget.give_back(std::mem::take(&mut self.held));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const INITIAL: u64 = INITIAL_WINDOW as u64;
    const WINDOW: u32 = 4 * INITIAL_WINDOW;

    fn budget() -> Budget {
        Budget::new(16 * INITIAL_WINDOW)
    }

    #[test]
    fn a_single_stream_has_all_of_its_window() {
        let mut budget = budget();
        let mut share = Share::begin(WINDOW, &mut budget).unwrap();
        assert_eq!(share.widen(&mut budget), Some(WINDOW - INITIAL_WINDOW));
        assert_eq!(share.widen(&mut budget), None, "it has it already");
        for _ in 0..1000 {
            for _ in 0..4 {
                let half = INITIAL_WINDOW as usize / 2;
                assert_eq!(share.arrived(half, &mut budget), Arrived::Held);
            }
            let grant = share.took(WINDOW as usize / 2, &mut budget);
            assert_eq!(grant, Some(WINDOW / 2));
        }
        assert_eq!(budget.used(), WINDOW.into());
        share.end(&mut budget);
        share.end(&mut budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn each_of_many_streams_can_go_on_and_one_too_many_is_not_begun() {
        let mut budget = budget();
        let mut shares = Vec::new();
        while let Some(mut share) = Share::begin(WINDOW, &mut budget) {
            share.widen(&mut budget);
            shares.push(share);
        }
        // Two have the whole window, the rest what everybody has.
        assert_eq!(shares.len(), 2 + 8);
        assert_eq!(budget.used(), 16 * INITIAL);
        for share in &mut shares {
            assert_eq!(share.arrived(INITIAL_WINDOW as usize, &mut budget), Arrived::Held);
        }
        for share in &mut shares {
            assert_eq!(share.took(INITIAL_WINDOW as usize / 2, &mut budget).is_some(), {
                share.receiving.window() == INITIAL_WINDOW
            });
        }
        for share in &mut shares {
            share.end(&mut budget);
        }
        assert_eq!(budget, self::budget());
    }

    #[test]
    fn a_window_is_widened_when_others_have_ended() {
        let mut budget = budget();
        let mut first: Vec<_> =
            (0..8).map(|_| Share::begin(WINDOW, &mut budget).unwrap()).collect();
        let mut share = Share::begin(WINDOW, &mut budget).unwrap();
        assert_eq!(share.widen(&mut budget), None);
        for other in &mut first {
            other.end(&mut budget);
        }
        assert_eq!(share.arrived(INITIAL_WINDOW as usize, &mut budget), Arrived::Held);
        let grant = share.took(INITIAL_WINDOW as usize, &mut budget);
        assert_eq!(grant, Some(WINDOW), "what was taken, and what the window is wider");
    }

    #[test]
    fn an_item_over_its_window_counts_until_it_is_taken() {
        let mut budget = budget();
        let mut share = Share::begin(INITIAL_WINDOW, &mut budget).unwrap();
        let large = 10 * INITIAL_WINDOW as usize;
        assert_eq!(share.arrived(large, &mut budget), Arrived::Held);
        assert_eq!(budget.used(), 10 * INITIAL);
        assert_eq!(share.arrived(1, &mut budget), Arrived::NotGranted);
        let mut other = Share::begin(INITIAL_WINDOW, &mut budget).unwrap();
        assert_eq!(other.arrived(large, &mut budget), Arrived::NoRoom);
        assert_eq!(share.took(large, &mut budget), Some(large as u32));
        assert_eq!(budget.used(), 2 * INITIAL);
        other.end(&mut budget);
        share.end(&mut budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn nothing_overflows() {
        let mut budget = Budget::new(u32::MAX);
        let mut share = Share::begin(u32::MAX, &mut budget).unwrap();
        share.widen(&mut budget);
        assert_eq!(share.arrived(usize::MAX, &mut budget), Arrived::NoRoom);
        assert_eq!(share.arrived(usize::MAX, &mut budget), Arrived::NotGranted);
        let _ = share.took(usize::MAX, &mut budget);
        share.end(&mut budget);
        assert_eq!(budget.used(), 0);
    }
}
