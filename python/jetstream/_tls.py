"""TLS settings: what users write, checked when it is written, loaded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

from jetstream import _core
from jetstream._errors import TlsConfigError
from jetstream._identity import TlsPeer, peer_of_chain
from jetstream._keys import Password
from jetstream._limits import Limits
from jetstream._material import Source, load_certificates, load_crls, load_identity, stamps

ClientAuth: TypeAlias = Literal["none", "optional", "required"]
"""Whether a server asks clients for a certificate, and whether it takes them without."""

PeerCheck: TypeAlias = Callable[[TlsPeer], object]
"""A check of the user's own: called in the handshake with the peer's chain, after all other checks;
refuses by raising, and the text of the exception is the reason that the peer is given."""


def _as_check(check: PeerCheck | None) -> Callable[[tuple[bytes, ...]], object] | None:
    if check is None:
        return None

    def run(chain: tuple[bytes, ...]) -> object:
        peer = peer_of_chain(chain)
        return None if peer is None else check(peer)

    return run


@dataclass(frozen=True, slots=True)
class ClientVerifier:
    """How a server verifies its clients' certificates.

    Args:
        ca: Who may have issued them: a file, PEM or DER bytes, or several.
        crls: Revocation lists of these; a certificate that one of them names is refused, and so is
            one that none of them covers.
        check: A check of one's own, after the others; with no `ca` the only one.
        required: Whether a client must show a certificate at all.
    """

    ca: Source | None = None
    crls: Source | None = None
    check: PeerCheck | None = None
    required: bool = True

    def allow_unauthenticated(self) -> "ClientVerifier":
        """The same, but clients without a certificate are let in, with no identity."""
        return ClientVerifier(self.ca, self.crls, self.check, required=False)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A server's TLS 1.3.

    Args:
        certificate: Its certificate, with those between it and the authority: a file or bytes, PEM,
            DER or PKCS#12.
        key: Its private key; not needed where `certificate` is PKCS#12, or holds the key too.
        client_ca: Who may issue clients' certificates. Given this, clients must show one.
        client_auth: ``"required"``, ``"optional"`` (show one or none) or ``"none"``. By default
            required if there is anything to verify with, else none.
        password: Of an encrypted key, or of PKCS#12.
        client_crls: Revocation lists of the client authorities.
        client_check: A check of one's own; refuses by raising.
        early_data: Whether clients that come back may send calls in their first flight, ahead of
            the handshake (0-RTT). Only methods declared `@method(idempotent=True)` run before it is
            complete.

    Raises:
        TlsConfigError: When the server starts: a file that cannot be used, and what to do.
    """

    certificate: Source
    key: Source | None = None
    client_ca: Source | None = None
    client_auth: ClientAuth | None = None
    password: Password | None = field(default=None, repr=False)
    client_crls: Source | None = None
    client_check: PeerCheck | None = None
    early_data: bool = True

    def __post_init__(self) -> None:
        if self.client_auth not in (None, "none", "optional", "required"):
            msg = f"client_auth={self.client_auth!r}: write 'none', 'optional' or 'required'"
            raise TlsConfigError(msg)

    def load(
        self,
        alpns: Sequence[str],
        *,
        limits: Limits | None = None,
        previous: _core.ServerTls | None = None,
    ) -> _core.ServerTls:
        """Reads the files and checks that they fit together.

        Args:
            alpns: The protocols to serve, best first.
            limits: How large chains may be, and how many sessions to remember.
            previous: What this takes the place of, with the sessions that it remembers.
        """
        limits = limits or Limits()
        chain, key = load_identity(self.certificate, self.key, self.password)
        verifies = self.client_ca is not None or self.client_check is not None
        return _core.ServerTls(
            chain,
            key,
            client_auth=self.client_auth or ("required" if verifies else "none"),
            client_roots=_certificates(self.client_ca),
            crls=_crls(self.client_crls),
            check=_as_check(self.client_check),
            alpns=list(alpns),
            max_chain=limits.max_chain,
            sessions=limits.resumable_sessions,
            early_data=self.early_data,
            previous=previous,
        )

    @classmethod
    def with_verifier(
        cls,
        certificate: Source,
        key: Source | None,
        verifier: ClientVerifier,
        password: Password | None = None,
    ) -> Self:
        """A server's TLS with a verifier made before."""
        return cls(
            certificate,
            key,
            client_ca=verifier.ca,
            client_auth="required" if verifier.required else "optional",
            password=password,
            client_crls=verifier.crls,
            client_check=verifier.check,
        )


