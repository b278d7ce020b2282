"""A UDP proxy on loopback that loses, delays, repeats, reorders, corrupts and rebinds, from a seed.

What becomes of a datagram depends on the seed, its direction and how many went that way before, and
on nothing else. Not on a clock: only how the two ends react to it does.
"""

from __future__ import annotations

import heapq
import random
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

Address = tuple[str, int]

_BURST = 256
"""Datagrams taken from one socket before the others have their turn."""

_BUFFER = 8 << 20
"""What is asked of the kernel for each socket, so that what gets lost is what the seed says."""

_HELD = 0.005
"""Seconds after which a datagram that waits to be overtaken goes on all the same."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What a way does to datagrams; probabilities are of each."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reordering: float = 0.0
    """How many are held back until `overtaken` others have passed."""
    overtaken: int = 3
    delay: float = 0.0
    """Seconds, for all of them."""
    jitter: float = 0.0
    """Seconds at most, on top."""


class _Way:
    """One direction: the decisions, and what is held back."""

    def __init__(self, faults: Faults, seed: str) -> None:
        self.faults = faults
        self.random = random.Random(seed)
        self.held: list[tuple[int, float, bytes, _Flow]] = []
        """What waits: at which count and at what time it goes on."""
        self.count = 0


class _Flow:
    """One client's address, and the socket that stands for it at the server."""

    def __init__(self, client: Address, upstream: socket.socket) -> None:
        self.client = client
        self.upstream = upstream


