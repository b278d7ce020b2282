//! `jetstream._core`: the Python face of the Rust core. Declarations only.
use pyo3::prelude::*;

pub mod codec;

/// The compiled core of JetStream for Python.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::codec::module;
}
