"""h2load as a client: load over HTTP/1.1 or HTTP/2, in the lines that `load.py` describes.

`python -m benchmarks.peers.h2load VERSION KIND ADDRESS CERTIFICATES PATH LENGTH CONNECTIONS STREAMS
SECONDS [BODY]`, from ADDRESS on like h3load; VERSION is 1 or 2, KIND is calls or latency. With the
latter it says `p50`, `p99` and `first_byte`, too, which costs it a line in a file for each request.
It connects after the word, so what counts begins `WARM_UP` seconds late.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.load import WARM_UP, Harness, percentiles

PATIENCE = 8.0
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadError(Exception):
    """What h2load complained of."""


@dataclass(frozen=True)
class Load:
    """What is asked for again and again, and what must come back."""

    version: str
    url: str
    length: int
    connections: int
    streams: int
    body: str | None

    async def run(self, seconds: float, *options: str) -> str:
        """Runs h2load, which should take so long, and returns what it reports."""
        posted = ("--data", self.body, "--header", "content-type: application/json")
        # Left alone, each server would choose another.
        cipher = "TLS_AES_128_GCM_SHA256"
        program = await asyncio.create_subprocess_exec(
            "h2load",
            *("--h1" if self.version == "1" else "--npn-list=h2", "--tls13-ciphers", cipher),
            *("--clients", str(self.connections)),
            *("--max-concurrent-streams", str(self.streams)),
            *(posted if self.body else ()),
            *options,
            self.url,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            # When a server drops a connection, it may wait for ever.
            async with asyncio.timeout(seconds + PATIENCE):
                report, _ = await program.communicate()
        except TimeoutError:
            program.kill()
            await program.wait()
            raise LoadError("it did not end in time") from None
        return report.decode()

    async def once(self) -> float:
        """Makes the connections all at once with a request on each, and looks at each answer.

        Returns the mean time from connecting to the first byte of a body.
        """
        report = await self.run(0, "--requests", str(self.connections))
        _ = count(report)
        data = int(_found(report, r"headers .*, \S+ \((\d+)\) data")[0])
        if data != self.connections * self.length:
            raise LoadError(f"{self.connections} answers had {data} bytes")
        mean, unit = _found(report, r"time to 1st byte: +\S+ +\S+ +([\d.]+)(us|ms|s)")
        return float(mean) * UNITS[unit]

    async def keep_up(self, seconds: float, log: Path | None) -> int:
        """Keeps the requests in flight; how many were answered."""
        times = ("--duration", _duration(seconds), "--warm-up-time", _duration(WARM_UP))
        return count(
            await self.run(seconds + WARM_UP, *times, *(("--log-file", str(log)) if log else ()))
        )


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def _found(report: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, report)
    if found is None:
        raise LoadError(f"h2load said {report!r}")
    return found.groups()


def count(report: str) -> int:
    """How many requests were answered, provided that all were."""
    pattern = r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
    done, good, *bad = map(int, _found(report, pattern))
    if any(bad) or good != done:
        raise LoadError(f"{sum(bad)} of {done} requests were not answered, or not with 200")
    return good


def times(log: Path, seconds: float) -> list[float]:
    """The time of each request that ended within the last seconds."""
    rows = [line.split("\t") for line in log.read_text(encoding="ascii").splitlines()]
    each = [(int(start) + int(took), int(took) / 1e6) for start, _, took in rows]
    begin = max(end for end, _ in each) - seconds * 1e6
    return [took for end, took in each if end > begin]


async def main(words: list[str]) -> None:
    version, kind, address, _, path, length, connections, streams, lasting, *body = words
    port, seconds = address.rpartition(":")[2], float(lasting)
    load = Load(
        version=version,
        url=f"https://localhost:{port}{path}",
        length=int(length),
        connections=int(connections),
        streams=int(streams),
        body=next(iter(body), None),
    )
    harness = await Harness.open()
    first_byte = await load.once()
    await harness.go()
    if kind == "latency":
        with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".tsv") as log:
            done = await load.keep_up(seconds, Path(log.name))
            each = percentiles(times(Path(log.name), seconds))
        harness.say(count=done, seconds=seconds, first_byte=first_byte, **each)
    else:
        harness.say(count=await load.keep_up(seconds, None), seconds=seconds)
    await harness.end()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except LoadError as error:
        raise SystemExit(f"h2load: {error}") from None
