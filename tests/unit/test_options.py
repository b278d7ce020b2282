"""Options that cannot be: refused where they are given, by name, with what to give instead."""

from __future__ import annotations

import math
from typing import Any

import pytest
from jetstream import (
    FOREVER,
    Client,
    Limits,
    Reconnect,
    Router,
    Server,
    Session,
    connect,
    service,
    with_options,
)
from jetstream.interceptors import Retry
from jetstream.testing import pair

from tests.helpers import run, server_tls


@service
class Echo:
    async def put(self, item: str) -> str:
        return item


def joining(**options: Any) -> Any:
    """What `connect` gives, in a loop, as it needs one."""

    async def main() -> Any:
        return connect("127.0.0.1:9", **options)

    return run(main)


@pytest.mark.parametrize("value", [None, "yes", 1, 0, Reconnect, {"first": 1}])
def test_how_a_session_cannot_stay_up(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^reconnect=.*: it must be True, False or a Reconnect"):
        joining(reconnect=value)


@pytest.mark.parametrize(
    "value", [-1, math.nan, -math.inf, "5", True, b"", pytest.param(10**400, id="huge"), [1]]
)
@pytest.mark.parametrize("name", ["timeout", "call_timeout"])
def test_what_is_no_time(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}=.*: it must be seconds, 0 or above"):
        joining(**{name: value})


@pytest.mark.parametrize("options", [{"timeout": -1}, {"call_timeout": "5"}])
def test_what_is_no_time_of_a_client(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(ValueError, match=r"^(call_)?timeout=.*: it must be seconds"):
                await client.session("127.0.0.1:9", **options)
            with pytest.raises(ValueError, match=r"^timeout=nan: it must be seconds"):
                await client.connect("127.0.0.1:9", timeout=math.nan)
            with pytest.raises(ValueError, match=r"^timeout=nan: it must be seconds"):
                await client.webtransport("https://127.0.0.1:9/", timeout=math.nan)

    run(main)


@pytest.mark.parametrize("value", [0, 0.5, 1e300, math.inf, None, FOREVER])
def test_what_is_a_time(value: Any) -> None:
    joining(timeout=1, call_timeout=value)


@pytest.mark.parametrize("value", [None, 5, b"127.0.0.1:1", {"127.0.0.1:1"}])
def test_where_nobody_can_connect_to(value: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r'^addr=.*: it must be "host:port", \("host", port\)'):
            await connect(value)

    run(main)


@pytest.mark.parametrize("value", [None, 5, (), ("127.0.0.1",), b"ab", (None, 1)])
def test_one_of_several_addresses_is_none(value: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r'is no address: write "host:port" or \("host", port'):
            await connect(["127.0.0.1:1", "127.0.0.1:2", value])

    run(main)


@pytest.mark.parametrize("value", [5, {}, {"msize": 1}, Limits, "x"])
def test_what_are_no_limits(value: Any) -> None:
    words = r"^limits=.*: it must be a Limits, as in Limits\(msize=65536\)"
    with pytest.raises(TypeError, match=words):
        joining(limits=value)
    with pytest.raises(TypeError, match=words):
        Server(Echo(), tls=server_tls(), limits=value)


@pytest.mark.parametrize("value", [Retry(), Retry, None, 5])
def test_interceptors_are_several(value: Any) -> None:
    words = r"^interceptors=.*: give a list of them, as in interceptors=\["
    with pytest.raises(TypeError, match=words):
        joining(interceptors=value)
    with pytest.raises(TypeError, match=words):
        Router(Echo(), interceptors=value)


@pytest.mark.parametrize("value", [None, 5, [("a", b"")], "text"])
def test_what_is_no_metadata(value: Any) -> None:
    async def main() -> None:
        async with pair(Echo()) as session:
            with pytest.raises(TypeError, match=r"^metadata=.*: it must be a mapping of str to by"):
                with_options(session.channel(Echo), metadata=value)

    run(main)


@pytest.mark.parametrize("value", [-1, 65_536, 70_000])
def test_ports_that_there_are_not(value: int) -> None:
    with pytest.raises(ValueError, match=rf"^port={value}: it must be from 0 to 65535, or None"):
        Server(Echo(), tls=server_tls(), port=value)
    with pytest.raises(ValueError, match="the port must be a number from 0 to 65535"):
        Server(Echo(), tls=server_tls(), tcp=("127.0.0.1", value))
    with pytest.raises(ValueError, match="the port must be a number from 0 to 65535"):
        joining(bind=("127.0.0.1", value))


@pytest.mark.parametrize("value", ["x", 1.5, True])
def test_what_is_no_port(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^port=.*: it must be an int from 0 to 65535, or None"):
        Server(Echo(), tls=server_tls(), port=value)


@pytest.mark.parametrize("value", [5, "x", object()])
def test_what_cannot_be_told_of_sessions(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^on_session=.*: it must be a function of a Session"):
        Server(Echo(), tls=server_tls(), on_session=value)


def test_whatever_can_be_called_is_told_of_sessions() -> None:
    class Told:
        def __call__(self, session: Session) -> None:
            """Takes it."""

    Server(Echo(), tls=server_tls(), on_session=Told())
