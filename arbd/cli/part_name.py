"""An option whose values are the names of a registry: those of plug-ins too, looked up when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from arbd.registry import Registry

    _Base = click.ParamType[str]
else:
    # Not of all versions is it generic when it runs.
    _Base = click.ParamType


class PartName(_Base):
    """The name of a part of a registry, or one of `first`. The registry is imported when help or a value is asked for."""

    name = "name"

    def __init__(self, registry: Callable[[], Registry[Any]], first: Sequence[str] = ()) -> None:
        self._registry = registry
        self._first = tuple(first)

    def names(self) -> tuple[str, ...]:
        """All that it can be."""
        return (*self._first, *self._registry().names())

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """As that of `click.Choice`."""
        del param, ctx
        return f"[{'|'.join(self.names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; UsageError with the nearest one when there is none."""
        if value not in self.names():
            self.fail(self._registry().unknown_text(value), param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that begin so."""
        from click.shell_completion import CompletionItem

        del ctx, param
        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]
