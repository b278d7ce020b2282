"""Who gets a session: pages by their origin, peers by tokens and certificates, and who they are."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from jetstream import (
    INJECTED,
    CallError,
    Client,
    ConnectError,
    ConnectionLost,
    Context,
    Interface,
    Limits,
    Session,
    SessionRefused,
    TlsPeer,
    TokenPeer,
    _sessions,
    service,
)
from jetstream._certs import Usage
from jetstream.http import HttpOptions, HttpServer
from jetstream.interceptors import Authorize
from jetstream.testing import ThrowawayCA
from jetstream.webtransport import RefuseSession, SessionRequest

from tests.e2e.services import Echo, EchoImpl, name_of
from tests.helpers import (
    anonymous_tls,
    client_tls,
    run,
    server_tls,
)
from tests.http.serving import client, tls
from tests.webtransport.site import PAGE, join, opened, page, site, status, stay, url

if TYPE_CHECKING:
    from jetstream.webtransport import WebTransportSession


@service
class Desk(Interface):
    """Who calls, and what only some may."""

    async def whoami(self, ctx: Context = INJECTED) -> str:
        """The caller's name."""
        ...

    async def login(self, token: str, seconds: float, ctx: Context = INJECTED) -> None:
        """Says who calls; for so many seconds, unless they are 0."""
        ...

    async def mistake(self, how: str, ctx: Context = INJECTED) -> None:
        """Says that the caller is what cannot be one."""
        ...

    async def secret(self) -> str:
        """For ada alone."""
        ...


class DeskImpl(Desk):
    """Looks at the context."""

    async def whoami(self, ctx: Context = INJECTED) -> str:
        peer = ctx.peer
        return peer.subject if isinstance(peer, TokenPeer) else name_of(ctx)

    async def login(self, token: str, seconds: float, ctx: Context = INJECTED) -> None:
        ends = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
        ctx.identify(TokenPeer(token, expires=ends))

    async def mistake(self, how: str, ctx: Context = INJECTED) -> None:
        with pytest.raises(TypeError, match="takes a TokenPeer") as told:
            ctx.identify(NOBODIES[how])
        assert "s3cret" not in str(told.value)

    async def secret(self) -> str:
        return "42"


NOBODIES: dict[str, Any] = {
    "false": False,
    "true": True,
    "number": 0,
    "nothing": "",
    "name": "s3cret",
    "mapping": {"sub": "s3cret"},
    "class": TokenPeer,
}
"""What hooks have returned that is neither a peer nor `None`."""

RULES = Authorize({"Desk.secret": ["token:ada", "cn:ada"], "*": ["anybody"]})


def by_token(request: SessionRequest) -> TokenPeer | None:
    """Takes every token but one."""
    if request.token == "bad":
        raise RefuseSession(401, "a bad token")
    return TokenPeer(request.token, {"path": request.path}) if request.token else None


# ---- pages ----


@pytest.mark.parametrize(
    ("origins", "origin", "answer"),
    [
        ((), None, 200),
        ((), "https://127.0.0.1:{port}", 200),
        ((), "https://127.0.0.1", 403),
        ((), "http://127.0.0.1:{port}", 403),
        ((), "https://localhost:{port}", 403),
        ((), "https://evil.example", 403),
        ((), "null", 403),
        (["https://app.example"], "https://app.example", 200),
        (["https://app.example"], "https://app.example:443", 200),
        (["https://app.example"], "https://app.example:444", 403),
        (["https://app.example"], "https://127.0.0.1:{port}", 200),
        (["https://app.example"], None, 200),
        (["http://localhost:5173"], "http://localhost:5173", 200),
        ("*", "https://evil.example", 200),
        ("*", "null", 200),
    ],
)
def test_pages_that_may(origins: Any, origin: str | None, answer: int) -> None:
    async def main() -> None:
        async with site(EchoImpl(), origins=origins) as server:
            headers = {}
            if origin is not None:
                headers["origin"] = origin.format(port=server.address.port)
            assert await status(server, headers=headers) == answer

    run(main)


