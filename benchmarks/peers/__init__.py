"""The programs that are measured, and how each is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Set
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.network import Carrier

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT = 1200
RUST16 = ROOT / "benchmarks" / "peers" / "rust16"

BASIC = frozenset({"calls", "connections", "hold"})
STREAMING = BASIC | {"items"}
ALL = STREAMING | {"spread", "latency", "visits"}

RUST16_NAME = "rust jetstream 16"
RUST16_LOADS = BASIC

OURS = "ours, uvloop, async def"
"""The peer that all ratios refer to."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One implementation: a server program and a client program that speak `load.py`'s lines.

    `loads` are those of them that it knows, or that are worth the time.
    """

    name: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    loads: frozenset[str]
    carrier: Carrier = "udp"


def rust16() -> Peer:
    """The Rust crate jetstream 16.0.0 on tokio, built here."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target" / "benchmarks"))
    command = ("cargo", "build", "--release", "--locked", "--quiet")
    environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
    try:
        subprocess.run(command, cwd=RUST16, env=environment, check=True, timeout=BUILD_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        program = (
            "rust16-bench (not built)"  # does not start: each scenario gets a row that says so
        )
    else:
        program = str(target / "release" / "rust16-bench")
    return Peer(
        name=RUST16_NAME,
        server=(program, "server"),
        client=(program, "client"),
        loads=RUST16_LOADS,
    )


def grpc_aio() -> Peer:
    """grpc.aio on uvloop, which suits it best."""
    program = (sys.executable, "-m", "benchmarks.peers.grpc_aio")
    return Peer(
        name="grpc.aio",
        server=(*program, "server"),
        client=(*program, "client"),
        carrier="tcp",
        loads=ALL,
    )


def ours(loop: str, handlers: str, loads: frozenset[str]) -> Peer:
    """This project, on one event loop, with `async def` or plain `def` handlers."""
    program = (sys.executable, "-m", "benchmarks.peers.ours", loop, handlers)
    kind = {"async": "async def", "plain": "def"}[handlers]
    return Peer(
        name=f"ours, {loop}, {kind}",
        server=(*program, "server"),
        client=(*program, "client"),
        loads=loads,
    )


def available(wanted: str, loads: Set[str]) -> list[Peer]:
    """The peers with `wanted` in their name that know one of the loads and are installed."""
    loops = ["uvloop", "asyncio"] if find_spec("uvloop") else ["asyncio"]
    # Streaming takes `async def`, and the other loads would say no more with other loops.
    peers = [
        ours(loop, handlers, loads)
        for loop, most in zip(loops, (ALL, STREAMING), strict=False)
        for handlers, loads in (("async", most), ("plain", BASIC))
    ]
    if find_spec("grpc"):
        peers.insert(0, grpc_aio())
    peers = [peer for peer in peers if wanted in peer.name and peer.loads & loads]
    # Built only if somebody wants it: it takes minutes.
    return [rust16(), *peers] if wanted in RUST16_NAME and RUST16_LOADS & loads else peers


def versions() -> dict[str, str]:
    """What exactly was measured."""
    found = {"jetstream (Rust crate)": "16.0.0"}
    for name in ("jetstream-rpc", "grpcio", "protobuf", "uvloop"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
