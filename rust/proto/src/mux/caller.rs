//! The calling end of a lane: tags, the order of waiting, and what a reply may be.

use std::collections::{HashMap, VecDeque};

use super::MuxError;
use crate::ext::LOSSY;
use crate::frame::kind::{RCANCEL, RDONE, RERROR, request_of_reply};
use crate::limits::{MAX_STREAMS, NO_TAG};

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

/// What is expected back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One reply.
    Call,
    /// Any number of items, then the end.
    Stream,
}

/// What a reply means for the call that it answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// The method's result follows.
    Result(T),
    /// A fault follows.
    Fault(T),
    /// An item of a stream follows; [`Caller::value`] has its owner.
    Item,
    /// A stream ended; behind one byte its result follows.
    Done(T),
    /// The called end gave the call up, without a result.
    Cancelled(T),
    /// The call was abandoned; nothing is to be done.
    Abandoned,
}

#[derive(Debug)]
pub(super) enum Slot<T> {
    Free,
    Pending {
        serial: u64,
        reply: u8,
        shape: Shape,
        value: T,
    },
    /// Abandoned by us and not yet answered: the tag must not be given to another call, whose
    /// reply could then not be told from the late one.
    Quarantined {
        serial: u64,
        reply: u8,
        shape: Shape,
    },
    /// Asks that the call under another tag be cancelled.
    Cancelling(Target),
}

/// An abandoned call that the peer is asked to give up. Its tag may have gone to another call by the
/// time of the answer; its serial tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    tag: u16,
    serial: u64,
}

/// Calls that wait for a tag, in order.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// Ascending by serial.
    queue: VecDeque<(u64, Option<T>)>,
    live: usize,
}

impl<T> Waiting<T> {
    fn new() -> Self {
        Self { queue: VecDeque::new(), live: 0 }
    }

    fn push(&mut self, serial: u64, value: T) {
        self.queue.push_back((serial, Some(value)));
        self.live += 1;
    }

    fn first(&self) -> Option<&T> {
        self.queue.iter().find_map(|(_, value)| value.as_ref())
    }

    fn pop(&mut self) -> Option<(u64, T)> {
        loop {
            let (serial, value) = self.queue.pop_front()?;
            if let Some(value) = value {
                self.live -= 1;
                return Some((serial, value));
            }
        }
    }

    fn position(&self, serial: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&serial, |(serial, _)| *serial).ok()
    }

    fn remove(&mut self, serial: u64) -> Option<T> {
        let at = self.position(serial)?;
        let value = self.queue[at].1.take();
        self.live -= usize::from(value.is_some());
        // Entries of calls that stopped waiting are kept only while they are few: a pass over all
        // of them is paid for by as many calls.
        if self.queue.len() > 2 * self.live + SMALL {
            self.queue.retain(|(_, value)| value.is_some());
        }
        value
    }

    fn contains(&self, serial: u64) -> bool {
        self.position(serial).is_some_and(|at| self.queue[at].1.is_some())
    }

    /// Puts calls in their places among those that wait.
    pub(super) fn put_back(&mut self, mut calls: Vec<(u64, T)>) {
        calls.sort_unstable_by_key(|(serial, _)| *serial);
        // Of those that stopped waiting, some may be older.
        self.queue.retain(|(_, value)| value.is_some());
        self.live += calls.len();
        let in_front = match (calls.last(), self.queue.front()) {
            (Some((last, _)), Some((first, _))) => last < first,
            _ => true,
        };
        for (serial, value) in calls.into_iter().rev() {
            self.queue.push_front((serial, Some(value)));
        }
        if !in_front {
            self.queue.make_contiguous().sort_unstable_by_key(|(serial, _)| *serial);
        }
    }

    /// Takes out those that `keep` does not let wait.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let (mut kept, mut out) = (VecDeque::new(), Vec::new());
        for (serial, value) in self.queue.drain(..) {
            match value {
                Some(value) if keep(&value) => kept.push_back((serial, Some(value))),
                Some(value) => out.push(value),
                None => {}
            }
        }
        self.live = kept.len();
        self.queue = kept;
        out
    }
}

