"""Every exception that this package raises.

JetStreamError                  the root; also what a handler raises to tell its caller something
├── ConnectError                a connection did not come about
│   ├── ConnectTimeout          nothing answered in time (also a TimeoutError)
│   ├── TlsError                a certificate was refused, by us or by the peer
│   ├── NoSharedProtocol        the two ends have no protocol (ALPN) in common
│   └── SessionRefused          the server did not accept a WebTransport session
├── ConnectionLost              it had come about, and is gone
│   └── Unavailable             the server went away before it began the call
├── StreamClosed                the peer gave up one stream of a raw connection
├── ClosedError                 used after its owner closed it
├── StartupFailed               an ASGI application could not start
├── TlsConfigError              unusable certificates or keys (also a ValueError)
├── VersionMismatch             the server does not serve this service, or not this version
├── EncodeError                 a value does not fit its type; nothing was sent
├── DecodeError                 bytes that are no value of their type
├── ProtocolError               the rules of the protocol were broken
│   ├── LocalProtocolError      by us
│   └── RemoteProtocolError     by the peer
├── LimitExceeded               a limit; it has a name, and a setting that moves it
├── DeadlineExceeded            no answer in time (also a TimeoutError)
└── CallError                   the remote method raised: its message, code, help and url
    └── Gap                     what came after a position is no longer kept

Attributes carry the data and ``str()`` is derived from them. ``code`` is stable and meant for
programs.
"""

import re
from typing import Any, ClassVar, Self


class JetStreamError(Exception):
    """The root of all errors here, and what a method raises to tell its caller something.

    Raised inside a served method it reaches the caller as a `CallError` with the same message,
    code, help and url. Any other exception reaches the caller as ``jetstream::internal``, without
    its text.

    Args:
        message: For a person.
        code: For a program; stable. Defaults to the class's own.
        help: What to do about it.
        url: Where to read more.
    """

    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        help: str | None = None,  # noqa: A002  the protocol's own word for it
        url: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self.help = help
        self.url = url

    def __str__(self) -> str:
        return self.message if self.help is None else f"{self.message}\n  help  {self.help}"

    def __reduce__(self) -> tuple[Any, ...]:
        # So that errors survive pickling whatever their constructors take.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    cls: type[JetStreamError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> JetStreamError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConnectError(JetStreamError):
    """A connection did not come about."""

    default_code = "jetstream::connect"


class ConnectTimeout(ConnectError, TimeoutError):
    """Nothing answered in time; the message says what was tried."""

    default_code = "jetstream::connect_timeout"