class Proxy:
    """Stands before a server: `with Proxy(target, seed=1, up=Faults(loss=0.01)) as proxy`.

    A thread of its own moves the datagrams.

    Args:
        target: The server.
        seed: Of all decisions.
        up: From clients to the server.
        down: From the server to clients; by default as `up`.
    """

    def __init__(
        self, target: Address, *, seed: int, up: Faults | None = None, down: Faults | None = None
    ) -> None:
        up = up or Faults()
        self.target = target
        self.seed = seed
        self.counts: Counter[str] = Counter()
        """How often what happened."""
        self._ways = {"up": _Way(up, f"{seed} up"), "down": _Way(down or up, f"{seed} down")}
        self._flows: dict[Address, _Flow] = {}
        self._later: list[tuple[float, int, bytes, _Flow, str]] = []
        self._order = 0
        self._dark = False
        self._rebind = False
        self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._front = _udp()
        self._front.bind(("127.0.0.1", 0))
        self._wakeup, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self.failure: BaseException | None = None

    @property
    def address(self) -> Address:
        """Where clients connect to."""
        host, port = self._front.getsockname()
        return str(host), int(port)

    def blackhole(self, on: bool) -> None:
        """Drops everything from now on, or no more."""
        self._dark = on

    def change(self, faults: Faults) -> None:
        """Does this to datagrams from now on, both ways."""
        for way in self._ways.values():
            way.faults = faults

    def rebind(self) -> None:
        """Gives every client a new address at the server, as a NAT that was restarted does."""
        self._rebind = True
        self._waker.send(b"!")

    def __enter__(self) -> Proxy:
        self._selector.register(self._front, selectors.EVENT_READ, None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._waker.send(b"!")
        self._thread.join(10)
        assert not self._thread.is_alive(), f"the proxy hangs (seed {self.seed})"
        for flow in self._flows.values():
            flow.upstream.close()
        for end in (self._front, self._wakeup, self._waker):
            end.close()
        self._selector.close()
        if error is not None:
            error.add_note(f"{self!r}")
        elif self.failure is not None:
            raise self.failure

    def __repr__(self) -> str:
        return f"<Proxy of seed {self.seed}: {dict(self.counts)}>"

    # ---- the thread ----

    def _run(self) -> None:
        try:
            while not self._stopped:
                for key, _ in self._selector.select(self._wait()):
                    if key.fileobj is self._wakeup:
                        self._wakeup.recv(64)
                    elif key.fileobj is self._front:
                        self._from_clients()
                    else:
                        self._from_server(key.data)
                if self._rebind:
                    self._rebind = False
                    self._rebind_all()
                self._send_due()
        except BaseException as error:
            self.failure = error

    def _wait(self) -> float | None:
        due = [way.held[0][1] for way in self._ways.values() if way.held]
        due += [self._later[0][0]] if self._later else []
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _from_clients(self) -> None:
        for _ in range(_BURST):
            try:
                data, client = self._front.recvfrom(65_535)
            except (BlockingIOError, ConnectionError):
                return
            flow = self._flows.get(client)
            if flow is None:
                flow = self._flows[client] = _Flow(client, self._upstream())
                self._selector.register(flow.upstream, selectors.EVENT_READ, flow)
            self._decide("up", data, flow)

    def _from_server(self, flow: _Flow) -> None:
        for _ in range(_BURST):
            try:
                data = flow.upstream.recv(65_535)
            except (BlockingIOError, ConnectionError):
                return
            self._decide("down", data, flow)

    def _upstream(self) -> socket.socket:
        upstream = _udp()
        upstream.bind(("127.0.0.1", 0))
        return upstream

    def _rebind_all(self) -> None:
        self.counts["rebound"] += 1
        for flow in self._flows.values():
            fresh = self._upstream()
            # What is on its way to the old address is lost, as it would be.
            self._selector.unregister(flow.upstream)
            flow.upstream.close()
            flow.upstream = fresh
            self._selector.register(fresh, selectors.EVENT_READ, flow)

    def _decide(self, direction: str, data: bytes, flow: _Flow) -> None:
        way = self._ways[direction]
        faults, source, counts = way.faults, way.random, self.counts
        way.count += 1
        counts[direction] += 1
        # All are drawn, always, so that one decision does not move the next.
        lost, twice, broken, held = (source.random() for _ in range(4))
        jitter = source.random() * faults.jitter
        where, bit = source.random(), source.randrange(8)
        if self._dark:
            counts["swallowed"] += 1
        elif lost < faults.loss:
            counts["lost"] += 1
        else:
            if data and broken < faults.corruption:
                counts["corrupted"] += 1
                flipped = bytearray(data)
                flipped[int(where * len(data))] ^= 1 << bit
                data = bytes(flipped)
            if twice < faults.duplication:
                counts["duplicated"] += 1
                self._pass_on(direction, data, flow, jitter)
            if held < faults.reordering:
                counts["reordered"] += 1
                until = (way.count + faults.overtaken, time.monotonic() + _HELD)
                way.held.append((*until, data, flow))
            else:
                self._pass_on(direction, data, flow, jitter)
        while way.held and way.held[0][0] <= way.count:
            _, _, waited, its_flow = way.held.pop(0)
            self._pass_on(direction, waited, its_flow, 0.0)

    def _pass_on(self, direction: str, data: bytes, flow: _Flow, jitter: float) -> None:
        wait = self._ways[direction].faults.delay + jitter
        if wait > 0:
            self._order += 1
            due = (time.monotonic() + wait, self._order, data, flow, direction)
            heapq.heappush(self._later, due)
        else:
            self._send(direction, data, flow)

    def _send_due(self) -> None:
        now = time.monotonic()
        for direction, way in self._ways.items():
            while way.held and way.held[0][1] <= now:
                _, _, data, flow = way.held.pop(0)
                self._pass_on(direction, data, flow, 0.0)
        while self._later and self._later[0][0] <= now:
            _, _, data, flow, direction = heapq.heappop(self._later)
            self._send(direction, data, flow)

    def _send(self, direction: str, data: bytes, flow: _Flow) -> None:
        try:
            if direction == "up":
                flow.upstream.sendto(data, self.target)
            else:
                self._front.sendto(data, flow.client)
        except (BlockingIOError, ConnectionError):
            self.counts["refused by the kernel"] += 1


def _udp() -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return end
