#!/usr/bin/env python3
"""Opens a page in Chrome or Chromium on a new profile that takes the development certificate.

Browsers speak QUIC only with certificates that they can verify, and no warning can be clicked away
there. This one is told the hash of the certificate's public key, and takes that key from nobody
else. What it stores goes with it.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from jetstream import Certificate

PROGRAMS = (
    *("google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find() -> str | None:
    """The browser in $CHROME, or the first that is installed."""
    named = os.environ.get("CHROME")
    programs = (named,) if named else PROGRAMS
    return next((found for each in programs if (found := shutil.which(each))), None)


def flags(url: str, certificate: Certificate, profile: str) -> list[str]:
    """What the browser is told."""
    place = urlsplit(url)
    key = base64.b64encode(certificate.spki_sha256).decode()
    return [
        f"--user-data-dir={profile}",
        f"--ignore-certificate-errors-spki-list={key}",
        # So that the page itself comes over HTTP/3, too, and shares its connection.
        f"--origin-to-force-quic-on={place.hostname}:{place.port or 443}",
        "--no-first-run",
        "--no-default-browser-check",
        # Its own sandbox wants another user than root.
        *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Opens a page in Chrome or Chromium.")
    parser.add_argument("url", nargs="?", default="https://127.0.0.1:8443/")
    parser.add_argument("--certificates", type=Path, default=Path(".demo/certs"))
    parser.add_argument("--print", action="store_true", help="print the command, run nothing")
    given = parser.parse_args()
    made = given.certificates / "server.crt"
    if not made.exists():
        print(f"{made} is missing: start the server first, it makes it", file=sys.stderr)
        return 1
    program = find()
    if program is None:
        print("no Chrome and no Chromium found: name yours in $CHROME", file=sys.stderr)
        return 1
    certificate = Certificate.from_der(made.read_bytes())
    with tempfile.TemporaryDirectory(prefix="jetstream-", ignore_cleanup_errors=True) as profile:
        command = [program, *flags(given.url, certificate, profile), given.url]
        if given.print:
            print(*command)
            return 0
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
