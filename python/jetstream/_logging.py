"""Loggers, quiet by default: one line for a connection at INFO, one for a call at DEBUG."""

from __future__ import annotations

import logging

server = logging.getLogger("jetstream.server")
client = logging.getLogger("jetstream.client")
call = logging.getLogger("jetstream.call")
http = logging.getLogger("jetstream.http")
access = logging.getLogger("jetstream.access")

# A library is silent until its user says otherwise.
logging.getLogger("jetstream").addHandler(logging.NullHandler())
