"""`jetstream gen`: typed clients in other languages, from service classes.

What is written is `jetstream.codegen`'s business; here are the arguments and what is said of them.
"""

from __future__ import annotations

import shlex
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import click

from jetstream.cli._loading import load, load_module

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from jetstream.codegen import Change

_option = partial(click.option, show_envvar=True)

_DEFAULTS = {"extension": ".js", "runtime": "jetstream-client"}


@click.group()
def gen() -> None:
    """Write typed clients for services in other languages."""


@gen.command()
@click.argument("targets", metavar="MODULE[:NAME]...", nargs=-1, required=True)
@_option(
    "--out",
    "-o",
    "folder",
    envvar="JETSTREAM_GEN_TS_OUT",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go. Generated files there that are no longer wanted are removed.",
)
@_option(
    "--check", is_flag=True, help="Write nothing; fail, and show how, if the files would change."
)
@_option(
    "--extension",
    type=click.Choice([".js", ".ts", "none"]),
    default=_DEFAULTS["extension"],
    help="What relative imports end in: none only for bundlers.",
)
@_option("--runtime", default=_DEFAULTS["runtime"], help="What is imported for the client itself.")
@_option(
    "--rename",
    "renames",
    envvar="JETSTREAM_GEN_TS_RENAME",
    multiple=True,
    metavar="MODULE.CLASS=NAME",
    help="Another name for a class; may be repeated.",
)
@_option("--app-dir", default=".", help="Where modules are looked for.")
def ts(
    *,
    targets: tuple[str, ...],
    folder: Path,
    check: bool,
    extension: str,
    runtime: str,
    renames: tuple[str, ...],
    app_dir: str,
) -> None:
    """Write clients and handlers in TypeScript.

    MODULE:NAME is a service class, a list of them or a router, such as app:Echo; MODULE alone means
    all service classes that are defined in it. Several may be given, also with commas between.
    """
    from jetstream._schema import SchemaError
    from jetstream.codegen import (
        GenerationError,
        TypeScriptOptions,
        apply,
        changes,
        typescript,
    )

    names = sorted({each for target in targets for each in _split(target)})
    options = [
        *([] if extension == _DEFAULTS["extension"] else ["--extension", extension]),
        *([] if runtime == _DEFAULTS["runtime"] else ["--runtime", runtime]),
        *(part for each in sorted(renames) for part in ("--rename", each)),
    ]
    sys.path.insert(0, str(Path(app_dir).resolve()))
    try:
        files = typescript(
            [each for name in names for each in _services(name)],
            TypeScriptOptions(
                extension="" if extension == "none" else extension,
                runtime=runtime,
                renames=dict(map(_rename, renames)),
                command=shlex.join([*names, *options]),
            ),
        )
        wanted = changes(files, folder)
    except (GenerationError, SchemaError) as error:
        raise click.ClickException(str(error)) from error
    if check:
        if app_dir != ".":
            options += ["--app-dir", app_dir]
        command = ["jetstream", "gen", "ts", *names, *options, "-o", str(folder)]
        _check(wanted, shlex.join(command))
        return
    apply(wanted)
    for each in wanted:
        click.echo(f"{each.verb} {each.path}")
    if not wanted:
        click.echo(f"nothing has changed in {folder}")


def _check(wanted: Sequence[Change], command: str) -> None:
    from jetstream.codegen import diff

    if not wanted:
        return
    for each in wanted:
        click.echo(diff(each))
    count = "1 file is" if len(wanted) == 1 else f"{len(wanted)} files are"
    raise click.ClickException(f"{count} not as the services are; run: {command}")


def _rename(text: str) -> tuple[str, str]:
    full, equals, name = text.partition("=")
    if not equals or "." not in full or not name:
        raise click.UsageError(f"--rename {text!r}: write MODULE.CLASS=NAME.")
    return full, name


def _split(target: str) -> list[str]:
    """The names in one argument, of which there is at least one.

    With none, as where a variable of the shell is not set, all files would be no longer wanted.
    """
    names = [each.strip() for each in target.split(",") if each.strip()]
    if not names:
        raise click.UsageError(f"{target!r}: name at least one MODULE or MODULE:Service.")
    return names


def _services(target: str) -> list[type]:
    """The service classes that one argument means."""
    from jetstream._router import Router

    if ":" not in target:
        return _all_of(load_module(target))
    found: Any = load(target)
    if isinstance(found, Router):
        found = [each.definition.cls for each in found.services]
    listed = isinstance(found, list | tuple)
    candidates = cast("Sequence[object]", found) if listed else [found]
    services = [each for each in candidates if _is_service(each, own=False)]
    if not services or len(services) < len(candidates):
        raise click.ClickException(
            f"{target} is {found!r}: it must be a class decorated with @service, a list of such "
            "classes, or a router"
        )
    return services


def _all_of(module: ModuleType) -> list[type]:
    """The service classes of a module: in its `__all__`, else defined in it or below it."""
    listed: list[str] | None = getattr(module, "__all__", None)
    names = vars(module) if listed is None else listed
    found: dict[str, type] = {
        name: value
        for name in names
        if not name.startswith("_") and _is_service(value := _offered(module, name), own=True)
    }
    here = module.__name__
    inside = [
        each
        for each in found.values()
        if listed is not None or f"{each.__module__}.".startswith(f"{here}.")
    ]
    if not inside:
        advice = (
            f"it only imports {', '.join(sorted(found))}: write {here}:{min(found)}"
            if found
            else "name the module of one"
        )
        raise click.ClickException(f"no class with @service is defined in {here}; {advice}")
    return inside


def _offered(module: ModuleType, name: str) -> object:
    """What a module has under a name that it offers; `None` for a module below it."""
    try:
        return getattr(module, name)
    except AttributeError:
        here = module.__name__
        # `import *` would import such a module; one that is imported already is no service either.
        if hasattr(module, "__path__") and find_spec(f"{here}.{name}"):
            return None
        raise click.ClickException(
            f"{here} has no {name!r}, which is in its __all__: mend that, or write {here}:NAME"
        ) from None


def _is_service(value: object, *, own: bool) -> TypeGuard[type]:
    """Whether it is a service class; `own` if not only by what it inherits."""
    from jetstream._definition import TABLE

    return isinstance(value, type) and (TABLE in vars(value) if own else hasattr(value, TABLE))
