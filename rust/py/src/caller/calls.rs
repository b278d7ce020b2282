//! What goes out on a lane: requests, in order, each under a tag; and the word that one is given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jetstream_proto::dialect::Dialect;
use jetstream_proto::ext::{self, INITIAL_WINDOW};
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, FrameError, kind};
use jetstream_proto::limits;
use jetstream_proto::mux::{self, Ticket};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{CallerLane, Inner, Kind, Phase};
use crate::channel::ChannelMethod;
use crate::deadline;
use crate::errors;
use crate::feed;
use crate::reply::Reply;
use crate::shared::lock;
use crate::subscription::Flow;

/// Who waits for what comes back.
#[derive(Clone)]
pub(crate) enum Waiter {
    Reply(Arc<Py<Reply>>),
    Stream(Arc<Flow>),
}

/// A call that waits for its reply, or a stream for its end.
pub(super) struct Pending {
    pub(super) waiter: Waiter,
    pub(super) method: Py<ChannelMethod>,
    /// Seconds that it had.
    pub(super) timeout: f64,
    /// These were what was left of the time of the call that is being answered where it was made.
    pub(super) inherited: bool,
    /// When they are over.
    pub(super) until: Option<Instant>,
    /// The stream from the caller that the request carries.
    pub(super) feed: Option<Arc<feed::Flow>>,
    /// The request, kept while the call waits for a tag, and where it may be sent again.
    pub(super) frame: Vec<u8>,
}

impl Pending {
    pub(super) fn what<'a>(&'a self, py: Python<'a>) -> &'a str {
        &self.method.bind(py).get().what
    }

    /// Whether it may be sent a second time although the first may have been begun.
    pub(super) fn may_be_repeated(&self) -> bool {
        let is_call = matches!(self.waiter, Waiter::Reply(_));
        is_call && self.method.get().idempotent && self.may_be_sent()
    }

    /// Whether it can be sent again, provided that it was not begun. What has been taken of a stream
    /// from the caller is gone.
    pub(super) fn may_be_sent(&self) -> bool {
        self.feed.is_none() && !self.frame.is_empty()
    }

    /// Whether it waits for a server, however long there is none.
    pub(super) fn waits_for_ready(&self) -> bool {
        self.method.get().wait_for_ready
    }

    /// Whether the called end says that the time is over which the call had.
    pub(super) fn is_over(&self, fault: &Fault) -> bool {
        self.until.is_some_and(|until| {
            let left = until.saturating_duration_since(Instant::now());
            let given = Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::MAX);
            fault.is_of_deadline(given, left)
        })
    }

    pub(super) fn deadline_exceeded(&self, py: Python<'_>) -> PyErr {
        errors::deadline(py, self.what(py), self.timeout, self.inherited)
    }

    fn reply_kind(&self, dialect: Dialect) -> u8 {
        dialect.reply(self.method.get().index)
    }

    /// Microseconds left, as the extension says them.
    fn time_left(&self) -> u64 {
        match self.until {
            None => ext::FOREVER,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now()).as_micros();
                u64::try_from(left).unwrap_or(ext::FOREVER)
            }
        }
    }
}

pub(super) fn microseconds(seconds: f64) -> u64 {
    // A cast saturates; infinity is FOREVER.
    (seconds * 1e6) as u64
}

/// What goes before a call does not fit into a frame.
fn head_too_large(py: Python<'_>, what: &str, error: FrameError, side: &str) -> PyErr {
    errors::too_large(py, &format!("the metadata of {what}"), error, side)
}

/// Why a call that waited cannot be sent, known only when its turn came.
enum Refusal {
    TooLarge(FrameError),
    Metadata(FrameError),
    NoExtension,
}