def test_pages_over_ipv6(loop: str) -> None:
    async def main() -> None:
        options = HttpOptions(lifespan="off")
        async with HttpServer(
            page, router=EchoImpl(), tls=tls(), host="::1", port=0, options=options
        ) as server:
            port = server.address.port
            assert str(server.address) == f"[::1]:{port}"
            for origin, answer in ((f"https://[::1]:{port}", 200), ("https://[::1]", 403)):
                assert await status(server, headers={"origin": origin}) == answer
            async with join(server) as session:
                assert await session.channel(Echo).echo("six") == "six"

    run(main, loop=loop)


# ---- tokens ----


@pytest.mark.parametrize("how", ["url", "bearer"])
def test_a_token_says_who_it_is(how: str, loop: str) -> None:
    async def main() -> None:
        async with site(DeskImpl(), authenticate=by_token, interceptors=[RULES]) as server:
            path = "/?token=ada" if how == "url" else "/"
            headers = {"Authorization": "Bearer ada"} if how == "bearer" else {}
            async with (
                Client(anonymous_tls(), headers=headers) as asking,
                await asking.session(url(server, path)) as session,
            ):
                desk = session.channel(Desk)
                assert await desk.whoami() == "ada"
                assert await desk.secret() == "42"
                (there,) = server.sessions
                assert there.peer == TokenPeer("ada")
                assert isinstance(there.peer, TokenPeer)
                assert there.peer.claims == {"path": "/"}

    run(main, loop=loop)


