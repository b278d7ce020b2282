//! How a lane ends: with its connection, by a broken rule, by us.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use jetstream_net::{LaneEnd, Lost};
use jetstream_proto::codes;
use jetstream_proto::frame;
use jetstream_proto::version;
use pyo3::prelude::*;

use super::calls::Waiter;
use super::{Agreed, CallerLane, Inner, Kind, Phase, Wire};
use crate::channel::ChannelMethod;
use crate::connection::Connection;
use crate::errors;
use crate::shared::lock;

/// Why a lane cannot be called on any more. Each call gets an exception of its own.
#[derive(Clone)]
pub(crate) enum Failure {
    Lost(Lost),
    Ended(LaneEnd),
    Protocol(String),
    Version {
        message: String,
        answered: Option<String>,
    },
    /// The server is going away and had not begun the call.
    Unavailable,
    /// There will be no further connection.
    GivenOut(Arc<str>),
    /// The server answered otherwise than the last time, which we had counted on.
    Changed,
    Closed,
}

impl Failure {
    /// Whether we wanted it so: nothing goes on elsewhere.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Closed | Self::Lost(Lost::Here))
    }
}

impl CallerLane {
    pub(crate) fn on_end(self: &Arc<Self>, py: Python<'_>, end: &LaneEnd) -> PyResult<()> {
        let (negotiating, draining) = {
            let inner = lock(&self.inner);
            let negotiating = matches!(inner.phase, Phase::Negotiating) || inner.assumed;
            (negotiating, matches!(inner.phase, Phase::Draining))
        };
        let failure = match end {
            LaneEnd::Stopped { code } if *code == u64::from(codes::UNKNOWN_SERVICE) => {
                let why = format!("the server does not serve {:?}", self.settings.version.name);
                self.refused(why, Some(version::UNKNOWN.to_owned()))
            }
            LaneEnd::Stopped { code } if *code == u64::from(codes::VERSION_REFUSED) => {
                let why = "the server serves it in a version that does not fit";
                self.refused(why.to_owned(), Some(version::UNKNOWN.to_owned()))
            }
            LaneEnd::Stopped { code } | LaneEnd::Reset { code }
                if *code == u64::from(codes::SHUTDOWN) && negotiating =>
            {
                // It came too late: nothing was begun.
                self.tell_going_away(py)?;
                return self.detach(py, Failure::Unavailable, |_, pending| pending.may_be_sent());
            }
            LaneEnd::Stopped { code } | LaneEnd::Reset { code }
                if *code == u64::from(codes::SHUTDOWN) =>
            {
                let failure = Failure::Ended(end.clone());
                return self.detach(py, failure, |_, pending| pending.may_be_repeated());
            }
            LaneEnd::Broken(_) | LaneEnd::Truncated { .. } => Failure::Ended(end.clone()),
            LaneEnd::Lost(reason) => return self.on_socket_lost(py, reason),
            _ if negotiating => self.refused(
                "the server closed the lane without an answer, as some do for a name that they \
                 do not serve"
                    .to_owned(),
                None,
            ),
            end if draining => {
                let failure = Failure::Ended(end.clone());
                return self.detach(py, failure, |_, pending| pending.may_be_repeated());
            }
            end => Failure::Ended(end.clone()),
        };
        self.fail(py, failure);
        Ok(())
    }

    /// The connection is gone; `unshaken` if its handshake was never complete.
    pub(crate) fn on_lost(self: &Arc<Self>, py: Python<'_>, reason: &Lost, unshaken: bool) {
        // What is still here has not left, whatever it is.
        let (unsent, unbegun): (HashSet<u16>, bool) = {
            let inner = lock(&self.inner);
            // A server of ours begins nothing ahead of the handshake that may not be begun again.
            let unbegun = unshaken && inner.agreed.extension;
            let requests = frame::frames(&inner.out);
            let unsent = requests
                .filter(|frame| inner.dialect.method_of_request(frame.kind).is_some())
                .map(|frame| frame.tag)
                .collect();
            (unsent, unbegun)
        };
        let failure = Failure::Lost(reason.clone());
        let told = self.detach(py, failure, |tag, pending| {
            let begun = !unbegun && !unsent.contains(&tag);
            pending.may_be_repeated() || (!begun && pending.may_be_sent())
        });
        if let Err(error) = told {
            error.write_unraisable(py, None);
        }
    }

