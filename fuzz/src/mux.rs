//! Random calls, replies, givings up and deadlines: a tag is never given twice while its call is
//! pending or quarantined, waiting calls get theirs in order, and every call ends exactly once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arbitrary::{Arbitrary, Unstructured};
use jetstream_proto::frame::kind::RERROR;
use jetstream_proto::limits::NO_TAG;
use jetstream_proto::mux::{Callee, Caller, Deadlines, MuxError, Reply, Ticket};

/// Tags up to here, so that short inputs use them up.
const MOST: u16 = 9;

#[derive(Debug, Arbitrary)]
enum Step {
    /// A call: it gets a tag at once, or waits; an early one waits for the version in any case.
    Call {
        reply: Kind,
        patience: u8,
        early: bool,
    },
    /// Those who wait get the tags that are free.
    Promote,
    /// A reply to a call that has a tag, of its own type.
    Answer {
        which: u8,
        fault: bool,
    },
    /// A reply as it may come from a hostile peer.
    Anything {
        kind: Kind,
        tag: u16,
    },
    /// Some call of all that ever were is given up.
    Abandon {
        which: u8,
    },
    /// Time goes on.
    Tick {
        by: u8,
    },
    /// The lane is gone.
    Drain,
    /// A request at the other end, and its answer.
    Request {
        tag: u16,
    },
    Answered {
        tag: u16,
    },
}

/// A reply's type: few, so that they meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    First,
    Second,
    Other(u8),
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::First => 103,
            Kind::Second => 105,
            Kind::Other(byte) => byte,
        }
    }
}

/// A call that has a tag.
#[derive(Debug, Clone, Copy)]
struct Held {
    call: usize,
    reply: u8,
    quarantined: bool,
}

struct Checked {
    caller: Caller<usize>,
    deadlines: Deadlines<u64, Ticket>,
    most: u16,
    now: u64,
    tickets: Vec<Ticket>,
    held: BTreeMap<u16, Held>,
    waiting: VecDeque<(usize, u8)>,
    /// Calls that have not ended, and when their time is up.
    live: BTreeMap<usize, u64>,
    callee: Callee,
    running: BTreeSet<u16>,
}

/// One input: how many tags there are, and the steps.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(most) = input.int_in_range(0..=MOST) else { return };
    let mut checked = Checked {
        caller: Caller::new(most),
        deadlines: Deadlines::default(),
        most: most.max(1),
        now: 0,
        tickets: Vec::new(),
        held: BTreeMap::new(),
        waiting: VecDeque::new(),
        live: BTreeMap::new(),
        callee: Callee::default(),
        running: BTreeSet::new(),
    };
    while !input.is_empty() {
        let Ok(step) = input.arbitrary::<Step>() else { break };
        checked.step(&step);
        checked.agree();
    }
    checked.step(&Step::Drain);
    checked.agree();
}

