"""What a session can do, by what carries it."""

from dataclasses import dataclass
from typing import Literal

from jetstream import _core


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a session can do. Calls and subscriptions work on each; this tells how."""

    transport: Literal["quic", "tcp", "unix", "memory", "webtransport"]
    """What carries it."""
    many_lanes: bool
    """Whether one connection carries many lanes, so that nothing holds up anything else. Elsewhere
    each service has a connection of its own, and its subscriptions share that with its calls."""
    datagrams: bool
    """Whether items of ``lossy=True`` subscriptions travel as datagrams; elsewhere on the
    lane, where they give way to later ones, too."""
    identity: Literal["tls", "unix", "none"]
    """How peers prove who they are: certificates, the kernel's word, or not."""
    migration: bool
    """Whether it outlives a change of the local address."""
    opens_lanes: bool
    """Whether this end can call. On a single lane only the end that connected can."""
    accepts_lanes: bool
    """Whether the other end can call."""


def capabilities_of(core: _core.Connection) -> Capabilities:
    """What a session on a connection can do."""
    transport, many_lanes, opens_lanes, datagrams = core.features
    identity: Literal["tls", "unix", "none"] = "tls"
    if transport == "unix":
        identity = "unix" if core.credentials is not None else "none"
    elif transport == "memory":
        identity = "tls" if core.peer_chain else "none"
    return Capabilities(
        transport=transport,
        many_lanes=many_lanes,
        datagrams=datagrams,
        identity=identity,
        migration=transport in ("quic", "webtransport"),
        opens_lanes=opens_lanes,
        accepts_lanes=many_lanes or not opens_lanes,
    )
