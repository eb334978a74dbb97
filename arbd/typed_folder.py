"""A folder that a person names on a command line, which need not be there."""

from __future__ import annotations

from typing import Any

import click


class TypedFolder(click.Path):
    """Its path. An empty name is refused: it would mean the current folder, which nobody named."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        if value == "":
            self.fail("'' names no folder", param, ctx)
        return super().convert(value, param, ctx)