class TlsError(ConnectError):
    """A certificate was refused.

    Args:
        message: Which side refused what.
        reason: The reason in a word or two, such as ``name mismatch``.
        facts: What was asked, what was presented, what would help: pairs of a label and a text.
    """

    default_code = "jetstream::tls"

    def __init__(
        self, message: str, *, reason: str = "", facts: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts = facts

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  {label:<9}  {text}" for label, text in self.facts]
        return "\n".join(lines)


class NoSharedProtocol(ConnectError):
    """The two ends have no protocol (ALPN) in common.

    Args:
        message: Both sides, as far as they are known.
        offered: What the client offers.
        served: What the server speaks; empty if it does not tell.
    """

    default_code = "jetstream::no_shared_protocol"

    def __init__(
        self, message: str, *, offered: tuple[str, ...] = (), served: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.offered = offered
        self.served = served


class SessionRefused(ConnectError):
    """The server did not accept a WebTransport session.

    Args:
        message: What it answered.
        status: The status of its answer, such as 401 (RFC 9110, section 15).
    """

    default_code = "jetstream::session_refused"

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ConnectionLost(JetStreamError):
    """A connection that had come about is gone.

    Args:
        message: Why.
        close_code: The code with which the peer closed it, if it did.
        by_peer: Whether the peer closed it.
    """

    default_code = "jetstream::connection_lost"

    def __init__(
        self, message: str, *, close_code: int | None = None, by_peer: bool = False
    ) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.by_peer = by_peer


class Unavailable(ConnectionLost):
    """The server is going away, and had not begun the call: it can be sent elsewhere."""

    default_code = "jetstream::unavailable"


class StreamClosed(JetStreamError):
    """The peer gave up one stream of a raw connection; the others go on.

    Args:
        message: Which half it gave up.
        close_code: The peer's reason.
    """

    default_code = "jetstream::stream_closed"

    def __init__(self, message: str, *, close_code: int) -> None:
        super().__init__(message)
        self.close_code = close_code


class ClosedError(JetStreamError):
    """Something was used after its owner had closed it."""

    default_code = "jetstream::closed"


class StartupFailed(JetStreamError):
    """An ASGI application could not start, so its server did not either.

    Args:
        message: What the application says about it.
    """

    default_code = "jetstream::startup_failed"


class TlsConfigError(JetStreamError, ValueError):
    """Certificates or keys that cannot be used, and what to do about it."""

    default_code = "jetstream::tls_config"


class VersionMismatch(JetStreamError):
    """The server does not serve this service, or not in a version that fits.

    Args:
        message: What was asked and what came back.
        asked: The version string that the client sent.
        answered: The version string that came back, if any.
    """

    default_code = "jetstream::version_mismatch"

    def __init__(self, message: str, *, asked: str = "", answered: str | None = None) -> None:
        super().__init__(message)
        self.asked = asked
        self.answered = answered


class EncodeError(JetStreamError):
    """A value does not fit its type. Nothing was sent.

    Args:
        path: Where, such as ``Echo.put.items[3].name``.
        message: What was found and what fits.
    """

    default_code = "jetstream::encode"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DecodeError(JetStreamError):
    """Bytes that are no value of their type.

    Args:
        path: Where in the value, such as ``Echo.put.items[3].name``.
        offset: Where in the bytes, from 0.
        message: What was found.
    """

    default_code = "jetstream::decode"

    def __init__(self, path: str, offset: int, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message} (byte {self.offset})"


class ProtocolError(JetStreamError):
    """The rules of the protocol were broken."""

    default_code = "jetstream::protocol"


class LocalProtocolError(ProtocolError):
    """We were about to break the rules of the protocol."""

    default_code = "jetstream::local_protocol"


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules of the protocol."""

    default_code = "jetstream::remote_protocol"


class LimitExceeded(JetStreamError):
    """A limit was reached.

    Args:
        limit: Its name.
        size: What was wanted.
        allowed: What is allowed.
        side: Whose limit it is: ``here`` or ``peer``.
        setting: What to change.
    """

    default_code = "jetstream::limit"

    def __init__(self, limit: str, size: int, allowed: int, side: str, setting: str) -> None:
        whose = "our own" if side == "here" else "the peer's"
        super().__init__(
            f"{limit}: {size:,} is over {whose} limit of {allowed:,}; the setting is {setting}"
        )
        self.limit = limit
        self.size = size
        self.allowed = allowed
        self.side = side
        self.setting = setting

    @classmethod
    def told(cls, message: str, help: str | None = None) -> Self | None:  # noqa: A002  as above
        """The limit that a peer tells of; `None` if it was none between it and us.

        It is one because of which the peer did not begin a call, or did not send what the method
        gave. A method that meets a limit while it runs is another matter, and so is a limit that
        some third end has: these are `CallError`.
        """
        found = (_RESULT if help == RESULT_TOO_LARGE else _LIMIT).fullmatch(message)
        if found is None:
            return None
        limit, size, whose, allowed, setting = found.groups()
        size, allowed = (int(number.replace(",", "")) for number in (size, allowed))
        return cls(limit, size, allowed, "peer" if whose == "our own" else "here", setting)


class DeadlineExceeded(JetStreamError, TimeoutError):
    """No answer in time.

    The method may run on; its late answer is thrown away.

    Args:
        what: The call, such as ``Echo.put``.
        timeout: How long was waited, in seconds.
        inherited: Whether that was what was left to the method that made the call: it, and the
            tasks that it starts, have no more time than its own caller gave it.
    """

    default_code = "jetstream::deadline_exceeded"

    def __init__(self, what: str, timeout: float, inherited: bool = False) -> None:
        super().__init__(
            f"{what}: no answer within {timeout:g} s"
            if not inherited
            else f"{what}: no answer before the deadline of the method that makes the call, which "
            + (f"was {timeout:g} s away" if timeout else "had passed already")
        )
        self.what = what
        self.timeout = timeout
        self.inherited = inherited


class CallError(JetStreamError):
    """The remote method raised; its message, code, help and url are the attributes.

    Args:
        message: The peer's text.
        code: The peer's code.
        help: The peer's advice.
        url: The peer's link.
        backtrace: Where it happened, if the peer tells: ``file:line name: message`` lines.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        help: str | None = None,  # noqa: A002  the protocol's own word for it
        url: str | None = None,
        backtrace: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, help=help, url=url)
        self.backtrace = backtrace

    def __str__(self) -> str:
        head = f"{self.message} [{self.code}]" if self.code else self.message
        lines = [head]
        if self.help:
            lines.append(f"  help  {self.help}")
        if self.url:
            lines.append(f"  see   {self.url}")
        return "\n".join(lines)


class Gap(CallError):
    """A subscription cannot go on after a position: what came next is no longer kept.

    Raised in a method, as a `Feed` does, it reaches the caller as the same class.

    Args:
        asked: The position to go on after.
        oldest: The oldest position after which everything is kept.
        latest: The position of the last item.
    """

    default_code = "jetstream::gap"

    def __init__(self, asked: int, oldest: int, latest: int) -> None:
        super().__init__(
            f"cannot go on after {asked}: what is kept is that after {oldest}, up to {latest}",
            help=f"fetch the present state, or take up again after {oldest}",
        )
        self.asked = asked
        self.oldest = oldest
        self.latest = latest

    @classmethod
    def told(cls, message: str) -> Self | None:
        """The gap that a peer tells of; `None` if its message is of another form."""
        found = _GAP.fullmatch(message)
        return None if found is None else cls(*map(int, found.groups()))


# Positions are 128 bits wide at most, the widest integer on the wire.
_GAP = re.compile(
    r"cannot go on after (-?\d{1,39}): "
    r"what is kept is that after (-?\d{1,39}), up to (-?\d{1,39})",
    re.ASCII,
)


RESULT_TOO_LARGE = "return less at once, or raise the setting on the side that is named"
"""What a limit says in addition that a method's result or item was over."""


def _limit(whose: str, settings: str) -> re.Pattern[str]:
    """The text that `LimitExceeded` makes; numbers have 64 bits."""
    return re.compile(
        rf"(.+): (\d[\d,]{{0,25}}) is over ({whose}) limit of (\d[\d,]{{0,25}}); "
        rf"the setting is (Limits\((?:{settings})=\.\.\.\))",
        re.ASCII,
    )


# Limits under which requests are taken, and those under which results leave.
_LIMIT = _limit("our own", "max_metadata|max_subscriptions|max_queued|inbound_window")
_RESULT = _limit("our own|the peer's", "msize")


def remote_error(
    message: str,
    code: str | None,
    help: str | None,  # noqa: A002  the protocol's own word for it
    url: str | None,
    backtrace: tuple[str, ...],
) -> CallError | LimitExceeded:
    """What a peer's error is here: a `CallError`, of a class of its own if its code has one."""
    limit = LimitExceeded.told(message, help) if code == LimitExceeded.default_code else None
    if limit is not None:
        return limit
    gap = Gap.told(message) if code == Gap.default_code else None
    if gap is None:
        return CallError(message, code=code, help=help, url=url, backtrace=backtrace)
    gap.help, gap.url, gap.backtrace = help, url, backtrace
    return gap


def given_up(what: str) -> ClosedError:
    """What whoever takes from a subscription is told after it was left."""
    return ClosedError(
        f"{what}: the subscription was given up before its end, by cancel(), by leaving its 'async "
        "with', or because the task that waited for an item was cancelled; subscribe again for more"
    )
