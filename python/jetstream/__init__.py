"""JetStream for Python: typed RPC over QUIC with mutual TLS.

A service is a class; from it come its server and its typed client:

    @service
    class Echo:
        async def echo(self, message: str) -> str: ...

    async with Server(Router(EchoImpl()), tls=ServerTls("server.pem", "server.key")): ...

    async with connect("localhost:4433", tls=ClientTls(ca="ca.pem")) as session:
        await session.channel(Echo).echo("hello")
"""

from types import FunctionType as _FunctionType

# Streams that can be taken up again.
from jetstream._backoff import Backoff as Backoff

# Sessions.
from jetstream._capabilities import Capabilities as Capabilities

# Services.
from jetstream._channel import ChannelType as ChannelType
from jetstream._channel import Transport as Transport
from jetstream._channel import channel_type as channel_type
from jetstream._channel import close_channel as close_channel
from jetstream._channel import reply_metadata as reply_metadata
from jetstream._channel import with_options as with_options

# Clients.
from jetstream._client import Client as Client
from jetstream._client import connect as connect
from jetstream._connection import Connection as Connection
from jetstream._connection import ReceiveStream as ReceiveStream
from jetstream._connection import SendStream as SendStream
from jetstream._context import INJECTED as INJECTED
from jetstream._context import Context as Context
from jetstream._context import time_left as time_left

# Errors.
from jetstream._errors import CallError as CallError
from jetstream._errors import ClosedError as ClosedError
from jetstream._errors import ConnectError as ConnectError
from jetstream._errors import ConnectionLost as ConnectionLost
from jetstream._errors import ConnectTimeout as ConnectTimeout
from jetstream._errors import DeadlineExceeded as DeadlineExceeded
from jetstream._errors import DecodeError as DecodeError
from jetstream._errors import EncodeError as EncodeError
from jetstream._errors import Gap as Gap
from jetstream._errors import JetStreamError as JetStreamError
from jetstream._errors import LimitExceeded as LimitExceeded
from jetstream._errors import LocalProtocolError as LocalProtocolError
from jetstream._errors import NoSharedProtocol as NoSharedProtocol
from jetstream._errors import ProtocolError as ProtocolError
from jetstream._errors import RemoteProtocolError as RemoteProtocolError
from jetstream._errors import SessionRefused as SessionRefused
from jetstream._errors import StartupFailed as StartupFailed
from jetstream._errors import StreamClosed as StreamClosed
from jetstream._errors import TlsConfigError as TlsConfigError
from jetstream._errors import TlsError as TlsError
from jetstream._errors import Unavailable as Unavailable
from jetstream._errors import VersionMismatch as VersionMismatch
from jetstream._feed import Feed as Feed

# Older peers.
from jetstream._generations import Generation as Generation
from jetstream._generations import alpn_of as alpn_of

# Identity.
from jetstream._identity import Certificate as Certificate
from jetstream._identity import Peer as Peer
from jetstream._identity import TlsPeer as TlsPeer
from jetstream._identity import TokenPeer as TokenPeer
from jetstream._identity import UnixPeer as UnixPeer
from jetstream._limits import FOREVER as FOREVER
from jetstream._limits import Limits as Limits
from jetstream._reconnect import Reconnect as Reconnect

# Servers.
from jetstream._resume import Resumed as Resumed
from jetstream._resume import resume as resume
from jetstream._router import ProtocolHandler as ProtocolHandler
from jetstream._router import Router as Router
from jetstream._router import Service as Service
from jetstream._router import ServiceType as ServiceType
from jetstream._schema import SchemaError as SchemaError
from jetstream._server import Server as Server
from jetstream._service import Interface as Interface
from jetstream._service import method as method
from jetstream._service import service as service
from jetstream._session import QuicTransport as QuicTransport
from jetstream._session import Session as Session
from jetstream._states import SessionState as SessionState

# Streams.
from jetstream._subscription import Done as Done
from jetstream._subscription import Subscription as Subscription

# TLS.
from jetstream._tls import ClientTls as ClientTls
from jetstream._tls import ClientVerifier as ClientVerifier
from jetstream._tls import ServerTls as ServerTls

# Values.
from jetstream._types import F32 as F32
from jetstream._types import F64 as F64
from jetstream._types import I8 as I8
from jetstream._types import I16 as I16
from jetstream._types import I32 as I32
from jetstream._types import I64 as I64
from jetstream._types import I128 as I128
from jetstream._types import U8 as U8
from jetstream._types import U16 as U16
from jetstream._types import U32 as U32
from jetstream._types import U64 as U64
from jetstream._types import U128 as U128
from jetstream._types import SocketAddress as SocketAddress
from jetstream._types import Some as Some
from jetstream._types import Url as Url

__version__ = "0.1.0"


def _claim(names: dict[str, object]) -> None:
    """Lets classes and functions say the name by which users import them, not where they live."""
    for value in names.values():
        if isinstance(value, type | _FunctionType) and value.__module__.startswith("jetstream._"):
            value.__module__ = "jetstream"


_claim(dict(globals()))
