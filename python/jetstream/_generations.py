"""Generations of the Rust crates: under which protocol name (ALPN) each of them finds a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from jetstream._definition import definition_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jetstream._definition import ServiceDefinition

RPC_ALPN = "jetstream"
"""The protocol under which all services are called (jetstream 16)."""

MAX_ALPN = 255
"""Bytes of a protocol name (RFC 7301, section 3.1)."""

Generation = Literal["16", "15.2", "15.1"]
"""A generation of the Rust crates, and of peers that speak as it does."""

GENERATIONS: tuple[Generation, ...] = ("16", "15.2", "15.1")

_JOINT: dict[Generation, str] = {"15.2": "+", "15.1": "-"}
"""What stands before the digest."""


def alpn_of(service: Callable[..., object], generation: Generation = "16") -> str:
    """The protocol name (ALPN) under which peers of a generation find a service.

    For peers of 16 it is ``jetstream`` for every service. Peers of 15 connect for one service
    alone, under its whole version string: write
    ``connect("host:4433", alpns=[alpn_of(Echo, "15.2")])`` to call one.

    Args:
        service: The service class. Its `digest` must be the one of the Rust trait.
        generation: Of the Rust crate at the other end.

    Raises:
        TypeError: It is no service class.
        ValueError: There is no such generation.
    """
    return protocol_name(definition_of(service), generation)


def protocol_name(definition: ServiceDefinition, generation: Generation) -> str:
    if generation not in GENERATIONS:
        known = ", ".join(GENERATIONS)
        msg = f"there is no generation {generation!r} of the Rust crates here: write one of {known}"
        raise ValueError(msg)
    if generation == "16":
        return RPC_ALPN
    name, version = definition.name, definition.version
    return f"rs.jetstream.proto/{name}/{version}{_JOINT[generation]}{definition.digest}"


def names_alone(
    definition: ServiceDefinition, generations: tuple[Generation, ...]
) -> tuple[str, ...]:
    """The protocol names of connections that are for this service alone.

    There are none without a digest that was given: the one derived here is no Rust trait's.
    """
    if not definition.digest_is_given:
        return ()
    names = (protocol_name(definition, each) for each in generations if each != "16")
    return tuple(name for name in names if len(name.encode()) <= MAX_ALPN)
