//! Endpoints as Python sees them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jetstream_net::{
    ConnectOptions, ConnectionKey, Endpoint as QuicEndpoint, Hub, Memory, ServerOptions, Speaks,
    Streams, TcpOptions, TcpServer, UnixAddress,
};
use pyo3::prelude::*;

use crate::asgi::Site;
use crate::connection::Connection;
use crate::errors;
use crate::service::{ServiceLimits, ServiceTable, Services};
use crate::settings::{Kind, Limits, address, duration, os_error};
use crate::shared::{Shared, lock};
use crate::tls::{ClientTls, ServerTls};
use crate::visited::Server;

/// A UDP socket with QUIC connections, or TCP and Unix sockets, or a pair of ends in memory, in an
/// event loop.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    local: Mutex<Option<SocketAddr>>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl Endpoint {
    fn with_streams<T>(&self, act: impl FnOnce(&mut Streams) -> T) -> PyResult<T> {
        if self.shared.is_closed() {
            return Err(errors::closed("the endpoint"));
        }
        match self.shared.hub()?.streams() {
            Some(streams) => Ok(act(streams)),
            None => Err(errors::misuse("this endpoint has no TCP and Unix sockets")),
        }
    }

    /// The connection of that number, which this end has begun.
    fn begun<'py>(&self, py: Python<'py>, key: ConnectionKey) -> PyResult<Bound<'py, Connection>> {
        let connection = self.shared.connection(py, key)?;
        connection.get().mark_outgoing();
        self.shared.schedule(py)?;
        Ok(connection)
    }
}

