"""Converted market data, built once per host and shared by all its processes through the page cache.

Entries are named by the digest of the bytes that were read, their format and the rule for bad rows. So that no entry can
hold anything else than its name says, what is read is a copy that nobody else can write to, and the copy is what was
hashed. The cache belongs to this user alone (`private_folder`).

An entry is a folder with one .npy per array and a manifest of them. It appears by rename, so a crash while building leaves
only a hidden folder that the next builder removes. Who builds holds a lock, so that of many who ask at once one builds.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from arbd.atomic_file import place_folder, replace_file
from arbd.errors import DataError, UsageError
from arbd.named_file import ANY, MAX_DATA_BYTES, NOBODY, NamedFile, Reading, ReadRule, open_named, opened
from arbd.paper.market.days import DayChunks, DayFiles, digest_of
from arbd.paper.market.prepared import Market, market_of, prepare
from arbd.paper.market.quotes import Quotes
from arbd.paper.market.readers import QuoteChunks, read_quotes, suffix_of
from arbd.paper.market.retention import FORMAT, keep_within_bound
from arbd.paper.market.store import DROPPED, stored_quotes, write_market
from arbd.private_folder import private_folder, used
from arbd.values import dataclass

_NOT_THOSE = (
    "its files are not those that the job was accepted with: one was written to, came or went since; copy the same files "
    "to every host, and name a window of days that are whole (`to`, or `last` with `skip_newest`)"
)
# A file that was written to this shortly before it was hashed may be written to again without that showing in its times.
SETTLED_NS = 2 * 10**9
MANIFEST = "manifest.json"
# Whoever waits for an entry that another process makes gives up when that was not seen to go on for so long.
BUILD_TIMEOUT_S = 600.0
LOOK_S = 1.0

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Quotes of a file, how many bad rows of it were dropped, and the SHA-256 of what was read."""

    quotes: Quotes
    dropped: int
    digest: str


def load_quotes(
    file: Path | NamedFile, cache_dir: Path | None, on_bad_rows: str = "refuse", expected_digest: str | None = None
) -> Quotes:
    """Quotes of a file, memory-mapped from the cache (None: read without one).

    With `expected_digest`, DataError unless the file has that SHA-256. UsageError when the cache cannot be
    written or is not this user's alone, DataError when the file is bad.
    """
    return load(file, cache_dir, on_bad_rows, expected_digest).quotes


def load(
    file: Path | NamedFile, cache_dir: Path | None, on_bad_rows: str = "refuse", expected_digest: str | None = None
) -> Loaded:
    """`load_quotes` with what else is known of the file."""
    with opened(file) as named:
        if cache_dir is None:
            with named.copy(None) as copy:
                digest = copy.digest()
                _check(named.path, digest, expected_digest)
                return Loaded(*read_quotes(copy, on_bad_rows), digest)
        with _cache_errors(cache_dir):
            return _load(named, cache_dir, on_bad_rows, expected_digest)[0]


def load_market(
    file: Path | NamedFile, cache_dir: Path | None, on_bad_rows: str = "refuse", expected_digest: str | None = None
) -> tuple[Quotes, Market]:
    """`load_quotes`, and the same prepared for the engine; both memory-mapped."""
    if cache_dir is None:
        quotes = load_quotes(file, None, on_bad_rows, expected_digest)
        return quotes, prepare(quotes)
    with opened(file) as named, _cache_errors(cache_dir):
        loaded, arrays = _load(named, cache_dir, on_bad_rows, expected_digest)
    return loaded.quotes, market_of(loaded.quotes, arrays)


