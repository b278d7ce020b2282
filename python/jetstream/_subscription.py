"""Subscriptions: many items, then a result. What users write in annotations and iterate over."""

import types
import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Union

from jetstream import _core

T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R_co]):
    """The last thing that an async generator yields: the subscription's result.

    A generator that just returns has the result `None`.
    """

    value: R_co


class Subscription(ABC, Generic[T_co, R_co]):
    """Items of a remote method, as they come, and its result at the end.

    Iterate with ``async for``. The method begins with the first step of it. Leaving the loop for
    good ends the method: at once if nothing else holds the subscription, else with `cancel`, or
    with the end of an ``async with`` around the loop.

    The end of the loop is the end of the method. A method that fails raises `CallError` out of the
    loop; a connection that is lost, or a server that goes away, `ConnectionLost`; and one that was
    given up before (by `cancel`, or because the task that waited for an item was cancelled)
    `ClosedError`.
    """

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> T_co:
        """The next item; the end of the iteration is the end of the method."""

    @property
    @abstractmethod
    def result(self) -> R_co:
        """What the method returned.

        Raises:
            RuntimeError: It has not ended.
            ClosedError: It was given up before its end.
            JetStreamError: It ended otherwise; the error is that of the loop.
        """

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, bytes]:
        """What the method said beside its items and its result; complete at the end."""

    @abstractmethod
    def cancel(self) -> None:
        """Ends the method: its generator is closed, its ``finally`` runs. Does not wait.

        Whoever iterates on, or waits for an item in another task, gets a `ClosedError`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Ends the method as `cancel` does; for `contextlib.aclosing`, as generators have it."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


Subscription.register(_core.Subscription)


def stream_types(annotation: object) -> tuple[Any, Any] | None:
    """The item's and the result's type of what a streaming method returns; `None` for others."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Subscription and len(args) == 2:
        return args[0], args[1]
    if origin in (AsyncIterator, AsyncIterable, AsyncGenerator) and args:
        return _split_done(args[0])
    return None


def _split_done(yielded: object) -> tuple[Any, Any]:
    union = typing.get_origin(yielded) in (Union, types.UnionType)
    members = typing.get_args(yielded) if union else (yielded,)
    done = [member for member in members if typing.get_origin(member) is Done]
    items = [member for member in members if member not in done]
    item = Union[tuple(items)] if items else None  # noqa: UP007  made at run time
    return item, typing.get_args(done[0])[0] if done else None


def stream_item(annotation: object) -> tuple[Any] | None:
    """The item's type of a parameter that is a stream from the caller; `None` for others."""
    if typing.get_origin(annotation) in (AsyncIterator, AsyncIterable):
        args = typing.get_args(annotation)
        return (args[0],) if args else None
    return None