impl CallerLane {
    /// Encodes a call and sends it at the end of the turn, or keeps it until it has a tag.
    #[allow(clippy::too_many_arguments)] // a call has so many parts
    pub(crate) fn start(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Bound<'_, ChannelMethod>,
        arguments: &Bound<'_, PyTuple>,
        timeout: f64,
        waiter: Waiter,
        feed: Option<Arc<feed::Flow>>,
    ) -> PyResult<Ticket> {
        self.shared.check()?;
        let called = method.get();
        // Calls made while another is being answered have no more time than that one has left.
        let (timeout, inherited) = match deadline::current(py)? {
            None => (timeout, false),
            Some(at) => {
                let left = (at - deadline::seconds(py, Instant::now())?).max(0.0);
                (timeout.min(left), left < timeout)
            }
        };
        let (mut out, agreed, limit, dialect, side, is_open, keeps) = {
            let mut inner = lock(&self.inner);
            self.refuse_if_over(py, &inner, called)?;
            // Arguments are encoded straight into the lane's buffer. It is taken out meanwhile,
            // because encoding may run Python code that calls on this lane.
            let is_open = matches!(inner.phase, Phase::Open);
            let out = std::mem::take(&mut inner.out);
            // The server may take more than it did the last time.
            let (limit, side) = match inner.assumed {
                true => (self.settings.msize, "here"),
                false => (inner.agreed.limit, self.side(&inner)),
            };
            (out, inner.agreed, limit, inner.dialect, side, is_open, inner.keeps)
        };
        let head = out.len();
        let prepared = self
            .check_extension(called, is_open && !agreed.extension)
            .and_then(|()| {
                if is_open && agreed.extension && self.needs_head(called, timeout) {
                    ext::check_head(&called.metadata, agreed.limit)
                        .map_err(|error| head_too_large(py, &called.what, error, side))?;
                    let left = microseconds(timeout);
                    ext::head(limits::NO_TAG, left, &called.metadata, &mut out);
                }
                Ok(out.len())
            })
            .and_then(|start| {
                frame::begin(&mut out, dialect.request(called.index), limits::NO_TAG);
                called.encode(py, arguments, &mut out)?;
                let finished = frame::finish(&mut out, start, limit);
                finished.map_err(|error| errors::too_large(py, &called.what, error, side))?;
                Ok(start)
            });
        let start = match prepared {
            Ok(start) => start,
            Err(error) => {
                out.truncate(head);
                self.put_back(&mut lock(&self.inner), out);
                return Err(error);
            }
        };
        let until = if timeout.is_finite() { Self::now_and(timeout) } else { None };
        let is_stream = matches!(waiter, Waiter::Stream(_));
        let frame = if keeps { out[start..].to_vec() } else { Vec::new() };
        let method = method.clone().unbind();
        let pending = Pending { waiter, method, timeout, inherited, until, feed, frame };
        let ticket = {
            let inner = &mut *lock(&self.inner);
            self.refuse_if_over(py, inner, called)?;
            let room = match is_stream {
                true => inner.caller.has_room_for_stream(),
                false => inner.caller.has_room(),
            };
            let room = room && !inner.must_wait(out.len() - start);
            // The phase may have changed while the arguments were encoded.
            let placed = if is_open && room && matches!(inner.phase, Phase::Open) {
                let kind = pending.reply_kind(dialect);
                match is_stream {
                    true => inner.caller.start_stream(kind, pending),
                    false => inner.caller.start(kind, pending),
                }
            } else {
                Err(pending)
            };
            match placed {
                Ok(ticket) => {
                    if start > head {
                        frame::retag(&mut out[head..], ticket.tag);
                    }
                    frame::retag(&mut out[start..], ticket.tag);
                    self.put_back(inner, out);
                    self.sent(inner, ticket.tag);
                    ticket
                }
                Err(mut pending) => {
                    pending.frame = out.split_off(start);
                    out.truncate(head);
                    self.put_back(inner, out);
                    match is_stream {
                        true => inner.caller.wait_stream(pending),
                        false => inner.caller.wait(pending),
                    }
                }
            }
        };
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(at) = until {
            self.shared.add_deadline(self.id, ticket, at);
        }
        self.mark_dirty(py)?;
        // The deadline is kept here, also while the lane is carried elsewhere, or nowhere.
        self.shared.schedule(py)?;
        Ok(ticket)
    }

    /// Whether a request needs a word before it: metadata, or a time that is not the lane's.
    fn needs_head(&self, method: &ChannelMethod, timeout: f64) -> bool {
        !method.metadata.0.is_empty() || timeout.to_bits() != self.settings.default_time.to_bits()
    }

    /// What a peer without the extension would not understand must not get lost in silence.
    fn check_extension(&self, method: &ChannelMethod, impossible: bool) -> PyResult<()> {
        if !impossible {
            return Ok(());
        }
        if method.inbound_plan().is_some() {
            return Err(errors::no_extension(&method.what, "a stream from the caller"));
        }
        if method.metadata_required && !method.metadata.0.is_empty() {
            return Err(errors::no_extension(&method.what, "metadata"));
        }
        Ok(())
    }

    /// A request has its tag and its place in what leaves: streams may go on their way, that from
    /// the called end with more than it may send unasked.
    fn sent(&self, inner: &mut Inner, tag: u16) {
        let Some(pending) = inner.caller.value(tag) else { return };
        if let Some(feed) = pending.feed.clone() {
            if inner.assumed {
                inner.held.push(feed);
            } else {
                feed.begin();
            }
        }
        let more = self.settings.stream_window.saturating_sub(INITIAL_WINDOW);
        let is_stream = matches!(pending.waiter, Waiter::Stream(_));
        if is_stream && inner.agreed.extension && more > 0 {
            ext::credit(tag, more, &mut inner.out);
        }
    }

