//! How calls leave a lane that is gone, or going, for the one that takes its place.

use super::caller::{Caller, Shape, Slot};

/// A call without a lane, with its place in the order of calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept<T> {
    serial: u64,
    shape: Shape,
    /// The owner's.
    pub value: T,
}

impl<T> Caller<T> {
    /// Takes every pending call off the lane, which is gone: those that `keep` lets be sent again,
    /// and the others. It is asked with each call's tag. Tags begin anew.
    pub fn dismantle(
        &mut self,
        mut keep: impl FnMut(u16, &mut T) -> bool,
    ) -> (Vec<Kept<T>>, Vec<T>) {
        self.free.clear();
        self.promoted.clear();
        self.to_cancel.clear();
        (self.calls, self.streams, self.reserved) = (0, 0, None);
        let (mut kept, mut over) = (Vec::new(), Vec::new());
        for (tag, slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            let Slot::Pending { serial, shape, mut value, .. } = slot else { continue };
            if keep(tag as u16, &mut value) {
                kept.push(Kept { serial, shape, value });
            } else {
                over.push(value);
            }
        }
        (kept, over)
    }

    /// Lets calls wait that had a lane before, in the order in which all were made. Their tickets
    /// stay good.
    pub fn rejoin(&mut self, kept: Vec<Kept<T>>) {
        let (mut calls, mut streams) = (Vec::new(), Vec::new());
        for Kept { serial, shape, value } in kept {
            match shape {
                Shape::Call => calls.push((serial, value)),
                Shape::Stream => streams.push((serial, value)),
            }
        }
        self.waiting.put_back(calls);
        self.waiting_streams.put_back(streams);
    }

    /// The lane is gone and another takes its place. Calls that are pending and that `keep` lets
    /// be sent again wait in front of those that wait; the others come back.
    pub fn restart(&mut self, keep: impl FnMut(u16, &mut T) -> bool) -> Vec<T> {
        let (kept, over) = self.dismantle(keep);
        self.rejoin(kept);
        over
    }

    /// The pending calls stay with the lane that they are on, in a `Caller` of its own that begins
    /// no further ones. Those that wait stay here, and begin with new tags elsewhere; tickets of
    /// the two never coincide.
    pub fn split(&mut self) -> Self {
        let mut former = Self::new(self.max_concurrent);
        std::mem::swap(&mut former, self);
        self.serial = former.serial;
        std::mem::swap(&mut self.waiting, &mut former.waiting);
        std::mem::swap(&mut self.waiting_streams, &mut former.waiting_streams);
        former
    }

    /// The peer has not begun the request under `tag`, and will not: nothing more comes under it.
    /// `None` if nobody waits for it any more.
    pub fn not_begun(&mut self, tag: u16) -> Option<Kept<T>> {
        let slot = self.slots.get_mut(usize::from(tag))?;
        let (serial, shape, value) = match std::mem::replace(slot, Slot::Free) {
            Slot::Pending { serial, shape, value, .. } => (serial, shape, Some(value)),
            Slot::Quarantined { serial, shape, .. } => (serial, shape, None),
            other => {
                *slot = other;
                return None;
            }
        };
        self.promoted.remove(&serial);
        self.free.push(tag);
        *self.count(shape) -= 1;
        value.map(|value| Kept { serial, shape, value })
    }

    /// Ends the calls that wait for a tag and that `keep` does not let wait.
    pub fn retain_waiting(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut all = self.waiting.retain(&mut keep);
        all.append(&mut self.waiting_streams.retain(keep));
        all
    }

    /// Ends the calls that wait for a tag.
    pub fn drain_waiting(&mut self) -> Vec<T> {
        self.retain_waiting(|_| false)
    }

    /// Ends every call, in no order; the lane is gone.
    pub fn drain(&mut self) -> Vec<T> {
        let (_, mut all) = self.dismantle(|_, _| false);
        all.append(&mut self.drain_waiting());
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Reply, Ticket};
    use super::*;

