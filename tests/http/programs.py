"""Programs that others wrote, run against a server in this loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from jetstream.testing import ThrowawayCA

from tests.helpers import authority, client_identity
from tests.http.serving import tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from jetstream import ServerTls


@dataclass(frozen=True)
class Said:
    """What a program said."""

    code: int
    out: bytes
    err: str

    def well(self) -> bytes:
        """What it wrote, if it ended well."""
        assert self.code == 0, (self.code, self.err, self.out[-2000:])
        return self.out


def need(program: str, package: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing; on Debian and Ubuntu: apt install {package}")
    return path


def environment() -> dict[str, str]:
    """Ours, without what would send requests to a proxy."""
    names = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    return {name: value for name, value in os.environ.items() if name.lower() not in names}


@contextlib.asynccontextmanager
async def running(*command: str, **options: Any) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A program that runs until here it does no longer."""
    options.setdefault("stdin", asyncio.subprocess.DEVNULL)
    options.setdefault("env", environment())
    process = await asyncio.create_subprocess_exec(*command, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def said_by(*command: str, **options: Any) -> Said:
    """What a program says until it ends."""
    pipe = asyncio.subprocess.PIPE
    async with running(*command, stdout=pipe, stderr=pipe, **options) as process:
        out, err = await process.communicate()
        assert process.returncode is not None
        return Said(process.returncode, out, err.decode(errors="replace"))


def written(folder: Path, issued: Any = None) -> tuple[Path, Path, Path]:
    """Our authority, and the certificate and the key of a client, in files."""
    ca, chain, key = folder / "ca.pem", folder / "chain.pem", folder / "key.pem"
    ca.write_bytes(authority().ca_pem)
    if issued is not None:
        chain.write_bytes(issued.chain_pem)
        key.write_bytes(issued.key_pem)
    return ca, chain, key


WRONG = ("none", "wrong", "expired", "revoked")
"""Clients that are not let in where a certificate is required."""


def identity(case: str) -> tuple[Any, ServerTls]:
    """The certificate that a client shows, and a server that lets in only good ones."""
    ca = authority()
    issued: Any
    match case:
        case "good":
            issued = client_identity()
        case "none":
            issued = None
        case "wrong":
            issued = ThrowawayCA().issue_client("ada")
        case "expired":
            issued = ca.expired_client("ada")
        case "revoked":
            issued = ca.issue_client("eve")
            ca.revoke(issued)
        case _:
            raise ValueError(case)
    return issued, tls(client_ca=ca.ca_pem, client_crls=ca.crl_pem)