    /// Returns a buffer that was taken out; frames that came meanwhile follow it.
    fn put_back(&self, inner: &mut Inner, mut out: Vec<u8>) {
        if !inner.out.is_empty() {
            out.append(&mut inner.out);
        }
        inner.out = out;
    }

    /// Calls that waited get the tags that became free.
    pub(super) fn promote(&self, py: Python<'_>) -> PyResult<()> {
        let (mut refused, mut feeds) = (Vec::new(), Vec::new());
        {
            let inner = &mut *lock(&self.inner);
            if !matches!(inner.phase, Phase::Open) {
                return Ok(());
            }
            let (agreed, dialect) = (inner.agreed, inner.dialect);
            if !inner.assumed {
                for feed in std::mem::take(&mut inner.held) {
                    feed.begin();
                    feeds.push(feed);
                }
            }
            loop {
                let next = inner.caller.next_waiting().map(|pending| pending.frame.len());
                if next.is_some_and(|size| inner.must_wait(size)) {
                    break;
                }
                let promoted = inner.caller.promote(|pending| pending.reply_kind(dialect));
                let Some((ticket, pending)) = promoted else { break };
                let called = pending.method.get();
                let refusal = if pending.frame.len() > agreed.limit as usize {
                    // Only now is the peer's limit known.
                    let size = pending.frame.len() as u64;
                    let limit = agreed.limit;
                    Some(Refusal::TooLarge(FrameError::TooLarge { size, limit }))
                } else if self.check_extension(called, !agreed.extension).is_err() {
                    Some(Refusal::NoExtension)
                } else if agreed.extension {
                    ext::check_head(&called.metadata, agreed.limit).err().map(Refusal::Metadata)
                } else {
                    None
                };
                if let Some(refusal) = refusal {
                    // The tag was never used.
                    let reply = inner.caller.reply(kind::RERROR, ticket.tag, &[]);
                    if let Ok(mux::Reply::Fault(pending)) = reply {
                        refused.push((pending, refusal));
                    }
                    continue;
                }
                if agreed.extension && self.needs_head(called, pending.timeout) {
                    let left = pending.time_left();
                    ext::head(ticket.tag, left, &called.metadata, &mut inner.out);
                }
                frame::retag(&mut pending.frame, ticket.tag);
                // It may have been written before the connection was there, or for another one.
                frame::retype(&mut pending.frame, dialect.request(called.index));
                if inner.keeps {
                    inner.out.extend_from_slice(&pending.frame);
                } else {
                    inner.out.append(&mut std::mem::take(&mut pending.frame));
                }
                feeds.extend(pending.feed.clone());
                self.sent(inner, ticket.tag);
            }
        }
        for feed in feeds {
            feed.wake(py)?;
        }
        for (pending, refusal) in refused {
            let what = pending.what(py);
            let error = match refusal {
                Refusal::TooLarge(error) => {
                    errors::too_large(py, what, error, self.side(&lock(&self.inner)))
                }
                Refusal::Metadata(error) => {
                    head_too_large(py, what, error, self.side(&lock(&self.inner)))
                }
                Refusal::NoExtension => match self.check_extension(pending.method.get(), true) {
                    Err(error) => error,
                    Ok(()) => continue,
                },
            };
            self.over(py, pending, error)?;
        }
        Ok(())
    }

    pub(crate) fn is_live(&self, ticket: Ticket) -> bool {
        let inner = lock(&self.inner);
        inner.caller.is_live(ticket) || inner.former.iter().any(|lane| lane.is_live(ticket))
    }

