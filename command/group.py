"""How the command finds its commands: in the order of use, with a near name for a slip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import nearest
from .options import debug_option


class Commands(click.Group):
    """Commands in the order in which they are used, with the nearest name for one that is not there."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands as they were added."""
        return list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, which also takes what all do."""
        cmd.params.append(debug_option())
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out a command; Ctrl-C leaves it as ``Abort``, before click prints an empty line."""
        Path.cwd()  # raises where it is gone; further on libraries of a worker would trip over that
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one is near."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)
