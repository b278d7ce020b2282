"""A throwaway authority for users' tests: certificates in memory, good ones and bad ones.

Re-exported by `jetstream.testing`. Everything is made by `_certs`; only the shortcuts live here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path

from jetstream._certs import LEAF_DAYS, LOCAL_NAMES, Authority, Issued, Usage
from jetstream._files import public_file, write_files

_LONG_AGO = timedelta(days=LEAF_DAYS + 1)


@dataclass(frozen=True, kw_only=True)
class WrittenFiles:
    """Where `ThrowawayCA.write` put its files.

    Attributes:
        ca: The authority's certificate, PEM.
        crl: The revocation list as it was then, PEM.
        server_certificate: The server's chain, PEM.
        server_key: Its private key, PEM, mode 0600.
        client_certificate: The client's chain, PEM.
        client_key: Its private key, PEM, mode 0600.
        client_p12: The client's certificate and key as PKCS#12 without password, mode 0600.
    """

    ca: Path
    crl: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path
    client_p12: Path


class ThrowawayCA:
    """An authority that exists in memory, for one test or one test session.

    Example:
        >>> ca = ThrowawayCA()
        >>> ca.issue_client("ada").common_name
        'ada'
    """

    def __init__(
        self, common_name: str = "JetStream Throwaway CA", *, now: datetime | None = None
    ) -> None:
        """Make the authority.

        Args:
            common_name: Its name.
            now: The time at which everything is made, for tests with a clock of their own, with a
                zone; the clock's when None.
        """
        self._now = now
        self.authority = Authority.make(common_name, path_length=None, now=now)

    def __repr__(self) -> str:
        return f"ThrowawayCA({self.authority.certificate.subject.rfc4514_string()!r})"

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate in PEM: what both sides are told to trust."""
        return self.authority.certificate_pem

    @property
    def ca_der(self) -> bytes:
        """The same in DER."""
        return self.authority.certificate_der

    @property
    def crl_pem(self) -> bytes:
        """The list of what was revoked so far in PEM, signed anew at each access."""
        return self.authority.crl_pem(now=self._now)

    def issue_server(self, *names: str) -> Issued:
        """Issue a server's certificate.

        Args:
            *names: DNS names, IP addresses, URIs; none stands for localhost, 127.0.0.1 and ::1.

        Returns:
            Certificate and key.

        Raises:
            TlsConfigError: A name has no known form.
        """
        return self.authority.issue(names or LOCAL_NAMES, now=self._now)

    def issue_client(self, common_name: str = "client", *names: str) -> Issued:
        """Issue a client's certificate.

        Args:
            common_name: Its common name.
            *names: Alternative names: DNS names, IP addresses, email addresses, URIs.

        Returns:
            Certificate and key.

        Raises:
            TlsConfigError: A name has no known form.
        """
        return self.authority.issue(
            names, usage=Usage.CLIENT, common_name=common_name, now=self._now
        )

    def expired_server(self, *names: str) -> Issued:
        """Issue a server's certificate that expired about a day ago.

        Args:
            *names: As for `issue_server`.

        Returns:
            Certificate and key.
        """
        return self.authority.issue(names or LOCAL_NAMES, now=self._past())

    def expired_client(self, common_name: str = "client", *names: str) -> Issued:
        """Issue a client's certificate that expired about a day ago.

        Args:
            common_name: Its common name.
            *names: As for `issue_client`.

        Returns:
            Certificate and key.
        """
        return self.authority.issue(
            names, usage=Usage.CLIENT, common_name=common_name, now=self._past()
        )

    def revoke(self, issued: Issued) -> None:
        """Put a certificate on the list; `crl_pem` has it from now on.

        Args:
            issued: What this authority issued.
        """
        self.authority.revoke(issued, now=self._now)

    def write(
        self,
        folder: str | PathLike[str],
        *,
        server: Issued | None = None,
        client: Issued | None = None,
    ) -> WrittenFiles:
        """Write what a server and a client need into a folder, replacing what is there.

        The authority's key is not written.

        Args:
            folder: Where to; made if it is missing.
            server: The server's certificate; None issues one for localhost.
            client: The client's certificate; None issues one.

        Returns:
            The paths.

        Raises:
            OSError: A file could not be written.
        """
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        files = (server or self.issue_server()).files(root, "server", Usage.SERVER)
        files += (client or self.issue_client()).files(root, "client", Usage.CLIENT)
        public = [
            public_file(root / "ca.pem", self.ca_pem),
            public_file(root / "ca.crl", self.crl_pem),
        ]
        write_files([*files, *public], replace=True)
        return WrittenFiles(
            ca=root / "ca.pem",
            crl=root / "ca.crl",
            server_certificate=root / "server.pem",
            server_key=root / "server.key",
            client_certificate=root / "client.pem",
            client_key=root / "client.key",
            client_p12=root / "client.p12",
        )

    def _past(self) -> datetime:
        return (self._now or datetime.now(UTC)) - _LONG_AGO
