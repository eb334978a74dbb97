"""A file that a person names: looked for before anything that they did not name, such as the spool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from arbd.errors import ArbdError, UsageError
from arbd.registry import hint

MAX_NEIGHBOURS = 10_000


class TypedFile(click.Path):
    """The path of a file or folder that is there; else an error of class `missing` that names the nearest beside it."""

    def __init__(self, missing: type[ArbdError] = UsageError) -> None:
        super().__init__(path_type=Path)
        self._missing = missing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`; whatever else is wrong with the file is for who opens it to say."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(f"{path}: no such file on this host{_instead(path)}") from None
        except (OSError, ValueError):
            pass
        return path


def _instead(path: Path) -> str:
    """`; did you mean 'job.yaml'?`, or that the folder is not there either."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(MAX_NEIGHBOURS), strict=False)]
    except (FileNotFoundError, NotADirectoryError):
        return f", nor its folder {path.parent}"
    except OSError:
        return ""
    near = hint(path.name, [name for name in names if name.isprintable()]).strip()
    return f"; {near}" if near else ""
