"""Certificates in URLs, by which pages say who they are: nobody has proved them."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from jetstream._admission import RefuseSession
from jetstream._identity import TlsPeer, peer_of_chain
from jetstream._material import load_certificates

if TYPE_CHECKING:
    from datetime import timedelta

    from jetstream._material import Source

_MOST = 16 << 10
_EITHER = str.maketrans(" -_", "++/")
"""Bytes of one, encoded; the head of a request bounds it anyway."""


class CertificatesInUrls:
    """Takes certificates of ``?cert=``, which nobody has proved to be theirs.

    Args:
        authorities: Who must have issued them.
        lifetime: From the beginning to the end of one.

    Raises:
        TlsConfigError: The authorities cannot be read.
    """

    def __init__(self, authorities: Source, lifetime: timedelta) -> None:
        ders = load_certificates(authorities)
        self._store = Store([x509.load_der_x509_certificate(der) for der in ders])
        self._lifetime = lifetime

    def peer_of(self, text: str) -> TlsPeer:
        """Whom a certificate names.

        Raises:
            RefuseSession: It is none, is not one of the authorities', or is valid for too long.
        """
        # In a URL a plus sign is a space; either alphabet is taken.
        encoded = text.translate(_EITHER)
        if len(encoded) > _MOST:
            raise RefuseSession(400, "a certificate in the URL that is too large")
        try:
            der = base64.b64decode(encoded)
            certificate = x509.load_der_x509_certificate(der)
        except (binascii.Error, ValueError):
            raise RefuseSession(400, "no certificate in the URL, in DER and base64") from None
        lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        if lasts > self._lifetime:
            msg = f"a certificate in the URL that is valid for {lasts}, over {self._lifetime}"
            raise RefuseSession(403, msg)
        verifier = PolicyBuilder().store(self._store).time(datetime.now(UTC))
        try:
            verifier.build_client_verifier().verify(certificate, [])
        except VerificationError as error:
            msg = f"a certificate in the URL that is not accepted: {error}"
            raise RefuseSession(403, msg) from None
        peer = peer_of_chain([der])
        if peer is None:
            raise RefuseSession(400, "an empty certificate")
        return peer
