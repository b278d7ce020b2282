"""WebTransport sessions: for browsers that call services, and for protocols of one's own.

    async with HttpServer(app, router=Router(EchoImpl()), tls=..., webtransport=WebTransport()): ...

A program opens one with `Client.webtransport`, or calls services on one with
``connect("https://host:port/")``.
"""

from jetstream._admission import RefuseSession as RefuseSession
from jetstream._admission import SessionRequest as SessionRequest
from jetstream._admission import WebTransport as WebTransport
from jetstream._identity import TokenPeer as TokenPeer
from jetstream._webtransport import WebTransportSession as WebTransportSession

__all__ = ["RefuseSession", "SessionRequest", "TokenPeer", "WebTransport", "WebTransportSession"]
