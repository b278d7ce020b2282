"""Names that mean something in TypeScript, or in what is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from jetstream import I32, U8, service

T = TypeVar("T")


@dataclass(frozen=True)
class Channel:
    constructor: str
    prototype: U8
    toString: U8  # noqa: N815
    default: None


@dataclass(frozen=True)
class Context:
    channel: Channel


@dataclass(frozen=True)
class any:  # noqa: A001, N801
    pass


@dataclass(frozen=True)
class Box(Generic[T]):
    then: T


@dataclass(frozen=True)
class Date:
    Map: str


@dataclass(frozen=True)
class Ärger:
    größe: U8


@dataclass(frozen=True)
class option:  # noqa: N801
    any: any


@service
class Promise:
    """Whose docstring says */ and `code` and ``more`` and ${this}.

    @param is no tag here.
    """

    async def call(self, Date: Date, Map: U8 = 1) -> Date: ...  # noqa: N803

    async def subscribe(self, this: I32 = 1, arguments: I32 = 2, ctx: I32 = 3) -> Channel: ...

    async def delete(self, options: option, options_: U8, undefined: any) -> option: ...

    async def new(self, class_: Box[Channel | Context]) -> Box[Date]: ...

    async def get(self, größe: Ärger = Ärger(1)) -> Ärger: ...

    async def set(self, Ärger: Ärger = Ärger(2)) -> None: ...  # noqa: N803

    async def service(self, static: None, async_: None) -> None: ...

    async def options(self) -> None: ...

    async def static(self) -> None: ...

    async def name(self) -> None: ...
