"""What `import jetstream` offers: nothing by accident, nothing forgotten, each name once."""

import importlib
import importlib.metadata
import inspect
import pkgutil
import typing
from types import ModuleType

import jetstream
import pytest
from jetstream import codegen, http, interceptors, testing

PUBLIC = [
    "Backoff",
    "CallError",
    "Capabilities",
    "Certificate",
    "ChannelType",
    "Client",
    "ClientTls",
    "ClientVerifier",
    "ClosedError",
    "ConnectError",
    "ConnectTimeout",
    "Connection",
    "ConnectionLost",
    "Context",
    "DeadlineExceeded",
    "DecodeError",
    "Done",
    "EncodeError",
    "F32",
    "F64",
    "FOREVER",
    "Feed",
    "Gap",
    "Generation",
    "I128",
    "I16",
    "I32",
    "I64",
    "I8",
    "INJECTED",
    "Interface",
    "JetStreamError",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "NoSharedProtocol",
    "Peer",
    "ProtocolError",
    "ProtocolHandler",
    "QuicTransport",
    "ReceiveStream",
    "Reconnect",
    "RemoteProtocolError",
    "Resumed",
    "Router",
    "SchemaError",
    "SendStream",
    "Server",
    "ServerTls",
    "Service",
    "ServiceType",
    "Session",
    "SessionRefused",
    "SessionState",
    "SocketAddress",
    "Some",
    "StartupFailed",
    "StreamClosed",
    "Subscription",
    "TlsConfigError",
    "TlsError",
    "TlsPeer",
    "TokenPeer",
    "Transport",
    "U128",
    "U16",
    "U32",
    "U64",
    "U8",
    "Unavailable",
    "UnixPeer",
    "Url",
    "VersionMismatch",
    "alpn_of",
    "channel_type",
    "close_channel",
    "connect",
    "method",
    "reply_metadata",
    "resume",
    "service",
    "time_left",
    "with_options",
]


def offered(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


def test_the_names_are_those_intended():
    assert offered(jetstream) == set(PUBLIC)


def test_interceptors_offers_what_it_says():
    assert set(interceptors.__all__) == {
        "Authorize",
        "Backoff",
        "Call",
        "ClientCall",
        "ClientInterceptor",
        "Logging",
        "MethodInfo",
        "Metrics",
        "Retry",
        "RetryBudget",
        "ServerCall",
        "ServerInterceptor",
        "Trace",
        "TraceContext",
        "current_trace",
        "names_of",
    }
    for name in interceptors.__all__:
        assert inspect.getdoc(getattr(interceptors, name)), name


def test_testing_offers_what_it_says():
    assert set(testing.__all__) == {"ThrowawayCA", "WrittenFiles", "pair"}


def test_http_offers_what_it_says():
    assert set(http.__all__) == offered(http)
    for name in http.__all__:
        value = getattr(http, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


def test_codegen_offers_what_it_says():
    assert set(codegen.__all__) == offered(codegen)
    for name in codegen.__all__:
        assert inspect.getdoc(getattr(codegen, name)), name


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_says_where_to_import_it_from(name):
    value = getattr(jetstream, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == "jetstream"
        assert value.__qualname__ == name


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring(name):
    value = getattr(jetstream, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    assert inspect.getdoc(value)
    if issubclass(value, Exception) if inspect.isclass(value) else True:
        return
    for member, item in vars(value).items():
        function = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
        if not member.startswith("_") and inspect.isfunction(function):
            assert function.__doc__, f"{name}.{member}"


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_can_be_resolved(name):
    """Of what classes hold: a class says it lives where its annotations mean nothing."""
    value = getattr(jetstream, name)
    if inspect.isclass(value):
        assert isinstance(typing.get_type_hints(value, include_extras=True), dict)


def test_other_modules_are_private():
    modules = [info.name for info in pkgutil.iter_modules(jetstream.__path__)]
    assert {name for name in modules if not name.startswith("_")} == {
        "cli",
        "codegen",
        "http",
        "interceptors",
        "testing",
        "webtransport",
    }


def test_each_module_says_what_lives_there():
    for info in pkgutil.walk_packages(jetstream.__path__, "jetstream."):
        if info.name in ("jetstream.__main__", "jetstream._core"):
            continue
        assert (importlib.import_module(info.name).__doc__ or "").strip(), info.name


def test_the_version_is_that_of_the_package():
    assert jetstream.__version__ == importlib.metadata.version("jetstream-rpc")


def test_widths_are_numbers_for_type_checkers():
    assert typing.get_args(jetstream.U8)[0] is int
    assert typing.get_args(jetstream.F32)[0] is float
    assert typing.get_args(jetstream.Url)[0] is str
