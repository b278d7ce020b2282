//! What the called end does about its requests: begins them, yields and takes items, answers.

use std::collections::VecDeque;

use jetstream_proto::ext;
use jetstream_proto::frame;
use jetstream_proto::frame::kind::{RDONE, RERROR};
use jetstream_proto::mux::{self, Receiving, Sending, Shape};

use super::book::{Book, DIALECT, METHODS, MSIZE, item};
use super::called::Called;

/// Who ended a handler before it ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Caller,
    Deadline,
    Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its turn.
    Parked,
    Running,
    /// It has answered, and its task is not over yet.
    Answered,
}

/// A stream from the caller, where it is taken.
pub(super) struct Inlet {
    pub(super) receiving: Receiving,
    pub(super) inbox: VecDeque<(u32, usize)>,
    pub(super) held: usize,
    pub(super) arrived: u32,
    pub(super) taken: u32,
    pub(super) ended: bool,
}

pub(super) struct Handler {
    pub(super) tag: u16,
    pub(super) serial: u64,
    pub(super) method: u8,
    /// Which call it is, where the caller is ours.
    pub(super) call: usize,
    pub(super) state: State,
    /// What the caller takes of its items, where it says so.
    pub(super) outlet: Option<Sending>,
    pub(super) sent: u32,
    pub(super) inlet: Option<Inlet>,
    pub(super) until: Option<u64>,
    pub(super) why: Option<Why>,
    /// The tags of those who asked to cancel it, to be answered when it has ended.
    pub(super) cancels: Vec<u16>,
}

/// How a handler ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Result,
    Fault,
}

impl Called {
    /// Begins what is parked, in order.
    pub(super) fn resume(&mut self, book: &mut Book) {
        self.is_busy = false;
        for place in 0..self.handlers.len() {
            if self.handlers[place].state == State::Parked {
                self.begin(place, book);
            }
        }
    }

    pub(super) fn begin(&mut self, place: usize, book: &mut Book) {
        let handler = &mut self.handlers[place];
        handler.state = State::Running;
        let (tag, serial) = (handler.tag, handler.serial);
        if book.honest {
            book.begins(handler.call);
        }
        if handler.until.is_some_and(|until| until <= book.now) {
            let answer = Answer::Fault;
            return self.answer(place, answer, book);
        }
        if let Some(until) = handler.until {
            let handlers = &self.handlers;
            let running = handlers.len();
            self.deadlines.push(until, (tag, serial), running, |(tag, serial)| {
                handlers.iter().any(|handler| (handler.tag, handler.serial) == (tag, serial))
            });
        }
    }

