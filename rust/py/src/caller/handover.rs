//! How a lane that stays up goes on over another connection.
//!
//! What had been begun on the old connection is answered there, by a lane of its own; what waits,
//! and what was given back, goes to the new one.

use std::sync::{Arc, Weak};

use jetstream_proto::codes;
use jetstream_proto::mux::{Kept, Ticket};
use pyo3::prelude::*;

use super::calls::Pending;
use super::end::Failure;
use super::{Agreed, CallerLane, Inner, Kind, Phase, Wire};
use crate::connection::Connection;
use crate::errors;
use crate::shared::{Role, lock};

impl CallerLane {
    // ---- off a connection ----

    /// The wire is gone. A lane that stays up keeps the calls that `keep` (asked by tag) lets be
    /// sent again, and waits for another connection; any other lane fails.
    pub(super) fn detach(
        self: &Arc<Self>,
        py: Python<'_>,
        failure: Failure,
        keep: impl Fn(u16, &Pending) -> bool,
    ) -> PyResult<()> {
        if !self.settings.stays_up || failure.is_ours() {
            self.fail(py, failure);
            return Ok(());
        }
        let (wire, kept, over) = {
            let inner = &mut *lock(&self.inner);
            if matches!(inner.phase, Phase::Failed(_) | Phase::Detached) {
                return Ok(());
            }
            inner.phase = Phase::Detached;
            let wire = self.cut(inner);
            let (mut kept, over) = inner.caller.dismantle(|tag, pending| keep(tag, pending));
            if !matches!(self.kind, Kind::Former(_)) {
                inner.caller.rejoin(std::mem::take(&mut kept));
            }
            (wire, kept, over)
        };
        let before = wire.clone();
        self.release(py, wire, codes::DONE);
        for pending in over {
            let error = self.error(py, &failure);
            self.over(py, pending, error)?;
        }
        match &self.kind {
            Kind::Main => self.fail_suspended(py),
            Kind::Own(lane) => self.strand(py, lane.upgrade(), before, failure),
            Kind::Former(lane) => {
                let lane = lane.upgrade();
                self.give_back(py, lane, kept, &failure)?;
                self.fail(py, Failure::Closed);
                Ok(())
            }
        }
    }

    /// The called end says of a request that it was not begun.
    pub(super) fn on_not_begun(
        self: &Arc<Self>,
        py: Python<'_>,
        kept: Kept<Pending>,
    ) -> PyResult<()> {
        if !self.settings.stays_up || !kept.value.may_be_sent() {
            let error = self.error(py, &Failure::Unavailable);
            return self.over_now(py, kept.value, error);
        }
        match &self.kind {
            Kind::Former(lane) => {
                self.give_back(py, lane.upgrade(), vec![kept], &Failure::Unavailable)
            }
            Kind::Main | Kind::Own(_) => {
                lock(&self.inner).caller.rejoin(vec![kept]);
                self.fail_suspended(py)
            }
        }
    }

    /// Gives calls to the lane that goes on.
    fn give_back(
        &self,
        py: Python<'_>,
        lane: Option<Arc<Self>>,
        kept: Vec<Kept<Pending>>,
        failure: &Failure,
    ) -> PyResult<()> {
        match lane {
            Some(lane) => lane.take_back(py, kept),
            None => {
                for call in kept {
                    let error = self.error(py, failure);
                    self.over(py, call.value, error)?;
                }
                Ok(())
            }
        }
    }

    fn take_back(self: &Arc<Self>, py: Python<'_>, kept: Vec<Kept<Pending>>) -> PyResult<()> {
        let failed = {
            let inner = &mut *lock(&self.inner);
            match &inner.phase {
                Phase::Failed(failure) => Some((failure.clone(), kept)),
                _ => {
                    inner.caller.rejoin(kept);
                    None
                }
            }
        };
        if let Some((failure, kept)) = failed {
            return self.give_back(py, None, kept, &failure);
        }
        self.fail_suspended(py)?;
        self.promote(py)?;
        self.mark_dirty(py)
    }

    /// A stream's own lane lost its connection: if it was not begun, it goes where its channel's
    /// lane goes.
    fn strand(
        self: &Arc<Self>,
        py: Python<'_>,
        lane: Option<Arc<Self>>,
        before: Option<Wire>,
        failure: Failure,
    ) -> PyResult<()> {
        let lane = lane.filter(|_| lock(&self.inner).caller.waiting() > 0);
        let Some(lane) = lane else {
            self.fail(py, failure);
            return Ok(());
        };
        let (failed, next, suspended) = {
            let inner = &mut *lock(&lane.inner);
            let failed = match &inner.phase {
                Phase::Failed(failure) => Some(failure.clone()),
                _ => None,
            };
            let moved = inner.wire.clone().filter(|wire| {
                before.as_ref().is_none_or(|before| !wire.is_same_connection(before))
            });
            if failed.is_none() && moved.is_none() {
                inner.stranded.retain(|lane| lane.strong_count() > 0);
                inner.stranded.push(Arc::downgrade(self));
            }
            (failed, moved, inner.suspended.clone())
        };
        if let Some(failure) = failed {
            self.fail(py, failure);
            return Ok(());
        }
        if let Some(next) = next.and_then(|wire| wire.shared.known(py, wire.connection)) {
            return self.attach(py, next.get());
        }
        match suspended {
            Some(why) => self.suspend(py, &why),
            None => Ok(()),
        }
    }

