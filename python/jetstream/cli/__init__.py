"""The command line: the group `jetstream`, its conventions, and where its commands live.

A command's module is imported when the command is used, so that none pays for the others. Every
option has an environment variable: JETSTREAM, the commands and the option, joined by underscores
(`JETSTREAM_CERTS_INIT_DAYS`). Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from importlib import import_module
from typing import Any

import click

from jetstream._errors import JetStreamError

__all__ = ["CommandLine", "app", "main"]

_COMMANDS = {
    "certs": "jetstream.cli.certs:certs",
    "gen": "jetstream.cli.gen:gen",
    "serve": "jetstream.cli.serve:serve",
}


class CommandLine(click.Group):
    """A group whose commands are imported on use and whose errors are one readable sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, for the help.

        Args:
            ctx: The invocation.

        Returns:
            The names, sorted.
        """
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, importing it if need be.

        Args:
            ctx: The invocation.
            cmd_name: Its name.

        Returns:
            The command; None if there is no such.
        """
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the user can mend becomes a message, not a traceback.

        Args:
            ctx: The invocation.

        Returns:
            Whatever the command returned.

        Raises:
            click.ClickException: Something failed in a way that the user can mend.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe is gone
        except JetStreamError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            reason = error.strerror or type(error).__name__
            raise click.ClickException(
                f"{error.filename}: {reason}; check the path and its permissions"
            ) from error


@click.command(
    cls=CommandLine,
    context_settings={
        "auto_envvar_prefix": "JETSTREAM",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
def app() -> None:
    """Typed RPC over QUIC with mutual TLS.

    Every option can also be set by the environment variable that its help shows.
    """


def main() -> None:
    """Run the command line with the arguments of the process, and exit.

    Raises:
        SystemExit: Always: 0 done, 1 failed, 2 wrong usage.
    """
    app(prog_name="jetstream")
