"""What code makes a session's rows: pinned by whoever loads something first, the same for everybody from then on.

Keeps I5: each part of the code (arbd's own, versions, every module that an objective loads, however late) has one digest
in a session. Records are published once each, in order, under a lock; each holds all that is known up to then. A new era
begins where somebody gives up the code so far (`arbctl retry --code`): there everything is pinned anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgpack
from msgspec import Meta, Struct, field

from arbd import schema
from arbd.errors import CodeChangedError, CorruptionError
from arbd.job.code import REMEDY, SHORT, differences, digest_of, engine, is_code
from arbd.records import RecordFormat, Text
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, payloads
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.values import dataclass

SUFFIX = ".code"
_NAME = re.compile(r"(\d{6,})\.code")
LOCK_PATIENCE_S = 30.0
MAX_PARTS = 10_000
MAX_ERAS = 1_000

Parts = Annotated[dict[Text, Annotated[str, Meta(max_length=100)]], Meta(max_length=MAX_PARTS)]


class _CodeRecord(Struct, frozen=True):
    """A `CodeRecord` in its file."""

    version: int = field(name=schema.CODE.key)
    era: Annotated[int, Meta(ge=0, le=MAX_ERAS)]
    parts: Parts
    given_up: Annotated[tuple[Parts, ...], Meta(max_length=MAX_ERAS)]


class _PartsOfJob(Struct, frozen=True):
    """What a resolved job says of code."""

    digests: Parts = {}
    code: Parts = {}


_CODE: RecordFormat[_CodeRecord] = RecordFormat("the record", _CodeRecord, lambda: schema.CODE)
_PARTS: RecordFormat[dict[str, str]] = RecordFormat("the parts", Parts)
_PARTS_OF_JOB: RecordFormat[_PartsOfJob] = RecordFormat("the job", _PartsOfJob)


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """What was known at one time; `given_up` are the parts of earlier eras."""

    era: int
    parts: Mapping[str, str]
    given_up: tuple[Mapping[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """What rows made with it carry."""
        return digest_of(self.parts)

    def encode(self) -> bytes:
        """As it stands in its file."""
        plain = {
            **schema.CODE.stamp(),
            "era": self.era,
            "parts": dict(self.parts),
            "given_up": [dict(parts) for parts in self.given_up],
        }
        return encode_frame(bytes(msgpack.packb(plain)))


class SessionCode:
    """The records of one session, read as they come; `accepted` are the parts that its job was accepted with."""

    def __init__(self, files: Files, paths: SessionPaths, accepted: Mapping[str, str]) -> None:
        self._files = files
        self._paths = paths
        self._accepted = accepted
        self.records: list[CodeRecord] = []
        self.look()

    @property
    def era(self) -> int:
        """Counts how often the code so far was given up."""
        return self.records[-1].era if self.records else 0

    @property
    def current(self) -> CodeRecord:
        """What new rows must be made with, as far as it is known."""
        return self.records[-1] if self.records else CodeRecord(0, self._accepted)

    def look(self) -> None:
        """Read what is new."""
        if self._paths.code.name not in self._files.names(self._paths.folder):
            return
        names = {int(m[1]) for m in map(_NAME.fullmatch, self._files.names(self._paths.code)) if m is not None}
        while (number := len(self.records) + 1) in names:
            self.records.append(self._read(number))

    def _read(self, number: int) -> CodeRecord:
        path = self._path(number)
        for payload in payloads(self._files.read(path)):
            try:
                found = _CODE.read(payload, path)
                return CodeRecord(found.era, found.parts, found.given_up)
            except ValueError as error:
                raise CorruptionError(path, 0, f"not a record of code of this version: {error}") from error
        raise CorruptionError(path, 0, "damaged: no whole record in it")

    def _path(self, number: int) -> Path:
        return self._paths.code / f"{number:06d}{SUFFIX}"

    def pin(self, parts: Mapping[str, str], folders: Sequence[Path]) -> str:
        """The digest for rows that are made with `parts`; CodeChangedError when that is not the session's code.

        `folders` are those of objectives on this host.
        """
        if parts.items() - self.current.parts.items():
            with self._files.lock(self._paths.code_lock, LOCK_PATIENCE_S):
                self._pin(parts, folders)
        return self.current.digest

    def _pin(self, parts: Mapping[str, str], folders: Sequence[Path]) -> None:
        self.look()
        now = self.current
        found = [each.text for each in differences(now.parts, parts, folders) if each.part in parts]
        if found:
            raise CodeChangedError(f"{'; '.join(found)}; {REMEDY}")
        for old in now.given_up:
            if old and not now.parts and not differences(old, parts, folders):
                raise CodeChangedError(
                    f"this host still has the code {digest_of(old)} that was given up for this session: "
                    "put the new version here"
                )
        if parts.items() - now.parts.items():
            self._publish(CodeRecord(now.era, {**now.parts, **parts}, now.given_up))

    def give_up(self) -> None:
        """Begin a new era: what the code so far made may be run again with what the hosts have now."""
        with self._files.lock(self._paths.code_lock, LOCK_PATIENCE_S):
            self.look()
            now = self.current
            self._publish(CodeRecord(now.era + 1, {}, (*now.given_up, now.parts)))

    def _publish(self, record: CodeRecord) -> None:
        self._files.make_folder(self._paths.code)
        self._files.publish_once(self._path(len(self.records) + 1), record.encode())
        self.look()

    def with_digest(self, digest: str) -> CodeRecord | None:
        """The code of rows that carry this digest; None when no record tells."""
        records = [CodeRecord(0, self._accepted), *self.records]
        return next((record for record in records if record.digest == digest), None)

    def era_of(self, digest: str) -> int | None:
        """The era in which rows carry this digest; None when no record tells."""
        found = self.with_digest(digest)
        return None if found is None else found.era

    def digests_of(self, era: int) -> list[str]:
        """All that rows of an era carry."""
        records = [CodeRecord(0, self._accepted), *self.records]
        return [record.digest for record in records if record.era == era]

    def given_up(self) -> list[str]:
        """What rows carry that do not count any more."""
        return [digest for era in range(self.era) for digest in self.digests_of(era)]

    def last_of(self, era: int) -> CodeRecord:
        """All that is known of an era."""
        found = [record for record in self.records if record.era == era]
        return found[-1] if found else CodeRecord(0, self._accepted)


def accepted_parts(files: Files, paths: SessionPaths) -> dict[str, str]:
    """`arbd.job.code.expected_parts` of a session's job, of which nothing else is read; empty where it cannot be."""
    try:
        for payload in payloads(files.read(paths.spec)):
            job = _PARTS_OF_JOB.decode(payload)
            return {**job.code, **{name: digest for name, digest in job.digests.items() if is_code(name)}}
    except (FileNotFoundError, ValueError):
        pass
    return {}


def publish_engine(files: Files, layout: SpoolLayout) -> None:
    """Leave in the spool which files arbd's own code of this host consists of, for those who have another."""
    path = _engine_path(layout, engine().digest)
    if path.name not in files.names(layout.workers):
        short = {name: digest[:SHORT] for name, digest in engine().files.items()}
        files.publish(path, encode_frame(bytes(msgpack.packb(short))))


def engine_files(files: Files, layout: SpoolLayout, digest: str) -> dict[str, str]:
    """The files, with shortened digests, of the own code that has this digest; empty when nobody told."""
    try:
        found = list(payloads(files.read(_engine_path(layout, digest), limit=1 << 20)))
        return _PARTS.decode(found[0]) if found else {}
    except (FileNotFoundError, ValueError):
        return {}


def _engine_path(layout: SpoolLayout, digest: str) -> Path:
    return layout.workers / f"{digest[:16]}.engine"
