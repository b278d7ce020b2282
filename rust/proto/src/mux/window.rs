//! How much of a stream may be on its way on a lane that it shares with calls.
//!
//! On a lane of its own a stream is held up by the transport's flow control. On a shared one that
//! would hold the calls up too, so the receiving end grants bytes (frames, header included) and the
//! sending end stops when they are used up. One item may go over what is left: a window that is
//! smaller than an item must not stop the stream for good.

/// The sending end's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    left: i64,
}

impl Sending {
    /// A stream that may send `window` bytes before it hears of more.
    pub fn new(window: u32) -> Self {
        Self { left: window.into() }
    }

    /// Whether an item may be sent now.
    pub fn is_open(&self) -> bool {
        self.left > 0
    }

    /// An item of `bytes` was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The peer granted `bytes` more. A peer that grants without end changes nothing for itself
    /// but how much it will be sent.
    pub fn granted(&mut self, bytes: u32) {
        self.left = self.left.saturating_add(bytes.into());
    }
}

/// The receiving end's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiving {
    window: u32,
    /// What the peer may still send, negative after an item that went over.
    left: i64,
    /// Taken by the application and not yet granted again.
    taken: u32,
}

impl Receiving {
    /// A stream that takes `window` bytes ahead of the application.
    pub fn new(window: u32) -> Self {
        Self { window, left: window.into(), taken: 0 }
    }

    /// An item of `bytes` arrived. False if nothing was granted any more: the peer broke the rules.
    #[must_use]
    pub fn arrived(&mut self, bytes: usize) -> bool {
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        allowed
    }

    /// The window is `bytes` wider from now on, which the peer is to be granted.
    pub fn widen(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(bytes);
        self.left = self.left.saturating_add(bytes.into());
    }

    /// Bytes that may be held of the stream now: its window, and what an item went over it.
    pub fn may_hold(&self) -> u64 {
        u64::from(self.window) + if self.left < 0 { self.left.unsigned_abs() } else { 0 }
    }

    /// Bytes ahead of the application at most.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// The application took an item of `bytes`. What to grant the peer now, if it is worth a frame.
    pub fn took(&mut self, bytes: usize) -> Option<u32> {
        self.taken = self.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.taken < self.window / 2 {
            return None;
        }
        let grant = std::mem::take(&mut self.taken);
        self.left = self.left.saturating_add(grant.into());
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_as_fast_as_it_is_taken() {
        let (mut sending, mut receiving) = (Sending::new(100), Receiving::new(100));
        let (mut on_the_way, mut most) = (0, 0);
        for _ in 0..1000 {
            while sending.is_open() {
                sending.sent(30);
                assert!(receiving.arrived(30));
                on_the_way += 30;
            }
            most = most.max(on_the_way);
            on_the_way -= 30;
            if let Some(grant) = receiving.took(30) {
                sending.granted(grant);
            }
        }
        assert!(most <= 100 + 30, "{most} bytes held");
    }

    #[test]
    fn an_item_over_the_window_passes_and_a_second_does_not() {
        let (mut sending, mut receiving) = (Sending::new(10), Receiving::new(10));
        sending.sent(1000);
        assert!(!sending.is_open());
        assert!(receiving.arrived(1000));
        assert!(!receiving.arrived(1), "nothing was granted");
        let grant = receiving.took(1000);
        assert_eq!(grant, Some(1000));
        sending.granted(1000);
        assert!(sending.is_open());
    }
}
