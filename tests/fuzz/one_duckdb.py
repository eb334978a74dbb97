"""One DuckDB for all cases of a process: to start another costs more than most cases do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import duckdb


class OneDuckDB:
    """Gives who connects a connection of its own to the same DuckDB, as long as that is whole."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self._start = start
        self._base: Any = None

    def connect(self, config: dict[str, Any]) -> Any:
        """In the place of `duckdb.connect`. How much memory it may have is the first one's to say."""
        if self._base is not None:
            try:
                self._base.execute("SELECT 1")
            except duckdb.Error:
                # It found itself broken, and says so of everything that it is asked.
                self._base = None
        if self._base is None:
            self._base = self._start(config=config)
        return self._base.cursor()


@contextlib.contextmanager
def one_duckdb() -> Iterator[None]:
    """As long as this lasts."""
    start = duckdb.connect
    duckdb.connect = OneDuckDB(start).connect  # type: ignore[assignment]
    try:
        yield
    finally:
        duckdb.connect = start
