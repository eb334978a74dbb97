"""Data and code of jobs on a host that does not see the spool: used where they stand, else kept by digest once they came.

A file is used only if it has the digest that the job was accepted with, wherever it stands.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

from arbd.atomic_file import place_folder
from arbd.daemon.remote.wire import CODE, Files, Job, digest_of_files
from arbd.errors import ArbdError, ObjectiveError
from arbd.job.spec import JobSpec
from arbd.named_file import MAX_DATA_BYTES, open_named
from arbd.paper.market.days import DayFiles, digest_of
from arbd.private_folder import private_folder


class Materials:
    """What came to this host, below a private folder of its cache."""

    def __init__(self, cache_dir: Path) -> None:
        self._folder = private_folder(private_folder(cache_dir) / "remote")
        self._there: set[tuple[str, str]] = set()

    def keep(self, job: Job, spec: JobSpec, name: str, files: Files) -> None:
        """Keep the files of a name that was wanted; ObjectiveError when they are not what the job says."""
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        if name.startswith(CODE):
            found, wanted = digest_of_files(digests), job.code
        else:
            wanted = spec.digests[name]
            in_order = list(digests.values())
            found = in_order[0] if DayFiles.parse(name) is None else digest_of(in_order)
        if found != wanted:
            raise ObjectiveError(f"what came of {name} has the SHA-256 {found[:12]}, expected {wanted[:12]}")
        self._put(self._folder / wanted, files)

    def _put(self, folder: Path, files: Files) -> None:
        if folder.exists():
            return
        new = self._folder / f".new-{secrets.token_hex(8)}"
        new.mkdir(mode=0o700)
        try:
            for file, content in files.items():
                place = PurePosixPath(file)
                assert not place.is_absolute() and ".." not in place.parts, file
                (new / place).parent.mkdir(parents=True, exist_ok=True)
                (new / place).write_bytes(content)
            place_folder(new, folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            # Another process of this host may have been first.
            if not folder.exists():
                raise

    def code(self, job: Job) -> Path | None:
        """The folder that modules of the job's objective are in; None where there is none yet."""
        folder = self._folder / job.code
        return folder if folder.exists() else None

    def wanted(self, job: Job, spec: JobSpec) -> tuple[str, ...]:
        """The names whose files are not on this host."""
        names = [name for name in (*spec.data, *spec.scenarios) if self._place(spec, name) is None]
        return (*([f"{CODE}{job.code}"] if job.code and self.code(job) is None else []), *dict.fromkeys(names))

    def localised(self, spec: JobSpec) -> JobSpec:
        """The job with the names that its files have on this host; all must be here."""
        places: dict[str, str] = {}
        for name in (*spec.data, *spec.scenarios):
            place = self._place(spec, name)
            assert place is not None, name
            places[name] = place
        return replace(
            spec,
            data=tuple(places[name] for name in spec.data),
            scenarios=tuple(places[name] for name in spec.scenarios),
            digests={places.get(name, name): digest for name, digest in spec.digests.items()},
        )

    def _place(self, spec: JobSpec, name: str) -> str | None:
        digest = spec.digests.get(name)
        if digest is None or (name, digest) in self._there or self._stands(name, digest):
            self._there.add((name, digest or ""))
            return name
        folder = self._folder / digest
        if not folder.exists():
            return None
        days = DayFiles.parse(name)
        return str(folder / Path(name).name) if days is None else str(replace(days, folder=folder))

    def _stands(self, name: str, digest: str) -> bool:
        days = DayFiles.parse(name)
        try:
            return digest == (_digest(Path(name)) if days is None else digest_of([_digest(f) for f in days.files()]))
        except (ArbdError, OSError):
            return False


def _digest(path: Path) -> str:
    with open_named(path, MAX_DATA_BYTES) as file:
        return file.digest()
