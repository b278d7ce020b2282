//! The called end of one lane: as `rust/py/src/dispatch` and its neighbours have it, without Python.

use std::collections::VecDeque;

use jetstream_proto::ext::{self, ACCEPT, FOREVER, Head, Metadata, OFFER};
use jetstream_proto::frame::Frame;
use jetstream_proto::frame::kind::{RVERSION, TCANCEL, TVERSION};
use jetstream_proto::limits::{FRAME_HEADER, NO_TAG};
use jetstream_proto::mux::{self, Callee, Cancel, Deadlines, Receiving, Sending, Shape};
use jetstream_proto::version::{Offer, Version};

use super::book::{Book, DIALECT, MAX_METADATA, METHODS, MSIZE, read_item};
use super::handling::{Handler, Inlet, State, Why};

/// What the called end answers to an offer of the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    Accepts,
    /// As a peer that has not heard of it, and has a version of its own.
    Ignores,
    /// As the Rust crate 16.0.0.
    Echoes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Silent,
    Open,
    Over,
}

pub(super) struct Called {
    pub(super) phase: Phase,
    pub(super) callee: Callee,
    pub(super) extension: bool,
    pub(super) out: Vec<u8>,
    pub(super) manners: Manners,
    pub(super) head: Option<Head>,
    pub(super) time: u64,
    pub(super) handlers: Vec<Handler>,
    pub(super) serial: u64,
    pub(super) deadlines: Deadlines<u64, (u16, u64)>,
    /// No handler begins: as many run as may.
    pub(super) is_busy: bool,
    pub(super) gone: bool,
}

