"""The server around an application: start and stop, proxies, the access log, Alt-Svc."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from typing import Any, Protocol

import httpx
import pytest
from jetstream import ClientTls, ClosedError, Router, Server, connect, service
from jetstream._errors import StartupFailed
from jetstream._forwarded import Forwarded, TrustedProxies
from jetstream.http import AltSvcMiddleware, H3Service, HttpOptions, HttpServer

from tests.helpers import authority, run, server_identity
from tests.http.h3_transport import Http3Transport
from tests.http.serving import SPOKEN, client, respond, served, server, tls
from tests.http.tunnels import connected

OK = respond(b"ok")

# ---- lifespan ----


def lifespan_app(told: list[Any], *, startup: str = "complete") -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await respond(b"ok")(scope, receive, send)
            return
        scope["state"]["made"] = True
        for what in ("startup", "shutdown"):
            assert await receive() == {"type": f"lifespan.{what}"}
            told.append(what)
            outcome = startup if what == "startup" else "complete"
            await send({"type": f"lifespan.{what}.{outcome}", "message": "no database"})
            if outcome == "failed":
                return

    return app


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_the_application_starts_and_stops_with_its_server(mode: str, loop: str) -> None:
    told: list[Any] = []

    async def main() -> None:
        async with served("http", lifespan_app(told), lifespan=mode) as (_, client):
            assert told == ["startup"]
            assert (await client.get("/")).text == "ok"
        assert told == ["startup", "shutdown"]

    run(main, loop=loop)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_fails(mode: str) -> None:
    async def main() -> None:
        with pytest.raises(StartupFailed, match="no database"):
            await server(lifespan_app([], startup="failed"), lifespan=mode).start()

    run(main)


@pytest.mark.parametrize("seconds", [30, 0])
def test_a_server_that_is_closed_while_its_application_starts(seconds: float, loop: str) -> None:
    told: list[Any] = []

    async def main() -> None:
        begun, gate = asyncio.Event(), asyncio.Event()
        inner = lifespan_app(told)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await gate.wait()
            await inner(scope, receive, send)

        running = server(app, lifespan="on")
        starting = asyncio.ensure_future(running.start())
        await begun.wait()
        closing = asyncio.ensure_future(running.close(graceful_timeout=seconds))
        if not seconds:
            # It is not waited for then, and does not listen all the same.
            await closing
        await asyncio.sleep(0)
        assert closing.done() is not bool(seconds)
        gate.set()
        with pytest.raises(ClosedError, match="closed while it started"):
            await starting
        await closing
        assert told == ["startup", "shutdown"]
        assert repr(running).endswith("not listening>")

    run(main, loop=loop)


def test_an_application_without_lifespan() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await OK(scope, receive, send)

    async def main() -> None:
        for mode in ("auto", "off"):
            async with served("http", app, lifespan=mode) as (_, client):
                assert (await client.get("/")).text == "ok"
        with pytest.raises(StartupFailed, match="does not take part") as caught:
            await server(app, lifespan="on").start()
        assert isinstance(caught.value.__cause__, AssertionError)

    run(main)


def test_a_request_in_flight_is_answered_before_the_end(loop: str) -> None:
    async def main() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await go.wait()
            await OK(scope, receive, send)

        async with served("http", app, lifespan="off") as (running, client):
            asking = asyncio.ensure_future(client.get("/"))
            await begun.wait()
            closing = asyncio.ensure_future(running.close())
            await asyncio.sleep(0)
            go.set()
            assert (await asking).text == "ok"
            await closing

    run(main, loop=loop)


def test_one_that_does_not_end_is_cut_off() -> None:
    async def main() -> None:
        begun, over = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                over.set()

        async with served("http", app, lifespan="off", graceful_timeout=0.05) as (running, client):
            asking = asyncio.ensure_future(client.get("/"))
            await begun.wait()
            await running.close()
            await over.wait()
            with pytest.raises(httpx.TransportError):
                await asking

    run(main)


# ---- where ----


def test_plain_http_is_for_this_machine() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="danger_plaintext"):
            await server(OK, host="0.0.0.0", lifespan="off").start()
        async with server(OK, host="0.0.0.0", lifespan="off", danger_plaintext=True):
            pass

    run(main)
    with pytest.raises(TypeError, match="nowhere"):
        HttpServer(OK, port=None)


def test_settings_that_cannot_be() -> None:
    for wrong in (
        {"lifespan": "maybe"},
        {"proxy_headers": "x"},
        {"root_path": "api"},
        {"root_path": "/api/"},
        {"forwarded_allow_ips": ["proxy.example"]},
    ):
        with pytest.raises(ValueError, match=r"write|begins"):
            HttpOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sequence"):
        HttpOptions(forwarded_allow_ips="10.0.0.1")


# ---- proxies ----


@pytest.mark.parametrize(
    ("trusted", "how", "headers", "client", "scheme"),
    [
        (["10.0.0.1"], "x-forwarded", {"x-forwarded-for": "1.2.3.4"}, "127.0.0.1", "http"),
        (["127.0.0.1"], "x-forwarded", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4", "http"),
        (
            ["127.0.0.0/8", "10.0.0.0/8"],
            "x-forwarded",
            {"x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.1.1.1", "x-forwarded-proto": "https"},
            "1.2.3.4",
            "https",
        ),
        (
            ["127.0.0.1", "10.0.0.1"],
            "x-forwarded",
            {"x-forwarded-for": "1.2.3.4, 10.0.0.1", "x-forwarded-proto": "https, http"},
            "1.2.3.4",
            "https",
        ),
        (["*"], "x-forwarded", {"x-forwarded-for": "9.9.9.9, 1.2.3.4"}, "9.9.9.9", "http"),
        (["127.0.0.1"], "x-forwarded", {"forwarded": "for=6.6.6.6"}, "127.0.0.1", "http"),
        (["127.0.0.1"], "x-forwarded", {"x-forwarded-proto": "gopher"}, "127.0.0.1", "http"),
        (["127.0.0.1"], "x-forwarded", {"x-forwarded-for": "unknown"}, None, "http"),
        (["127.0.0.1"], "forwarded", {"x-forwarded-for": "6.6.6.6"}, "127.0.0.1", "http"),
        (
            ["127.0.0.1"],
            "forwarded",
            {"forwarded": 'for=6.6.6.6, for="[2001:db8::1]:4711";proto=https;host="a,b"'},
            "2001:db8::1",
            "https",
        ),
        (
            ["127.0.0.1"],
            "forwarded",
            {"forwarded": "for=_hidden;proto=https"},
            None,
            "https",
        ),
    ],
)
def test_what_proxies_say(
    trusted: list[str], how: str, headers: dict[str, str], client: str | None, scheme: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        told = json.dumps([scope["client"] and scope["client"][0], scope["scheme"]]).encode()
        await respond(told)(scope, receive, send)

    async def main() -> None:
        options = {"forwarded_allow_ips": trusted, "proxy_headers": how, "lifespan": "off"}
        async with served("http", app, **options) as (_, asking):
            assert (await asking.get("/", headers=headers)).json() == [client, scheme]

    run(main)


def test_a_websocket_behind_a_proxy() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], scope["client"]))

    async def main() -> None:
        headers = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"1.2.3.4:99")]
        scope = {"type": "websocket", "scheme": "ws", "client": None, "headers": headers}
        around = Forwarded(app, TrustedProxies(["unix"]), "x-forwarded")
        await around(scope, None, None)  # type: ignore[arg-type]

    run(main)
    assert seen == [("wss", ("1.2.3.4", 99))]


# ---- access log ----


@pytest.mark.parametrize("version", ["http", "h2", "h3"])
def test_a_line_for_each_request(version: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fail":
            raise ZeroDivisionError
        if scope["path"] == "/wait":
            await asyncio.sleep(0)
        await respond(status=404)(scope, receive, send)

    async def main() -> None:
        caplog.set_level(logging.INFO, "jetstream.access")
        async with served(version, app, access_log=True, lifespan="off") as (_, client):
            await client.get("/a%20b?c=d")
            await client.post("/wait")
            await client.get("/fail")

    run(main)
    lines = [each.getMessage() for each in caplog.records if each.name == "jetstream.access"]
    spoken = SPOKEN[version]
    assert [line.partition(" - ")[2] for line in lines] == [
        f'"GET /a%20b?c=d HTTP/{spoken}" 404',
        f'"POST /wait HTTP/{spoken}" 404',
        f'"GET /fail HTTP/{spoken}" 500',
    ]
    assert all(line.startswith("127.0.0.1:") for line in lines)


def test_a_line_for_what_the_server_refuses_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await leave.wait()
        await OK(scope, receive, send)

    async def main() -> None:
        caplog.set_level(logging.INFO, "jetstream.access")
        options = {"access_log": True, "lifespan": "off", "concurrency": 1}
        async with (
            server(app, tls=tls(), **options) as running,
            connected("h2", running) as connection,
        ):
            for tunnel in (
                connection.tunnel("/old", version="8"),
                connection.tunnel("/other", protocol="foo"),
                connection.tunnel("/names", [("sec-websocket-protocol", ",,a b")]),
            ):
                await tunnel.head
            first = connection.get("/first")
            await entered.wait()
            assert (await connection.get("/second?a=b").head)[":status"] == "503"
            leave.set()
            await first.head

    entered, leave = asyncio.Event(), asyncio.Event()
    run(main)
    lines = [each.getMessage() for each in caplog.records if each.name == "jetstream.access"]
    assert [line.partition(" - ")[2] for line in lines] == [
        '"GET /old HTTP/2" 426',
        '"CONNECT /other HTTP/2" 501',
        '"GET /names HTTP/2" 400',
        '"GET /second?a=b HTTP/2" 503',
        '"GET /first HTTP/2" 200',
    ]


def test_none_is_written_unasked(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.INFO, "jetstream.access")
        async with served("http", OK, lifespan="off") as (_, client):
            await client.get("/")

    run(main)
    assert not [each for each in caplog.records if each.name == "jetstream.access"]


# ---- Alt-Svc ----


@pytest.mark.parametrize("version", ["http", "h2"])
def test_where_http3_is_spoken(version: str) -> None:
    async def main() -> None:
        app = AltSvcMiddleware(respond(headers=[(b"Alt-Svc", b"clear")]), 4433)
        async with served(version, app, lifespan="off") as (_, client):
            assert (await client.get("/")).headers["alt-svc"] == 'h3=":4433"; ma=86400'
        other = AltSvcMiddleware.with_value(OK, 'h3="other:1"')
        async with served(version, other, lifespan="off") as (_, client):
            assert (await client.get("/")).headers["alt-svc"] == 'h3="other:1"'

    run(main)


def test_over_http3_nothing_is_added() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        scope = {"type": "http", "http_version": "3"}
        await AltSvcMiddleware(OK, 4433)(scope, None, send)  # type: ignore[arg-type]

    run(main)
    assert not list(sent[0]["headers"])


@pytest.mark.parametrize("version", ["https", "h2", "h3"])
def test_the_server_tells_of_its_own_http3(version: str) -> None:
    async def main() -> None:
        async with served(version, OK, lifespan="off") as (running, asking):
            said = (await asking.get("/")).headers.get("alt-svc")
            own = f'h3=":{running.address.port}"; ma=86400'
            assert said == (None if version == "h3" else own)
        for silent in ({"alt_svc": False}, {"http3": False}):
            if version == "h3" and silent == {"http3": False}:
                continue
            async with served(version, OK, lifespan="off", **silent) as (_, asking):
                assert "alt-svc" not in (await asking.get("/")).headers

    run(main)


# ---- what is not spoken ----


@pytest.mark.parametrize("place", ["tcp", "unix"])
@pytest.mark.parametrize("http2", [True, False])
def test_http2_without_tls_is_for_those_who_begin_with_it(
    place: str, http2: bool, tmp_path: Any
) -> None:
    """By prior knowledge (RFC 9113, section 3.3), unless HTTP/2 is off."""
    path = str(tmp_path / "web.sock")

    async def main() -> None:
        where = {"port": 0} if place == "tcp" else {"port": None, "unix": path}
        async with server(OK, lifespan="off", http2=http2, **where) as running:
            assert ("HTTP/2" in repr(running)) == http2
            if place == "tcp":
                port = running.tcp_address.port
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            else:
                reader, writer = await asyncio.open_unix_connection(path)
            settings = b"\0\0\0\4\0\0\0\0\0"
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
            first = await reader.read(5)
            # A frame of settings, or an answer of HTTP/1.1 that refuses, or nothing.
            assert (first[3:4] == b"\4") == http2, first
            writer.close()

    run(main)


# ---- HTTP/3 as an entry of a router ----


@service
class Echo(Protocol):
    async def echo(self, message: str) -> str: ...


class EchoImpl(Echo):
    async def echo(self, message: str) -> str:
        return message


class Living:
    """An application that says which life it is in."""

    def __init__(self) -> None:
        self.life: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{what}"
                self.life.append(what)
                await send({"type": f"lifespan.{what}.complete"})
            return
        self.life.append(scope["http_version"])
        await respond(b"entry")(scope, receive, send)


def test_an_entry_of_a_router_beside_services() -> None:
    """As the protocol's document has it: on one QUIC port services and HTTP/3, each by its name."""
    app = Living()

    async def main() -> None:
        entry = H3Service(app).with_handler(EchoImpl())
        assert [each.definition.name for each in entry.router.services] == ["echo"]
        router = Router(EchoImpl(), entry)
        assert router.alpns()[-1] == "h3"
        trust = ClientTls(authority().ca_pem)
        async with Server(router, tls=tls(), port=0) as running:
            where = f"https://{running.address}"
            transport = Http3Transport(authority().ca_pem)
            async with httpx.AsyncClient(base_url=where, transport=transport) as asking:
                assert (await asking.get("/")).text == "entry"
                assert (await asking.post("/echo/echo", json={"message": "hi"})).json() == "hi"
            async with connect(str(running.address), tls=trust) as session:
                assert await session.channel(Echo).echo("lanes") == "lanes"

    run(main)
    assert app.life == ["startup", "3", "shutdown"]


