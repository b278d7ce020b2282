"""What is measured from a page in Chromium, and one measurement in one way.

The same page calls the same server in every way: over WebTransport with the TypeScript client, by
`fetch` of JSON over HTTP/2 as pages do that have no client, and by `fetch` of frames over HTTP/2
with the client. A server and a browser, fresh for every measurement, have a core each where there
are two; all processes of the browser share theirs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from benchmarks.network import ObstacleError
from benchmarks.peers import PAGE_JSON, TYPESCRIPT, Peer
from benchmarks.scenarios import Calls, Effort, Measurement


@dataclass(frozen=True, kw_only=True)
class PageCalls(Calls):
    """Calls in flight from a page: time or rate, and CPU time of server and browser per call."""

    targets: Mapping[str, float] = field(default_factory=dict[str, float])
    """At least how many times a way's rate that of WebTransport is to be."""
    load: ClassVar = "page"

    async def measure(self, peer: Peer, certificates: Path, effort: Effort) -> list[Measurement]:
        for program, package in (("chromium", "chromium"), ("node", "nodejs")):
            if shutil.which(program) is None:
                raise ObstacleError(
                    f"this takes {program}, which is not installed (Debian: {package})"
                )
        if not (TYPESCRIPT / "node_modules" / "playwright-core").is_dir():
            raise ObstacleError("this takes the packages of typescript/, which are not installed")
        first, *others = await super().measure(peer, certificates, effort)
        return [replace(first, target=self.targets.get(peer.name)), *others]


WEB_SCENARIOS: tuple[PageCalls, ...] = (
    PageCalls(
        name="a page, 64 calls in flight, 16 bytes",
        in_flight=64,
        size=16,
        targets={PAGE_JSON: 5.0},
    ),
    PageCalls(
        name="a page, 64 calls in flight, nested struct of 1 KiB",
        method="order",
        in_flight=64,
    ),
    PageCalls(
        name="a page, one call at a time, 16 bytes, one core", in_flight=1, size=16, one_core=True
    ),
)
