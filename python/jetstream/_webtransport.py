"""WebTransport sessions as such: streams and datagrams, for protocols of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jetstream._connection import Connection

if TYPE_CHECKING:
    from jetstream import _core
    from jetstream._admission import SessionRequest


class WebTransportSession(Connection):
    """One WebTransport session: streams and datagrams, as a raw connection has them.

    Codes of streams and of the close are numbers of 32 bits, and its reason has at most 1,024
    bytes (draft-ietf-webtrans-http3, sections 4.4 and 6). ``Client.webtransport`` makes one, and
    `WebTransport.handlers` take those that were accepted.
    """

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

    async def __aenter__(self) -> WebTransportSession:
        return self
