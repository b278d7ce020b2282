//! Limits and addresses, from Python's to the endpoints'.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jetstream_net::{
    Http3Options, HttpLimits, Incoming, StreamLimits, Transport, WebTransportLimits,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// Limits of connections, in the order in which Python hands them over.
#[derive(FromPyObject)]
pub(crate) struct Limits {
    #[pyo3(attribute("idle_timeout"))]
    idle_timeout: f64,
    keep_alive: Option<f64>,
    max_streams_bidi: u32,
    max_streams_uni: u32,
    stream_receive_window: u32,
    receive_window: u32,
    send_window: u32,
    max_unsent: usize,
    datagram_buffer: usize,
    datagram_send_buffer: usize,
    pub(crate) msize: u32,
    pub(crate) max_connections: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) handshake_timeout: f64,
    pub(crate) retry_above: usize,
    http_head: u32,
    http_fields: u32,
    http_streams: u32,
    http_body_window: u32,
    http_unsent: usize,
    http_head_timeout: f64,
    http_keep_alive: f64,
    webtransport_sessions: u16,
}

pub(crate) fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

impl Limits {
    pub(crate) fn transport(&self) -> PyResult<Transport> {
        Ok(Transport {
            idle_timeout: duration(self.idle_timeout)?,
            keep_alive: self.keep_alive.map(duration).transpose()?,
            max_streams_bidi: self.max_streams_bidi,
            max_streams_uni: self.max_streams_uni,
            stream_receive_window: self.stream_receive_window,
            receive_window: self.receive_window,
            send_window: self.send_window,
            max_unsent: self.max_unsent,
            datagram_receive_buffer: self.datagram_buffer,
            datagram_send_buffer: self.datagram_send_buffer,
        })
    }

    pub(crate) fn streams(&self) -> PyResult<StreamLimits> {
        Ok(StreamLimits {
            msize: self.msize,
            idle_timeout: duration(self.idle_timeout)?,
            keep_alive: self.keep_alive.map(duration).transpose()?,
            handshake_timeout: duration(self.handshake_timeout)?,
            max_connections: self.max_connections,
            max_handshakes: self.max_handshakes,
            max_unsent: self.max_unsent,
            max_lanes: self.max_streams_bidi as usize,
        })
    }

    pub(crate) fn http(&self) -> PyResult<HttpLimits> {
        Ok(HttpLimits {
            head: self.http_head,
            fields: self.http_fields,
            streams: self.http_streams,
            body_window: self.http_body_window,
            unsent: self.http_unsent,
            head_timeout: duration(self.http_head_timeout)?,
            idle_timeout: duration(self.http_keep_alive)?,
        })
    }

    fn http3(&self) -> PyResult<Http3Options> {
        Ok(Http3Options::new(Arc::new(self.http()?), Http3Options::config()))
    }

    pub(crate) fn incoming(&self, kind: &Kind) -> PyResult<Incoming> {
        match kind {
            Kind::Lanes(true) => Ok(Incoming::Lanes { msize: self.msize }),
            Kind::Lanes(false) => Ok(Incoming::Raw),
            Kind::Named(name) if name == "http" => Ok(Incoming::Http(self.http3()?)),
            Kind::Named(name) if name == "webtransport" => {
                let sessions = WebTransportLimits {
                    max_sessions: self.webtransport_sessions,
                    streams_bidi: self.max_streams_bidi,
                    streams_uni: self.max_streams_uni,
                    datagram_bytes: u32::try_from(self.datagram_buffer).unwrap_or(u32::MAX),
                    ..WebTransportLimits::default()
                };
                Ok(Incoming::Http(self.http3()?.webtransport(sessions)))
            }
            Kind::Named(name) => {
                Err(PyValueError::new_err(format!("{name:?} is nothing that streams can be")))
            }
        }
    }
}

/// What the streams of a protocol are: lanes, or raw, or what is named.
#[derive(FromPyObject)]
pub(crate) enum Kind {
    Lanes(bool),
    Named(String),
}

/// An `OSError` that has its number, so that Python makes the right subclass of it.
pub(crate) fn os_error(error: std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, text))
        }
        None => error.into(),
    }
}

pub(crate) fn address(host: &str, port: u16) -> PyResult<SocketAddr> {
    let ip: IpAddr = host
        .parse()
        .map_err(|_| PyValueError::new_err(format!("{host:?} is not an IP address")))?;
    Ok(SocketAddr::new(ip, port))
}