impl Checked {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Call { reply, patience, early } => {
                self.call(reply.byte(), patience.into(), early);
            }
            Step::Promote => self.promote(),
            Step::Answer { which, fault } => {
                let Some((&tag, held)) = nth(&self.held, which) else { return };
                let kind = if fault { RERROR } else { held.reply };
                self.reply(kind, tag);
            }
            Step::Anything { kind, tag } => self.reply(kind.byte(), tag % (2 * MOST)),
            Step::Abandon { which } => {
                if !self.tickets.is_empty() {
                    self.abandon(usize::from(which) % self.tickets.len());
                }
            }
            Step::Tick { by } => self.tick(by.into()),
            Step::Drain => self.drain(),
            Step::Request { tag } => {
                let fresh = self.running.insert(tag);
                let expected = if fresh { Ok(()) } else { Err(MuxError::DuplicateTag { tag }) };
                assert_eq!(self.callee.begin(tag), expected);
            }
            Step::Answered { tag } => {
                assert_eq!(self.callee.finish(tag), self.running.remove(&tag));
            }
        }
    }

    fn call(&mut self, reply: u8, patience: u64, early: bool) {
        let call = self.tickets.len();
        let room = self.held.len() < usize::from(self.most) && self.waiting.is_empty();
        assert_eq!(self.caller.has_room(), room);
        let ticket = if room && !early {
            let ticket = self.caller.start(reply, call);
            assert!(ticket.is_ok(), "no tag, though there was room");
            let Ok(ticket) = ticket else { return };
            self.hold(ticket.tag, call, reply);
            ticket
        } else {
            self.waiting.push_back((call, reply));
            let ticket = self.caller.wait(call);
            assert_eq!(ticket.tag, NO_TAG);
            ticket
        };
        self.tickets.push(ticket);
        let at = self.now + patience;
        let (caller, live) = (&self.caller, self.live.len());
        self.deadlines.push(at, ticket, live, |ticket| caller.is_live(ticket));
        self.live.insert(call, at);
        assert!(self.deadlines.len() <= 64 + 2 * (live + 1) + 2, "ended calls pile up");
    }

    /// A tag went to a call: nobody may have it.
    fn hold(&mut self, tag: u16, call: usize, reply: u8) {
        assert!(tag < self.most, "tag {tag} of {}", self.most);
        let before = self.held.insert(tag, Held { call, reply, quarantined: false });
        assert!(before.is_none(), "tag {tag} is still {before:?}'s");
    }

    fn reply(&mut self, kind: u8, tag: u16) {
        let outcome = self.caller.reply(kind, tag, &[]);
        let Some(held) = self.held.get(&tag).copied() else {
            assert_eq!(outcome, Err(MuxError::UnknownTag { kind, tag }));
            return;
        };
        if kind != held.reply && kind != RERROR {
            let error = MuxError::WrongReply { kind, tag, expected: held.reply };
            assert_eq!(outcome, Err(error));
            return;
        }
        let expected = match (held.quarantined, kind) {
            (true, _) => Reply::Abandoned,
            (false, RERROR) => Reply::Fault(held.call),
            (false, _) => Reply::Result(held.call),
        };
        assert_eq!(outcome, Ok(expected));
        self.held.remove(&tag);
        if !held.quarantined {
            self.live.remove(&held.call);
        }
    }

    /// First come, first served.
    fn promote(&mut self) {
        loop {
            let waiting = &self.waiting;
            let promoted = self.caller.promote(|&mut call| reply_of(waiting, call));
            let promoted = promoted.map(|(ticket, call)| (ticket, *call));
            let room = self.held.len() < usize::from(self.most);
            let next = if room { self.waiting.pop_front() } else { None };
            let (Some((ticket, call)), Some((expected, reply))) = (promoted, next) else {
                assert!(promoted.is_none() && next.is_none(), "{promoted:?} instead of {next:?}");
                return;
            };
            assert_eq!(call, expected, "somebody was overtaken");
            assert_eq!(ticket.serial, self.tickets[call].serial);
            self.hold(ticket.tag, call, reply);
        }
    }

    fn abandon(&mut self, call: usize) {
        let given_up = self.caller.abandon(self.tickets[call]);
        let was_live = self.live.remove(&call).is_some();
        assert_eq!(given_up, was_live.then_some(call));
        self.waiting.retain(|(waiting, _)| *waiting != call);
        for held in self.held.values_mut().filter(|held| was_live && held.call == call) {
            held.quarantined = true;
        }
    }

    fn tick(&mut self, by: u64) {
        self.now += by;
        while let Some(ticket) = self.deadlines.expired(self.now) {
            let call = self.tickets.iter().position(|known| known.serial == ticket.serial);
            let Some(call) = call else { panic!("{ticket:?} is no call's") };
            if let Some(at) = self.live.get(&call) {
                assert!(*at <= self.now, "call {call} expired before its time");
                self.abandon(call);
            }
        }
        assert!(self.live.values().all(|at| *at > self.now), "a deadline was forgotten");
    }

    fn drain(&mut self) {
        let mut drained = self.caller.drain();
        drained.sort_unstable();
        assert!(drained.iter().eq(self.live.keys()), "every live call ends, and only those");
        self.live.clear();
        self.held.clear();
        self.waiting.clear();
    }

    fn agree(&self) {
        assert_eq!(self.caller.pending(), self.held.len());
        assert_eq!(self.caller.waiting(), self.waiting.len());
        assert_eq!(self.callee.running(), self.running.len());
        for (call, ticket) in self.tickets.iter().enumerate() {
            assert_eq!(self.caller.is_live(*ticket), self.live.contains_key(&call), "call {call}");
        }
    }
}

fn nth<K, V: Copy>(map: &BTreeMap<K, V>, which: u8) -> Option<(&K, V)> {
    let index = usize::from(which) % map.len().max(1);
    map.iter().nth(index).map(|(key, value)| (key, *value))
}

fn reply_of(waiting: &VecDeque<(usize, u8)>, call: usize) -> u8 {
    waiting.iter().find(|(other, _)| *other == call).map_or(0, |(_, reply)| *reply)
}
