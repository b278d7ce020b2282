"""The programs that are measured, and how each is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from benchmarks.network import Carrier

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT = 1200
RUST16 = ROOT / "benchmarks" / "peers" / "rust16"
H3LOAD = ROOT / "benchmarks" / "h3load"
TYPESCRIPT = ROOT / "typescript"
ASGI_SERVERS = ROOT / ".venv-peers"
"""The environment of other servers of ASGI applications."""

BASIC = frozenset({"calls", "connections", "hold"})
STREAMING = BASIC | {"items"}
ALL = STREAMING | {"spread", "latency", "visits"}

HTTP = frozenset({"http/1.1", "http/2", "http/3"})
PAGE = frozenset({"page"})
BESIDE = frozenset(f"rpc and {load}" for load in HTTP)

RUST16_NAME = "rust jetstream 16"
RUST16_LOADS = BASIC
RUST16_HTTP = "rust jetstream_http 16, axum"
RUST16_HTTP_LOADS = frozenset({"http/3"})

HYPERCORN, GRANIAN, UVICORN = "hypercorn", "granian", "uvicorn"
ASGI_LOADS = {
    HYPERCORN: frozenset({"http/2", "http/3"}),
    GRANIAN: frozenset({"http/1.1", "http/2"}),
    UVICORN: frozenset({"http/1.1"}),
}

OURS = "ours, uvloop, async def"
"""The peer that all ratios refer to, but for those of pages."""
PAGE_OURS = "ours, WebTransport"
PAGE_JSON = "fetch, JSON over HTTP/2"
PAGE_FRAMES = "fetch, frames over HTTP/2"
"""Ways in which a page calls; ratios refer to the first."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One implementation: a server program and a client program that speak `load.py`'s lines.

    `loads` are those of them that it knows, or that are worth the time. What asks a server of HTTP
    is not its own client.
    """

    name: str
    server: tuple[str, ...]
    client: tuple[str, ...] = ()
    loads: frozenset[str]
    carrier: Carrier = "udp"


@cache
def _built(package: Path, name: str) -> str:
    """A program in Rust, built here."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target" / "benchmarks"))
    command = ("cargo", "build", "--release", "--locked", "--quiet")
    environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
    try:
        subprocess.run(command, cwd=package, env=environment, check=True, timeout=BUILD_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return f"{name} (not built)"  # does not start: each scenario gets a row that says so
    return str(target / "release" / name)


def h3load() -> str:
    """The program that asks over HTTP/3."""
    return _built(H3LOAD, "h3load")


def rust16(wanted: str, loads: Set[str]) -> Iterable[Peer]:
    """The Rust crates jetstream and jetstream_http 16.0.0 on tokio.

    Built only if somebody wants them: it takes minutes.
    """
    if wanted in RUST16_NAME and RUST16_LOADS & loads:
        program = _built(RUST16, "rust16-bench")
        yield Peer(
            name=RUST16_NAME,
            server=(program, "server"),
            client=(program, "client"),
            loads=RUST16_LOADS,
        )
    if wanted in RUST16_HTTP and RUST16_HTTP_LOADS & loads:
        program = _built(RUST16, "rust16-bench")
        yield Peer(name=RUST16_HTTP, server=(program, "http"), loads=RUST16_HTTP_LOADS)


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


def ours_http() -> Iterable[Peer]:
    """This project's server of HTTP, alone and with services beside the application."""
    server = (sys.executable, "-m", "benchmarks.peers.ours_http")
    client = (sys.executable, "-m", "benchmarks.peers.ours", "uvloop", "async", "client")
    yield Peer(name=OURS, server=(*server, "site"), loads=HTTP)
    yield Peer(name=OURS, server=(*server, "both"), client=client, loads=BESIDE)


def pages() -> Iterable[Peer]:
    """The ways in which a page in Chromium calls this project's server."""
    server = (sys.executable, "-m", "benchmarks.peers.ours_http", "page")
    program = ("node", str(ROOT / "benchmarks" / "peers" / "page.mjs"))
    browser = shutil.which("chromium") or "chromium"
    ways = {PAGE_OURS: "webtransport", PAGE_JSON: "json", PAGE_FRAMES: "frames"}
    for name, way in ways.items():
        yield Peer(name=name, server=server, client=(*program, browser, way), loads=PAGE)


def asgi_servers() -> Iterable[Peer]:
    """Other servers of ASGI applications, on uvloop and with a process each."""
    python = str(ASGI_SERVERS / "bin" / "python")
    for name, loads in ASGI_LOADS.items():
        yield Peer(name=name, server=(python, "-m", "benchmarks.peers.asgi", name), loads=loads)


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
    if ASGI_SERVERS.exists():
        peers += asgi_servers()
    if find_spec("uvloop") and find_spec("fastapi"):
        peers += [*ours_http(), *pages()]
    peers = [peer for peer in peers if wanted in peer.name and peer.loads & loads]
    return [*rust16(wanted, loads), *peers]


def versions(group: str) -> dict[str, str]:
    """What exactly was measured in a group of scenarios."""
    own = {one.name.lower(): one.version for one in distributions()}
    others = {
        one.name.lower(): one.version
        for folder in ASGI_SERVERS.glob("lib/*/site-packages")
        for one in distributions(path=[str(folder)])
    }
    names = {
        "rpc": ("grpcio", "protobuf", "uvloop"),
        "http": ("fastapi", "uvloop"),
        "web": ("uvloop",),
        "codec": ("msgspec", "protobuf"),
    }
    found = {"jetstream-rpc": own.get("jetstream-rpc", "not installed")}
    if group == "rpc":
        found["jetstream (Rust crate)"] = "16.0.0"
    found |= {name: own.get(name, "not installed") for name in names[group]}
    if group == "http":
        found["jetstream_http (Rust crate)"] = "16.0.0"
        servers = ("hypercorn", "aioquic", "granian", "uvicorn", "httptools")
        found |= {name: others.get(name, "not installed") for name in servers}
        found["h2load"] = _version("h2load").split("/")[-1]
    if group == "web":
        found["Chromium"] = _version("chromium").removeprefix("Chromium ").partition(" ")[0]
    return found


def _version(program: str) -> str:
    """What a program says of its version."""
    try:
        said = subprocess.run((program, "--version"), capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return "not installed"
    return said.stdout.strip()