/// The calls that one end has made on a lane, each with a value of the owner's.
#[derive(Debug)]
pub struct Caller<T> {
    pub(super) slots: Vec<Slot<T>>,
    pub(super) free: Vec<u16>,
    pub(super) waiting: Waiting<T>,
    pub(super) waiting_streams: Waiting<T>,
    /// The tags of calls that waited for one, by serial: their tickets do not tell.
    pub(super) promoted: HashMap<u64, u16>,
    /// Tags held by calls, and by streams, abandoned ones included.
    pub(super) calls: usize,
    pub(super) streams: usize,
    pub(super) max_concurrent: u16,
    pub(super) serial: u64,
    /// What the reserved tag is being used to cancel, and what is to be cancelled after that.
    pub(super) reserved: Option<Target>,
    pub(super) to_cancel: VecDeque<Target>,
}

impl<T> Caller<T> {
    /// At most `max_concurrent` calls hold a tag at once, and at most [`MAX_STREAMS`] streams
    /// beside them, so that neither uses up the other's (65,535 tags exist; 65535 is no call's).
    pub fn new(max_concurrent: u16) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            waiting: Waiting::new(),
            waiting_streams: Waiting::new(),
            promoted: HashMap::new(),
            calls: 0,
            streams: 0,
            max_concurrent: max_concurrent.max(1),
            serial: 0,
            reserved: None,
            to_cancel: VecDeque::new(),
        }
    }

    /// Whether a call that comes now gets a tag at once: one is free and nobody waits.
    pub fn has_room(&self) -> bool {
        self.waiting.live == 0 && self.tag_available(Shape::Call)
    }

    /// The same for a stream.
    pub fn has_room_for_stream(&self) -> bool {
        self.waiting_streams.live == 0 && self.tag_available(Shape::Stream)
    }

    fn tag_available(&self, shape: Shape) -> bool {
        let allowed = match shape {
            Shape::Call => self.calls < usize::from(self.max_concurrent),
            Shape::Stream => self.streams < MAX_STREAMS,
        };
        allowed && (!self.free.is_empty() || self.slots.len() < usize::from(NO_TAG))
    }

    fn take_tag(&mut self) -> Option<u16> {
        if let Some(tag) = self.free.pop() {
            return Some(tag);
        }
        if self.slots.len() >= usize::from(NO_TAG) {
            return None;
        }
        self.slots.push(Slot::Free);
        Some((self.slots.len() - 1) as u16)
    }

    pub(super) fn count(&mut self, shape: Shape) -> &mut usize {
        match shape {
            Shape::Call => &mut self.calls,
            Shape::Stream => &mut self.streams,
        }
    }

    /// Gives a call its tag; the reply must be of type `reply`.
    ///
    /// # Errors
    /// All tags are taken; the value comes back. See [`Caller::wait`].
    pub fn start(&mut self, reply: u8, value: T) -> Result<Ticket, T> {
        self.serial += 1;
        self.start_as(self.serial, reply, Shape::Call, value)
    }

    /// Gives a stream its tag; its items must be of type `reply`.
    ///
    /// # Errors
    /// All tags are taken; the value comes back. See [`Caller::wait_stream`].
    pub fn start_stream(&mut self, reply: u8, value: T) -> Result<Ticket, T> {
        self.serial += 1;
        self.start_as(self.serial, reply, Shape::Stream, value)
    }

    fn start_as(&mut self, serial: u64, reply: u8, shape: Shape, value: T) -> Result<Ticket, T> {
        if !self.tag_available(shape) {
            return Err(value);
        }
        let Some(tag) = self.take_tag() else { return Err(value) };
        *self.count(shape) += 1;
        self.slots[usize::from(tag)] = Slot::Pending { serial, reply, shape, value };
        Ok(Ticket { tag, serial })
    }

    /// Puts a call at the end of those that wait for a tag.
    pub fn wait(&mut self, value: T) -> Ticket {
        self.serial += 1;
        self.waiting.push(self.serial, value);
        Ticket { tag: NO_TAG, serial: self.serial }
    }

    /// Puts a stream at the end of those that wait for a tag.
    pub fn wait_stream(&mut self, value: T) -> Ticket {
        self.serial += 1;
        self.waiting_streams.push(self.serial, value);
        Ticket { tag: NO_TAG, serial: self.serial }
    }

    /// What [`Caller::promote`] would give a tag to, if one is free.
    pub fn next_waiting(&self) -> Option<&T> {
        self.next_shape().and_then(|shape| match shape {
            Shape::Call => self.waiting.first(),
            Shape::Stream => self.waiting_streams.first(),
        })
    }

    fn next_shape(&self) -> Option<Shape> {
        if self.waiting.live > 0 && self.tag_available(Shape::Call) {
            Some(Shape::Call)
        } else if self.waiting_streams.live > 0 && self.tag_available(Shape::Stream) {
            Some(Shape::Stream)
        } else {
            None
        }
    }

    /// If a tag is free, the first waiting call (or, where none may, stream) gets it: its value is
    /// looked at (for its reply type) by `reply_of` and the ticket that it has from now on comes
    /// back.
    pub fn promote(&mut self, reply_of: impl FnOnce(&mut T) -> u8) -> Option<(Ticket, &mut T)> {
        let shape = self.next_shape()?;
        let (serial, mut value) = match shape {
            Shape::Call => self.waiting.pop()?,
            Shape::Stream => self.waiting_streams.pop()?,
        };
        let reply = reply_of(&mut value);
        // A tag is available, so this cannot fail.
        let ticket = self.start_as(serial, reply, shape, value).ok()?;
        self.promoted.insert(serial, ticket.tag);
        self.value(ticket.tag).map(|value| (ticket, value))
    }

    /// The value of the call that is pending under `tag`.
    pub fn value(&mut self, tag: u16) -> Option<&mut T> {
        match self.slots.get_mut(usize::from(tag)) {
            Some(Slot::Pending { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// A frame of type `kind` came under `tag`; `payload` is looked at where it decides.
    ///
    /// # Errors
    /// No call has the tag, or the call waits for another type; the peer is broken.
    pub fn reply(&mut self, kind: u8, tag: u16, payload: &[u8]) -> Result<Reply<T>, MuxError> {
        if kind == RCANCEL {
            return self.on_cancelled(tag, payload).map(|()| Reply::Abandoned);
        }
        let (expected, shape, abandoned) = match self.slots.get(usize::from(tag)) {
            Some(Slot::Pending { reply, shape, .. }) => (*reply, *shape, false),
            Some(Slot::Quarantined { reply, shape, .. }) => (*reply, *shape, true),
            _ => return Err(MuxError::UnknownTag { kind, tag }),
        };
        let wrong = MuxError::WrongReply { kind, tag, expected };
        let cancelled = kind == RDONE && payload == [0];
        match shape {
            _ if kind == RERROR || cancelled => {}
            Shape::Call if kind == expected => {}
            Shape::Stream if kind == expected || kind == LOSSY => {
                return Ok(if abandoned { Reply::Abandoned } else { Reply::Item });
            }
            Shape::Stream if kind == RDONE => {
                if payload.first().copied() != Some(request_of_reply(expected)) {
                    return Err(wrong);
                }
            }
            _ => return Err(wrong),
        }
        let Some(value) = self.free_tag(tag) else { return Ok(Reply::Abandoned) };
        Ok(match kind {
            RERROR => Reply::Fault(value),
            RDONE if cancelled => Reply::Cancelled(value),
            RDONE => Reply::Done(value),
            _ => Reply::Result(value),
        })
    }

    /// Frees a tag; the value of the call that was pending under it, if one was.
    fn free_tag(&mut self, tag: u16) -> Option<T> {
        let slot = self.slots.get_mut(usize::from(tag))?;
        let (shape, value) = match std::mem::replace(slot, Slot::Free) {
            Slot::Free => return None,
            Slot::Cancelling(_) => {
                self.free.push(tag);
                return None;
            }
            Slot::Quarantined { shape, .. } => (shape, None),
            Slot::Pending { serial, shape, value, .. } => {
                self.promoted.remove(&serial);
                (shape, Some(value))
            }
        };
        *self.count(shape) -= 1;
        self.free.push(tag);
        value
    }

    /// Gives up on a call: its value comes back, its tag stays taken until the reply has come. A
    /// call that waited for a tag just stops waiting. `None` if it was over already.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<T> {
        for waiting in [&mut self.waiting, &mut self.waiting_streams] {
            if waiting.position(ticket.serial).is_some() {
                return waiting.remove(ticket.serial);
            }
        }
        let tag = self.tag_of(ticket)?;
        self.promoted.remove(&ticket.serial);
        let slot = self.slots.get_mut(usize::from(tag))?;
        let Slot::Pending { serial, reply, shape, .. } = slot else { return None };
        let quarantined = Slot::Quarantined { serial: *serial, reply: *reply, shape: *shape };
        match std::mem::replace(slot, quarantined) {
            Slot::Pending { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The tag under which to ask the peer to cancel the abandoned call that has the tag `target`.
    /// `None`: nothing is to be asked, or the only tag left is in use for another cancellation,
    /// after which [`Caller::next_cancel`] gives this one.
    pub fn cancel(&mut self, target: u16) -> Option<u16> {
        let Some(Slot::Quarantined { serial, .. }) = self.slots.get(usize::from(target)) else {
            return None;
        };
        let target = Target { tag: target, serial: *serial };
        if let Some(tag) = self.take_tag() {
            self.slots[usize::from(tag)] = Slot::Cancelling(target);
            return Some(tag);
        }
        // The last of all tags is no call's, so that cancelling works when all others are taken.
        if self.reserved.is_some() {
            self.to_cancel.push_back(target);
            return None;
        }
        self.reserved = Some(target);
        Some(NO_TAG)
    }

    fn is_quarantined(&self, target: Target) -> bool {
        matches!(self.slots.get(usize::from(target.tag)),
            Some(Slot::Quarantined { serial, .. }) if *serial == target.serial)
    }

    /// A cancellation whose turn has come: the tag to ask under, and the target's.
    pub fn next_cancel(&mut self) -> Option<(u16, u16)> {
        while self.reserved.is_none() {
            let target = self.to_cancel.pop_front()?;
            // It may have been answered meanwhile.
            if self.is_quarantined(target) {
                return self.cancel(target.tag).map(|tag| (tag, target.tag));
            }
        }
        None
    }

    /// The peer has done with a cancellation: nothing more comes under the target's tag.
    fn on_cancelled(&mut self, tag: u16, payload: &[u8]) -> Result<(), MuxError> {
        let kind = RCANCEL;
        let asked = match self.slots.get(usize::from(tag)) {
            Some(Slot::Cancelling(target)) => Some(*target),
            _ if tag == NO_TAG => self.reserved,
            _ => None,
        };
        let Some(target) = asked else { return Err(MuxError::UnknownTag { kind, tag }) };
        if payload != target.tag.to_le_bytes() {
            return Err(MuxError::WrongReply { kind, tag, expected: kind });
        }
        if tag == NO_TAG {
            self.reserved = None;
        } else {
            self.free_tag(tag);
        }
        if self.is_quarantined(target) {
            self.free_tag(target.tag);
        }
        Ok(())
    }

    /// Whether the call is still waiting for a tag or for its reply.
    pub fn is_live(&self, ticket: Ticket) -> bool {
        self.waiting.contains(ticket.serial)
            || self.waiting_streams.contains(ticket.serial)
            || self.tag_of(ticket).is_some()
    }

    /// The tag under which a call is pending: the ticket's own, or the one it got after waiting.
    pub fn tag_of(&self, ticket: Ticket) -> Option<u16> {
        let holds = |tag: u16| {
            matches!(self.slots.get(usize::from(tag)),
                Some(Slot::Pending { serial, .. }) if *serial == ticket.serial)
        };
        if holds(ticket.tag) {
            return Some(ticket.tag);
        }
        self.promoted.get(&ticket.serial).copied().filter(|&tag| holds(tag))
    }

    /// Calls and streams that hold a tag, abandoned ones included.
    pub fn pending(&self) -> usize {
        self.calls + self.streams
    }

    /// Calls and streams that wait for a tag.
    pub fn waiting(&self) -> usize {
        self.waiting.live + self.waiting_streams.live
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
        assert_eq!(caller.reply(105, b.tag, &[]), Ok(Reply::Result('b')));
        assert_eq!(caller.reply(RERROR, a.tag, &[]), Ok(Reply::Fault('a')));
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
        caller.reply(103, first.tag, &[]).unwrap();
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
            caller.reply(105, call.tag, &[]),
            Err(MuxError::WrongReply { kind: 105, tag: call.tag, expected: 103 })
        );
        assert_eq!(caller.reply(103, call.tag, &[]), Ok(Reply::Abandoned));
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
        caller.reply(103, holder.tag, &[]).unwrap();
        assert_eq!(caller.next_waiting(), Some(&2), "who stopped waiting is passed over");
        let (ticket, value) = caller.promote(|_| 103).unwrap();
        assert_eq!((ticket.serial, *value), (next.serial, 2));
        assert_eq!(caller.next_waiting(), None);
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
            assert!(caller.waiting.queue.len() <= SMALL + 3);
        }
        assert!(caller.is_live(kept));
        assert_eq!(caller.waiting(), 1);
    }

    #[test]
    fn a_promoted_call_is_found_by_its_old_ticket_until_it_ends() {
        let mut caller = Caller::new(1);
        let holder = caller.start(103, 0).unwrap();
        let waiter = caller.wait(1);
        caller.reply(103, holder.tag, &[]).unwrap();
        let (ticket, _) = caller.promote(|_| 103).unwrap();
        assert!(caller.is_live(waiter));
        caller.reply(103, ticket.tag, &[]).unwrap();
        assert!(!caller.is_live(waiter));
        assert!(caller.promoted.is_empty());
    }

    #[test]
    fn a_stale_ticket_does_not_name_the_next_owner_of_its_tag() {
        let mut caller = Caller::new(1);
        let old = caller.start(103, 0).unwrap();
        caller.reply(103, old.tag, &[]).unwrap();
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
            assert_eq!(caller.reply(103, tag, &[]), Err(MuxError::UnknownTag { kind: 103, tag }));
        }
        let call = caller.start(103, ()).unwrap();
        caller.reply(103, call.tag, &[]).unwrap();
        assert!(caller.reply(103, call.tag, &[]).is_err(), "a second reply to one call");
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

    #[test]
    fn a_stream_has_items_until_its_end() {
        let mut caller = Caller::new(4);
        let stream = caller.start_stream(105, 's').unwrap();
        for _ in 0..3 {
            assert_eq!(caller.reply(105, stream.tag, b"x"), Ok(Reply::Item));
            assert_eq!(caller.value(stream.tag), Some(&mut 's'));
        }
        let wrong = MuxError::WrongReply { kind: RDONE, tag: stream.tag, expected: 105 };
        assert_eq!(caller.reply(RDONE, stream.tag, &[102]), Err(wrong), "another method's end");
        assert_eq!(caller.reply(RDONE, stream.tag, &[104, 1]), Ok(Reply::Done('s')));
        assert!(caller.reply(105, stream.tag, b"x").is_err(), "an item after the end");
    }

    #[test]
    fn a_call_has_no_end_of_a_stream() {
        let mut caller = Caller::new(4);
        let call = caller.start(105, 'c').unwrap();
        assert!(caller.reply(RDONE, call.tag, &[104]).is_err());
        assert_eq!(caller.reply(RDONE, call.tag, &[0]), Ok(Reply::Cancelled('c')));
    }

    #[test]
    fn streams_and_calls_do_not_use_up_each_others_tags() {
        let mut caller = Caller::new(2);
        for _ in 0..MAX_STREAMS {
            caller.start_stream(105, 0).unwrap();
        }
        assert!(!caller.has_room_for_stream());
        caller.wait_stream(1);
        assert!(caller.start(103, 0).is_ok() && caller.has_room());
        assert!(caller.promote(|_| 105).is_none(), "no stream ended");
        assert_eq!(caller.reply(RDONE, 7, &[0]), Ok(Reply::Cancelled(0)));
        let (ticket, value) = caller.promote(|_| 105).unwrap();
        assert_eq!((ticket.tag, *value), (7, 1));
    }

    #[test]
    fn a_cancelled_tag_is_free_when_the_peer_says_so() {
        let mut caller = Caller::new(4);
        let call = caller.start(103, 'a').unwrap();
        caller.abandon(call).unwrap();
        let tag = caller.cancel(call.tag).unwrap();
        assert_ne!(tag, call.tag);
        assert!(caller.reply(RCANCEL, tag, &[9, 9]).is_err(), "another request's");
        assert_eq!(caller.reply(RCANCEL, tag, &call.tag.to_le_bytes()), Ok(Reply::Abandoned));
        assert_eq!(caller.pending(), 0);
        assert!(caller.reply(103, call.tag, &[]).is_err(), "nothing comes after it");
        assert!(caller.reply(RCANCEL, tag, &call.tag.to_le_bytes()).is_err(), "it came twice");
    }

    #[test]
    fn cancelling_works_when_all_tags_are_taken() {
        let mut caller = Caller::new(u16::MAX);
        let all: Vec<Ticket> = (0..65535_u32).map(|n| caller.start(103, n).unwrap()).collect();
        for ticket in &all[..3] {
            caller.abandon(*ticket).unwrap();
        }
        assert_eq!(caller.cancel(all[0].tag), Some(NO_TAG));
        assert_eq!(caller.cancel(all[1].tag), None, "its turn comes");
        assert_eq!(caller.cancel(all[2].tag), None);
        assert_eq!(caller.next_cancel(), None);
        caller.reply(RCANCEL, NO_TAG, &all[0].tag.to_le_bytes()).unwrap();
        // The first cancellation freed a tag, which serves for the second and the third.
        assert_eq!(caller.next_cancel(), Some((all[0].tag, all[1].tag)));
        assert_eq!(caller.next_cancel(), Some((NO_TAG, all[2].tag)));
    }

    #[test]
    fn a_restart_finds_calls_behind_those_that_stopped_waiting() {
        let mut caller = Caller::new(1);
        let early = caller.wait('a');
        assert_eq!(caller.abandon(early), Some('a'));
        let call = caller.start(103, 'b').unwrap();
        assert!(caller.restart(|_, _| true).is_empty());
        assert!(caller.is_live(call), "it waits behind nobody");
        assert_eq!(caller.abandon(call), Some('b'));
    }

    #[test]
    fn a_late_acknowledgement_does_not_free_the_next_owner_of_the_tag() {
        let mut caller = Caller::new(4);
        let old = caller.start(103, 'a').unwrap();
        caller.abandon(old).unwrap();
        let tag = caller.cancel(old.tag).unwrap();
        caller.reply(103, old.tag, &[]).unwrap();
        let new = caller.start(103, 'b').unwrap();
        assert_eq!(new.tag, old.tag);
        caller.abandon(new).unwrap();
        caller.reply(RCANCEL, tag, &old.tag.to_le_bytes()).unwrap();
        assert_eq!(caller.reply(103, new.tag, &[]), Ok(Reply::Abandoned));
    }
}
