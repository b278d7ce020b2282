"""Routers: services by name, protocol handlers by ALPN."""

from typing import Protocol

import pytest
from jetstream import Interface, ProtocolHandler, Router, alpn_of, service


@service
class Echo(Interface, Protocol):
    async def ping(self) -> None: ...


@service(name="other", version="1.2.3", digest="d1")
class Other:
    async def ping(self) -> None:
        return None


class EchoImpl(Echo):
    async def ping(self) -> None:
        return None


class Handler:
    def __init__(self, *names: str) -> None:
        self.names = names

    def alpns(self):
        return self.names

    async def accept(self, ctx, connection): ...

    def __repr__(self):
        return "Handler()"


def test_services_by_name_and_handlers_by_protocol():
    handler = Handler("chat", "chat/2")
    router = Router(EchoImpl(), handler)
    assert router.register(Other()) is router
    assert [service.definition.name for service in router.services] == ["echo", "other"]
    assert router.alpns() == (
        "jetstream",
        "rs.jetstream.proto/other/1.2.3+d1",
        "chat",
        "chat/2",
    )
    assert router.handler("chat") is router.handler("chat/2") is handler
    assert router.handler("jetstream") is None
    assert router.handler(None) is None


def test_without_services_no_protocol_for_them():
    assert Router(Handler("chat")).alpns() == ("chat",)
    assert Router().alpns() == ()


@pytest.mark.parametrize(
    "register",
    [
        lambda router: router.register(EchoImpl()),
        lambda router: router.register(Echo.Service(EchoImpl())),
        lambda router: router.register(Other(), service=Echo),
    ],
)
def test_ways_to_register(register):
    router = register(Router())
    assert [service.definition.cls for service in router.services] == [Echo]
    assert router.services[0].implementation is not None


def test_a_handler_is_known_by_its_methods():
    assert isinstance(Handler("chat"), ProtocolHandler)
    assert not isinstance(EchoImpl(), ProtocolHandler)


def test_a_name_can_be_taken():
    @service(name="echo")
    class Same(Other):
        pass

    with pytest.raises(ValueError, match=r"registered as 'echo' already \(Echo\).*name=\.\.\."):
        Router(EchoImpl(), Same())


def test_a_protocol_can_be_taken():
    with pytest.raises(ValueError, match="'chat' is taken already"):
        Router(Handler("chat"), Handler("news", "chat"))


@pytest.mark.parametrize("services_first", [True, False])
def test_the_protocol_of_services_is_taken_by_services(services_first):
    entries = [EchoImpl(), Handler("jetstream")]
    with pytest.raises(ValueError, match="'jetstream' is taken already"):
        Router(*(entries if services_first else reversed(entries)))


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128])
def test_names_of_protocols_have_1_to_255_bytes(name):
    with pytest.raises(ValueError, match=r"1 to 255 bytes \(RFC 7301\)"):
        Router(Handler(name))


def test_the_longest_name_of_a_protocol():
    assert Router(Handler("x" * 255)).alpns() == ("x" * 255,)


def test_a_handler_without_protocols():
    with pytest.raises(ValueError, match=r"Handler\(\): alpns\(\) is empty"):
        Router(Handler())


def test_a_refused_handler_leaves_nothing_behind():
    router = Router(Handler("chat"))
    with pytest.raises(ValueError, match="taken"):
        router.register(Handler("news", "chat"))
    assert router.alpns() == ("chat",)


@pytest.mark.parametrize("entry", [EchoImpl, Handler, Echo])
def test_a_class_is_no_instance(entry):
    with pytest.raises(TypeError) as caught:
        Router(entry)
    name = entry.__name__
    assert str(caught.value) == (
        f"{name} is the class itself: register an instance, as in register({name}())"
    )


@pytest.mark.parametrize("entry", [object(), 3, None])
def test_nothing_that_can_be_served(entry):
    with pytest.raises(TypeError, match="neither a service nor a protocol handler: register an"):
        Router(entry)


def test_no_service_class_to_register_for():
    with pytest.raises(TypeError, match="is not a service class: decorate the class"):
        Router().register(EchoImpl(), service=int)


def test_texts():
    assert repr(Router()) == "<Router of nothing>"
    text = repr(Router(Other(), Handler("chat")))
    assert text == "<Router of rs.jetstream.proto/other/1.2.3+d1, chat>"
    implementation = EchoImpl()
    assert repr(Echo.Service(implementation)) == f"<EchoService of {implementation!r}>"
    assert repr(Echo.Service) == "<EchoService>"
    assert Echo.Service.__doc__ == "Serves an implementation of Echo."


# ---- peers of the Rust crates 15 ----

PLUS, HYPHEN = "rs.jetstream.proto/other/1.2.3+d1", "rs.jetstream.proto/other/1.2.3-d1"


@pytest.mark.parametrize(
    ("generations", "alpns"),
    [
        (("16",), ("jetstream",)),
        (("15.2",), (PLUS,)),
        (("15.1",), (HYPHEN,)),
        # Newest first, in whatever order they are written: a server chooses the first.
        (["15.1", "15.2", "16"], ("jetstream", PLUS, HYPHEN)),
        ({"15.1", "16"}, ("jetstream", HYPHEN)),
    ],
)
def test_generations(generations, alpns):
    router = Router(Other(), generations=generations)
    assert router.alpns() == alpns
    assert all(router.handler(alpn) is None for alpn in alpns)


def test_a_digest_that_was_derived_is_no_rust_traits():
    router = Router(EchoImpl(), generations=["16", "15.2", "15.1"])
    assert router.alpns() == ("jetstream",)


def test_a_service_that_nobody_would_find():
    with pytest.raises(ValueError, match=r"Echo would be found by nobody.*15\.2.*digest=\.\.\."):
        Router(EchoImpl(), generations=["15.2"])


@pytest.mark.parametrize("generations", [[], ["14"], ["16", "15"], "16"])
def test_generations_that_are_none(generations):
    with pytest.raises(ValueError, match=r"give some of 16, 15\.2, 15\.1"):
        Router(generations=generations)


@pytest.mark.parametrize("services_first", [True, False])
def test_the_protocol_of_one_service_is_taken_by_it(services_first):
    entries = [Other(), Handler(PLUS)]
    with pytest.raises(ValueError, match=r"'rs\.jetstream\.proto/other.*' is taken already"):
        Router(*(entries if services_first else reversed(entries)))


def test_a_version_string_that_is_no_protocol_name():
    """RFC 7301, section 3.1: a name has at most 255 bytes."""
    prefix, suffix = "rs.jetstream.proto/", "/1.0.0+d"

    def serving(length):
        @service(name="x" * (length - len(prefix + suffix)), digest="d")
        class Long(Other):
            pass

        return Router(Long()).alpns()

    assert len(serving(255)) == 2
    assert serving(256) == ("jetstream",)


def test_names_of_protocols():
    assert [alpn_of(Other, each) for each in ("16", "15.2", "15.1")] == ["jetstream", PLUS, HYPHEN]
    assert alpn_of(Other) == "jetstream"
    with pytest.raises(ValueError, match=r"no generation '15'.*write one of 16, 15\.2, 15\.1"):
        alpn_of(Other, "15")
    with pytest.raises(TypeError, match="not a service class"):
        alpn_of(Handler)
