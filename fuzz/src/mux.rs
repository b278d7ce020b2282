//! Random calls, streams, replies, givings up, cancellations, restarts and deadlines: a tag is never
//! given twice while anything is pending, quarantined or being cancelled under it, those who wait
//! get theirs in order, and every call ends exactly once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jetstream_proto::ext::LOSSY;
use jetstream_proto::frame::kind::{RCANCEL, RDONE, RERROR};
use jetstream_proto::limits::{MAX_STREAMS, NO_TAG};
use jetstream_proto::mux::{Callee, Caller, Deadlines, MuxError, Reply, Shape, Ticket};

use crate::script::Script;

/// Calls at once up to here, so that short inputs use them up.
const MOST: u16 = 9;

/// Who is there before the first step, so that few more use up streams, or all tags: calls and
/// streams that nobody answers.
const CROWDS: [(u16, u16); 3] = [(0, 0), (0, 1_021), (64_508, 1_021)];

/// Values from here on are the crowd's.
const CROWD: usize = 1 << 20;

/// Reply types: of methods, few, so that they meet, and all that mean something of their own.
const KINDS: [u8; 8] = [103, 105, RERROR, RDONE, LOSSY, RCANCEL, 9, 102];

/// A call or stream that has a tag.
#[derive(Debug, Clone, Copy)]
struct Held {
    call: usize,
    quarantined: bool,
}

/// What a call or stream is from its beginning.
#[derive(Debug, Clone, Copy)]
struct Made {
    ticket: Ticket,
    reply: u8,
    shape: Shape,
}

/// Whom a cancellation means: the tag, and the call that had it.
type Target = (u16, usize);

struct Checked {
    caller: Caller<usize>,
    deadlines: Deadlines<u64, Ticket>,
    /// Calls that may have a tag at once, the crowd's included.
    most: usize,
    now: u64,
    made: Vec<Made>,
    held: BTreeMap<u16, Held>,
    waiting: VecDeque<usize>,
    waiting_streams: VecDeque<usize>,
    cancelling: BTreeMap<u16, Target>,
    reserved: Option<Target>,
    to_cancel: VecDeque<Target>,
    /// Calls that have not ended, and when their time is up.
    live: BTreeMap<usize, u64>,
    crowd: (u16, u16),
    called: Called,
}

/// One input: how many calls at once, who is there, and the steps.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let most = u16::from(script.byte()) % MOST + 1;
    let crowd = CROWDS[usize::from(script.byte()) % CROWDS.len()];
    let mut checked = Checked::new(most, crowd);
    while let Some(step) = script.step() {
        checked.step(step, &mut script);
        checked.agree();
    }
    checked.drain();
    checked.agree();
}