    fn promoted(caller: &mut Caller<i32>) -> Vec<i32> {
        std::iter::from_fn(|| caller.promote(|_| 103).map(|(_, value)| *value)).collect()
    }

    #[test]
    fn a_restart_keeps_order_and_tickets() {
        let mut caller = Caller::new(2);
        let first = caller.start(103, 1).unwrap();
        let dropped = caller.start(103, 2).unwrap();
        let third = caller.wait(3);
        let stream = caller.start_stream(105, 4).unwrap();
        assert_eq!(caller.restart(|_, value| *value != 2), [2]);
        assert_eq!((caller.pending(), caller.waiting()), (0, 3));
        assert!(caller.is_live(first) && caller.is_live(third) && caller.is_live(stream));
        assert!(!caller.is_live(dropped));
        assert_eq!(promoted(&mut caller), [1, 3, 4]);
        assert_eq!(caller.abandon(first), Some(1), "a ticket from before names the same call");
        assert_eq!(caller.pending(), 3);
    }

    #[test]
    fn a_restart_asks_by_tag() {
        let mut caller = Caller::new(9);
        let tags: Vec<u16> = (0..4).map(|n| caller.start(103, n).unwrap().tag).collect();
        assert_eq!(caller.restart(|tag, _| tag != tags[2]), [2]);
        assert_eq!(promoted(&mut caller), [0, 1, 3]);
    }

    #[test]
    fn what_was_begun_stays_and_what_waits_moves_on() {
        let mut caller = Caller::new(1);
        let begun = caller.start(103, 1).unwrap();
        let waits = caller.wait(2);
        let mut former = caller.split();
        assert_eq!((former.pending(), former.waiting()), (1, 0));
        assert_eq!((caller.pending(), caller.waiting()), (0, 1));
        assert!(former.is_live(begun) && !caller.is_live(begun));
        assert_eq!(promoted(&mut caller), [2]);
        assert!(caller.is_live(waits) && !former.is_live(waits));
        assert_eq!(former.reply(103, begun.tag, &[]), Ok(Reply::Result(1)));
        let next = caller.wait(3);
        assert!(next.serial > begun.serial && next.serial > waits.serial);
    }

    #[test]
    fn calls_that_come_back_keep_their_order() {
        let mut caller = Caller::new(3);
        let first: Vec<Ticket> = (0..3).map(|n| caller.start(103, n).unwrap()).collect();
        caller.wait(3);
        let mut former = caller.split();
        let later = former.not_begun(first[1].tag).unwrap();
        caller.rejoin(vec![later]);
        let (kept, over) = former.dismantle(|_, value| *value == 2);
        assert_eq!(over, [0]);
        caller.rejoin(kept);
        assert!(caller.is_live(first[2]), "its ticket is still good");
        assert_eq!(promoted(&mut caller), [1, 2, 3]);
        assert_eq!(caller.abandon(first[1]), Some(1));
    }

    #[test]
    fn a_call_that_was_not_begun_frees_its_tag_once() {
        let mut caller = Caller::new(2);
        let call = caller.start(103, 'a').unwrap();
        assert_eq!(caller.not_begun(call.tag).unwrap().value, 'a');
        assert_eq!(caller.not_begun(call.tag), None);
        assert_eq!(caller.pending(), 0);
        let given_up = caller.start(103, 'b').unwrap();
        caller.abandon(given_up).unwrap();
        assert_eq!(caller.not_begun(given_up.tag), None);
        assert_eq!(caller.pending(), 0, "a quarantined tag is free too");
        assert_eq!(caller.not_begun(9), None, "nobody has it");
    }

    #[test]
    fn some_may_wait_and_others_not() {
        let mut caller = Caller::new(1);
        for n in 0..6 {
            caller.wait(n);
        }
        let gone = caller.wait(6);
        caller.abandon(gone).unwrap();
        assert_eq!(caller.retain_waiting(|n| n % 2 == 0), [1, 3, 5]);
        assert_eq!(caller.waiting(), 3);
        assert_eq!(caller.drain_waiting(), [0, 2, 4]);
    }
}
