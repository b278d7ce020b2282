"""Admission: what a request for a WebTransport session says, and which pages may make one."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from jetstream import SocketAddress, UnixPeer
from jetstream._admission import is_allowed
from jetstream.webtransport import RefuseSession, SessionRequest, WebTransport


class FakeConnection:
    """As much of a connection as a request looks at."""

    def __init__(self, remote: Any = ("::1", 4433), peer: Any = None) -> None:
        self.remote = remote
        self.peer = peer
        self.credentials = None
        self.peer_chain = ()


def asked(
    *headers: tuple[str, str],
    path: str = "/",
    query: str = "",
    root_path: str = "",
    host: str | None = "example.org",
    **connection: Any,
) -> SessionRequest:
    """A request for a session."""
    named = [(b"host", host.encode())] if host is not None else []
    named += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode("latin-1"),
        "headers": named,
    }
    core: Any = FakeConnection(**connection)
    return SessionRequest(scope, core, root_path)


# ---- requests ----


def test_what_is_asked():
    request = asked(("X-Mine", "1"), ("x-mine", "2"), path="/chat/room", query="a=1&b=&a=2&c=%20+x")
    assert request.path == "/chat/room"
    assert request.query == {"a": "2", "b": "", "c": "  x"}
    assert request.authority == "example.org"
    assert request.origin is None
    assert request.token is None
    assert request.peer is None
    assert request.remote == SocketAddress(ip_address("::1"), 4433)
    assert repr(request) == "<SessionRequest for '/chat/room' from [::1]:4433>"


def test_fields_are_found_in_whatever_case():
    request = asked(("origin", "https://a.example"), ("x-mine", "1"), ("x-mine", "2"))
    assert request.header("X-MINE") == request.header("x-mine") == "1"
    assert request.header("x-other") is None
    assert request.origin == "https://a.example"
    assert repr(request) == "<SessionRequest for '/' from https://a.example>"


def test_a_request_without_a_host():
    assert asked(host=None).authority == ""


def test_the_path_is_that_of_the_application():
    assert asked(path="/api/chat", root_path="/api").path == "/chat"


@pytest.mark.parametrize(
    ("header", "query", "token"),
    [
        (None, "token=abc", "abc"),
        (None, "token=a%2Bb%3D", "a+b="),
        (None, "token=", ""),
        (None, "other=abc", None),
        ("Bearer abc", "", "abc"),
        ("bearer  abc ", "", "abc"),
        # Whoever can set fields is asked by them.
        ("Bearer abc", "token=other", "abc"),
        ("Basic abc", "token=other", "other"),
        ("Bearer", "token=other", "other"),
        ("Bearer ", "", None),
    ],
)
def test_tokens(header, query, token):
    headers = [] if header is None else [("authorization", header)]
    assert asked(*headers, query=query).token == token


def test_who_asks_is_known_by_the_connection():
    assert asked(peer=UnixPeer(1, 2, 3)).peer == UnixPeer(1, 2, 3)
    assert asked(remote=None).remote is None


def test_the_access_log_is_told_no_token():
    request = asked(path="/chat", query="token=secret")
    assert request.scope["path"] == "/chat"
    assert request.scope["method"] == "CONNECT"
    assert b"secret" not in request.scope["query_string"]
    assert "secret" not in repr(request)
    assert request.token == "secret"


# ---- refusals ----


@pytest.mark.parametrize("status", [400, 403, 599])
def test_refusals(status):
    assert RefuseSession(status).status == status
    assert str(RefuseSession(status)) == str(status)
    assert str(RefuseSession(status, "because")) == f"{status}: because"


def test_a_refusal_is_forbidden_by_itself():
    assert RefuseSession().status == 403
    assert RefuseSession().reason == ""


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600])
def test_what_is_no_refusal(status):
    with pytest.raises(ValueError, match=rf"RefuseSession\({status}\).* 400 to 599"):
        RefuseSession(status)


# ---- origins ----


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.org", "https://example.org"),
        ("example.org", "https://example.org:443"),
        ("example.org:443", "https://example.org"),
        ("example.org:8443", "https://example.org:8443"),
        ("Example.ORG", "https://example.org"),
        ("example.org", "https://EXAMPLE.org"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("[::1]", "https://[::1]:443"),
        ("127.0.0.1:1", "https://127.0.0.1:1"),
    ],
)
def test_pages_of_the_same_origin(host, origin):
    assert is_allowed(asked(("origin", origin), host=host), ())


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.org", "https://example.com"),
        ("example.org", "https://example.org:8443"),
        ("example.org:8443", "https://example.org"),
        ("example.org", "http://example.org"),
        ("example.org:80", "http://example.org"),
        ("example.org", "https://www.example.org"),
        ("example.org", "https://example.org.evil.example"),
        ("example.org", "https://evil.example/example.org"),
        ("example.org", "https://example.org@evil.example"),
        ("example.org", "https://evil@example.org"),
        ("example.org", "https://example.org/"),
        ("example.org", "https://example.org?"),
        ("example.org", "https://example.org#"),
        ("example.org", "https://example.org#x"),
        ("example.org", "https://exam\tple.org"),
        ("example.org", " https://example.org"),
        ("example.org", "https://example.org:port"),
        ("example.org", "https://example.org:99999"),
        ("example.org", "https://[example.org"),
        ("example.org", "https://"),
        ("example.org", "example.org"),
        ("example.org", "null"),
        ("example.org", ""),
        ("example.org", "*"),
        ("[::1]", "https://[::2]"),
        ("", "https://"),
        (None, "null"),
        (None, "https://example.org"),
    ],
)
def test_pages_of_other_origins(host, origin):
    request = asked(("origin", origin), host=host)
    assert not is_allowed(request, ())
    assert not is_allowed(request, ["https://app.example.net"])
    assert is_allowed(request, "*")


def test_programs_say_no_origin():
    assert is_allowed(asked(), ())
    assert is_allowed(asked(), ["https://app.example.net"])


@pytest.mark.parametrize(
    ("listed", "origin", "allowed"),
    [
        ("https://app.example.net", "https://app.example.net", True),
        ("https://app.example.net:443", "https://app.example.net", True),
        ("https://APP.example.net", "https://app.example.net", True),
        ("https://app.example.net:8443", "https://app.example.net:8443", True),
        ("http://localhost:5173", "http://localhost:5173", True),
        ("https://[::1]:5173", "https://[::1]:5173", True),
        ("https://app.example.net", "http://app.example.net", False),
        ("https://app.example.net", "https://app.example.net:8443", False),
        ("https://app.example.net", "https://x.app.example.net", False),
        ("http://localhost:5173", "http://localhost:5174", False),
    ],
)
def test_pages_that_are_allowed(listed, origin, allowed):
    request = asked(("origin", origin))
    assert is_allowed(request, ["https://other.example", listed]) is allowed
    # Beside those there are always the pages of the host itself.
    assert is_allowed(asked(("origin", "https://example.org")), [listed])


# ---- settings ----


def test_what_is_usual():
    usual = WebTransport()
    assert usual.origins == ()
    assert usual.services
    assert usual.authenticate is None
    assert usual.handlers == {}
    assert usual.danger_certificate_in_url is None
    assert usual.danger_certificate_lifetime == timedelta(days=1)


def test_a_single_origin_is_no_list():
    with pytest.raises(TypeError, match=r"origins='https://a\.example': give a list"):
        WebTransport(origins="https://a.example")
    assert WebTransport(origins="*").origins == "*"


@pytest.mark.parametrize(
    "origin",
    ["a.example", "https://a.example/", "https://a.example/x", "*", "null", "", "https://a:b"],
)
def test_what_is_no_origin(origin):
    with pytest.raises(ValueError, match="is no origin; write https://host"):
        WebTransport(origins=["https://good.example", origin])


async def _handle(*_: object) -> None:
    pass


def test_paths_of_handlers_begin_with_a_slash():
    assert WebTransport(handlers={"/chat": _handle}).handlers == {"/chat": _handle}
    with pytest.raises(ValueError, match="'chat' does not begin with a slash"):
        WebTransport(handlers={"chat": _handle})
