"""`jetstream serve`: an ASGI application, and services beside it, from the command line.

Options are named as uvicorn's where it has them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jetstream._errors import JetStreamError
from jetstream.cli._loading import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jetstream._admission import WebTransport
    from jetstream._limits import Limits
    from jetstream._tls import ServerTls

_LEVELS = ("critical", "error", "warning", "info", "debug")


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option with an environment variable of its own, by its first name."""
    name = names[0].partition("/")[0].removeprefix("--").replace("-", "_").upper()
    settings.setdefault("envvar", f"JETSTREAM_SERVE_{name}")
    return click.option(*names, show_envvar=True, **settings)


@click.command()
@click.argument("app", metavar="MODULE:APP", envvar="JETSTREAM_SERVE_APP")
@_option("--router", metavar="MODULE:ROUTER", help="Services and protocol handlers beside it.")
@_option("--factory", is_flag=True, help="APP is a function that makes the application.")
@_option("--app-dir", default=".", help="Where modules are looked for.")
@_option("--host", default="127.0.0.1", help="The address to listen on.")
@_option("--port", type=click.IntRange(0, 65_535), default=8000, help="TCP and UDP; 0: a free one.")
@_option("--uds", help="A Unix socket to listen on, in the place of host and port.")
@_option("--uds-mode", default="600", help="Who may connect: permissions of its file, in octal.")
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
@_option("--ws-max-size", type=int, help="Bytes of a message of a WebSocket.")
@_option("--ws-ping-interval", type=float, help="Seconds between pings; 0 for none.")
@_option("--ws-ping-timeout", type=float, help="Seconds in which a ping must be answered.")
@_option("--timeout-keep-alive", type=float, help="Seconds that an idle connection stays.")
@_option(
    "--graceful-timeout",
    "--timeout-graceful-shutdown",
    "graceful_timeout",
    type=float,
    default=10.0,
    help="Seconds that requests get when the server stops.",
)
@_option("--limit-concurrency", type=int, help="Requests at once; the next is answered 503.")
@_option("--limit-connections", type=int, help="Connections at once.")
@_option("--limit-streams", type=int, help="Requests at once on one connection.")
@_option("--limit-head", type=int, help="Bytes of a request's head.")
@_option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop"]),
    default="auto",
    help="The event loop; by default uvloop where it is installed.",
)
@_option("--reload", is_flag=True, help="Start again when a file changes; needs watchfiles.")
@_option("--reload-dir", multiple=True, help="Which to look at.  [default: --app-dir]")
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
    if options["reload"]:
        _reload(options)
        return
    sys.path.insert(0, str(Path(options["app_dir"]).resolve()))
    app = load(options["app"])
    if options["factory"]:
        app = app()
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
            unix_mode=_mode(options["uds_mode"]),
            options=settings,
            limits=_limits(options),
            graceful_timeout=options["graceful_timeout"],
            danger_plaintext=options["danger_plaintext"],
            webtransport=_webtransport(options),
        )
        await server.start()
    except (ValueError, TypeError) as error:
        if isinstance(error, JetStreamError):
            raise
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise click.ClickException(str(error.strerror or error)) from error
    await server.run()


def _tls(options: dict[str, Any]) -> ServerTls | None:
    from jetstream._tls import ServerTls

    if options["tls_cert"] is None:
        given = [name for name in ("tls_key", "client_ca", "mtls") if options[name]]
        if given and options["mtls"] != "none":
            raise click.UsageError("TLS needs a certificate: give --tls-cert.")
        return None
    if options["mtls"] in ("optional", "required") and options["client_ca"] is None:
        raise click.UsageError(f"--mtls {options['mtls']} needs --client-ca.")
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


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise click.UsageError(f"--uds-mode {text!r}: write it in octal, such as 660.") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f"--header {text!r}: write NAME:VALUE.")
    return name.strip(), value.strip()


def _reload(options: dict[str, Any]) -> None:
    """Runs the same in a process of its own, which begins anew when a file changes."""
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise click.ClickException("--reload needs watchfiles: pip install watchfiles") from None
    arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
    folders: Sequence[str] = options["reload_dir"] or [options["app_dir"]]
    command = [sys.executable, "-m", "jetstream", *arguments]
    unset = "JETSTREAM_SERVE_RELOAD"
    surroundings = {name: value for name, value in os.environ.items() if name != unset}

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=surroundings)  # noqa: S603  our own arguments

    # Whoever ends this process means the other one too.
    over = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        over.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    process = begin()
    try:
        for changes in watch(*folders, watch_filter=PythonFilter(), stop_event=over):
            names = ", ".join(sorted({Path(path).name for _, path in changes}))
            logging.getLogger("jetstream.server").info("starting again: %s changed", names)
            _stop(process)
            process = begin()
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait()
