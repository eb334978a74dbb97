"""Every error that arbd raises on purpose.

    ArbdError                  exit 1   what, where and what to do next, in one line
    ├── UsageError             exit 2   the command line or the configuration is wrong
    │   └── PluginError        exit 2   a part of another distribution is broken, or claims a name that is taken
    ├── JobError               exit 2   a job file is wrong; carries every problem found, with its place
    ├── DataError              exit 2   market data is wrong or missing: file, row and reason
    ├── NotFoundError          exit 3   the session, iteration or worker asked for does not exist
    │   └── NotBegunError      exit 3   a job was submitted, and no worker has made it a session yet
    ├── VersionError           exit 4   a record of another version of arbd, which this one does not read; nothing is wrong
    ├── SpoolError             exit 4   the spool is unreachable or unsafe to use
    │   ├── CorruptionError    exit 4   a record in the middle of a spool file is damaged: file and offset
    │   └── UnsafePathError    exit 4   a name in the spool is a link, a pipe or a device, or leads out of it
    ├── ObjectiveError         exit 1   an objective broke its contract (not a mapping, not a number, ...)
    │   └── CodeChangedError   exit 1   this host has other code than the session is computed with
    ├── DeliveryError          exit 1   a notice could not be delivered: who refused it, or did not answer
    ├── TrialPruned            exit 1   an iteration is to end: raised in objectives, and by them
    └── NotComputableError     exit 1   a statistic cannot be computed from what there is; says why and what it takes

Expected outcomes (a lost claim, a cancelled session, an iteration that timed out) are values, not errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arbd import __version__
from arbd.values import dataclass

MAX_PROBLEMS_SHOWN = 50


class ArbdError(Exception):
    """Base of all deliberate errors; `exit_code` is what a command line returns for it."""

    exit_code = 1

    def __str__(self) -> str:
        # What a file holds may be half of a character, which can be written nowhere.
        return self.told().encode(errors="backslashreplace").decode()

    def told(self) -> str:
        """Its text."""
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        # As they are, whatever their constructors take: they come back from the processes of slots.
        return _as_it_was, (type(self), self.args, self.__dict__.copy())


def _as_it_was(kind: type[ArbdError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> ArbdError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class UsageError(ArbdError):
    """The command line or the daemon's configuration is wrong."""

    exit_code = 2


class PluginError(UsageError):
    """What another distribution offers cannot be loaded, is not what it should be, or has a name that is taken."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a job file: `field` is a dotted path, `line` and `column` count from 1 (0 = unknown).

    `here` is True for what is wrong on this host, and may be right on another.
    """

    message: str
    field: str = ""
    line: int = 0
    column: int = 0
    here: bool = False

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.field}: {self.message}" if self.field else f"{place}{self.message}"


