"""What proxies say of their clients, where clients say something too."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from jetstream._forwarded import Forwarded, TrustedProxies
from jetstream.http import HttpOptions, JetStreamContext

from tests.helpers import run
from tests.http.serving import respond, served

PROXY = ("127.0.0.1", 1)
HONEST = ("203.0.113.7", 0)


def seen(how: Any, lines: list[str], *, trusted: tuple[str, ...] = ("127.0.0.1",)) -> Any:
    """The client and the scheme that the application is told."""
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append((scope["client"], scope["scheme"]))

    async def main() -> None:
        name = b"forwarded" if how == "forwarded" else b"x-forwarded-for"
        headers = [(name, line.encode("latin-1")) for line in lines]
        scope = {"type": "http", "scheme": "http", "client": PROXY, "headers": headers}
        await Forwarded(app, TrustedProxies(trusted), how)(scope, None, None)  # type: ignore[arg-type]

    run(main)
    return told[0]


MADE_UP = (
    'for=1.2.3.4;proto=https;x="',
    'for=1.2.3.4;proto=https;x="\\',
    'for=1.2.3.4;proto=https;x="\\"',
    'for=1.2.3.4;proto=https;x="\\""',
    'for="1.2.3.4\\", x";proto=https',
    'for=1.2.3.4;proto=https, "',
    '"',
    "\\",
    ",;=",
)


@pytest.mark.parametrize("made_up", MADE_UP)
@pytest.mark.parametrize(
    "appended",
    [
        "for=203.0.113.7;proto=http",
        'for="203.0.113.7";proto="http"',
        'for=203.0.113.7;proto=http;host="a\\"b, for=6.6.6.6"',
        "For = 203.0.113.7 ; Proto=http",
        "for=203.0.113.7;proto=http, ,",
    ],
)
def test_nothing_in_front_changes_what_a_proxy_appends(made_up: str, appended: str) -> None:
    assert seen("forwarded", [f"{made_up}, {appended}"]) == (HONEST, "http")
    assert seen("forwarded", [f"{made_up},{appended}"]) == (HONEST, "http")
    assert seen("forwarded", [made_up, appended]) == (HONEST, "http")


@pytest.mark.parametrize("made_up", ['"', '1.2.3.4, "x', "\\", 'for="'])
def test_quotes_mean_nothing_in_x_forwarded_for(made_up: str) -> None:
    assert seen("x-forwarded", [f"{made_up}, 203.0.113.7"]) == (HONEST, "http")
    assert seen("x-forwarded", [made_up, "203.0.113.7"]) == (HONEST, "http")


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ('for="[2001:db8::1]:47"', ("2001:db8::1", 47)),
        ("for=[2001:db8::1]:47", ("2001:db8::1", 47)),
        ("for=203.0.113.7:80", ("203.0.113.7", 80)),
        ('for="203.0.113.7:99999"', HONEST),
        ('for="203.0.113\\.7"', HONEST),
        ('for=203.0.113.7;host="a, b;c"', HONEST),
        ("for=203.0.113.7;by=_a, for=10.0.0.1", HONEST),
        ('for=6.6.6.6, for="_hidden"', None),
        ("for=6.6.6.6, for=unknown", None),
        ("for=6.6.6.6, for=10.0.0.1, proto=http", None),
        ('for=6.6.6.6;x="y, for=10.0.0.1', None),
        ("for=6.6.6.6, nonsense", None),
        ('for=6.6.6.6, for="203.0.113.7', None),
        ("", PROXY),
    ],
)
def test_who_is_the_client(line: str, client: Any) -> None:
    """Whoever is hidden is nobody, and not the proxy, which may be on this machine."""
    assert seen("forwarded", [line], trusted=("127.0.0.1", "10.0.0.0/8"))[0] == client


def test_belief_ends_at_what_cannot_be_read() -> None:
    lines = ["for=6.6.6.6;proto=https", 'x="', "for=10.0.0.1"]
    assert seen("forwarded", lines, trusted=("127.0.0.1", "10.0.0.0/8")) == (None, "http")


@pytest.mark.parametrize(
    "unit",
    [
        ",",
        ";",
        '"',
        '="',
        ',a="',
        ';a=",',
        ',a="b";',
        '\\"',
        "a=b,",
        "a ;",
        " ",
        "a=;",
        "a=  ",
        "; ",
        'a="\\\\";',
    ],
)
def test_long_lines_are_read_in_time(unit: str) -> None:
    began = time.perf_counter()
    for before in ("", "x", 'for=1;x="'):
        seen("forwarded", [before + unit * (60_000 // len(unit))], trusted=("*",))
        seen("forwarded", [before + unit * (60_000 // len(unit)) + '"'], trusted=("*",))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("hidden", ["unknown", "_hidden", "nonsense"])
def test_a_client_that_is_hidden(hidden: str, caplog: pytest.LogCaptureFixture) -> None:
    """The application, the context and the access log cope with nobody."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["client"] is None
        assert JetStreamContext.from_scope(scope).remote is None
        await respond(b"ok")(scope, receive, send)

    async def main() -> None:
        caplog.set_level(logging.INFO, "jetstream.access")
        options = {"forwarded_allow_ips": ["127.0.0.1"], "lifespan": "off", "access_log": True}
        async with served("http", app, **options) as (_, asking):
            headers = {"x-forwarded-for": f"1.2.3.4, {hidden}"}
            assert (await asking.get("/", headers=headers)).text == "ok"

    run(main)
    lines = [each.getMessage() for each in caplog.records if each.name == "jetstream.access"]
    assert lines == ['- - "GET / HTTP/1.1" 200']


