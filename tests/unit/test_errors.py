"""Errors: each with a stable code, its data as attributes, and a text made of them."""

import copy
import inspect
import pickle
from pathlib import Path

import jetstream
import pytest
from jetstream import _errors
from jetstream._errors import (
    CallError,
    ClosedError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    Gap,
    JetStreamError,
    LimitExceeded,
    LocalProtocolError,
    NoSharedProtocol,
    ProtocolError,
    RemoteProtocolError,
    SessionRefused,
    StartupFailed,
    StreamClosed,
    TlsConfigError,
    TlsError,
    Unavailable,
    VersionMismatch,
)

CODES = {
    JetStreamError: None,
    CallError: None,  # the peer's
    ClosedError: "jetstream::closed",
    ConnectError: "jetstream::connect",
    ConnectTimeout: "jetstream::connect_timeout",
    ConnectionLost: "jetstream::connection_lost",
    DeadlineExceeded: "jetstream::deadline_exceeded",
    DecodeError: "jetstream::decode",
    EncodeError: "jetstream::encode",
    Gap: "jetstream::gap",
    LimitExceeded: "jetstream::limit",
    LocalProtocolError: "jetstream::local_protocol",
    NoSharedProtocol: "jetstream::no_shared_protocol",
    ProtocolError: "jetstream::protocol",
    RemoteProtocolError: "jetstream::remote_protocol",
    SessionRefused: "jetstream::session_refused",
    StartupFailed: "jetstream::startup_failed",
    StreamClosed: "jetstream::stream_closed",
    TlsConfigError: "jetstream::tls_config",
    TlsError: "jetstream::tls",
    Unavailable: "jetstream::unavailable",
    VersionMismatch: "jetstream::version_mismatch",
}

EXAMPLES = [
    (JetStreamError("no"), {"message": "no", "code": None, "help": None, "url": None}, "no"),
    (
        JetStreamError("no", code="app::no", help="ask again", url="https://example.org"),
        {"message": "no", "code": "app::no", "help": "ask again", "url": "https://example.org"},
        "no\n  help  ask again",
    ),
    (
        CallError(
            "no", code="app::no", help="ask", url="https://e.org", backtrace=("a.rs:1 b: c",)
        ),
        {"message": "no", "code": "app::no", "help": "ask", "backtrace": ("a.rs:1 b: c",)},
        "no [app::no]\n  help  ask\n  see   https://e.org",
    ),
    (CallError("no"), {"code": None, "backtrace": ()}, "no"),
    (ClosedError("the client is closed"), {}, "the client is closed"),
    (ConnectError("no", help="start it"), {"help": "start it"}, "no\n  help  start it"),
    (ConnectTimeout("no answer"), {}, "no answer"),
    (
        Unavailable("going away"),
        {"message": "going away", "close_code": None, "by_peer": False},
        "going away",
    ),
    (
        ConnectionLost("gone", close_code=7, by_peer=True),
        {"close_code": 7, "by_peer": True},
        "gone",
    ),
    (ConnectionLost("gone"), {"close_code": None, "by_peer": False}, "gone"),
    (
        DeadlineExceeded("Echo.put", 1.5),
        {"what": "Echo.put", "timeout": 1.5},
        "Echo.put: no answer within 1.5 s",
    ),
    (
        DecodeError("Echo.put.name", 3, "not UTF-8"),
        {"path": "Echo.put.name", "offset": 3, "message": "not UTF-8"},
        "Echo.put.name: not UTF-8 (byte 3)",
    ),
    (DecodeError("", 3, "not UTF-8"), {}, "not UTF-8 (byte 3)"),
    (
        EncodeError("Echo.put.name", "3 is no str"),
        {"path": "Echo.put.name", "message": "3 is no str"},
        "Echo.put.name: 3 is no str",
    ),
    (EncodeError("", "3 is no str"), {}, "3 is no str"),
    (
        LimitExceeded("message size", 5000, 4096, "here", "Limits(msize=...)"),
        {"limit": "message size", "size": 5000, "allowed": 4096, "side": "here"},
        "message size: 5,000 is over our own limit of 4,096; the setting is Limits(msize=...)",
    ),
    (
        LimitExceeded("message size", 5000, 4096, "peer", "Limits(msize=...)"),
        {"setting": "Limits(msize=...)"},
        "message size: 5,000 is over the peer's limit of 4,096; the setting is Limits(msize=...)",
    ),
    (
        Gap(3, 7, 9),
        {"asked": 3, "oldest": 7, "latest": 9, "code": "jetstream::gap"},
        "cannot go on after 3: what is kept is that after 7, up to 9 [jetstream::gap]\n"
        "  help  fetch the present state, or take up again after 7",
    ),
    (LocalProtocolError("we did"), {}, "we did"),
    (
        NoSharedProtocol("none", offered=("a",), served=("b", "c")),
        {"offered": ("a",), "served": ("b", "c")},
        "none",
    ),
    (ProtocolError("broken"), {}, "broken"),
    (RemoteProtocolError("they did"), {}, "they did"),
    (SessionRefused("it answered 401", status=401), {"status": 401}, "it answered 401"),
    (StartupFailed("no database"), {}, "no database"),
    (StreamClosed("reset", close_code=9), {"close_code": 9}, "reset"),
    (TlsConfigError("no key"), {}, "no key"),
    (
        TlsError("refused", reason="expired", facts=(("expired", "2020"), ("issuer", "CN=a"))),
        {"reason": "expired", "facts": (("expired", "2020"), ("issuer", "CN=a"))},
        "refused\n  expired    2020\n  issuer     CN=a",
    ),
    (Unavailable("going away", close_code=2), {"close_code": 2}, "going away"),
    (
        VersionMismatch("refused", asked="a/1.0.0", answered="unknown"),
        {"asked": "a/1.0.0", "answered": "unknown"},
        "refused",
    ),
]


