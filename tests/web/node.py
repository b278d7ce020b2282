"""Running programs in TypeScript on Node beside a test."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "typescript"

NODE = shutil.which("node")

needs_node = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules" / "esbuild").is_dir(),
    reason="needs Node 20 or newer, and `make node`",
)


async def start(program: str, *arguments: str) -> asyncio.subprocess.Process:
    """Starts typescript/test/<program>; its errors go to ours."""
    assert NODE is not None
    return await asyncio.create_subprocess_exec(
        NODE,
        "test/run.mjs",
        f"test/{program}",
        *arguments,
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def output(program: str, *arguments: str) -> str:
    """What a program writes, which must end well."""
    process = await start(program, *arguments)
    try:
        out, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{program} ended with {process.returncode}"
    return out.decode()
