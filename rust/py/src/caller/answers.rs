//! What comes back on a lane: the version, replies, items of streams.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetstream_proto::ext::{self, ExtError, Metadata};
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, Frame, kind};
use jetstream_proto::limits::{self, MIN_MSIZE};
use jetstream_proto::mux::{self, Kept};
use jetstream_proto::version::{self, Offer, Version};
use pyo3::prelude::*;

use super::calls::{Pending, Waiter};
use super::end::Failure;
use super::{Agreed, CallerLane, Inner, Kind, Phase};
use crate::errors;
use crate::feed;
use crate::reply::Reply;
use crate::shared::lock;
use crate::subscription::Flow;

/// What a frame was.
enum Came {
    /// Something that is done with.
    Handled,
    /// The answer to a call; true for a fault.
    Answer(Pending, bool),
    /// An item of a stream.
    Item(Arc<Flow>),
    /// An item of a lossy stream, as a frame; it takes the place of the one before.
    Latest(Arc<Flow>, Vec<u8>),
    /// A stream's end, with its result behind one byte.
    Done(Pending),
    /// A call was given up by the called end.
    Cancelled(Pending),
    /// An answer with more metadata than is taken.
    Overloaded(Pending, ExtError),
    /// More may be sent of a stream from the caller.
    Granted(Arc<feed::Flow>),
    /// The server has said its version.
    Agreed,
    /// The called end begins nothing more.
    GoingAway,
    /// Nor will it begin this one.
    NotBegun(Kept<Pending>),
    Wrong(Failure),
}

/// Items of one stream that came one behind the other.
struct Items {
    flow: Arc<Flow>,
    range: Range<usize>,
}

/// An item of a lossy stream, numbered where the extension is spoken.
fn latest(flow: Arc<Flow>, frame: &Frame<'_>) -> Came {
    if frame.kind != ext::LOSSY {
        let item = flow.item_frame(frame.payload);
        return Came::Latest(flow, item);
    }
    match ext::decode_lossy(frame.payload) {
        Ok((number, value)) if flow.is_later(number) => {
            let item = flow.item_frame(value);
            Came::Latest(flow, item)
        }
        Ok(_) => Came::Handled,
        Err(error) => Came::Wrong(Failure::Protocol(error.to_string())),
    }
}

impl CallerLane {
    /// The lossy stream under a tag.
    pub(crate) fn lossy_flow(&self, tag: u16) -> Option<Arc<Flow>> {
        match &lock(&self.inner).caller.value(tag)?.waiter {
            Waiter::Stream(flow) if flow.is_lossy() => Some(flow.clone()),
            _ => None,
        }
    }

    pub(crate) fn on_frames(self: &Arc<Self>, py: Python<'_>, run: Vec<u8>) -> PyResult<()> {
        let mut items: Option<Items> = None;
        let mut frames = frame::frames(&run);
        let mut outcome = Ok(());
        loop {
            let start = frames.position();
            let Some(frame) = frames.next() else { break };
            let came = self.on_frame(&frame);
            if let Came::Item(flow) = came {
                match &mut items {
                    Some(items) if Arc::ptr_eq(&items.flow, &flow) && items.range.end == start => {
                        items.range.end = frames.position();
                    }
                    _ => {
                        self.hand_over(py, items.take(), &run)?;
                        items = Some(Items { flow, range: start..frames.position() });
                    }
                }
                continue;
            }
            // A stream's items come before its end.
            self.hand_over(py, items.take(), &run)?;
            let handled = match came {
                Came::Handled | Came::Item(_) => Ok(()),
                Came::Answer(pending, failed) => self.answer(py, pending, frame, failed),
                Came::Done(pending) => self.done(py, pending, frame),
                Came::Cancelled(pending) => {
                    let error = errors::cancelled_by_peer(py, pending.what(py));
                    self.over_now(py, pending, error)
                }
                Came::Overloaded(pending, error) => {
                    let of = format!("the answer of {}", pending.what(py));
                    let error = errors::metadata_too_large(py, &of, &error);
                    self.over_now(py, pending, error)
                }
                Came::Latest(flow, item) => {
                    flow.inbox.replace(item);
                    flow.inbox.wake_now(py)
                }
                Came::Granted(feed) => feed.wake(py),
                Came::Agreed => {
                    self.remember(py);
                    Ok(())
                }
                Came::GoingAway => self.on_going_away(py),
                Came::NotBegun(kept) => self.on_not_begun(py, kept),
                Came::Wrong(failure) => {
                    self.fail(py, failure);
                    return outcome;
                }
            };
            if outcome.is_ok() {
                outcome = handled;
            }
        }
        match items {
            Some(Items { flow, range }) if range == (0..run.len()) => {
                flow.inbox.push(run);
                self.after_items(py, &flow)?;
            }
            items => self.hand_over(py, items, &run)?,
        }
        self.promote(py)?;
        let waits = {
            let inner = &mut *lock(&self.inner);
            if self.is_passing() && inner.caller.pending() + inner.caller.waiting() == 0 {
                // What it was there for is over, and so is the lane.
                None
            } else {
                while let Some((tag, target)) = inner.caller.next_cancel() {
                    mux::cancel(tag, target, &mut inner.out);
                }
                Some(!inner.out.is_empty())
            }
        };
        match waits {
            None => self.close(py)?,
            Some(true) => self.mark_dirty(py)?,
            Some(false) => {}
        }
        outcome
    }

