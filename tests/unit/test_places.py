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
        ("https://", "write https://host:port/path"),
        ("https:///path", "write https://host:port/path"),
        ("https://:443/", "write https://host:port/path"),
        ("https://localhost:port/", "write https://host:port/path"),
        ("https://localhost:99999/", "write https://host:port/path"),
        ("https://[localhost/", "write https://host:port/path"),
        ("https://ada@localhost/", "write https://host:port/path"),
        ("https://ada:secret@localhost/", "write https://host:port/path"),
        ("https://localhost/\u00e9", "must be percent-encoded"),
        ("https://localhost/a b", "must be percent-encoded"),
        ("https://localhost/?a=\u00e9", "must be percent-encoded"),
        ("https://localhost/a\x7f", "must be percent-encoded"),
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


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://localhost", "/"),
        ("https://localhost:443", "/"),
        ("https://localhost?a=1", "/?a=1"),
        ("https://localhost/?", "/"),
        ("https://localhost/chat#top", "/chat"),
        ("https://localhost/a%20b?token=a%2Bb&x=%2F", "/a%20b?token=a%2Bb&x=%2F"),
    ],
)
def test_what_is_asked_for_at_a_url(url, path):
    assert parse_place(url) == Place("webtransport", "localhost", 443, path)


def test_a_token_is_not_shown():
    place = parse_place("https://localhost:8443/chat?token=secret")
    assert place.path == "/chat?token=secret"
    assert str(place) == "https://localhost:8443/chat"


def test_socket_paths(tmp_path):
    assert check_socket_path(tmp_path / "x", "x") == str(tmp_path / "x")
    with pytest.raises(ValueError, match="path of a socket"):
        check_socket_path("", "")