    fn pick(&self, which: u8, wanted: impl Fn(&Handler) -> bool) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.handlers.len()).filter(|place| wanted(&self.handlers[*place])).collect();
        places.get(usize::from(which) % places.len().max(1)).copied()
    }

    /// A handler yields an item, if the window lets it.
    pub(super) fn yields(&mut self, which: u8, padding: usize, book: &mut Book) -> bool {
        let streams = |handler: &Handler| {
            handler.state == State::Running
                && METHODS[usize::from(handler.method)].shape == Shape::Stream
        };
        let Some(place) = self.pick(which, streams) else { return false };
        let handler = &mut self.handlers[place];
        if handler.outlet.is_some_and(|outlet| !outlet.is_open()) {
            return false;
        }
        let start = frame::begin(&mut self.out, DIALECT.reply(handler.method), handler.tag);
        item(handler.call, handler.sent, padding, &mut self.out);
        if frame::finish(&mut self.out, start, MSIZE).is_err() {
            assert_eq!(self.out.len(), start, "an item that is too large leaves nothing behind");
            self.answer(place, Answer::Fault, book);
            return false;
        }
        let size = self.out.len() - start;
        handler.sent += 1;
        if let Some(outlet) = &mut handler.outlet {
            outlet.sent(size);
        }
        if book.honest {
            let window = handler.outlet.map(|_| book.window);
            let call = &mut book.calls[handler.call];
            // What is sent to a caller that has gone is taken by nobody.
            if call.end.is_none() {
                call.down.sent(size, window);
            }
        }
        true
    }

    /// A handler takes an item of the stream from its caller.
    pub(super) fn takes_item(&mut self, which: u8, book: &mut Book) -> bool {
        let wanted = |handler: &Handler| {
            let inlet = handler.inlet.as_ref();
            handler.state == State::Running && inlet.is_some_and(|inlet| !inlet.inbox.is_empty())
        };
        let Some(place) = self.pick(which, wanted) else { return false };
        let handler = &mut self.handlers[place];
        let Some(inlet) = &mut handler.inlet else { return false };
        let Some((number, size)) = inlet.inbox.pop_front() else { return false };
        assert_eq!(number, inlet.taken, "items are taken in order, each once");
        inlet.taken += 1;
        inlet.held -= size;
        if book.honest {
            book.calls[handler.call].up.taken(size);
        }
        // When the caller has said that there is no more, nothing is to be granted.
        let grant = if inlet.ended { None } else { inlet.receiving.took(size) };
        if let Some(grant) = grant {
            ext::credit(handler.tag, grant, &mut self.out);
        }
        true
    }

    /// A handler ends.
    pub(super) fn ends(&mut self, which: u8, answer: Answer, book: &mut Book) -> bool {
        let place = self.pick(which, |handler| handler.state == State::Running);
        let Some(place) = place else { return false };
        match self.handlers[place].why {
            // It may end as if nobody had asked.
            Some(Why::Caller) if which < 128 => {
                let tag = self.handlers[place].tag;
                self.answered(place);
                // The acknowledgement alone says so, too.
                if which < 64 {
                    mux::ended(tag, &mut self.out);
                }
            }
            Some(Why::Deadline | Why::Shutdown) if which < 128 => {
                self.answer(place, Answer::Fault, book);
            }
            _ => self.answer(place, answer, book),
        }
        true
    }

    pub(super) fn answer(&mut self, place: usize, answer: Answer, book: &Book) {
        let handler = &self.handlers[place];
        let (tag, method, call, sent) = (handler.tag, handler.method, handler.call, handler.sent);
        self.answered(place);
        if answer == Answer::Fault {
            return self.fault_frame(tag);
        }
        let metadata = Book::metadata(call);
        if self.extension && book.honest && !metadata.0.is_empty() {
            ext::reply_head(tag, &metadata, &mut self.out);
        }
        let streams = METHODS[usize::from(method)].shape == Shape::Stream;
        let kind = if streams { RDONE } else { DIALECT.reply(method) };
        let start = frame::begin(&mut self.out, kind, tag);
        if streams {
            self.out.push(DIALECT.request(method));
        }
        item(call, sent, 3, &mut self.out);
        assert!(frame::finish(&mut self.out, start, MSIZE).is_ok());
    }

    /// The request is answered: its tag is free, and what belonged to it ends.
    fn answered(&mut self, place: usize) {
        let handler = &mut self.handlers[place];
        assert_ne!(handler.state, State::Answered, "a request is answered once");
        handler.state = State::Answered;
        handler.inlet = None;
        let tag = handler.tag;
        assert!(self.callee.finish(tag), "the tag of a request is taken until it is answered");
    }

    pub(super) fn take(&mut self, state: State) -> Vec<Handler> {
        let handlers = std::mem::take(&mut self.handlers).into_iter();
        let (taken, kept) = handlers.partition(|handler| handler.state == state);
        self.handlers = kept;
        taken
    }

    /// The tasks of those that have answered are over.
    pub(super) fn release(&mut self) {
        for handler in self.take(State::Answered) {
            for by in handler.cancels {
                assert!(self.callee.finish(by));
                mux::cancelled(by, handler.tag, &mut self.out);
            }
        }
    }

    pub(super) fn fault(&mut self, tag: u16) {
        assert!(self.callee.finish(tag));
        self.fault_frame(tag);
    }

    fn fault_frame(&mut self, tag: u16) {
        ext::empty(RERROR, tag, &mut self.out);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: u64) {
        while let Some((tag, serial)) = self.deadlines.expired(now) {
            let same = |handler: &&mut Handler| (handler.tag, handler.serial) == (tag, serial);
            if let Some(handler) = self.handlers.iter_mut().find(same) {
                assert!(handler.until.is_some_and(|until| until <= now));
                handler.why.get_or_insert(Why::Deadline);
            }
        }
    }
}
