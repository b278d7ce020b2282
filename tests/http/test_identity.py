"""Who asks: the TLS extension of ASGI, mutual TLS, and `JetStreamContext`."""

from __future__ import annotations

import ssl
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from jetstream import Context, TlsPeer
from jetstream._identity import Certificate
from jetstream.http import JetStreamContext
from jetstream.testing import ThrowawayCA

from tests.helpers import authority, client_identity, run, server_identity
from tests.http.serving import SPOKEN, client, respond, served, server, ssl_context, tls

SECURE = ("https", "h2", "h3")


def first_pem(chain: bytes) -> str:
    end = b"-----END CERTIFICATE-----\n"
    return (chain.partition(end)[0] + end).decode()


async def seen_by(version: str, issued: Any, **options: Any) -> Any:
    """The scope of a request with a certificate."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await respond(b"ok")(scope, receive, send)

    async with (
        server(app, tls=tls(**options), lifespan="off") as running,
        client(version, running, issued) as asking,
    ):
        assert (await asking.get("/")).text == "ok"
        context = JetStreamContext.from_scope(seen[0])
        assert isinstance(context, Context)
        return seen[0], context, context.peer, context.protocol, context.remote


@pytest.mark.parametrize("version", SECURE)
@pytest.mark.parametrize("auth", ["none", "optional", "required"])
@pytest.mark.parametrize("shows", [False, True])
def test_every_field_of_the_extension(version: str, auth: str, shows: bool) -> None:
    if auth == "required" and not shows:
        pytest.skip("does not come about")
    issued = client_identity() if shows else None
    ca = None if auth == "none" else authority().ca_pem

    async def main() -> None:
        scope, context, peer, protocol, remote = await seen_by(
            version, issued, client_ca=ca, client_auth=auth
        )
        told = scope["extensions"]["tls"]
        assert set(told) == {
            "server_cert",
            "client_cert_chain",
            "client_cert_name",
            "client_cert_error",
            "tls_version",
            "cipher_suite",
        }
        assert told["server_cert"] == first_pem(server_identity().chain_pem)
        assert told["tls_version"] == 0x0304
        assert told["cipher_suite"] in (0x1301, 0x1302, 0x1303)
        assert told["client_cert_error"] is None
        if issued is not None and auth != "none":
            leaf = Certificate.from_der(issued.certificate_der)
            assert told["client_cert_chain"][0] == first_pem(issued.chain_pem)
            assert told["client_cert_name"] == leaf.subject
            assert leaf.subject.startswith("CN=ada,")
            assert isinstance(peer, TlsPeer)
            assert peer.leaf == leaf
        else:
            assert told["client_cert_chain"] == []
            assert told["client_cert_name"] is None
            assert peer is None
        assert protocol == {"https": "http/1.1"}.get(version, version)
        assert str(remote.ip) == "127.0.0.1"
        assert context.early is False
        assert context.http_version == SPOKEN[version]
        assert context.method == "GET /"

    run(main)


@pytest.mark.parametrize("version", SECURE)
@pytest.mark.parametrize("case", ["none", "wrong", "expired", "revoked", "good"])
def test_who_is_let_in(version: str, case: str) -> None:
    ca = authority()
    good = client_identity()
    revoked = ca.issue_client("eve")
    ca.revoke(revoked)
    options: dict[str, Any] = {"client_ca": ca.ca_pem, "client_crls": ca.crl_pem}
    issued = {
        "none": lambda: None,
        "wrong": lambda: ThrowawayCA().issue_client("ada"),
        "expired": lambda: ca.expired_client("ada"),
        "revoked": lambda: revoked,
        "good": lambda: good,
    }[case]()

    async def main() -> None:
        called: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            called.append(scope)
            await respond(b"ok")(scope, receive, send)

        async with (
            server(app, tls=tls(**options), lifespan="off") as running,
            client(version, running, issued) as asking,
        ):
            if case == "good":
                assert (await asking.get("/")).text == "ok"
            else:
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await asking.get("/")
                assert called == []
                async with client(version, running, good) as other:
                    assert (await other.get("/")).text == "ok"

    run(main)


def test_as_a_dependency_of_fastapi() -> None:
    app = FastAPI()

    @app.get("/who")
    async def who(ctx: Annotated[JetStreamContext, Depends()]) -> dict[str, str]:
        assert isinstance(ctx.peer, TlsPeer)
        return {"name": ctx.peer.leaf.common_name or "", "version": ctx.http_version}

    @app.websocket("/who")
    async def talk(
        websocket: WebSocket, ctx: Annotated[JetStreamContext, Depends(JetStreamContext)]
    ) -> None:
        await websocket.accept()
        assert isinstance(ctx.peer, TlsPeer)
        await websocket.send_text(f"{ctx.method} {ctx.peer.leaf.common_name}")

    async def main() -> None:
        from websockets.asyncio.client import connect

        secure = tls(client_ca=authority().ca_pem)
        async with server(app, tls=secure) as running:
            for version in SECURE:
                async with client(version, running, client_identity()) as asking:
                    told = (await asking.get("/who")).json()
                    assert told == {"name": "ada", "version": SPOKEN[version]}
            where = f"wss://{running.tcp_address}/who"
            async with connect(where, ssl=ssl_context(client_identity())) as websocket:
                assert await websocket.recv() == "WebSocket /who ada"
            assert "/who" in app.openapi()["paths"]

    run(main)


def test_a_request_of_another_server_has_none() -> None:
    scope = {"type": "http", "headers": [], "path": "/", "http_version": "1.1"}
    with pytest.raises(RuntimeError, match=r"not served by jetstream\.http"):
        JetStreamContext.from_scope(scope)


def test_without_tls_nobody_is_proved() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        context = JetStreamContext.from_scope(scope)
        assert context.peer is None
        assert context.protocol is None
        assert "tls" not in scope["extensions"]
        await respond(b"ok")(scope, receive, send)

    async def main() -> None:
        async with served("http", app, lifespan="off") as (_, asking):
            assert (await asking.get("/")).text == "ok"

    run(main)


@pytest.mark.parametrize("named", [True, False])
def test_whoever_stands_behind_a_proxy_is_not_the_proxy(named: bool) -> None:
    """Its certificate is not its client's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        peer = JetStreamContext.from_scope(scope).peer
        await respond(b"nobody" if peer is None else b"somebody")(scope, receive, send)

    async def main() -> None:
        trusted = ["127.0.0.1"] if named else []
        secure = tls(client_ca=authority().ca_pem)
        options: dict[str, Any] = {"lifespan": "off", "forwarded_allow_ips": trusted}
        async with server(app, tls=secure, **options) as running:
            for version in SECURE:
                async with client(version, running, client_identity()) as asking:
                    said = await asking.get("/", headers={"x-forwarded-for": "192.0.2.1"})
                    assert said.text == ("nobody" if named else "somebody")

    run(main)
