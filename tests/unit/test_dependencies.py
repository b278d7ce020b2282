"""The stand-in for cargo-deny: what it lets pass, and what it does not."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
spec = importlib.util.spec_from_file_location("dependencies", ROOT / "scripts" / "dependencies.py")
dependencies = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dependencies)

CONFIG = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
INDEX = "registry+https://github.com/rust-lang/crates.io-index"


def package(**fields):
    return {"name": "some", "version": "1.0.0", "license": "MIT", "source": INDEX, **fields}


@pytest.mark.parametrize(
    ("expression", "permitted"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only/MIT", True),
        ("MIT AND ISC", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT AND ISC", True),
        ("(GPL-3.0-only OR MIT) AND MPL-2.0", False),
        ("(MIT OR Apache-2.0) AND ISC", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
    ],
)
def test_licences(expression, permitted):
    allowed = frozenset({"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"})
    assert dependencies.permits(expression, allowed) is permitted


@pytest.mark.parametrize("expression", ["", "MIT OR", "(MIT", "MIT ISC", "MIT)"])
def test_no_licence(expression):
    with pytest.raises(ValueError, match="the licence"):
        dependencies.permits(expression, frozenset({"MIT", "ISC"}))


@pytest.mark.parametrize(
    ("version", "banned"),
    [("0.23.45", True), ("0.23.46-rc.1", True), ("0.23.46", False), ("0.24.0", False)],
)
def test_versions_below_their_floor(version, banned):
    found = dependencies.problems([package(name="rustls", version=version)], CONFIG)
    assert bool(found) is banned


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"license": "GPL-3.0-only"}, "some 1.0.0: the licence GPL-3.0-only is not among"),
        ({"license": None}, "has no licence expression"),
        ({"name": "openssl-sys"}, r"banned \(openssl-sys\): rustls is the one"),
        ({"source": "git+https://example.org/some"}, "comes from git"),
    ],
)
def test_what_is_refused(fields, words):
    (line,) = dependencies.problems([package(**fields)], CONFIG)
    assert re.search(words, line)


def node(name, *dependencies, features=()):
    def identifier(name):
        return f"registry+https://example.org/index#{name}@1.0.0"

    deps = [{"pkg": identifier(dependency)} for dependency in dependencies]
    return {"id": identifier(name), "deps": deps, "features": list(features)}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("h2", "tokio"), node("tokio")], None),
        ([node("h2", "tokio"), node("mine", "tokio"), node("tokio")], r"banned \(tokio\)"),
        ([node("h2", "tokio"), node("tokio", features=["sync", "rt"])], "its feature rt is banned"),
    ],
)
def test_what_only_some_may_use(nodes, words):
    found = dependencies.problems([package(name="tokio")], CONFIG, nodes)
    assert [bool(re.search(words, line)) for line in found] == [True] if words else not found


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("registry+https://github.com/rust-lang/crates.io-index#tokio@1.0.0", "tokio"),
        ("path+file:///somewhere/rust/net#jetstream-net@0.1.0", "jetstream-net"),
        ("path+file:///somewhere/proto#0.1.0", "proto"),
    ],
)
def test_names_in_identifiers(identifier, name):
    assert dependencies.node_name(identifier) == name


def test_what_passes():
    assert dependencies.problems([package(), package(source=None)], CONFIG) == []


def test_every_ban_says_why():
    assert all(ban["reason"] for ban in CONFIG["bans"]["deny"])
