"""Tokens that say who a page is: made for whoever is logged in, shown in the URL of a session."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta

from jetstream import TokenPeer

LIFETIME = timedelta(minutes=5)
"""How long a token, and a session with it, is good: it stands in a URL, so not for long."""


class Tokens:
    """Makes and reads tokens: a name and a time, signed with a key that ends with the process."""

    def __init__(self, lifetime: timedelta = LIFETIME) -> None:
        self._key = secrets.token_bytes(32)
        self._lifetime = lifetime

    def issue(self, name: str, now: datetime) -> tuple[str, datetime]:
        """A token for somebody, and when it expires."""
        expires = (now + self._lifetime).replace(microsecond=0)
        claims = json.dumps({"name": name, "expires": int(expires.timestamp())}).encode()
        return f"{encoded(claims)}.{encoded(self._mac(claims))}", expires

    def peer(self, token: str, now: datetime) -> TokenPeer | None:
        """Whose token it is; `None` if it is none of ours, or too old."""
        try:
            claims, mac = map(decoded, token.split("."))
        except ValueError:
            return None
        if not hmac.compare_digest(mac, self._mac(claims)):
            return None
        told = json.loads(claims)
        expires = datetime.fromtimestamp(told["expires"], UTC)
        return TokenPeer(told["name"], expires=expires) if now < expires else None

    def _mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, claims, hashlib.sha256)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
