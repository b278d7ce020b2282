"""The lifespan of an ASGI application: what it does before the first request and after the last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jetstream import _logging
from jetstream._errors import StartupFailed

if TYPE_CHECKING:
    from jetstream._asgi import App, Message

LifespanMode: TypeAlias = Literal["auto", "on", "off"]
"""Whether the application is told: it must understand (on), it may (auto), or it is not told."""


class Lifespan:
    """Tells an application that its server starts and stops.

    Args:
        app: The application.
        mode: As `LifespanMode`.
    """

    def __init__(self, app: App, mode: LifespanMode) -> None:
        self._app = app
        self._mode = mode
        self.state: dict[str, Any] = {}
        """What the application leaves for each of its requests."""
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[str | None]] = {}

    async def startup(self) -> None:
        """Returns when the application is ready.

        Raises:
            StartupFailed: It says that it cannot, or does not understand although it should.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._answers = {each: loop.create_future() for each in ("startup", "shutdown")}
        self._task = loop.create_task(self._run())
        complaint = await self._ask("startup")
        if complaint is not None:
            raise StartupFailed(f"the application's startup failed: {complaint}")
        if self._task.done():
            error = None if self._task.cancelled() else self._task.exception()
            if self._mode == "on":
                raise StartupFailed("the application does not take part in lifespan") from error
            _logging.http.info("the application does not take part in lifespan: %r", error)
            self._task = None

    async def shutdown(self) -> None:
        """Returns when the application has cleaned up."""
        if self._task is None:
            return
        complaint = await self._ask("shutdown")
        if complaint is not None:
            _logging.http.error("the application's shutdown failed: %s", complaint)
        task, self._task = self._task, None
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logging.http.error("the application's shutdown failed", exc_info=error)

    async def _ask(self, what: str) -> str | None:
        """What the application complains about; `None` also if it has ended without a word."""
        assert self._task is not None  # noqa: S101  made by the caller
        self._messages.put_nowait({"type": f"lifespan.{what}"})
        answer = self._answers[what]
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None

    async def _run(self) -> None:
        from jetstream._asgi import VERSION

        scope = {"type": "lifespan", "asgi": {**VERSION, "spec_version": "2.0"}}
        await self._app({**scope, "state": self.state}, self._messages.get, self._send)

    async def _send(self, message: Message) -> None:
        kind: str = message["type"]
        what, _, outcome = kind.removeprefix("lifespan.").partition(".")
        answer = self._answers.get(what)
        if answer is None or outcome not in ("complete", "failed"):
            msg = f"{kind!r} is no message of lifespan"
            raise RuntimeError(msg)
        if answer.done():
            msg = f"{kind!r} was sent when {what} was over already"
            raise RuntimeError(msg)
        failure = message.get("message") or "it does not say why"
        answer.set_result(failure if outcome == "failed" else None)
