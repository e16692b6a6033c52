"""How a recipe fails: in one sentence, as `nnvalue` does."""

from __future__ import annotations

from typing import Any

import click

from nnvalue.errors import NnvalueError


class Recipe(click.Command):
    """A command that tells an error of nnvalue without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. Raises click's ClickException for what a user can mend."""
        try:
            return super().invoke(ctx)
        except NnvalueError as error:
            raise click.ClickException(str(error)) from None