    fn on_frame(&self, frame: &Frame<'_>) -> Came {
        let inner = &mut *lock(&self.inner);
        let wrong = |message: String| Came::Wrong(Failure::Protocol(message));
        match inner.phase {
            Phase::Open | Phase::Draining if !inner.assumed => {}
            Phase::Open | Phase::Draining | Phase::Negotiating => {
                return match self.on_version(inner, frame) {
                    Ok(()) => Came::Agreed,
                    Err(failure) => Came::Wrong(failure),
                };
            }
            Phase::Detached | Phase::Opening | Phase::Failed(_) => return Came::Handled,
        }
        if inner.agreed.extension {
            match frame.kind {
                ext::GOAWAY if frame.tag == limits::NO_TAG => return Came::GoingAway,
                ext::GOAWAY => {
                    return match inner.caller.not_begun(frame.tag) {
                        Some(kept) => Came::NotBegun(kept),
                        // Nobody waits for it any more.
                        None => Came::Handled,
                    };
                }
                ext::RMETA => {
                    return match Metadata::decode(frame.payload, self.settings.max_metadata) {
                        Err(error) if !matches!(error, ExtError::TooLarge { .. }) => {
                            wrong(error.to_string())
                        }
                        metadata => {
                            inner.metadata = Some((frame.tag, metadata));
                            Came::Handled
                        }
                    };
                }
                ext::CREDIT => {
                    return match ext::decode_credit(frame.payload) {
                        Ok(bytes) => match inner.caller.value(frame.tag) {
                            Some(Pending { feed: Some(feed), .. }) => {
                                feed.granted(bytes);
                                Came::Granted(feed.clone())
                            }
                            // It crossed the end of the call.
                            _ => Came::Handled,
                        },
                        Err(error) => wrong(error.to_string()),
                    };
                }
                _ => {}
            }
        }
        let size = limits::FRAME_HEADER + frame.payload.len();
        let reply = inner.caller.reply(frame.kind, frame.tag, frame.payload);
        let (pending, came): (Pending, fn(Pending) -> Came) = match reply {
            Ok(mux::Reply::Result(pending)) => (pending, |pending| Came::Answer(pending, false)),
            Ok(mux::Reply::Fault(pending)) => (pending, |pending| Came::Answer(pending, true)),
            Ok(mux::Reply::Done(pending)) => (pending, Came::Done),
            Ok(mux::Reply::Cancelled(pending)) => (pending, Came::Cancelled),
            Ok(mux::Reply::Abandoned) => {
                // What was said beside it is nobody's either, and not that of whoever has the tag next.
                inner.metadata.take_if(|(tag, _)| *tag == frame.tag);
                return Came::Handled;
            }
            Ok(mux::Reply::Item) => {
                let Some(pending) = inner.caller.value(frame.tag) else { return Came::Handled };
                let Waiter::Stream(flow) = &pending.waiter else { return Came::Handled };
                if inner.agreed.extension && !lock(&flow.window).arrived(size) {
                    return wrong(format!(
                        "an item of a stream under tag {}, which was not granted",
                        frame.tag
                    ));
                }
                if !flow.is_lossy() {
                    return match frame.kind == ext::LOSSY {
                        true => wrong("a numbered item of a stream that is not lossy".to_owned()),
                        false => Came::Item(flow.clone()),
                    };
                }
                let flow = flow.clone();
                if inner.agreed.extension {
                    if let Some(grant) = lock(&flow.window).took(size) {
                        ext::credit(frame.tag, grant, &mut inner.out);
                    }
                }
                return latest(flow, frame);
            }
            Err(error) => return wrong(error.to_string()),
        };
        match inner.metadata.take_if(|(tag, _)| *tag == frame.tag) {
            None => {}
            Some((_, Ok(metadata))) => match &pending.waiter {
                Waiter::Reply(reply) => reply.get().set_metadata(metadata),
                Waiter::Stream(flow) => *lock(&flow.metadata) = metadata,
            },
            // What a method failed with says more than that.
            Some((_, Err(_))) if frame.kind == kind::RERROR => {}
            Some((_, Err(error))) => return Came::Overloaded(pending, error),
        }
        came(pending)
    }