def test_a_token_that_may_less_or_nothing(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jetstream")

    async def main() -> None:
        async with site(DeskImpl(), authenticate=by_token, interceptors=[RULES]) as server:
            async with join(server, "/?token=grace") as session:
                desk = session.channel(Desk)
                assert await desk.whoami() == "grace"
                with pytest.raises(CallError, match=r"grace may not call Desk\.secret"):
                    await desk.secret()
            async with join(server) as session:
                with pytest.raises(CallError, match="somebody unknown may not"):
                    await session.channel(Desk).secret()
                assert await session.channel(Desk).whoami() == "nobody"
            with pytest.raises(SessionRefused, match=r"did not accept the session.* 401") as told:
                await join(server, "/?token=bad")
            assert told.value.status == 401
            assert "a bad token" in caplog.text

    run(main, loop=loop)


def test_a_token_that_has_expired_before(loop: str) -> None:
    def authenticate(request: SessionRequest) -> TokenPeer:
        return TokenPeer("ada", expires=datetime.now(UTC) - timedelta(seconds=1))

    async def main() -> None:
        async with site(DeskImpl(), authenticate=authenticate) as server:
            assert await status(server) == 401

    run(main, loop=loop)


def test_a_token_that_expires_meanwhile(loop: str) -> None:
    def authenticate(request: SessionRequest) -> TokenPeer:
        return TokenPeer("ada", expires=datetime.now(UTC) + timedelta(seconds=0.4))

    async def main() -> None:
        impl = EchoImpl()
        handlers = {"/mine": stay}
        async with (
            site(impl, authenticate=authenticate, handlers=handlers) as server,
            join(server) as session,
            opened(server, "/mine") as raw,
        ):
            held = asyncio.ensure_future(session.channel(Echo).hold("x"))
            await impl.arrival("x").wait()
            for over in (await session.wait_closed(), await raw.wait_closed()):
                assert isinstance(over, ConnectionLost)
                assert (over.close_code, over.by_peer) == (401, True)
                assert "the token has expired" in str(over)
            with pytest.raises(ConnectionLost):
                await held
            await impl.ended.wait()
            assert impl.cancelled == ["x"]

    run(main, loop=loop)


# ---- the first message ----


def test_the_first_call_says_who_it_is(loop: str) -> None:
    async def main() -> None:
        async with (
            site(DeskImpl(), interceptors=[RULES]) as server,
            join(server) as session,
            join(server) as other,
        ):
            desk = session.channel(Desk)
            with pytest.raises(CallError, match="somebody unknown"):
                await desk.secret()
            await desk.login("ada", 0.0)
            assert await desk.whoami() == "ada"
            assert await desk.secret() == "42"
            # On every lane of the session, and on no other session.
            assert await session.channel(Desk, max_concurrent=3).secret() == "42"
            assert await other.channel(Desk).whoami() == "nobody"
            await desk.login("grace", 0.0)
            with pytest.raises(CallError, match="grace may not"):
                await desk.secret()

    run(main, loop=loop)


def test_who_was_said_to_be_somebody_for_a_while(loop: str) -> None:
    async def main() -> None:
        async with site(DeskImpl()) as server, join(server) as session, join(server) as renewed:
            await session.channel(Desk).login("ada", 0.3)
            await renewed.channel(Desk).login("ada", 0.3)
            await renewed.channel(Desk).login("ada", 3600.0)
            over = await session.wait_closed()
            assert isinstance(over, ConnectionLost)
            assert over.close_code == 401
            assert await renewed.channel(Desk).whoami() == "ada"
            assert renewed.closed is None

    run(main, loop=loop)


@pytest.mark.parametrize("how", [*NOBODIES, "none"])
def test_the_first_call_does_not_say_who_it_is(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NOBODIES, "none", None)

    async def main() -> None:
        rules = Authorize({"Desk.secret": ["authenticated"], "*": ["anybody"]})
        async with site(DeskImpl(), interceptors=[rules]) as server, join(server) as session:
            desk = session.channel(Desk)
            await desk.mistake(how)
            with pytest.raises(CallError, match="somebody unknown"):
                await desk.secret()
            # Who is known stays so.
            await desk.login("ada", 0.0)
            await desk.mistake(how)
            assert await desk.whoami() == "ada"

    run(main)


# ---- hooks ----


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("how", NOBODIES)
def test_hooks_that_name_nobody_let_nobody_in(
    how: str, awaited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> Any:
        return NOBODIES[how]

    def authenticate(request: SessionRequest) -> Any:
        return later() if awaited else NOBODIES[how]

    async def main() -> None:
        async with site(DeskImpl(), authenticate=authenticate, handlers={"/mine": stay}) as server:
            assert await status(server, "/?token=x") == 500
            assert await status(server, "/mine?token=x") == 500

    run(main)
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 2
    said = caplog.text
    assert f"returned an object of type {type(NOBODIES[how]).__name__!r}" in said
    assert "must return a TokenPeer (or another peer)" in said
    assert "s3cret" not in said


def test_a_hook_has_a_timeout_of_its_own(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def authenticate(request: SessionRequest) -> TokenPeer | None:
        raise TimeoutError("the database does not answer")

    async def main() -> None:
        async with site(DeskImpl(), authenticate=authenticate) as server:
            assert await status(server) == 500

    run(main, loop=loop)
    assert "its hook failed" in caplog.text
    assert "in authenticate" in caplog.text, "the traceback"
    assert "TimeoutError: the database does not answer" in caplog.text
    assert "takes too long" not in caplog.text


def test_hooks_that_fail_or_dream(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def authenticate(request: SessionRequest) -> TokenPeer | None:
        await asyncio.sleep(0)
        if request.path == "/fails":
            raise KeyError("hunter2")
        if request.path == "/dreams":
            await asyncio.Future()
        return TokenPeer("ada")

    async def main() -> None:
        limits = Limits(handshake_timeout=0.3)
        async with (
            site(DeskImpl(), authenticate=authenticate, limits=limits) as server,
            join(server) as session,
        ):
            assert await status(server, "/fails") == 500
            assert await status(server, "/dreams") == 503
            assert await session.channel(Desk).whoami() == "ada"
            assert await status(server) == 200

    run(main, loop=loop)
    assert "hunter2" in caplog.text
    assert "its hook takes too long" in caplog.text


def test_whoever_leaves_before_the_hook_has_decided(loop: str) -> None:
    waiting = asyncio.Event()
    go = asyncio.Event()
    told: list[object] = []

    async def authenticate(request: SessionRequest) -> None:
        waiting.set()
        await go.wait()

    async def main() -> None:
        async with site(EchoImpl(), authenticate=authenticate, on_session=told.append) as server:
            asking = asyncio.ensure_future(status(server))
            await waiting.wait()
            asking.cancel()
            await asyncio.wait([asking])
            async with client("h3", server) as other:
                assert (await other.get("/")).content == PAGE
            go.set()
            async with join(server) as session:
                await session.channel(Echo).ping()
                assert len(told) == 1

    run(main, loop=loop)


async def _join(server: HttpServer, path: str = "/") -> Session:
    session: Session = await join(server, path)
    return session


def test_a_server_that_stops_while_a_hook_decides(loop: str) -> None:
    waiting = asyncio.Event()

    async def authenticate(request: SessionRequest) -> None:
        waiting.set()
        await asyncio.Future()

    async def main() -> None:
        async with site(EchoImpl(), authenticate=authenticate, graceful_timeout=0.2) as server:
            asking = asyncio.ensure_future(_join(server))
            await waiting.wait()
            await server.close()
            with pytest.raises(ConnectError, match="shutting down"):
                await asking

    run(main, loop=loop)


def test_a_hook_that_cannot_be_cancelled_does_not_keep_the_server(
    loop: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sessions, "_TO_END", 0.2)
    waiting = asyncio.Event()
    go = asyncio.Event()
    ended = asyncio.Event()

    async def authenticate(request: SessionRequest) -> None:
        waiting.set()
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        ended.set()

    async def main() -> None:
        async with site(EchoImpl(), authenticate=authenticate, graceful_timeout=0.1) as server:
            asking = asyncio.ensure_future(_join(server, "/stubborn?token=s3cret"))
            await waiting.wait()
            try:
                async with asyncio.timeout(5):
                    await server.close()
            finally:
                go.set()
            with pytest.raises(ConnectError, match="shutting down"):
                await asking
            # There is no session for whom it admits after all, and that is no failure of it.
            await ended.wait()
            await asyncio.sleep(0.05)

    run(main, loop=loop)
    assert "WebTransport '/stubborn' was cancelled and still runs after 0.2 s" in caplog.text
    assert "s3cret" not in caplog.text
    assert "failed" not in caplog.text


def test_what_a_hook_sees(loop: str) -> None:
    seen: list[SessionRequest] = []

    async def main() -> None:
        async with site(EchoImpl(), authenticate=seen.append) as server:
            port = server.address.port
            headers = {"Origin": f"https://127.0.0.1:{port}", "x-mine": "1"}
            assert await status(server, "/a%20b?x=1&token=t", headers=headers) == 200
            (request,) = seen
            assert request.path == "/a b"
            assert request.query == {"x": "1", "token": "t"}
            assert request.authority == f"127.0.0.1:{port}"
            assert request.origin == f"https://127.0.0.1:{port}"
            assert request.header("X-Mine") == "1"
            assert request.peer is None
            assert request.remote is not None
            assert str(request.remote.ip) == "127.0.0.1"

    run(main, loop=loop)


def test_the_access_log_has_no_tokens(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "jetstream")

    async def main() -> None:
        options = HttpOptions(lifespan="off", access_log=True)
        async with HttpServer(
            page, router=EchoImpl(), tls=tls(), port=0, options=options
        ) as server:
            assert await status(server, "/x?token=s3cret") == 200
            assert await status(server, "/rs.jetstream.proto/no?token=s3cret") == 404

    run(main, loop=loop)
    assert '"CONNECT /x HTTP/3" 200' in caplog.text
    assert '"CONNECT /rs.jetstream.proto/no HTTP/3" 404' in caplog.text
    assert "s3cret" not in caplog.text


# ---- certificates ----


def in_url(ca: ThrowawayCA, **options: Any) -> str:
    """The path with ada's certificate of an authority, in its query."""
    options = {"usage": Usage.CLIENT, "common_name": "ada", "days": 1} | options
    issued = ca.authority.issue(["ada.example"], **options)
    return "/?cert=" + quote(base64.b64encode(issued.certificate_der))


def test_certificates_in_urls(loop: str) -> None:
    pages = ThrowawayCA("Pages")

    async def main() -> None:
        async with site(
            DeskImpl(), danger_certificate_in_url=pages.ca_pem, interceptors=[RULES]
        ) as server:
            async with join(server, in_url(pages)) as session:
                assert await session.channel(Desk).whoami() == "ada"
                assert await session.channel(Desk).secret() == "42"
                assert isinstance(server.sessions[0].peer, TlsPeer)
            async with join(server) as session:
                assert await session.channel(Desk).whoami() == "nobody"
            assert await status(server, in_url(ThrowawayCA("Pages"))) == 403
            assert await status(server, in_url(pages, days=30)) == 403
            assert await status(server, in_url(pages, usage=Usage.SERVER)) == 403
            assert await status(server, "/?cert=garbage") == 400
            assert await status(server, "/?cert=") == 400
        # By itself nobody believes what is in a URL.
        async with site(DeskImpl()) as server, join(server, in_url(pages)) as session:
            assert await session.channel(Desk).whoami() == "nobody"

    run(main, loop=loop)


def test_mutual_tls_beneath(loop: str) -> None:
    async def main() -> None:
        async with site(
            DeskImpl(),
            tls=server_tls(client_auth="optional"),
            authenticate=by_token,
            interceptors=[RULES],
        ) as server:
            async with join(server, tls=client_tls()) as session:
                desk = session.channel(Desk)
                assert await desk.whoami() == "ada"
                assert await desk.secret() == "42"
                # Whoever has proved who it is does not become somebody else.
                with pytest.raises(CallError):
                    await desk.login("grace", 0.0)
                assert await desk.whoami() == "ada"
            # The hook has the last word.
            async with join(server, "/?token=grace", tls=client_tls()) as session:
                assert await session.channel(Desk).whoami() == "grace"
            async with join(server) as session:
                assert await session.channel(Desk).whoami() == "nobody"

    run(main, loop=loop)


def test_a_hook_sees_the_certificate_of_the_connection(loop: str) -> None:
    seen: list[Any] = []

    def authenticate(request: SessionRequest) -> Any:
        seen.append(request.peer)
        return request.peer

    async def main() -> None:
        async with site(DeskImpl(), tls=server_tls(), authenticate=authenticate) as server:
            async with join(server, tls=client_tls()) as session:
                assert await session.channel(Desk).whoami() == "ada"
            assert isinstance(seen[0], TlsPeer)
            assert seen[0].leaf.common_name == "ada"
            # There TLS itself asks for one.
            with pytest.raises(ConnectError):
                await join(server)

    run(main, loop=loop)


def test_the_handler_of_a_raw_session_knows_who_it_is(loop: str) -> None:
    async def tell(ctx: Context, session: WebTransportSession) -> None:
        stream = await session.open_uni()
        await stream.write(f"{ctx.peer} {session.peer} {ctx.method}".encode())
        stream.finish()
        await session.wait_closed()

    async def main() -> None:
        async with (
            site(handlers={"/mine": tell}, authenticate=by_token) as server,
            opened(server, "/mine?token=ada") as session,
        ):
            told = await (await session.accept_uni()).read_to_end(1000)
            assert told == b"ada, by a token ada, by a token WebTransport /mine"

    run(main, loop=loop)
