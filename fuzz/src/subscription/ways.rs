//! The ways between two ends: what arrives over them, and how connections come and go.

use std::collections::VecDeque;

use jetstream_proto::frame::{Splitter, frames};
use jetstream_proto::version::Version;

use super::answers::Heard;
use super::book::{Book, DIALECT, End, MSIZE};
use super::called::{Called, Manners};
use super::calling::{Calling, Phase};
use super::{Mode, World};
use crate::script::Script;

/// Bytes on their way to one end, and those that have arrived and are not a whole frame.
pub(super) struct Way {
    pub(super) bytes: VecDeque<u8>,
    pub(super) splitter: Splitter,
}

pub(super) struct Line {
    pub(super) calling: Calling,
    pub(super) called: Called,
    /// To the called end, and to the calling end.
    pub(super) up: Way,
    pub(super) down: Way,
}

impl Way {
    pub(super) fn new() -> Self {
        Self { bytes: VecDeque::new(), splitter: Splitter::new(MSIZE) }
    }

    /// Lets some bytes arrive: the whole frames among them, and whether what follows can be none.
    pub(super) fn arrive(&mut self, count: usize) -> (Vec<u8>, Result<(), String>) {
        let count = count.min(self.bytes.len());
        let piece: Vec<u8> = self.bytes.drain(..count).collect();
        let pushed = self.splitter.push(&piece).map_err(|error| error.to_string());
        let run = self.splitter.take().unwrap_or_default();
        assert_eq!(self.splitter.held(), self.splitter.unfinished());
        if pushed.is_ok() {
            assert!(self.splitter.held() < MSIZE as usize, "more is held than one frame");
        }
        (run, pushed)
    }
}

impl Line {
    pub(super) fn new(calling: Calling, called: Called) -> Self {
        Self { calling, called, up: Way::new(), down: Way::new() }
    }

    /// Goes on over another connection.
    pub(super) fn connect(&mut self, world: (&Version, bool, Manners)) {
        let (ours, offers, manners) = world;
        self.calling.connect(ours, offers);
        self.called = Called::new(manners);
        (self.up, self.down) = (Way::new(), Way::new());
    }

    /// What both ends have written leaves.
    pub(super) fn turn(&mut self, book: &mut Book) {
        let requests = frames(&self.calling.out)
            .filter(|frame| DIALECT.method_of_request(frame.kind).is_some());
        for request in requests {
            let Some(number) = request.payload.first_chunk() else { panic!("a request of nobody") };
            book.leaves(u32::from_le_bytes(*number) as usize);
        }
        self.up.bytes.extend(self.calling.out.drain(..));
        self.down.bytes.extend(self.called.out.drain(..));
    }
}

impl World {
    /// Some bytes arrive at one end, in pieces.
    pub(super) fn deliver(&mut self, which: u8, up: bool, script: &mut Script<'_>) {
        let line = usize::from(which / 64) % self.lines.len();
        let piece = usize::from(which % 64) * 3 + 1;
        let mut count = script.number() as usize;
        self.lines[line].turn(&mut self.book);
        while count > 0 && self.arrive(line, up, piece.min(count)) {
            count -= piece.min(count);
        }
        self.promote();
    }