impl Checked {
    fn new(most: u16, crowd: (u16, u16)) -> Self {
        let mut caller = Caller::new(crowd.0 + most);
        for number in 0..crowd.0 {
            assert!(caller.start(103, CROWD).is_ok_and(|ticket| ticket.tag == number));
        }
        for number in 0..crowd.1 {
            let started = caller.start_stream(103, CROWD);
            assert!(started.is_ok_and(|ticket| ticket.tag == crowd.0 + number));
        }
        Self {
            caller,
            deadlines: Deadlines::default(),
            most: usize::from(crowd.0 + most),
            now: 0,
            made: Vec::new(),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_streams: VecDeque::new(),
            cancelling: BTreeMap::new(),
            reserved: None,
            to_cancel: VecDeque::new(),
            live: BTreeMap::new(),
            crowd,
            called: Called::default(),
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 16 {
            0 | 1 => self.call(Shape::Call, script),
            2 | 3 => self.call(Shape::Stream, script),
            4 => self.promote(),
            // The answer that fits; to a stream an item, or its end.
            5 => self.answer(script.byte(), |reply, _| (reply, Vec::new())),
            6 => self.answer(script.byte(), |_, _| (RERROR, Vec::new())),
            7 => self.answer(script.byte(), |reply, shape| match shape {
                Shape::Call => (reply, vec![1, 2]),
                Shape::Stream => (RDONE, vec![reply - 1, 7]),
            }),
            8 => self.answer(script.byte(), |_, _| (RDONE, vec![0])),
            9 => {
                // What a hostile peer may send.
                let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
                let tag = match script.byte() {
                    0xff => NO_TAG,
                    near => self.base().saturating_add(u16::from(near) % (2 * MOST)),
                };
                let count = script.byte() % 4;
                let payload = script.bytes(count.into()).to_vec();
                self.reply(kind, tag, &payload);
            }
            10 => self.abandon(script.byte()),
            11 => self.cancel(script.byte()),
            12 => self.acknowledge(script.byte()),
            13 => match script.byte() % 4 {
                0 => self.restart(script.byte()),
                1 => self.drain_waiting(),
                2 => self.drain(),
                _ => self.next_cancel(),
            },
            14 => self.tick(script.byte().into()),
            _ => self.called.step(script),
        }
    }

    /// The first tag that is not the crowd's.
    fn base(&self) -> u16 {
        self.crowd.0 + self.crowd.1
    }

    fn holding(&self, shape: Shape) -> usize {
        self.held.values().filter(|held| self.made[held.call].shape == shape).count()
    }

    fn a_tag_is_free(&self) -> bool {
        let taken = usize::from(self.base()) + self.held.len() + self.cancelling.len();
        taken < usize::from(NO_TAG)
    }

    fn may_start(&self, shape: Shape) -> bool {
        let allowed = match shape {
            Shape::Call => self.holding(shape) + usize::from(self.crowd.0) < self.most,
            Shape::Stream => self.holding(shape) + usize::from(self.crowd.1) < MAX_STREAMS,
        };
        allowed && self.a_tag_is_free()
    }

    // ---- calls ----

    fn call(&mut self, shape: Shape, script: &mut Script<'_>) {
        let reply = KINDS[usize::from(script.byte() % 2)];
        let patience = u64::from(script.byte());
        let early = script.byte() % 4 == 3;
        let call = self.made.len();
        let waiting = match shape {
            Shape::Call => &self.waiting,
            Shape::Stream => &self.waiting_streams,
        };
        let room = waiting.is_empty() && self.may_start(shape);
        let (has_room, started) = match shape {
            Shape::Call => (self.caller.has_room(), Caller::start as fn(_, _, _) -> _),
            Shape::Stream => (self.caller.has_room_for_stream(), Caller::start_stream as _),
        };
        assert_eq!(has_room, room, "{shape:?}");
        let ticket = if room && !early {
            let Ok(ticket) = started(&mut self.caller, reply, call) else {
                panic!("no tag, though there was room");
            };
            ticket
        } else {
            let ticket = match shape {
                Shape::Call => self.caller.wait(call),
                Shape::Stream => self.caller.wait_stream(call),
            };
            assert_eq!(ticket.tag, NO_TAG);
            self.line(shape).push_back(call);
            ticket
        };
        self.made.push(Made { ticket, reply, shape });
        if ticket.tag != NO_TAG {
            self.hold(ticket.tag, call);
        }
        let at = self.now + patience;
        let (caller, live) = (&self.caller, self.live.len());
        self.deadlines.push(at, ticket, live, |ticket| caller.is_live(ticket));
        self.live.insert(call, at);
        assert!(self.deadlines.len() <= 64 + 2 * (live + 1) + 2, "ended calls pile up");
    }

    fn line(&mut self, shape: Shape) -> &mut VecDeque<usize> {
        match shape {
            Shape::Call => &mut self.waiting,
            Shape::Stream => &mut self.waiting_streams,
        }
    }

    /// A tag went to a call: nobody else may have it.
    fn hold(&mut self, tag: u16, call: usize) {
        self.check_free(tag);
        self.held.insert(tag, Held { call, quarantined: false });
    }

    fn check_free(&self, tag: u16) {
        assert!(tag >= self.base() && tag != NO_TAG, "tag {tag} is the crowd's, or nobody's");
        assert!(!self.held.contains_key(&tag), "tag {tag} is still {:?}'s", self.held.get(&tag));
        assert!(!self.cancelling.contains_key(&tag), "tag {tag} is still cancelling");
    }

    /// First come, first served; calls before streams.
    fn promote(&mut self) {
        loop {
            let made = &self.made;
            let promoted = self.caller.promote(|&mut call| made[call].reply);
            let promoted = promoted.map(|(ticket, call)| (ticket, *call));
            let next = [Shape::Call, Shape::Stream]
                .into_iter()
                .find(|&shape| self.may_start(shape) && !self.line(shape).is_empty())
                .and_then(|shape| self.line(shape).pop_front());
            assert_eq!(promoted.map(|(_, call)| call), next, "somebody was overtaken");
            let Some((ticket, call)) = promoted else { return };
            assert_eq!(ticket.serial, self.made[call].ticket.serial);
            self.hold(ticket.tag, call);
        }
    }

    // ---- replies ----

    fn answer(&mut self, which: u8, with: impl Fn(u8, Shape) -> (u8, Vec<u8>)) {
        let Some((tag, held)) = nth(&self.held, which) else { return };
        let made = self.made[held.call];
        let (kind, payload) = with(made.reply, made.shape);
        self.reply(kind, tag, &payload);
    }

    fn reply(&mut self, kind: u8, tag: u16, payload: &[u8]) {
        let outcome = self.caller.reply(kind, tag, payload);
        if kind == RCANCEL {
            return self.acknowledged(tag, payload, outcome);
        }
        let Some(held) = self.held.get(&tag).copied() else {
            assert_eq!(outcome, Err(MuxError::UnknownTag { kind, tag }));
            return;
        };
        let made = self.made[held.call];
        let item = made.shape == Shape::Stream && (kind == made.reply || kind == LOSSY);
        let ended = if kind == RERROR {
            Reply::Fault(held.call)
        } else if kind == RDONE && payload == [0] {
            Reply::Cancelled(held.call)
        } else if made.shape == Shape::Call && kind == made.reply {
            Reply::Result(held.call)
        } else if made.shape == Shape::Stream
            && kind == RDONE
            && payload.first() == Some(&(made.reply - 1))
        {
            Reply::Done(held.call)
        } else if item {
            let expected = if held.quarantined { Reply::Abandoned } else { Reply::Item };
            assert_eq!(outcome, Ok(expected));
            let value = (!held.quarantined).then_some(held.call);
            assert_eq!(self.caller.value(tag).copied(), value);
            return;
        } else {
            let error = MuxError::WrongReply { kind, tag, expected: made.reply };
            assert_eq!(outcome, Err(error));
            return;
        };
        assert_eq!(outcome, Ok(if held.quarantined { Reply::Abandoned } else { ended }));
        self.held.remove(&tag);
        if !held.quarantined {
            self.live.remove(&held.call);
        }
    }

    // ---- giving up ----

    fn abandon(&mut self, which: u8) {
        if !self.made.is_empty() {
            let call = usize::from(which) % self.made.len();
            self.give_up(call);
        }
    }

    fn give_up(&mut self, call: usize) {
        let given_up = self.caller.abandon(self.made[call].ticket);
        let was_live = self.live.remove(&call).is_some();
        assert_eq!(given_up, was_live.then_some(call));
        let shape = self.made[call].shape;
        self.line(shape).retain(|waiting| *waiting != call);
        for held in self.held.values_mut().filter(|held| was_live && held.call == call) {
            held.quarantined = true;
        }
    }

    fn is_quarantined(&self, (tag, call): Target) -> bool {
        self.held.get(&tag).is_some_and(|held| held.quarantined && held.call == call)
    }

    fn cancel(&mut self, which: u8) {
        if let Some((tag, held)) = nth(&self.held, which) {
            let got = self.caller.cancel(tag);
            self.cancelled((tag, held.call), got);
        }
    }

    fn cancelled(&mut self, target: Target, got: Option<u16>) {
        if !self.is_quarantined(target) {
            assert_eq!(got, None, "what is not given up is not to be cancelled");
        } else if self.a_tag_is_free() {
            let Some(tag) = got else { panic!("a tag was free for a cancellation") };
            self.check_free(tag);
            self.cancelling.insert(tag, target);
        } else if self.reserved.is_none() {
            assert_eq!(got, Some(NO_TAG));
            self.reserved = Some(target);
        } else {
            assert_eq!(got, None, "the reserved tag is taken");
            self.to_cancel.push_back(target);
        }
    }

    fn next_cancel(&mut self) {
        let next = self.caller.next_cancel();
        while self.reserved.is_none() {
            let Some(target) = self.to_cancel.pop_front() else { break };
            if self.is_quarantined(target) {
                assert_eq!(next.map(|(_, tag)| tag), Some(target.0));
                return self.cancelled(target, next.map(|(tag, _)| tag));
            }
        }
        assert_eq!(next, None);
    }

    /// The peer answers a cancellation as it should.
    fn acknowledge(&mut self, which: u8) {
        let mut asked: BTreeMap<u16, Target> = self.cancelling.clone();
        asked.extend(self.reserved.map(|target| (NO_TAG, target)));
        if let Some((tag, (target, _))) = nth(&asked, which) {
            self.reply(RCANCEL, tag, &target.to_le_bytes());
        }
    }

    fn acknowledged(&mut self, tag: u16, payload: &[u8], outcome: Result<Reply<usize>, MuxError>) {
        let asked = match tag {
            NO_TAG => self.reserved,
            tag => self.cancelling.get(&tag).copied(),
        };
        let Some(target) = asked else {
            assert_eq!(outcome, Err(MuxError::UnknownTag { kind: RCANCEL, tag }));
            return;
        };
        if payload != target.0.to_le_bytes() {
            let error = MuxError::WrongReply { kind: RCANCEL, tag, expected: RCANCEL };
            assert_eq!(outcome, Err(error));
            return;
        }
        assert_eq!(outcome, Ok(Reply::Abandoned));
        match tag {
            NO_TAG => self.reserved = None,
            tag => drop(self.cancelling.remove(&tag)),
        }
        // Its tag may have gone to another by now, whom it does not concern.
        if self.is_quarantined(target) {
            self.held.remove(&target.0);
        }
    }

    // ---- ends ----

    fn tick(&mut self, by: u64) {
        self.now += by;
        while let Some(ticket) = self.deadlines.expired(self.now) {
            let call = self.made.iter().position(|made| made.ticket.serial == ticket.serial);
            let Some(call) = call else { panic!("{ticket:?} is no call's") };
            if let Some(at) = self.live.get(&call) {
                assert!(*at <= self.now, "call {call} expired before its time");
                self.give_up(call);
            }
        }
        assert!(self.live.values().all(|at| *at > self.now), "a deadline was forgotten");
    }

    /// Another lane takes this one's place, for those that may be sent again.
    fn restart(&mut self, choice: u8) {
        let keeps = |call: usize| call < CROWD && (call as u8).wrapping_add(choice) % 3 != 0;
        let mut over = self.caller.restart(|_, call| keeps(*call));
        over.retain(|call| *call < CROWD);
        over.sort_unstable();
        let (mut kept, mut lost) = (BTreeSet::new(), Vec::new());
        for held in std::mem::take(&mut self.held).into_values().filter(|held| !held.quarantined) {
            if keeps(held.call) {
                kept.insert(held.call);
            } else {
                lost.push(held.call);
            }
        }
        lost.sort_unstable();
        assert_eq!(over, lost);
        // They wait before the others, in the order in which they were made.
        for call in kept.into_iter().rev() {
            let shape = self.made[call].shape;
            self.line(shape).push_front(call);
        }
        for call in lost {
            self.live.remove(&call);
        }
        self.forget_lane();
    }

    fn forget_lane(&mut self) {
        self.held.clear();
        self.cancelling.clear();
        self.to_cancel.clear();
        self.reserved = None;
        self.crowd = (0, 0);
    }

    fn drain_waiting(&mut self) {
        let mut drained = self.caller.drain_waiting();
        drained.sort_unstable();
        let mut expected: Vec<_> = self.waiting.drain(..).collect();
        expected.extend(self.waiting_streams.drain(..));
        expected.sort_unstable();
        assert_eq!(drained, expected);
        for call in drained {
            self.live.remove(&call);
        }
    }

    fn drain(&mut self) {
        let mut drained = self.caller.drain();
        drained.retain(|call| *call < CROWD);
        drained.sort_unstable();
        assert!(drained.iter().eq(self.live.keys()), "every live call ends, and only those");
        self.live.clear();
        self.waiting.clear();
        self.waiting_streams.clear();
        self.forget_lane();
    }

    fn agree(&self) {
        let pending = usize::from(self.base()) + self.held.len();
        assert_eq!(self.caller.pending(), pending);
        assert_eq!(self.caller.waiting(), self.waiting.len() + self.waiting_streams.len());
        for (call, made) in self.made.iter().enumerate() {
            let live = self.live.contains_key(&call);
            assert_eq!(self.caller.is_live(made.ticket), live, "call {call}");
            let under = self.held.iter().find(|(_, held)| held.call == call && !held.quarantined);
            let tag = under.map(|(tag, _)| *tag);
            assert_eq!(self.caller.tag_of(made.ticket), tag, "call {call}");
        }
        self.called.agree();
    }
}

/// The called end: which tags are being answered, and what was announced.
#[derive(Default)]
struct Called {
    callee: Callee,
    running: BTreeSet<u16>,
    announced: Option<u16>,
}

impl Called {
    fn step(&mut self, script: &mut Script<'_>) {
        let step = script.byte();
        // Few tags, and some at the edges.
        let tag = match script.byte() {
            0xff => NO_TAG,
            few => u16::from(few) % 4 * 63,
        };
        let taken = self.running.contains(&tag);
        let interrupted = self.announced.map(|tag| MuxError::Interrupted { tag });
        match step % 4 {
            0 => {
                let fresh = if taken { Err(MuxError::DuplicateTag { tag }) } else { Ok(()) };
                assert_eq!(self.callee.begin(tag), fresh);
                self.running.insert(tag);
            }
            1 => {
                let duplicate = taken.then_some(MuxError::DuplicateTag { tag });
                let expected = interrupted.or(duplicate).map_or(Ok(()), Err);
                assert_eq!(self.callee.announce(tag), expected);
                if expected.is_ok() {
                    self.announced = Some(tag);
                }
            }
            2 => {
                let request = (script.byte() % 2 == 0).then_some(tag);
                let expected = match (self.announced, interrupted) {
                    (Some(announced), _) if request == Some(announced) => Ok(true),
                    (_, Some(error)) => Err(error),
                    _ => Ok(false),
                };
                assert_eq!(self.callee.go_on(request), expected);
                if expected == Ok(true) {
                    self.announced = None;
                }
            }
            _ => assert_eq!(self.callee.finish(tag), self.running.remove(&tag)),
        }
    }

    fn agree(&self) {
        assert_eq!(self.callee.running(), self.running.len());
        assert!(self.running.iter().all(|tag| self.callee.is_running(*tag)));
    }
}

fn nth<K: Copy, V: Copy>(map: &BTreeMap<K, V>, which: u8) -> Option<(K, V)> {
    let index = usize::from(which) % map.len().max(1);
    map.iter().nth(index).map(|(key, value)| (*key, *value))
}
