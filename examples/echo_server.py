import asyncio

from jetstream import I32, INJECTED, Context, Server, ServerTls, service


@service
class Echo:
    async def echo(self, message: str) -> str:
        return message

    async def add(self, a: I32, b: I32) -> I32:
        return a + b

    async def who_am_i(self, ctx: Context = INJECTED) -> str:
        return str(ctx.peer)


if __name__ == "__main__":
    tls = ServerTls("certs/server.pem", "certs/server.key", client_ca="certs/ca.pem")
    asyncio.run(Server(Echo(), tls=tls, port=4433).run())