    /// A piece arrives; false if there was none.
    pub(super) fn arrive(&mut self, place: usize, up: bool, piece: usize) -> bool {
        let line = &mut self.lines[place];
        let way = if up { &mut line.up } else { &mut line.down };
        if self.mode == (if up { Mode::StrangerCalled } else { Mode::StrangerCalls }) {
            // Whatever a stranger makes of it.
            way.bytes.clear();
        }
        if way.bytes.is_empty() {
            return false;
        }
        let (run, mut outcome) = way.arrive(piece);
        let mut all = frames(&run);
        for frame in all.by_ref() {
            let line = &mut self.lines[place];
            let heard = if up {
                line.called.on_frame(frame, &mut self.book, &self.ours).map(|()| None)
            } else {
                line.calling.on_frame(frame, &mut self.book, &self.ours)
            };
            match heard {
                Ok(None) => {}
                Ok(Some(heard)) => self.hear(place, heard),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            assert_eq!(all.position(), run.len(), "a run has whole frames only");
        }
        if let Err(error) = outcome {
            assert!(self.mode != Mode::Ours, "one of ours broke a rule: {error}");
            self.fail(up);
            return false;
        }
        true
    }

    pub(super) fn hear(&mut self, place: usize, heard: Heard) {
        match heard {
            Heard::GoingAway => {}
            Heard::Gone => self.detach(place, true),
            Heard::NotBegun(kept) => {
                let call = &mut self.book.calls[kept.value];
                call.not_begun += 1;
                if call.may_be_sent() {
                    self.current().calling.caller.rejoin(vec![kept]);
                } else {
                    self.book.end(kept.value, End::Lost);
                }
            }
        }
    }

    /// A lane's connection is gone, or all that was begun on it is answered.
    pub(super) fn detach(&mut self, place: usize, never_begun: bool) {
        let (kept, over) = self.lines[place].calling.detach(&self.book, never_begun);
        for call in kept.iter().map(|kept| kept.value).chain(over.iter().copied()) {
            let call = &mut self.book.calls[call];
            if never_begun && call.left > call.not_begun {
                call.not_begun += 1;
            }
        }
        self.current().calling.caller.rejoin(kept);
        for number in over {
            self.book.end(number, End::Lost);
        }
        let line = &mut self.lines[place];
        (line.up, line.down) = (Way::new(), Way::new());
    }

    /// A stranger broke a rule: the lane is beyond repair, and another is made.
    pub(super) fn fail(&mut self, up: bool) {
        if !up {
            let mut ended = self.lines[0].calling.caller.drain();
            ended.sort_unstable();
            let live = |number: &usize| self.book.calls[*number].end.is_none();
            assert!((0..self.book.calls.len()).filter(live).eq(ended.iter().copied()));
            for number in ended {
                self.book.end(number, End::Lost);
            }
        }
        let most = 3;
        let mut line = Line::new(Calling::new(most, (0, 0)), Called::new(self.manners));
        line.called.agreed(self.offers);
        line.calling.agreed(self.offers, &self.book);
        // Tickets of the two never coincide.
        std::mem::swap(&mut line.calling.caller, &mut self.lines[0].calling.caller);
        line.calling.sized(&self.lines[0].calling);
        self.lines = vec![line];
    }

    /// Everything that is on its way arrives, and what that brings about, until nothing moves.
    pub(super) fn exchange(&mut self) {
        loop {
            let mut moved = false;
            for place in (0..self.lines.len()).rev() {
                if let Some(line) = self.lines.get_mut(place) {
                    line.turn(&mut self.book);
                }
                for up in [true, false] {
                    moved |= place < self.lines.len() && self.arrive(place, up, usize::MAX);
                }
            }
            self.promote();
            if !moved {
                return;
            }
        }
    }

    pub(super) fn connection(&mut self, which: u8) {
        if self.mode == Mode::StrangerCalls {
            return;
        }
        let last = self.lines.len() - 1;
        match (which % 4, self.lines[last].calling.phase) {
            // Lost.
            (0, Phase::Detached) => {}
            (0, _) => self.detach(last, false),
            (1, _) => {
                let place = usize::from(which / 4) % self.lines.len();
                if self.lines[place].calling.phase != Phase::Detached {
                    self.detach(place, false);
                }
            }
            // Made once more.
            (_, Phase::Detached | Phase::Negotiating) => {
                self.lines[last].connect((&self.ours, self.offers, self.manners));
                if self.mode == Mode::StrangerCalled {
                    self.lines[last].calling.agreed(self.offers, &self.book);
                }
            }
            // And what was begun stays on the one before.
            (_, Phase::Open | Phase::Draining) if self.lines.len() < 3 && self.book.honest => {
                let former = self.lines[last].calling.split();
                let calling = std::mem::replace(&mut self.lines[last].calling, former);
                let mut line = Line::new(calling, Called::new(self.manners));
                line.connect((&self.ours, self.offers, self.manners));
                self.lines.push(line);
            }
            _ => {}
        }
        self.promote();
    }
}