#[pymethods]
impl Endpoint {
    /// Binds a socket. With `tls` it serves the protocols of `protocols`: to each its streams are
    /// lanes (true), raw (false), HTTP/3's ("http"), or HTTP/3's with WebTransport's
    /// ("webtransport").
    #[new]
    #[pyo3(signature = (event_loop, host, port, limits, tls=None, protocols=None))]
    fn new(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        host: &str,
        port: u16,
        limits: Limits,
        tls: Option<&Bound<'_, ServerTls>>,
        protocols: Option<HashMap<String, Kind>>,
    ) -> PyResult<Self> {
        let server = match tls {
            None => None,
            Some(tls) => Some(ServerOptions {
                tls: tls.get().inner.clone(),
                incoming: protocols
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(name, kind)| Ok((name.into_bytes(), limits.incoming(&kind)?)))
                    .collect::<PyResult<_>>()?,
                transport: limits.transport()?,
                max_connections: limits.max_connections,
                max_handshakes: limits.max_handshakes,
                retry_above: limits.retry_above,
                handshake_timeout: duration(limits.handshake_timeout)?,
            }),
        };
        let quic = QuicEndpoint::bind(address(host, port)?, server).map_err(os_error)?;
        let local = quic.io().local_addr()?;
        let descriptor = quic.io().as_raw_fd();
        let hub = Hub::Quic(Box::new(quic));
        let shared = Shared::new(py, event_loop, hub, Some(descriptor))?;
        Ok(Self { shared, local: Mutex::new(Some(local)) })
    }

    /// Two connected ends in memory; `chains` are what the client and the server show.
    #[staticmethod]
    #[pyo3(signature = (event_loop, limits, chains, single_lane=false))]
    fn memory(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        limits: Limits,
        chains: (Vec<Vec<u8>>, Vec<Vec<u8>>),
        single_lane: bool,
    ) -> PyResult<Self> {
        let pair = Memory::new(limits.msize, [chains.0, chains.1]);
        let hub = Hub::Memory(if single_lane { pair.single_lane() } else { pair });
        Ok(Self { shared: Shared::new(py, event_loop, hub, None)?, local: Mutex::default() })
    }

    /// TCP and Unix sockets, none yet.
    #[staticmethod]
    fn streams(py: Python<'_>, event_loop: &Bound<'_, PyAny>, limits: Limits) -> PyResult<Self> {
        let streams = Streams::new(limits.streams()?).map_err(os_error)?;
        let descriptor = streams.descriptor();
        let hub = Hub::Streams(Box::new(streams));
        let shared = Shared::new(py, event_loop, hub, Some(descriptor))?;
        Ok(Self { shared, local: Mutex::default() })
    }

    /// Takes connections over TCP that speak one of `protocols`; where, as (host, port). Given
    /// `http`, they may be HTTP's; without `tls` they are nothing else.
    #[pyo3(signature = (host, port, tls, protocols, http=None))]
    fn listen_tcp(
        &self,
        host: &str,
        port: u16,
        tls: Option<&Bound<'_, ServerTls>>,
        protocols: Vec<String>,
        http: Option<Limits>,
    ) -> PyResult<(String, u16)> {
        let alpns = protocols.into_iter().map(String::into_bytes).collect();
        let tls = tls.map(|tls| tls.get().inner.clone());
        let http = http.map(|limits| limits.http()).transpose()?.map(Arc::new);
        let server = TcpServer { tls, alpns, http };
        let address = address(host, port)?;
        let local = self.with_streams(|streams| streams.listen_tcp(address, &server))?;
        let local = local.map_err(os_error)?;
        Ok((local.ip().to_string(), local.port()))
    }

    /// Takes connections over a Unix socket, whose file has the permissions of `mode`: of lanes, of
    /// HTTP if `http` is given, or of both.
    #[pyo3(signature = (path, mode, http=None, lanes=true, http2=true))]
    fn listen_unix(
        &self,
        path: PathBuf,
        mode: u32,
        http: Option<Limits>,
        lanes: bool,
        http2: bool,
    ) -> PyResult<()> {
        let name = UnixAddress::new(&path);
        let http = http.map(|limits| limits.http()).transpose()?.map(Arc::new);
        let speaks = Speaks { lanes, http, http2 };
        self.with_streams(|streams| streams.serve_unix(&name, mode, speaks))?.map_err(os_error)
    }

    /// Begins a connection over TCP; its `wait("connected")` tells how it went.
    #[pyo3(signature = (host, port, server_name, tls, bind=None))]
    fn connect_tcp<'py>(
        &self,
        py: Python<'py>,
        host: &str,
        port: u16,
        server_name: &str,
        tls: &Bound<'py, ClientTls>,
        bind: Option<(String, u16)>,
    ) -> PyResult<Bound<'py, Connection>> {
        let bind = bind.map(|(host, port)| address(&host, port)).transpose()?;
        let options = TcpOptions {
            remote: address(host, port)?,
            bind,
            server_name: server_name.to_owned(),
            tls: tls.get().inner.clone(),
        };
        let key = self.with_streams(|streams| streams.connect_tcp(options))?;
        self.begun(py, key.map_err(|error| errors::connect(py, &error))?)
    }

    /// Begins a connection over a Unix socket; its `wait("connected")` tells how it went.
    fn connect_unix<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
    ) -> PyResult<Bound<'py, Connection>> {
        let name = UnixAddress::new(&path);
        let key = self.with_streams(|streams| streams.connect_unix(name))?;
        self.begun(py, key)
    }

    /// Begins to take part in the loop.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().shared.start(slf.as_any())
    }

    /// What the loop calls when the socket is readable. A turn that is due takes that in, too: two of
    /// one endpoint in one round of the loop would be twice what others get.
    fn _turn(&self, py: Python<'_>) -> PyResult<()> {
        if self.shared.is_due() {
            return Ok(());
        }
        self.shared.turn(py)
    }

    /// Whom to tell: `connected(connection, incoming)`, `failed(address, error)`,
    /// `violation(connection, why)` and `reviewed(judged, sent_away)`.
    #[pyo3(signature = (connected, failed, violation, reviewed=None))]
    fn set_hooks(
        &self,
        connected: Py<PyAny>,
        failed: Py<PyAny>,
        violation: Py<PyAny>,
        reviewed: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        self.shared.check()?;
        self.shared.set_hooks(connected, failed, violation, reviewed);
        Ok(())
    }

    /// What those who connect may call. `make_context(connection, what, deadline, metadata)` makes a
    /// call's context (the last two may be left out), `explain(what, error)` gives
    /// `(message, code, help, url)` of an exception, `make_session(connection)` makes the session on
    /// a connection.
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
        self.shared.set_services(Arc::new(services));
        Ok(())
    }

    /// Answers HTTP with an application; see `jetstream._asgi.Site`.
    fn set_site(&self, site: Site) -> PyResult<()> {
        self.shared.check()?;
        self.shared.set_site(site);
        Ok(())
    }

    /// The address that the socket has, as (host, port).
    #[getter]
    fn local(&self) -> Option<(String, u16)> {
        lock(&self.local).map(|local| (local.ip().to_string(), local.port()))
    }

    /// Moves to another local address, with all connections.
    fn rebind(slf: &Bound<'_, Self>, host: &str, port: u16) -> PyResult<()> {
        let Self { shared, local } = slf.get();
        if shared.is_closed() {
            return Err(errors::closed("the client"));
        }
        let (now, descriptor) = {
            let mut hub = shared.hub()?;
            let Some(quic) = hub.quic() else {
                return Err(errors::misuse("only a UDP socket can move"));
            };
            quic.rebind(address(host, port)?).map_err(os_error)?;
            (quic.io().local_addr()?, quic.io().as_raw_fd())
        };
        *lock(local) = Some(now);
        shared.watch_instead(slf.as_any(), descriptor)
    }

    /// Begins a connection; its `wait("connected")` tells how it went. `streams` says what the server
    /// may open, as `protocols` above does; with "webtransport" sessions are asked for on it.
    #[pyo3(signature = (host, port, server_name, tls, limits, streams, early_data=false))]
    #[allow(clippy::too_many_arguments)] // one place in Python calls this
    fn connect<'py>(
        &self,
        py: Python<'py>,
        host: &str,
        port: u16,
        server_name: &str,
        tls: &Bound<'py, ClientTls>,
        limits: Limits,
        streams: Kind,
        early_data: bool,
    ) -> PyResult<Bound<'py, Connection>> {
        if self.shared.is_closed() {
            return Err(errors::closed("the client"));
        }
        let remote = address(host, port)?;
        let place = (remote, server_name.to_owned());
        let server = Server { visited: tls.get().visited.clone(), place };
        let options = ConnectOptions {
            tls: tls.get().inner.clone(),
            incoming: limits.incoming(&streams)?,
            transport: limits.transport()?,
            // Lanes that are opened early must know how to speak.
            early_data: early_data && server.protocol().is_some(),
            handshake_timeout: duration(limits.handshake_timeout)?,
        };
        let key = {
            let mut hub = self.shared.hub()?;
            let Some(quic) = hub.quic() else {
                return Err(errors::misuse("this endpoint has no UDP socket"));
            };
            quic.connect(Instant::now(), remote, server_name, options)
        };
        let key = key.map_err(|error| errors::connect(py, &error))?;
        let connection = self.begun(py, key)?;
        connection.get().begin(server)?;
        Ok(connection)
    }

    /// The connection of that number; in memory 0 is the client's end and 1 the server's.
    fn connection<'py>(&self, py: Python<'py>, key: u32) -> PyResult<Bound<'py, Connection>> {
        self.shared.check()?;
        self.shared.connection(py, ConnectionKey(key))
    }

    /// The connections whose handshake is complete.
    fn connections(&self, py: Python<'_>) -> PyResult<Vec<Py<Connection>>> {
        self.shared.check()?;
        Ok(self.shared.established(py))
    }

    /// Serves with `tls` from the next handshake on; clients that it would refuse are sent away.
    fn reload_server(&self, py: Python<'_>, tls: &Bound<'_, ServerTls>) -> PyResult<()> {
        match &mut *self.shared.hub()? {
            Hub::Quic(quic) => quic.reload_server(tls.get().inner.clone()),
            Hub::Streams(streams) => streams.reload_server(tls.get().inner.clone()),
            Hub::Memory(_) => {}
        }
        self.shared.schedule(py)
    }

    /// Leaves the servers that `tls` would refuse.
    fn reload_client(&self, py: Python<'_>, tls: &Bound<'_, ClientTls>) -> PyResult<()> {
        match &mut *self.shared.hub()? {
            Hub::Quic(quic) => quic.reload_client(tls.get().inner.clone()),
            Hub::Streams(streams) => streams.reload_client(&tls.get().inner),
            Hub::Memory(_) => {}
        }
        self.shared.schedule(py)
    }

    /// Takes no more connections; those that exist go on.
    fn stop_accepting(&self) -> PyResult<()> {
        match &mut *self.shared.hub()? {
            Hub::Quic(quic) => quic.serve(None),
            Hub::Streams(streams) => streams.stop_listening(),
            Hub::Memory(_) => {}
        }
        Ok(())
    }

    /// Connections that exist, those that are ending included.
    #[getter]
    fn open_connections(&self) -> PyResult<usize> {
        Ok(self.shared.hub()?.open_connections())
    }

    /// Lanes that exist.
    #[getter]
    fn open_lanes(&self) -> PyResult<usize> {
        Ok(self.shared.hub()?.open_lanes())
    }

    /// Begins nothing more: peers are told, streams that run are ended, other handlers may end. New
    /// lanes are refused.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.check()?;
        self.shared.drain(py)
    }

    /// A future that is done when no handler runs and every answer has been sent.
    fn quiet<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.shared.check()?;
        self.shared.quiet(py)
    }

    /// Closes every session with a code and a reason. A future that is done when their peers know.
    fn end_sessions<'py>(
        &self,
        py: Python<'py>,
        code: u64,
        reason: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        self.shared.check()?;
        self.shared.end_sessions(py, code, reason)
    }

    /// Closes every connection with a code and a reason, and the endpoint.
    fn shutdown(&self, py: Python<'_>, code: u64, reason: &[u8]) -> PyResult<()> {
        self.shared.check()?;
        self.shared.shutdown(py, code, reason)
    }

    /// Closes the endpoint; what waits on it fails. Connections that should end with a word are
    /// closed before.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.check()?;
        self.shared.close(py)
    }

    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_closed()
    }
}
