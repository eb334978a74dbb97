"""The one door for files that a job, or whoever submits one, names: data, scenarios, tables, programs, modules.

What the name leads to is judged first (`ReadRule`), then opened once, along exactly the way that was judged: no folder
and no file on it may have become a link since. Pipes and devices are never opened, and nothing is waited for. Whoever
reads, hashes or hands the file to a library uses that one descriptor (`NamedFile.place`), so that what was judged, what
was hashed and what is read are the same file. Keeps I7.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from arbd.errors import ArbdError, DataError
from arbd.values import dataclass

MAX_DATA_BYTES = 64 << 30
MAX_TABLE_BYTES = 256 << 20
MAX_PROGRAM_BYTES = 1 << 30
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Reading(Protocol):
    """Who is told how reading goes, so that what takes long is told from what stands still."""

    def advanced(self) -> None:
        """Some more was read, or made of what was read."""
        ...

    def waits(self, begins: bool) -> None:
        """Another process reads the same, and is waited for, or was."""
        ...


class Unheard:
    """Nobody is told."""

    def advanced(self) -> None:
        """See `Reading`."""

    def waits(self, begins: bool) -> None:
        """See `Reading`."""


NOBODY = Unheard()


class Allowance:
    """How many bytes may be read for one job, of all files that it names together. One that is opened again counts once."""

    def __init__(self, max_bytes: int, setting: str) -> None:
        self._left = self._max = max_bytes
        self._setting = setting
        self._sizes: dict[tuple[int, int], int] = {}

    def take(self, path: Path, found: os.stat_result) -> None:
        """RefusedError where the file is one too many."""
        file = found.st_dev, found.st_ino
        more = max(0, found.st_size - self._sizes.get(file, 0))
        if more > self._left:
            raise RefusedError(
                path,
                f"is one too many: with it the job names more than {self._max / 1e9:,.0f} GB in all, the maximum on this "
                f"host; an administrator can raise `{self._setting}` in the daemon's settings",
            )
        self._sizes[file] = self._sizes.get(file, 0) + more
        self._left -= more


@dataclass(frozen=True, slots=True)
class ReadRule:
    """Which files may be read for somebody else, and who is told how that goes.

    `folders` None: whatever this process may read, because its own user named the file. No folder: what every user of
    the host may read, and what is this user's own (unless that is root). Else what is below the folders. `allowance`
    None: however much there is.
    """

    folders: tuple[Path, ...] | None = None
    reading: Reading = field(default=NOBODY, compare=False)
    allowance: Allowance | None = field(default=None, compare=False)

    @property
    def public_only(self) -> bool:
        """Whether files are judged by their permissions."""
        return self.folders is not None and not self.folders

    def refusal(self, path: Path) -> str | None:
        """Why the file may not be read, as far as its name and permissions tell; None when it may. Opens no file."""
        try:
            real = real_path(path)
            self.admit(path, real)
            if self.public_only:
                with _walked(path, real, self):
                    return None
        except RefusedError as error:
            return str(error)
        except (DataError, OSError):
            return None  # told as missing or as no file where it is opened
        return None

    def admit(self, path: Path, real: Path) -> None:
        """RefusedError unless the file, which `path` leads to, is below the folders, if there are any."""
        if self.folders and not any(real.is_relative_to(real_path(folder)) for folder in self.folders):
            raise RefusedError(
                path,
                f"is not below the folders that this host reads data from ({', '.join(map(str, self.folders))}); "
                "an administrator can add its folder to `data_dirs` in the daemon's settings",
            )


ANY = ReadRule()
_NOT_PUBLIC = (
    "cannot be read by every user of this host, and `data_dirs` in the daemon's settings names no folder: an "
    "administrator can add its folder there, or chmod o+r the file and o+x the folders on the way to it"
)


class RefusedError(DataError):
    """A file that the rule of this host does not let be read; nothing of it was."""

    def told(self) -> str:
        """See `ArbdError`."""
        return f"{self.path} {self.reason}"


class MissingFileError(DataError):
    """There is no such file, at none of the places where it was looked for."""


@dataclass(eq=False)
class NamedFile:
    """A regular file that is open for reading. `path` is the name for messages, never to be opened again.

    `real` is where that name led, with its links followed. `quotable` tells whether messages may show what is in it: not
    where those who see them could not read the file.
    """

    path: Path
    fd: int
    size: int
    real: Path
    quotable: bool = True
    reading: Reading = NOBODY

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def place(self) -> str:
        """A path of this very file, for libraries that want one: it has no pattern, no suffix and no `key=value`."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def identity(self) -> tuple[int, ...]:
        """What changes when the file is written to or another takes its place."""
        found = os.fstat(self.fd)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def stream(self) -> BufferedReader:
        """The file from its beginning, to be closed by the caller."""
        return open(self.place, "rb")  # noqa: PTH123 - the caller's

    def read(self, max_bytes: int) -> bytes:
        """All of it; DataError when there is more."""
        with _told(self.path), self.stream() as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise _too_large(self.path, max_bytes)
        return data

    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        digest = hashlib.sha256()
        with _told(self.path), self.stream() as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                self.advanced()
        return digest.hexdigest()

    def advanced(self) -> None:
        """Some more was read, or made of it. DataError when there is more than there was: its owner may add for ever."""
        if os.fstat(self.fd).st_size > self.size:
            raise DataError(self.path, "was written to while it was read: use it once nobody adds to it any more")
        self.reading.advanced()

    def copy(self, folder: Path | None) -> NamedFile:
        """A copy that nobody else can write to, without a name, on the disk of `folder`; messages call it as this file.

        For what must be hashed and read as one, while somebody may write to the original.
        """
        with _told(self.path), self.stream() as source, tempfile.TemporaryFile(dir=folder, prefix=".copy-") as target:
            offset = 0
            while copied := _copy_some(source.fileno(), target.fileno(), offset):
                offset += copied
                self.advanced()
            # A descriptor that can only read.
            fd = os.open(f"/proc/self/fd/{target.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        return NamedFile(self.path, fd, offset, self.real, self.quotable, self.reading)

    @contextlib.contextmanager
    def errors_unquoted(self, what: str) -> Iterator[None]:
        """Errors about the file's content without that content, where it may not be shown (`quotable`)."""
        try:
            yield
        except RefusedError:
            raise
        except ArbdError as error:
            if self.quotable:
                raise
            raise DataError(
                self.path,
                f"cannot be used as {what}; why is not told here, because not every user of this host may read "
                "the file; who may read it sees it with `arbctl validate`",
                error.row if isinstance(error, DataError) else None,
            ) from None


def open_named(path: Path, max_bytes: int, rule: ReadRule = ANY) -> NamedFile:
    """Open a file that somebody named; DataError when it may not be read, is none, is no regular file or too large."""
    path = Path(path)
    real = real_path(path)
    rule.admit(path, real)
    try:
        with _walked(path, real, rule) as way:
            fd = os.open(f"/proc/self/fd/{way.fd}", _READ)
    except FileNotFoundError:
        raise MissingFileError(path, "no such file on this host") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    found = os.fstat(fd)
    if found.st_size > max_bytes:
        os.close(fd)
        raise _too_large(path, max_bytes)
    if rule.allowance is not None:
        try:
            rule.allowance.take(path, found)
        except RefusedError:
            os.close(fd)
            raise
    return NamedFile(path, fd, found.st_size, real, rule.folders is None or way.public, rule.reading)


def first_of(paths: Sequence[Path], max_bytes: int, rule: ReadRule = ANY) -> NamedFile:
    """The first of several places where there is a file; DataError names them all when there is none."""
    for path in paths:
        with contextlib.suppress(MissingFileError):
            return open_named(path, max_bytes, rule)
    raise MissingFileError(", ".join(map(str, paths)), "no such file on this host")


def opened(file: Path | NamedFile, max_bytes: int = MAX_DATA_BYTES) -> contextlib.AbstractContextManager[NamedFile]:
    """An open file as it is, and left open; or one that this process's own user names, opened for a while."""
    return contextlib.nullcontext(file) if isinstance(file, NamedFile) else open_named(Path(file), max_bytes)


def real_path(path: Path) -> Path:
    """The path with its links followed; DataError for what no path can be."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise DataError(ascii(str(path))[:200], f"is no path of a file: {error}") from None


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None


def _too_large(path: Path, max_bytes: int) -> DataError:
    shown = f"{max_bytes >> 30} GiB" if max_bytes >= 1 << 30 else f"{max_bytes >> 20} MiB"
    return DataError(
        path, f"is larger than {shown}, the maximum for such a file: split it, or leave out what is not needed"
    )


def _copy_some(source: int, target: int, offset: int) -> int:
    piece = os.pread(source, 1 << 20, offset)
    at = 0
    while at < len(piece):
        at += os.write(target, piece[at:])
    return len(piece)


@dataclass(slots=True)
class _Way:
    """How far a walk from the root has come: a descriptor that only names the place, and whether all users may go there."""

    fd: int
    public: bool = True

    def step(self, name: str, flags: int) -> os.stat_result:
        fd = os.open(name, flags, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd
        return os.fstat(fd)


@contextlib.contextmanager
def _walked(path: Path, real: Path, rule: ReadRule) -> Iterator[_Way]:
    """Along a path without links to a regular file, folder by folder; DataError or OSError where that cannot be.

    Under a rule that judges by permissions a folder that is not for all users ends the walk: it is not even told whether
    there is something in it. Messages say `path`, which led to `real`.
    """
    way = _Way(os.open("/", _FOLDER))

    def judge(found: os.stat_result, bit: int) -> None:
        way.public = way.public and bool(found.st_mode & bit)
        own = found.st_uid == os.geteuid() != 0
        if rule.public_only and not (found.st_mode & bit or own):
            raise RefusedError(path, _NOT_PUBLIC)

    try:
        *folders, name = real.parts[1:] or (".",)
        judge(os.fstat(way.fd), stat.S_IXOTH)
        for folder in folders:
            judge(way.step(folder, _FOLDER), stat.S_IXOTH)
        found = way.step(name, _LOOK)
        judge(found, stat.S_IROTH)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(path, f"is {_kind(found.st_mode)}, not a regular file: name a file")
        yield way
    finally:
        os.close(way.fd)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device", stat.S_IFLNK: "a link that leads to itself, or was put there meanwhile",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "something else")
