"""Whether the data of a standing job are others than before: by size and time of change, then, once they stand still, by content.

In the process that takes jobs up, and one file at a look: whoever waits for a job waits for no more than that. What was
hashed is kept beside the standing job, a file for each worker, and what another worker has hashed of the same file, as its
size and time tell, is taken as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path

from arbd.daemon.host.config import Config
from arbd.errors import ArbdError
from arbd.job.fired_job import StandingFile, read_standing_file
from arbd.job.model_data import DataFolder
from arbd.job.policy import ObjectivePolicy
from arbd.job.resolve_quotes import days_of, first_folder, newest_of
from arbd.named_file import MAX_DATA_BYTES, NOBODY, MissingFileError, Reading, ReadRule, first_of
from arbd.paper.market.days import DayFiles
from arbd.spool.standing.folder import StandingFolder, read_job_of
from arbd.spool.standing.looks import Hashed, Look, keep_look, read_looks
from arbd.spool.standing.records import MAX_TEXT_CHARS
from arbd.spool.system import Clock
from arbd.values import dataclass


@dataclass(slots=True)
class _Seen:
    """The files as they were at the last look, and since when they are so."""

    files: tuple[tuple[str, int, int], ...]
    since_s: float


@dataclass(slots=True)
class DataLook:
    """Of all standing jobs, in one process. Not thread-safe."""

    config: Config
    worker_id: str
    clock: Clock
    reading: Reading = NOBODY
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _jobs: dict[str, tuple[str, StandingFile]] = field(default_factory=dict)
    _known: dict[str, dict[tuple[str, int, int], str]] = field(default_factory=dict)
    _errors: dict[str, str] = field(default_factory=dict)

    def __call__(self, folder: StandingFolder) -> str | None:
        """The digest of the data; None while they change or are being read. ArbdError where they cannot be."""
        name = folder.name
        try:
            digest = self._look(folder)
        except ArbdError as error:
            if self._errors.get(name) != str(error):
                self._errors[name] = str(error)
                keep_look(folder, self.worker_id, Look(error=str(error)[:MAX_TEXT_CHARS]))
            raise
        if self._errors.pop(name, None) is not None:
            self._keep(folder, self._seen[name].files, self._known.get(name, {}))
        return digest

    def _look(self, folder: StandingFolder) -> str | None:
        name = folder.name
        digest, job = self._jobs.get(name, ("", None))
        if job is None or digest != folder.state.digest:
            job = read_standing_file(read_job_of(folder), name)
            self._jobs[name] = (folder.state.digest, job)
            self._known.pop(name, None)
        rule = replace(ObjectivePolicy(self.config.allow, self.config.data_dirs).reading, reading=self.reading)
        files = tuple(_status(path) for path in self._paths(job, rule))
        now_s, seen = self.clock.monotonic_s(), self._seen.get(name)
        if seen is None or seen.files != files:
            self._seen[name] = _Seen(files, now_s)
            return None
        if now_s - seen.since_s < self.config.settle_s:
            return None
        known = self._known.get(name)
        if known is None:
            looks = read_looks(folder)
            if (mine := looks.get(self.worker_id)) is not None and mine.error:
                self._errors[name] = mine.error
            known = self._known[name] = {
                (file.path, file.size, file.mtime_ns): file.digest for look in looks.values() for file in look.files
            }
        missing = next((file for file in files if file not in known), None)
        if missing is not None:
            with first_of([Path(missing[0])], MAX_DATA_BYTES, rule) as opened:
                found = opened.digest()
            if _status(Path(missing[0])) == missing:
                known[missing] = found
                self._keep(folder, files, known)
            return None
        named = (f"{Path(file[0]).name} {known[file]}" for file in files)
        return hashlib.sha256("\n".join(named).encode()).hexdigest()

    def _paths(self, job: StandingFile, rule: ReadRule) -> Iterator[Path]:
        for given in job.document.job.data:
            days = given if isinstance(given, DataFolder) else DayFiles.parse(given)
            if days is None:
                assert isinstance(given, str)
                yield _first([base / given for base in self.config.data_dirs] or [Path(given)])
                continue
            whole = days_of(days) if isinstance(days, DataFolder) else days
            folder = first_folder([base / whole.folder for base in self.config.data_dirs] or [whole.folder])
            meant = DayFiles(folder, whole.pattern, whole.first, whole.last)
            yield from (newest_of(days, meant, rule) if isinstance(days, DataFolder) else meant).files(rule)

    def _keep(
        self,
        folder: StandingFolder,
        files: Sequence[tuple[str, int, int]],
        known: dict[tuple[str, int, int], str],
    ) -> None:
        hashed = tuple(Hashed(*file, known[file]) for file in files if file in known)
        keep_look(folder, self.worker_id, Look(files=hashed))


def _status(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise MissingFileError(path, "no such file on this host") from None
    return str(path), found.st_size, found.st_mtime_ns


def _first(paths: Sequence[Path]) -> Path:
    """The first that is there; the first of all where none is."""
    return next((path for path in paths if path.exists()), paths[0])
