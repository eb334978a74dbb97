"""An append-only file of records that several hosts write to, one at a time, under a lock beside it.

Keeps I2 and I4: what `append` returns from is durable; the file is opened after the lock is held and closed before it is
released; what a writer that died left half-written is passed over by readers and by the next writer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, scan_file
from arbd.values import dataclass

T = TypeVar("T", bound=msgspec.Struct)
LOCK_PATIENCE_S = 30.0
_ENCODER = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class LockedLog(Generic[T]):
    """The log `path` of records of one form, as one process has read it. Not thread-safe."""

    files: Files
    path: Path
    form: type[T]
    _offset: int = 0
    _decoder: msgspec.msgpack.Decoder[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(self.form)

    @property
    def lock(self) -> Path:
        """Held while something is appended."""
        return self.path.with_name(f"{self.path.name}.lock")

    def read_new(self) -> list[T]:
        """The records that were not read before. Damage, and what another version wrote otherwise, is passed over."""
        found: list[T] = []
        with contextlib.suppress(FileNotFoundError):
            for base, scan in scan_file(lambda at, limit: self.files.read(self.path, at, limit), self._offset):
                for frame in scan.frames:
                    with contextlib.suppress(msgspec.DecodeError):
                        found.append(self._decoder.decode(frame.payload))
                self._offset = base + scan.good_end
        return found

    def append(self, records: Sequence[T]) -> None:
        """Add records, durably, all in one write. TimeoutError when somebody keeps the lock."""
        self.files.make_folder(self.path.parent)
        with self.files.lock(self.lock, LOCK_PATIENCE_S):
            self._append(records)

    def append_unless_behind(self, records: Sequence[T]) -> list[T]:
        """As `append`, unless the log has records that were not read: these are returned then, and nothing is added.

        What was added counts as read.
        """
        self.files.make_folder(self.path.parent)
        with self.files.lock(self.lock, LOCK_PATIENCE_S):
            if unread := self.read_new():
                return unread
            self._append(records)
            self.read_new()
        return []

    def _append(self, records: Sequence[T]) -> None:
        data = b"".join(encode_frame(_ENCODER.encode(record)) for record in records)
        is_new = self.path.name not in self.files.names(self.path.parent)
        self.files.append(self.path, data)
        if is_new:
            self.files.sync_folder(self.path.parent)