    // ---- without a connection ----

    /// There is no connection, and none is near: from now on, calls that do not wait for one fail
    /// at once, and those that wait already with them.
    pub(crate) fn suspend(self: &Arc<Self>, py: Python<'_>, why: &str) -> PyResult<()> {
        let stranded: Vec<Arc<Self>> = {
            let inner = &mut *lock(&self.inner);
            inner.suspended = Some(why.into());
            inner.stranded.iter().filter_map(Weak::upgrade).collect()
        };
        self.fail_suspended(py)?;
        for lane in stranded {
            lane.suspend(py, why)?;
        }
        Ok(())
    }

    pub(super) fn fail_suspended(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (why, over, done) = {
            let inner = &mut *lock(&self.inner);
            let Some(why) = inner.suspended.clone() else { return Ok(()) };
            if !matches!(inner.phase, Phase::Detached | Phase::Draining) {
                return Ok(());
            }
            let over = inner.caller.retain_waiting(Pending::waits_for_ready);
            let done = matches!(self.kind, Kind::Own(_)) && inner.caller.waiting() == 0;
            (why, over, done)
        };
        for pending in over {
            self.over(py, pending, errors::no_connection(&why))?;
        }
        if done { self.close(py) } else { Ok(()) }
    }

    // ---- onto a connection ----

    /// Goes on over another connection: what waits is sent there. Calls that have been begun stay
    /// with the old one, if it is still there.
    pub(crate) fn attach(
        self: &Arc<Self>,
        py: Python<'_>,
        connection: &Connection,
    ) -> PyResult<()> {
        connection.fail_if_lost(py)?;
        let is_begun = {
            let inner = lock(&self.inner);
            let here = inner.wire.as_ref().is_some_and(|wire| wire.is_of(connection));
            if here || matches!(inner.phase, Phase::Failed(_)) {
                return Ok(());
            }
            matches!(inner.phase, Phase::Open | Phase::Draining)
        };
        let former = is_begun.then(|| {
            let kind = Kind::Former(Arc::downgrade(self));
            Self::make(&self.shared, None, self.settings.clone(), kind)
        });
        let (left, stranded) = {
            let inner = &mut *lock(&self.inner);
            if let Some(former) = &former {
                self.move_to(inner, &mut lock(&former.inner));
                inner.former.push(former.clone());
            }
            let left = self.cut(inner);
            inner.suspended = None;
            inner.may_assume = false;
            inner.agreed = Agreed { limit: self.settings.msize, extension: false };
            inner.phase = Phase::Opening;
            let (shared, key) = (connection.shared.clone(), None);
            inner.wire = Some(Wire { shared, connection: connection.key(), key });
            (left, std::mem::take(&mut inner.stranded))
        };
        self.release(py, left, codes::DONE);
        if let Some(former) = former {
            former.begin_former(py)?;
        }
        self.open(py, connection)?;
        for lane in stranded.iter().filter_map(Weak::upgrade) {
            lane.attach(py, connection)?;
        }
        Ok(())
    }

    /// Leaves the calls that have been begun, and the wire that they are on, to a former lane.
    fn move_to(&self, inner: &mut Inner, former: &mut Inner) {
        former.wire = inner.wire.take();
        former.phase = inner.phase.clone();
        former.caller = inner.caller.split();
        former.out = std::mem::take(&mut inner.out);
        former.agreed = inner.agreed;
        former.dialect = inner.dialect;
        former.assumed = std::mem::take(&mut inner.assumed);
        former.keeps = inner.keeps;
        former.metadata = inner.metadata.take();
    }

    fn begin_former(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (wire, pending) = {
            let inner = lock(&self.inner);
            (inner.wire.clone(), inner.caller.pending())
        };
        if let Some(Wire { shared, key: Some(key), .. }) = &wire {
            shared.rebind_lane(*key, Role::Caller(self.clone()));
        }
        if pending == 0 { self.close(py) } else { self.mark_dirty(py) }
    }

    /// Who has a call that was begun on an earlier connection.
    pub(super) fn elsewhere(&self, ticket: Ticket) -> Option<Arc<Self>> {
        let inner = lock(&self.inner);
        inner.former.iter().find(|lane| lane.is_live(ticket)).cloned()
    }

    pub(super) fn forget_former(&self, id: u64) {
        let found = {
            let former = &mut lock(&self.inner).former;
            let at = former.iter().position(|lane| lane.id == id);
            at.map(|at| former.swap_remove(at))
        };
        drop(found);
    }
}
