//! The calling end of a lane: tags, the order of waiting, and what a reply may be.

use std::collections::{HashMap, VecDeque};

use super::MuxError;
use crate::frame::kind::RERROR;
use crate::limits::NO_TAG;

/// Entries of calls that are gone, below which forgetting them is not worth a pass.
const SMALL: usize = 64;

/// Names one call for its whole life, also after its tag went to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The tag; [`NO_TAG`] while the call waits for one.
    pub tag: u16,
    /// Counts the calls of this lane.
    pub serial: u64,
}

/// What a reply means for the call that it answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// The method's result follows.
    Result(T),
    /// A fault follows.
    Fault(T),
    /// The call was abandoned; its tag is free again and nothing is to be done.
    Abandoned,
}

#[derive(Debug)]
enum Slot<T> {
    Free,
    Pending {
        serial: u64,
        reply: u8,
        value: T,
    },
    /// Abandoned by us and not yet answered: the tag must not be given to another call, whose
    /// reply could then not be told from the late one.
    Quarantined {
        reply: u8,
    },
}

/// The calls that one end has made on a lane, each with a value of the owner's.
#[derive(Debug)]
pub struct Caller<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    waiting: VecDeque<(u64, Option<T>)>,
    waiting_live: usize,
    /// The tags of calls that waited for one, by serial: their tickets do not tell.
    promoted: HashMap<u64, u16>,
    pending: usize,
    max_concurrent: u16,
    serial: u64,
}

