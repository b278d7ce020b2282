//! Plans × Python objects. What is here makes and reads objects; every rule of the wire is in
//! `jetstream_proto::wire`.
mod decode;
mod encode;
mod objects;
mod plan;
mod time;

use jetstream_proto::wire::{DecodeReason, EncodeReason, Failure};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use objects::imported;
pub use plan::{ArgumentsPlan, Plan};

/// Why an object could not be encoded or made.
enum Cause<R> {
    /// A rule of the wire.
    Rule(R),
    /// The object is none of the plan's.
    Unfit(String),
    /// Python code that ran meanwhile raised this.
    Raised(PyErr),
}

impl From<EncodeReason> for Cause<EncodeReason> {
    fn from(reason: EncodeReason) -> Self {
        Self::Rule(reason)
    }
}

impl From<DecodeReason> for Cause<DecodeReason> {
    fn from(reason: DecodeReason) -> Self {
        Self::Rule(reason)
    }
}

impl<R: std::fmt::Display> Cause<R> {
    /// The message and, where Python code raised, its exception. An exception that is not an
    /// `Exception` (`KeyboardInterrupt`, a cancelled task) is nobody's to wrap.
    fn explain(self, py: Python<'_>) -> Result<(String, Option<PyErr>), PyErr> {
        match self {
            Self::Rule(reason) => Ok((reason.to_string(), None)),
            Self::Unfit(message) => Ok((message, None)),
            Self::Raised(error) if error.is_instance_of::<PyException>(py) => {
                Ok((error.to_string(), Some(error)))
            }
            Self::Raised(error) => Err(error),
        }
    }
}

#[cold]
fn encode_error(py: Python<'_>, what: &str, failure: Failure<Cause<EncodeReason>>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let path = format!("{what}{}", failure.path());
    let make = || {
        let (message, cause) = failure.into_cause().explain(py)?;
        let error =
            imported(py, &CLASS, "jetstream._errors", "EncodeError")?.call1((path, message))?;
        Ok((PyErr::from_value(error), cause))
    };
    raise_from(py, make())
}

#[cold]
fn decode_error(py: Python<'_>, what: &str, failure: Failure<Cause<DecodeReason>>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let path = format!("{what}{}", failure.path());
    let offset = failure.offset().unwrap_or_default();
    let make = || {
        let (message, cause) = failure.into_cause().explain(py)?;
        let error = imported(py, &CLASS, "jetstream._errors", "DecodeError")?
            .call1((path, offset, message))?;
        Ok((PyErr::from_value(error), cause))
    };
    raise_from(py, make())
}

fn raise_from(py: Python<'_>, made: PyResult<(PyErr, Option<PyErr>)>) -> PyErr {
    match made {
        Ok((error, cause)) => {
            error.set_cause(py, cause);
            error
        }
        Err(error) => error,
    }
}

/// Wire plans and the codec that runs them.
#[pymodule(name = "codec")]
pub mod module {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{ArgumentsPlan, Plan};

    /// A submodule of an extension is not importable by its dotted name until it says so.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let modules = module.py().import("sys")?.getattr("modules")?;
        modules.set_item("jetstream._core.codec", module)
    }
}
