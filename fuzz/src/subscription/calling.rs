//! The calling end of one lane: as `rust/py/src/caller` has it, without Python.

use std::collections::{BTreeMap, BTreeSet};

use jetstream_proto::ext::{self, FOREVER, Metadata, OFFER};
use jetstream_proto::frame::kind::RERROR;
use jetstream_proto::frame::{self, frames};
use jetstream_proto::limits::{MAX_STREAMS, NO_TAG};
use jetstream_proto::mux::{self, Caller, Kept, Reply, Shape, Ticket};
use jetstream_proto::version::{self, Version};

use super::book::{Book, DIALECT, End, MSIZE};

/// Calls and streams that are there before the first step and that nobody answers.
pub(super) const CROWD: usize = usize::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Negotiating,
    Open,
    /// The called end begins nothing more.
    Draining,
    /// There is no connection.
    Detached,
}

/// Who has a tag, from the frame that takes it to the one that gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Call(usize),
    /// A cancellation of the call that had this tag.
    Cancel(u16, usize),
}

pub(super) struct Calling {
    pub(super) caller: Caller<usize>,
    pub(super) phase: Phase,
    pub(super) extension: bool,
    pub(super) out: Vec<u8>,
    /// The tags of the crowd: calls first, then streams.
    pub(super) crowd: (u16, u16),
    most: usize,
    pub(super) used: BTreeMap<u16, Use>,
    /// Calls that were given up and whose cancellation has no tag yet.
    unasked: Vec<(u16, usize)>,
    pub(super) metadata: Option<(u16, Metadata)>,
}

impl Calling {
    pub(super) fn new(most: u16, crowd: (u16, u16)) -> Self {
        let mut caller = Caller::new(most + crowd.0);
        for tag in 0..crowd.0 {
            assert!(caller.start(103, CROWD).is_ok_and(|ticket| ticket.tag == tag));
        }
        for tag in crowd.0..crowd.0 + crowd.1 {
            assert!(caller.start_stream(109, CROWD).is_ok_and(|ticket| ticket.tag == tag));
        }
        Self {
            caller,
            phase: Phase::Detached,
            extension: false,
            out: Vec::new(),
            crowd,
            most: usize::from(most + crowd.0),
            used: BTreeMap::new(),
            unasked: Vec::new(),
            metadata: None,
        }
    }

    // ---- the wire ----

    /// Goes on over another connection.
    pub(super) fn connect(&mut self, ours: &Version, offers: bool) {
        assert_eq!(self.caller.pending(), 0, "what was begun stays where it was");
        let offered = if offers { ext::marked(ours, OFFER) } else { ours.clone() };
        (self.out, self.metadata, self.extension) = (Vec::new(), None, false);
        version::offer(&offered, MSIZE, &mut self.out);
        self.phase = Phase::Negotiating;
    }

    /// The lane has been agreed on.
    pub(super) fn agreed(&mut self, extension: bool, book: &Book) {
        self.extension = extension;
        self.phase = Phase::Open;
        if extension && book.usual_time != FOREVER {
            ext::time(book.usual_time, &mut self.out);
        }
    }

    /// As many calls at once as another.
    pub(super) fn sized(&mut self, other: &Self) {
        self.most = other.most;
    }

    /// What was begun stays, what waits goes on elsewhere.
    pub(super) fn split(&mut self) -> Self {
        let former = self.caller.split();
        assert_eq!(former.waiting(), 0);
        let crowd = std::mem::take(&mut self.crowd);
        Self {
            caller: former,
            out: std::mem::take(&mut self.out),
            used: std::mem::take(&mut self.used),
            unasked: std::mem::take(&mut self.unasked),
            metadata: self.metadata.take(),
            crowd,
            ..*self
        }
    }

    /// Takes what was begun off the lane, which is gone: what can be sent again, and what cannot.
    /// `never_begun`: none of it was begun.
    pub(super) fn detach(
        &mut self,
        book: &Book,
        never_begun: bool,
    ) -> (Vec<Kept<usize>>, Vec<usize>) {
        let unsent: BTreeSet<u16> = frames(&self.out)
            .filter(|frame| DIALECT.method_of_request(frame.kind).is_some())
            .map(|frame| frame.tag)
            .collect();
        let (kept, mut over) = self.caller.dismantle(|tag, call| {
            let Some(call) = book.calls.get(*call) else { return false };
            let unbegun = never_begun || unsent.contains(&tag);
            call.may_be_repeated() || (unbegun && call.may_be_sent())
        });
        over.retain(|call| *call != CROWD);
        (self.out, self.metadata, self.crowd) = (Vec::new(), None, (0, 0));
        self.used.clear();
        self.unasked.clear();
        self.phase = Phase::Detached;
        assert_eq!(self.caller.pending(), 0);
        (kept, over)
    }

