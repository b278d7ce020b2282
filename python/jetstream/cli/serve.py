"""`jetstream serve`: an ASGI application, and services beside it, from the command line.

Options are named as uvicorn's where it has them.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jetstream._errors import JetStreamError, TlsConfigError
from jetstream.cli._loading import load
from jetstream.cli._reloading import end_with_parent, serve_reloading

if TYPE_CHECKING:
    from collections.abc import Callable

    from jetstream._admission import WebTransport
    from jetstream._limits import Limits
    from jetstream._tls import ServerTls

_LEVELS = ("critical", "error", "warning", "info", "debug")

_MOST = 0xFFFF_FFFF

_AS_OPTIONS = {
    "pass the key's file as key=": "give the key's file with --tls-key",
    "pass password=": "give --tls-key-password, or its variable JETSTREAM_SERVE_TLS_KEY_PASSWORD",
    "give tls=..., listen on 127.0.0.1 or a Unix socket": "give --tls-cert, listen on 127.0.0.1 or "
    "with --uds on a Unix socket",
    "say danger_plaintext=True": "say --danger-plaintext",
}
"""What errors advise to whoever writes Python, and what that is on the command line."""


def _count(value: str) -> int:
    """A whole number above 0."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        msg = f"{value!r}: write a whole number from 1 to {_MOST}."
        raise click.BadParameter(msg)
    return number


def _seconds(value: str | float, least: str = "above 0") -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    # Not a number is not between them either.
    if not 0 <= seconds <= _MOST or (seconds == 0 and least == "above 0"):
        msg = f"{value!r}: write seconds, {least}, at most {_MOST}."
        raise click.BadParameter(msg)
    return seconds


def _seconds_or_none(value: str | float) -> float:
    return _seconds(value, "0 or above")


