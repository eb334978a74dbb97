"""What is packed in .gz, .zip, .zst and .tar.gz files, unpacked within bounds into a file without a name."""

from __future__ import annotations

import contextlib
import errno
import gzip
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.named_file import NamedFile

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it, and then says of such a member what it says of unknown ones

    class LZMAError(Exception):  # type: ignore[no-redef]
        """What nothing raises here."""


# What `zipfile` raises of a file that is none, is damaged, or is packed or locked in a way that it does not know.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
MAX_UNPACKED_BYTES = 16 << 30


PACKINGS = (".tar.gz", ".tgz", ".gz", ".zip")


def packing_of(path: Path) -> str:
    """Which of PACKINGS a name ends in, "" for none."""
    return next((packing for packing in PACKINGS if path.name.endswith(packing)), "")


@contextlib.contextmanager
def unpacked(file: NamedFile, packing: str, members: Sequence[str] = (".csv",)) -> Iterator[str]:
    """The place of what a file holds, for as long as it is needed; of the file itself where `packing` is another suffix.

    Of an archive the one file whose name ends in one of `members`. DataError when it is broken, or holds more than
    MAX_UNPACKED_BYTES.
    """
    if packing == ".gz":
        pieces = _gzip_pieces(file)
    elif packing == ".zip":
        pieces = _zip_pieces(file, tuple(members))
    elif packing in (".tar.gz", ".tgz"):
        pieces = _tar_pieces(file, tuple(members))
    else:
        yield file.place
        return
    with _kept(file, pieces) as place:
        yield place


@contextlib.contextmanager
def _kept(file: NamedFile, pieces: Iterator[bytes]) -> Iterator[str]:
    """The place of a file without a name that holds what was packed, for as long as it is needed."""
    with tempfile.TemporaryFile(prefix="arbd-unpacked-") as target:
        done = 0
        for piece in _read(file, pieces):
            done += len(piece)
            if done > MAX_UNPACKED_BYTES:
                raise DataError(file.path, f"holds more than {MAX_UNPACKED_BYTES >> 30} GiB: split it")
            with _room(file):
                target.write(piece)
        with _room(file):
            target.flush()
        yield f"/proc/self/fd/{target.fileno()}"


def _read(file: NamedFile, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except OSError as error:
        # Of damaged bz2 there is no number, and a place before the file's begin is invalid.
        damaged = error.errno in (None, errno.EINVAL)
        raise DataError(
            file.path, "is damaged: download or pack it again" if damaged else f"cannot be read: {error.strerror}"
        ) from None


@contextlib.contextmanager
def _room(file: NamedFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        room = f"{error.strerror}; set TMPDIR to a folder with more room"
        raise DataError(file.path, f"cannot be unpacked: {room}") from None


def _gzip_pieces(file: NamedFile) -> Iterator[bytes]:
    with file.stream() as source, gzip.open(source) as unpacked:
        try:
            while piece := unpacked.read(1 << 20):
                yield piece
        except (gzip.BadGzipFile, zlib.error, EOFError):
            raise DataError(file.path, "is not packed with gzip, or broken: download or pack it again") from None


def _zip_pieces(file: NamedFile, suffixes: tuple[str, ...]) -> Iterator[bytes]:
    with file.stream() as source:
        try:
            with zipfile.ZipFile(source) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(suffixes)]
                if len(members) != 1:
                    raise _not_one(file, len(members), suffixes)
                with archive.open(members[0]) as member:
                    while piece := member.read(1 << 20):
                        yield piece
        except ZIP_ERRORS:
            raise DataError(file.path, "is not a zip file that can be read: download it again") from None


def _tar_pieces(file: NamedFile, suffixes: tuple[str, ...]) -> Iterator[bytes]:
    with file.stream() as source:
        try:
            with tarfile.open(fileobj=source, mode="r|gz") as archive:
                found = 0
                for member in archive:
                    if not member.isreg() or not member.name.endswith(suffixes):
                        continue
                    found += 1
                    content = archive.extractfile(member) if found == 1 else None
                    while content is not None and (piece := content.read(1 << 20)):
                        yield piece
                if found != 1:
                    raise _not_one(file, found, suffixes)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError):
            raise DataError(file.path, "is not a .tar.gz file that can be read: download it again") from None


def _not_one(file: NamedFile, found: int, suffixes: tuple[str, ...]) -> DataError:
    what = "CSV files" if suffixes == (".csv",) else f"files ({', '.join(suffixes)})"
    return DataError(file.path, f"holds {found} {what}, not one; unpack it and name those you mean")
