"""What TypeScript is written for a service: read here, compiled and run in `test_running`."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, make_dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, NewType

import pytest
import typing_extensions
from jetstream import U8, U64, service
from jetstream.codegen import GenerationError, TypeScriptOptions, typescript
from jetstream.codegen._model import Alias, Leaf, Mapped, Named
from jetstream.codegen._names import RUNTIME
from jetstream.codegen._typescript import Mentioned, declaration

from tests.codegen.everything import Circle, Everything, Point
from tests.codegen.nasty import Promise
from tests.codegen.shop import Shop
from tests.codegen.tools import PACKAGE, compile_all, generate, misformatted, needs_tools

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "JETSTREAM_UPDATE_SNAPSHOTS"


def written(*services: type, name: str = "types.ts", **options: Any) -> str:
    return typescript(services, TypeScriptOptions(**options))[name]


class TestGolden:
    def test_the_files_are_those_that_were_read(self):
        """Set the variable to write them; then read what changed."""
        files = typescript([Shop], TypeScriptOptions(command="tests.codegen.shop"))
        if os.environ.get(UPDATE):
            GOLDEN.mkdir(exist_ok=True)
            for name, text in files.items():
                (GOLDEN / name).write_text(text)
        assert (
            set(files)
            == {path.name for path in GOLDEN.iterdir()}
            == {
                "index.ts",
                "shop.ts",
                "types.ts",
            }
        )
        for name, text in files.items():
            assert text == (GOLDEN / name).read_text(), name


class TestStability:
    def test_the_order_of_services_does_not_matter(self):
        assert typescript([Shop, Everything, Promise]) == typescript([Promise, Everything, Shop])
        assert typescript([Shop, Shop]) == typescript([Shop])

    def test_nor_does_it_for_what_a_union_is_called(self, monkeypatch):
        """Where both of two modules have a name for it."""
        union = Circle | Point
        services = []
        for name in ("one", "two"):
            module = ModuleType(name)
            setattr(module, f"Of{name.title()}", union)
            monkeypatch.setitem(sys.modules, name, module)

            async def put(self, it: union) -> None: ...

            cls = type(name.title(), (), {"put": put, "__module__": name})
            services.append(service(cls))
        files = typescript(services)
        assert "export type OfOne =" in files["types.ts"]
        assert typescript(reversed(services)) == files

    def test_neither_hashes_nor_imports_matter(self):
        program = (
            "import hashlib, importlib, sys\n"
            "for each in sys.argv[1:]:\n"
            "    importlib.import_module(f'tests.codegen.{each}')\n"
            "from tests.codegen.everything import Everything\n"
            "from tests.codegen.shop import Shop\n"
            "from jetstream.codegen import typescript\n"
            "print(hashlib.sha256(repr(typescript([Everything, Shop])).encode()).hexdigest())\n"
        )
        outputs = {
            subprocess.run(
                [sys.executable, "-c", program, *modules],
                env=os.environ | {"PYTHONHASHSEED": seed},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed, modules in (("1", ["shop", "everything"]), ("2", ["everything", "shop"]))
        }
        assert len(outputs) == 1

    def test_files_say_nothing_of_where_and_when(self):
        for text in typescript([Everything, Shop]).values():
            assert str(Path(__file__).parents[2]) not in text
            assert "site-packages" not in text


class TestImports:
    def test_relative_ones_end_as_they_are_told(self):
        text = written(Shop, name="shop.ts", extension=".js")
        assert 'from "./types.js";' in text
        assert 'from "./types";' in written(Shop, name="shop.ts", extension="")
        assert 'export * from "./shop.ts";' in written(Shop, name="index.ts", extension=".ts")

    def test_the_runtime_can_be_another(self):
        for name in ("shop.ts", "types.ts"):
            text = written(Shop, name=name, runtime="@acme/jetstream")
            assert 'from "@acme/jetstream";' in text
            assert "jetstream-client" not in text

    def test_without_types_there_is_no_file_of_them(self):
        @service
        class Plain:
            async def ping(self) -> None: ...

        files = typescript([Plain])
        assert set(files) == {"plain.ts", "index.ts"}
        assert "types" not in files["index.ts"]
        assert "bigint" not in files["plain.ts"]


class TestNames:
    def test_what_is_imported_is_there(self):
        exported = (PACKAGE / "src" / "index.ts").read_text()
        names = set(re.findall(r"\w+", exported))
        assert names >= RUNTIME

    @needs_tools
    def test_those_that_mean_something_compile(self, tmp_path):
        api = generate(tmp_path, Promise)
        assert compile_all(tmp_path) == ""
        assert misformatted(api) == ""

    def test_types_get_an_underscore_and_keep_their_name_for_the_wire(self):
        text = written(Promise)
        assert 'export const Channel_: Plan<Channel_> = struct<Channel_>("Channel", {' in text
        # The key of a union is what JSON has.
        assert "{ readonly Channel: Channel_ } | { readonly Context: Context_ }" in text

    def test_parameters_get_one_and_frames_do_not_see_it(self):
        text = written(Promise, name="promise.ts")
        assert '"delete", [options__, options_, undefined_], options' in text
        assert '["options", option_],' in text
        assert '"subscribe", [this_, arguments_, ctx_], options' in text
        assert "Map_: number = 1" in text
        assert "  new(class_: BoxOfChannelOrContext, options?" in text
        assert '  "new"(class_: BoxOfChannelOrContext, ctx: ' in text  # else a constructor

    @needs_tools
    def test_a_parameter_does_not_stand_for_an_enum_in_a_default(self, tmp_path):
        color = Enum("color", {"red": "r"})
        style = make_dataclass("Style", [("c", color)], frozen=True)
        either = make_dataclass("Either", [("style", list[style])], frozen=True)
        red = either([style(color.red)])

        @service
        class Paint:
            async def paint(self, it: either = red, color: U8 = 1, Style: U8 = 2) -> None: ...  # noqa: N803

        text = written(Paint, name="paint.ts")
        assert "it: Either = { style: [{ c: color.red }] }," in text
        # A type's name is no value, so only the enum's is taken.
        assert "    color_: number = 1,\n    Style: number = 2,\n" in text
        api = generate(tmp_path, Paint)
        assert compile_all(tmp_path) == ""
        assert misformatted(api) == ""

    @needs_tools
    def test_members_that_are_no_names_are_quoted(self, tmp_path):
        odd = ["my-key", "class", "a b", 'say "hi"', "it's", "a²", "größe", "a$", "ok"]
        size = Enum("Size", [(each, at) for at, each in enumerate(odd)])

        @service
        class Shop:
            async def put(self, a: size = size["my-key"], b: size = size["class"]) -> None: ...

        text = written(Shop)
        for line in ('"my-key": 0,', "class: 1,", "'say \"hi\"': 3,", '"a²": 5,', "größe: 6,"):
            assert f"\n  {line}\n" in text
        text = written(Shop, name="shop.ts")
        assert 'a: Size = Size["my-key"], b: Size = Size.class, options' in text
        api = generate(tmp_path, Shop)
        assert compile_all(tmp_path) == ""
        assert misformatted(api) == ""

    @needs_tools
    def test_members_that_are_numbers_keep_their_places(self, tmp_path):
        version = Enum("Version", ["1", "2", "10", "x", "01", "4294967295"])

        @service
        class Shop:
            async def put(self, a: version = version["10"]) -> None: ...

        assert 'a: Version = Version["10"]' in written(Shop, name="shop.ts")
        api = generate(tmp_path, Shop)
        assert compile_all(tmp_path) == ""
        assert misformatted(api) == ""

    @pytest.mark.parametrize(
        ("names", "bad"),
        [(["x", "1"], "1"), (["2", "1"], "2"), (["a", "$"], "$"), (["$type"], "$type")],
    )
    def test_members_that_would_be_lost_or_elsewhere_are_refused(self, names, bad):
        kind = Enum("Kind", names)

        @service
        class Shop:
            async def put(self, a: kind) -> None: ...

        with pytest.raises(GenerationError) as caught:
            typescript([Shop])
        assert str(caught.value).startswith(f"Kind.{bad}: the name {bad!r} is ")
        assert "; rename the member: frames carry its place" in str(caught.value)

    @pytest.mark.parametrize("name", ["constructor", "then", "toString", "hasOwnProperty"])
    def test_methods_that_every_object_has_are_refused(self, name):
        async def method(self) -> None: ...

        cls = service(type("Shop", (), {name: method}))
        with pytest.raises(GenerationError, match=f"^Shop.{name}: the name '{name}' .*; rename"):
            typescript([cls])

    def test_a_field_that_is_the_prototype_is_refused(self):
        bad = make_dataclass("Bad", [("__proto__", int)], frozen=True)

        @service
        class Shop:
            async def put(self, bad: bad) -> None: ...

        with pytest.raises(GenerationError, match=r"^Bad.__proto__: .* rename the field"):
            typescript([Shop])

    def test_two_classes_of_one_name_are_refused_with_the_way_out(self):
        first = dataclass(frozen=True)(type("Point", (), {"__annotations__": {"x": int}}))
        second = dataclass(frozen=True)(type("Point", (), {"__annotations__": {"y": str}}))
        first.__module__, second.__module__ = "maps", "shapes"

        @service
        class Shop:
            async def put(self, a: first, b: second) -> None: ...

        with pytest.raises(GenerationError) as caught:
            typescript([Shop])
        told = str(caught.value)
        assert told == (
            "the class shapes.Point: the name 'Point' is taken by the class maps.Point; rename one "
            "of them in Python, or here: --rename shapes.Point=Point2"
        )
        text = written(Shop, renames={"shapes.Point": "Spot"})
        assert 'export const Spot: Plan<Spot> = struct<Spot>("Point", { y: string });' in text

    def test_a_type_called_as_a_service_or_its_channel_is_refused(self):
        @dataclass(frozen=True)
        class ShopChannel:
            x: int

        @service
        class Shop:
            async def put(self, a: ShopChannel) -> None: ...

        with pytest.raises(GenerationError, match=r"'ShopChannel' is taken by the service .*Shop"):
            typescript([Shop])

    def test_two_services_of_one_file_are_refused(self):
        async def ping(self) -> None: ...

        services = [service(type(name, (), {"ping": ping})) for name in ("HttpApi", "HTTPApi")]
        with pytest.raises(GenerationError, match=r"the file http-api.ts .* --rename"):
            typescript(services)

    def test_a_union_of_classes_of_one_name_is_refused(self):
        variants = [
            dataclass(frozen=True)(type("Point", (), {"__annotations__": {"x": kind}}))
            for kind in (int, str)
        ]

        @service
        class Shop:
            async def put(self, a: variants[0] | variants[1]) -> None: ...

        variants[1].__module__ = "other"
        with pytest.raises(GenerationError, match="two classes called Point"):
            typescript([Shop], TypeScriptOptions(renames={"other.Point": "Spot"}))

    def test_a_rename_of_nothing_is_refused(self):
        with pytest.raises(GenerationError, match=r"--rename shop.Nothing=..."):
            typescript([Shop], TypeScriptOptions(renames={"shop.Nothing": "X"}))

    @pytest.mark.parametrize("name", ["Map", "1x", "a b", "string"])
    def test_a_rename_to_what_means_something_is_refused(self, name):
        with pytest.raises(GenerationError, match=f"--rename {name}: "):
            typescript([Shop], TypeScriptOptions(renames={"tests.codegen.shop.Order": name}))

    def test_a_service_can_be_renamed(self):
        files = typescript([Shop], TypeScriptOptions(renames={"tests.codegen.shop.Shop": "Store"}))
        assert "export class StoreChannel extends Channel {" in files["store.ts"]
        assert 'defineService<StoreHandler>("shop", "1.1.0",' in files["store.ts"]

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("Echo", "echo"),
            ("UserAccounts", "user-accounts"),
            ("HTTPServer2", "http-server2"),
            ("snake_case", "snake-case"),
            ("Types", "types-service"),
            ("Index", "index-service"),
        ],
    )
    def test_files_are_called_as_their_class(self, name, file):
        async def ping(self) -> None: ...

        assert f"{file}.ts" in typescript([service(type(name, (), {"ping": ping}))])


class TestTypes:
    def test_aliases_keep_their_names(self):
        nested = typing_extensions.TypeAliasType("Names", dict[str, U64])
        number = NewType("Number", U8)

        @service
        class Shop:
            async def put(self, a: nested, b: number) -> nested: ...

        text = written(Shop)
        assert "export type Names = ReadonlyMap<string, bigint>;" in text
        assert "export const Names: Plan<Names> = map(string, u64);" in text
        assert "export type Number = number;" in text

    def test_a_union_without_a_name_gets_one_of_its_variants(self):
        assert "export type CircleOrPoint =" in written(Everything)

    def test_a_union_with_a_name_has_it(self):
        assert "/** What can be drawn. */\nexport type Shape =" in written(Everything)

    def test_a_type_statement_names_a_union(self):
        text = written(Everything)
        assert (
            "/** As a `type` statement makes it. */\n"
            "export type Figure = { readonly Point: Point } | { readonly Circle: Circle };" in text
        )
        assert "PointOrCircle" not in text

    def test_a_type_may_be_made_of_itself_alone(self):
        """`type Tree = dict[str, Tree]`, which needs Python 3.12."""
        tree = Alias("Tree", Mapped(Leaf("str"), Named("Tree")), "")
        assert declaration(tree, Mentioned(), lambda _: False).splitlines() == [
            "export type Tree = ReadonlyMap<string, Tree>;",
            "export const Tree: Plan<Tree> = map(",
            "  string,",
            "  lazy(() => Tree),",
            ");",
        ]

    def test_types_that_contain_each_other_wait(self):
        text = written(Everything)
        assert 'union<Term>("Term", { Number, Sum: lazy(() => Sum) })' in text
        assert 'struct<Sum>("Sum", { left: Term, right: Term })' in text

    def test_an_enum_has_what_javascript_has_of_its_values(self):
        class Mixed(Enum):
            A = 1
            B = "b"
            C = None
            D = 2.5
            E = 2**60

        class Clash(Enum):
            A = "B"
            B = None

        @service
        class Shop:
            async def put(self, a: Mixed, b: Clash) -> None: ...

        text = written(Shop)
        members = 'A: 1, B: "b", C: "C", D: 2.5, E: "E"'
        assert f'enumeration("Mixed", {{ {members} }})' in text
        assert 'enumeration("Clash", { A: "A", B: "B" })' in text

    def test_bigint_is_told_where_there_is_one(self):
        files = typescript([Shop])
        assert "bigint" in files["types.ts"].splitlines()[1]
        assert "bigint" not in files["index.ts"]


class TestDefaults:
    def test_what_can_be_sent_is_filled_in(self):
        text = written(Everything, name="everything.ts")
        channel = text.partition("export class")[2]
        for line in (
            "count: bigint = 5n,",
            "ratio: number = 1e-7,",
            "text: string = 'say \"hi\"',",
            "raw: Uint8Array = new Uint8Array([0, 255]),",
            "nothing: string | null = null,",
            "colour: Colour = Colour.GREEN,",
            "point: Point = { x: 1, y: -2 },",
            "shape: Shape = { Square: { side: 2 } },",
            "some: { readonly some: bigint | null } | null = { some: null },",
            'tags: ReadonlySet<string> = new Set(["a", "b"]),',
            'since: Date = new Date("2026-01-31T12:00:00.001Z"),',
            'host: string = "127.0.0.1",',
            'at: SocketAddress = { ip: "::1", port: 80 },',
            "order: Serial = -1n,",
            "last: boolean = false,",
        ):
            assert f"\n    {line}\n" in channel, line

    def test_what_cannot_be_sent_is_no_default(self):
        text = written(Everything, name="everything.ts")
        assert "\n    wrong: number,\n" in text.partition("export class")[2]

    def test_a_handler_gets_all(self):
        handler = written(Everything, name="everything.ts").partition("export const")[0]
        assert " = " not in handler.partition("export interface")[2]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1e300, "1e300"),
            (1e-07, "1e-7"),
            (float("inf"), "Infinity"),
            (float("-inf"), "-Infinity"),
            (float("nan"), "NaN"),
        ],
    )
    def test_floats(self, value, text):
        @service
        class Shop:
            async def put(self, x: float = value) -> None: ...

        assert f"put(x: number = {text}, options" in written(Shop, name="shop.ts")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("", '""'),
            ("it's", '"it\'s"'),
            ('"', "'\"'"),
            ("a\\b\n\t", '"a\\\\b\\n\\t"'),
            ("\0\u2028é", '"\\u0000\\u2028é"'),
            ("\U0001f680\U000e0001", '"\U0001f680\\udb40\\udc01"'),
        ],
    )
    def test_strings(self, value, text):
        @service
        class Shop:
            async def put(self, x: str = value) -> None: ...

        assert f"put(x: string = {text}, options" in written(Shop, name="shop.ts")


class TestDocs:
    def test_they_come_along(self):
        text = written(Everything, name="everything.ts")
        lines = """
  /**
   * Adds.
   *
   * @param a - One.
   * @param b - The other,
   *   on two lines.
   * @returns The sum.
   * @throws OverflowError: It does not fit.
   * @throws JetStreamError: Anything else.
   */
"""
        handler, _, channel = text.partition("export class")
        assert f"{lines}  add(a: number, b: number, ctx: Context)" in handler
        assert f"{lines}  add(a: number, b: number = 0, options?: CallOptions)" in channel

    def test_fields_have_theirs_from_either_place(self):
        text = written(Everything)
        assert "  /**\n   * In metres; at least 0,\n   * at most 10.\n   */\n" in text
        assert "  /** Warm. */\n  RED: 1," in text
        assert "/** Counts. */\nexport type Serial" in text

    def test_nothing_in_them_ends_the_comment_or_is_a_tag(self):
        assert "`side * side` is the area. Not *\\/ the end." in written(Everything)
        text = written(Promise, name="promise.ts")
        assert " * Whose docstring says *\\/ and `code` and `more` and ${this}." in text
        assert " * \\@param is no tag here." in text

    def test_what_a_decorator_wrote_is_none(self):
        assert "Point(x" not in written(Everything)
        assert "Square(side" not in written(Everything)

    def test_of_parameters_with_other_names(self):
        text = written(Everything, name="everything.ts")
        assert "@param default_ - A word of JavaScript's." in text
