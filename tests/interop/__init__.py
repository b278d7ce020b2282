"""This project against the Rust crate jetstream 16.0.0, in both directions."""
