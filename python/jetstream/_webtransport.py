"""WebTransport sessions as such: streams and datagrams, for protocols of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jetstream._connection import Connection, ReceiveStream, SendStream

if TYPE_CHECKING:
    from jetstream import _core
    from jetstream._admission import SessionRequest

_MOST: Final = 2**32 - 1
"""The largest code."""


def _check_code(what: str, code: int) -> None:
    """Raises ValueError for a code that cannot be said; the core would cut it, or say another."""
    if not 0 <= code <= _MOST:
        msg = f"{what}({code}): codes of WebTransport are numbers from 0 to 2**32-1, {_MOST}"
        raise ValueError(msg)


class _SendStream(SendStream):
    """The sending half of a stream of a session."""

    def reset(self, code: int = 0) -> None:
        _check_code("reset", code)
        super().reset(code)


class _ReceiveStream(ReceiveStream):
    """The receiving half of a stream of a session."""

    async def read_to_end(self, limit: int) -> bytes:
        if limit < 0:
            msg = f"read_to_end({limit}): the limit must be at least 0"
            raise ValueError(msg)
        return await super().read_to_end(limit)

    def stop(self, code: int = 0) -> None:
        _check_code("stop", code)
        super().stop(code)


class WebTransportSession(Connection):
    """One WebTransport session: streams and datagrams, as a raw connection has them.

    Codes of streams and of the close are numbers of 32 bits, and its reason has at most 1,024
    bytes (draft-ietf-webtrans-http3, sections 4.4 and 6). ``Client.webtransport`` makes one, and
    `WebTransport.handlers` take those that were accepted.
    """

    _sending = _SendStream
    _receiving = _ReceiveStream

    def __init__(
        self, core: _core.Connection, owner: Any = None, request: SessionRequest | None = None
    ) -> None:
        super().__init__(core, owner)
        self._request = request

    @property
    def request(self) -> SessionRequest:
        """What was asked for, at the end that accepted it.

        Raises:
            RuntimeError: It is the end that asked.
        """
        if self._request is None:
            raise RuntimeError("only the end that accepted a session has a request")
        return self._request

    @property
    def draining(self) -> bool:
        """Whether the peer asks for its end: nothing that takes long should be begun on it."""
        return self._core.going_away

    async def wait_draining(self) -> None:
        """Waits until the peer asks for its end.

        Raises:
            ConnectionLost: The session is gone.
        """
        await self._core.wait("going_away")

    def close(self, code: int = 0, reason: str = "") -> None:
        """Closes the session: everything on it ends now.

        Args:
            code: The reason, for the peer's program.
            reason: The reason, for the peer's people; what is too long of it is cut.

        Raises:
            ValueError: The code is not one of 32 bits.
        """
        _check_code("close", code)
        super().close(code, reason)

    async def __aenter__(self) -> WebTransportSession:
        return self
