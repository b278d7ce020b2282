"""Services called over HTTP: by POST of a frame, and with JSON by whoever has nothing but curl.

A frame comes as ``application/jetstream`` with the version of the service in ``X-JetStream-Proto``,
and is answered by one. JSON goes to ``/service/method``, with the arguments by name.
"""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jetstream import _core, _logging
from jetstream._errors import (
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    JetStreamError,
    LimitExceeded,
    Unavailable,
)
from jetstream._explain import explain
from jetstream._http_context import JetStreamContext
from jetstream._implementation import bound
from jetstream._json import NotOfType, from_json, to_json
from jetstream._schema import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jetstream._asgi import App, Receive, Scope, Send
    from jetstream._definition import Method, ServiceDefinition
    from jetstream._interception import ServerInterceptor
    from jetstream._limits import Limits
    from jetstream._router import Router
    from jetstream._schema import Description

FRAMES = b"application/jetstream"
VERSION = b"x-jetstream-proto"

_PROBLEM = b"application/problem+json"


@dataclass(frozen=True)
class _Served:
    """A method, and what to call for it."""

    definition: ServiceDefinition
    declared: Method
    function: Callable[..., Any]
    context_at: int | None
    task: bool

    @functools.cached_property
    def parameters(self) -> dict[str, Description]:
        """What JSON may say for each parameter."""
        what = self.declared.what
        return {each.name: describe(each.annotation, what) for each in self.declared.parameters}

    @functools.cached_property
    def returns(self) -> Description:
        """What its answer is."""
        return describe(self.declared.returns, self.declared.what)

    async def call(self, arguments: Sequence[Any], scope: Scope) -> Any:
        """What the method returns."""
        given = list(arguments)
        if self.context_at is not None:
            context = JetStreamContext.from_scope(scope)
            context.method = self.declared.what
            given.insert(self.context_at, context)
        result = self.function(*given)
        return await result if self.task else result


