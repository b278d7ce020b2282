"""The errors of this package, `JetStreamError` at the root."""


class JetStreamError(Exception):
    """Root of every error that this package raises on its own account."""


class TlsConfigError(JetStreamError, ValueError):
    """TLS material (a certificate, a key, a CRL, a name) cannot be used as it was given."""
