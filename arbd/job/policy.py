"""What may run and what may be read on this host. Keeps I7: what is not on the list does not run.

Asked when a job is taken up, and again by the process that evaluates: the resolved job was written by another host.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.named_file import ReadRule
from arbd.values import dataclass

INTERPRETER = "interpreter:"
_WILD = re.compile(r"[*?\[]")


def pattern_of(objective: ObjectiveSpec) -> str:
    """How the list names exactly this objective: `paper`, `python:pkg.mod:function`, `command:/usr/bin/prog`."""
    return f"{objective.kind}:{objective.target[0]}" if objective.target else objective.kind


def patterns_of(objective: ObjectiveSpec) -> tuple[str, ...]:
    """All that a list needs for exactly this objective: what runs, and the interpreter that runs it."""
    interpreter = (interpreter_pattern(objective.interpreter),) if objective.interpreter else ()
    return (pattern_of(objective), *interpreter)


def interpreter_pattern(path: str) -> str:
    """How the list names an interpreter: `interpreter:/opt/venvs/alpha/bin/python`."""
    return f"{INTERPRETER}{path}"


def interpreter_fault(path: str) -> str | None:
    """Why an interpreter cannot be used on this host."""
    if shutil.which(path) is None:
        return f"{path!r} is no program on this host, or may not be executed"
    return written_by_anybody(Path(path))


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """True when `path`, with all its links followed, is in one of the folders."""
    found = path.resolve()
    return any(found.is_relative_to(folder.resolve()) for folder in folders)


def written_by_anybody(path: Path) -> str | None:
    """Why code in this file is anybody's: it, or a folder on the way to it, is writable by all users of the host."""
    real = path.resolve()
    for place in dict.fromkeys((real, *path.absolute().parents, *real.parents)):
        found = place.stat()
        mode = found.st_mode
        if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"{place} can be written by every user of this host: chmod o-w {shlex.quote(str(place))}"
        if place.parent.stat().st_mode & stat.S_IWOTH and found.st_uid not in (0, os.geteuid()):
            return (
                f"{place} belongs to user {found.st_uid}, who may have been the first to make it in {place.parent}, where "
                f"everybody can: move it, or chown it"
            )
    return None


@dataclass(frozen=True, slots=True)
class ObjectivePolicy:
    """A list of patterns as of `patterns_of`, in which `*` and `?` stand for any characters, and folders of data.

    A command that a pattern with `*` allows must be in place with all links followed and `..` resolved: what matters
    is the program that would run, not a name that leads to it. Where `data_dirs` names no folder, what every user of the
    host may read is read (the folders on the way count), and what is this user's own; None: any data may be read.
    """

    allow: tuple[str, ...] = ("paper",)
    data_dirs: tuple[Path, ...] | None = None

    def check(self, objective: ObjectiveSpec) -> str | None:
        """None when the objective may run, else why not and what an administrator can do."""
        name = pattern_of(objective)
        allowed = self._allows_command if objective.kind == "command" else self._allows
        if not allowed(name):
            return self._refusal("objective", name)
        if objective.interpreter and not self._allows_interpreter(objective.interpreter):
            return self._refusal("interpreter", interpreter_pattern(objective.interpreter))
        return None

    def _refusal(self, what: str, name: str) -> str:
        return (
            f"the {what} {name[:200]} is not allowed on this host (allowed: {', '.join(self.allow) or 'nothing'}); "
            f"an administrator can add {name[:200]!r} to `allow` in the daemon's settings"
        )

    @property
    def reading(self) -> ReadRule:
        """The rule for files that jobs name, with which they are opened."""
        return ReadRule(self.data_dirs)

    def check_data(self, path: Path) -> str | None:
        """None when the file may be read, else why not and what an administrator can do."""
        return self.reading.refusal(path)

    def check_job(self, spec: JobSpec) -> str | None:
        """None when this host may evaluate the job, else why not."""
        refusals = [self.check(spec.objective), *(self.check_data(Path(p)) for p in (*spec.data, *spec.scenarios))]
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _allows(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.allow)

    def _allows_interpreter(self, path: str) -> bool:
        """Its own name counts, by which it knows its environment; the folder it is in must be where it says."""
        place = str(Path(path).parent.resolve() / Path(path).name)
        for pattern in self.allow:
            wanted = pattern.removeprefix(INTERPRETER)
            if pattern in ("*", f"{INTERPRETER}*"):
                return True
            if not pattern.startswith(INTERPRETER) or os.path.normpath(path) != path:
                continue
            if wanted == path or (_WILD.search(wanted) and fnmatch.fnmatchcase(place, wanted)):
                return True
        return False

    def _allows_command(self, name: str) -> bool:
        program = name.removeprefix("command:")
        for pattern in self.allow:
            wanted = pattern.removeprefix("command:")
            if pattern in ("*", "command:*") or (pattern == name and os.path.normpath(program) == program):
                return True
            wild = _WILD.search(wanted)
            if wild is None or not pattern.startswith("command:"):
                continue
            head, slash, tail = wanted[: wild.start()].rpartition("/")
            if not slash:
                if "/" not in program and fnmatch.fnmatchcase(program, wanted):
                    return True
                continue
            found = shutil.which(program)
            real = f"{glob.escape(str(Path(head or '/').resolve()))}/{tail}{wanted[wild.start() :]}".replace("//", "/")
            if found is not None and fnmatch.fnmatchcase(str(Path(found).resolve()), real):
                return True
        return False
