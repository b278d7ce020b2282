//! Single frames, for calls that come by HTTP POST.

use jetstream_proto::dialect::Dialect;
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, kind};
use jetstream_proto::limits::FRAME_HEADER;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The method's place, the tag and the arguments of a request, which is the whole of `data`.
#[pyfunction]
pub(crate) fn read_request<'py>(
    py: Python<'py>,
    data: &[u8],
) -> PyResult<(u8, u16, Bound<'py, PyBytes>)> {
    let declared = data.first_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize);
    if declared != Some(data.len()) || data.len() < FRAME_HEADER {
        return Err(PyValueError::new_err("the body is not one frame"));
    }
    let Some(frame) = frame::frames(data).next() else {
        return Err(PyValueError::new_err("the body is not one frame"));
    };
    let Some(index) = Dialect::V16.method_of_request(frame.kind) else {
        return Err(PyValueError::new_err(format!("type {} is no request", frame.kind)));
    };
    Ok((index, frame.tag, PyBytes::new(py, frame.payload)))
}

/// The reply of a method.
#[pyfunction]
pub(crate) fn write_reply<'py>(
    py: Python<'py>,
    index: u8,
    tag: u16,
    result: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(result.len() + FRAME_HEADER);
    let start = frame::begin(&mut out, Dialect::V16.reply(index), tag);
    out.extend_from_slice(result);
    finished(py, &mut out, start)
}

/// The error of a method.
#[pyfunction]
#[pyo3(signature = (tag, message, code=None, help=None, url=None))]
pub(crate) fn write_fault<'py>(
    py: Python<'py>,
    tag: u16,
    message: String,
    code: Option<String>,
    help: Option<String>,
    url: Option<String>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out, kind::RERROR, tag);
    Fault { message, code, help, url, backtrace: Vec::new() }.encode(&mut out);
    finished(py, &mut out, start)
}

fn finished<'py>(
    py: Python<'py>,
    out: &mut Vec<u8>,
    start: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    frame::finish(out, start, u32::MAX)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, out))
}
