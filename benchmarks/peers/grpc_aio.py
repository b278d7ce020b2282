"""grpc.aio as a peer: mutual TLS, generic handlers, bytes for strings, protobuf for the order.

`python -m benchmarks.peers.grpc_aio server CERTIFICATES`, or `client ADDRESS CERTIFICATES LOAD...`.
"""

# grpc carries no types of its own.
# mypy: disable-error-code="import-untyped, no-untyped-call, misc, attr-defined"
# mypy: disable-error-code="no-any-return, unused-ignore, import-not-found"
# pyright: basic

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.peers.load import Client, Harness, Session, Visit, drive
from benchmarks.peers.order import sample_order

SERVICE = "bench.Echo"
CLIENT_OPTIONS = (
    ("grpc.ssl_target_name_override", "localhost"),
    # Every channel makes a connection of its own, as the other peers do.
    ("grpc.use_local_subchannel_pool", 1),
)


def order_class() -> Any:
    """The protobuf message of the order, described at run time."""
    field = descriptor_pb2.FieldDescriptorProto
    plain = {"str": field.TYPE_STRING, "u32": field.TYPE_UINT32, "u64": field.TYPE_FIXED64}
    plain["f64"] = field.TYPE_DOUBLE
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="bench", syntax="proto3")

    def message(name: str, **fields: str) -> None:
        made = file.message_type.add(name=name)
        for number, (key, kind) in enumerate(fields.items(), start=1):
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            added = made.field.add(name=key, number=number, label=label)
            kind = kind.removeprefix("*")
            if kind in plain:
                added.type = plain[kind]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, f".bench.{kind}"

    message("Address", street="str", city="str", postcode="str", country="str")
    message("Line", sku="str", title="str", quantity="u32", price="f64", tags="*str")
    message("Order", number="u64", customer="str", note="str", ship_to="Address", lines="*Line")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Order"))


async def _same(request: Any, _context: Any) -> Any:
    return request


async def _again(request: Any, _context: Any) -> AsyncIterator[Any]:
    while True:
        yield request


async def serve(certificates: Path) -> None:
    order = order_class()
    typed = {
        "request_deserializer": order.FromString,
        "response_serializer": order.SerializeToString,
    }
    raw = grpc.unary_unary_rpc_method_handler(_same)
    methods = {
        "ping": raw,
        "echo": raw,
        "order": grpc.unary_unary_rpc_method_handler(_same, **typed),
        "echoes": grpc.unary_stream_rpc_method_handler(_again),
        "orders": grpc.unary_stream_rpc_method_handler(_again, **typed),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    credentials = grpc.ssl_server_credentials(
        [((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())],
        (certificates / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    harness = await Harness.open()
    harness.say(address=f"127.0.0.1:{port}")
    await harness.end()
    await server.stop(None)


def client(address: str, certificates: Path) -> Client:
    order = order_class()
    typed = {
        "request_serializer": order.SerializeToString,
        "response_deserializer": order.FromString,
    }
    credentials = grpc.ssl_channel_credentials(
        (certificates / "ca.pem").read_bytes(),
        (certificates / "client.key").read_bytes(),
        (certificates / "client.pem").read_bytes(),
    )

    @asynccontextmanager
    async def connect() -> AsyncGenerator[Session]:
        async with grpc.aio.secure_channel(address, credentials, CLIENT_OPTIONS) as channel:
            ping = channel.unary_unary(f"/{SERVICE}/ping")
            yield Session(
                ping=lambda: ping(b""),
                echo=channel.unary_unary(f"/{SERVICE}/echo"),
                order=channel.unary_unary(f"/{SERVICE}/order", **typed),
                echoes=channel.unary_stream(f"/{SERVICE}/echoes"),
                orders=channel.unary_stream(f"/{SERVICE}/orders", **typed),
            )

    def visit(_kind: Visit) -> AbstractAsyncContextManager[Session]:
        return connect()

    return Client(
        connect=connect,
        visit=visit,
        message=lambda size: b"x" * size,
        order=order(**sample_order()),
    )


async def main(words: list[str]) -> None:
    match words:
        case ["server", certificates]:
            await serve(Path(certificates))
        case ["client", address, certificates, *load]:
            await drive(client(address, Path(certificates)), load)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(sys.argv[1:]))
    else:
        uvloop.run(main(sys.argv[1:]))