def test_an_entry_of_its_own_beside_an_application() -> None:
    app = Living()

    async def main() -> None:
        options = {"router": Router(H3Service(app)), "tls": tls(), "lifespan": "off"}
        async with server(OK, **options) as running:
            async with client("h2", running) as asking:
                said = await asking.get("/")
                assert said.text == "ok"
                assert f":{running.address.port}" in said.headers["alt-svc"]
            async with client("h3", running) as asking:
                assert (await asking.get("/")).text == "entry"

    run(main)
    assert app.life == ["3"]


def test_an_application_of_a_router_that_cannot_start() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        running = Server(Router(H3Service(app)), tls=tls(), port=0)
        with pytest.raises(StartupFailed, match="no database"):
            await running.start()
        assert running.connections == 0

    run(main)


@pytest.mark.parametrize("name", ["h2", "http/1.1"])
def test_what_is_tcps_is_no_protocol_of_a_router(name: str) -> None:
    class Handler:
        def alpns(self) -> list[str]:
            return [name]

        async def accept(self, ctx: Any, connection: Any) -> None: ...

    with pytest.raises(ValueError, match="HttpServer"):
        Router(Handler())


def test_over_quic_only_http3_is_negotiated() -> None:
    from aioquic.asyncio.client import connect as open_quic
    from aioquic.quic.configuration import QuicConfiguration

    async def main() -> None:
        async with server(OK, tls=tls(), lifespan="off") as running:
            for alpn, agreed in (("h2", False), ("h3", True)):
                wanted = QuicConfiguration(alpn_protocols=[alpn], server_name="127.0.0.1")
                wanted.load_verify_locations(cadata=authority().ca_pem)
                opened = open_quic("127.0.0.1", running.address.port, configuration=wanted)
                if agreed:
                    async with opened:
                        pass
                else:
                    with pytest.raises(ConnectionError):
                        async with opened:
                            pass

    run(main)