# ---- fields of every answer ----


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("foo bar", "x", "'foo bar' is no name"),
        ("", "x", "'' is no name"),
        ("x-é", "é", "'x-é' is no name"),
        ("x:", "x", "'x:' is no name"),
        ("x\n", "x", r"'x\\n' is no name"),
        (":status", "200", "':status' is no name"),
        ("x-a", "b\r\nx-c: d", "value of the field 'x-a'.*5.5"),
        ("x-a", "b\n", "value of the field 'x-a'"),
        ("x-a", "b\rc", "value of the field 'x-a'"),
        ("x-a", "b\0c", "value of the field 'x-a'"),
        ("x-a", "b\x7f", "value of the field 'x-a'"),
        ("x-a", " b", "value of the field 'x-a'"),
        ("x-a", "€", "value of the field 'x-a'"),
        *(
            (name, "1", f"itself writes the field '{name}'")
            for name in (
                "Content-Length",
                "transfer-encoding",
                "Connection",
                "keep-alive",
                "proxy-connection",
                "upgrade",
                "TE",
                "trailer",
            )
        ),
    ],
)
def test_fields_that_cannot_be_in_every_answer(name: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HttpOptions(headers=[("x-fine", "1"), (name, value)])


@pytest.mark.parametrize("wrong", ["x: y", {"x": "y"}, [("x", b"y")], [("x",)], ["xy"], [5]])
def test_what_is_no_field_at_all(wrong: Any) -> None:
    with pytest.raises(TypeError, match="headers"):
        HttpOptions(headers=wrong)


@pytest.mark.parametrize("version", ["http", "h2", "h3"])
def test_fields_that_fit_are_in_every_answer(version: str) -> None:
    fields = [("X-One", "a \tb"), ("x-empty", ""), ("x!#$%&'*+-.^_`|~1", '"é"')]

    async def main() -> None:
        options: Any = {"headers": fields, "lifespan": "off"}
        async with served(version, respond(b"ok"), **options) as (_, asking):
            got = {name.lower(): value for name, value in (await asking.get("/")).headers.raw}
            for name, value in fields:
                assert got[name.lower().encode()] == value.encode("latin-1")

    run(main)
