"""An ASGI application over HTTP/1.1, HTTP/2 and HTTP/3, with typed services beside it.

    async with HttpServer(app, router=Router(EchoImpl()), tls=ServerTls("s.pem", "s.key")): ...

From the command line it is ``jetstream serve app:app``.
"""

from jetstream._alt_svc import AltSvcMiddleware as AltSvcMiddleware
from jetstream._forwarded import ProxyHeaders as ProxyHeaders
from jetstream._h3 import H3Service as H3Service
from jetstream._http_context import JetStreamContext as JetStreamContext
from jetstream._http_options import HttpOptions as HttpOptions
from jetstream._http_server import HttpServer as HttpServer
from jetstream._http_server import serve as serve
from jetstream._lifespan import LifespanMode as LifespanMode

__all__ = [
    "AltSvcMiddleware",
    "H3Service",
    "HttpOptions",
    "HttpServer",
    "JetStreamContext",
    "LifespanMode",
    "ProxyHeaders",
    "serve",
]
