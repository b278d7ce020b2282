"""Addresses: what users write."""

from ipaddress import ip_address

import pytest
from jetstream import SocketAddress
from jetstream._addresses import address_of, parse_address, spell_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("localhost:4433", "localhost", 4433),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:65535", "::1", 65_535),
        (("localhost", 4433), "localhost", 4433),
        (("::1", 1), "::1", 1),
        (SocketAddress(ip_address("::1"), 4433), "::1", 4433),
        (SocketAddress(ip_address("10.0.0.1"), 4433), "10.0.0.1", 4433),
    ],
)
def test_spellings(address, host, port):
    assert parse_address(address) == (host, port)


@pytest.mark.parametrize("address", ["localhost", "", ":4433", "::1:4433", "fe80::1", "[::1]"])
def test_no_address(address):
    with pytest.raises(
        ValueError, match=r'write "host:port", or "\[IPv6 address\]:port"'
    ) as caught:
        parse_address(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize(
    "address", ["localhost:http", "localhost:-1", "localhost:65536", "h:", ("h", 1.5), ("h", None)]
)
def test_no_port(address):
    with pytest.raises(ValueError, match="the port must be a number from 0 to 65535") as caught:
        parse_address(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:4433", "[::1]:4433"])
def test_spelling_and_parsing_are_inverse(address):
    assert spell_address(*parse_address(address)) == address


def test_socket_addresses():
    assert address_of(None) is None
    address = address_of(("::1", 4433))
    assert address == SocketAddress(ip_address("::1"), 4433)
    assert str(address) == "[::1]:4433"
    assert str(address_of(("127.0.0.1", 1))) == "127.0.0.1:1"
