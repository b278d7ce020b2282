"""`jetstream serve`: what it refuses at start, and what it says to do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jetstream.cli import app
from jetstream.cli.serve import _application
from jetstream.http import HttpOptions, HttpServer
from jetstream.testing import ThrowawayCA

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "what_is_served"

SOURCE = """
import functools

num = 5

async def app(scope, receive, send): ...

async def with_more(scope, receive, send, extra=None): ...

async def bound(name, scope, receive, send): ...

partial = functools.partial(bound, "name")

def anything(*args, **kwargs): ...

def plain(request): ...

@functools.wraps(plain)
async def decorated(scope, receive, send): ...

class Callable:
    def __init__(self, name="name"): ...
    async def __call__(self, scope, receive, send): ...
    async def method(self, scope, receive, send): ...

instance = Callable()

class Endpoint:
    def __init__(self, scope, receive, send): ...
    def __await__(self): ...

def make(name="name"):
    return app

async def make_async():
    return app

def make_nothing(): ...

def asgi2(scope): ...

def wsgi(environ, start_response): ...

def many(a, b, c, d): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("JETSTREAM_"):
            monkeypatch.delenv(name)
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return tmp_path


def refused(*arguments: str, code: int) -> str:
    """What the command says; an exception that it lets out is the test's."""
    where = [] if arguments[0].startswith(MODULE) else [f"{MODULE}:app"]
    command = ["serve", *where, *arguments]
    result = CliRunner().invoke(app, command, prog_name="jetstream")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    *_, last = result.output.strip().splitlines()
    assert last.startswith("Error: "), result.output
    return last


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num", "is no application, but of type int"),
        ("functools", "is no application, but of type module"),
        ("make", "give --factory"),
        ("make_async", "give --factory"),
        ("Callable", "give --factory"),
        ("asgi2", "guarantee_single_callable"),
        ("wsgi", "a2wsgi"),
        ("many", "name one"),
    ],
)
def test_what_is_no_application(name: str, text: str) -> None:
    assert text in refused(f"{MODULE}:{name}", "--port", "0", code=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num", "makes an application, but of type int"),
        ("app", "leave --factory out"),
        ("make_nothing", "returned is no application, but of type NoneType"),
        ("make_async", "without async"),
    ],
)
def test_what_makes_none(name: str, text: str) -> None:
    assert text in refused(f"{MODULE}:{name}", "--factory", "--port", "0", code=1)


@pytest.mark.parametrize(
    "name",
    [
        *("app", "with_more", "partial", "anything", "decorated"),
        *("instance", "instance.method", "Endpoint"),
    ],
)
def test_what_is_one(name: str) -> None:
    assert callable(_application(f"{MODULE}:{name}", factory=False))


@pytest.mark.parametrize("name", ["make", "Callable"])
def test_what_makes_one(name: str) -> None:
    assert callable(_application(f"{MODULE}:{name}", factory=True))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--uds", "x.sock", "--uds-mode", "-1"], "'-1': write it in octal"),
        (["--uds", "x.sock", "--uds-mode", "10000"], "write it in octal"),
        (["--uds", "x.sock", "--uds-mode", "rw"], "write it in octal"),
        (["--reload", "--reload-dir", "nosuchdir"], "there is no folder 'nosuchdir'"),
        (["--reload", "--app-dir", "nosuchdir"], "there is no folder 'nosuchdir'"),
        (["--limit-concurrency", "-3"], "'-3': write a whole number from 1"),
        (["--limit-concurrency", "0"], "a whole number from 1"),
        (["--limit-head", "1.5"], "a whole number from 1"),
        (["--graceful-timeout", "-1"], "'-1': write seconds, 0 or above"),
        (["--graceful-timeout", "nan"], "'nan': write seconds, 0 or above"),
        (["--timeout-keep-alive", "0"], "'0': write seconds, above 0"),
        (["--tls-key", "x"], "--tls-key: TLS needs a certificate: give --tls-cert"),
        (["--tls-key", "x", "--mtls", "none"], "--tls-key: TLS needs a certificate"),
        (["--tls-key-password", "x"], "--tls-key-password: TLS needs a certificate"),
        (["--client-crl", "x"], "--client-crl: TLS needs a certificate"),
        (["--mtls", "required"], "--mtls required: TLS needs a certificate"),
        (["--tls-cert", "x", "--mtls", "required"], "--mtls required needs --client-ca"),
        (["--tls-cert", "x", "--client-crl", "x"], "--client-crl needs --client-ca"),
    ],
)
def test_values_that_cannot_be(arguments: list[str], text: str) -> None:
    told = refused(*arguments, code=2)
    assert text in told
    assert [each for each in arguments if each.startswith("--") and each in told], told


def test_advice_is_for_the_command_line(folder: Path) -> None:
    issued = ThrowawayCA().issue_server()
    (folder / "chain.pem").write_bytes(issued.chain_pem)
    told = refused("--tls-cert", "chain.pem", "--port", "0", code=1)
    assert "chain.pem holds no private key: give the key's file with --tls-key" in told
    told = refused("--host", "0.0.0.0", "--port", "0", code=1)
    assert "give --tls-cert, " in told
    assert told.endswith("or say --danger-plaintext")
    # Kept for documentation (RFC 5737), so nobody's.
    told = refused("--host", "192.0.2.1", "--danger-plaintext", "--port", "0", code=1)
    assert "cannot listen on 192.0.2.1, which is no address of this machine" in told
    assert "another port" not in told


def test_a_password_is_asked_for_by_its_option(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = ThrowawayCA().issue_server()
    key = serialization.load_pem_private_key(issued.key_pem, None)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (folder / "both.pem").write_bytes(issued.chain_pem + secret)
    told = refused("--tls-cert", "both.pem", "--port", "0", code=1)
    assert "give --tls-key-password" in told


def test_the_same_from_python() -> None:
    async def application(scope: object, receive: object, send: object) -> None: ...

    with pytest.raises(TypeError, match=r"HttpServer\(5\): an application is called with"):
        HttpServer(5)  # type: ignore[arg-type]
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match=r"graceful_timeout=.*0 or above"):
            HttpServer(application, graceful_timeout=seconds)


@pytest.mark.parametrize("wrong", [-3, 0])
def test_how_many_at_once_from_python(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"concurrency=.*whole number above 0"):
        HttpOptions(concurrency=wrong, lifespan="off")
