//! A request for a WebTransport session: Python says yes or no.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jetstream_net::{ExchangeKey, Fields, Incoming, Reply, ReplyError, Request};
use pyo3::prelude::*;

use super::Site;
use crate::connection::Connection;
use crate::errors;
use crate::shared::Shared;

/// Whether a request asks for a session: `webtransport` is what browsers say, and all drafts up to
/// 14; `webtransport-h3` is draft 15's.
pub(super) fn is_session(request: &Request) -> bool {
    matches!(request.protocol.as_deref(), Some(b"webtransport" | b"webtransport-h3"))
}

/// One that has not been answered.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct SessionRequest {
    shared: Arc<Shared>,
    key: ExchangeKey,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    is_answered: AtomicBool,
}

impl SessionRequest {
    pub(super) fn new(shared: Arc<Shared>, site: &Site, key: ExchangeKey) -> Self {
        Self { shared, key, headers: site.headers.clone(), is_answered: AtomicBool::new(false) }
    }

    fn fields(&self, own: &[(Vec<u8>, Vec<u8>)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in own.iter().chain(&self.headers) {
            fields.push(name, value);
        }
        fields
    }

    /// Whether it can still be answered; from now on it cannot.
    fn take(&self) -> PyResult<bool> {
        self.shared.check()?;
        Ok(!self.is_answered.swap(true, Ordering::Relaxed) && !self.shared.is_closed())
    }

    fn decline(&self, status: u16, headers: &[(Vec<u8>, Vec<u8>)], body: Vec<u8>) -> PyResult<()> {
        let head = Reply::Head {
            status,
            fields: self.fields(headers),
            body: Bytes::from(body),
            end: true,
        };
        let told = self.shared.hub()?.http_reply(self.key, head);
        told.map_err(wrong)
    }
}

#[pymethods]
impl SessionRequest {
    /// Accepts the session, with frames of at most `msize` bytes on its lanes, or raw; `None` if
    /// nobody waits for it any more.
    #[pyo3(signature = (msize, headers=Vec::new()))]
    #[allow(clippy::needless_pass_by_value)] // they come from Python
    fn accept<'py>(
        &self,
        py: Python<'py>,
        msize: Option<u32>,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> PyResult<Option<Bound<'py, Connection>>> {
        if !self.take()? {
            return Ok(None);
        }
        let incoming = msize.map_or(Incoming::Raw, |msize| Incoming::Lanes { msize });
        let fields = self.fields(&headers);
        let accepted = self.shared.hub()?.accept_session(self.key, fields, incoming);
        self.shared.schedule(py)?;
        match accepted {
            Ok(key) => self.shared.connection(py, key).map(Some),
            Err(ReplyError::Gone) => Ok(None),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Answers with something else; nothing happens if it has been answered.
    #[pyo3(signature = (status, headers=Vec::new(), body=Vec::new()))]
    #[allow(clippy::needless_pass_by_value)] // they come from Python
    fn refuse(
        &self,
        py: Python<'_>,
        status: u16,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
    ) -> PyResult<()> {
        if self.take()? {
            self.decline(status, &headers, body)?;
            self.shared.schedule(py)?;
        }
        Ok(())
    }
}

fn wrong(error: ReplyError) -> PyErr {
    errors::misuse(&error.to_string())
}