def load_days(
    days: DayFiles,
    cache_dir: Path | None,
    on_bad_rows: str = "refuse",
    expected_digest: str | None = None,
    reading: ReadRule = ANY,
) -> tuple[Loaded, Market]:
    """The files of several days as one market, memory-mapped from the cache (None: from a folder of its own)."""
    with ExitStack() as stack:
        paths = days.files(reading)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if cache_dir is None else cache_dir
        with _cache_errors(folder):
            folder = private_folder(folder)
            digests = []
            for path in paths:
                with open_named(path, MAX_DATA_BYTES, reading) as file:
                    digests.append(_remembered_digest(file, folder))
            digest = digest_of(digests)
            if expected_digest not in (None, digest):
                raise DataError(Path(str(days)), _NOT_THOSE)

            def write(entry: Path) -> None:
                # One file after the other: there may be more than this process may have open.
                rule = replace(reading, reading=_Builder(reading.reading, entry))
                with closing(_copies(_opened(paths, rule), digests, folder)) as copies:
                    write_market(DayChunks(copies, on_bad_rows), entry)

            arrays = _obtained(folder, digest, ".days", on_bad_rows, write, reading.reading)
        quotes = stored_quotes(arrays)
        return Loaded(quotes, int(arrays[DROPPED][0]), digest), market_of(quotes, arrays)


def _opened(paths: Sequence[Path], reading: ReadRule) -> Iterator[NamedFile]:
    for path in paths:
        with open_named(path, MAX_DATA_BYTES, reading) as file:
            yield file


def _copies(files: Iterable[NamedFile], digests: Sequence[str], folder: Path) -> Generator[NamedFile, None, None]:
    """Copies that nobody else can write to, one at a time; DataError for one that is not what was hashed."""
    for file, digest in zip(files, digests, strict=True):
        with file.copy(folder) as copy:
            if copy.digest() != digest:
                raise DataError(file.path, "was written to while it was read: wait until it is whole, then try again")
            yield copy


def _obtained(
    cache_dir: Path, digest: str, suffix: str, on_bad_rows: str, write: Callable[[Path], None], reading: Reading
) -> Arrays:
    """The arrays of an entry, which is written where it is not there."""
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        write(folder)

    entry = cache_dir / f"{digest[:40]}{suffix}-{FORMAT}-{on_bad_rows}"
    arrays = obtain(entry, build, reading)
    used(entry)
    if built:
        keep_within_bound(cache_dir)
    return arrays


class _Builder:
    """Who builds an entry shows in its folder's time that this goes on, and tells those who are told."""

    def __init__(self, others: Reading, folder: Path) -> None:
        self._others = others
        self._folder = folder
        self._next_s = 0.0

    def advanced(self) -> None:
        """See `Reading`."""
        self._others.advanced()
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + LOOK_S / 2
            self._folder.touch()

    def waits(self, begins: bool) -> None:
        """See `Reading`."""
        self._others.waits(begins)


def obtain(entry: Path, build: Callable[[Path], None], reading: Reading = NOBODY) -> Arrays:
    """The arrays of an entry, memory-mapped; `build` writes NAME.npy files into a new folder when there is none.

    UsageError when the entry cannot be read although it was just built, or when another process that builds it does not
    go on.
    """
    found = _open(entry)
    if found is None:
        with _building(entry, reading):
            found = _open(entry)
            if found is None:
                _build(entry, build)
                found = _open(entry)
    if found is None:
        raise UsageError(
            f"the cache entry {entry} cannot be read although it was just built: check the disk of {entry.parent}"
        )
    return found


