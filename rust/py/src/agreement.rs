//! Which service a lane is for and in which version, at the called end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetstream_proto::codes;
use jetstream_proto::ext;
use jetstream_proto::frame::{Frame, kind};
use jetstream_proto::limits::MIN_MSIZE;
use jetstream_proto::version::{self, Offer, Version};
use pyo3::prelude::*;

use crate::dispatch::{Next, Phase, Run, ServiceLane};
use crate::service::{ServiceTable, Services};
use crate::shared::lock;

impl ServiceLane {
    /// The first frame says which service the lane is for.
    pub(crate) fn on_first(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        run: &mut Run,
    ) -> PyResult<Next> {
        if frame.kind != kind::TVERSION {
            return self.wrong(py, "the first frame on a lane must be a Tversion");
        }
        let asked = match Offer::decode(frame.payload) {
            Ok(offer) => offer,
            Err(error) => return self.wrong(py, &format!("a malformed Tversion: {error}")),
        };
        let answers = &mut run.answers;
        if self.shared.is_draining() {
            self.turn_away(py)?;
            return Ok(Next::Stop);
        }
        let Some(services) = self.connection.get().services() else {
            self.refuse(frame.tag, codes::UNKNOWN_SERVICE, answers);
            return Ok(Next::Go);
        };
        let client = Version::parse(&asked.version).ok();
        let table = client.as_ref().and_then(|client| services.by_name.get(&client.name));
        let Some((client, table)) = client.as_ref().zip(table) else {
            self.refuse(frame.tag, codes::UNKNOWN_SERVICE, answers);
            return Ok(Next::Go);
        };
        let extension = ext::is_marked(client, ext::OFFER);
        let answer = agree(table.get(), &services, client, asked.msize, extension);
        let Some(answer) = answer else {
            self.refuse(frame.tag, codes::VERSION_REFUSED, answers);
            return Ok(Next::Go);
        };
        answer.encode(kind::RVERSION, frame.tag, answers);
        self.set_limit(answer.msize, &services)?;
        lock(&self.inner).phase = Phase::Open(table.clone_ref(py));
        self.extension.store(extension, Ordering::Relaxed);
        let _ = self.services.set(services);
        Ok(Next::Go)
    }

    /// A version among calls, as 15.2 has it. Nothing hangs on the answer: the lane goes on. Where
    /// the path of a WebTransport session named the service, peers of 16 come here, too, and may
    /// offer the extension.
    pub(crate) fn on_version_call(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        run: &mut Run,
    ) -> PyResult<Next> {
        let (begun, table) = {
            let inner = &mut *lock(&self.inner);
            // Answered at once, so the tag is free again.
            let begun = inner.callee.begin(frame.tag).map(|()| inner.callee.finish(frame.tag));
            let Phase::Open(table) = &inner.phase else { return Ok(Next::Stop) };
            (begun, table.clone_ref(py))
        };
        if let Err(error) = begun {
            return self.wrong(py, &error.to_string());
        }
        let asked = match Offer::decode(frame.payload) {
            Ok(offer) => offer,
            Err(error) => return self.wrong(py, &format!("a malformed Tversion: {error}")),
        };
        let client = Version::parse(&asked.version).ok();
        let by_path = self.connection.get().is_for_service();
        let agreed = client.zip(self.services.get()).and_then(|(client, services)| {
            let extension = by_path && ext::is_marked(&client, ext::OFFER);
            let answer = agree(table.get(), services, &client, asked.msize, extension)?;
            Some((answer, services, extension))
        });
        match agreed {
            Some((answer, services, extension)) => {
                if extension {
                    self.extension.store(true, Ordering::Relaxed);
                }
                answer.encode(kind::RVERSION, frame.tag, &mut run.answers);
                self.set_limit(answer.msize, services)?;
            }
            None => refusal(frame.tag, &mut run.answers),
        }
        Ok(Next::Go)
    }

    /// From now on no frame is larger, in either direction.
    fn set_limit(&self, msize: u32, services: &Services) -> PyResult<()> {
        {
            let mut inner = lock(&self.inner);
            inner.limit = msize;
            inner.limit_is_ours = services.limits.msize <= msize;
        }
        self.shared.hub()?.set_lane_limit(self.key, msize);
        Ok(())
    }

    /// The lane came when we were going away: nothing was begun on it.
    fn turn_away(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py);
        self.shared.unbind_lane(self.key);
        self.shared.hub()?.abort_lane(self.key, codes::SHUTDOWN);
        Ok(())
    }

    fn refuse(&self, tag: u16, code: u32, answers: &mut Vec<u8>) {
        refusal(tag, answers);
        lock(&self.inner).phase = Phase::Over;
        if let Ok(mut hub) = self.shared.hub() {
            // The answer is queued first, the end and the code follow it.
            hub.write_lane(self.key, std::mem::take(answers));
            hub.refuse_lane(self.key, code);
        }
    }
}

/// What is answered to a version, if it is served: ours, and the size of frames that both ends take.
fn agree(
    table: &ServiceTable,
    services: &Services,
    client: &Version,
    msize: u32,
    extension: bool,
) -> Option<Offer> {
    let msize = msize.min(services.limits.msize);
    if msize < MIN_MSIZE || !table.version.serves(client) {
        return None;
    }
    let version = match extension {
        true => ext::marked(&table.version, ext::ACCEPT).to_string(),
        false => table.version.to_string(),
    };
    Some(Offer { msize, version })
}

fn refusal(tag: u16, answers: &mut Vec<u8>) {
    let unknown = Offer { msize: 0, version: version::UNKNOWN.to_owned() };
    unknown.encode(kind::RVERSION, tag, answers);
}
