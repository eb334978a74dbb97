"""NPZ files of plain columns, read within limits: nothing is allocated that the file only claims to hold."""

from __future__ import annotations

import contextlib
import tokenize
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Generator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.named_file import NamedFile
from arbd.paper.market.quotes import check_shapes
from arbd.paper.market.unpacked import ZIP_ERRORS

MAX_MEMBERS = 512
MAX_NPZ_BYTES = 4 << 30
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BROKEN = (
    *ZIP_ERRORS, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


def read_npz(file: NamedFile, wanted: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the names in `wanted` that the file has; DataError when it is no such file or holds too much."""
    with file.stream() as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return _read(file, archive, wanted)
        except MemoryError:
            raise DataError(file.path, "needs more memory than there is: write it as Parquet") from None
        except _BROKEN:
            raise DataError(file.path, "not an NPZ file of plain arrays, or broken: write it again") from None


def npz_pieces(
    file: NamedFile, wanted: Collection[str], rows: int
) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
    """The same as `read_npz`, some rows at a time; DataError too where arrays are of several lengths."""
    with file.stream() as stream, contextlib.ExitStack() as members:
        try:
            archive = members.enter_context(zipfile.ZipFile(stream))
            opened = {
                info.filename.removesuffix(".npy"): members.enter_context(archive.open(info))
                for info in _chosen(file, archive, wanted)
            }
            sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            forms = {name: _form(file, sizes[name], member) for name, member in opened.items()}
            # Views of one value tell the shapes without the room.
            check_shapes({name: np.broadcast_to(np.zeros(()), shape) for name, (shape, _) in forms.items()}, file.path)
            n = next(iter(forms.values()))[0][0] if forms else 0
            for start in range(0, max(n, 1), rows):
                count = min(rows, n - start)
                yield {
                    name: np.frombuffer(_exactly(opened[name], count * dtype.itemsize), dtype=dtype)
                    for name, (_, dtype) in forms.items()
                }
        except DataError:
            raise
        except MemoryError:
            raise DataError(file.path, "needs more memory than there is: write it as Parquet") from None
        except _BROKEN:
            raise DataError(file.path, "not an NPZ file of plain arrays, or broken: write it again") from None


def _exactly(member: IO[bytes], size: int) -> bytes:
    data = member.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _chosen(file: NamedFile, archive: zipfile.ZipFile, wanted: Collection[str]) -> list[zipfile.ZipInfo]:
    """The members that are wanted; DataError for two of one name, or for too much."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise DataError(file.path, f"holds {len(members):,} arrays; {MAX_MEMBERS} are the maximum")
    names = Counter(info.filename.removesuffix(".npy") for info in members)
    chosen = [info for info in members if info.filename.removesuffix(".npy") in wanted]
    for info in chosen:
        if names[info.filename.removesuffix(".npy")] > 1:
            raise DataError(file.path, f"has two arrays {info.filename.removesuffix('.npy')}: which one counts?")
    if sum(info.file_size for info in chosen) > MAX_NPZ_BYTES:
        raise DataError(file.path, f"holds more than {MAX_NPZ_BYTES >> 30} GiB: write it as Parquet")
    return chosen


def _read(file: NamedFile, archive: zipfile.ZipFile, wanted: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    found = {}
    for info in _chosen(file, archive, wanted):
        with archive.open(info) as member:
            found[info.filename.removesuffix(".npy")] = _array(file, info, member)
    return found


def _form(file: NamedFile, info: zipfile.ZipInfo, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of a member, which is left where its values begin."""
    name = info.filename.removesuffix(".npy")
    with warnings.catch_warnings():
        # Headers that Python 2 wrote are read all the same.
        warnings.simplefilter("ignore")
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
    if dtype.hasobject or dtype.kind not in "iufcbSUMmV":
        raise DataError(file.path, f"{name} holds {dtype}, not numbers")
    count = 1
    for size in shape:
        count *= size
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or count * dtype.itemsize != info.file_size - member.tell():
        raise DataError(file.path, f"{name} is not as long as it says: the file is broken, write it again")
    return shape, dtype


def _array(file: NamedFile, info: zipfile.ZipInfo, member: IO[bytes]) -> npt.NDArray[Any]:
    shape, dtype = _form(file, info, member)
    count = 1
    for size in shape:
        count *= size
    return np.frombuffer(member.read(count * dtype.itemsize), dtype=dtype).reshape(shape)
