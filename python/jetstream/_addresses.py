"""Addresses: from what users write to what sockets take."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias, cast

from jetstream._types import SocketAddress

AddressLike: TypeAlias = str | tuple[str, int] | SocketAddress
"""``"host:port"``, ``"[::1]:port"``, ``("host", port)`` or a `SocketAddress`."""

Addresses: TypeAlias = AddressLike | Sequence[AddressLike]
"""An address, or several, best first."""


def each_address(addresses: Addresses) -> Sequence[AddressLike]:
    """The addresses of one or several; a pair of a host and a port is one.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(addresses, str | SocketAddress):
        return (addresses,)
    _check_several(addresses)
    if len(addresses) == 2 and isinstance(addresses[1], int):
        return (cast("tuple[str, int]", addresses),)
    return cast("Sequence[AddressLike]", addresses)


def _check_several(addresses: object) -> None:
    if isinstance(addresses, bytes) or not isinstance(addresses, Sequence):
        msg = f'addr={addresses!r}: it must be "host:port", ("host", port) or a list of addresses'
        raise TypeError(msg)


def address_of(pair: tuple[str, int] | None) -> SocketAddress | None:
    """The socket address of (IP address, port)."""
    return None if pair is None else SocketAddress(ip_address(pair[0]), pair[1])


def parse_address(address: AddressLike) -> tuple[str, int]:
    """The host and the port of an address.

    Raises:
        TypeError: It is neither text nor a pair, with what to write.
        ValueError: It is none, with what to write.
    """
    if not isinstance(address, str):
        _check_pair(address)
        host, port = address
        return str(host), _port(port, address)
    host, separator, port_text = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not host or (":" in host and not bracketed):
        msg = f'{address!r} is no address: write "host:port", or "[IPv6 address]:port"'
        raise ValueError(msg)
    return host.strip("[]"), _port(port_text, address)


def _check_pair(address: object) -> None:
    # A SocketAddress has an address of IP for a host.
    of_host = str | IPv4Address | IPv6Address
    if (
        not isinstance(address, tuple | list)
        or len(cast("Sequence[object]", address)) != 2
        or not isinstance(address[0], of_host)
    ):
        msg = f'{address!r} is no address: write "host:port" or ("host", port)'
        raise TypeError(msg)


def _port(port: object, address: object) -> int:
    try:
        number = int(str(port))
    except ValueError:
        number = -1
    if not 0 <= number <= 65_535:
        msg = f"{address!r}: the port must be a number from 0 to 65535, not {port!r}"
        raise ValueError(msg)
    return number


def spell_address(host: str, port: int) -> str:
    """``host:port``, with brackets where the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