# ---- the command line ----


def jetstream(*arguments: str, folder: Any, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jetstream", "serve", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


APP = """
import asyncio
from jetstream import Router, service

@service
class Echo:
    async def echo(self, message: str) -> str: ...

class EchoImpl(Echo):
    async def echo(self, message: str) -> str:
        return message

router = Router(EchoImpl())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["root_path"].encode()})

def make():
    return app

async def broken(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


def until_listening(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return line
    raise AssertionError(process.wait())


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Any) -> None:
    (tmp_path / "main.py").write_text(APP)
    issued = server_identity()
    (tmp_path / "chain.pem").write_bytes(issued.chain_pem)
    (tmp_path / "key.pem").write_bytes(issued.key_pem)
    process = jetstream(
        *("main:make", "--factory", "--router", "main:router", "--tls-cert", "chain.pem"),
        *("--ssl-keyfile", "key.pem", "--root-path", "/api", "--header", "x-by:us"),
        folder=tmp_path,
        JETSTREAM_SERVE_PORT="0",
    )
    try:
        line = until_listening(process)
        where = line.split("https://")[1].split()[0]
        assert "HTTP/2" in line
        assert f"UDP {where}" in line
        context = __import__("ssl").create_default_context(cadata=authority().ca_pem.decode())
        with httpx.Client(verify=context, http2=True, trust_env=False) as client:
            said = client.get(f"https://{where}/")
            assert (said.text, said.headers["x-by"], said.http_version) == ("/api", "us", "HTTP/2")
            said = client.post(f"https://{where}/echo/echo", json={"message": "hi"})
            assert said.json() == "hi"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert '"POST /api/echo/echo HTTP/2" 200' in rest


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_command_begins_anew_and_nothing_of_it_stays(
    end: signal.Signals, tmp_path: Any
) -> None:
    (tmp_path / "main.py").write_text(APP)
    # Compiled modules are told apart by whole seconds.
    compiled = {"PYTHONDONTWRITEBYTECODE": "1"}
    process = jetstream("main:app", "--port", "0", "--reload", folder=tmp_path, **compiled)
    try:
        until_listening(process)
        (tmp_path / "main.py").write_text(APP.replace("200", "404"))
        where = until_listening(process).split("http://")[1].split()[0]
        assert httpx.get(f"http://{where}/", trust_env=False).status_code == 404
        process.send_signal(end)
        # Both have its standard error, so it ends with the last of them.
        _, rest = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["main:broken"], 1, "no database"),
        (["main:nothing"], 1, "main has no 'nothing'"),
        (["elsewhere:app"], 1, "no module is called 'elsewhere'"),
        (["main"], 2, "MODULE:NAME"),
        (["main:app", "--client-ca", "x"], 2, "--tls-cert"),
        (["main:app", "--host", "0.0.0.0"], 1, "--danger-plaintext"),
        (["main:app", "--header", "x"], 2, "NAME:VALUE"),
    ],
)
def test_what_cannot_be_served(arguments: list[str], code: int, text: str, tmp_path: Any) -> None:
    (tmp_path / "main.py").write_text(APP)
    process = jetstream(*arguments, "--port", "0", folder=tmp_path)
    _, told = process.communicate(timeout=20)
    assert process.returncode == code
    assert text in told
    assert "Traceback" not in told
