"""Service classes: what comes out of them, and what is said about those that cannot be one."""

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Optional, Protocol

import pytest
from jetstream import (
    I32,
    INJECTED,
    U8,
    ChannelType,
    Context,
    Interface,
    SchemaError,
    ServiceType,
    Subscription,
    method,
    service,
)
from jetstream._definition import (
    DEFAULT_VERSION,
    MAX_METHODS,
    MethodOptions,
    definition_of,
    is_context,
    options_of,
)

from tests.unit.snapshot import check_snapshot, snapshots


@dataclass
class Item:
    name: str
    size: U8


@service
class Shop(Protocol):
    """Sells things."""

    async def ping(self) -> None: ...

    async def buy(
        self, item: Item, count: I32 = 1, *, ctx: Context = INJECTED, gift: bool = False
    ) -> list[Item]:
        """Buys some."""
        ...

    def _internal(self, anything: object) -> object: ...


# ---- what a definition holds ----


def test_the_definition_says_what_is_on_the_wire():
    definition = definition_of(Shop)
    assert definition.cls is Shop
    assert DEFAULT_VERSION == "1.0.0"
    assert (definition.name, definition.version, definition.title) == ("shop", "1.0.0", "Shop")
    assert definition.version_string == f"rs.jetstream.proto/shop/1.0.0+{definition.digest}"
    assert [(item.index, item.name, item.what) for item in definition.methods] == [
        (0, "ping", "Shop.ping"),
        (1, "buy", "Shop.buy"),
    ]
    buy = definition.methods[1]
    assert [parameter.name for parameter in buy.parameters] == ["item", "count", "gift"]
    assert [parameter.keyword_only for parameter in buy.parameters] == [False, False, True]
    assert len(buy.arguments_plan) == 3
    assert buy.doc == "Buys some."
    assert str(buy.signature) == (
        "(item: Item, count: I32 = 1, *, gift: bool = False) -> list[Item]"
    )


def test_arguments_are_encoded_in_order_of_declaration():
    buy = definition_of(Shop).methods[1]
    assert buy.arguments_plan.encode(Item("a", 7), 2, True) == b"\1\0a\7\2\0\0\0\1"
    assert buy.result_plan.encode([Item("a", 7)]) == b"\1\0\1\0a\7"


def test_name_version_and_digest_can_be_set():
    @service(name="my-shop", version="2.1.0", digest="0a1b2c3d")
    class Other:
        async def ping(self) -> None: ...

    assert definition_of(Other).version_string == "rs.jetstream.proto/my-shop/2.1.0+0a1b2c3d"


def test_digest_follows_the_signatures_and_nothing_else():
    def define(parameter: object, result: object, name: str = "ask", word: str = "what"):
        def function(self, what): ...

        function.__annotations__ = {"what": parameter, "return": result}
        cls = type("Oracle", (), {name: function, "__doc__": word, "_helper": len})
        return definition_of(service(cls)).digest

    digest = define(str, int)
    assert len(digest) == 8
    assert define(str, int, word="something else") == digest
    # Another spelling of the same layout.
    assert define(Optional[str], int) == define(str | None, int)  # noqa: UP045
    others = [define(bytes, int), define(str, I32), define(str, int, "tell")]
    assert digest not in others
    assert len(set(others)) == 3


def test_base_classes_come_first_and_keep_their_places():
    class Base:
        async def a(self) -> int: ...
        async def b(self) -> int: ...

    @service
    class Derived(Base):
        async def c(self) -> int: ...
        async def a(self) -> str: ...

    methods = definition_of(Derived).methods
    assert [item.name for item in methods] == ["a", "b", "c"]
    assert methods[0].returns is str


def test_as_many_methods_as_there_are_frame_types():
    cls = service(type("Big", (), {f"m{at}": noop() for at in range(MAX_METHODS)}))
    assert definition_of(cls).methods[-1].index == 76


def test_a_recursive_argument_that_is_defined_later_at_module_level():
    @service
    class Trees:
        async def depth(self, tree: "Tree") -> int: ...

    assert definition_of(Trees).methods[0].arguments_plan.encode(Tree([Tree([])])) == b"\1\0\0\0"


@dataclass
class Tree:
    children: "list[Tree]"


