//! `jetstream._core`: the Python face of the Rust core. Declarations only.
use pyo3::prelude::*;

/// The compiled core of JetStream for Python.
#[pymodule]
mod _core {}
