"""What the command line's MODULE:NAME means."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from types import ModuleType


def load(where: str) -> Any:
    """What a module has under a name.

    Raises:
        click.ClickException: There is no such module, or it has no such name.
    """
    module_name, colon, attributes = where.partition(":")
    if not colon or not module_name or not attributes:
        raise click.UsageError(f"{where!r}: write MODULE:NAME, such as main:app.")
    found: Any = load_module(module_name)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise click.ClickException(f"{module_name} has no {attributes!r}") from None
    return found


def load_module(name: str) -> ModuleType:
    """A module by its name.

    Raises:
        click.ClickException: There is no such module.
    """
    # `./app` is a path, and `.app` is relative to nothing.
    if name.startswith("."):
        raise click.ClickException(
            f"no module is called {name!r}: write it as after 'import', such as package.module; "
            "--app-dir says where modules are looked for"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # One that the module itself wants is the module's own trouble.
        if error.name is None or not (f"{name}.").startswith(f"{error.name}."):
            raise
        raise click.ClickException(
            f"no module is called {name!r}: --app-dir says where modules are looked for"
        ) from error
