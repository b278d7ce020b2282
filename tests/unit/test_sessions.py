"""Sessions: what is said to a request for one, whatever its hook does, and what is done with it."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from jetstream import ConnectionLost, Context, Limits, Router, TlsPeer, TokenPeer, service
from jetstream._certs import Usage
from jetstream._sessions import Sessions
from jetstream.testing import ThrowawayCA
from jetstream.webtransport import (
    RefuseSession,
    SessionRequest,
    WebTransport,
    WebTransportSession,
)

from tests.helpers import run

if TYPE_CHECKING:
    from collections.abc import Mapping

SWIFT = Limits(handshake_timeout=0.05)


@service
class Chat:
    """What is served."""

    async def say(self, text: str) -> None:
        """Nothing."""
        ...


class ChatImpl(Chat):
    """Who serves it."""

    async def say(self, text: str) -> None:
        return None


class FakeConnection:
    """As much of a connection as is looked at: of HTTP/3, and of a session."""

    remote = ("127.0.0.1", 1)
    alpn = "h3"
    early = False
    credentials = None
    peer_chain = ()

    def __init__(self) -> None:
        self.peer: Any = None
        self.session: Any = None
        self.services: tuple[Any, ...] | None = None
        self.service: str | None = None
        self.closed: list[tuple[int, bytes]] = []
        self.over = asyncio.Event()
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connected.set_result(None)

    def set_services(self, *services: Any) -> None:
        self.services = services
        self.session = "a session"

    def set_service(self, name: str) -> None:
        self.service = name

    async def wait(self, what: str) -> None:
        await (self.connected if what == "connected" else self.over.wait())

    def close(self, code: int, reason: bytes) -> None:
        self.closed.append((code, reason))
        self.over.set()


class Asked:
    """A request that has not been answered."""

    def __init__(self, *, gone: bool = False) -> None:
        self.core: FakeConnection | None = None if gone else FakeConnection()
        self.accepted: list[int | None] = []
        self.refused: int | None = None
        self.answered = asyncio.Event()

    def accept(self, msize: int | None) -> FakeConnection | None:
        assert not self.answered.is_set()
        self.accepted.append(msize)
        self.answered.set()
        return self.core

    def refuse(self, status: int) -> None:
        # Only the first answer counts, as with the real one.
        if not self.answered.is_set():
            self.refused = status
            self.answered.set()

    @property
    def session(self) -> FakeConnection:
        """The session that was accepted."""
        assert self.core is not None
        return self.core


def scope(path: str = "/", query: str = "", *headers: tuple[bytes, bytes]) -> Mapping[str, Any]:
    return {
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"example.org"), *headers],
        "extensions": {"jetstream": {"connection": FakeConnection()}},
    }


def sessions(*entries: object, limits: Limits | None = None, **options: Any) -> Sessions:
    """What takes sessions for a service of ours, or for what else is given."""
    told = {name: options.pop(name) for name in ("access", "on_session") if name in options}
    router = Router(*(entries or (ChatImpl(),)))
    return Sessions(WebTransport(**options), router, limits or Limits(), **told)


async def ask(taking: Sessions, *request: Any, gone: bool = False) -> Asked:
    """What becomes of a request, once nothing is left to do."""
    asked = Asked(gone=gone)
    told: Any = asked
    taking(scope(*request), told)
    await asked.answered.wait()
    while taking._tasks:
        await asyncio.wait(taking._tasks)
    return asked


# ---- by path ----


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", None),
        ("/whatever", None),
        ("/rs.jetstream.proto", None),
        ("/rs.jetstream.proto/chat", "chat"),
        ("/rs.jetstream.proto/chat/", "chat"),
    ],
)
def test_where_services_are(path, name):
    async def main() -> None:
        asked = await ask(sessions(limits=Limits(msize=5000)), path)
        assert asked.accepted == [5000]
        assert asked.session.service == name
        assert asked.session.services is not None
        assert list(asked.session.services[0]) == ["chat"]
        assert asked.session.closed == []

    run(main)


@pytest.mark.parametrize(
    "path", ["/rs.jetstream.proto/", "/rs.jetstream.proto/other", "/rs.jetstream.proto/chat/x"]
)
def test_services_that_are_not_there(path):
    async def main() -> None:
        assert (await ask(sessions(), path)).refused == 404

    run(main)


async def leave(ctx: Context, session: WebTransportSession) -> None:
    """Has nothing to do."""


def test_without_services_there_are_handlers_alone():
    async def main() -> None:
        # No service is there, or they are not for sessions.
        empty = Sessions(WebTransport(handlers={"/mine": leave}), Router(), Limits())
        for taking in (empty, sessions(services=False, handlers={"/mine": leave})):
            assert (await ask(taking, "/mine")).accepted == [None]
            for path in ("/", "/mine/", "/rs.jetstream.proto/chat"):
                assert (await ask(taking, path)).refused == 404

    run(main)


def test_a_handler_goes_before_services():
    async def main() -> None:
        taking = sessions(handlers={"/rs.jetstream.proto/chat": leave})
        asked = await ask(taking, "/rs.jetstream.proto/chat")
        assert asked.accepted == [None]
        assert asked.session.services is None

    run(main)


# ---- by hook ----


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_hook_says_who_it_is(kind):
    seen: list[SessionRequest] = []

    def decide(request: SessionRequest) -> TokenPeer | None:
        seen.append(request)
        return TokenPeer(request.token) if request.token else None

    async def decide_later(request: SessionRequest) -> TokenPeer | None:
        await asyncio.sleep(0)
        return decide(request)

    async def main() -> None:
        taking = sessions(authenticate=decide if kind == "plain" else decide_later)
        asked = await ask(taking, "/x", "token=ada")
        assert asked.accepted
        assert asked.session.peer == TokenPeer("ada")
        assert [request.path for request in seen] == ["/x"]
        # Nobody: then the connection's certificate counts.
        assert (await ask(taking, "/x")).session.peer is None

    run(main)


def refuse(request: SessionRequest) -> None:
    raise RefuseSession(401, "no token")


async def refuse_later(request: SessionRequest) -> None:
    await asyncio.sleep(0)
    refuse(request)


def fail(request: SessionRequest) -> None:
    raise KeyError("hunter2")


async def fail_later(request: SessionRequest) -> None:
    await asyncio.sleep(0)
    fail(request)


async def dream(request: SessionRequest) -> None:
    await asyncio.Future()


def timed_out(request: SessionRequest) -> None:
    # Whatever it asked took too long, which is its failure and not the time that it has.
    raise TimeoutError


@pytest.mark.parametrize(
    ("hook", "status", "level", "words"),
    [
        (refuse, 401, "INFO", "401: no token"),
        (refuse_later, 401, "INFO", "401: no token"),
        (fail, 500, "ERROR", "its hook failed"),
        (fail_later, 500, "ERROR", "its hook failed"),
        (dream, 503, "WARNING", "its hook takes too long"),
        (timed_out, 500, "ERROR", "its hook failed"),
    ],
)
def test_a_hook_that_does_not_say_yes(hook, status, level, words, caplog):
    caplog.set_level(logging.INFO, "jetstream")

    async def main() -> None:
        asked = await ask(sessions(authenticate=hook, limits=SWIFT), "/", "token=secret")
        assert asked.refused == status
        assert not asked.accepted

    run(main)
    (record,) = caplog.records
    assert record.levelname == level
    assert words in record.getMessage()
    assert "secret" not in caplog.text


def test_nobody_is_asked_about_pages_that_may_not_or_paths_that_are_not():
    async def main() -> None:
        taking = sessions(authenticate=fail)
        page = (b"origin", b"https://evil.example")
        assert (await ask(taking, "/", "", page)).refused == 403
        assert (await ask(taking, "/rs.jetstream.proto/none")).refused == 404

    run(main)


def test_a_token_that_has_expired():
    def decide(request: SessionRequest) -> TokenPeer:
        return TokenPeer("ada", expires=datetime.now(UTC) - timedelta(seconds=1))

    async def main() -> None:
        asked = await ask(sessions(authenticate=decide))
        assert asked.refused == 401
        assert not asked.accepted

    run(main)


def test_a_token_that_expires_ends_the_session():
    def decide(request: SessionRequest) -> TokenPeer:
        return TokenPeer("ada", expires=datetime.now(UTC) + timedelta(milliseconds=50))

    async def main() -> None:
        asked = await ask(sessions(authenticate=decide))
        assert asked.accepted
        await asked.session.over.wait()
        assert asked.session.closed == [(401, b"the token has expired")]

    run(main)


# ---- by certificate ----


def test_certificates_in_urls():
    ca = ThrowawayCA()
    issued = ca.authority.issue(["ada.example"], usage=Usage.CLIENT, common_name="ada", days=1)
    query = "cert=" + quote(base64.b64encode(issued.certificate_der))

    async def main() -> None:
        taking = sessions(danger_certificate_in_url=ca.ca_pem)
        peer = (await ask(taking, "/", query)).session.peer
        assert isinstance(peer, TlsPeer)
        assert peer.leaf.common_name == "ada"
        assert (await ask(taking, "/", "cert=garbage")).refused == 400
        assert (await ask(taking, "/", "cert=")).refused == 400
        # Nobody has to show one: the hook, and what stands around methods, decides.
        assert (await ask(taking, "/")).session.peer is None
        # The hook has the last word.
        named = sessions(
            danger_certificate_in_url=ca.ca_pem, authenticate=lambda _: TokenPeer("grace")
        )
        assert (await ask(named, "/", query)).session.peer == TokenPeer("grace")
        silent = sessions(danger_certificate_in_url=ca.ca_pem, authenticate=lambda _: None)
        assert (await ask(silent, "/", query)).session.peer == peer
        # By itself nothing in a URL says who somebody is.
        assert (await ask(sessions(), "/", query)).session.peer is None
        assert (await ask(sessions(), "/", "cert=garbage")).session.peer is None

    run(main)


# ---- afterwards ----


def test_whoever_wants_to_know_of_sessions_on_which_services_are_called():
    told: list[Any] = []

    async def main() -> None:
        taking = sessions(on_session=told.append, handlers={"/mine": leave})
        await ask(taking)
        assert told == ["a session"]
        await ask(taking, "/mine")
        await ask(taking, "/rs.jetstream.proto/none")
        assert len(told) == 1

    run(main)


def test_the_access_log():
    told: list[tuple[str, bytes, int]] = []

    def access(scope: Mapping[str, Any], status: int) -> None:
        told.append((scope["path"], scope["query_string"], status))

    async def main() -> None:
        taking = sessions(access=access, handlers={"/mine": leave})
        await ask(taking, "/", "token=secret")
        await ask(taking, "/mine")
        await ask(taking, "/rs.jetstream.proto/none", "token=secret")
        assert told == [
            ("/", b"", 200),
            ("/mine", b"", 200),
            ("/rs.jetstream.proto/none", b"", 404),
        ]

    run(main)


def test_a_session_that_nobody_waits_for_any_more():
    async def unexpected(ctx: Context, session: WebTransportSession) -> None:
        raise AssertionError

    async def main() -> None:
        taking = sessions(
            on_session=unexpected, handlers={"/mine": unexpected}, authenticate=lambda _: None
        )
        for path in ("/", "/mine"):
            asked = await ask(taking, path, gone=True)
            assert asked.accepted
            assert asked.refused is None

    run(main)


def test_a_handler_gets_its_session_and_ends_with_it():
    seen: list[Any] = []

    async def handle(ctx: Context, session: WebTransportSession) -> None:
        seen.append((ctx.method, ctx.peer, session.request.path, session.request.token))
        with pytest.raises(RuntimeError, match="no connection on which services are called"):
            _ = ctx.session

    async def main() -> None:
        taking = sessions(handlers={"/mine": handle}, authenticate=lambda _: TokenPeer("ada"))
        asked = await ask(taking, "/mine", "token=x")
        assert seen == [("WebTransport /mine", TokenPeer("ada"), "/mine", "x")]
        assert asked.session.closed == [(0, b"")]

    run(main)


@pytest.mark.parametrize(
    ("error", "level"), [(ConnectionLost("gone"), "INFO"), (ValueError("oh"), "ERROR")]
)
def test_a_handlers_failure_is_the_logs_business(error, level, caplog):
    caplog.set_level(logging.INFO, "jetstream")

    async def handle(ctx: Context, session: WebTransportSession) -> None:
        raise error

    async def main() -> None:
        asked = await ask(sessions(handlers={"/mine": handle}), "/mine")
        assert asked.session.closed == [(0, b"")]

    run(main)
    (record,) = caplog.records
    assert record.levelname == level


def test_a_server_that_stops_refuses_who_waits_and_ends_handlers():
    ended: list[str] = []

    async def handle(ctx: Context, session: WebTransportSession) -> None:
        try:
            await asyncio.Future()
        finally:
            ended.append(session.request.path)

    async def main() -> None:
        taking = sessions(authenticate=dream)
        waiting: Any = Asked()
        taking(scope(), waiting)
        handling = sessions(handlers={"/mine": handle})
        accepted: Any = Asked()
        handling(scope("/mine"), accepted)
        await accepted.answered.wait()
        await asyncio.sleep(0)
        await taking.close()
        await handling.close()
        assert waiting.refused == 503
        assert ended == ["/mine"]
        assert accepted.session.closed == [(0, b"")]
        # Once more is no mistake.
        await taking.close()

    run(main)
