//! A stream on a lane that it shares: whatever its items, its window and the pace of its taker, what
//! is on its way or held is never more than the window and one item, a sender that keeps to what it
//! was granted is never in the wrong, one that does not is, and nothing stalls for good.

use std::collections::VecDeque;

use jetstream_proto::mux::{Receiving, Sending};

use crate::script::Script;

struct Stream {
    window: u32,
    sending: Sending,
    receiving: Receiving,
    /// Items on the way to the taker, then those that wait for it.
    on_the_way: VecDeque<usize>,
    held: VecDeque<usize>,
    /// Grants on their way back.
    grants: VecDeque<u32>,
    sent: u64,
    taken: u64,
    granted: u64,
    largest: u64,
}

/// One input: the window, what of it the sender has at first, and the steps.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let window = script.number().max(1);
    let at_first = script.number().clamp(1, window);
    let mut stream = Stream {
        window,
        sending: Sending::new(at_first),
        receiving: Receiving::new(window),
        on_the_way: VecDeque::new(),
        held: VecDeque::new(),
        // The rest of the window is granted when the stream begins.
        grants: VecDeque::from([window - at_first]),
        sent: 0,
        taken: 0,
        granted: window.into(),
        largest: 0,
    };
    while let Some(step) = script.step() {
        match step % 5 {
            0 => drop(stream.send(script.number() as usize)),
            1 => stream.arrive(),
            2 => stream.take(),
            3 => stream.hear(),
            _ => {
                // As much as it may, of one size.
                let size = script.number() as usize;
                for _ in 0..8 {
                    if !stream.send(size) {
                        break;
                    }
                }
            }
        }
        stream.agree();
    }
    stream.goes_on();
    stream.overdraws();
}

impl Stream {
    fn send(&mut self, size: usize) -> bool {
        if !self.sending.is_open() {
            return false;
        }
        // No frame is empty.
        let size = size.max(1);
        self.sending.sent(size);
        self.on_the_way.push_back(size);
        self.sent += size as u64;
        self.largest = self.largest.max(size as u64);
        true
    }

    fn arrive(&mut self) {
        if let Some(size) = self.on_the_way.pop_front() {
            assert!(self.receiving.arrived(size), "an honest sender is in the wrong");
            self.held.push_back(size);
        }
    }

    fn take(&mut self) {
        if let Some(size) = self.held.pop_front() {
            self.taken += size as u64;
            if let Some(grant) = self.receiving.took(size) {
                assert!(grant > 0, "a grant of nothing");
                self.granted += u64::from(grant);
                self.grants.push_back(grant);
            }
        }
    }

    fn hear(&mut self) {
        if let Some(grant) = self.grants.pop_front() {
            self.sending.granted(grant);
        }
    }

    fn agree(&self) {
        let ahead = self.sent - self.taken;
        assert!(ahead < u64::from(self.window) + self.largest.max(1), "{ahead} bytes ahead");
        // What is granted is the window and what has been taken, less what is not worth a frame.
        let most = u64::from(self.window) + self.taken;
        assert!(self.granted <= most && most - self.granted <= u64::from(self.window / 2));
    }

    /// When all has been taken and heard, the sender may send.
    fn goes_on(&mut self) {
        while !(self.on_the_way.is_empty() && self.held.is_empty() && self.grants.is_empty()) {
            self.arrive();
            self.take();
            self.hear();
            self.agree();
        }
        assert_eq!(self.sent, self.taken);
        assert!(self.sending.is_open(), "the stream has stalled");
    }

    /// A sender that does not care is found out before it has sent the window and two items more.
    fn overdraws(&mut self) {
        let size = (self.window / 4).max(1) as usize;
        let mut sent = 0;
        while self.receiving.arrived(size) {
            sent += size as u64;
            assert!(sent <= u64::from(self.window) + size as u64, "nobody notices");
        }
    }
}