    /// The crowd is answered.
    pub(super) fn end_crowd(&mut self) -> std::ops::Range<u16> {
        let (calls, streams) = std::mem::take(&mut self.crowd);
        for tag in 0..calls + streams {
            assert_eq!(self.caller.reply(RERROR, tag, &[]), Ok(Reply::Fault(CROWD)));
        }
        0..calls + streams
    }

    // ---- calls ----

    fn holding(&self, shape: Shape, book: &Book) -> usize {
        let of_shape = |held: &&Use| matches!(held, Use::Call(call) if book.calls[*call].method().shape == shape);
        let crowd = match shape {
            Shape::Call => self.crowd.0,
            Shape::Stream => self.crowd.1,
        };
        self.used.values().filter(of_shape).count() + usize::from(crowd)
    }

    /// Whether the rules of tags let a call begin at once, however many streams there are, and a
    /// stream, however many calls.
    fn may_start(&self, shape: Shape, book: &Book) -> bool {
        let most = match shape {
            Shape::Call => self.most,
            Shape::Stream => MAX_STREAMS,
        };
        let taken = self.used.keys().filter(|tag| **tag != NO_TAG).count()
            + usize::from(self.crowd.0 + self.crowd.1);
        self.holding(shape, book) < most && taken < usize::from(NO_TAG)
    }

    pub(super) fn start(&mut self, number: usize, book: &mut Book) -> Ticket {
        let call = &book.calls[number];
        let (shape, reply) = (call.method().shape, call.reply());
        let room = match shape {
            Shape::Call => self.caller.has_room(),
            Shape::Stream => self.caller.has_room_for_stream(),
        };
        let waits = book.calls[..number].iter().any(|other| {
            other.method().shape == shape
                && other.end.is_none()
                && self.caller.is_live(other.ticket)
                && self.caller.tag_of(other.ticket).is_none()
        });
        assert_eq!(room, !waits && self.may_start(shape, book), "{shape:?}");
        let refused = call.feed.is_some() && !self.extension;
        if self.phase == Phase::Open && room && !refused {
            let started = match shape {
                Shape::Call => self.caller.start(reply, number),
                Shape::Stream => self.caller.start_stream(reply, number),
            };
            let Ok(ticket) = started else { panic!("no tag, though there was room") };
            self.sent(ticket.tag, number, book);
            return ticket;
        }
        match shape {
            Shape::Call => self.caller.wait(number),
            Shape::Stream => self.caller.wait_stream(number),
        }
    }

    /// A request has its tag, and its place in what leaves.
    fn sent(&mut self, tag: u16, number: usize, book: &mut Book) {
        self.takes(tag, Use::Call(number));
        let (more, now, usual) = (book.window - book.at_first, book.now, book.usual_time);
        let call = &mut book.calls[number];
        let metadata = Book::metadata(number);
        call.said = call.time;
        if self.extension && (!metadata.0.is_empty() || call.time != usual) {
            call.said = call.until.map_or(FOREVER, |until| until.saturating_sub(now));
            ext::head(tag, call.said, &metadata, &mut self.out);
        }
        frame::retag(&mut call.frame, tag);
        self.out.extend_from_slice(&call.frame);
        if let Some(feed) = &mut call.feed {
            feed.begun = true;
        }
        if call.method().shape == Shape::Stream && self.extension && more > 0 {
            ext::credit(tag, more, &mut self.out);
        }
    }

    /// Calls that waited get the tags that became free.
    pub(super) fn promote(&mut self, book: &mut Book) {
        if self.phase != Phase::Open {
            return;
        }
        loop {
            let calls = &book.calls;
            let promoted = self.caller.promote(|call| calls[*call].reply());
            let Some((ticket, &mut number)) = promoted else { return };
            assert_eq!(ticket.serial, book.calls[number].ticket.serial);
            if book.calls[number].feed.is_some() && !self.extension {
                // The tag was never used.
                let reply = self.caller.reply(RERROR, ticket.tag, &[]);
                assert_eq!(reply, Ok(Reply::Fault(number)));
                book.end(number, End::Refused);
                continue;
            }
            self.sent(ticket.tag, number, book);
        }
    }

    fn takes(&mut self, tag: u16, by: Use) {
        let crowd = self.crowd.0 + self.crowd.1;
        assert!(tag >= crowd, "tag {tag} is the crowd's");
        let before = self.used.insert(tag, by);
        assert_eq!(before, None, "tag {tag} went to {by:?}, and nobody gave it back");
    }

