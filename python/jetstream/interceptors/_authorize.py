"""Who may call what, by the names in certificates."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from jetstream import _logging
from jetstream._errors import JetStreamError
from jetstream._interception import MethodInfo, ServerCall, ServerInterceptor
from jetstream.interceptors._outcome import names_of, spell_peer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

    from jetstream._context import Context

    Predicate: TypeAlias = Callable[[Context, MethodInfo], bool | Awaitable[bool]]

ANYBODY = "anybody"
AUTHENTICATED = "authenticated"

_KINDS = ("uri:", "dns:", "email:", "ip:", "cn:", "sha256:", "uid:", "token:")

PERMISSION_DENIED = "jetstream::permission_denied"


class Authorize(ServerInterceptor):
    """Lets callers through who may call a method; the others get ``jetstream::permission_denied``.

    Rules map methods to those who may call them. The first pattern that fits a method decides;
    where none does, nobody may. Patterns are those of the shell: ``Notes.read``, ``Notes.*``,
    ``*``. Callers are named by what their certificates say, which the authority vouches for, and
    which is compared as it is:

    - ``uri:spiffe://example.org/importer``, ``dns:ada.example.org``, ``email:ada@example.org`` and
      ``ip:192.0.2.7``, by an alternative name;
    - ``cn:ada``, by the common name, if the authority takes care of these, too;
    - ``sha256:AB:CD:…``, by the fingerprint of the certificate;
    - ``uid:1000``, by the user of a process of this machine;
    - ``token:ada``, by the subject of a token that a hook has vouched for;
    - ``authenticated``, everybody who proved something, and ``anybody``.

    Args:
        rules: Such rules; or a function of the call's context and method that says whether it may
            go on, plain or ``async``.

    Raises:
        ValueError: A name is of no kind.
    """

    def __init__(self, rules: Mapping[str, Iterable[str]] | Predicate) -> None:
        self._allows: Predicate = rules if callable(rules) else _Rules(rules).allow

    async def intercept_call(
        self, call: ServerCall, proceed: Callable[[ServerCall], Awaitable[Any]], /
    ) -> Any:
        """Lets a call through, or refuses it."""
        await self._check(call)
        return await proceed(call)

    async def intercept_stream(
        self, call: ServerCall, proceed: Callable[[ServerCall], AsyncIterator[Any]], /
    ) -> AsyncGenerator[Any]:
        """Lets a subscription through, or refuses it."""
        await self._check(call)
        async for item in proceed(call):
            yield item

    async def _check(self, call: ServerCall) -> None:
        context, method = call.context, call.method
        allowed = self._allows(context, method)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if allowed is True:
            return
        who = spell_peer(context.peer)
        _logging.call.info("%s denied to %s at %s", method.what, who, context.remote)
        raise JetStreamError(f"{who} may not call {method.what}", code=PERMISSION_DENIED)


class _Rules:
    """The rules of a mapping, and what they came to for each method."""

    def __init__(self, rules: Mapping[str, Iterable[str]]) -> None:
        self._rules = [(pattern, _checked(pattern, names)) for pattern, names in rules.items()]
        self._known: dict[str, frozenset[str]] = {}

    def allow(self, context: Context, method: MethodInfo) -> bool:
        """Whether the caller is one of those who may."""
        allowed = self._known.get(method.what)
        if allowed is None:
            allowed = self._known[method.what] = self._find(method.what)
        if ANYBODY in allowed:
            return True
        peer = context.peer
        if peer is None:
            return False
        return AUTHENTICATED in allowed or not allowed.isdisjoint(names_of(peer))

    def _find(self, what: str) -> frozenset[str]:
        fitting = (names for pattern, names in self._rules if fnmatchcase(what, pattern))
        return next(fitting, frozenset[str]())


def _checked(pattern: str, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):
        msg = f"{pattern!r}: {names!r} is one name; write a list of names, [{names!r}]"
        raise ValueError(msg)  # noqa: TRY004  what is wrong is the rule
    found: set[str] = set()
    for name in names:
        if name not in (ANYBODY, AUTHENTICATED) and not name.startswith(_KINDS):
            kinds = ", ".join(_KINDS)
            msg = f"{pattern!r}: {name!r} is no name: write what it is, one of {kinds}, before it"
            raise ValueError(msg)
        found.add(name.lower() if name.startswith("dns:") else name)
    return frozenset(found)
