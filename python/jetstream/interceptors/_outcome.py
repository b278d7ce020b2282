"""How a call went, and who made it, in a word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jetstream._errors import JetStreamError
from jetstream._identity import TlsPeer, TokenPeer

if TYPE_CHECKING:
    from jetstream._identity import Peer

OK = "ok"
CANCELLED = "cancelled"


def outcome_of(error: BaseException | None) -> str:
    """``ok``, ``cancelled``, an error's code, or the name of its class if it has none."""
    if error is None:
        return OK
    # A subscription that is given up has its generator closed.
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    code = error.code if isinstance(error, JetStreamError) else None
    return type(error).__name__ if code is None else code


def names_of(peer: Peer | None) -> frozenset[str]:
    """The names by which a peer is known, as `Authorize` writes them.

    They are ``uri:``, ``dns:``, ``email:`` and ``ip:`` with an alternative name of its certificate,
    ``cn:`` with the common name, ``sha256:`` with the fingerprint; ``uid:`` with the user of a
    process of this machine; ``token:`` with the subject of a token. Nobody known has none.
    """
    if peer is None:
        return frozenset()
    if isinstance(peer, TokenPeer):
        return frozenset((f"token:{peer.subject}",))
    if not isinstance(peer, TlsPeer):
        return frozenset((f"uid:{peer.uid}",))
    leaf = peer.leaf
    names = [f"uri:{uri}" for uri in leaf.uris]
    # Names of hosts are the same in capitals (RFC 4343).
    names += [f"dns:{name.lower()}" for name in leaf.dns_names]
    names += [f"email:{address}" for address in leaf.emails]
    names += [f"ip:{address}" for address in leaf.ip_addresses]
    if leaf.common_name is not None:
        names.append(f"cn:{leaf.common_name}")
    return frozenset((*names, f"sha256:{leaf.fingerprint}"))


def spell_peer(peer: Peer | None) -> str:
    """A peer's name for a line of text; it cannot contain the end of the line."""
    if peer is None:
        return "somebody unknown"
    if isinstance(peer, TokenPeer):
        return peer.subject if peer.subject.isprintable() else repr(peer.subject)
    if not isinstance(peer, TlsPeer):
        return f"uid {peer.uid}"
    leaf = peer.leaf
    name = next((*leaf.uris, *leaf.dns_names, *leaf.emails, leaf.common_name or "").__iter__())
    return name if name.isprintable() and name else repr(name or leaf.fingerprint)
