"""Contexts: what a method knows about its call, and how one is made for a test."""

from ipaddress import ip_address

from jetstream import INJECTED, Context, SocketAddress, UnixPeer
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


def test_the_placeholder_is_nothing():
    assert INJECTED is None