impl<T> Caller<T> {
    /// At most `max_concurrent` calls hold a tag at once (65,535 tags exist; 65535 is no tag).
    pub fn new(max_concurrent: u16) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            waiting_live: 0,
            promoted: HashMap::new(),
            pending: 0,
            max_concurrent: max_concurrent.max(1),
            serial: 0,
        }
    }

    /// Whether a call that comes now gets a tag at once: one is free and nobody waits.
    pub fn has_room(&self) -> bool {
        self.waiting_live == 0 && self.tag_available()
    }

    fn tag_available(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < usize::from(self.max_concurrent)
    }

    /// Gives a call its tag; the reply must be of type `reply`.
    ///
    /// # Errors
    /// All tags are taken; the value comes back. See [`Caller::wait`].
    pub fn start(&mut self, reply: u8, value: T) -> Result<Ticket, T> {
        self.serial += 1;
        self.start_as(self.serial, reply, value)
    }

    fn start_as(&mut self, serial: u64, reply: u8, value: T) -> Result<Ticket, T> {
        let tag = match self.free.pop() {
            Some(tag) => tag,
            None if self.slots.len() < usize::from(self.max_concurrent) => {
                self.slots.push(Slot::Free);
                (self.slots.len() - 1) as u16
            }
            None => return Err(value),
        };
        self.pending += 1;
        self.slots[usize::from(tag)] = Slot::Pending { serial, reply, value };
        Ok(Ticket { tag, serial })
    }

    /// Puts a call at the end of those that wait for a tag.
    pub fn wait(&mut self, value: T) -> Ticket {
        self.serial += 1;
        self.waiting.push_back((self.serial, Some(value)));
        self.waiting_live += 1;
        Ticket { tag: NO_TAG, serial: self.serial }
    }

    /// If a tag is free, the first waiting call gets it: its value is looked at (for its reply
    /// type) by `reply_of` and the ticket that it has from now on comes back.
    pub fn promote(&mut self, reply_of: impl FnOnce(&mut T) -> u8) -> Option<(Ticket, &mut T)> {
        if !self.tag_available() {
            return None;
        }
        let (serial, mut value) = loop {
            let (serial, value) = self.waiting.pop_front()?;
            if let Some(value) = value {
                break (serial, value);
            }
        };
        self.waiting_live -= 1;
        let reply = reply_of(&mut value);
        // A tag is available, so this cannot fail.
        let ticket = self.start_as(serial, reply, value).ok()?;
        self.promoted.insert(serial, ticket.tag);
        match self.slots.get_mut(usize::from(ticket.tag)) {
            Some(Slot::Pending { value, .. }) => Some((ticket, value)),
            _ => None,
        }
    }

    /// A reply of type `kind` came under `tag`.
    ///
    /// # Errors
    /// No call has the tag, or the call waits for another type; the peer is broken.
    pub fn reply(&mut self, kind: u8, tag: u16) -> Result<Reply<T>, MuxError> {
        let slot = self.slots.get_mut(usize::from(tag));
        let expected = match &slot {
            Some(Slot::Pending { reply, .. } | Slot::Quarantined { reply }) => *reply,
            Some(Slot::Free) | None => return Err(MuxError::UnknownTag { kind, tag }),
        };
        if kind != expected && kind != RERROR {
            return Err(MuxError::WrongReply { kind, tag, expected });
        }
        let taken = slot.map(|slot| std::mem::replace(slot, Slot::Free));
        if let Some(Slot::Pending { serial, .. }) = &taken {
            self.promoted.remove(serial);
        }
        self.free.push(tag);
        self.pending -= 1;
        Ok(match taken {
            Some(Slot::Pending { value, .. }) if kind == RERROR => Reply::Fault(value),
            Some(Slot::Pending { value, .. }) => Reply::Result(value),
            _ => Reply::Abandoned,
        })
    }

    /// Gives up on a call: its value comes back, its tag stays taken until the reply has come. A
    /// call that waited for a tag just stops waiting. `None` if it was over already.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<T> {
        if let Ok(at) = self.waiting.binary_search_by_key(&ticket.serial, |(serial, _)| *serial) {
            let value = self.waiting[at].1.take();
            self.waiting_live -= usize::from(value.is_some());
            self.forget_the_gone();
            return value;
        }
        let tag = self.tag_of(ticket)?;
        self.promoted.remove(&ticket.serial);
        let slot = self.slots.get_mut(usize::from(tag))?;
        match slot {
            Slot::Pending { reply, .. } => {
                let quarantined = Slot::Quarantined { reply: *reply };
                match std::mem::replace(slot, quarantined) {
                    Slot::Pending { value, .. } => Some(value),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Entries of calls that stopped waiting are kept only while they are few: a pass over all of
    /// them is paid for by as many calls.
    fn forget_the_gone(&mut self) {
        if self.waiting.len() > 2 * self.waiting_live + SMALL {
            self.waiting.retain(|(_, value)| value.is_some());
        }
    }

    /// Whether the call is still waiting for a tag or for its reply.
    pub fn is_live(&self, ticket: Ticket) -> bool {
        self.waiting
            .binary_search_by_key(&ticket.serial, |(serial, _)| *serial)
            .is_ok_and(|at| self.waiting[at].1.is_some())
            || self.tag_of(ticket).is_some()
    }

    /// The tag under which a call is pending: the ticket's own, or the one it got after waiting.
    fn tag_of(&self, ticket: Ticket) -> Option<u16> {
        let holds = |tag: u16| {
            matches!(self.slots.get(usize::from(tag)),
                Some(Slot::Pending { serial, .. }) if *serial == ticket.serial)
        };
        if ticket.tag != NO_TAG {
            return holds(ticket.tag).then_some(ticket.tag);
        }
        self.promoted.get(&ticket.serial).copied().filter(|&tag| holds(tag))
    }

    /// Ends every call, in no order; the lane is gone.
    pub fn drain(&mut self) -> Vec<T> {
        self.free.clear();
        self.promoted.clear();
        self.pending = 0;
        self.waiting_live = 0;
        let pending = std::mem::take(&mut self.slots).into_iter().filter_map(|slot| match slot {
            Slot::Pending { value, .. } => Some(value),
            Slot::Free | Slot::Quarantined { .. } => None,
        });
        pending.chain(self.waiting.drain(..).filter_map(|(_, value)| value)).collect()
    }

    /// Calls that hold a tag, abandoned ones included.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Calls that wait for a tag.
    pub fn waiting(&self) -> usize {
        self.waiting_live
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_in_any_order() {
        let mut caller = Caller::new(10);
        let a = caller.start(103, 'a').unwrap();
        let b = caller.start(105, 'b').unwrap();
        assert_ne!(a.tag, b.tag);
        assert_eq!(caller.reply(105, b.tag), Ok(Reply::Result('b')));
        assert_eq!(caller.reply(RERROR, a.tag), Ok(Reply::Fault('a')));
        assert_eq!(caller.pending(), 0);
    }

    #[test]
    fn calls_over_the_limit_wait_in_order() {
        let mut caller = Caller::new(2);
        let first = caller.start(103, 0).unwrap();
        caller.start(103, 1).unwrap();
        assert!(!caller.has_room());
        assert_eq!(caller.start(103, 2), Err(2));
        let two = caller.wait(2);
        caller.wait(3);
        assert!(caller.promote(|_| 103).is_none(), "no tag is free");
        caller.reply(103, first.tag).unwrap();
        assert!(!caller.has_room(), "a newcomer must not overtake those that wait");
        let (ticket, value) = caller.promote(|_| 103).unwrap();
        assert_eq!((ticket.serial, *value), (two.serial, 2));
        assert_eq!(caller.waiting(), 1);
        assert!(caller.promote(|_| 103).is_none());
    }

    #[test]
    fn an_abandoned_tag_is_free_only_after_its_reply() {
        let mut caller = Caller::new(1);
        let call = caller.start(103, 'a').unwrap();
        assert_eq!(caller.abandon(call), Some('a'));
        assert_eq!(caller.abandon(call), None);
        assert_eq!(caller.start(103, 'b'), Err('b'));
        assert_eq!(
            caller.reply(105, call.tag),
            Err(MuxError::WrongReply { kind: 105, tag: call.tag, expected: 103 })
        );
        assert_eq!(caller.reply(103, call.tag), Ok(Reply::Abandoned));
        assert!(caller.start(103, 'b').is_ok());
    }

    #[test]
    fn an_abandoned_waiter_is_passed_over() {
        let mut caller = Caller::new(1);
        let holder = caller.start(103, 0).unwrap();
        let gone = caller.wait(1);
        let next = caller.wait(2);
        assert!(caller.is_live(gone));
        assert_eq!(caller.abandon(gone), Some(1));
        assert!(!caller.is_live(gone));
        assert_eq!(caller.waiting(), 1);
        caller.reply(103, holder.tag).unwrap();
        let (ticket, value) = caller.promote(|_| 103).unwrap();
        assert_eq!((ticket.serial, *value), (next.serial, 2));
        // The waiting ticket still names the call now that it has a tag.
        assert_eq!(caller.abandon(next), Some(2));
    }

    #[test]
    fn calls_that_stop_waiting_leave_nothing_behind() {
        let mut caller = Caller::new(1);
        caller.start(103, 0).unwrap();
        let kept = caller.wait(1);
        for n in 0..10_000 {
            let gone = caller.wait(n);
            caller.abandon(gone);
            assert!(caller.waiting.len() <= SMALL + 3);
        }
        assert!(caller.is_live(kept));
        assert_eq!(caller.waiting(), 1);
    }

    #[test]
    fn a_promoted_call_is_found_by_its_old_ticket_until_it_ends() {
        let mut caller = Caller::new(1);
        let holder = caller.start(103, 0).unwrap();
        let waiter = caller.wait(1);
        caller.reply(103, holder.tag).unwrap();
        let (ticket, _) = caller.promote(|_| 103).unwrap();
        assert!(caller.is_live(waiter));
        caller.reply(103, ticket.tag).unwrap();
        assert!(!caller.is_live(waiter));
        assert!(caller.promoted.is_empty());
    }

    #[test]
    fn a_stale_ticket_does_not_name_the_next_owner_of_its_tag() {
        let mut caller = Caller::new(1);
        let old = caller.start(103, 0).unwrap();
        caller.reply(103, old.tag).unwrap();
        let new = caller.start(103, 1).unwrap();
        assert_eq!(old.tag, new.tag);
        assert!(!caller.is_live(old));
        assert_eq!(caller.abandon(old), None);
        assert!(caller.is_live(new));
    }

    #[test]
    fn a_reply_that_nobody_waits_for_is_an_error() {
        let mut caller = Caller::new(2);
        for tag in [0, 1, 65535] {
            assert_eq!(caller.reply(103, tag), Err(MuxError::UnknownTag { kind: 103, tag }));
        }
        let call = caller.start(103, ()).unwrap();
        caller.reply(103, call.tag).unwrap();
        assert!(caller.reply(103, call.tag).is_err(), "a second reply to one call");
    }

    #[test]
    fn every_tag_but_the_last_can_be_used() {
        let mut caller = Caller::new(u16::MAX);
        for n in 0..65535_u32 {
            assert_ne!(caller.start(103, n).unwrap().tag, NO_TAG);
        }
        assert!(caller.start(103, 0).is_err());
        caller.wait(7);
        assert_eq!(caller.drain().len(), 65536);
        assert_eq!((caller.pending(), caller.waiting()), (0, 0));
    }
}
