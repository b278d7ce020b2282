"""Visits after the first: a shorter handshake, in which both sides are verified all the same."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
from jetstream import Client, ClientTls, Limits, Server, Session, TlsError, TlsPeer

from tests.e2e.services import Echo, EchoImpl
from tests.helpers import authority, client_identity, client_tls, join, run, serve, server_tls

if TYPE_CHECKING:
    from pathlib import Path


async def caller(session: Session) -> str:
    """Who the server thinks is calling. With the answer, the ticket has come too."""
    answer: str = await session.channel(Echo).last("")
    return answer.split()[0]


async def visit(server: Server, tls: ClientTls) -> bool:
    """Whether a visit that lasts for one call was resumed."""
    async with join(server, tls=tls) as session:
        assert await caller(session) == "ada"
        assert isinstance(session.peer, TlsPeer)
        assert "localhost" in session.peer.leaf.dns_names
        return session.resumed


def test_the_same_settings_remember_a_server(loop: str) -> None:
    async def main() -> None:
        tls = client_tls()
        async with serve(EchoImpl(), graceful_timeout=0) as server:
            assert [await visit(server, tls) for _ in range(4)] == [False, True, True, True]
            assert not await visit(server, client_tls()), "others know nothing of it"

    run(main, loop=loop)


def test_a_client_remembers_the_servers_that_it_visited() -> None:
    async def main() -> None:
        async with (
            serve(EchoImpl(), graceful_timeout=0) as one,
            serve(EchoImpl(), graceful_timeout=0) as other,
            Client(client_tls()) as client,
        ):
            for resumed in (False, True):
                # Both are called localhost: the address tells them apart.
                for server in (one, other):
                    async with await client.session(server.address, "localhost") as session:
                        assert await caller(session) == "ada"
                        assert session.resumed is resumed

    run(main)


def test_a_server_that_was_restarted_gives_new_tickets() -> None:
    async def main() -> None:
        tls = client_tls()
        async with serve(EchoImpl(), graceful_timeout=0) as server:
            assert not await visit(server, tls)
            port = server.address.port
        async with serve(EchoImpl(), port=port, graceful_timeout=0) as server:
            assert not await visit(server, tls)
            assert await visit(server, tls)

    run(main)


def test_checks_are_asked_at_every_visit() -> None:
    async def main() -> None:
        asked: list[str] = []

        def note(peer: TlsPeer) -> None:
            asked.append(peer.leaf.common_name or "")

        tls = client_tls(server_check=note)
        async with serve(
            EchoImpl(), tls=server_tls(client_check=note), graceful_timeout=0
        ) as server:
            assert not await visit(server, tls)
            assert sorted(asked) == ["ada", "localhost"]
            assert await visit(server, tls)
            assert sorted(asked) == ["ada", "ada", "localhost", "localhost"]

    run(main)


def test_a_check_that_changed_its_mind_refuses_as_in_a_full_handshake() -> None:
    async def main() -> None:
        banned: set[str | None] = set()

        def check(peer: TlsPeer) -> None:
            if peer.leaf.common_name in banned:
                msg = f"{peer.leaf.common_name} is banned"
                raise PermissionError(msg)

        tls = client_tls()
        async with serve(
            EchoImpl(), tls=server_tls(client_check=check), graceful_timeout=0
        ) as server:
            assert not await visit(server, tls)
            banned.add("ada")
            errors: list[str] = []
            for again in (tls, client_tls()):
                with pytest.raises(TlsError, match="ada is banned") as caught:
                    await visit(server, again)
                errors.append(str(caught.value))
            assert errors[0] == errors[1]

    run(main)


def test_how_many_are_remembered_is_a_limit() -> None:
    async def main() -> None:
        limits = Limits(resumable_sessions=1)
        async with serve(EchoImpl(), limits=limits, graceful_timeout=0) as server:
            one, other = client_tls(), client_tls()
            assert not await visit(server, one)
            assert await visit(server, one)
            assert not await visit(server, other)
            assert not await visit(server, one)

    run(main)


def test_files_that_changed_are_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        certificate, key = tmp_path / "own.pem", tmp_path / "own.key"

        def write(common_name: str) -> None:
            issued = authority().issue_client(common_name)
            certificate.write_bytes(issued.chain_pem)
            key.write_bytes(issued.key_pem)

        tls = ClientTls(authority().ca_pem, certificate, key)
        async with serve(EchoImpl(), graceful_timeout=0) as server:
            write("grace")
            for resumed in (False, True):
                async with join(server, tls=tls) as session:
                    assert (await caller(session), session.resumed) == ("grace", resumed)
            write("hedy")
            async with join(server, tls=tls) as session:
                assert (await caller(session), session.resumed) == ("hedy", False)

    run(main)


def test_copies_of_settings_begin_without_memories() -> None:
    async def main() -> None:
        tls = client_tls(client_identity())
        async with serve(EchoImpl(), graceful_timeout=0) as server:
            assert not await visit(server, tls)
            for other in (copy.deepcopy(tls), pickle.loads(pickle.dumps(tls))):
                assert other == tls
                assert not await visit(server, other)
            assert await visit(server, tls)

    run(main)
