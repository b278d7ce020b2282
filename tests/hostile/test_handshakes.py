"""Handshakes that must fail: who refused what, in words, on both sides, and nobody else harmed."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from jetstream import (
    Client,
    ClientTls,
    ConnectError,
    ConnectTimeout,
    NoSharedProtocol,
    ServerTls,
    TlsConfigError,
    TlsError,
    connect,
)
from jetstream.testing import ThrowawayCA

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import (
    anonymous_tls,
    authority,
    client_identity,
    client_tls,
    join,
    run,
    serve,
    server_identity,
    server_tls,
)


def stranger() -> ClientTls:
    """A client with a certificate of an authority that nobody here trusts."""
    issued = ThrowawayCA("Somebody Else").issue_client("mallory")
    return client_tls(issued)


REFUSED_CLIENTS = {
    "no certificate": (anonymous_tls, "certificate_required", "none was presented"),
    "another authority": (stranger, "unknown_ca", "client certificate rejected"),
    "expired": (
        lambda: client_tls(authority().expired_client()),
        "certificate_expired",
        "expired",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CLIENTS)
def test_a_client_that_the_server_refuses(case: str, caplog: pytest.LogCaptureFixture) -> None:
    make, reason, words = REFUSED_CLIENTS[case]

    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as bystander:
            with pytest.raises(TlsError) as caught:
                async with join(server, tls=make()):
                    pass
            assert words in str(caught.value)
            assert "client certificate" in str(caught.value)
            assert caught.value.reason == reason
            assert await bystander.channel(Echo).echo("on") == "on"
            async with join(server) as newcomer:
                assert await newcomer.channel(Echo).echo("in") == "in"

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert "handshake with 127.0.0.1:" in caplog.text
    assert words in caplog.text


def test_a_server_of_another_authority() -> None:
    async def main() -> None:
        other = ThrowawayCA("Somebody Else").issue_server()
        async with serve(EchoImpl(), tls=server_tls(other)) as server:
            with pytest.raises(TlsError) as caught:
                async with join(server):
                    pass
            assert "server certificate rejected" in str(caught.value)
            assert "Somebody Else" in str(caught.value)
            assert caught.value.reason == "unknown_issuer"

    run(main)


def test_an_expired_server() -> None:
    async def main() -> None:
        expired = authority().expired_server()
        async with serve(EchoImpl(), tls=server_tls(expired)) as server:
            with pytest.raises(TlsError) as caught:
                async with join(server):
                    pass
            assert "expired" in str(caught.value)
            assert caught.value.reason == "expired"
            assert str(expired.certificate.not_valid_after_utc.date()) in str(caught.value)

    run(main)


def test_a_server_of_another_name() -> None:
    async def main() -> None:
        other = authority().issue_server("elsewhere.example")
        async with serve(EchoImpl(), tls=server_tls(other)) as server:
            with pytest.raises(TlsError) as caught:
                async with join(server, server_name="wanted.example"):
                    pass
            assert caught.value.reason == "name_mismatch"
            assert "wanted.example" in str(caught.value), "what was asked for"
            assert "elsewhere.example" in str(caught.value), "what was presented"
            async with join(server, server_name="elsewhere.example") as session:
                assert await session.channel(Echo).echo("in") == "in"

    run(main)


def test_certificates_made_for_the_other_side() -> None:
    async def main() -> None:
        async with serve(EchoImpl(), tls=server_tls(client_identity())) as server:
            with pytest.raises(TlsError, match=r"(?s)server certificate rejected.*client auth"):
                async with join(server, server_name="ada.example"):
                    pass
        async with serve(EchoImpl()) as server:
            with pytest.raises(TlsError, match=r"(?s)client certificate rejected.*server auth"):
                async with join(server, tls=client_tls(server_identity())):
                    pass

    run(main)


def test_no_protocol_in_common_lists_both_sides(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as bystander:
            async with Client(client_tls(), alpns=["chat", "h3"]) as client:
                with pytest.raises(NoSharedProtocol) as caught:
                    await client.connect(server.address, "localhost")
            told = str(caught.value)
            assert "chat" in told
            assert "h3" in told
            assert "jetstream" in told
            assert isinstance(caught.value, ConnectError)
            assert await bystander.channel(Echo).echo("on") == "on"

    with caplog.at_level(logging.INFO, "jetstream"):
        run(main)
    assert "chat" in caplog.text


def test_no_protocol_in_common_is_data_too() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, Client(client_tls(), alpns=["chat"]) as client:
            with pytest.raises(NoSharedProtocol) as caught:
                await client.connect(server.address, "localhost")
            assert caught.value.offered == ("chat",)

    run(main)


def test_a_silent_port_is_given_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
            with pytest.raises(ConnectTimeout) as caught:
                await connect(("127.0.0.1", port), tls=client_tls(), timeout=0.1)
            told = str(caught.value)
            assert f"127.0.0.1:{port}" in told
            assert "0.1 s" in told
            assert "UDP" in told
            assert isinstance(caught.value, TimeoutError)
            assert silent.recv(2000), "something was sent"

    run(main)


@pytest.mark.slow
def test_a_silent_port_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectTimeout):
                await connect(silent.getsockname(), tls=client_tls(), timeout=1.1)

    with caplog.at_level(logging.WARNING, "jetstream"):
        run(main)
    assert "is UDP blocked" in caplog.text


def test_an_unknown_host_and_a_bad_address() -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match=r"no\.such\.invalid"):
            await connect("no.such.invalid:1", tls=client_tls(), timeout=10)
        for address in ("localhost", "localhost:x", "localhost:70000", ":1", "::1:5"):
            with pytest.raises(ValueError, match=r"port|address"):
                await connect(address, tls=client_tls())

    run(main)


def test_a_port_in_use() -> None:
    async def main() -> None:
        async with serve(EchoImpl()) as server, join(server) as bystander:
            port = server.address.port
            second = serve(EchoImpl(), port=port)
            with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}.*another port"):
                await second.start()
            assert await bystander.channel(Echo).echo("on") == "on"

    run(main)


def test_an_address_that_is_not_ours() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"203\.0\.113\.1"):
            await serve(EchoImpl(), host="203.0.113.1").start()

    run(main)


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    note = tmp_path / "note.pem"
    note.write_text("buy milk")
    missing = tmp_path / "missing.pem"

    async def main() -> None:
        key = server_identity().key_pem
        for path in (note, missing):
            with pytest.raises((TlsConfigError, OSError), match=path.name):
                await serve(EchoImpl(), tls=ServerTls(path, key)).start()
            with pytest.raises((TlsConfigError, OSError), match=path.name):
                connect("localhost:1", tls=ClientTls(ca=path))

    run(main)


def test_a_key_of_another_certificate() -> None:
    async def main() -> None:
        tls = ServerTls(server_identity().chain_pem, client_identity().key_pem)
        with pytest.raises(TlsConfigError, match=r"(?i)key.*(belong|match|certificate)"):
            await serve(EchoImpl(), tls=tls).start()

    run(main)
