//! A connection as Python sees it: steps that never wait, and futures for what to wait for.
//!
//! `jetstream._connection` makes awaitable methods of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetstream_net::{
    Carrier, ConnectionKey, Credentials, Dir, EarlyData, Endpoint, Fields, Hub, Incoming, Lost,
    Read, Side, StreamId, Write,
};
use jetstream_proto::dialect::Dialect;
use jetstream_proto::mux::Budget;
use jetstream_proto::version::Version;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::asgi::Origin;
use crate::caller::Agreed;
use crate::errors;
use crate::service::{ServiceLimits, ServiceTable, Services};
use crate::shared::{LIVE_CONNECTIONS, Shared, chain_tuple, lock, reject, resolve};
use crate::visited::Server;

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// The handshake is complete.
    Connected,
    /// The server has accepted our certificate.
    Confirmed,
    /// A stream has something to read.
    Readable,
    /// A stream takes data again.
    Writable,
    /// All that was written to a finished stream has arrived.
    Finished,
    /// The peer opened a bidirectional stream.
    AcceptBi,
    /// The peer opened a unidirectional stream.
    AcceptUni,
    /// The peer allows more bidirectional streams.
    OpenBi,
    /// The peer allows more unidirectional streams.
    OpenUni,
    /// A datagram arrived.
    Datagram,
    /// The peer begins nothing more, and will close.
    GoingAway,
    /// The connection is gone; resolves with the reason and never fails.
    Closed,
}

impl Wait {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connected" => Self::Connected,
            "confirmed" => Self::Confirmed,
            "readable" => Self::Readable,
            "writable" => Self::Writable,
            "finished" => Self::Finished,
            "accept_bi" => Self::AcceptBi,
            "accept_uni" => Self::AcceptUni,
            "open_bi" => Self::OpenBi,
            "open_uni" => Self::OpenUni,
            "datagram" => Self::Datagram,
            "going_away" => Self::GoingAway,
            "closed" => Self::Closed,
            _ => return None,
        })
    }
}

#[derive(Default)]
struct State {
    connected: bool,
    confirmed: bool,
    going_away: bool,
    lost: Option<Lost>,
    waiters: HashMap<(Wait, u64), Vec<Py<PyAny>>>,
    opened_bi: VecDeque<StreamId>,
    opened_uni: VecDeque<StreamId>,
    /// Caller lanes that wait for the peer to allow a stream.
    opening: Vec<Arc<crate::caller::CallerLane>>,
    peer: Option<Py<PyAny>>,
    /// The session on it; it holds the connection too, until that is lost.
    session: Option<Py<PyAny>>,
    /// What the peer may call, where that is not what the endpoint serves.
    services: Option<Arc<Services>>,
    /// We opened it.
    outgoing: bool,
    /// What the handshake said, kept because a lost connection cannot be asked.
    facts: Facts,
    /// Where it is remembered what the server says.
    visited: Option<Server>,
    /// What the requests of HTTP on it have in common.
    origin: Option<Origin>,
    /// The service that it is for, by the path of its session.
    service: Option<Box<str>>,
    /// The connection that we made for this session.
    beneath: Option<ConnectionKey>,
}

impl State {
    /// What leads to Python objects that may lead back here, which the garbage collector cannot see:
    /// a service may keep the sessions that it has been called on.
    fn let_go(&mut self) -> (Option<Py<PyAny>>, Option<Arc<Services>>, Option<Origin>) {
        (self.session.take(), self.services.take(), self.origin.take())
    }
}

#[derive(Default, Clone)]
struct Facts {
    alpn: Option<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    remote: Option<std::net::SocketAddr>,
    credentials: Option<Credentials>,
    local: Option<std::net::SocketAddr>,
    cipher_suite: Option<u16>,
    is_http: bool,
    features: Option<Features>,
    resumed: bool,
    early_data: EarlyData,
}

/// What a connection can do.
#[derive(Clone, Copy)]
struct Features {
    carrier: Carrier,
    many_lanes: bool,
    opens_lanes: bool,
    datagrams: bool,
}

