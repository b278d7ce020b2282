"""The compiled core. One stub per Rust module."""

from . import codec as codec