class JobError(ArbdError):
    """A job file cannot be accepted. `problems` holds every fault that was found, in the order of the file."""

    exit_code = 2

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        if len(problems) == 1:
            super().__init__(_in_one_line(source, problems[0]))
            return
        lines = [f"  {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
        if len(problems) > MAX_PROBLEMS_SHOWN:
            lines.append(f"  and {len(problems) - MAX_PROBLEMS_SHOWN:,} more")
        super().__init__("\n".join([f"{source}: {len(problems)} problems", *lines]))

    @property
    def is_of_this_host(self) -> bool:
        """True when another host may accept the job as it is."""
        return bool(self.problems) and all(problem.here for problem in self.problems)

    @classmethod
    def of(cls, source: str, message: str) -> JobError:
        """A job error about the file as a whole."""
        return cls(source, [Problem(message)])


def _in_one_line(source: str, problem: Problem) -> str:
    place = f"{source}, line {problem.line}" if problem.line else source
    return f"{place}: {problem.field}: {problem.message}" if problem.field else f"{place}: {problem.message}"


class DataError(ArbdError):
    """Market data is wrong or missing. `row` counts data rows from 1; None where no single row is to blame."""

    exit_code = 2

    def __init__(self, path: Path | str, reason: str, row: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.row = row
        place = f"{path}, row {row}" if row is not None else str(path)
        super().__init__(f"{place}: {reason}")


class NotFoundError(ArbdError):
    """The session, iteration or worker asked for does not exist."""

    exit_code = 3


class NotBegunError(NotFoundError):
    """A job was submitted, and no worker has made it a session yet: why."""


class NoSessionError(NotFoundError):
    """There is no session of that id in `sessions`, the spool's folder of them; `session_id` may name a job that is none.

    `hint` names one that was perhaps meant.
    """

    def __init__(self, session_id: str, sessions: Path, hint: str = "") -> None:
        self.session_id = session_id
        self.sessions = sessions
        super().__init__(f"no session {session_id} in {sessions}: {hint}see `arbctl list`")


class VersionError(ArbdError):
    """A record that another version of arbd wrote and that this one does not read. It is whole: nothing is damaged.

    `path` is where it stands, `what` which kind of record it is, `reads` the schema that this version reads, `found` the
    record's own (None: it has no number), `writer` the version that wrote it, '' where that is not known.
    """

    exit_code = 4

    def __init__(self, path: Path | str, what: str, reads: int, found: int | None, writer: str = "") -> None:
        self.path = path
        self.what = what
        self.reads = reads
        self.found = found
        self.writer = writer
        who = f"arbd {writer}" if writer else "another version of arbd"
        schema = f"{what} schema {found}" if found is not None else f"no {what} schema number"
        remedy = (
            "read it with the version that wrote it"
            if found is not None and found < reads
            else "upgrade arbd on this host"
        )
        super().__init__(
            f"{path}: written by {who}, with {schema}; this is arbd {__version__}, which reads {what} schema {reads}: "
            f"{remedy}; nothing is wrong with the file"
        )

    def of(self, path: Path | str) -> VersionError:
        """The same, said of the file that holds the record."""
        return VersionError(path, self.what, self.reads, self.found, self.writer)


class SpoolError(ArbdError):
    """The spool is unreachable, read-only, unsafe, or does not have the form of a spool."""

    exit_code = 4


class CorruptionError(SpoolError):
    """A record in the middle of a spool file is damaged (a torn tail is normal and is not this)."""

    def __init__(self, path: Path | str, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(f"{path}, byte {offset}: {reason}")


class UnopenedError(CorruptionError):
    """A ledger without the record that opens its session: damaged, or not yet shown by the filesystem."""

    def __init__(self, path: Path | str, session_id: str) -> None:
        super().__init__(
            path,
            0,
            "the record that opens a session is missing; where it stays so, "
            f"`arbctl repair {session_id}` makes it from the session's job",
        )


class DamageWarning(UserWarning):
    """A file of the spool is damaged, and what was asked for came from elsewhere, or is short by what is said.

    Commands show it on standard error.
    """


class UnsafePathError(SpoolError, OSError):
    """A name in the spool is not the file or folder that belongs there: a link, a pipe, a device, a way out.

    An OSError too: to whoever works on other sessions it is one more file that cannot be used now.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path} {reason}")
        self.filename = str(path)

    def told(self) -> str:
        """See `ArbdError`."""
        return f"{self.filename} {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        return UnsafePathError, (self.filename, self.reason)


class ObjectiveError(ArbdError):
    """An objective cannot be loaded or broke its contract."""


class TrialPruned(ArbdError):  # noqa: N818 - no error, and the name that the field knows
    """An iteration ends before its time, because it is not worth going on with.

    `trial.report` raises it where the job's `prune` says so; an objective may raise it for reasons of its own.
    """


class CodeChangedError(ObjectiveError):
    """This host has other code than the session is computed with, or has it since a moment ago."""


class DeliveryError(ArbdError):
    """A notice was not taken by whom it was for; it may be tried again."""


class NotComputableError(ArbdError):
    """A statistic cannot be computed from what there is. The message is the reason, and what it would take."""
