"""Arrays on disk that grow piece by piece, read back memory-mapped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 128


class GrowingArray:
    """A .npy file that grows; its header is written when its length is known.

    `first` is the value of the first row, `constant` whether every row has it: NaN is no value that rows share.
    """

    def __init__(self, path: Path, like: npt.NDArray[Any]) -> None:
        self.path = path
        self.dtype, self.shape = like.dtype, like.shape[1:]
        self.n = 0
        self._file: IO[bytes] = path.open("wb")
        self._file.write(b"\0" * HEADER_BYTES)
        self.first: Any = like[0] if len(like) else None
        self.constant = True

    def append(self, values: npt.NDArray[Any]) -> None:
        """More rows, of the type and shape of the first ones."""
        plain = np.ascontiguousarray(values)
        assert (plain.dtype, plain.shape[1:]) == (self.dtype, self.shape)
        if not self.n and len(plain):
            self.first = plain[0]
        self.constant = self.constant and plain.ndim == 1 and bool((plain == self.first).all())
        self._file.write(plain.data if plain.size else b"")
        self.n += len(plain)

    def finish(self) -> None:
        """Make it an array that can be loaded."""
        form = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.n, *self.shape),
        }
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, form)
        assert self._file.tell() == HEADER_BYTES
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def mapped(self) -> npt.NDArray[Any]:
        """The array, memory-mapped; after `finish`."""
        return mapped(self.path)


class GrowingTable:
    """Columns that grow together, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.columns: dict[str, GrowingArray] = {}

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """More rows, of the same columns each time."""
        for name, values in rows.items():
            if name not in self.columns:
                self.columns[name] = GrowingArray(self._folder / f"{name}.npy", values)
            self.columns[name].append(values)

    def finish(self) -> dict[str, npt.NDArray[Any]]:
        """All columns, memory-mapped."""
        for column in self.columns.values():
            column.finish()
        return {name: column.mapped() for name, column in self.columns.items()}

    def close(self) -> None:
        """Let go of the files."""
        for column in self.columns.values():
            column.close()


@contextlib.contextmanager
def growing_table(folder: Path) -> Iterator[GrowingTable]:
    """A table in a folder, which is made; its files are closed whatever happens."""
    folder.mkdir()
    table = GrowingTable(folder)
    try:
        yield table
    finally:
        table.close()


def mapped(path: Path) -> npt.NDArray[Any]:
    """An array memory-mapped; a plain one, so that what is taken out of it is no map."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