    /// The socket that the lane had to itself is gone, and those of other lanes are not. A lane that
    /// stays up takes that for the end of the connection: it goes on over the next one.
    fn on_socket_lost(self: &Arc<Self>, py: Python<'_>, reason: &Lost) -> PyResult<()> {
        let wire = lock(&self.inner).wire.clone().filter(|_| self.settings.stays_up);
        let Some(Wire { shared, connection, .. }) = wire else {
            self.on_lost(py, reason, false);
            return Ok(());
        };
        shared.on_lost(py, connection, reason);
        shared.hub()?.close(Instant::now(), connection, u64::from(codes::DONE), b"");
        shared.schedule(py)
    }

    /// The called end begins nothing that it has not begun.
    pub(super) fn on_going_away(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let before = std::mem::replace(&mut lock(&self.inner).phase, Phase::Draining);
        if matches!(before, Phase::Draining) {
            // All that had been begun has been answered; the rest can be sent elsewhere.
            return self.detach(py, Failure::Unavailable, |_, pending| pending.may_be_sent());
        }
        if !self.settings.stays_up {
            // Those that wait for a tag would never get one here.
            let waiting = lock(&self.inner).caller.drain_waiting();
            for pending in waiting {
                let error = self.error(py, &Failure::Unavailable);
                self.over(py, pending, error)?;
            }
        }
        self.fail_suspended(py)?;
        self.tell_going_away(py)
    }

    /// Those who wait for it on the connection are told.
    fn tell_going_away(&self, py: Python<'_>) -> PyResult<()> {
        let wire = lock(&self.inner).wire.clone();
        match wire.and_then(|wire| wire.shared.known(py, wire.connection)) {
            Some(connection) => connection.get().on_going_away(py),
            None => Ok(()),
        }
    }

    /// Forgets what belongs to the wire that is gone.
    pub(super) fn cut(&self, inner: &mut Inner) -> Option<Wire> {
        inner.out = Vec::new();
        inner.dirty = false;
        inner.assumed = false;
        inner.held = Vec::new();
        inner.metadata = None;
        inner.wire.take()
    }

    pub(super) fn release(&self, py: Python<'_>, wire: Option<Wire>, code: u32) {
        let Some(Wire { shared, key: Some(key), .. }) = wire else { return };
        shared.unbind_lane(key);
        if let Ok(mut hub) = shared.hub() {
            hub.abort_lane(key, code);
        }
        if let Err(error) = shared.schedule(py) {
            error.write_unraisable(py, None);
        }
    }

    /// Begins anew on the same connection: the server has thrown early data away, so nothing of it
    /// was begun (RFC 8446, section 4.2.10).
    pub(crate) fn restart(
        self: &Arc<Self>,
        py: Python<'_>,
        connection: &Connection,
    ) -> PyResult<()> {
        let (wire, over) = {
            let inner = &mut *lock(&self.inner);
            if matches!(inner.phase, Phase::Failed(_) | Phase::Detached) {
                return Ok(());
            }
            let wire = self.cut(inner);
            inner.agreed = Agreed { limit: self.settings.msize, extension: false };
            inner.phase = Phase::Opening;
            inner.wire = wire.clone().map(|wire| Wire { key: None, ..wire });
            (wire, inner.caller.restart(|_, pending| !pending.frame.is_empty()))
        };
        if let Some(Wire { shared, key: Some(key), .. }) = wire {
            shared.unbind_lane(key);
        }
        for pending in over {
            let error = self.error(py, &Failure::Unavailable);
            self.over(py, pending, error)?;
        }
        self.open(py, connection)
    }

    /// The handshake is over and early data was taken, so nothing needs to be sent again.
    pub(crate) fn settle(&self) {
        lock(&self.inner).keeps = self.settings.stays_up;
    }

