"""Who works on this spool, and who of them is dead.

Owns the liveness lock and the heartbeat of a worker, and the judgement of others. Keeps I3: a heartbeat is a
counter, and standing still is measured by the observer's own monotonic clock. Keeps I8: judging wrongly
costs work done twice, never a wrong result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import msgpack
from msgspec import Struct
from msgspec import field as named

from arbd import schema
from arbd.errors import SpoolError, UnsafePathError, VersionError
from arbd.records import Natural, RecordFormat, Text, shown, unpack
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, encode_frame, scan_frames
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.ledger_records import FileName, Incarnation
from arbd.spool.system import Clock, HeldLock
from arbd.values import dataclass

BEAT_SUFFIX = ".beat"
MAX_BEAT_BYTES = 1 << 16
# Characters of a text and items of a list that a heartbeat says, the more of both the better.
ABOUT_LIMITS = ((2_000, 1_000), (250, 60), (50, 50))
MAX_ABOUT_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker says of itself. `counter` grows with each beat; `about` is for people."""

    worker_id: str
    incarnation: int
    counter: int
    about: Mapping[str, Any]


class _About(Struct, frozen=True):
    """What readers rely on of what a worker says of itself; nothing of it need be there."""

    host: Text = ""
    pid: int = 0
    slots: int = 0
    busy: int = 0
    done: int = 0
    started_ns: int = 0
    beat_s: float = 0.0
    rate: float = 0.0
    sessions: tuple[Text, ...] = ()
    blocked: dict[Text, Text] = {}
    held: dict[Text, Text] = {}
    finishing: dict[Text, Text] = {}
    versions: dict[Text, Text] = {}
    trouble: Text = ""
    state: Text = ""
    only: Text | None = None
    silent: dict[Text, tuple[int, float]] = {}


class _Heartbeat(Struct, frozen=True):
    """A `Beat` in its file."""

    version: int = named(name=schema.HEARTBEAT.key)
    worker_id: FileName
    incarnation: Incarnation
    counter: Natural
    about: _About


_HEARTBEAT: RecordFormat[_Heartbeat] = RecordFormat("the heartbeat", _Heartbeat, lambda: schema.HEARTBEAT)


def lock_path(layout: SpoolLayout, worker_id: str) -> Path:
    """The liveness lock of a worker."""
    return layout.workers / f"{worker_id}.lock"


def beat_path(layout: SpoolLayout, worker_id: str) -> Path:
    """The heartbeat of a worker."""
    return layout.workers / f"{worker_id}{BEAT_SUFFIX}"


@dataclass(slots=True)
class LivenessLock:
    """The lock that a worker holds as long as it lives."""

    files: Files
    path: Path
    _held: HeldLock | None

    def keep(self) -> bool:
        """Take the lock again if it was lost; True when it was.

        A network filesystem gives up the locks of a host that it has not heard of for its lease: some then fail
        what is done through the locked file, others let the host take the lock a second time, which a holder
        cannot. A folder that was removed and made anew has new lock files, which is seen in the same way. Others
        take the lock for an instant to look; then the next beat takes it.
        """
        if self._held is not None and not self._held.is_ours():
            self._held.release()
            self._held = None
        again = self.files.try_lock(self.path)
        if again is None:
            return False
        if self._held is not None:
            self._held.release()
        self._held = again
        return True

    def release(self) -> None:
        """Give it back."""
        if self._held is not None:
            self._held.release()


def take_liveness_lock(files: Files, layout: SpoolLayout, worker_id: str) -> LivenessLock | None:
    """The liveness lock of `worker_id`, or None while another process lives under that id."""
    path = lock_path(layout, worker_id)
    held = files.try_lock(path)
    return None if held is None else LivenessLock(files, path, held)


def write_beat(files: Files, layout: SpoolLayout, beat: Beat) -> None:
    """Replace the worker's heartbeat."""
    files.overwrite(beat_path(layout, beat.worker_id), encode_frame(_packed(beat)))


def _packed(beat: Beat) -> bytes:
    """The record, cut so that it stays readable however long the reasons of errors are."""
    for chars, items in ABOUT_LIMITS:
        record = {
            **schema.HEARTBEAT.stamp(),
            "worker_id": beat.worker_id,
            "incarnation": beat.incarnation,
            "counter": beat.counter,
            "about": _bounded(beat.about, chars, items),
        }
        packed = bytes(msgpack.packb(record))
        if len(packed) <= MAX_BEAT_BYTES - HEADER.size:
            break
    return packed


def _bounded(value: Any, chars: int, items: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _bounded(item, chars, items) for name, item in itertools.islice(value.items(), items)}
    if isinstance(value, list | tuple):
        return [_bounded(item, chars, items) for item in value[:items]]
    return value[:chars].encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def read_beat(files: Files, layout: SpoolLayout, worker_id: str) -> Beat | None:
    """The worker's heartbeat; None when there is none, it is just being written, or it is no such thing.

    VersionError when another version writes it.
    """
    path = beat_path(layout, worker_id)
    try:
        data = files.read(path, limit=MAX_BEAT_BYTES)
    except (FileNotFoundError, UnsafePathError):
        return None
    frames = scan_frames(data).frames
    if not frames:
        return None
    try:
        return _beat(frames[0].payload, worker_id, path)
    except ValueError:
        return None