def test_every_error_is_listed_with_its_code():
    classes = {item for _, item in inspect.getmembers(_errors, inspect.isclass)}
    assert {item for item in classes if issubclass(item, Exception)} == set(CODES)
    assert {type(example) for example, _, _ in EXAMPLES} == set(CODES)


@pytest.mark.parametrize("cls", CODES, ids=lambda cls: cls.__name__)
def test_codes_are_stable(cls):
    assert cls.default_code == CODES[cls]


def test_codes_are_unique():
    codes = [code for code in CODES.values() if code is not None]
    assert len(set(codes)) == len(codes)


def test_other_codes_in_the_package_are_of_the_same_kind():
    # Those that come without a class of their own.
    known = {
        *CODES.values(),
        "jetstream::internal",
        "jetstream::cancelled",
        "jetstream::permission_denied",
    }
    known.add("jetstream::server_name")
    known |= {
        f"jetstream::{code}" for code in ("extension_required", "media_type", "unknown_method")
    }
    for path in Path(jetstream.__file__).parent.rglob("*.py"):
        for piece in path.read_text(encoding="utf-8").split('"jetstream::')[1:]:
            assert f"jetstream::{piece.partition(chr(34))[0]}" in known, path


@pytest.mark.parametrize(
    ("error", "attributes", "text"), EXAMPLES, ids=lambda item: type(item).__name__
)
def test_data_and_text(error, attributes, text):
    assert str(error) == text
    for name, value in attributes.items():
        assert getattr(error, name) == value


@pytest.mark.parametrize("error", [example for example, _, _ in EXAMPLES], ids=repr)
@pytest.mark.parametrize("through", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel_between_processes(error, through):
    again = through(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.args == error.args


@pytest.mark.parametrize(
    ("cls", "also"),
    [
        (ConnectTimeout, ConnectError),
        (ConnectTimeout, TimeoutError),
        (DeadlineExceeded, TimeoutError),
        (LocalProtocolError, ProtocolError),
        (NoSharedProtocol, ConnectError),
        (RemoteProtocolError, ProtocolError),
        (SessionRefused, ConnectError),
        (TlsConfigError, ValueError),
        (TlsError, ConnectError),
    ],
)
def test_whose_fault(cls, also):
    assert issubclass(cls, also)


def test_one_root():
    assert all(issubclass(cls, JetStreamError) for cls in CODES)
    assert issubclass(JetStreamError, Exception)


def test_the_docstring_shows_every_class():
    names = {word for line in _errors.__doc__.splitlines() for word in line.split()[:3]}
    assert {cls.__name__ for cls in CODES} <= names | set(_errors.__doc__.split())