def _existing(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not Path(value).exists():
        msg = f"there is no folder {value!r}."
        raise click.BadParameter(msg, ctx, param)
    return value


def _all_existing(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    for each in value:
        _existing(ctx, param, each)
    return value


def _octal(ctx: click.Context, param: click.Parameter, value: str) -> int:
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        msg = f"{value!r}: write it in octal, such as 660."
        raise click.BadParameter(msg, ctx, param)
    return mode


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option with an environment variable of its own, by its first name."""
    name = names[0].partition("/")[0].removeprefix("--").replace("-", "_").upper()
    settings.setdefault("envvar", f"JETSTREAM_SERVE_{name}")
    return click.option(*names, show_envvar=True, **settings)


@click.command()
@click.argument("app", metavar="MODULE:APP", envvar="JETSTREAM_SERVE_APP")
@_option("--router", metavar="MODULE:ROUTER", help="Services and protocol handlers beside it.")
@_option("--factory", is_flag=True, help="APP is a function that makes the application.")
@_option("--app-dir", default=".", callback=_existing, help="Where modules are looked for.")
@_option("--host", default="127.0.0.1", help="The address to listen on.")
@_option("--port", type=click.IntRange(0, 65_535), default=8000, help="TCP and UDP; 0: a free one.")
@_option("--uds", help="A Unix socket to listen on, in the place of host and port.")
@_option(
    "--uds-mode",
    default="600",
    callback=_octal,
    help="Who may connect: permissions of its file, in octal.",
)
@_option("--tls-cert", "--ssl-certfile", "tls_cert", help="Our certificate: PEM, DER or PKCS#12.")
@_option("--tls-key", "--ssl-keyfile", "tls_key", help="Its private key.")
@_option(
    "--tls-key-password", "--ssl-keyfile-password", "tls_password", help="Of an encrypted key."
)
@_option("--client-ca", "--ssl-ca-certs", "client_ca", help="Who may issue clients' certificates.")
@_option("--client-crl", "client_crl", help="Revocation lists of these.")
@_option(
    "--mtls",
    type=click.Choice(["none", "optional", "required"]),
    help="Whether clients must show a certificate.  [default: required with --client-ca]",
)
@_option("--h2/--no-h2", default=True, help="Speak HTTP/2.")
@_option("--h3/--no-h3", default=True, help="Speak HTTP/3, over TLS.")
@_option("--rpc/--no-rpc", default=True, help="Let services be called by POST, with frames.")
@_option("--json/--no-json", "json_rpc", default=True, help="And with JSON.")
@_option(
    "--webtransport/--no-webtransport",
    default=True,
    help="Let browsers call services on WebTransport sessions.",
)
@_option(
    "--webtransport-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Pages that may, beside our own: https://host:port, or * for any.",
)
@_option("--root-path", default="", help="Where the application is mounted: /api.")
@_option(
    "--lifespan",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Whether the application is told of start and stop.",
)
@_option("--proxy-headers/--no-proxy-headers", default=True, help="Believe those of named proxies.")
@_option("--forwarded-allow-ips", default="", help="These proxies, by commas; nobody by default.")
@_option(
    "--forwarded-header",
    type=click.Choice(["x-forwarded", "forwarded"]),
    default="x-forwarded",
    help="What they write: X-Forwarded-For and -Proto, or RFC 7239's.",
)
@_option("--access-log/--no-access-log", default=True, help="A line for each request.")
@_option("--log-level", type=click.Choice(_LEVELS), default="info", help="What is logged.")
@_option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A field of each answer.")
@_option(
    "--ws-per-message-deflate/--no-ws-per-message-deflate",
    "compression",
    default=True,
    help="Compress messages of WebSockets.",
)
@_option("--ws-max-size", type=_count, metavar="INTEGER", help="Bytes of a message of a WebSocket.")
@_option(
    "--ws-ping-interval",
    type=_seconds_or_none,
    metavar="SECONDS",
    help="Seconds between pings; 0 for none.",
)
@_option(
    "--ws-ping-timeout",
    type=_seconds,
    metavar="SECONDS",
    help="Seconds in which a ping must be answered.",
)
@_option(
    "--timeout-keep-alive",
    type=_seconds,
    metavar="SECONDS",
    help="Seconds that an idle connection stays.",
)
@_option(
    "--graceful-timeout",
    "--timeout-graceful-shutdown",
    "graceful_timeout",
    type=_seconds_or_none,
    metavar="SECONDS",
    default=10.0,
    help="Seconds that requests get when the server stops.",
)
@_option(
    "--limit-concurrency",
    type=_count,
    metavar="INTEGER",
    help="Requests at once; the next is answered 503.",
)
@_option("--limit-connections", type=_count, metavar="INTEGER", help="Connections at once.")
@_option(
    "--limit-streams", type=_count, metavar="INTEGER", help="Requests at once on one connection."
)
@_option("--limit-head", type=_count, metavar="INTEGER", help="Bytes of a request's head.")
@_option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop"]),
    default="auto",
    help="The event loop; by default uvloop where it is installed.",
)
@_option("--reload", is_flag=True, help="Start again when a file changes; needs watchfiles.")
@_option(
    "--reload-dir",
    multiple=True,
    callback=_all_existing,
    help="Which to look at.  [default: --app-dir]",
)
@_option(
    "--danger-plaintext", is_flag=True, help="HTTP without TLS beyond this machine: all can read."
)
def serve(**options: Any) -> None:
    """Serve an ASGI application over HTTP/1.1, HTTP/2 and HTTP/3.

    MODULE:APP is where it is, such as main:app. Without a certificate, plain HTTP is spoken, on
    this machine only.
    """
    logging.basicConfig(
        level=options["log_level"].upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _check_tls(options)
    if options["reload"]:
        serve_reloading(options["reload_dir"] or [options["app_dir"]])
        return
    end_with_parent()
    sys.path.insert(0, str(Path(options["app_dir"]).resolve()))
    app = _application(options["app"], factory=options["factory"])
    router = None if options["router"] is None else load(options["router"])
    main = _serve(app, router, options)
    if options["loop"] != "asyncio":
        try:
            import uvloop
        except ImportError:
            if options["loop"] == "uvloop":
                main.close()
                raise click.ClickException(
                    "--loop uvloop: it is not installed; pip install uvloop"
                ) from None
        else:
            uvloop.run(main)
            return
    asyncio.run(main)


def _application(where: str, *, factory: bool) -> Any:
    """What is served.

    Raises:
        click.ClickException: It is no application, and what to write.
    """
    app = load(where)
    if factory:
        if not callable(app):
            kind = type(app).__name__
            msg = f"--factory: {where} is no function that makes an application, but of type {kind}"
            raise click.ClickException(msg)
        if not _takes(app, 0):
            msg = (
                f"--factory: {where} needs arguments; leave --factory out if it is the application"
            )
            raise click.ClickException(msg)
        app = app()
        where = f"what {where} returned"
    if inspect.iscoroutine(app):
        app.close()
        msg = f"{where} is a coroutine: make the application in a function without async"
        raise click.ClickException(msg)
    if not callable(app):
        msg = (
            f"{where} is no application, but of type {type(app).__name__}: name what is called "
            "with scope, receive and send"
        )
        raise click.ClickException(msg)
    if not _takes(app, 3):
        hints = {
            0: "give --factory if it makes the application",
            1: "wrap it with guarantee_single_callable of asgiref if it is one of ASGI 2",
            2: "wrap it with WSGIMiddleware of a2wsgi if it is one of WSGI",
        }
        fitting = (hint for count, hint in hints.items() if _takes(app, count))
        msg = (
            f"{where} is no application of ASGI 3, which is called with scope, receive and send; "
            f"{next(fitting, 'name one')}"
        )
        raise click.ClickException(msg)
    return app


def _takes(what: Any, count: int) -> bool:
    """Whether something can be called with so many arguments, as far as can be told."""
    try:
        # What is called is the wrapper, whatever is inside.
        signature = inspect.signature(what, follow_wrapped=False)
    except Exception:  # compiled, or annotated with names that are not there
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


async def _serve(app: Any, router: Any, options: dict[str, Any]) -> None:
    from jetstream._http_options import HttpOptions
    from jetstream._http_server import HttpServer

    trusted = [each.strip() for each in options["forwarded_allow_ips"].split(",") if each.strip()]
    try:
        settings = HttpOptions(
            root_path=options["root_path"],
            lifespan=options["lifespan"],
            http2=options["h2"],
            http3=options["h3"],
            forwarded_allow_ips=trusted if options["proxy_headers"] else (),
            proxy_headers=options["forwarded_header"],
            access_log=options["access_log"],
            headers=[_header(each) for each in options["headers"]],
            compression=options["compression"],
            rpc=options["rpc"],
            json=options["json_rpc"],
            concurrency=options["limit_concurrency"],
        )
        server = HttpServer(
            app,
            router=router,
            tls=_tls(options),
            host=options["host"],
            port=None if options["uds"] else options["port"],
            unix=options["uds"],
            unix_mode=options["uds_mode"],
            options=settings,
            limits=_limits(options),
            graceful_timeout=options["graceful_timeout"],
            danger_plaintext=options["danger_plaintext"],
            webtransport=_webtransport(options),
        )
        await server.start()
    except TlsConfigError as error:
        raise click.ClickException(_as_options(str(error))) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, JetStreamError):
            raise
        raise click.ClickException(_as_options(str(error))) from error
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno == errno.EADDRNOTAVAIL:
            # Another port would not help.
            msg = (
                f"cannot listen on {options['host']}, which is no address of this machine: give "
                "--host one that is, or 0.0.0.0 for all"
            )
            raise click.ClickException(msg) from error
        raise click.ClickException(str(error.strerror or error)) from error
    await server.run()


def _as_options(text: str) -> str:
    for theirs, ours in _AS_OPTIONS.items():
        text = text.replace(theirs, ours)
    return text


def _check_tls(options: dict[str, Any]) -> None:
    """Checks that no option of TLS is without the one that it is about.

    Raises:
        click.UsageError: One is.
    """
    about = {
        "tls_key": "--tls-key",
        "tls_password": "--tls-key-password",
        "client_ca": "--client-ca",
        "client_crl": "--client-crl",
    }
    wanted = options["mtls"] in ("optional", "required")
    if options["tls_cert"] is None:
        given = [name for option, name in about.items() if options[option] is not None]
        given += [f"--mtls {options['mtls']}"] if wanted else []
        if given:
            raise click.UsageError(f"{given[0]}: TLS needs a certificate: give --tls-cert.")
    elif options["client_ca"] is None:
        if wanted:
            raise click.UsageError(f"--mtls {options['mtls']} needs --client-ca.")
        if options["client_crl"] is not None:
            raise click.UsageError("--client-crl needs --client-ca.")


def _tls(options: dict[str, Any]) -> ServerTls | None:
    from jetstream._tls import ServerTls

    if options["tls_cert"] is None:
        return None
    return ServerTls(
        options["tls_cert"],
        options["tls_key"],
        client_ca=options["client_ca"],
        client_auth=options["mtls"],
        client_crls=options["client_crl"],
        password=options["tls_password"],
    )


def _webtransport(options: dict[str, Any]) -> WebTransport | None:
    from jetstream._admission import WebTransport

    if not options["webtransport"]:
        return None
    origins: tuple[str, ...] = options["webtransport_origin"]
    return WebTransport(origins="*" if "*" in origins else origins)


def _limits(options: dict[str, Any]) -> Limits:
    from jetstream._limits import Limits

    names = {
        "ws_max_size": "websocket_message",
        "ws_ping_timeout": "websocket_pong",
        "timeout_keep_alive": "http_keep_alive",
        "limit_connections": "max_connections",
        "limit_streams": "http_streams",
        "limit_head": "http_head",
    }
    given: dict[str, Any] = {
        field: options[name] for name, field in names.items() if options[name] is not None
    }
    if options["ws_ping_interval"] is not None:
        given["websocket_ping"] = options["ws_ping_interval"] or None
    return Limits(**given)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f"--header {text!r}: write NAME:VALUE.")
    return name.strip(), value.strip()
