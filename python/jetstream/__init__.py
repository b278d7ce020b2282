"""JetStream for Python: typed RPC over QUIC with mutual TLS."""