def test_the_class_gains_channel_and_service():
    assert isinstance(Shop.Channel, ChannelType)
    assert isinstance(Shop.Service, ServiceType)
    assert (Shop.Channel.__name__, Shop.Service.__name__) == ("ShopChannel", "ShopService")


def test_interface_says_what_is_missing_before_there_is_a_service():
    class Undecorated(Interface, Protocol):
        async def ping(self) -> None: ...

    for name in ("Channel", "Service"):
        with pytest.raises(AttributeError, match="decorate the class with @service"):
            getattr(Undecorated, name)


@pytest.mark.parametrize("base", [object, ABC, Protocol, Interface])
def test_any_kind_of_class_serves(base):
    @service
    class Any(base):
        async def ping(self) -> None: ...

    assert isinstance(Any.Channel, ChannelType)


def test_abstract_methods_serve():
    @service
    class Clock(ABC):
        @abstractmethod
        async def now(self) -> float: ...

    assert [item.name for item in definition_of(Clock).methods] == ["now"]


def test_no_service_class():
    with pytest.raises(TypeError, match=r"<class 'int'> is not a service class.*@service"):
        definition_of(int)
    with pytest.raises(TypeError, match="is not a service class"):
        definition_of("Shop")


def test_context_annotations():
    assert is_context(Context)
    assert is_context(Context | None)
    assert is_context(Optional[Context])  # noqa: UP045
    assert not is_context(str)
    assert not is_context(None)
    assert not is_context(str | None)


def test_method_options():
    @method
    def plain(self) -> int: ...

    @method(thread=True)
    def threaded(self) -> int: ...

    assert not options_of(plain).thread
    assert options_of(threaded).thread
    assert options_of(len) == MethodOptions()


# ---- arguments of a call ----


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        ((1,), {}, (1, 1, False)),
        ((1, 2), {}, (1, 2, False)),
        ((1,), {"gift": True}, (1, 1, True)),
        ((), {"gift": True, "count": 3, "item": 4}, (4, 3, True)),
    ],
)
def test_keywords_and_defaults(args, kwargs, bound):
    assert definition_of(Shop).methods[1].bind(args, kwargs) == bound


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'item'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"price": 3}, "got an unexpected keyword argument 'price'"),
        ((1,), {"ctx": None}, "got an unexpected keyword argument 'ctx'"),
    ],
)
def test_arguments_that_do_not_fit_are_told_with_the_signature(args, kwargs, problem):
    with pytest.raises(TypeError) as caught:
        definition_of(Shop).methods[1].bind(args, kwargs)
    signature = "Shop.buy(item: Item, count: I32 = 1, *, gift: bool = False) -> list[Item]"
    assert str(caught.value) == f"{signature}: {problem}"


# ---- mistakes: the first thing that users meet ----


def noop() -> Callable[..., Any]:
    def function(self: object) -> None: ...

    return function


class Colour(enum.Flag):
    RED = 1


@dataclass
class Deep:
    colours: list[Colour]


def unannotated_parameter():
    class Echo:
        async def put(self, first: str, second) -> None: ...

    return service(Echo)


def unannotated_result():
    class Echo:
        async def put(self, item: str): ...

    return service(Echo)


def unsupported_type():
    class Echo:
        async def put(self, item: complex) -> None: ...

    return service(Echo)


def unsupported_result():
    class Echo:
        async def get(self) -> dict: ...

    return service(Echo)


def unsupported_type_deep_inside():
    class Echo:
        async def put(self, items: dict[str, list[Deep]]) -> None: ...

    return service(Echo)


def too_many_methods():
    return service(type("Echo", (), {f"m{at}": noop() for at in range(MAX_METHODS + 1)}))


def names_that_differ_by_case():
    class Echo:
        async def put(self) -> None: ...
        async def Put(self) -> None: ...  # noqa: N802 - that is the mistake

    return service(Echo)


def mutable_default():
    class Echo:
        async def put(self, items: list[U8] = []) -> None: ...  # noqa: B006 - that is the mistake

    return service(Echo)


def mutable_dataclass_default():
    class Echo:
        async def put(self, item: Item = Item("a", 1)) -> None: ...  # noqa: B008 - that is it

    return service(Echo)