impl Features {
    fn of(hub: &mut Hub, key: ConnectionKey) -> Self {
        Self {
            carrier: hub.carrier(key),
            many_lanes: hub.many_lanes(key),
            opens_lanes: hub.can_open_lane(key),
            datagrams: hub.quic().and_then(|quic| quic.max_datagram_size(key)).is_some(),
        }
    }
}

/// How long the log is not told again that the same peer broke the rules: a peer must not fill it.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What the log was told of a peer that broke the rules.
#[derive(Default)]
struct Violations {
    told: Option<Instant>,
    /// Those since then, of which it was not.
    untold: u32,
}

impl Violations {
    /// How many were left out before this one; `None` if it is left out, too.
    fn tell(&mut self, now: Instant) -> Option<u32> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < LOG_EVERY) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// One connection of an endpoint.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    key: ConnectionKey,
    state: Mutex<State>,
    /// Handlers that run for this peer.
    pub(crate) running: AtomicUsize,
    /// Those among them that give or take a stream.
    pub(crate) streams: Arc<AtomicUsize>,
    /// Bytes of the peer's requests that wait to begin.
    pub(crate) queued: Arc<AtomicUsize>,
    /// What the peer's streams may hold, once there is one.
    pub(crate) inbound: OnceLock<Mutex<Budget>>,
    /// Data goes ahead of the handshake, which is not complete.
    early: AtomicBool,
    violations: Mutex<Violations>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        LIVE_CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, key: ConnectionKey) -> Self {
        LIVE_CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            key,
            state: Mutex::new(State::default()),
            running: AtomicUsize::new(0),
            streams: Arc::default(),
            queued: Arc::default(),
            inbound: OnceLock::new(),
            early: AtomicBool::new(false),
            violations: Mutex::default(),
        }
    }

    /// What the log is told of this peer's breaking the rules, if it has not just been told of it.
    pub(crate) fn violation(&self, why: &str) -> Option<String> {
        match lock(&self.violations).tell(Instant::now())? {
            0 => Some(why.to_owned()),
            untold => Some(format!("{why} ({untold} before it were not logged)")),
        }
    }

    pub(crate) fn key(&self) -> ConnectionKey {
        self.key
    }

    /// The protocol that was agreed (ALPN), as soon as the handshake has come to it.
    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        let known = lock(&self.state).facts.alpn.clone();
        known.or_else(|| {
            let mut hub = self.shared.hub().ok()?;
            hub.quic()?.alpn(self.key)
        })
    }

    /// What the requests of HTTP on it have in common, while one is looked at.
    pub(crate) fn take_origin(&self) -> Option<Origin> {
        lock(&self.state).origin.take()
    }

    pub(crate) fn put_origin(&self, origin: Origin) {
        let mut state = lock(&self.state);
        if state.lost.is_none() {
            state.origin = Some(origin);
        }
    }

    /// The service that it is for, where its protocol or its path say so.
    pub(crate) fn alone(
        &self,
        py: Python<'_>,
        services: &Services,
    ) -> Option<(Py<ServiceTable>, Dialect)> {
        let service = lock(&self.state).service.clone();
        match service {
            Some(name) => {
                let table = services.by_name.get(&*name)?;
                Some((table.clone_ref(py), Dialect::V15_2))
            }
            None => services.under(py, self.protocol().as_deref()),
        }
    }

    /// Whether the path of its session named the service that it is for.
    pub(crate) fn is_for_service(&self) -> bool {
        lock(&self.state).service.is_some()
    }

    pub(crate) fn is_lost(&self) -> bool {
        lock(&self.state).lost.is_some()
    }

    /// The connection that was made for this session alone.
    pub(crate) fn carrier_of_its_own(&self) -> Option<ConnectionKey> {
        lock(&self.state).beneath
    }

    /// What an endpoint serves is for those who connect to it.
    pub(crate) fn mark_outgoing(&self) {
        lock(&self.state).outgoing = true;
    }

    /// What the peer may call.
    pub(crate) fn services(&self) -> Option<Arc<Services>> {
        let state = lock(&self.state);
        match &state.services {
            Some(services) => Some(services.clone()),
            None if state.outgoing => None,
            None => {
                drop(state);
                self.shared.services()
            }
        }
    }

    /// Nobody is left to be told.
    pub(crate) fn forget(&self) {
        let held = lock(&self.state).let_go();
        drop(held);
    }

    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.state).connected
    }

    /// Whether what comes now may have been recorded and sent by somebody else.
    pub(crate) fn is_early(&self) -> bool {
        self.early.load(Ordering::Relaxed)
    }

    /// Whether data went ahead of the handshake.
    pub(crate) fn went_early(&self) -> bool {
        lock(&self.state).facts.early_data != EarlyData::None
    }

    fn learn(&self) -> PyResult<()> {
        let facts = {
            let mut hub = self.shared.hub()?;
            Facts {
                chain: hub.peer_chain(self.key),
                remote: hub.remote(self.key),
                alpn: hub.alpn(self.key),
                credentials: hub.credentials(self.key),
                local: hub.local(self.key),
                cipher_suite: hub.cipher_suite(self.key),
                is_http: hub.is_http(self.key),
                features: Some(Features::of(&mut hub, self.key)),
                resumed: hub.quic().is_some_and(|quic| quic.resumed(self.key)),
                early_data: hub.quic().map(|quic| quic.early_data(self.key)).unwrap_or_default(),
            }
        };
        lock(&self.state).facts = facts;
        Ok(())
    }

    /// A connection of ours to `server` has begun: lanes may be opened at once where data may be
    /// sent early.
    pub(crate) fn begin(&self, server: Server) -> PyResult<()> {
        let early = self.shared.hub()?.quic().map(|quic| quic.early_data(self.key));
        let protocol = server.protocol();
        lock(&self.state).visited = Some(server);
        if early == Some(EarlyData::Sent) {
            self.on_early()?;
            lock(&self.state).facts.alpn = protocol;
        }
        Ok(())
    }

    /// The server has thrown away what went ahead of the handshake. It may not be the one that
    /// answered the last time, so nothing is taken for granted any more.
    pub(crate) fn on_early_rejected(&self) -> PyResult<()> {
        self.early.store(false, Ordering::Relaxed);
        self.learn()
    }

    /// Data goes ahead of the handshake.
    pub(crate) fn on_early(&self) -> PyResult<()> {
        self.early.store(true, Ordering::Relaxed);
        self.learn()
    }

    pub(crate) fn on_connected(&self, py: Python<'_>) -> PyResult<()> {
        self.early.store(false, Ordering::Relaxed);
        self.learn()?;
        {
            let mut state = lock(&self.state);
            state.connected = true;
            if let Some(server) = &state.visited {
                server.set_protocol(state.facts.alpn.clone());
            }
        }
        self.wake(py, Wait::Connected, 0)
    }

    /// What the server answered the last time to an offer of `version`, if it would answer the same:
    /// the one that knows the ticket is the one that answered then.
    pub(crate) fn remembered(&self, version: &Version) -> Option<Agreed> {
        let state = lock(&self.state);
        if self.is_early() || state.facts.resumed {
            state.visited.as_ref()?.agreed(version)
        } else {
            None
        }
    }

    /// The server has answered an offer of `version`.
    pub(crate) fn remember(&self, version: &Version, agreed: Agreed) {
        if let Some(server) = &lock(&self.state).visited {
            server.set_agreed(version, agreed);
        }
    }

    pub(crate) fn on_confirmed(&self, py: Python<'_>) -> PyResult<()> {
        lock(&self.state).confirmed = true;
        self.wake(py, Wait::Confirmed, 0)
    }

    pub(crate) fn on_going_away(&self, py: Python<'_>) -> PyResult<()> {
        lock(&self.state).going_away = true;
        self.wake(py, Wait::GoingAway, 0)
    }

    pub(crate) fn on_stream_opened(&self, py: Python<'_>, stream: StreamId) -> PyResult<()> {
        let wait = {
            let mut state = lock(&self.state);
            match stream.dir() {
                Dir::Bi => {
                    state.opened_bi.push_back(stream);
                    Wait::AcceptBi
                }
                Dir::Uni => {
                    state.opened_uni.push_back(stream);
                    Wait::AcceptUni
                }
            }
        };
        self.wake(py, wait, 0)
    }

    pub(crate) fn on_may_open(&self, py: Python<'_>, dir: Dir) -> PyResult<()> {
        if dir == Dir::Uni {
            return self.wake(py, Wait::OpenUni, 0);
        }
        let opening = std::mem::take(&mut lock(&self.state).opening);
        for lane in opening {
            lane.open(py, self)?;
        }
        self.wake(py, Wait::OpenBi, 0)
    }

    /// Keeps a caller's lane until the peer allows another stream.
    pub(crate) fn wait_to_open(&self, lane: Arc<crate::caller::CallerLane>) {
        lock(&self.state).opening.push(lane);
    }

    /// Whether lanes wait until the peer allows another stream.
    pub(crate) fn has_lanes_to_open(&self) -> bool {
        !lock(&self.state).opening.is_empty()
    }

    pub(crate) fn wake(&self, py: Python<'_>, wait: Wait, stream: u64) -> PyResult<()> {
        let waiters = lock(&self.state).waiters.remove(&(wait, stream));
        for future in waiters.into_iter().flatten() {
            resolve(py, future.bind(py), py.None())?;
        }
        Ok(())
    }

    pub(crate) fn on_lost(&self, py: Python<'_>, reason: &Lost) {
        let (waiters, opening, _held) = {
            let mut state = lock(&self.state);
            state.lost = Some(reason.clone());
            state.opened_bi.clear();
            state.opened_uni.clear();
            let held = state.let_go();
            (std::mem::take(&mut state.waiters), std::mem::take(&mut state.opening), held)
        };
        for lane in opening {
            lane.on_lost(py, reason, !self.is_connected());
        }
        for ((wait, _), futures) in waiters {
            for future in futures {
                let future = future.bind(py);
                let told = if wait == Wait::Closed {
                    resolve(py, future, self.lost_value(py).unwrap_or_else(|| py.None()))
                } else {
                    reject(py, future, &errors::lost(py, reason))
                };
                if let Err(error) = told {
                    error.write_unraisable(py, Some(future));
                }
            }
        }
    }

    fn lost_value(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let lost = lock(&self.state).lost.clone()?;
        Some(errors::lost(py, &lost).into_value(py).into_any())
    }

    pub(crate) fn fail_if_lost(&self, py: Python<'_>) -> PyResult<()> {
        match &lock(&self.state).lost {
            Some(lost) => Err(errors::lost(py, lost)),
            None => Ok(()),
        }
    }

    /// Does something with the QUIC endpoint, then makes sure that it is sent.
    fn with_quic<T>(&self, py: Python<'_>, act: impl FnOnce(&mut Endpoint) -> T) -> PyResult<T> {
        self.fail_if_lost(py)?;
        let result = {
            let mut hub = self.shared.hub()?;
            let Some(quic) = hub.quic() else {
                return Err(errors::misuse("only a connection over QUIC has raw streams"));
            };
            act(quic)
        };
        self.shared.schedule(py)?;
        Ok(result)
    }
}

