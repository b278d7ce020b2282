//! Messages between a server and an application: dictionaries with a `type`.

use bytes::Bytes;
use jetstream_net::Fields;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

/// Bodies of so many bytes are not copied.
const SHARED: usize = 32 << 10;

/// What an application sends.
pub(super) struct Message<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'a, 'py> Message<'a, 'py> {
    /// # Errors
    /// It is no dictionary.
    pub(super) fn of(message: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        message.cast::<PyDict>().map(Self).map_err(|_| {
            PyTypeError::new_err(format!("send() takes a dictionary with a 'type', not {message}"))
        })
    }

    /// # Errors
    /// It has none.
    pub(super) fn kind(&self) -> PyResult<Bound<'py, PyString>> {
        match self.get(intern!(self.0.py(), "type"))? {
            Some(kind) => Ok(kind.cast_into::<PyString>()?),
            None => Err(PyKeyError::new_err("a message that is sent needs a 'type'")),
        }
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    pub(super) fn get(&self, key: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(key)?.filter(|value| !value.is_none()))
    }

    pub(super) fn flag(&self, key: &Bound<'py, PyString>) -> PyResult<bool> {
        match self.get(key)? {
            None => Ok(false),
            Some(value) => match value.cast::<PyBool>() {
                Ok(value) => Ok(value.is_true()),
                Err(_) => value.is_truthy(),
            },
        }
    }

    pub(super) fn status(&self) -> PyResult<u16> {
        let py = self.0.py();
        let Some(status) = self.get(intern!(py, "status"))? else {
            return Err(PyKeyError::new_err("an answer needs a 'status'"));
        };
        if !status.is_instance_of::<PyInt>() {
            let found = status.get_type();
            return Err(PyTypeError::new_err(format!("a status is an int, not {found}")));
        }
        status.extract().map_err(|_| PyValueError::new_err(format!("{status} is no status")))
    }

    pub(super) fn body(&self) -> PyResult<Bytes> {
        match self.get(intern!(self.0.py(), "body"))? {
            Some(body) => bytes_of(&body),
            None => Ok(Bytes::new()),
        }
    }

    /// Adds the field lines to `fields`, and gives the `content-length` among them.
    pub(super) fn headers(&self, fields: &mut Fields) -> PyResult<Option<u64>> {
        let mut length = None;
        let Some(lines) = self.get(intern!(self.0.py(), "headers"))? else { return Ok(None) };
        let mut add = |line: Bound<'py, PyAny>| -> PyResult<()> {
            let (name, value) = pair(&line)?;
            let (name, value) = (field(&name)?, field(&value)?);
            // Blanks around a value are no part of it (RFC 9110, section 5.5), and must not be sent
            // in HTTP/2 and HTTP/3.
            let (name, value) = (name.as_bytes(), trimmed(value.as_bytes()));
            if name.eq_ignore_ascii_case(b"content-length") {
                let said = length_of(value)?;
                match length.replace(said) {
                    None => {}
                    // Once is enough (RFC 9110, section 8.6).
                    Some(before) if before == said => return Ok(()),
                    Some(before) => {
                        let why = format!("content-length is said twice: {before} and {said}");
                        return Err(PyValueError::new_err(why));
                    }
                }
            }
            fields.push(name, value);
            Ok(())
        };
        if let Ok(list) = lines.cast::<PyList>() {
            // By index: whatever else happens to the list, it stays one.
            let mut index = 0;
            while let Ok(line) = list.get_item(index) {
                add(line)?;
                index += 1;
            }
        } else {
            for line in lines.try_iter()? {
                add(line?)?;
            }
        }
        Ok(length)
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A number of bytes (RFC 9110, section 8.6).
fn length_of(value: &[u8]) -> PyResult<u64> {
    let value = value.trim_ascii();
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let value = String::from_utf8_lossy(value);
        PyValueError::new_err(format!("content-length must be a number of bytes, not {value:?}"))
    })
}

fn pair<'py>(line: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(line) = line.cast::<PyTuple>() {
        if line.len() == 2 {
            return Ok((line.get_item(0)?, line.get_item(1)?));
        }
    } else if let Ok(line) = line.cast::<PyList>() {
        if line.len() == 2 {
            return Ok((line.get_item(0)?, line.get_item(1)?));
        }
    } else if let Ok(both) = line.extract::<[Bound<'py, PyAny>; 2]>() {
        let [name, value] = both;
        return Ok((name, value));
    }
    Err(PyTypeError::new_err(format!("a header is a pair of bytes (name, value), not {line}")))
}

fn field<'py>(part: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match part.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.clone()),
        Err(_) if part.is_instance_of::<PyString>() => Err(PyTypeError::new_err(format!(
            "names and values of headers are bytes, and {part:?} is str: encode it as latin-1"
        ))),
        Err(_) => as_bytes(part),
    }
}

/// The bytes of whatever has some.
fn as_bytes<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: a live object; a new reference to a bytes object, or null with an error set.
    unsafe {
        let bytes = pyo3::ffi::PyBytes_FromObject(value.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(value.py(), bytes)?.cast_into_unchecked())
    }
}

/// The bytes of a body: few are copied, many are shared with their object.
pub(super) fn bytes_of(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let bytes = match value.cast::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => as_bytes(value)?,
    };
    if bytes.as_bytes().len() < SHARED {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    Ok(Bytes::from_owner(PyBackedBytes::from(bytes)))
}

/// `http.request`.
pub(super) fn request<'py>(
    py: Python<'py>,
    body: &[u8],
    more: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    message.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    message.set_item(intern!(py, "more_body"), PyBool::new(py, more))?;
    Ok(message.into_any())
}

/// `http.disconnect`.
pub(super) fn disconnect(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
    Ok(message.into_any())
}