class _Loaded:
    """What a `ClientTls` was loaded to, by settings, with the stamps of its files then."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[object, tuple[object, _core.ClientTls]] = {}

    def __reduce__(self) -> tuple[type["_Loaded"], tuple[()]]:
        # A copy, in another process or not, begins without memories.
        return _Loaded, ()


@dataclass(frozen=True, slots=True)
class ClientTls:
    """A client's TLS 1.3.

    It remembers the servers that were visited with it: `connect` with the same object again has a
    shorter handshake. Its files are read again when they have changed.

    Args:
        ca: Whom to trust: a file, PEM or DER bytes, or several. `None` trusts the system's roots.
        certificate: Our own certificate, for servers that want one.
        key: Its private key; not needed where `certificate` is PKCS#12, or holds the key too.
        password: Of an encrypted key, or of PKCS#12.
        crls: Revocation lists of the authorities in `ca`.
        server_check: A check of one's own; refuses by raising.
        danger_accept_any_server: Take any certificate from anybody: whoever can reach the network
            can read and change everything. Only for experiments.

    Raises:
        TlsConfigError: When the client starts: a file that cannot be used, and what to do.
    """

    ca: Source | None = None
    certificate: Source | None = None
    key: Source | None = None
    password: Password | None = field(default=None, repr=False)
    crls: Source | None = None
    server_check: PeerCheck | None = None
    danger_accept_any_server: bool = False
    _loaded: _Loaded = field(default_factory=_Loaded, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.danger_accept_any_server and self.ca is not None:
            raise TlsConfigError("ca= and danger_accept_any_server=True contradict each other")
        if self.key is not None and self.certificate is None:
            raise TlsConfigError("key= without certificate=: give the certificate that it is for")

    def load(
        self, alpns: Sequence[str], *, limits: Limits | None = None, fresh: bool = False
    ) -> _core.ClientTls:
        """Reads the files and checks that they fit together, unless that was done before.

        Args:
            alpns: The protocols to offer, best first.
            limits: How large chains may be, and how many servers to remember.
            fresh: Read the files in any case, and remember no server.
        """
        limits = limits or Limits()
        key = (tuple(alpns), limits.resumable_sessions, limits.max_chain)
        files = (self.ca, self.certificate, self.key, self.crls)
        stamp = tuple(stamps(source) for source in files)
        known = self._loaded.entries.get(key)
        if known is not None and known[0] == stamp and not fresh:
            return known[1]
        loaded = self._load(alpns, limits)
        self._loaded.entries[key] = (stamp, loaded)
        return loaded

    def _load(self, alpns: Sequence[str], limits: Limits) -> _core.ClientTls:
        chain: list[bytes] | None = None
        key: bytes | None = None
        if self.certificate is not None:
            chain, key = load_identity(self.certificate, self.key, self.password)
        trust: Literal["system", "roots", "danger_anything"]
        trust = "system" if self.ca is None else "roots"
        return _core.ClientTls(
            trust="danger_anything" if self.danger_accept_any_server else trust,
            roots=_certificates(self.ca),
            crls=_crls(self.crls),
            check=_as_check(self.server_check),
            chain=chain,
            key=key,
            alpns=list(alpns),
            max_chain=limits.max_chain,
            visits=limits.resumable_sessions,
        )


def _certificates(source: Source | None) -> list[bytes]:
    return [] if source is None else load_certificates(source)


def _crls(source: Source | None) -> list[bytes]:
    return [] if source is None else load_crls(source)