pub(crate) fn stream_id(index: u64) -> StreamId {
    // Two bits of a stream's number say who opened it and whether it goes both ways (RFC 9000,
    // section 2.1).
    let side = if index & 1 == 0 { Side::Client } else { Side::Server };
    let dir = if index & 2 == 0 { Dir::Bi } else { Dir::Uni };
    StreamId::new(side, dir, index >> 2)
}

#[pymethods]
impl Connection {
    /// The protocol that was agreed (ALPN).
    #[getter]
    fn alpn(&self) -> Option<String> {
        let alpn = lock(&self.state).facts.alpn.clone();
        alpn.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The peer's address as (host, port); `None` in memory.
    #[getter]
    fn remote(&self) -> Option<(String, u16)> {
        let now = self.shared.hub().ok().and_then(|hub| hub.remote(self.key));
        let known = now.or_else(|| lock(&self.state).facts.remote);
        known.map(|address| (address.ip().to_canonical().to_string(), address.port()))
    }

    /// Our own address as (host, port); `None` in memory and over Unix sockets.
    #[getter]
    fn local(&self) -> Option<(String, u16)> {
        let known = lock(&self.state).facts.local;
        known.map(|address| (address.ip().to_canonical().to_string(), address.port()))
    }

    /// The cipher suite of TLS, as IANA numbers them, on the server; `None` without TLS.
    #[getter]
    fn cipher_suite(&self) -> Option<u16> {
        lock(&self.state).facts.cipher_suite
    }

    /// Whether it speaks HTTP, and has no lanes.
    #[getter]
    fn http(&self) -> bool {
        lock(&self.state).facts.is_http
    }

    /// The peer's certificates in DER, its own first.
    #[getter]
    fn peer_chain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let chain = lock(&self.state).facts.chain.clone();
        chain_tuple(py, &chain)
    }

