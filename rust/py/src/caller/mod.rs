//! The calling end of a lane: from opening and agreeing the version to the last reply.
//!
//! `mod` has the lane and how it begins, `calls` what goes out, `answers` what comes back, `end` how
//! it ends, `handover` how it goes on over another connection.

mod answers;
mod calls;
mod end;
mod handover;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use jetstream_net::{ConnectionKey, LaneKey, StreamId};
use jetstream_proto::dialect::{Dialect, OtherService};
use jetstream_proto::ext::{self, ExtError, Metadata};
use jetstream_proto::mux::Caller;
use jetstream_proto::version::{self, Version};
use pyo3::prelude::*;

use calls::Pending;
pub(crate) use calls::Waiter;
pub(crate) use end::Failure;

use crate::connection::Connection;
use crate::errors;
use crate::feed;
use crate::shared::{LIVE_LANES, Role, Shared, lock};

/// What two ends agreed on a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The largest frame that the peer takes.
    pub(crate) limit: u32,
    /// Whether the extension is spoken.
    pub(crate) extension: bool,
}

/// What a lane is opened with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) version: Version,
    /// The largest frame that we take.
    pub(crate) msize: u32,
    pub(crate) max_concurrent: u16,
    /// Whether to offer the extension.
    pub(crate) extension: bool,
    /// Seconds that a call has unless it says otherwise.
    pub(crate) default_time: f64,
    /// Whether it outlives its connection, see [`CallerLane::attach`].
    pub(crate) stays_up: bool,
    /// Whether streams get lanes of their own where the session has many.
    pub(crate) own_lanes: bool,
    /// What the server answered last time: calls leave with the version, before it is answered.
    pub(crate) assumed: Option<Agreed>,
    /// Bytes of one stream ahead of its taker.
    pub(crate) stream_window: u32,
    /// Bytes of metadata that an answer may have.
    pub(crate) max_metadata: usize,
    /// Calls that may wait while there is no connection.
    pub(crate) max_waiting: usize,
}

#[derive(Clone)]
enum Phase {
    /// There is no connection now; there will be another.
    Detached,
    /// The peer does not allow another stream yet.
    Opening,
    /// Our version is on its way.
    Negotiating,
    Open,
    /// The peer answers what it has begun, and begins nothing more.
    Draining,
    Failed(Failure),
}

/// What carries the lane now.
#[derive(Clone)]
struct Wire {
    shared: Arc<Shared>,
    connection: ConnectionKey,
    key: Option<LaneKey>,
}

impl Wire {
    fn is_of(&self, connection: &Connection) -> bool {
        Arc::ptr_eq(&self.shared, &connection.shared) && self.connection == connection.key()
    }

    fn is_same_connection(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.connection == other.connection
    }
}

struct Inner {
    wire: Option<Wire>,
    phase: Phase,
    caller: Caller<Pending>,
    /// Frames that leave at the end of this turn.
    out: Vec<u8>,
    dirty: bool,
    agreed: Agreed,
    /// How the connection that carries it wants it.
    dialect: Dialect,
    /// The server's version has not come yet, and its answer was taken for granted.
    assumed: bool,
    /// What the server answered last time may be taken for granted.
    may_assume: bool,
    /// Streams from the caller that wait for it: what is sent of them cannot be sent again.
    held: Vec<Arc<feed::Flow>>,
    /// Requests are kept until they are answered, because they may have to be sent again.
    keeps: bool,
    /// What came before the answer under this tag.
    metadata: Option<(u16, Result<Metadata, ExtError>)>,
    /// Why calls fail at once unless they wait for a connection, while there is none.
    suspended: Option<Arc<str>>,
    /// The connections that carried it before, with the calls that are being answered there.
    former: Vec<Arc<CallerLane>>,
    /// Lanes of streams' own that wait for the next connection.
    stranded: Vec<Weak<CallerLane>>,
    /// Lanes of streams' own, and some that are over.
    own: Vec<Weak<CallerLane>>,
}

