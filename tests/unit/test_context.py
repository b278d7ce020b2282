"""Contexts: what a method knows about its call, and how one is made for a test."""

from ipaddress import ip_address
from typing import Any

import pytest
from jetstream import INJECTED, Connection, Context, SocketAddress, TokenPeer, UnixPeer
from jetstream._context import make_context


class FakeConnection:
    """As much of a connection as a context looks at."""

    peer = UnixPeer(1, 2, 3)
    remote = ("::1", 4433)
    alpn = "jetstream"
    early = True


def test_the_context_of_a_call():
    context = make_context(FakeConnection(), "Echo.put")
    assert context.method == "Echo.put"
    assert context.peer == UnixPeer(1, 2, 3)
    assert context.remote == SocketAddress(ip_address("::1"), 4433)
    assert context.protocol == "jetstream"
    assert context.early


def test_a_context_for_a_test():
    remote = SocketAddress(ip_address("10.0.0.1"), 1)
    context = Context(peer=UnixPeer(1, 2, 3), remote=remote, method="Echo.put")
    assert (context.peer, context.remote) == (UnixPeer(1, 2, 3), remote)
    assert context.protocol is None
    assert repr(context) == (
        "<Context of Echo.put from process 1 of user 2, group 3 at 10.0.0.1:1>"
    )


def test_an_empty_context():
    context = Context()
    assert (context.peer, context.remote, context.protocol, context.method) == (
        None,
        None,
        None,
        "",
    )
    assert repr(context) == "<Context of a connection from None at None>"
    assert not context.early
    assert Context(early=True).early


class Nobody(FakeConnection):
    """A connection whose peer has proved nothing."""

    peer: Any = None
    credentials = None
    peer_chain = ()
    session: Any = None


def test_whoever_proved_nothing_can_be_identified_and_again():
    context = make_context(Nobody(), "Echo.login")
    later = make_context(context._connection, "Echo.put")
    assert context.peer is None
    for name in ("ada", "grace"):
        context.identify(TokenPeer(name))
        # It is known on the whole connection.
        assert context.peer == later.peer == TokenPeer(name)


def test_whoever_proved_who_it_is_stays_that():
    context = make_context(FakeConnection(), "Echo.login")
    with pytest.raises(RuntimeError, match="has proved who it is, and cannot be somebody else"):
        context.identify(TokenPeer("ada"))
    assert context.peer == UnixPeer(1, 2, 3)
    with pytest.raises(RuntimeError, match="belongs to no connection"):
        Context().identify(TokenPeer("ada"))


def test_a_raw_connection_has_no_session():
    connection = Nobody()
    for session in (None, Connection(connection)):
        connection.session = session
        with pytest.raises(RuntimeError, match="no connection on which services are called"):
            _ = make_context(connection, "WebTransport /").session
    connection.session = "a session"
    assert make_context(connection, "Echo.put").session == "a session"
    with pytest.raises(RuntimeError, match="no connection on which services are called"):
        _ = Context().session


def test_the_placeholder_is_nothing():
    assert INJECTED is None
