import asyncio

from echo_server import Echo
from jetstream import ClientTls, connect


async def main() -> None:
    tls = ClientTls(ca="certs/ca.pem", certificate="certs/client.pem", key="certs/client.key")
    async with connect("localhost:4433", tls=tls) as session:
        print(session.peer, await session.channel(Echo).echo("hello"), sep="\n")


asyncio.run(main())