def _beat(payload: bytes | memoryview, worker_id: str, path: Path) -> Beat:
    """The heartbeat in a record; ValueError when it is none, or another worker's."""
    record = _HEARTBEAT.read(payload, path)
    if record.worker_id != worker_id:
        raise ValueError(f"a heartbeat of {shown(record.worker_id)} in the name of {worker_id}")
    # Later versions may say more, and whoever shows it shows it as it is.
    about = unpack(payload)["about"]
    if not _is_plain(about):
        raise ValueError("it says more than strings and numbers, or lists and maps of these")
    return Beat(worker_id, record.incarnation, record.counter, about)


def _is_plain(value: object, depth: int = 0) -> bool:
    """A string or a number, or lists and maps of these."""
    if depth > MAX_ABOUT_DEPTH + 1:
        return False
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(item, depth + 1) for name, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item, depth + 1) for item in value)
    return isinstance(value, str | int | float | None)


def read_beats(files: Files, layout: SpoolLayout) -> list[Beat]:
    """The heartbeats of all workers that this version can read, by worker id."""
    return [beat for beat in _beats(files, layout) if isinstance(beat, Beat)]


def unread_beats(files: Files, layout: SpoolLayout) -> dict[str, VersionError]:
    """Why heartbeats that other versions write cannot be read, by worker id."""
    return {Path(beat.path).stem: beat for beat in _beats(files, layout) if isinstance(beat, VersionError)}


def _beats(files: Files, layout: SpoolLayout) -> Iterator[Beat | VersionError | None]:
    for name in files.names(layout.workers):
        worker_id = name.removesuffix(BEAT_SUFFIX)
        if name.endswith(BEAT_SUFFIX) and NAME_PATTERN.fullmatch(worker_id):
            try:
                yield read_beat(files, layout, worker_id)
            except VersionError as error:
                yield error


def is_held(files: Files, layout: SpoolLayout, worker_id: str) -> bool:
    """True while some process holds the worker's liveness lock."""
    return files.is_locked(lock_path(layout, worker_id))


def live_slots(files: Files, layout: SpoolLayout) -> int:
    """Slots of all workers that hold their liveness locks, take any session and do not end: what a new job may get."""
    return sum(
        max(0, int(beat.about.get("slots", 0)))
        for beat in read_beats(files, layout)
        if beat.about.get("only") is None
        and beat.about.get("state", "running") == "running"
        and is_held(files, layout, beat.worker_id)
    )


@dataclass(slots=True)
class _Watched:
    counter: int
    since_s: float
    moved_without_lock: int = 0


@dataclass(slots=True)
class Observer:
    """Judges whether the workers that hold claims still live, by their locks and by how long they stood still."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    beat_s: float
    lease_s: float
    _watched: dict[tuple[str, int], _Watched] = field(default_factory=dict)

    def dead(self, worker_id: str, incarnation: int) -> str | None:
        """Why that incarnation is dead, or None while it may live.

        Raises SpoolError when its lock can be taken again and again although it beats: then locks do not hold
        across hosts on this mount, and claiming would hand out iterations twice. VersionError when it cannot be judged,
        because another version writes its heartbeat.
        """
        beat = read_beat(self.files, self.layout, worker_id)
        now = self.clock.monotonic_s()
        watched = self._watched.get((worker_id, incarnation))
        if beat is not None and beat.incarnation != incarnation:
            # A successor holds the liveness lock, and got it only after this incarnation had lost it.
            self._watched.pop((worker_id, incarnation), None)
            return f"{worker_id} was started again"
        counter = beat.counter if beat is not None else -1
        if watched is None:
            self._watched[worker_id, incarnation] = _Watched(counter, now)
            return None
        held = is_held(self.files, self.layout, worker_id)
        if counter != watched.counter:
            watched.moved_without_lock = 0 if held else watched.moved_without_lock + 1
            watched.counter, watched.since_s = counter, now
            self._refuse_broken_locks(worker_id, watched)
            return None
        still_s = now - watched.since_s
        if not held and still_s >= 2 * self.beat_s:
            return f"{worker_id} gave up its lock and has not been heard of for {still_s:.1f} s"
        if still_s >= self.lease_s:
            return f"{worker_id} has not been heard of for {still_s:.1f} s (lease {self.lease_s:g} s)"
        return None

    def _refuse_broken_locks(self, worker_id: str, watched: _Watched) -> None:
        # A worker that just ended, or that was cut off for so long that it lost its lock, shows a free one for a beat
        # or two, until it is gone or has taken it again.
        if watched.moved_without_lock >= 5:
            raise SpoolError(
                f"locks do not hold across hosts on {self.layout.root}: {worker_id} beats, yet its lock can be taken "
                "here; mount with working locks (NFS: no nolock, local_lock=none) and restart"
            )
