//! The scope of a request: what it asks, as a dictionary.
//!
//! What the requests of one connection have in common is made once, in Python. And clients say much
//! the same in each request, so what was said the last time is compared before it is made anew.

use jetstream_net::{Fields, Request};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::{Site, version_text};
use crate::connection::Connection;

/// What the scopes of one connection's requests have in common.
pub(crate) struct Origin {
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    last: Option<Last>,
}

/// The last request of a connection.
struct Last {
    target: Vec<u8>,
    path: Py<PyString>,
    raw_path: Py<PyBytes>,
    query: Py<PyBytes>,
    authority: Option<Vec<u8>>,
    early: bool,
    fields: Fields,
    headers: Py<PyList>,
}

/// Makes the scope of a request.
pub(super) fn make<'py>(
    py: Python<'py>,
    site: &Site,
    connection: &Bound<'py, Connection>,
    request: &Request,
    subprotocols: Option<Vec<String>>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut origin = match connection.get().take_origin() {
        Some(origin) => origin,
        None => {
            let (http, websocket) = site.describe.bind(py).call1((connection,))?.extract()?;
            Origin { http, websocket, last: None }
        }
    };
    let last = origin.last.take();
    let last = Last::after(py, site, last, request)?;
    let tunnel = request.protocol.is_some();
    let template = if tunnel { &origin.websocket } else { &origin.http };
    let scope = template.bind(py).copy()?;
    let version = PyString::intern(py, version_text(request.version));
    scope.set_item(intern!(py, "http_version"), version)?;
    scope.set_item(intern!(py, "path"), &last.path)?;
    scope.set_item(intern!(py, "raw_path"), &last.raw_path)?;
    scope.set_item(intern!(py, "query_string"), &last.query)?;
    let headers = last.headers.bind(py);
    scope.set_item(intern!(py, "headers"), headers.get_slice(0, headers.len()))?;
    if let Some(names) = subprotocols {
        scope.set_item(intern!(py, "subprotocols"), names)?;
    } else {
        scope.set_item(intern!(py, "method"), method(py, &request.method))?;
    }
    if let Some(state) = &site.state {
        scope.set_item(intern!(py, "state"), state.bind(py).copy()?)?;
    }
    if let Some(extensions) = scope.get_item(intern!(py, "extensions"))? {
        scope.set_item(intern!(py, "extensions"), extensions.cast::<PyDict>()?.copy()?)?;
    }
    origin.last = Some(last);
    connection.get().put_origin(origin);
    Ok(scope)
}

impl Last {
    fn after(
        py: Python<'_>,
        site: &Site,
        before: Option<Self>,
        request: &Request,
    ) -> PyResult<Self> {
        let mut last = match before {
            Some(last) => last,
            None => Self {
                // Targets are not empty, so this is none.
                target: Vec::new(),
                path: PyString::new(py, "").unbind(),
                raw_path: PyBytes::new(py, b"").unbind(),
                query: PyBytes::new(py, b"").unbind(),
                authority: None,
                early: false,
                fields: Fields::default(),
                headers: PyList::empty(py).unbind(),
            },
        };
        if last.target != request.target {
            let split = request.target.iter().position(|byte| *byte == b'?');
            let (path, query) = match split {
                Some(at) => (&request.target[..at], &request.target[at + 1..]),
                None => (&request.target[..], &b""[..]),
            };
            let root = site.root_path.as_str();
            last.path = PyString::new(py, &(root.to_owned() + &decoded(path))).unbind();
            last.raw_path = PyBytes::new(py, &[root.as_bytes(), path].concat()).unbind();
            last.query = PyBytes::new(py, query).unbind();
            last.target.clone_from(&request.target);
        }
        if last.headers.bind(py).is_empty()
            || last.early != request.early
            || last.authority != request.authority
            || last.fields != request.fields
        {
            last.headers = headers(py, request)?.unbind();
            last.early = request.early;
            last.authority.clone_from(&request.authority);
            last.fields.clone_from(&request.fields);
        }
        Ok(last)
    }
}

/// The field lines as (name, value), the host first where the request has it in its own place
/// (RFC 9113, section 8.3.1; RFC 9112, section 3.2.2).
fn headers<'py>(py: Python<'py>, request: &Request) -> PyResult<Bound<'py, PyList>> {
    let mut lines = Vec::with_capacity(request.fields.len() + 2);
    let line = |name: &[u8], value: &[u8]| -> PyResult<Bound<'py, PyTuple>> {
        let name = match known(py, name) {
            Some(known) => known.bind(py).clone(),
            None => PyBytes::new(py, name),
        };
        PyTuple::new(py, [name, PyBytes::new(py, value)])
    };
    if let Some(authority) = &request.authority {
        lines.push(line(b"host", authority)?);
    }
    if request.early {
        lines.push(line(b"early-data", b"1")?);
    }
    for (name, value) in request.fields.iter() {
        match name {
            b"host" if request.authority.is_some() => {}
            // It is this end that knows (RFC 8470, section 5.1); without TLS it is a proxy.
            b"early-data" if request.secure => {}
            _ => lines.push(line(name, value)?),
        }
    }
    PyList::new(py, lines)
}

fn method<'py>(py: Python<'py>, method: &[u8]) -> Bound<'py, PyString> {
    match method {
        b"GET" => intern!(py, "GET").clone(),
        b"POST" => intern!(py, "POST").clone(),
        b"HEAD" => intern!(py, "HEAD").clone(),
        b"PUT" => intern!(py, "PUT").clone(),
        b"DELETE" => intern!(py, "DELETE").clone(),
        b"PATCH" => intern!(py, "PATCH").clone(),
        b"OPTIONS" => intern!(py, "OPTIONS").clone(),
        other => PyString::new(py, &String::from_utf8_lossy(other)),
    }
}

/// Percent-decoded, and read as UTF-8 as far as it is.
fn decoded(path: &[u8]) -> String {
    if !path.contains(&b'%') {
        return String::from_utf8_lossy(path).into_owned();
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Names that are made once, by length.
fn known(py: Python<'_>, name: &[u8]) -> Option<&'static Py<PyBytes>> {
    type Known = (&'static [u8], Py<PyBytes>);
    static MADE: PyOnceLock<Vec<Vec<Known>>> = PyOnceLock::new();
    let all = MADE.get_or_init(py, || {
        let mut all: Vec<Vec<_>> = Vec::new();
        for name in NAMES {
            if all.len() <= name.len() {
                all.resize_with(name.len() + 1, Vec::new);
            }
            all[name.len()].push((name.as_bytes(), PyBytes::new(py, name.as_bytes()).unbind()));
        }
        all
    });
    all.get(name.len())?.iter().find(|(known, _)| *known == name).map(|(_, made)| made)
}

/// What browsers, proxies and other clients say.
const NAMES: [&str; 52] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "early-data",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];
