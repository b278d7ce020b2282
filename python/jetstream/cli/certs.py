"""`jetstream certs`: development certificates on disk. The making itself is in `_certs`.

`cryptography` is imported inside the commands, so that `--help` does not wait for it.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetstream._errors import TlsConfigError

if TYPE_CHECKING:
    from jetstream._certs import Authority, Issued
    from jetstream._files import NewFile

_option = partial(click.option, show_envvar=True)
_HOW_TO_UNLOCK = "give --password or set JETSTREAM_P12_PASSWORD"
_MAX_STEM = 100  # file systems allow 255 bytes; endings and a temporary name are added

_days = _option(
    "--days",
    type=click.IntRange(1, 3650),
    default=14,
    help="Validity. Browsers accept a pinned certificate (serverCertificateHashes) only up to 14.",
)
_p12_password = _option(
    "--p12-password",
    envvar="JETSTREAM_P12_PASSWORD",
    default="",
    show_default="empty: the file is not encrypted",
    help="Password of the .p12 file. Others can see a command's arguments: prefer the variable. "
    "Apple's Keychain imports no file without one.",
)
_force = _option("--force", is_flag=True, help="Replace existing files.")


@click.group()
def certs() -> None:
    """Make and look at certificates for development.

    Nothing is put in a trust store.
    """


@certs.command()
@click.argument("folder", metavar="[DIR]", default="certs", type=click.Path(path_type=Path))
@_option(
    "--name",
    "names",
    envvar="JETSTREAM_CERTS_INIT_NAME",
    multiple=True,
    help="Another name of the server; may be repeated.",
)
@_option("--common-name", default="client", help="Common name of the client's certificate.")
@_days
@_p12_password
@_option(
    "--renew",
    is_flag=True,
    help="Keep the authority in DIR, replace what it issued; repeat --name and the rest.",
)
@_force
def init(
    *,
    folder: Path,
    names: tuple[str, ...],
    common_name: str,
    days: int,
    p12_password: str,
    renew: bool,
    force: bool,
) -> None:
    """Make an authority, a server's and a client's certificate in DIR.

    Writes ca.pem ca.key server.pem server.key server.crt (DER) server.spki (hash for browsers)
    client.pem client.key client.p12. The server is named localhost, 127.0.0.1 and ::1. Keys and
    .p12 have mode 0600. The authority is valid for ten years.
    """
    from jetstream._certs import LOCAL_NAMES, Authority, Usage
    from jetstream._names import parse_name

    if renew and force:
        raise click.UsageError("--renew keeps the authority and --force replaces it: choose one.")
    authority = _load_authority(folder) if renew else Authority.make()
    server = authority.issue([*LOCAL_NAMES, *names], days=days)
    try:
        parse_name(common_name)
        client_names = [common_name]
    except TlsConfigError:  # "Ada Lovelace" is a common name and no alternative one
        client_names = []
    client = authority.issue(client_names, usage=Usage.CLIENT, common_name=common_name, days=days)
    folder.mkdir(parents=True, exist_ok=True)
    files = [] if renew else authority.files(folder)
    files += server.files(folder, "server", Usage.SERVER)
    files += client.files(folder, "client", Usage.CLIENT, p12_password=p12_password)
    _write(
        files,
        replace=renew or force,
        fix="--renew keeps the authority and replaces the rest, --force replaces everything",
    )
    _report(files, [server, client])
    click.echo(f"renew with: jetstream certs init {folder} --renew")
    click.echo(f"hash for browsers: {server.spki_sha256}")
    click.echo(f"nothing was put in a trust store; peers are told to trust {folder / 'ca.pem'}")


@certs.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@_option("--server", is_flag=True, help="For a server; this is the default.")
@_option("--client", is_flag=True, help="For a client.")
@_option("--both", is_flag=True, help="For a peer that is both.")
@_option(
    "--dir",
    "folder",
    envvar="JETSTREAM_CERTS_ISSUE_DIR",
    default="certs",
    type=click.Path(path_type=Path),
    help="Where ca.pem and ca.key are, and where the files go.",
)
@_option("--out", metavar="STEM", help="File name without ending.  [default: the first name]")
@_option("--common-name", help="Common name.  [default: the first name]")
@_days
@_p12_password
@_force
def issue(
    *,
    names: tuple[str, ...],
    server: bool,
    client: bool,
    both: bool,
    folder: Path,
    out: str | None,
    common_name: str | None,
    days: int,
    p12_password: str,
    force: bool,
) -> None:
    """Issue a certificate for one or more NAMEs.

    A NAME is a DNS name, an IP address, an email address or a URI and recognised by its form.
    Writes NAME.pem and NAME.key; for a server also NAME.crt (DER) and NAME.spki (hash for
    browsers), for a client NAME.p12.
    """
    from jetstream._certs import Usage

    if server + client + both > 1:
        raise click.UsageError("--server, --client and --both exclude each other.")
    if not names and common_name is None:
        raise click.UsageError("Give at least one NAME, or --common-name.")
    usage = Usage.CLIENT if client else Usage.BOTH if both else Usage.SERVER
    if not names and usage is not Usage.CLIENT:
        raise click.UsageError("A server needs a NAME: its common name is not looked at.")
    stem = _stem(out, names[0] if names else common_name or "")
    issued = _load_authority(folder).issue(names, usage=usage, common_name=common_name, days=days)
    files = issued.files(folder, stem, usage, p12_password=p12_password)
    _write(files, replace=force, fix="--force replaces them, --out chooses other names")
    _report(files, [issued])


@certs.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@_option(
    "--password",
    envvar="JETSTREAM_P12_PASSWORD",
    help="Password of a PKCS#12 file; asked for when it is needed and not given.",
)
@_option(
    "--json", "as_json", envvar="JETSTREAM_CERTS_INSPECT_JSON", is_flag=True, help="Print JSON."
)
def inspect(*, file: Path, password: str | None, as_json: bool) -> None:
    """Show what is in FILE: certificates, keys, requests, revocation lists, PKCS#12.

    PEM or DER, recognised by content; `-` reads standard input. Private keys are never printed.
    """
    from jetstream._keys import asked_once
    from jetstream._material import read
    from jetstream.cli._describe import describe, render

    piped = str(file) == "-"
    content = read(sys.stdin.buffer.read() if piped else file, wanted="a certificate")
    ask = asked_once(password if password is not None else _asker(file, _HOW_TO_UNLOCK))
    found = describe(content, ask, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps({"file": str(file), "items": found}, indent=2))
    else:
        click.echo("\n\n".join(render(facts) for facts in found))


def _load_authority(folder: Path) -> "Authority":
    from jetstream._certs import Authority

    certificate, key = folder / "ca.pem", folder / "ca.key"
    for path in (certificate, key):
        if not path.exists():
            raise TlsConfigError(
                f"no authority in {folder}: {path} is missing; 'jetstream certs init {folder}' "
                "makes one, --dir names the folder of another"
            )
    return Authority.load(certificate, key, _asker(key, "answer with its password"))


def _asker(file: Path, otherwise: str) -> Callable[[], str]:
    def ask() -> str:
        try:
            # With a default, an empty line is an answer and not a reason to ask for ever.
            answer = click.prompt(
                f"Password for {file}", hide_input=True, err=True, default="", show_default=False
            )
        except click.Abort:
            answer = ""
        if not answer:
            raise TlsConfigError(f"{file} is encrypted: {otherwise}")
        return str(answer)

    return ask


def _stem(out: str | None, name: str) -> str:
    if out is not None and (Path(out).name != out or out.startswith(".")):
        raise click.BadParameter("a file name without folder, please: --dir names the folder.")
    stem = out or re.sub(r"[^A-Za-z0-9._@-]+", "_", name.replace("*", "_wildcard")).lstrip(".-")
    if stem.lower() == "ca":
        raise click.UsageError("This would replace the authority's files: choose another --out.")
    return stem[:_MAX_STEM]


def _write(files: "Sequence[NewFile]", *, replace: bool, fix: str) -> None:
    from jetstream._files import FilesExistError, write_files

    try:
        write_files(files, replace=replace)
    except FilesExistError as error:
        raise TlsConfigError(f"{error}: {fix}") from error


def _report(files: "Sequence[NewFile]", issued: "Sequence[Issued]") -> None:
    for path in sorted(file.path for file in files):
        click.echo(f"wrote {path}")
    end = min(each.certificate.not_valid_after_utc for each in issued)
    click.echo(f"valid until {end:%Y-%m-%d %H:%M} UTC")