impl Inner {
    /// Whether a request of that size is over what the server took the last time: only its answer
    /// tells whether it takes that now.
    fn must_wait(&self, size: usize) -> bool {
        self.assumed && size > self.agreed.limit as usize
    }
}

/// What a lane is to another.
#[derive(Clone)]
enum Kind {
    /// A channel's.
    Main,
    /// One stream's own, beside that one.
    Own(Weak<CallerLane>),
    /// What is left of that one on an earlier connection.
    Former(Weak<CallerLane>),
}

/// A lane that we opened, and the calls on it.
pub(crate) struct CallerLane {
    id: u64,
    /// Where its calls are counted and their time is kept; the wire may be another's.
    shared: Arc<Shared>,
    settings: Settings,
    kind: Kind,
    inner: Mutex<Inner>,
}

impl Drop for CallerLane {
    fn drop(&mut self) {
        LIVE_LANES.fetch_sub(1, Ordering::Relaxed);
        self.shared.forget_caller(self.id);
    }
}

impl CallerLane {
    /// A lane on a connection, or on none yet.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        connection: Option<ConnectionKey>,
        settings: Settings,
    ) -> Arc<Self> {
        let wire =
            connection.map(|connection| Wire { shared: shared.clone(), connection, key: None });
        Self::make(shared, wire, settings, Kind::Main)
    }

    fn make(shared: &Arc<Shared>, wire: Option<Wire>, settings: Settings, kind: Kind) -> Arc<Self> {
        LIVE_LANES.fetch_add(1, Ordering::Relaxed);
        let inner = Mutex::new(Inner {
            phase: if wire.is_some() { Phase::Opening } else { Phase::Detached },
            wire,
            caller: Caller::new(settings.max_concurrent),
            out: Vec::new(),
            dirty: false,
            agreed: Agreed { limit: settings.msize, extension: false },
            dialect: Dialect::V16,
            assumed: false,
            may_assume: true,
            held: Vec::new(),
            keeps: settings.stays_up || settings.assumed.is_some(),
            metadata: None,
            suspended: None,
            former: Vec::new(),
            stranded: Vec::new(),
            own: Vec::new(),
        });
        shared.add_caller(|id| Self { id, shared: shared.clone(), settings, kind, inner })
    }

    /// Whether it is there for one stream, or for calls that were begun before, and for no others.
    fn is_passing(&self) -> bool {
        !matches!(self.kind, Kind::Main)
    }

    /// A lane of one stream's own beside this one; `None` where it has to share this one.
    pub(crate) fn for_stream(self: &Arc<Self>, py: Python<'_>) -> PyResult<Option<Arc<Self>>> {
        if !self.settings.own_lanes || self.is_passing() {
            return Ok(None);
        }
        let (wire, assumed, dialect) = {
            let inner = lock(&self.inner);
            let assumed = match &inner.phase {
                Phase::Open if !inner.assumed => Some(inner.agreed),
                Phase::Open | Phase::Opening | Phase::Negotiating => None,
                Phase::Detached | Phase::Draining | Phase::Failed(_) => return Ok(None),
            };
            (inner.wire.clone(), assumed, inner.dialect)
        };
        let Some(wire) = wire else { return Ok(None) };
        let connection = wire.shared.known(py, wire.connection);
        if connection.is_some_and(|connection| connection.get().has_lanes_to_open()) {
            // What the peer allows next is for them.
            return Ok(None);
        }
        let key = {
            let mut hub = wire.shared.hub()?;
            if !hub.spares_lane(wire.connection) {
                return Ok(None);
            }
            hub.open_lane(wire.connection, self.settings.msize)
        };
        let Some(key) = key else { return Ok(None) };
        let settings = Settings {
            version: self.settings.version.clone(),
            max_concurrent: 1,
            assumed,
            ..self.settings
        };
        let wire = Wire { key: None, ..wire };
        let own = Kind::Own(Arc::downgrade(self));
        let lane = Self::make(&wire.shared.clone(), Some(wire), settings, own);
        lock(&lane.inner).dialect = dialect;
        lane.begin(py, key)?;
        let own = &mut lock(&self.inner).own;
        if own.len() == own.capacity() {
            own.retain(|lane| lane.strong_count() > 0);
        }
        own.push(Arc::downgrade(&lane));
        Ok(Some(lane))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    // ---- opening ----

    /// Opens the lane, now or when the peer allows it.
    pub(crate) fn open(self: &Arc<Self>, py: Python<'_>, connection: &Connection) -> PyResult<()> {
        {
            let inner = lock(&self.inner);
            let here = inner.wire.as_ref().is_some_and(|wire| wire.is_of(connection));
            if !here || !matches!(inner.phase, Phase::Opening) {
                // It waited for its turn here, and has gone on elsewhere meanwhile.
                return Ok(());
            }
        }
        if !self.speak_as(py, connection) {
            return Ok(());
        }
        let key = connection.shared.hub()?.open_lane(connection.key(), self.settings.msize);
        match key {
            Some(key) => self.begin(py, key),
            None => {
                connection.wait_to_open(self.clone());
                Ok(())
            }
        }
    }

    /// Makes a lane of a stream that the user opened.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        py: Python<'_>,
        connection: &Connection,
        stream: StreamId,
    ) -> PyResult<()> {
        if !self.speak_as(py, connection) {
            return Ok(());
        }
        let wire = lock(&self.inner).wire.clone();
        let Some(wire) = wire else { return Err(errors::closed("the connection")) };
        let key = {
            let mut hub = wire.shared.hub()?;
            let msize = self.settings.msize;
            hub.quic().and_then(|quic| quic.make_lane(wire.connection, stream, msize))
        };
        match key {
            Some(key) => self.begin(py, key),
            None => Err(errors::closed("the connection")),
        }
    }

    /// Takes the dialect of the connection; fails the lane if that is for another service alone.
    fn speak_as(&self, py: Python<'_>, connection: &Connection) -> bool {
        let protocol = connection.protocol();
        match Dialect::under(protocol.as_deref(), &self.settings.version) {
            Ok(dialect) => {
                lock(&self.inner).dialect = dialect;
                true
            }
            Err(OtherService) => {
                let protocol = String::from_utf8_lossy(&protocol.unwrap_or_default()).into_owned();
                let why = format!(
                    "the connection is for {protocol} alone, because that is its protocol (ALPN); \
                     connect once more for another service"
                );
                self.fail(py, self.refused(why, Some(protocol)));
                false
            }
        }
    }

    /// The first frame on the lane says what it is for, unless the connection said it.
    fn begin(self: &Arc<Self>, py: Python<'_>, key: LaneKey) -> PyResult<()> {
        let remembered = self.remembered(py);
        let wire = {
            let inner = &mut *lock(&self.inner);
            let Some(wire) = &mut inner.wire else { return Ok(()) };
            wire.key = Some(key);
            let wire = wire.clone();
            if inner.dialect.negotiates() {
                self.negotiate(inner, remembered);
            } else {
                self.set_agreed(inner, Agreed { limit: self.settings.msize, extension: false });
            }
            wire
        };
        wire.shared.bind_lane(wire.connection, key, Role::Caller(self.clone()));
        self.promote(py)?;
        self.mark_dirty(py)
    }

    /// Offers our version; what is known of the server may be taken for granted meanwhile.
    fn negotiate(&self, inner: &mut Inner, remembered: Option<Agreed>) {
        let offered = if self.settings.extension {
            ext::marked(&self.settings.version, ext::OFFER)
        } else {
            self.settings.version.clone()
        };
        version::offer(&offered, self.settings.msize, &mut inner.out);
        inner.phase = Phase::Negotiating;
        inner.keeps |= remembered.is_some();
        let known = remembered.or(self.settings.assumed.filter(|_| inner.may_assume));
        if let Some(agreed) = known.filter(|_| inner.keeps) {
            inner.assumed = true;
            self.set_agreed(inner, agreed);
        }
    }

    /// What the server answered the last time, if calls can leave before it answers.
    fn remembered(&self, py: Python<'_>) -> Option<Agreed> {
        let agreed = self.connection(py)?.get().remembered(&self.settings.version)?;
        // An offer that is not made would be answered otherwise.
        let same = agreed.extension == self.settings.extension || !agreed.extension;
        same.then(|| Agreed { limit: agreed.limit.min(self.settings.msize), ..agreed })
    }

    /// The connection that carries the lane now.
    fn connection(&self, py: Python<'_>) -> Option<Py<Connection>> {
        let wire = lock(&self.inner).wire.clone()?;
        wire.shared.known(py, wire.connection)
    }

    /// Calls may be sent from now on.
    fn set_agreed(&self, inner: &mut Inner, agreed: Agreed) {
        inner.agreed = agreed;
        inner.phase = Phase::Open;
        let seconds = self.settings.default_time;
        if agreed.extension && seconds.is_finite() {
            ext::time(calls::microseconds(seconds), &mut inner.out);
        }
        if agreed.extension {
            Self::label(inner);
        }
    }

    /// Names the lane for its datagrams, where that takes a name: by its stream, which no other lane
    /// of the connection has.
    fn label(inner: &mut Inner) {
        let Some(Wire { shared, connection, key: Some(key) }) = &inner.wire else { return };
        if !connection.is_session() {
            return;
        }
        let Ok(mut hub) = shared.hub() else { return };
        if let Some(stream) = hub.lane_stream(*key).map(u64::from) {
            if hub.label_lane(*key, stream) {
                ext::label(stream, &mut inner.out);
            }
        }
    }

    fn mark_dirty(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let shared = {
            let mut inner = lock(&self.inner);
            if inner.dirty {
                return Ok(());
            }
            let Some(wire) = &inner.wire else { return Ok(()) };
            let shared = wire.shared.clone();
            inner.dirty = true;
            shared
        };
        shared.mark_dirty(py, Role::Caller(self.clone()))
    }

    /// What is to leave over an endpoint at the end of its turn.
    pub(crate) fn take_frames(&self, shared: &Shared) -> Option<(LaneKey, Vec<u8>)> {
        let mut inner = lock(&self.inner);
        let wire = inner.wire.as_ref()?;
        if !std::ptr::eq(&*wire.shared, shared) {
            // It has moved to another endpoint since.
            return None;
        }
        let key = wire.key;
        inner.dirty = false;
        let key = key?;
        (!inner.out.is_empty()).then(|| (key, std::mem::take(&mut inner.out)))
    }

    // ---- what can be seen ----

    /// Calls that hold a tag, and calls that wait for one.
    pub(crate) fn load(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        let before: usize = inner.former.iter().map(|lane| lane.load().0).sum();
        (inner.caller.pending() + before, inner.caller.waiting())
    }

    /// Calls that wait for an answer of the connection that carries the lane.
    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.inner).caller.pending()
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(lock(&self.inner).phase, Phase::Failed(_))
    }

    /// Whether the lane waits for [`CallerLane::attach`].
    pub(crate) fn is_detached(&self) -> bool {
        matches!(lock(&self.inner).phase, Phase::Detached)
    }

    /// What was agreed with the server, once it has said so itself.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        let inner = lock(&self.inner);
        let known = matches!(inner.phase, Phase::Open | Phase::Draining) && !inner.assumed;
        known.then_some(inner.agreed)
    }

    /// Whose limit of a frame's size holds.
    fn side(&self, inner: &Inner) -> &'static str {
        if inner.agreed.limit == self.settings.msize { "here" } else { "peer" }
    }

    fn now_and(seconds: f64) -> Option<Instant> {
        let duration = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
        Instant::now().checked_add(duration)
    }
}
