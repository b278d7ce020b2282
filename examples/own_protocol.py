"""A protocol of one's own over raw QUIC connections, both ends of it: streams and datagrams.

It is called "tally/1" (its ALPN name). On a bidirectional stream the client sends numbers and gets
their sum; on a unidirectional one it sends numbers and gets nothing; a datagram asks how many
numbers the server has seen on this connection, and may have to be asked again.
"""

import asyncio
import struct
from collections.abc import Sequence

from jetstream import (
    Client,
    ClientTls,
    Connection,
    ConnectionLost,
    Context,
    ReceiveStream,
    SendStream,
    Server,
    ServerTls,
    TlsPeer,
)
from jetstream.testing import ThrowawayCA

ALPN = "tally/1"
NUMBER = struct.Struct("<q")
MAX_BYTES = 8_000
"""A peer may send without end: nobody reads more than this from one stream."""


class Tally:
    """The serving end. It serves all connections; what belongs to one is in local variables."""

    def alpns(self) -> Sequence[str]:
        return [ALPN]

    async def accept(self, ctx: Context, connection: Connection) -> None:
        if isinstance(ctx.peer, TlsPeer):
            print(f"server: {ctx.peer.leaf.common_name} is here, speaking {ctx.protocol}")
        seen: list[int] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sums(connection, seen))
                tasks.create_task(self._notes(connection, seen))
                tasks.create_task(self._counts(connection, seen))
        except* ConnectionLost:
            # All three end this way: the client has gone.
            print(f"server: gone, after {len(seen)} numbers")

    async def _sums(self, connection: Connection, seen: list[int]) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._sum(*await connection.accept_bi(), seen))

    async def _sum(self, send: SendStream, receive: ReceiveStream, seen: list[int]) -> None:
        numbers = unpack(await receive.read_to_end(MAX_BYTES))
        seen += numbers
        await send.write(NUMBER.pack(sum(numbers)))
        send.finish()

    async def _notes(self, connection: Connection, seen: list[int]) -> None:
        while True:
            stream = await connection.accept_uni()
            seen += unpack(await stream.read_to_end(MAX_BYTES))

    async def _counts(self, connection: Connection, seen: list[int]) -> None:
        while True:
            question = await connection.receive_datagram()
            connection.send_datagram(question + NUMBER.pack(len(seen)))


class TallyClient:
    """The calling end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = 0

    async def sum(self, numbers: Sequence[int]) -> int:
        send, receive = await self._connection.open_bi()
        await send.write(pack(numbers))
        send.finish()
        (total,) = unpack(await receive.read_exactly(NUMBER.size))
        return total

    async def note(self, numbers: Sequence[int]) -> None:
        stream = await self._connection.open_uni()
        await stream.write(pack(numbers))
        stream.finish()
        await stream.wait_acknowledged()

    async def count(self, attempts: int = 5) -> int:
        """Asks again after a second: the question or its answer may have been lost."""
        for _ in range(attempts):
            self._asked += 1
            self._connection.send_datagram(NUMBER.pack(self._asked))
            try:
                async with asyncio.timeout(1):
                    return await self._answer()
            except TimeoutError:
                continue
        raise TimeoutError(f"no answer to {attempts} datagrams")

    async def _answer(self) -> int:
        while True:
            question, count = unpack(await self._connection.receive_datagram())
            if question == self._asked:  # an older one's answer may still arrive
                return count


def pack(numbers: Sequence[int]) -> bytes:
    return b"".join(map(NUMBER.pack, numbers))


def unpack(data: bytes) -> list[int]:
    return [number for (number,) in NUMBER.iter_unpack(data)]


async def main() -> None:
    ca = ThrowawayCA()
    server, client = ca.issue_server(), ca.issue_client("ada")
    server_tls = ServerTls(server.chain_pem, server.key_pem, client_ca=ca.ca_pem)
    client_tls = ClientTls(ca.ca_pem, client.chain_pem, client.key_pem)
    async with (
        Server(Tally(), tls=server_tls, port=0) as running,
        Client(client_tls, alpns=[ALPN]) as caller,
        await caller.connect(running.address, "localhost") as connection,
    ):
        tally = TallyClient(connection)
        print("client: the sum is", await tally.sum([1, 2, 39]))
        sums = await asyncio.gather(*(tally.sum([number, number]) for number in range(100)))
        print("client: a hundred sums, each on a stream of its own:", sums == [*range(0, 200, 2)])
        await tally.note([5, 6, 7])
        print("client: numbers seen:", await tally.count())


if __name__ == "__main__":
    asyncio.run(main())
