"""Who may do what, decided by the certificate that the caller showed.

The authority is trusted to say who somebody is; what they may do is decided here, by an interceptor
before any method runs. Whoever shows no certificate is let in (`client_auth="optional"`) but may
only read.
"""

import asyncio

from jetstream import CallError, ClientTls, Server, ServerTls, connect, service
from jetstream.interceptors import Authorize, Logging
from jetstream.testing import ThrowawayCA

RULES = {
    "Notes.read": ["anybody"],
    "Notes.write": ["email:ada@example.org", "uri:spiffe://example.org/importer"],
    "Notes.*": ["email:ada@example.org"],
}
"""Which methods are whose: the first pattern that fits decides, and nobody may call the others.

Callers are named by alternative names of their certificates. Not by common names: there, an
authority may call anybody anything.
"""


@service
class Notes:
    def __init__(self) -> None:
        self._notes: list[str] = []

    async def read(self) -> list[str]:
        return self._notes

    async def write(self, note: str) -> None:
        self._notes.append(note)

    async def erase(self) -> None:
        self._notes.clear()


async def visit(server: Server, who: str, tls: ClientTls) -> None:
    async with connect(server.address, server_name="localhost", tls=tls) as session:
        notes = session.channel(Notes)
        for what, call in (
            ("write", notes.write(f"{who} was here")),
            ("read", notes.read()),
            ("erase", notes.erase()),
        ):
            try:
                print(f"{who}: {what}:", await call)
            except CallError as error:
                print(f"{who}: {what}: {error.message} [{error.code}]")


async def main() -> None:
    ca = ThrowawayCA()
    own = ca.issue_server()
    ada = ca.issue_client("Ada", "ada@example.org")
    importer = ca.issue_client("importer", "spiffe://example.org/importer")
    tls = ServerTls(own.chain_pem, own.key_pem, client_ca=ca.ca_pem, client_auth="optional")
    # Outermost first: what is refused is logged, too.
    interceptors = [Logging(), Authorize(RULES)]
    async with Server(Notes(), tls=tls, port=0, interceptors=interceptors) as server:
        await visit(server, "importer", ClientTls(ca.ca_pem, importer.chain_pem, importer.key_pem))
        await visit(server, "nobody", ClientTls(ca.ca_pem))
        await visit(server, "ada", ClientTls(ca.ca_pem, ada.chain_pem, ada.key_pem))


if __name__ == "__main__":
    asyncio.run(main())
