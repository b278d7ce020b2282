"""Places: what users write to say where to connect, and over what."""

import pytest
from jetstream._places import Place, check_socket_path, parse_place


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("localhost:4433", Place("quic", "localhost", 4433)),
        (("::1", 1), Place("quic", "::1", 1)),
        ("quic://localhost:4433", Place("quic", "localhost", 4433)),
        ("tcp://localhost:4433", Place("tcp", "localhost", 4433)),
        ("tcp://[::1]:4433/", Place("tcp", "::1", 4433)),
        ("unix:/run/echo.sock", Place("unix", "/run/echo.sock", 0)),
        ("unix:///run/echo.sock", Place("unix", "/run/echo.sock", 0)),
        ("unix:echo.sock", Place("unix", "echo.sock", 0)),
        ("unix:@echo", Place("unix", "@echo", 0)),
        ("https://localhost/", Place("webtransport", "localhost", 443, "/")),
        ("https://[::1]:8443/a/b", Place("webtransport", "::1", 8443, "/a/b")),
    ],
)
def test_spellings(address, place):
    assert parse_place(address) == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://localhost:80", "write quic://host:port, tcp://host:port, unix:/path, or https://"),
        ("tcp://localhost", "is no address"),
        ("unix:", "write the path of a socket"),
        ("unix:@", "write the path of a socket"),
        ("unix:///", "write the path of a socket"),
        ("unix:a\0b", "write the path of a socket"),
        ("unix://host/run/echo.sock", "is on this machine"),
    ],
)
def test_no_place(address, why):
    with pytest.raises(ValueError, match=why) as caught:
        parse_place(address)
    assert "localhost" not in address or "localhost" in str(caught.value)


def test_socket_paths(tmp_path):
    assert check_socket_path(tmp_path / "x", "x") == str(tmp_path / "x")
    with pytest.raises(ValueError, match="path of a socket"):
        check_socket_path("", "")
