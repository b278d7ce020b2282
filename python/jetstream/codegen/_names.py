"""Names: which ones Python has and TypeScript cannot have, and what becomes of them.

A rule looks at one name alone, so that a new class never changes what another one is called.
"""

from __future__ import annotations

import re

from jetstream.codegen._errors import GenerationError


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


RUNTIME = _set("""
    CallOptions Channel Context Plan SocketAddress Subscription ValueOf defineService stream
    bool bytes enumeration f32 f64 i128 i16 i32 i64 i8 ip ip4 ip6 lazy list map option set
    socketAddress some string struct time tuple u128 u16 u32 u64 u8 union unit url
""")
"""What generated modules import."""

_GLOBALS = _set("""
    Array AsyncGenerator AsyncIterable Date Infinity Iterable Map NaN Object Promise ReadonlyMap
    ReadonlySet Record Set Uint8Array globalThis undefined
""")
"""What generated modules mean when they say it."""

# ECMA-262, 12.7.2, with what is reserved in modules and in strict mode.
_WORDS = _set("""
    arguments await break case catch class const continue debugger default delete do else enum eval
    export extends false finally for function if implements import in instanceof interface let new
    null package private protected public return static super switch this throw true try typeof var
    void while with yield
""")

_TYPES = _set("""
    any as asserts async bigint boolean declare infer is keyof module namespace never number object
    of readonly require satisfies symbol type unique unknown
""")
"""What TypeScript's checker refuses as the name of a type (TS2427, TS2457), or readers would."""

_PARAMETERS = _set("ctx options")
"""What generated methods call the parameters that they add."""

_METHODS = {
    "constructor": "is what JavaScript calls the maker of every object",
    "then": "would make every channel a promise, which 'await' takes apart",
} | dict.fromkeys(
    _set("""
        hasOwnProperty isPrototypeOf propertyIsEnumerable toLocaleString toString valueOf
    """),
    "is what JavaScript calls a method of every object",
)

_LAST_INDEX = 2**32 - 2
"""Up to here keys that are numbers stand before all others, sorted (ECMA-262, "array index")."""

_IDENTIFIER = re.compile(r"[^\W\d][\w$]*")


def type_name(name: str) -> str:
    """What a class is called: as in Python, with an underscore if that means something else."""
    return f"{name}_" if name in RUNTIME | _GLOBALS | _WORDS | _TYPES else name


def parameter_names(names: list[str], taken: frozenset[str]) -> list[str]:
    """What the parameters of one method are called.

    Args:
        names: As in Python.
        taken: What the method refers to besides, such as the classes of its defaults.
    """
    avoid = _WORDS | _GLOBALS | _PARAMETERS | taken
    found: list[str] = []
    for at, name in enumerate(names):
        while name in avoid or name in found or name in names[at + 1 :]:
            name += "_"
        found.append(name)
    return found


def checked_method(what: str, name: str) -> str:
    """A method's name.

    Raises:
        GenerationError: It means something else in JavaScript.
    """
    problem = _METHODS.get(name)
    if problem is not None:
        raise GenerationError(
            what,
            f"the name {name!r}",
            problem,
            f"rename the method, say '{name}_': frames carry its place among the methods and not "
            "its name, so peers go on as they are",
        )
    return name


def checked_field(what: str, name: str) -> str:
    """A field's name.

    Raises:
        GenerationError: JavaScript would take it for the object's prototype.
    """
    if name == "__proto__":
        raise GenerationError(
            what,
            "the name '__proto__'",
            "is what JavaScript calls the prototype of every object",
            "rename the field: its place is on the wire, its name is not",
        )
    return name


def is_plain(name: str) -> bool:
    """Whether it can stand as a key without quotes, and behind a dot; words of the language can."""
    return name.replace("$", "_").isidentifier()


def checked_members(what: str, names: list[str]) -> None:
    """Looks at the members of an enum: any text can be one if the enum is made by a call.

    Raises:
        GenerationError: One would be lost in TypeScript, or its place would.
    """
    advice = "rename the member: frames carry its place among the members and not its name"
    numbers = sorted(filter(_is_index, names), key=int)
    for at, name in enumerate(names):
        if name in ("$", "$type"):
            problem = "is what the client calls a part of every plan"
            raise GenerationError(f"{what}.{name}", f"the name {name!r}", problem, advice)
        if _is_index(name) and numbers.index(name) != at:
            problem = "is a number, and JavaScript puts those first, the smallest before the others"
            raise GenerationError(f"{what}.{name}", f"the name {name!r}", problem, advice)


def _is_index(name: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]{0,9}", name) is not None and int(name) <= _LAST_INDEX


def checked_rename(name: str) -> str:
    """A name that somebody gave.

    Raises:
        GenerationError: Nothing can be called that.
    """
    if not _IDENTIFIER.fullmatch(name) or type_name(name) != name:
        raise GenerationError(
            f"--rename {name}", "the new name", "means something else in TypeScript", "take another"
        )
    return name


def file_stem(name: str) -> str:
    """The file of a class: `user-accounts` of `UserAccounts`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    stem = words.replace("_", "-").strip("-").lower()
    return f"{stem}-service" if stem in ("index", "types") else stem