impl Called {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            phase: Phase::Silent,
            callee: Callee::default(),
            extension: false,
            out: Vec::new(),
            manners,
            head: None,
            time: FOREVER,
            handlers: Vec::new(),
            serial: 0,
            deadlines: Deadlines::default(),
            is_busy: false,
            gone: false,
        }
    }

    /// The lane has been agreed on.
    pub(super) fn agreed(&mut self, extension: bool) {
        (self.phase, self.extension) = (Phase::Open, extension);
    }

    // ---- frames ----

    pub(super) fn on_frame(
        &mut self,
        frame: Frame<'_>,
        book: &mut Book,
        ours: &Version,
    ) -> Result<(), String> {
        match self.phase {
            Phase::Over => return Ok(()),
            Phase::Silent => return self.on_first(frame, ours),
            Phase::Open => {}
        }
        let request = DIALECT.method_of_request(frame.kind);
        let announced = self.callee.go_on(request.map(|_| frame.tag));
        let announced = announced.map_err(|error| error.to_string())?;
        match request {
            Some(method) => {
                let head = if announced { self.head.take() } else { None };
                self.on_request(method, frame, head, book)
            }
            None => self.on_other(frame, book),
        }
    }

    fn on_first(&mut self, frame: Frame<'_>, ours: &Version) -> Result<(), String> {
        if frame.kind != TVERSION {
            return Err("the first frame on a lane must be a Tversion".to_owned());
        }
        let offer = Offer::decode(frame.payload).map_err(|error| error.to_string())?;
        let asked = Version::parse(&offer.version).map_err(|error| error.to_string())?;
        if !ours.serves(&asked) {
            return Err("another service".to_owned());
        }
        self.extension = self.manners == Manners::Accepts && ext::is_marked(&asked, OFFER);
        let version = match self.manners {
            Manners::Echoes => offer.version,
            _ if self.extension => ext::marked(ours, ACCEPT).to_string(),
            _ => ours.to_string(),
        };
        Offer { msize: MSIZE, version }.encode(RVERSION, frame.tag, &mut self.out);
        self.phase = Phase::Open;
        Ok(())
    }

    fn on_request(
        &mut self,
        method: u8,
        frame: Frame<'_>,
        head: Option<Head>,
        book: &mut Book,
    ) -> Result<(), String> {
        let tag = frame.tag;
        if self.gone {
            ext::empty(ext::GOAWAY, tag, &mut self.out);
            return Ok(());
        }
        self.callee.begin(tag).map_err(|error| error.to_string())?;
        let Some(about) = METHODS.get(usize::from(method)) else {
            self.fault(tag);
            return Ok(());
        };
        let call = if book.honest { asked(&frame, head.as_ref(), self, book) } else { 0 };
        if about.feeds && !self.extension {
            self.fault(tag);
            return Ok(());
        }
        let inlet = about.feeds.then(|| Inlet {
            receiving: Receiving::new(book.window),
            inbox: VecDeque::new(),
            held: 0,
            arrived: 0,
            taken: 0,
            ended: false,
        });
        if inlet.is_some() && book.window > book.at_first {
            ext::credit(tag, book.window - book.at_first, &mut self.out);
        }
        let time_left = head.map_or(self.time, |head| head.time_left);
        let until = (time_left != FOREVER).then(|| book.now.saturating_add(time_left));
        if time_left == 0 {
            self.fault(tag);
            return Ok(());
        }
        self.serial += 1;
        let streams = about.shape == Shape::Stream;
        let handler = Handler {
            tag,
            serial: self.serial,
            method,
            call,
            state: State::Parked,
            outlet: (streams && self.extension).then(|| Sending::new(book.at_first)),
            sent: 0,
            inlet,
            until,
            why: None,
            cancels: Vec::new(),
        };
        self.handlers.push(handler);
        if !self.is_busy && !self.is_parked() {
            self.begin(self.handlers.len() - 1, book);
        }
        Ok(())
    }

    fn is_parked(&self) -> bool {
        let parked = self.handlers.iter().filter(|handler| handler.state == State::Parked);
        parked.count() > 1
    }

    fn on_other(&mut self, frame: Frame<'_>, book: &mut Book) -> Result<(), String> {
        let Frame { kind, tag, payload } = frame;
        if kind == TCANCEL {
            return self.on_cancel(frame);
        }
        if !self.extension {
            return Err(format!("a frame of type {kind} is no request"));
        }
        match kind {
            ext::TMETA => {
                let head = Head::decode(payload, MAX_METADATA);
                let head = head.map_err(|error| error.to_string())?;
                self.callee.announce(tag).map_err(|error| error.to_string())?;
                self.head = Some(head);
            }
            ext::TIME => {
                self.time = ext::decode_time(payload).map_err(|error| error.to_string())?;
            }
            ext::CREDIT => {
                let bytes = ext::decode_credit(payload).map_err(|error| error.to_string())?;
                let running = self.callee.is_running(tag);
                match self.of_tag(tag).map(|handler| &mut handler.outlet) {
                    Some(Some(outlet)) => outlet.granted(bytes),
                    _ if running => return Err("a credit for no stream".to_owned()),
                    // It crossed the stream's end.
                    _ => {}
                }
            }
            ext::TITEM => self.on_item(frame, book)?,
            ext::TEND => {
                if !payload.is_empty() {
                    return Err("the end of a stream carries nothing".to_owned());
                }
                let honest = book.honest;
                if let Some((call, inlet)) = self.inlet(tag)? {
                    if std::mem::replace(&mut inlet.ended, true) {
                        return Err("a second end of a stream".to_owned());
                    }
                    assert!(!honest || inlet.arrived == book.calls[call].up.items);
                }
            }
            _ => return Err(format!("a frame of type {kind} is no request")),
        }
        Ok(())
    }

    /// The handler of the request that came last under a tag, if its task is not over.
    fn of_tag(&mut self, tag: u16) -> Option<&mut Handler> {
        self.handlers.iter_mut().rev().find(|handler| handler.tag == tag)
    }

    /// The stream that a frame belongs to; none if it crossed the answer of its request.
    fn inlet(&mut self, tag: u16) -> Result<Option<(usize, &mut Inlet)>, String> {
        let running = self.callee.is_running(tag);
        let handler = self.of_tag(tag).filter(|handler| handler.state != State::Answered);
        match handler.map(|handler| (handler.call, &mut handler.inlet)) {
            Some((call, Some(inlet))) => Ok(Some((call, inlet))),
            _ if running => Err("items for a request that takes none".to_owned()),
            _ => Ok(None),
        }
    }

    fn on_item(&mut self, frame: Frame<'_>, book: &mut Book) -> Result<(), String> {
        let (honest, window) = (book.honest, book.window as usize);
        let Some((call, inlet)) = self.inlet(frame.tag)? else { return Ok(()) };
        if inlet.ended {
            return Err("items after the end of their stream".to_owned());
        }
        let size = frame.payload.len() + FRAME_HEADER;
        if !inlet.receiving.arrived(size) {
            return Err("more items than were granted".to_owned());
        }
        if honest {
            let read = read_item(frame.payload);
            assert_eq!(read, (call, inlet.arrived), "items come in order, each once");
        }
        assert!(inlet.held < window, "{} bytes held before another item", inlet.held);
        inlet.inbox.push_back((inlet.arrived, size));
        inlet.arrived += 1;
        inlet.held += size;
        Ok(())
    }

    fn on_cancel(&mut self, frame: Frame<'_>) -> Result<(), String> {
        let Some(cancel) = Cancel::decode(frame.payload) else {
            return Err("a malformed Tcancel".to_owned());
        };
        if cancel.binding != 0 {
            return Err("a Tcancel for another lane".to_owned());
        }
        let (by, extension) = (frame.tag, self.extension);
        self.callee.begin(by).map_err(|error| error.to_string())?;
        let place = self.handlers.iter().rposition(|handler| handler.tag == cancel.target);
        let Some(place) = place else {
            self.callee.finish(by);
            mux::cancelled(by, cancel.target, &mut self.out);
            return Ok(());
        };
        let handler = &mut self.handlers[place];
        let streams = METHODS[usize::from(handler.method)].shape == Shape::Stream;
        if !streams && !extension {
            return Err("a Tcancel for a request that is no stream".to_owned());
        }
        if handler.state == State::Parked {
            self.handlers.remove(place);
            self.callee.finish(cancel.target);
            self.callee.finish(by);
            mux::ended(cancel.target, &mut self.out);
            mux::cancelled(by, cancel.target, &mut self.out);
            return Ok(());
        }
        handler.cancels.push(by);
        handler.why.get_or_insert(Why::Caller);
        Ok(())
    }

    // ---- the end ----

    /// Begins nothing more.
    pub(super) fn go_away(&mut self) {
        if self.phase == Phase::Open && self.extension && !std::mem::replace(&mut self.gone, true) {
            ext::empty(ext::GOAWAY, NO_TAG, &mut self.out);
            for parked in self.take(State::Parked) {
                ext::empty(ext::GOAWAY, parked.tag, &mut self.out);
                assert!(self.callee.finish(parked.tag));
            }
        }
        for handler in &mut self.handlers {
            if METHODS[usize::from(handler.method)].shape == Shape::Stream {
                handler.why.get_or_insert(Why::Shutdown);
            }
        }
    }

    /// When all that has begun is answered, says that whatever has no answer was not begun.
    pub(super) fn finish_if_done(&mut self) {
        if self.gone && self.phase == Phase::Open && self.callee.running() == 0 {
            self.phase = Phase::Over;
            ext::empty(ext::GOAWAY, NO_TAG, &mut self.out);
        }
    }

    pub(super) fn agree(&self, book: &Book) {
        for handler in &self.handlers {
            let Some(inlet) = &handler.inlet else { continue };
            let most = book.window as usize + MSIZE as usize;
            assert!(inlet.held < most, "{} bytes held", inlet.held);
        }
        let unanswered = self.handlers.iter().filter(|handler| handler.state != State::Answered);
        let cancels: usize = self.handlers.iter().map(|handler| handler.cancels.len()).sum();
        assert!(self.callee.running() >= unanswered.count() + cancels);
    }

    /// Whether streams that wait for somebody may go on.
    pub(super) fn goes_on(&self, book: &Book) {
        for handler in self.handlers.iter().filter(|handler| handler.state == State::Running) {
            let Some(outlet) = &handler.outlet else { continue };
            if book.calls[handler.call].end.is_none() {
                assert!(outlet.is_open(), "all was taken, and a stream has stalled");
            }
        }
    }

    /// Nothing is left of all that was called.
    pub(super) fn is_quiet(&self) -> bool {
        self.handlers.is_empty() && self.callee.running() == 0 && self.out.is_empty()
    }
}

/// The call that a request is, with the time and the metadata that it was given.
fn asked(frame: &Frame<'_>, head: Option<&Head>, called: &Called, book: &Book) -> usize {
    let number = frame.payload.first_chunk().map(|number| u32::from_le_bytes(*number) as usize);
    let Some(number) = number.filter(|number| *number < book.calls.len()) else {
        panic!("a request of nobody")
    };
    let call = &book.calls[number];
    assert_eq!(DIALECT.request(call.method), frame.kind);
    if called.extension {
        let expected = Book::metadata(number);
        let (time, metadata) = match head {
            Some(head) => (head.time_left, &head.metadata),
            None => (called.time, &Metadata::default()),
        };
        assert_eq!((time, metadata), (call.said, &expected), "call {number}");
    }
    number
}
