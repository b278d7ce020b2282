//! Both ends of a lane, calls and subscriptions between them, and two ways for bytes that a script
//! cuts where it likes; or one end of ours and a stranger.
//!
//! Items come in order, each once, and none after the end, of which there is one. No more of a
//! stream is on its way or held than its window and one item. A tag belongs to one call until the
//! peer has done with it, all come back, and calls have theirs however many subscriptions there are.
//! What may have been begun is not sent again, unless it may be begun twice. A stranger finds out
//! nothing but errors.
//!
//! The ends are made of `jetstream-proto` as those of `rust/py` are, without Python.

mod answers;
mod book;
mod called;
mod calling;
mod handling;
mod stranger;
mod ways;

use jetstream_proto::ext::FOREVER;
use jetstream_proto::mux::{Deadlines, Shape};
use jetstream_proto::version::Version;

use self::book::{Book, Call, End, METHODS, MOST_CALLS, MSIZE};
use self::called::{Called, Manners};
use self::calling::{Calling, Phase};
use self::handling::Answer;
use self::ways::Line;
use crate::script::Script;

/// Calls at once up to here, so that short inputs use them up.
const MOST: u16 = 9;

/// Who is there before the first step and is not answered, so that few more use up the streams, or
/// all tags.
const CROWDS: [(u16, u16); 3] = [(0, 0), (0, 1_021), (64_508, 1_021)];

/// The time of calls that do not say, where there is one.
const USUAL: u64 = 200;

/// Who sits where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ours,
    /// A stranger is called.
    StrangerCalled,
    /// A stranger calls.
    StrangerCalls,
}

struct World {
    mode: Mode,
    book: Book,
    /// Those that calls were begun on before, and the one that goes on.
    lines: Vec<Line>,
    ours: Version,
    offers: bool,
    manners: Manners,
}

