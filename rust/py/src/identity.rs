//! Certificates for Python: parsed by `jetstream_net::identity`, handed over as a dictionary.

use jetstream_net::identity;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// What a certificate in DER says; the keys are the fields of `jetstream.Certificate`.
#[pyfunction]
pub(crate) fn parse_certificate<'py>(py: Python<'py>, der: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let parsed = identity::parse(der).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let fields = PyDict::new(py);
    fields.set_item("der", PyBytes::new(py, der))?;
    fields.set_item("common_name", parsed.common_name)?;
    fields.set_item("fingerprint", identity::fingerprint_text(&parsed.fingerprint))?;
    fields.set_item("spki_sha256", PyBytes::new(py, &parsed.spki_sha256))?;
    fields.set_item("subject", parsed.subject)?;
    fields.set_item("issuer", parsed.issuer)?;
    fields.set_item("serial", PyBytes::new(py, &parsed.serial))?;
    fields.set_item("not_before", parsed.not_before)?;
    fields.set_item("not_after", parsed.not_after)?;
    fields.set_item("dns_names", parsed.dns_names)?;
    let addresses: Vec<String> = parsed.ip_addresses.iter().map(ToString::to_string).collect();
    fields.set_item("ip_addresses", addresses)?;
    fields.set_item("emails", parsed.emails)?;
    fields.set_item("uris", parsed.uris)?;
    fields.set_item("is_ca", parsed.is_ca)?;
    Ok(fields)
}