    /// Sends an item of the stream that a request carries: its size on the wire, or `None` if the
    /// call is over.
    pub(crate) fn send_item(
        self: &Arc<Self>,
        py: Python<'_>,
        ticket: Ticket,
        what: &str,
        encode: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
    ) -> PyResult<Option<usize>> {
        self.shared.check()?;
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.send_item(py, ticket, what, encode);
        }
        let (mut out, tag, limit, side) = {
            let inner = &mut *lock(&self.inner);
            let Some(tag) = inner.caller.tag_of(ticket) else { return Ok(None) };
            (std::mem::take(&mut inner.out), tag, inner.agreed.limit, self.side(inner))
        };
        let start = frame::begin(&mut out, ext::TITEM, tag);
        let encoded = encode(&mut out).and_then(|()| {
            let finished = frame::finish(&mut out, start, limit);
            finished.map_err(|error| errors::too_large(py, what, error, side))
        });
        if encoded.is_err() {
            out.truncate(start);
        }
        let size = out.len() - start;
        self.put_back(&mut lock(&self.inner), out);
        encoded?;
        self.mark_dirty(py)?;
        Ok(Some(size))
    }

    /// Sends a frame without a payload about a call, unless it is over.
    pub(crate) fn send_empty(
        self: &Arc<Self>,
        py: Python<'_>,
        ticket: Ticket,
        kind: u8,
    ) -> PyResult<()> {
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.send_empty(py, ticket, kind);
        }
        {
            let inner = &mut *lock(&self.inner);
            let Some(tag) = inner.caller.tag_of(ticket) else { return Ok(()) };
            ext::empty(kind, tag, &mut inner.out);
        }
        self.mark_dirty(py)
    }

    /// Ends a call from our side with an error of ours.
    pub(crate) fn give_up(
        self: &Arc<Self>,
        py: Python<'_>,
        ticket: Ticket,
        error: PyErr,
    ) -> PyResult<()> {
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.give_up(py, ticket, error);
        }
        let Some(pending) = self.withdraw(ticket) else { return Ok(()) };
        self.over(py, pending, error)?;
        self.after_withdrawal(py)
    }

    /// Whoever waited for the call has gone: the called end is told, if it would understand.
    pub(crate) fn abandon(self: &Arc<Self>, py: Python<'_>, ticket: Ticket) {
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.abandon(py, ticket);
        }
        if let Some(pending) = self.withdraw(ticket) {
            self.ended(py, &pending);
            drop(pending);
            if let Err(error) = self.after_withdrawal(py) {
                error.write_unraisable(py, None);
            }
        }
    }

    /// The call's time is up, unless it ended before.
    pub(crate) fn expire(self: &Arc<Self>, py: Python<'_>, ticket: Ticket) -> PyResult<()> {
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.expire(py, ticket);
        }
        let Some(pending) = self.withdraw(ticket) else { return Ok(()) };
        let error = pending.deadline_exceeded(py);
        let told = self.over_now(py, pending, error);
        self.after_withdrawal(py).and(told)
    }

    /// A call is over, and so is the stream from the caller that its request carried.
    pub(super) fn ended(&self, py: Python<'_>, pending: &Pending) {
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        if let Some(feed) = &pending.feed {
            feed.stop(py);
        }
    }

    /// A call was taken off: what tells the called end leaves, and a stream's own lane ends.
    fn after_withdrawal(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if matches!(self.kind, Kind::Own(_)) { self.close(py) } else { self.mark_dirty(py) }
    }

    fn withdraw(&self, ticket: Ticket) -> Option<Pending> {
        let inner = &mut *lock(&self.inner);
        let tag = inner.caller.tag_of(ticket);
        let pending = inner.caller.abandon(ticket)?;
        let understood = inner.agreed.extension || matches!(pending.waiter, Waiter::Stream(_));
        let alive = matches!(inner.phase, Phase::Open | Phase::Draining);
        if let Some(tag) = tag.filter(|_| understood && alive) {
            if let Some(cancel) = inner.caller.cancel(tag) {
                mux::cancel(cancel, tag, &mut inner.out);
            }
        }
        Some(pending)
    }

    /// The taker of a stream took items: more of it may come.
    pub(crate) fn took(
        self: &Arc<Self>,
        py: Python<'_>,
        ticket: Ticket,
        flow: &Flow,
        grant: Option<u32>,
    ) -> PyResult<()> {
        if let Some(lane) = self.elsewhere(ticket) {
            return lane.took(py, ticket, flow, grant);
        }
        let resumed = {
            let inner = &mut *lock(&self.inner);
            if inner.agreed.extension {
                let tag = grant.and_then(|_| inner.caller.tag_of(ticket));
                let (Some(grant), Some(tag)) = (grant, tag) else { return Ok(()) };
                ext::credit(tag, grant, &mut inner.out);
                None
            } else {
                let low = self.settings.stream_window as usize / 2;
                if flow.inbox.held() > low || !flow.paused.swap(false, Ordering::Relaxed) {
                    return Ok(());
                }
                inner.wire.clone()
            }
        };
        match resumed {
            None => self.mark_dirty(py),
            Some(wire) => {
                if let Some(key) = wire.key {
                    wire.shared.hub()?.pause_lane(key, false);
                }
                wire.shared.schedule(py)
            }
        }
    }
}
