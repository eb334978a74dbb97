"""Two versions of arbd on one spool: the schemas of records as the process that runs at the moment has them.

The newer one keeps both duties of whoever raises a number: it reads the older schema, and goes on writing it into
sessions that began with it. What it raises are any kinds of records, and always one of those that open a session.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from arbd import schema
from arbd.daemon.core.session_registry import SessionRegistry
from arbd.errors import CorruptionError
from arbd.records import unpack
from arbd.schema import Schema
from arbd.spool.frames import payloads
from arbd.spool.layout import SessionPaths
from tests.simulation.checks import Checks, ViolationError
from tests.simulation.world import Process

OLD, NEW = 0, 1
OPENING = ("LEDGER", "JOB")
OTHERS = ("SEGMENT", "RESULTS", "GENERATION", "HEARTBEAT")


class RaisedSchema:
    """A kind of records of which the newer version has the next number."""

    def __init__(self, old: Schema, versions: Versions) -> None:
        self._old = old
        self._new = Schema(old.what, old.version + 1, old.key)
        self._versions = versions
        self.key, self.what = old.key, old.what

    @property
    def version(self) -> int:
        """The number that the process that runs writes, where it writes."""
        return (self._new if self._versions.writes() == NEW else self._old).version

    @property
    def earliest(self) -> int:
        """See `Schema`; what the newer version writes says something new throughout."""
        return self._new.version if self._versions.writes() == NEW else self._old.earliest

    @property
    def also(self) -> frozenset[int]:
        """See `Schema`."""
        return self._old.also if self._versions.reads() != NEW else self._old.also | {self._old.version}

    def stamp(self, version: int | None = None) -> dict[str, Any]:
        """See `Schema`."""
        return {**self._old.stamp(), self.key: self.version if version is None else version}

    def require(self, record: Mapping[Any, Any], path: Path | str) -> None:
        """See `Schema`."""
        if self._versions.reads() == NEW and record.get(self.key) == self._new.version:
            return
        self._old.require(record, path)

    def is_new(self, record: Mapping[Any, Any]) -> bool:
        """True for a record of the newer schema."""
        return bool(record.get(self.key) == self._new.version)


@dataclass
class Versions:
    """Who runs which version, and what a session began with. `keeps` is the rule that the newer version keeps."""

    checks: Checks
    rng: random.Random
    keeps: bool = True

    def __post_init__(self) -> None:
        chosen = {self.rng.choice(OPENING), *(name for name in (*OPENING, *OTHERS) if self.rng.random() < 0.5)}
        self.raised = {name: RaisedSchema(getattr(schema, name), self) for name in sorted(chosen)}
        self.checks.on_claim = self._claimed

    def _process(self) -> Process | None:
        task = self.checks.world.current
        return task.process if task is not None else None

    def reads(self) -> int:
        """The version of the process that runs; whoever looks from outside has the newer one."""
        process = self._process()
        return NEW if process is None else process.version

    def writes(self) -> int:
        """The version whose records the process that runs writes: into a session, those that it began with."""
        process = self._process()
        if process is None or process.version == OLD or process.session is None or not self.keeps:
            return self.reads()
        return self.began_with(process.session.name)

    def began_with(self, session_id: str) -> int:
        """The version that a session says it is of from its first moment."""
        paths = self.checks.layout.session(session_id)
        places = {"LEDGER": paths.ledger, "JOB": paths.spec}
        opening = [(self.raised[name], places[name]) for name in OPENING if name in self.raised]
        return NEW if any(kind.is_new(self._records(path, one=True)[0]) for kind, path in opening) else OLD

    def _records(self, path: Path, *, one: bool = False) -> list[dict[Any, Any]]:
        found = payloads(self.checks.disk.find(path).data)
        return [unpack(payload) for payload in itertools.islice(found, 1 if one else None)]

    def _claimed(self, session_id: str, version: int) -> None:
        if version < self.began_with(session_id):
            raise ViolationError(f"V1: {session_id} is of a newer version than a worker that claims some of it")

    def check_files(self) -> None:
        """V2: every record of a session is of the version that the session began with."""
        files, layout = self.checks.files, self.checks.layout
        for session_id in files.names(layout.sessions):
            paths, began = layout.session(session_id), self.began_with(session_id)
            for name, path in _files(files.names, paths):
                kind = self.raised.get(name)
                # Of the others the opening record speaks for all, or what follows is columns.
                one = name not in ("SEGMENT", "GENERATION")
                for record in self._records(path, one=one) if kind is not None else []:
                    assert kind is not None
                    if kind.is_new(record) != (began == NEW):
                        raise ViolationError(f"V2: {path} holds records of two versions of {kind.what} in one session")

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The schemas of the package are these; and a record of another version is never called damage."""
        set_aside = SessionRegistry._set_aside
        checks = self.checks

        def never_damage(registry: SessionRegistry, session_id: str, error: Exception) -> None:
            if isinstance(error, CorruptionError) and not checks.has_overwritten:
                raise ViolationError(f"V3: {error}")
            set_aside(registry, session_id, error)

        with contextlib.ExitStack() as stack:
            for name, kind in self.raised.items():
                stack.enter_context(mock.patch.object(schema, name, kind))
            stack.enter_context(mock.patch.object(SessionRegistry, "_set_aside", never_damage))
            yield


def _files(names: Any, paths: SessionPaths) -> Iterator[tuple[str, Path]]:
    yield from (("JOB", paths.spec), ("LEDGER", paths.ledger), ("RESULTS", paths.results))
    yield from (("SEGMENT", paths.segments / name) for name in names(paths.segments))
    yield from (("GENERATION", paths.generations / name) for name in names(paths.generations))
