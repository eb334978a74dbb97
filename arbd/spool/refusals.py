"""Why hosts refuse jobs that other hosts may take: one small file for each, written by the host that refuses.

A job that is wrong for one host alone (its `allow`, its folders of data, a file that it has not) stays in `incoming/`.
What each host says of it stands here until the job is a session, or every host that lives has refused it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from arbd.errors import UnsafePathError
from arbd.spool.files import Files
from arbd.spool.held import Held
from arbd.spool.job_file import MAX_JOB_BYTES
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.system import Clock
from arbd.values import dataclass

MAX_REASON_BYTES = 1 << 16
# How often it is looked whether other workers refuse the same.
LOOK_S = 2.0
_KEY_CHARS = 16


def key_of(data: bytes) -> str:
    """What stands for the content of a job: another file of the same name is another job."""
    return hashlib.sha256(data).hexdigest()[:_KEY_CHARS]


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a worker's host refuses the job that was dropped as `name`."""

    key: str
    worker_id: str
    name: str

    @property
    def file_name(self) -> str:
        """Its file's name."""
        return f"{self.key}@{self.worker_id}@{self.name}"

    @classmethod
    def parse(cls, file_name: str) -> Refusal | None:
        """What a name says; None for a file that is nobody's."""
        key, _, rest = file_name.partition("@")
        worker_id, _, name = rest.partition("@")
        known = len(key) == _KEY_CHARS and NAME_PATTERN.fullmatch(worker_id) and name
        return cls(key, worker_id, name) if known else None


def read_refusals(files: Files, layout: SpoolLayout) -> list[Refusal]:
    """All of them; none where nobody ever refused a job."""
    try:
        names = files.names(layout.refusals)
    except FileNotFoundError:
        return []
    return [found for found in map(Refusal.parse, names) if found is not None]


def reason_of(files: Files, layout: SpoolLayout, refusal: Refusal) -> str:
    """What the host says; '' when it is gone."""
    try:
        data = files.read(layout.refusals / refusal.file_name, limit=MAX_REASON_BYTES)
    except (FileNotFoundError, UnsafePathError):
        return ""
    return data.decode(errors="replace").strip()


def write_refusal(files: Files, layout: SpoolLayout, refusal: Refusal, reason: str) -> None:
    """Say it, durably."""
    files.make_folder(layout.refusals)
    data = f"{reason}\n".encode(errors="backslashreplace")[:MAX_REASON_BYTES]
    files.publish(layout.refusals / refusal.file_name, data)


def remove_refusals(files: Files, layout: SpoolLayout, gone: Iterable[Refusal]) -> None:
    """They say nothing any more."""
    for refusal in gone:
        with contextlib.suppress(FileNotFoundError):
            files.remove(layout.refusals / refusal.file_name)


def told(reasons: Mapping[str, str]) -> str:
    """What several hosts say, for people: a reason that they share once."""
    by_reason: dict[str, list[str]] = {}
    for worker_id, reason in sorted(reasons.items()):
        by_reason.setdefault(reason, []).append(worker_id)
    return "\n".join(f"{', '.join(workers)}: {reason}" for reason, workers in by_reason.items())


@dataclass(slots=True)
class HostRefusals:
    """The jobs that this worker's host refuses, which lie in `incoming/` for others. Not thread-safe.

    `alive` tells which workers live and take jobs up.
    """

    files: Files
    layout: SpoolLayout
    clock: Clock
    worker_id: str
    alive: Callable[[], Iterable[str]]
    _mine: dict[str, Refusal] = field(default_factory=dict)
    _next_look_s: float = 0.0

    def refuse(self, name: str, data: bytes, reason: str) -> str:
        """Say that this host refuses a job; why it is refused for good, or '' while another may take it."""
        refusal = Refusal(key_of(data), self.worker_id, name)
        write_refusal(self.files, self.layout, refusal, reason)
        self._mine[name] = refusal
        others = [found for found in self._of(refusal) if found.worker_id != self.worker_id]
        if set(self.alive()) - {self.worker_id, *(found.worker_id for found in others)}:
            return ""
        reasons = {found.worker_id: reason_of(self.files, self.layout, found) for found in others}
        return f"every worker that lives refuses it:\n{told({**reasons, self.worker_id: reason})}" if others else reason

    def _of(self, refusal: Refusal) -> list[Refusal]:
        found = read_refusals(self.files, self.layout)
        return [one for one in found if (one.name, one.key) == (refusal.name, refusal.key)]

    def is_refused(self, name: str) -> bool:
        """True when the job of that name in `incoming/` is one that this host has refused."""
        if name not in self._mine:
            return False
        try:
            data = self.files.read(self.layout.incoming / name, limit=MAX_JOB_BYTES + 1)
        except (FileNotFoundError, UnsafePathError):
            return False
        return self._mine[name].key == key_of(data)

    def due(self) -> list[str]:
        """Jobs of which every worker that lives has said by now that it refuses them."""
        now = self.clock.monotonic_s()
        if not self._mine or now < self._next_look_s:
            return []
        self._next_look_s = now + LOOK_S
        there = {*self.files.names(self.layout.incoming)}
        there |= {held.name for held in map(Held.parse, self.files.names(self.layout.taken)) if held is not None}
        for name in self._mine.keys() - there:
            self.settle(name)
        alive = set(self.alive())
        return [
            name
            for name, refusal in self._mine.items()
            if not alive - {self.worker_id, *(found.worker_id for found in self._of(refusal))}
        ]

    def settle(self, name: str) -> None:
        """The job is a session, refused for good, or gone: what hosts said of it is over."""
        self._mine.pop(name, None)
        gone = [found for found in read_refusals(self.files, self.layout) if found.name == name]
        remove_refusals(self.files, self.layout, gone)

    def forget(self) -> None:
        """What this host refuses may have changed."""
        remove_refusals(self.files, self.layout, self._mine.values())
        self._mine.clear()
