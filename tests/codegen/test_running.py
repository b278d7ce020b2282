"""What is generated compiles, is formatted, calls the real server and serves."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from pathlib import Path

import pytest
from jetstream import Done, Router, Server, SocketAddress

from tests.codegen.everything import (
    Colour,
    Everything,
    Map,
    Number,
    Page,
    Point,
)
from tests.codegen.tools import PACKAGE, compile_all, generate, misformatted, needs_tools
from tests.helpers import run

pytestmark = needs_tools

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("extension", "resolution"),
    [
        (".js", "nodenext"),
        pytest.param(".ts", "nodenext", marks=pytest.mark.slow),
        pytest.param("", "bundler", marks=pytest.mark.slow),
    ],
)
def test_it_compiles(tmp_path, extension, resolution):
    generate(tmp_path, Everything, extension=extension)
    assert compile_all(tmp_path, resolution) == ""


def test_the_compiler_is_asked(tmp_path):
    """That the tests above would see a mistake."""
    api = generate(tmp_path, Everything)
    types = api / "types.ts"
    types.write_text(types.read_text().replace("radius: f64", "radius: string"))
    assert "Type 'string' is not assignable to type 'number'" in compile_all(tmp_path)


def test_nothing_is_left_for_prettier(tmp_path):
    assert misformatted(generate(tmp_path, Everything)) == ""


class EverythingImpl:
    """Gives back what it gets."""

    def __init__(self):
        self.drawing = None

    async def ping(self):
        pass

    async def widths(self, widths):
        return widths

    async def add(self, a, b):
        return a + b

    async def addresses(self, four, six, either):
        return SocketAddress(either, 80)

    async def visit(self, home, when, raw):
        return when

    async def draw(self, drawing):
        self.drawing = drawing
        return drawing

    async def shape(self, shape):
        return [shape]

    async def evaluate(self, term):
        if isinstance(term, Number):
            return term.value
        return await self.evaluate(term.left) + await self.evaluate(term.right)

    async def unnamed(self, either):
        return either if isinstance(either, Point) else None

    async def named(self, figure):
        return figure, 1

    async def paint(self, colour, day, thing, step):
        return Map(colour.name)

    async def page(self, orders):
        return Page(list(map(str, orders.items)), 7)

    async def nested(self, values):
        ((number, text),) = values
        return {Colour.RED: {text: (number,)}}

    async def defaults(self, *given):
        parameters = list(inspect.signature(Everything.defaults).parameters.values())[1:]
        assert len(given) == len(parameters)
        # The wire has no microseconds.
        wanted = [
            each.default.replace(microsecond=1000) if each.name == "since" else each.default
            for each in parameters
        ]
        return [
            each.name
            for each, got, default in zip(parameters, given, wanted, strict=True)
            if got != default
        ]

    async def words(self, *words):
        return " ".join(map(str, words))

    async def new(self, delete, of):
        return f"{str(delete).lower()} {of}"

    async def packed(self, packed, labelled, empty):
        return packed

    async def ticks(self, every):
        for x in range(3):
            yield Point(x, int(every))
        yield Done(self.drawing)

    async def position(self):
        yield (1.0, 2.0)

    async def total(self, numbers, scale):
        return sum([number async for number in numbers]) * scale

    async def doubled(self, numbers):
        async for number in numbers:
            yield 2 * number


@pytest.fixture
def program(tmp_path):
    """The program, beside what was generated for it."""
    folder = tmp_path / "test"
    folder.mkdir()
    generate(folder, Everything)
    shutil.copy(HERE / "program.ts", folder / "program.ts")
    shutil.copy(PACKAGE / "test" / "unix.ts", tmp_path / "unix.ts")
    return folder / "program.ts"


def test_the_program_compiles_and_what_must_not_does_not(program):
    assert compile_all(program.parents[1]) == ""


def test_it_calls_the_real_server_and_serves(program, tmp_path):
    path = tmp_path / "all.sock"

    async def main():
        router = Router().register(EverythingImpl(), service=Everything)
        async with Server(router, unix=str(path)):
            process = await asyncio.create_subprocess_exec(
                "node",
                "test/run.mjs",
                program,
                path,
                cwd=PACKAGE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                out, _ = await process.communicate()
            except BaseException:
                process.kill()
                await process.wait()
                raise
        assert (process.returncode, out) == (0, b"all is well\n")

    run(main)