    /// Ends the lane on our side, and those of its streams: calls in flight fail, the peer is told.
    pub(crate) fn close(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let own = std::mem::take(&mut lock(&self.inner).own);
        self.fail(py, Failure::Closed);
        for lane in own.iter().filter_map(Weak::upgrade) {
            lane.close(py)?;
        }
        self.shared.schedule(py)
    }

    /// Ends a lane that waits for a connection which will not come.
    pub(crate) fn give_out(self: &Arc<Self>, py: Python<'_>, why: &str) -> PyResult<()> {
        self.fail(py, Failure::GivenOut(why.into()));
        self.shared.schedule(py)
    }

    /// The loop is gone: nobody is left to be told.
    pub(crate) fn forget(&self) {
        let (calls, former) = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Failed(Failure::Closed);
            inner.wire = None;
            (inner.caller.drain(), std::mem::take(&mut inner.former))
        };
        for pending in calls {
            match &pending.waiter {
                Waiter::Reply(reply) => reply.get().forget(),
                Waiter::Stream(flow) => flow.inbox.close(),
            }
        }
        for lane in former {
            lane.forget();
        }
    }

    pub(crate) fn fail(&self, py: Python<'_>, failure: Failure) {
        let (wire, calls, passing) = {
            let inner = &mut *lock(&self.inner);
            if matches!(inner.phase, Phase::Failed(_)) {
                return;
            }
            inner.phase = Phase::Failed(failure.clone());
            let mut passing = std::mem::take(&mut inner.former);
            passing.extend(inner.stranded.drain(..).filter_map(|lane| lane.upgrade()));
            (self.cut(inner), inner.caller.drain(), passing)
        };
        let code = match failure {
            Failure::Protocol(_) | Failure::Ended(LaneEnd::Broken(_)) => codes::PROTOCOL,
            _ => codes::DONE,
        };
        match failure {
            Failure::Lost(_) => {}
            _ => self.release(py, wire, code),
        }
        for pending in calls {
            let error = self.error(py, &failure);
            if let Err(error) = self.over(py, pending, error) {
                error.write_unraisable(py, None);
            }
        }
        if let Kind::Former(lane) = &self.kind {
            if let Some(lane) = lane.upgrade() {
                lane.forget_former(self.id);
            }
        }
        for lane in passing {
            lane.fail(py, failure.clone());
        }
    }

    /// Why it can only fail, if so.
    pub(crate) fn fail_if_over(&self, py: Python<'_>) -> PyResult<()> {
        match &lock(&self.inner).phase {
            Phase::Failed(failure) => Err(self.error(py, failure)),
            _ => Ok(()),
        }
    }

    pub(super) fn refuse_if_over(
        &self,
        py: Python<'_>,
        inner: &Inner,
        method: &ChannelMethod,
    ) -> PyResult<()> {
        match &inner.phase {
            Phase::Failed(failure) => Err(self.error(py, failure)),
            Phase::Draining if !self.settings.stays_up => {
                Err(self.error(py, &Failure::Unavailable))
            }
            Phase::Draining | Phase::Detached => match &inner.suspended {
                Some(why) if !method.wait_for_ready => Err(errors::no_connection(why)),
                _ if inner.caller.waiting() >= self.settings.max_waiting => {
                    let size = inner.caller.waiting() + 1;
                    Err(errors::too_many_waiting(py, size, self.settings.max_waiting))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn error(&self, py: Python<'_>, failure: &Failure) -> PyErr {
        match failure {
            Failure::Lost(reason) => errors::lost(py, reason),
            Failure::Ended(end) => errors::lane_ended(py, end),
            Failure::Protocol(message) => errors::remote_protocol(message.clone()),
            Failure::Version { message, answered } => {
                let asked = self.settings.version.to_string();
                errors::version(py, message.clone(), &asked, answered.as_deref())
            }
            Failure::Unavailable => errors::unavailable(),
            Failure::GivenOut(why) => errors::connection_lost(why.to_string()),
            Failure::Changed => errors::connection_lost(
                "the server has changed since the last visit; call again".to_owned(),
            ),
            Failure::Closed => errors::closed("the channel"),
        }
    }
}
