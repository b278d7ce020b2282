//! A request for a WebTransport session: Python says yes or no.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jetstream_net::{ExchangeKey, Fields, Incoming, Reply, ReplyError};
use pyo3::prelude::*;

use super::Site;
use crate::connection::Connection;
use crate::errors;
use crate::shared::Shared;

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

    /// The fields of every answer.
    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in &self.headers {
            fields.push(name, value);
        }
        fields
    }

    /// Whether it can still be answered; from now on it cannot.
    fn take(&self) -> PyResult<bool> {
        self.shared.check()?;
        Ok(!self.is_answered.swap(true, Ordering::Relaxed) && !self.shared.is_closed())
    }
}

#[pymethods]
impl SessionRequest {
    /// Accepts the session, with frames of at most `msize` bytes on its lanes, or raw; `None` if
    /// nobody waits for it any more.
    fn accept<'py>(
        &self,
        py: Python<'py>,
        msize: Option<u32>,
    ) -> PyResult<Option<Bound<'py, Connection>>> {
        if !self.take()? {
            return Ok(None);
        }
        let incoming = msize.map_or(Incoming::Raw, |msize| Incoming::Lanes { msize });
        let accepted = self.shared.hub()?.accept_session(self.key, self.fields(), incoming);
        self.shared.schedule(py)?;
        match accepted {
            Ok(key) => self.shared.connection(py, key).map(Some),
            Err(ReplyError::Gone) => Ok(None),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Answers with something else; nothing happens if it has been answered.
    pub(super) fn refuse(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        if !self.take()? {
            return Ok(());
        }
        let head = Reply::Head { status, fields: self.fields(), body: Bytes::new(), end: true };
        self.shared.hub()?.http_reply(self.key, head).map_err(wrong)?;
        self.shared.schedule(py)
    }
}

fn wrong(error: ReplyError) -> PyErr {
    errors::misuse(&error.to_string())
}
