"""Checks the tree of crates against deny.toml where cargo-deny is not installed.

Licences, banned crates, versions that are too old, and sources; it reads `cargo metadata`, which
needs no network once the crates are fetched. Security advisories need a database and are left to
cargo-deny.

    python scripts/dependencies.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOKEN = re.compile(r"\(|\)|[^\s()]+")

Package = dict[str, Any]
Node = dict[str, Any]


def permits(expression: str, allowed: frozenset[str]) -> bool:
    """Whether a licence expression (SPDX; also the old spelling with a slash) can be satisfied.

    Raises:
        ValueError: It is no expression.
    """
    tokens: list[str] = TOKEN.findall(expression.replace("/", " OR "))

    def take() -> str:
        if not tokens:
            msg = f"the licence {expression!r} breaks off"
            raise ValueError(msg)
        return tokens.pop(0)

    def either() -> bool:
        result = both()
        while tokens and tokens[0] == "OR":
            take()
            result = both() or result
        return result

    def both() -> bool:
        result = one()
        while tokens and tokens[0] == "AND":
            take()
            result = one() and result
        return result

    def one() -> bool:
        name = take()
        if name == "(":
            result = either()
            if take() != ")":
                msg = f"the licence {expression!r} has an open bracket"
                raise ValueError(msg)
            return result
        if tokens and tokens[0] == "WITH":
            name = f"{name} {take()} {take()}"
        return name in allowed

    result = either()
    if tokens:
        msg = f"the licence {expression!r} goes on with {tokens[0]!r}"
        raise ValueError(msg)
    return result


def version_key(version: str) -> tuple[tuple[int, ...], bool]:
    """A version as something to compare: a pre-release comes before its release."""
    numbers, _, before = version.partition("+")[0].partition("-")
    return tuple(int(number) for number in numbers.split(".")), not before


def is_banned(package: Package, spec: str) -> bool:
    """Whether a package is what `name` or `name:<version` says."""
    name, _, below = spec.partition(":")
    if package["name"] != name:
        return False
    return not below or version_key(package["version"]) < version_key(below.removeprefix("<"))


def dependents(name: str, nodes: list[Node]) -> frozenset[str]:
    """The packages that depend on `name` directly, by the tree that was resolved."""
    return frozenset(
        node_name(node["id"])
        for node in nodes
        if any(node_name(dependency["pkg"]) == name for dependency in node["deps"])
    )


def node_name(identifier: str) -> str:
    """The name of a package in the identifier that Cargo gives it."""
    path, _, last = identifier.rpartition("#")
    name, at, _ = last.partition("@")
    return name if at else path.rpartition("/")[2]


def problems(
    packages: list[Package], config: dict[str, Any], nodes: list[Node] | None = None
) -> list[str]:
    """What is wrong, one line each; `nodes` say who depends on whom, with which features."""
    nodes = nodes or []
    allowed = frozenset(config["licenses"]["allow"])
    registries = {f"registry+{url}" for url in config["sources"]["allow-registry"]}
    found: list[str] = []
    for package in packages:
        what = f"{package['name']} {package['version']}"
        licence = package["license"]
        if licence is None:
            found.append(f"{what}: has no licence expression")
        elif not permits(licence, allowed):
            found.append(f"{what}: the licence {licence} is not among those in deny.toml")
        if package["source"] is not None and package["source"] not in registries:
            found.append(f"{what}: comes from {package['source']}")
        found += [
            f"{what}: banned ({ban['crate']}): {ban['reason']}"
            for ban in config["bans"]["deny"]
            if is_banned(package, ban["crate"])
            and not ("wrappers" in ban and dependents(package["name"], nodes) <= {*ban["wrappers"]})
        ]
    for ban in config["bans"].get("features", []):
        chosen = [node["features"] for node in nodes if node_name(node["id"]) == ban["crate"]]
        found += [
            f"{ban['crate']}: its feature {feature} is banned: {ban['reason']}"
            for feature in ban["deny"]
            if any(feature in features for features in chosen)
        ]
    return found


def main() -> int:
    """Reads the tree, prints what is wrong, returns the exit status."""
    config = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return done.returncode
    metadata = json.loads(done.stdout)
    found = problems(metadata["packages"], config, metadata["resolve"]["nodes"])
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
