//! Lossy subscriptions: the latest item alone counts, so each leaves at once or gives way to the next.
//!
//! One item at most waits at either end. It goes as a datagram where the path takes one; where there
//! are none it goes on the lane, provided that nothing else waits there and the peer takes more.

use std::sync::Arc;

use jetstream_net::{LaneKey, Sent};
use jetstream_proto::ext;
use jetstream_proto::frame;
use pyo3::prelude::*;

use crate::caller::CallerLane;
use crate::dispatch::ServiceLane;
use crate::errors;
use crate::outlet::Outlet;
use crate::shared::{Role, Shared, lock};

/// Items after which the loop gets its turn, whether or not they went anywhere.
const YIELD_AFTER: u32 = 64;

/// What a lossy subscription keeps at its producing end.
#[derive(Default)]
pub(crate) struct Lossy {
    /// The frame of the item that has not left.
    latest: Option<Vec<u8>>,
    /// The frame of the item that left last, as a datagram: it may get lost.
    unsure: Option<Vec<u8>>,
    number: u32,
    /// Whether it is on the list of those that have something to send.
    listed: bool,
}

impl Outlet {
    /// Puts an item in the place of the one before.
    pub(crate) fn send_lossy<'py>(
        slf: &Bound<'py, Self>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let outlet = slf.get();
        let method = outlet.method().get();
        let Some(stream) = &method.stream else {
            return Err(errors::misuse("a method without items; this is a bug"));
        };
        let (limit, side, extended) = outlet.lane().limits()?;
        let number = {
            let mut lossy = lock(outlet.lossy());
            lossy.number = lossy.number.wrapping_add(1);
            lossy.number
        };
        let mut out = Vec::new();
        let kind = if extended { ext::LOSSY } else { outlet.lane().dialect.reply(method.index) };
        frame::begin(&mut out, kind, outlet.tag());
        if extended {
            out.extend_from_slice(&number.to_le_bytes());
        }
        stream.get().encode_into(py, item, &mut out, &method.what)?;
        frame::finish(&mut out, 0, limit)
            .map_err(|error| errors::result_too_large(py, &method.what, error, side))?;
        let listed = {
            let mut lossy = lock(outlet.lossy());
            lossy.latest = Some(out);
            std::mem::replace(&mut lossy.listed, true)
        };
        let shared = &outlet.lane().shared;
        if !listed {
            shared.enlist_lossy(slf.clone().unbind());
            shared.schedule(py)?;
        }
        if number % YIELD_AFTER != 0 {
            return Ok(None);
        }
        let future = shared.create_future(py)?;
        shared.after_turn(py, future.clone().unbind())?;
        Ok(Some(future))
    }

    /// Sends what waits, if it can leave; true if it waits on.
    fn offer(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(item) = lock(self.lossy()).latest.take() else { return Ok(false) };
        if self.is_closed() {
            return Ok(false);
        }
        let lane = self.lane();
        let (_, _, extended) = lane.limits()?;
        let sent = match extended {
            true => lane.shared.hub()?.lane_datagram(lane.key, &item),
            false => Sent::Unfit,
        };
        let waits = match sent {
            Sent::Sent => {
                lock(self.lossy()).unsure = Some(item);
                None
            }
            Sent::Busy => Some(item),
            Sent::Unfit if self.window_is_open() && lane.is_idle()? => {
                self.put(py, item)?;
                lock(self.lossy()).unsure = None;
                None
            }
            Sent::Unfit => Some(item),
        };
        match waits {
            None => Ok(false),
            Some(item) => {
                // Nothing can have come in its place: this is between two steps of its producer.
                lock(self.lossy()).latest.get_or_insert(item);
                Ok(true)
            }
        }
    }

    /// The last item does not give way any more: it goes on the lane, before the end, also if it
    /// has gone as a datagram. Whoever got it knows it by its number.
    pub(crate) fn finish_lossy(&self, py: Python<'_>) -> PyResult<()> {
        let last = {
            let mut lossy = lock(self.lossy());
            let unsure = lossy.unsure.take();
            lossy.latest.take().or(unsure)
        };
        match last {
            Some(item) => self.put(py, item),
            None => Ok(()),
        }
    }

    fn put(&self, py: Python<'_>, mut item: Vec<u8>) -> PyResult<()> {
        self.count_sent(item.len());
        let (mut out, _, _) = self.lane().take_out()?;
        out.append(&mut item);
        self.lane().put_out(py, out).map(drop)
    }
}

impl ServiceLane {
    /// The largest frame that the peer takes, whose limit that is, and whether the extension is
    /// spoken.
    fn limits(&self) -> PyResult<(u32, &'static str, bool)> {
        let inner = lock(&self.inner);
        if inner.is_over() {
            return Err(errors::closed("the lane"));
        }
        Ok((inner.limit, inner.side(), self.is_extended()))
    }

    /// Whether nothing waits to be sent.
    fn is_idle(&self) -> PyResult<bool> {
        let unsent = self.shared.hub()?.lane_unsent(self.key);
        Ok(unsent == 0 && lock(&self.inner).out.is_empty())
    }
}

impl Shared {
    /// Lets the latest items of lossy subscriptions leave.
    pub(crate) fn flush_lossy(&self, py: Python<'_>) -> PyResult<()> {
        let listed = std::mem::take(&mut lock(&self.state).lossy);
        let mut outcome = Ok(());
        for outlet in listed {
            let waits = match outlet.get().offer(py) {
                Ok(waits) => waits,
                // Its lane is over; whoever produces will hear of that.
                Err(error) if error.is_instance_of::<errors::ClosedError>(py) => false,
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            };
            if waits {
                self.enlist_lossy(outlet);
            } else {
                lock(outlet.get().lossy()).listed = false;
            }
        }
        outcome
    }

    /// A frame of a lane came as a datagram. What is wrong with it is not told: anything may happen
    /// to a datagram.
    pub(crate) fn on_lane_datagram(
        &self,
        py: Python<'_>,
        lane: LaneKey,
        frame: &[u8],
    ) -> PyResult<()> {
        match self.role(lane) {
            Some(Role::Caller(caller)) => caller.on_datagram(py, frame),
            _ => Ok(()),
        }
    }
}

impl CallerLane {
    fn on_datagram(self: &Arc<Self>, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let mut frames = frame::frames(bytes);
        let Some(frame) = frames.next() else { return Ok(()) };
        if frame.kind != ext::LOSSY || frames.position() != bytes.len() {
            return Ok(());
        }
        match (self.lossy_flow(frame.tag), ext::decode_lossy(frame.payload)) {
            (Some(flow), Ok((number, value))) if flow.is_later(number) => {
                flow.inbox.replace(flow.item_frame(value));
                flow.inbox.wake_now(py)
            }
            _ => Ok(()),
        }
    }
}