class _Refused(Exception):  # noqa: N818  it is the request's
    def __init__(self, status: int, message: str, code: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(message)
        self.status = status
        self.code = code
        self.help = help


class _Gone(Exception):  # noqa: N818  the client
    """Nobody waits for the answer any more."""


class RpcOverHttp:
    """An application with services beside it.

    Args:
        app: The application, which answers all other requests.
        router: The services.
        limits: How large a request may be.
        interceptors: What stands around every method, outermost first.
        frames: Whether frames are taken.
        json: Whether JSON is taken.
    """

    def __init__(
        self,
        app: App,
        router: Router,
        *,
        limits: Limits,
        interceptors: Sequence[ServerInterceptor] = (),
        frames: bool = True,
        json: bool = True,
    ) -> None:
        self._app = app
        self._most = limits.msize
        self._frames = frames
        self._json = json
        self._services: dict[str, dict[str, _Served]] = {}
        around = (*interceptors, *router.interceptors)
        for service in router.services:
            definition = service.definition
            self._services[definition.name] = {
                declared.name: _Served(
                    definition,
                    declared,
                    *bound(definition, declared, service.implementation, None, around),
                )
                for declared in definition.methods
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            kind = _media_type(scope)
            if self._frames and kind == FRAMES:
                await self._answer(self._by_frame(scope, receive), send)
                return
            served = self._named(scope) if self._json else None
            if served is not None:
                await self._answer(self._by_json(served, kind, scope, receive), send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, answering: Any, send: Send) -> None:
        try:
            status, kind, body = await answering
        except _Refused as refused:
            told = (str(refused), refused.code, refused.help, None)
            status, kind, body = refused.status, _PROBLEM, _problem(refused.status, *told)
        except _Gone:
            return
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    # ---- frames ----

    async def _by_frame(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        service = self._offered(scope)
        data = await self._body(receive)
        try:
            index, tag, payload = _core.read_request(data)
        except ValueError as error:
            raise _Refused(400, str(error), "jetstream::protocol") from None
        # In order of declaration, as they are numbered.
        methods = tuple(service.values())
        if index >= len(methods):
            message = f"{methods[0].definition.name} has no method {index}"
            fault = _core.write_fault(tag, message, "jetstream::unknown_method")
            return 200, FRAMES, fault
        served = methods[index]
        declared = served.declared
        try:
            _check_unary(declared)
            arguments = declared.arguments_plan.decode(payload, declared.what)
            result = await self._run(served, arguments, scope, receive)
            encoded = declared.result_plan.encode(result, declared.what)
            return 200, FRAMES, _core.write_reply(declared.index, tag, encoded)
        except _Refused as refused:
            return 200, FRAMES, _core.write_fault(tag, str(refused), refused.code, refused.help)
        except _Gone:
            raise
        except Exception as error:
            return 200, FRAMES, _core.write_fault(tag, *explain(declared.what, error))

    def _offered(self, scope: Scope) -> dict[str, _Served]:
        """The service that a client wants, in a version that it takes."""
        wanted = next((value for name, value in scope["headers"] if name == VERSION), b"")
        text = wanted.decode("latin-1")
        name, _, version = text.removeprefix("rs.jetstream.proto/").partition("/")
        service = self._services.get(name)
        if service is None:
            raise _Refused(
                404, f"no service is called {text!r} here", "jetstream::version_mismatch"
            )
        for served in service.values():
            if not _serves(served.definition.version, version.partition("+")[0]):
                raise _Refused(
                    404,
                    f"{text!r} is asked for, and {served.definition.version_string!r} is served",
                    "jetstream::version_mismatch",
                )
            break
        return service

    # ---- JSON ----

    def _named(self, scope: Scope) -> _Served | None:
        path: str = scope["path"].removeprefix(scope["root_path"])
        service, _, method = path.removeprefix("/").partition("/")
        return self._services.get(service, {}).get(method)

    async def _by_json(
        self, served: _Served, kind: bytes, scope: Scope, receive: Receive
    ) -> tuple[int, bytes, bytes]:
        declared = served.declared
        if kind != b"application/json":
            # Forms of other sites can be sent without asking; this cannot.
            raise _Refused(
                415,
                f"{declared.what} takes application/json",
                "jetstream::media_type",
                "send the header content-type: application/json",
            )
        _check_unary(declared)
        data = await self._body(receive)
        try:
            arguments = _arguments(served, data)
        except (NotOfType, EncodeError) as error:
            raise _Refused(400, str(error), "jetstream::decode") from None
        try:
            result = await self._run(served, arguments, scope, receive)
            # What the wire would not carry is no answer here either.
            declared.result_plan.encode(result, declared.what)
            said = to_json(served.returns, result)
            text = json.dumps(said, allow_nan=False, ensure_ascii=False)
            return 200, b"application/json", text.encode()
        except (_Refused, _Gone):
            raise
        except Exception as error:
            status = _status(error)
            return status, _PROBLEM, _problem(status, *explain(declared.what, error))

    # ---- both ----

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            size += len(message["body"])
            if size > self._most:
                raise _Refused(
                    413,
                    f"the request is over our own limit of {self._most:,} bytes",
                    "jetstream::limit",
                    "the setting is Limits(msize=...)",
                )
            parts.append(message["body"])
            if not message["more_body"]:
                return b"".join(parts)

    async def _run(
        self, served: _Served, arguments: Sequence[Any], scope: Scope, receive: Receive
    ) -> Any:
        """Runs a method; one whose caller is gone is cancelled."""
        if not served.task:
            return await served.call(arguments, scope)
        loop = asyncio.get_running_loop()
        task = loop.create_task(served.call(arguments, scope))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        raise _Gone


def _media_type(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind: bytes = value.partition(b";")[0].strip().lower()
            return kind
    return b""


def _serves(ours: str, theirs: str) -> bool:
    """Whether a version can be served with ours: the same major, and ours is not older."""
    try:
        mine, wanted = (tuple(map(int, each.split("."))) for each in (ours, theirs))
    except ValueError:
        return False
    return mine[0] == wanted[0] and mine[1:] >= wanted[1:]


def _check_unary(declared: Method) -> None:
    if declared.outbound is not None or declared.inbound is not None:
        raise _Refused(
            501,
            f"{declared.what} is a stream, and a request over HTTP has one answer",
            "jetstream::extension_required",
            "call it on a session",
        )


def _arguments(served: _Served, data: bytes) -> Sequence[Any]:
    declared = served.declared
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"the body is no JSON: {error}", "jetstream::decode") from None
    if not isinstance(found, dict):
        raise NotOfType(f"the body for {declared.what}", "an object of its arguments", found)
    given: dict[str, Any] = dict(found)  # pyright: ignore[reportUnknownArgumentType]
    named = {
        name: from_json(described, given.pop(name), name)
        for name, described in served.parameters.items()
        if name in given
    }
    if given:
        takes = ", ".join(each.name for each in declared.parameters) or "no arguments"
        raise _Refused(
            400,
            f"{declared.what} has no {', '.join(map(repr, given))}; it takes {takes}",
            "jetstream::decode",
        )
    try:
        arguments = declared.bind((), named)
    except TypeError as error:
        raise _Refused(400, str(error), "jetstream::decode") from None
    # As they would arrive over the wire: in range, and of their exact types.
    plan = declared.arguments_plan
    return plan.decode(plan.encode(*arguments, path=declared.what))


def _status(error: Exception) -> int:
    """The status of HTTP for an exception of a method."""
    match error:
        case DeadlineExceeded():
            return 504
        case Unavailable():
            return 503
        case EncodeError():
            return 500
        case DecodeError():
            return 400
        case LimitExceeded():
            return 413
        case JetStreamError():
            return 422
        case _:
            _logging.http.debug("%r is nothing that its caller is told", error)
            return 500


def _problem(
    status: int,
    message: str,
    code: str | None,
    help: str | None,  # noqa: A002  the protocol's own word for it
    url: str | None,
) -> bytes:
    """An error as RFC 9457 has it."""
    told = {"type": url or "about:blank", "status": status, "detail": message}
    if code is not None:
        told["code"] = code
    if help is not None:
        told["help"] = help
    return json.dumps(told, ensure_ascii=False).encode()