    // ---- streams ----

    /// Gives items to their stream.
    fn hand_over(
        self: &Arc<Self>,
        py: Python<'_>,
        items: Option<Items>,
        run: &[u8],
    ) -> PyResult<()> {
        let Some(Items { flow, range }) = items else { return Ok(()) };
        flow.inbox.push(run.get(range).unwrap_or_default().to_vec());
        self.after_items(py, &flow)
    }

    fn after_items(self: &Arc<Self>, py: Python<'_>, flow: &Arc<Flow>) -> PyResult<()> {
        flow.inbox.wake_now(py)?;
        let window = self.settings.stream_window as usize;
        if flow.inbox.held() <= window {
            return Ok(());
        }
        // A peer that speaks the extension has stopped by itself. Another is held up by its lane,
        // if that is the stream's own, and else can only be told to stop.
        let wire = {
            let inner = lock(&self.inner);
            if inner.agreed.extension {
                return Ok(());
            }
            inner.wire.clone()
        };
        if !matches!(self.kind, Kind::Own(_)) {
            return self.overflow(py, flow);
        }
        flow.paused.store(true, Ordering::Relaxed);
        if let Some((wire, key)) = wire.and_then(|wire| wire.key.map(|key| (wire, key))) {
            wire.shared.hub()?.pause_lane(key, true);
        }
        Ok(())
    }

    /// A stream on a shared lane is ahead of its taker by more than is held for it.
    fn overflow(self: &Arc<Self>, py: Python<'_>, flow: &Arc<Flow>) -> PyResult<()> {
        let Some(ticket) = flow.ticket() else { return Ok(()) };
        let (held, window) = (flow.inbox.held(), self.settings.stream_window);
        flow.inbox.end(py, Some(errors::stream_overflow(py, held, window)));
        self.abandon(py, ticket);
        Ok(())
    }

    fn done(&self, py: Python<'_>, pending: Pending, frame: Frame<'_>) -> PyResult<()> {
        self.ended(py, &pending);
        let Waiter::Stream(flow) = &pending.waiter else { return Ok(()) };
        let payload = frame.payload.get(1..).unwrap_or_default();
        match pending.method.get().decode(py, payload) {
            Ok(result) => {
                *lock(&flow.result) = Some(result.unbind());
                flow.inbox.end(py, None);
            }
            Err(error) => flow.inbox.end(py, Some(error)),
        }
        flow.inbox.wake_now(py)
    }

    // ---- calls ----

    fn answer(
        &self,
        py: Python<'_>,
        pending: Pending,
        frame: Frame<'_>,
        failed: bool,
    ) -> PyResult<()> {
        self.ended(py, &pending);
        let outcome = if failed {
            Err(match Fault::decode(frame.payload) {
                Ok(fault) => self.told(py, &pending, fault),
                Err(error) => errors::remote_protocol(format!("a malformed fault: {error}")),
            })
        } else {
            pending.method.get().decode(py, frame.payload)
        };
        match (&pending.waiter, outcome) {
            (Waiter::Reply(reply), outcome) => Reply::complete_now(reply.bind(py), outcome),
            (Waiter::Stream(flow), outcome) => {
                flow.inbox.end(py, outcome.err());
                flow.inbox.wake_now(py)
            }
        }
    }

