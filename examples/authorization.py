"""Who may do what, decided by the certificate that the caller showed.

The authority is trusted to say who somebody is; what they may do is decided here. Whoever shows no
certificate is let in (`client_auth="optional"`) but may only read.
"""

import asyncio
from collections.abc import Mapping

from jetstream import (
    INJECTED,
    CallError,
    ClientTls,
    Context,
    JetStreamError,
    Server,
    ServerTls,
    TlsPeer,
    connect,
    service,
)
from jetstream.testing import ThrowawayCA

RIGHTS: Mapping[str, frozenset[str]] = {
    "ada@example.org": frozenset({"write", "erase"}),
    "spiffe://example.org/importer": frozenset({"write"}),
}
"""What each identity may do; identities are names that the authority has put in certificates."""


def identities(ctx: Context) -> frozenset[str]:
    """The caller's names. Not the common name: anybody may be called anything."""
    if not isinstance(ctx.peer, TlsPeer):
        return frozenset()
    leaf = ctx.peer.leaf
    return frozenset((*leaf.emails, *leaf.uris))


def require(right: str, ctx: Context) -> None:
    """Raises what the caller is told, unless one of its names has the right."""
    names = identities(ctx)
    if any(right in RIGHTS.get(name, ()) for name in names):
        return
    who = ", ".join(sorted(names)) or "somebody without a certificate"
    raise JetStreamError(
        f"{who} may not {right}",
        code="notes::forbidden",
        help=f"use a certificate of an identity that may {right}",
    )


@service
class Notes:
    def __init__(self) -> None:
        self._notes: list[str] = []

    async def read(self) -> list[str]:
        return self._notes

    async def write(self, note: str, ctx: Context = INJECTED) -> None:
        require("write", ctx)
        self._notes.append(note)

    async def erase(self, ctx: Context = INJECTED) -> None:
        require("erase", ctx)
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
    async with Server(Notes(), tls=tls, port=0) as server:
        await visit(server, "importer", ClientTls(ca.ca_pem, importer.chain_pem, importer.key_pem))
        await visit(server, "nobody", ClientTls(ca.ca_pem))
        await visit(server, "ada", ClientTls(ca.ca_pem, ada.chain_pem, ada.key_pem))


if __name__ == "__main__":
    asyncio.run(main())
