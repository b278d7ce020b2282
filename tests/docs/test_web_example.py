"""`examples/web` without a browser: its services, its tokens, its generated client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jetstream import CallError
from jetstream.testing import pair

from examples.web.station import Page, Reading, Station, StationImpl, Weather
from examples.web.tokens import LIFETIME, Tokens, encoded
from tests.docs.pages import REPOSITORY
from tests.docs.programs import run_program
from tests.helpers import run

WEB = REPOSITORY / "examples" / "web"
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_the_generated_client_is_that_of_the_services() -> None:
    command = "gen ts station:Page station:Station -o src/api --check"
    done = subprocess.run(
        [sys.executable, "-m", "jetstream", *command.split()],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Steps(Weather):
    """Wind of these speeds."""

    def __init__(self, *speeds: float) -> None:
        super().__init__()
        self.speeds = list(speeds)

    def next(self, at: datetime) -> Reading:
        return Reading(at, self.speeds.pop(0), 270)


class PageImpl(Page):
    def __init__(self) -> None:
        self.gusts: list[float] = []
        self.waves: list[str] = []

    async def gust(self, reading: Reading) -> None:
        self.gusts.append(reading.speed)

    async def waved(self, by: str) -> None:
        self.waves.append(by)


class TestStation:
    def test_it_adds_what_fits(self) -> None:
        async def main() -> None:
            async with pair(StationImpl()) as session:
                station = session.channel(Station)
                await station.ping()
                assert await station.add(2, 40) == 42
                with pytest.raises(CallError, match="does not fit") as caught:
                    await station.add(2**31 - 1, 1)
                assert caught.value.code == "station::too_large"

        run(main)

    def test_it_warns_a_page_when_the_wind_rises_over_what_it_watches_for(self) -> None:
        async def main() -> None:
            impl = StationImpl(Steps(50, 61, 62, 59, 60, 63))
            told = PageImpl()
            async with pair(impl, client=told) as session:
                await session.channel(Station).watch(60)
                async with asyncio.TaskGroup() as warnings:
                    for second in range(6):
                        impl.measure(NOW + timedelta(seconds=second), warnings)
            assert told.gusts == [61, 63]

        run(main)

    def test_it_gives_the_readings_after_a_moment(self) -> None:
        async def main() -> None:
            impl = StationImpl(Steps(1, 2, 3))
            async with pair(impl) as session, asyncio.TaskGroup() as warnings:
                for number in range(3):
                    impl.measure(NOW + timedelta(microseconds=250_999 * number), warnings)
                wind = session.channel(Station).wind()
                readings = [await anext(wind) for _ in range(3)]
                assert [reading.speed for reading in readings] == [1, 2, 3]
                wind.cancel()
                # The last one that a page has is not given twice.
                rest = session.channel(Station).wind(readings[1].at)
                assert (await anext(rest)).speed == 3
                rest.cancel()

        run(main)

    def test_it_waves_to_the_pages_that_are_there(self) -> None:
        async def main() -> None:
            impl, one, other = StationImpl(), PageImpl(), PageImpl()
            async with AsyncExitStack() as stack:
                first = await stack.enter_async_context(pair(impl, client=one))
                async with pair(impl, client=other) as second:
                    for session in (first, second):
                        await session.channel(Station).watch(60)
                    assert await first.channel(Station).wave() == 2
                assert await first.channel(Station).wave() == 1
            assert one.waves == ["somebody"] * 2
            assert other.waves == ["somebody"]

        run(main)

    def test_it_hangs_up_once_it_has_answered(self) -> None:
        async def main() -> None:
            async with pair(StationImpl()) as session:
                await session.channel(Station).hang_up()
                await session.wait_closed()

        run(main)


class TestTokens:
    def test_a_token_says_who_somebody_is_until_it_expires(self) -> None:
        tokens = Tokens()
        text, expires = tokens.issue("Ada", NOW)
        assert expires == NOW + LIFETIME
        peer = tokens.peer(text, NOW)
        assert peer is not None
        assert (peer.subject, peer.expires) == ("Ada", expires)
        assert tokens.peer(text, expires - timedelta(seconds=1)) == peer
        assert tokens.peer(text, expires) is None

    def test_others_tokens_and_changed_ones_are_none(self) -> None:
        tokens = Tokens()
        text, _ = tokens.issue("Ada", NOW)
        claims, _, mac = text.partition(".")
        forged = encoded(b'{"name": "Eve", "expires": 9999999999}')
        changed = (f"{forged}.{mac}", f"{claims}.", f"{text}.", f"{claims}.?")
        for wrong in ("", ".", "x", "é.é", *changed):
            assert tokens.peer(wrong, NOW) is None
        assert Tokens().peer(text, NOW) is None


def test_the_browser_is_told_the_hash_of_the_certificate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROME", sys.executable)
    url = "https://127.0.0.1:8443/"
    told = run_program(WEB / "chrome.py", "--certificates", "certs", "--print", url, cwd=folder)
    words = told.split()
    assert words[0] == sys.executable
    assert words[-1] == url
    key = (folder / "certs" / "server.spki").read_text().strip()
    assert f"--ignore-certificate-errors-spki-list={key}" in words
    assert "--origin-to-force-quic-on=127.0.0.1:8443" in words