def star_arguments():
    class Echo:
        async def put(self, *items: str) -> None: ...

    return service(Echo)


def double_star_arguments():
    class Echo:
        async def put(self, **items: str) -> None: ...

    return service(Echo)


def missing_self():
    class Echo:
        async def put() -> None: ...

    return service(Echo)


def keyword_only_self():
    class Echo:
        async def put(*, item: str) -> None: ...

    return service(Echo)


def static_method():
    class Echo:
        @staticmethod
        async def put(item: str) -> None: ...

    return service(Echo)


def class_method():
    class Echo:
        @classmethod
        async def put(cls, item: str) -> None: ...

    return service(Echo)


def generator():
    class Echo:
        def count(self) -> list[int]:
            yield 1

    return service(Echo)


def stream_from_a_plain_method():
    class Echo:
        def count(self) -> AsyncIterator[int]: ...

    return service(Echo)


def awaited_subscription():
    class Echo:
        async def count(self) -> Subscription[int, None]: ...

    return service(Echo)


def bare_subscription():
    class Echo:
        def count(self) -> Subscription: ...

    return service(Echo)


def two_streams_from_the_caller():
    class Echo:
        async def put(self, a: AsyncIterator[int], b: AsyncIterator[int]) -> None: ...

    return service(Echo)


def lossy_call():
    class Echo:
        @method(lossy=True)
        async def put(self, a: int) -> None: ...

    return service(Echo)


def bad_name():
    class Echo:
        async def ping(self) -> None: ...

    return service(name="Echo Service")(Echo)


def bad_derived_name():
    return service(type("Écho", (), {"ping": noop()}))


def bad_version():
    class Echo:
        async def ping(self) -> None: ...

    return service(version="1.0")(Echo)


def bad_digest():
    class Echo:
        async def ping(self) -> None: ...

    return service(digest="+x1")(Echo)


def reserved_timeout():
    class Echo:
        async def wait(self, timeout: float) -> None: ...

    return service(Echo)


def reserved_channel():
    class Echo:
        async def Channel(self) -> None: ...  # noqa: N802 - that is the mistake

    return service(Echo)


def reserved_service():
    class Echo:
        class Service:
            pass

        async def ping(self) -> None: ...

    return service(Echo)


def twice():
    class Echo:
        async def ping(self) -> None: ...

    return service(service(Echo))


def empty_class():
    class Echo:
        async def _ping(self) -> None: ...

    return service(Echo)


def undefined_forward_reference():
    class Echo:
        async def put(self, item: "Parcel") -> None: ...  # noqa: F821 - that is the mistake

    return service(Echo)


def forward_reference_to_a_local_class():
    @dataclass
    class Parcel:
        name: str

    class Echo:
        async def put(self, item: "Parcel") -> None: ...

    return service(Echo)


def malformed_forward_reference():
    class Echo:
        async def put(self, item: "list[") -> None: ...  # noqa: F722 - that is the mistake

    return service(Echo)


def no_class():
    def ping() -> None: ...

    return service(ping)


def name_by_position():
    return service("echo")


MISTAKES = [
    awaited_subscription,
    bad_derived_name,
    bad_digest,
    bad_name,
    bad_version,
    bare_subscription,
    class_method,
    double_star_arguments,
    empty_class,
    forward_reference_to_a_local_class,
    generator,
    lossy_call,
    stream_from_a_plain_method,
    two_streams_from_the_caller,
    keyword_only_self,
    malformed_forward_reference,
    missing_self,
    mutable_dataclass_default,
    mutable_default,
    name_by_position,
    names_that_differ_by_case,
    no_class,
    reserved_channel,
    reserved_service,
    reserved_timeout,
    star_arguments,
    static_method,
    too_many_methods,
    twice,
    unannotated_parameter,
    unannotated_result,
    undefined_forward_reference,
    unsupported_result,
    unsupported_type,
    unsupported_type_deep_inside,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_told_when_the_class_is_defined(mistake):
    with pytest.raises(SchemaError) as caught:
        mistake()
    error = caught.value
    assert error.where
    assert error.found
    assert error.problem
    assert error.advice
    check_snapshot("service", mistake.__name__, str(error))


def test_no_snapshot_is_left_over():
    assert snapshots("service") == {mistake.__name__ for mistake in MISTAKES}