    /// Gives up a call, if it has not ended; the called end is told, if it would understand.
    pub(super) fn withdraw(&mut self, number: usize, end: End, book: &mut Book) {
        let ticket = book.calls[number].ticket;
        let tag = self.caller.tag_of(ticket);
        let given_up = self.caller.abandon(ticket);
        assert_eq!(given_up, Some(number));
        book.end(number, end);
        let understood = self.extension || book.calls[number].method().shape == Shape::Stream;
        let alive = matches!(self.phase, Phase::Open | Phase::Draining);
        if let Some(tag) = tag.filter(|_| understood && alive) {
            match self.caller.cancel(tag) {
                Some(by) => self.cancels(by, tag),
                None => self.unasked.push((tag, number)),
            }
        }
    }

    fn cancels(&mut self, by: u16, tag: u16) {
        let Some(Use::Call(number)) = self.used.get(&tag).copied() else {
            panic!("tag {tag} is cancelled, and is no call's")
        };
        self.takes(by, Use::Cancel(tag, number));
        self.unasked.retain(|(target, _)| *target != tag);
        mux::cancel(by, tag, &mut self.out);
    }

    /// Cancellations whose turn has come.
    pub(super) fn next_cancels(&mut self) {
        if !matches!(self.phase, Phase::Open | Phase::Draining) {
            return;
        }
        while let Some((by, tag)) = self.caller.next_cancel() {
            self.cancels(by, tag);
        }
        // One tag is kept for this: whoever is given up is told so, at once or in turn.
        let used = &self.used;
        self.unasked.retain(|(tag, number)| used.get(tag) == Some(&Use::Call(*number)));
        assert!(self.unasked.is_empty() || used.contains_key(&NO_TAG), "nobody tells the peer");
    }

    /// Sends an item of the stream that a call carries.
    pub(super) fn feeds(&mut self, number: usize, padding: usize, book: &mut Book) {
        let window = book.window;
        let call = &mut book.calls[number];
        let Some(feed) = &mut call.feed else { return };
        if !feed.begun || feed.ended || !feed.sending.is_open() {
            return;
        }
        let Some(tag) = self.caller.tag_of(call.ticket) else { return };
        let start = frame::begin(&mut self.out, ext::TITEM, tag);
        super::book::item(number, call.up.items, padding, &mut self.out);
        if frame::finish(&mut self.out, start, MSIZE).is_err() {
            assert_eq!(self.out.len(), start);
            return self.withdraw(number, End::Left, book);
        }
        let size = self.out.len() - start;
        feed.sending.sent(size);
        call.up.sent(size, Some(window));
    }

    pub(super) fn ends_feed(&mut self, number: usize, book: &mut Book) {
        let call = &mut book.calls[number];
        let Some(feed) = &mut call.feed else { return };
        let Some(tag) = self.caller.tag_of(call.ticket) else { return };
        if feed.begun && !std::mem::replace(&mut feed.ended, true) {
            ext::empty(ext::TEND, tag, &mut self.out);
        }
    }

    /// Takes an item, as far as there is one.
    pub(super) fn takes_item(&mut self, number: usize, book: &mut Book) -> bool {
        let honest = book.honest;
        let call = &mut book.calls[number];
        let Some((which, size)) = call.inbox.pop_front() else { return false };
        assert_eq!(which, call.taken, "items are taken in order, each once");
        call.taken += 1;
        call.held -= size;
        if honest {
            call.down.taken(size);
        }
        if let Some(grant) = call.receiving.took(size) {
            assert!(grant > 0, "a grant of nothing");
            if let (true, Some(tag)) = (self.extension, self.caller.tag_of(call.ticket)) {
                ext::credit(tag, grant, &mut self.out);
            }
        }
        true
    }

    pub(super) fn agree(&self, book: &Book) {
        let calls = self.used.values().filter(|held| matches!(held, Use::Call(_))).count();
        let crowd = usize::from(self.crowd.0 + self.crowd.1);
        if book.honest {
            assert_eq!(self.caller.pending(), calls + crowd);
        }
        let streams = self.holding(Shape::Stream, book);
        assert!(streams <= MAX_STREAMS && self.holding(Shape::Call, book) <= self.most);
    }

    /// Whether streams that wait for the called end may go on.
    pub(super) fn goes_on(&self, book: &Book) {
        for call in &book.calls {
            let Some(feed) = &call.feed else { continue };
            if call.end.is_none() && feed.begun && !feed.ended {
                assert!(feed.sending.is_open(), "all was taken, and a stream has stalled");
            }
        }
    }

    /// Nothing is left of all that was called.
    pub(super) fn is_quiet(&self) -> bool {
        self.caller.pending() == 0 && self.used.is_empty() && self.out.is_empty()
    }
}
