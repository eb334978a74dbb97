"""What is packed in .gz and .zip files, unpacked within bounds into a file without a name."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zipfile
import zlib
from collections.abc import Iterator

from arbd.errors import DataError
from arbd.named_file import NamedFile

MAX_UNPACKED_BYTES = 16 << 30


@contextlib.contextmanager
def unpacked(file: NamedFile, packing: str) -> Iterator[str]:
    """The place of what a file holds, for as long as it is needed; of the file itself where `packing` is another suffix.

    DataError when it is broken, or holds more than MAX_UNPACKED_BYTES.
    """
    pieces = {".gz": _gzip_pieces, ".zip": _zip_pieces}.get(packing)
    if pieces is None:
        yield file.place
        return
    with _kept(file, pieces(file)) as place:
        yield place


@contextlib.contextmanager
def _kept(file: NamedFile, pieces: Iterator[bytes]) -> Iterator[str]:
    """The place of a file without a name that holds what was packed, for as long as it is needed."""
    with tempfile.TemporaryFile(prefix="arbd-unpacked-") as target:
        done = 0
        try:
            for piece in pieces:
                done += target.write(piece)
                if done > MAX_UNPACKED_BYTES:
                    raise DataError(file.path, f"holds more than {MAX_UNPACKED_BYTES >> 30} GiB: split it")
            target.flush()
        except OSError as error:
            room = f"{error.strerror}; set TMPDIR to a folder with more room"
            raise DataError(file.path, f"cannot be unpacked: {room}") from None
        yield f"/proc/self/fd/{target.fileno()}"


def _gzip_pieces(file: NamedFile) -> Iterator[bytes]:
    with file.stream() as source, gzip.open(source) as unpacked:
        try:
            while piece := unpacked.read(1 << 20):
                yield piece
        except (gzip.BadGzipFile, zlib.error, EOFError):
            raise DataError(file.path, "is not packed with gzip, or broken: download or pack it again") from None


def _zip_pieces(file: NamedFile) -> Iterator[bytes]:
    """Of the one CSV file in a .zip."""
    with file.stream() as source:
        try:
            with zipfile.ZipFile(source) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".csv")]
                if len(members) != 1:
                    raise DataError(
                        file.path, f"holds {len(members)} CSV files, not one; unpack it and name those you mean"
                    )
                with archive.open(members[0]) as member:
                    while piece := member.read(1 << 20):
                        yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError):
            raise DataError(file.path, "is not a zip file that can be read: download it again") from None