    /// What a fault is to the caller.
    fn told(&self, py: Python<'_>, pending: &Pending, fault: Fault) -> PyErr {
        let is_stream = matches!(pending.waiter, Waiter::Stream(_));
        let going_away = is_stream && matches!(lock(&self.inner).phase, Phase::Draining);
        if fault.is_of_going_away(going_away) {
            errors::ended_by_server(py, fault.message)
        } else if pending.is_over(&fault) {
            pending.deadline_exceeded(py)
        } else {
            errors::call_error(py, &fault)
        }
    }

    /// Ends a call with an error, from the top of a turn.
    pub(super) fn over_now(&self, py: Python<'_>, pending: Pending, error: PyErr) -> PyResult<()> {
        self.ended(py, &pending);
        match &pending.waiter {
            Waiter::Reply(reply) => Reply::complete_now(reply.bind(py), Err(error)),
            Waiter::Stream(flow) => {
                flow.inbox.end(py, Some(error));
                flow.inbox.wake_now(py)
            }
        }
    }

    /// Ends a call with an error, from anywhere.
    pub(super) fn over(&self, py: Python<'_>, pending: Pending, error: PyErr) -> PyResult<()> {
        self.ended(py, &pending);
        match &pending.waiter {
            Waiter::Reply(reply) => Reply::fail_soon(reply.bind(py), error),
            Waiter::Stream(flow) => {
                flow.inbox.end(py, Some(error));
                flow.inbox.wake_soon(py)
            }
        }
    }

    // ---- the version ----

    fn on_version(&self, inner: &mut Inner, frame: &Frame<'_>) -> Result<(), Failure> {
        let ours = &self.settings.version;
        if frame.kind == kind::RERROR {
            let fault = Fault::decode(frame.payload).unwrap_or_default();
            return Err(self.refused(format!("the server answered: {}", fault.message), None));
        }
        if frame.kind != kind::RVERSION {
            return Err(Failure::Protocol(format!(
                "a frame of type {} where the server's version was due",
                frame.kind
            )));
        }
        let offer =
            Offer::decode(frame.payload).map_err(|error| Failure::Protocol(error.to_string()))?;
        if offer.version == version::UNKNOWN {
            let why = "the server does not serve this name, or no version that fits";
            return Err(self.refused(why.to_owned(), Some(offer.version)));
        }
        let theirs = match Version::parse(&offer.version) {
            Ok(theirs) if theirs.serves(ours) => theirs,
            _ => {
                let why = format!("the server answered {:?}, which does not fit", offer.version);
                return Err(self.refused(why, Some(offer.version)));
            }
        };
        if offer.msize < MIN_MSIZE {
            return Err(Failure::Protocol(format!(
                "the server takes frames of at most {} bytes; less than {MIN_MSIZE} cannot work",
                offer.msize
            )));
        }
        let agreed = Agreed {
            limit: offer.msize.min(self.settings.msize),
            extension: self.settings.extension && ext::is_marked(&theirs, ext::ACCEPT),
        };
        if std::mem::take(&mut inner.assumed) {
            if agreed.limit < inner.agreed.limit || agreed.extension != inner.agreed.extension {
                return Err(Failure::Changed);
            }
            inner.agreed = agreed;
        } else {
            self.set_agreed(inner, agreed);
        }
        inner.keeps = self.settings.stays_up || (inner.keeps && self.settings.assumed.is_some());
        Ok(())
    }

    /// For the next visit.
    fn remember(&self, py: Python<'_>) {
        if let (Some(connection), Some(agreed)) = (self.connection(py), self.agreed()) {
            connection.get().remember(&self.settings.version, agreed);
        }
    }

    pub(super) fn refused(&self, why: String, answered: Option<String>) -> Failure {
        let message = format!("{} was refused: {why}", self.settings.version);
        Failure::Version { message, answered }
    }
}