@contextmanager
def _building(entry: Path, reading: Reading) -> Iterator[None]:
    """With the lock of who builds an entry, however long another process has it, as long as that goes on."""
    lock = filelock.FileLock(entry.with_name(f".{entry.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        reading.waits(True)
        _wait_for(lock, entry, reading)
        reading.waits(False)
    try:
        yield
    finally:
        lock.release()


def _wait_for(lock: filelock.BaseFileLock, entry: Path, reading: Reading) -> None:
    seen, since_s = _traces_of_builder(entry), time.monotonic()
    while True:
        with suppress(filelock.Timeout):
            lock.acquire(timeout=LOOK_S)
            return
        if (now := _traces_of_builder(entry)) != seen:
            seen, since_s = now, time.monotonic()
            reading.advanced()
        elif time.monotonic() - since_s > BUILD_TIMEOUT_S:
            raise UsageError(
                f"another process of this host has begun to make the cache entry {entry} and did not go on with it for "
                f"{BUILD_TIMEOUT_S:g} s: look whether it hangs on a disk or a mount (`fuser {lock.lock_file}`), or end it"
            )


def _traces_of_builder(entry: Path) -> list[tuple[str, int]]:
    found = []
    for folder in entry.parent.glob(f".{entry.name}.*.new"):
        for path in (folder, *folder.glob("*.npy")):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((path.name, max(status.st_mtime_ns, status.st_ctime_ns)))
    return sorted(found)


def _open(entry: Path) -> Arrays | None:
    """The arrays, or None when the entry is absent or not as it was built.

    A file that anything has written to since has another size or time. What the disk itself garbles goes unseen.
    """
    arrays: Arrays = {}
    try:
        for name, trace in json.loads((entry / MANIFEST).read_text())["arrays"].items():
            path = entry / f"{name}.npy"
            if trace != _trace(path):
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return arrays


def read_arrays(folder: Path) -> Arrays:
    """All arrays of a folder, memory-mapped."""
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}


def _trace(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    for leftover in entry.parent.glob(f".{entry.name}.*.new"):
        shutil.rmtree(leftover)
    new = entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.new")
    new.mkdir()
    build(new)
    traces = {path.stem: _trace(path) for path in sorted(new.iterdir())}
    (new / MANIFEST).write_text(json.dumps({"arrays": traces}))
    if entry.exists():
        shutil.rmtree(entry)
    place_folder(new, entry)


@contextmanager
def passing_quotes(file: Path, on_bad_rows: str = "refuse") -> Iterator[tuple[Quotes, int]]:
    """Quotes of a file and how many bad rows were dropped, in little memory: on disk, for as long as they are needed."""
    with tempfile.TemporaryDirectory(prefix="arbd-quotes-") as name, opened(file) as named:
        write_market(QuoteChunks(named, on_bad_rows), Path(name))
        arrays = read_arrays(Path(name))
        yield stored_quotes(arrays), int(arrays[DROPPED][0])


def _load(file: NamedFile, cache_dir: Path, on_bad_rows: str, expected: str | None) -> tuple[Loaded, Arrays]:
    cache_dir = private_folder(cache_dir)
    digest = _remembered_digest(file, cache_dir)
    _check(file.path, digest, expected)

    def write(entry: Path) -> None:
        reading, file.reading = file.reading, _Builder(file.reading, entry)
        try:
            with closing(_copies([file], [digest], cache_dir)) as copies:
                write_market(QuoteChunks(next(copies), on_bad_rows), entry)
        finally:
            file.reading = reading

    arrays = _obtained(cache_dir, digest, suffix_of(file.path), on_bad_rows, write, file.reading)
    return Loaded(stored_quotes(arrays), int(arrays[DROPPED][0]), digest), arrays


@contextmanager
def _cache_errors(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UsageError(
            f"the cache {cache_dir} cannot be used ({error.strerror}: {error.filename}): "
            "give this user write permission there, or name another cache_dir in the settings"
        ) from error


def _check(path: Path, digest: str | None, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise DataError(
            path,
            f"is not the file that the job was accepted with (SHA-256 {str(digest)[:12]}, expected {expected[:12]}); "
            "copy the same version to every host",
        )


def _remembered_digest(file: NamedFile, cache_dir: Path) -> str:
    """The file's digest, computed anew only when size, times or inode have changed: slots start by the dozen."""
    identity = list(file.identity)
    name = hashlib.sha256(repr(identity[:2]).encode()).hexdigest()[:24]
    note = cache_dir / f".{name}.digest"
    try:
        known = json.loads(note.read_text())
        if known["identity"] == identity:
            return str(known["digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        pass  # never seen, or torn by a crash: computed below
    began_ns = time.time_ns()
    digest = file.digest()
    changed_ns = file.identity[-1]
    if list(file.identity) == identity and changed_ns < began_ns - SETTLED_NS:
        replace_file(note, json.dumps({"identity": identity, "digest": digest}).encode())
    return digest