/// One input: who sits where, how much at once, and the steps.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut world = World::new(&mut script);
    while let Some(step) = script.step() {
        world.step(step, &mut script);
        world.agree();
    }
    world.drain();
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let (who, peers, most, times) =
            (script.byte(), script.byte(), script.byte(), script.byte());
        let at_first = script.number().max(1);
        let window = at_first.saturating_add(script.number());
        let mode = match who % 4 {
            0 | 1 => Mode::Ours,
            2 => Mode::StrangerCalled,
            _ => Mode::StrangerCalls,
        };
        let manners = match peers % 4 {
            0 | 1 => Manners::Accepts,
            2 => Manners::Ignores,
            _ => Manners::Echoes,
        };
        let crowd = match mode {
            // Seldom: crowds take their time.
            Mode::Ours => CROWDS[usize::from(who >= 0xe0) + usize::from(who >= 0xf8)],
            _ => CROWDS[0],
        };
        let book = Book {
            calls: Vec::new(),
            honest: mode == Mode::Ours,
            at_first,
            window,
            usual_time: if times % 2 == 0 { FOREVER } else { USUAL },
            now: 0,
            deadlines: Deadlines::default(),
            live: 0,
        };
        let Ok(ours) = Version::parse("rs.jetstream.proto/fuzz/1.2.3+0a1b") else {
            panic!("our own version")
        };
        let mut line =
            Line::new(Calling::new(u16::from(most) % MOST + 1, crowd), Called::new(manners));
        for tag in 0..crowd.0 + crowd.1 {
            assert_eq!(line.called.callee.begin(tag), Ok(()));
        }
        let offers = peers / 4 % 2 == 0;
        if mode == Mode::Ours {
            // The crowd began on this connection, which therefore agreed before.
            let extension = offers && manners == Manners::Accepts;
            if crowd == (0, 0) {
                line.connect((&ours, offers, manners));
            } else {
                line.called.agreed(extension);
                line.calling.agreed(extension, &book);
            }
        } else {
            line.called.agreed(offers);
            line.calling.agreed(offers, &book);
        }
        Self { mode, book, lines: vec![line], ours, offers, manners }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let which = if step % 16 == 0 || step % 16 == 15 { 0 } else { script.byte() };
        match step % 16 {
            0 => self.call(script),
            1 => self.deliver(which, true, script),
            2 => self.deliver(which, false, script),
            3 => self.exchange(),
            4 => {
                let padding = script.number() as usize % (2 * MSIZE as usize);
                let book = &mut self.book;
                for line in &mut self.lines {
                    for _ in 0..=which / 64 {
                        line.called.yields(which % 64, padding, book);
                    }
                }
            }
            5 => {
                let Some(number) = self.pick(which % 64, |call| !call.inbox.is_empty()) else {
                    return;
                };
                for _ in 0..=which / 64 {
                    self.take(number);
                }
            }
            6 => {
                let answer = if script.byte() % 4 == 3 { Answer::Fault } else { Answer::Result };
                let book = &mut self.book;
                for line in &mut self.lines {
                    line.called.ends(which, answer, book);
                }
            }
            7 => {
                if let Some(number) = self.pick(which, |call| call.end.is_none()) {
                    self.withdraw(number, End::Left);
                }
            }
            8 | 9 => {
                let feeds = |call: &Call| call.end.is_none() && call.feed.is_some();
                let Some(number) = self.pick(which % 64, feeds) else { return };
                let line = self.line_of(number);
                let calling = &mut self.lines[line].calling;
                if step % 16 == 9 {
                    calling.ends_feed(number, &mut self.book);
                } else {
                    let padding = script.number() as usize % (2 * MSIZE as usize);
                    for _ in 0..=which / 64 {
                        if self.book.calls[number].end.is_none() {
                            calling.feeds(number, padding, &mut self.book);
                        }
                    }
                }
            }
            10 => {
                let book = &mut self.book;
                for line in &mut self.lines {
                    for _ in 0..=which / 64 {
                        line.called.takes_item(which % 64, book);
                    }
                }
            }
            11 => self.tick(which.into()),
            12 => self.connection(which),
            13 => self.called_end(which),
            14 => {
                let book = &mut self.book;
                match which % 2 {
                    0 => self.lines.iter_mut().for_each(|line| line.turn(book)),
                    _ => self.end_crowds(),
                }
            }
            _ => self.stranger(script),
        }
    }

    fn current(&mut self) -> &mut Line {
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    // ---- calls ----

    fn call(&mut self, script: &mut Script<'_>) {
        let (how, time) = (script.byte(), script.byte());
        if self.book.calls.len() >= MOST_CALLS || self.mode == Mode::StrangerCalls {
            return;
        }
        let method = how % METHODS.len() as u8;
        let time = match time {
            0xff => FOREVER,
            0xf0.. => self.book.usual_time,
            short => short.into(),
        };
        let call = self.book.draw_up(method, time, usize::from(how / 8));
        let number = self.book.calls.len();
        let until = call.until;
        self.book.calls.push(call);
        self.book.live += 1;
        let last = self.lines.len() - 1;
        let ticket = self.lines[last].calling.start(number, &mut self.book);
        self.book.calls[number].ticket = ticket;
        if let Some(until) = until {
            let (lines, live) = (&self.lines, self.book.live);
            self.book.deadlines.push(until, ticket, live, |ticket| {
                lines.iter().any(|line| line.calling.caller.is_live(ticket))
            });
            assert!(self.book.deadlines.len() <= 64 + 2 * live + 2, "ended calls pile up");
        }
        self.promote();
    }

    fn promote(&mut self) {
        for line in &mut self.lines {
            line.calling.promote(&mut self.book);
            line.calling.next_cancels();
        }
        let last = self.lines.len() - 1;
        let mut place = 0;
        self.lines.retain(|line| {
            place += 1;
            // What a former lane was there for is over, and so is the lane.
            place > last || line.calling.caller.pending() > 0
        });
    }

    fn pick(&self, which: u8, wanted: impl Fn(&Call) -> bool) -> Option<usize> {
        let calls = &self.book.calls;
        let numbers: Vec<usize> = (0..calls.len()).filter(|n| wanted(&calls[*n])).collect();
        numbers.get(usize::from(which) % numbers.len().max(1)).copied()
    }

    /// The lane that has a call, or that would if it had not ended.
    fn line_of(&self, number: usize) -> usize {
        let ticket = self.book.calls[number].ticket;
        let found = self.lines.iter().position(|line| line.calling.caller.is_live(ticket));
        assert_eq!(found.is_some(), self.book.calls[number].end.is_none(), "call {number}");
        found.unwrap_or(self.lines.len() - 1)
    }

    fn take(&mut self, number: usize) {
        let line = self.line_of(number);
        self.lines[line].calling.takes_item(number, &mut self.book);
    }

    fn withdraw(&mut self, number: usize, end: End) {
        let line = self.line_of(number);
        let call = &mut self.book.calls[number];
        call.inbox.clear();
        call.held = 0;
        self.lines[line].calling.withdraw(number, end, &mut self.book);
        self.promote();
    }

    fn tick(&mut self, by: u64) {
        self.book.now += by;
        let now = self.book.now;
        while let Some(ticket) = self.book.deadlines.expired(now) {
            let calls = &self.book.calls;
            let same = |call: &Call| call.ticket.serial == ticket.serial;
            let Some(number) = calls.iter().position(same) else {
                panic!("{ticket:?} is no call's")
            };
            assert!(calls[number].until.is_some_and(|until| until <= now), "before its time");
            if calls[number].end.is_none() {
                self.withdraw(number, End::Late);
            }
        }
        for call in self.book.calls.iter().filter(|call| call.end.is_none()) {
            assert!(call.until.is_none_or(|until| until > now), "a deadline was forgotten");
        }
        for line in &mut self.lines {
            line.called.tick(now);
        }
    }

    fn called_end(&mut self, which: u8) {
        for line in &mut self.lines {
            match which % 4 {
                0 => line.called.release(),
                1 => line.called.is_busy = true,
                2 => line.called.resume(&mut self.book),
                _ => {}
            }
        }
        if which % 4 == 3 {
            let place = usize::from(which / 4) % self.lines.len();
            self.lines[place].called.go_away();
        }
        self.lines.iter_mut().for_each(|line| line.called.finish_if_done());
    }

    fn end_crowds(&mut self) {
        for line in &mut self.lines {
            for tag in line.calling.end_crowd() {
                // Unless its end is gone already.
                line.called.callee.finish(tag);
            }
        }
        self.promote();
    }

    fn stranger(&mut self, script: &mut Script<'_>) {
        let mut out = Vec::new();
        let line = &mut self.lines[0];
        let up = match self.mode {
            Mode::Ours => return self.exchange(),
            Mode::StrangerCalled => {
                stranger::speak(script, &stranger::ANSWERS, &mut out);
                line.down.bytes.extend(out);
                false
            }
            Mode::StrangerCalls => {
                stranger::speak(script, &stranger::REQUESTS, &mut out);
                line.up.bytes.extend(out);
                true
            }
        };
        while self.arrive(0, up, 61) {}
        self.promote();
    }

    // ---- the end ----

    fn agree(&self) {
        for line in &self.lines {
            line.calling.agree(&self.book);
            line.called.agree(&self.book);
        }
        let most = (self.book.window + MSIZE) as usize;
        for call in &self.book.calls {
            assert!(call.held < most, "{} bytes held", call.held);
            assert_eq!(call.held, call.inbox.iter().map(|(_, size)| size).sum::<usize>());
        }
    }

    /// Everything comes to an end, and nothing is left.
    fn drain(&mut self) {
        if self.mode != Mode::Ours {
            return self.fail(self.mode == Mode::StrangerCalls);
        }
        self.end_crowds();
        for round in 0.. {
            assert!(round <= 2 * self.book.calls.len() + 8, "it does not come to an end");
            self.called_end(0);
            self.called_end(2);
            if self.current().calling.phase == Phase::Detached {
                self.connection(2);
            }
            self.exchange();
            // All is taken, so whoever may send again may do so now.
            for number in 0..self.book.calls.len() {
                while !self.book.calls[number].inbox.is_empty() {
                    self.take(number);
                }
            }
            for line in &mut self.lines {
                while line.called.takes_item(0, &mut self.book) {}
            }
            self.exchange();
            for line in &mut self.lines {
                line.called.goes_on(&self.book);
                line.calling.goes_on(&self.book);
                while line.called.ends(0, Answer::Result, &mut self.book) {}
            }
            self.called_end(0);
            self.exchange();
            self.agree();
            let [line] = &self.lines[..] else { continue };
            let (calling, called) = (&line.calling, &line.called);
            if calling.is_quiet() && called.is_quiet() && calling.caller.waiting() == 0 {
                break;
            }
        }
        for (number, call) in self.book.calls.iter().enumerate() {
            assert!(call.end.is_some(), "call {number} has no end");
            let streams = call.method().shape == Shape::Stream;
            assert!(call.end != Some(End::Done) || streams);
            assert!(call.end != Some(End::Done) || call.received == call.taken);
        }
        assert_eq!(self.book.live, 0);
    }
}
