"""Values and tools that the tests against every version of the crate share."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any

from jetstream import ClientTls, ServerTls, SocketAddress, Some

from .services import Circle, Empty, Labeled, Point, Profile, Rect

TEST_TIMEOUT = 20
CALL_TIMEOUT = 180
"""Seconds that the crate's client has for all of its calls."""

VALUES: list[tuple[str, Any]] = [
    ("echo_bool", True),
    ("echo_bool", False),
    ("echo_u8", 255),
    ("echo_u16", 0xFFFF),
    ("echo_u32", 0x12345678),
    ("echo_u64", 2**64 - 1),
    ("echo_u128", 2**128 - 1),
    ("echo_i16", -2),
    ("echo_i32", -70_000),
    ("echo_i64", -(2**63)),
    ("echo_i128", -(2**127)),
    ("echo_f32", 1.5),
    ("echo_f64", -0.1),
    ("echo_f64", math.inf),
    ("echo_str", ""),
    ("echo_str", "日本語 🚀 \0"),
    ("echo_str", "é" * 32_767 + "x"),
    ("echo_list_u32", []),
    ("echo_list_u32", list(range(65_535))),
    ("echo_list_str", ["a", "", "bc"]),
    ("echo_list_list_u8", [[1], [], [2, 3]]),
    ("echo_bytes", b""),
    ("echo_bytes", bytes(range(256)) * 4096),
    ("echo_option", None),
    ("echo_option", 7),
    ("echo_nested_option", None),
    ("echo_nested_option", Some(None)),
    ("echo_nested_option", Some(9)),
    ("echo_map_str_u32", {"b": 2, "a": 1}),
    ("echo_map_u16_bool", {300: True, 2: False}),
    ("echo_set_u16", {256, 5, 1}),
    ("echo_ipv4", IPv4Address("192.168.1.2")),
    ("echo_ipv6", IPv6Address("2001:db8::1")),
    ("echo_ip", IPv4Address("10.0.0.1")),
    ("echo_ip", IPv6Address("::1")),
    ("echo_socket_address", SocketAddress(IPv4Address("127.0.0.1"), 4433)),
    ("echo_socket_address", SocketAddress(IPv6Address("2001:db8::1"), 443)),
    ("echo_url", "https://example.com/a?b=c"),
    ("echo_time", datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)),
    ("echo_point", Point(1, -1)),
    ("echo_profile", Profile("ada", ["x", "yy"], None, Point(7, 8))),
    ("echo_profile", Profile("ada", [], "lovelace", Point(7, 8))),
    ("echo_shape", Empty()),
    ("echo_shape", Circle(2.5)),
    ("echo_shape", Rect(3, 4)),
    ("echo_shape", Labeled("p", Point(1, 2))),
]


def client_tls(certificates: Path) -> ClientTls:
    return ClientTls(
        ca=str(certificates / "ca.pem"),
        certificate=str(certificates / "client.pem"),
        key=str(certificates / "client.key"),
    )


def first_certificate(path: Path) -> bytes:
    end = "-----END CERTIFICATE-----"
    return PEM_cert_to_DER_cert(path.read_text(encoding="ascii").split(end)[0] + end + "\n")


def server_tls(certificates: Path) -> ServerTls:
    return ServerTls(
        str(certificates / "server.pem"),
        str(certificates / "server.key"),
        client_ca=str(certificates / "ca.pem"),
    )


async def report_of(program: Path, address: str, certificates: Path) -> dict[str, str]:
    """What the crate's client says of a server: ``ok``, or what went wrong, for every case."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        "call",
        address,
        str(certificates),
        "localhost",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert stdout, stderr.decode()
    report: dict[str, str] = json.loads(stdout)
    return report


def failures(report: dict[str, str]) -> dict[str, str]:
    """What is not ``ok``."""
    return {case: outcome for case, outcome in report.items() if outcome != "ok"}