    /// Whether the handshake resumed an earlier session; false until it is complete.
    #[getter]
    fn resumed(&self) -> bool {
        lock(&self.state).facts.resumed
    }

    /// The process at the other end as (pid or `None`, uid, gid); over Unix sockets only.
    #[getter]
    fn credentials(&self) -> Option<(Option<u32>, u32, u32)> {
        let known = lock(&self.state).facts.credentials;
        known.map(|peer| (peer.pid, peer.uid, peer.gid))
    }

    /// What it can do, as (carrier, many lanes, whether we open lanes, datagrams).
    #[getter]
    fn features(&self) -> PyResult<(&'static str, bool, bool, bool)> {
        let known = lock(&self.state).facts.features;
        let features = match known {
            Some(features) => features,
            None => Features::of(&mut *self.shared.hub()?, self.key),
        };
        let carrier = match features.carrier {
            Carrier::Quic => "quic",
            Carrier::Tcp => "tcp",
            Carrier::Unix => "unix",
            Carrier::Memory => "memory",
            Carrier::WebTransport => "webtransport",
        };
        Ok((carrier, features.many_lanes, features.opens_lanes, features.datagrams))
    }

    /// What became of data ahead of the handshake: "none", "sent", "accepted" or "refused".
    #[getter]
    fn early_data(&self) -> &'static str {
        match lock(&self.state).facts.early_data {
            EarlyData::None => "none",
            EarlyData::Sent => "sent",
            EarlyData::Accepted => "accepted",
            EarlyData::Refused => "refused",
        }
    }

    /// Whether what arrives now is ahead of the handshake.
    #[getter]
    fn early(&self) -> bool {
        self.is_early()
    }

    /// Something that the Python side keeps for this connection: the peer it made of the chain.
    #[getter]
    fn peer(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        lock(&self.state).peer.as_ref().map(|peer| peer.clone_ref(py))
    }

    #[setter]
    fn set_peer(&self, peer: Py<PyAny>) {
        lock(&self.state).peer = Some(peer);
    }

    /// The session on it: the one that was set, or one made by whoever serves here; `None` where
    /// there is neither.
    #[getter]
    fn session<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(session) = &lock(&this.state).session {
            return Ok(Some(session.bind(py).clone()));
        }
        let Some(services) = this.services() else { return Ok(None) };
        let session = services.make_session.bind(py).call1((slf,))?;
        if !this.is_lost() {
            this.set_session(session.clone().unbind());
        }
        Ok(Some(session))
    }

    #[setter]
    fn set_session(&self, session: Py<PyAny>) {
        let before = lock(&self.state).session.replace(session);
        drop(before);
    }

    /// Lets the peer of a connection that we opened call services here; see the endpoint's.
    fn set_services(
        &self,
        services: HashMap<String, Py<ServiceTable>>,
        limits: ServiceLimits,
        make_context: Py<PyAny>,
        explain: Py<PyAny>,
        make_session: Py<PyAny>,
    ) -> PyResult<()> {
        self.shared.check()?;
        let services = Services::new(services, &limits, make_context, explain, make_session);
        lock(&self.state).services = Some(Arc::new(services));
        Ok(())
    }

    /// Asks for a WebTransport session on this connection of HTTP/3, with frames of at most `msize`
    /// bytes on its lanes, or raw. Its `wait("connected")` tells how it went; it ends with this.
    #[pyo3(signature = (authority, path, headers, msize))]
    #[allow(clippy::needless_pass_by_value)] // they come from Python
    fn open_session<'py>(
        &self,
        py: Python<'py>,
        authority: &str,
        path: &str,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        msize: Option<u32>,
    ) -> PyResult<Bound<'py, Self>> {
        self.fail_if_lost(py)?;
        let mut fields = Fields::default();
        for (name, value) in &headers {
            fields.push(name, value);
        }
        let incoming = msize.map_or(Incoming::Raw, |msize| Incoming::Lanes { msize });
        let mut hub = self.shared.hub()?;
        let asked = hub.connect_session(self.key, authority, path, fields, incoming);
        drop(hub);
        let key = asked.map_err(|error| errors::session(&error))?;
        let session = self.shared.connection(py, key)?;
        session.get().mark_outgoing();
        lock(&session.get().state).beneath = Some(self.key);
        self.shared.schedule(py)?;
        Ok(session)
    }

    /// Makes it one for the service of this name alone, unless a lane begins with a version: so
    /// peers of the Rust crate 15.2 find services by path.
    fn set_service(&self, name: &str) {
        lock(&self.state).service = Some(name.into());
    }

    /// Calls of ours in flight on it.
    #[getter]
    fn calls(&self) -> usize {
        self.shared.calls_on(self.key)
    }

    /// Whether the peer has said that it begins nothing more.
    #[getter]
    fn going_away(&self) -> bool {
        lock(&self.state).going_away
    }

    /// Datagrams heard from the peer; `None` where the transport itself notices silence.
    #[getter]
    fn heard(&self) -> Option<u64> {
        let mut hub = self.shared.hub().ok()?;
        hub.quic()?.counters(self.key).map(|counters| counters.received)
    }

    /// Asks the peer for a sign of life.
    fn ping(&self, py: Python<'_>) -> PyResult<()> {
        self.with_quic(py, |quic| quic.ping(self.key))
    }

    /// Takes the connection for lost: the peer is silent here.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_lost() {
            return Ok(());
        }
        let reason = if self.is_connected() {
            Lost::Silent
        } else {
            Lost::Broken { reason: "there was no answer".to_owned() }
        };
        self.shared.on_lost(py, self.key, &reason);
        self.shared.hub()?.close(Instant::now(), self.key, 0, b"");
        self.shared.schedule(py)
    }

    /// Why the connection is gone; `None` while it is not.
    #[getter]
    fn lost(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lost_value(py)
    }

    /// Handlers that run for this peer now.
    #[getter]
    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Figures: rtt in seconds, datagrams sent and received, packets lost, mtu in bytes.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.with_quic(py, |quic| quic.counters(self.key))?;
        let dict = PyDict::new(py);
        if let Some(counters) = counters {
            dict.set_item("rtt", counters.rtt.as_secs_f64())?;
            dict.set_item("sent", counters.sent)?;
            dict.set_item("received", counters.received)?;
            dict.set_item("lost", counters.lost)?;
            dict.set_item("mtu", counters.mtu)?;
        }
        Ok(dict)
    }

    /// A future for `what` (see the stub), of `stream` where it is about one.
    #[pyo3(signature = (what, stream=0))]
    fn wait<'py>(&self, py: Python<'py>, what: &str, stream: u64) -> PyResult<Bound<'py, PyAny>> {
        self.shared.check()?;
        let Some(wait) = Wait::named(what) else {
            return Err(errors::misuse("nothing of that name can be waited for"));
        };
        let future = self.shared.create_future(py)?;
        let acknowledged = wait == Wait::Finished
            && self
                .shared
                .hub()?
                .quic()
                .is_none_or(|quic| quic.is_acknowledged(self.key, stream_id(stream)));
        let mut state = lock(&self.state);
        let done = match wait {
            Wait::Connected => state.connected,
            Wait::Confirmed => state.confirmed,
            Wait::Finished => acknowledged,
            Wait::GoingAway => state.going_away,
            _ => false,
        };
        if let Some(lost) = state.lost.clone() {
            drop(state);
            if wait == Wait::Closed {
                resolve(py, &future, self.lost_value(py).unwrap_or_else(|| py.None()))?;
            } else {
                reject(py, &future, &errors::lost(py, &lost))?;
            }
        } else if done {
            drop(state);
            resolve(py, &future, py.None())?;
        } else {
            let waiters = state.waiters.entry((wait, stream)).or_default();
            waiters.push(future.clone().unbind());
        }
        Ok(future)
    }

    /// Closes the connection: everything on it ends, the peer gets the code and the reason.
    #[pyo3(signature = (code, reason))]
    fn close(&self, py: Python<'_>, code: u64, reason: &[u8]) -> PyResult<()> {
        if self.is_lost() {
            return Ok(());
        }
        self.shared.hub()?.close(Instant::now(), self.key, code, reason);
        self.shared.schedule(py)
    }

    // ---- raw streams ----

    fn try_open(&self, py: Python<'_>, bidirectional: bool) -> PyResult<Option<u64>> {
        let dir = if bidirectional { Dir::Bi } else { Dir::Uni };
        let stream = self.with_quic(py, |quic| quic.open_stream(self.key, dir))?;
        Ok(stream.map(u64::from))
    }

    fn try_accept(&self, py: Python<'_>, bidirectional: bool) -> PyResult<Option<u64>> {
        self.fail_if_lost(py)?;
        let mut state = lock(&self.state);
        let opened = if bidirectional { &mut state.opened_bi } else { &mut state.opened_uni };
        Ok(opened.pop_front().map(u64::from))
    }

    /// Up to `limit` bytes; `None` to wait; `b""` at the end.
    ///
    /// The peer's giving up comes as a `ConnectionLost`.
    fn try_read<'py>(
        &self,
        py: Python<'py>,
        stream: u64,
        limit: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.with_quic(py, |quic| quic.read(self.key, stream_id(stream), limit))? {
            Read::Data(data) => Ok(Some(PyBytes::new(py, &data))),
            Read::Blocked => Ok(None),
            Read::Finished => Ok(Some(PyBytes::new(py, b""))),
            Read::Reset(code) => Err(errors::stream_reset(py, code)),
            Read::Closed => Err(errors::closed("the stream")),
        }
    }

    /// How many bytes were taken; 0 to wait.
    fn try_write(&self, py: Python<'_>, stream: u64, data: &[u8]) -> PyResult<usize> {
        let mut bytes = Bytes::copy_from_slice(data);
        match self.with_quic(py, |quic| quic.write(self.key, stream_id(stream), &mut bytes))? {
            Write::Taken(count) => Ok(count),
            Write::Blocked => Ok(0),
            Write::Stopped(code) => Err(errors::stream_stopped(py, code)),
            Write::Closed => Err(errors::closed("the stream")),
        }
    }

    fn finish(&self, py: Python<'_>, stream: u64) -> PyResult<bool> {
        self.with_quic(py, |quic| quic.finish(self.key, stream_id(stream)))
    }

    fn reset(&self, py: Python<'_>, stream: u64, code: u64) -> PyResult<bool> {
        self.with_quic(py, |quic| quic.reset(self.key, stream_id(stream), code))
    }

    fn stop(&self, py: Python<'_>, stream: u64, code: u64) -> PyResult<bool> {
        self.with_quic(py, |quic| quic.stop(self.key, stream_id(stream), code))
    }

    // ---- datagrams ----

    fn send_datagram(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let data = Bytes::copy_from_slice(data);
        let sent = self.with_quic(py, |quic| quic.send_datagram(self.key, data))?;
        sent.map_err(errors::datagram)
    }

    fn max_datagram_size(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.with_quic(py, |quic| quic.max_datagram_size(self.key))
    }

    fn try_receive_datagram<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let data = self.with_quic(py, |quic| quic.receive_datagram(self.key))?;
        Ok(data.map(|data| PyBytes::new(py, &data)))
    }
}
