"""Where everything in the spool lives, and whether a folder can be used as one."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.errors import SpoolError, UnsafePathError, UsageError
from arbd.spool import place
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.spool.files import Files

NAME_PATTERN = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe as one path component, else UsageError; `what` says what it names."""
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{what} {name!r} is not usable: 1 to 64 letters, digits, '.', '_' or '-', and no '.' first")
    return name


def _require_sticky(folder: Path, found: os.stat_result) -> None:
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        quoted = shlex.quote(str(folder))
        raise SpoolError(
            f"{folder} can be written by everybody and has no sticky bit, so that everybody can rename and remove what "
            f"is in it: chmod o-w {quoted}, or chmod +t {quoted} where strangers may drop jobs"
        )


@dataclass(frozen=True, slots=True)
class SessionPaths:
    """The files of one session."""

    folder: Path

    @property
    def session_id(self) -> str:
        """The id, which is the folder's name."""
        return self.folder.name

    @property
    def job(self) -> Path:
        """The job as it was submitted."""
        return self.folder / "job.yaml"

    @property
    def spec(self) -> Path:
        """The job resolved."""
        return self.folder / "spec.msgpack"

    @property
    def ledger(self) -> Path:
        """The claim log."""
        return self.folder / "ledger"

    @property
    def ledger_lock(self) -> Path:
        """Held while the ledger is touched."""
        return self.folder / "ledger.lock"

    @property
    def segments(self) -> Path:
        """Folder of result segments, one writer each."""
        return self.folder / "segments"

    @property
    def generations(self) -> Path:
        """Folder of the suggestions of adaptive samplers."""
        return self.folder / "generations"

    @property
    def generations_lock(self) -> Path:
        """Held by the one worker that computes the next generation."""
        return self.folder / "generations.lock"

    @property
    def code(self) -> Path:
        """Folder of what is known of the code that makes the session's rows."""
        return self.folder / "code"

    @property
    def code_lock(self) -> Path:
        """Held while something is added there."""
        return self.folder / "code.lock"

    @property
    def results(self) -> Path:
        """The compacted results of a finished session."""
        return self.folder / "results.msgpack"

    @property
    def results_csv(self) -> Path:
        """The results as a table, when the job asks for it."""
        return self.folder / "results.csv"

    @property
    def compaction_lock(self) -> Path:
        """Held by the one worker that compacts the session."""
        return self.folder / "compaction.lock"

    @property
    def csv_lock(self) -> Path:
        """Held by the one worker that keeps `results.csv` current while the session runs."""
        return self.folder / "csv.lock"


@dataclass(frozen=True, slots=True)
class SpoolLayout:
    """The folders of a spool rooted at `root`."""

    root: Path

    @property
    def incoming(self) -> Path:
        """Where job files land."""
        return self.root / "incoming"

    @property
    def taken(self) -> Path:
        """Job files that a worker took up: their names say which, and how often; see `arbd.spool.held`."""
        return self.incoming / ".taken"

    @property
    def accepting(self) -> Path:
        """Where earlier versions kept job files on their way to a session; what they left there is finished."""
        return self.incoming / ".accepting"

    @property
    def sessions(self) -> Path:
        """One folder per accepted session."""
        return self.root / "sessions"

    @property
    def active(self) -> Path:
        """An empty file for each session that may go on: what daemons look at, however many are over."""
        return self.root / "active"

    @property
    def control(self) -> Path:
        """What administrators ask of workers. Made with the first wish."""
        return self.root / "control"

    @property
    def index(self) -> Path:
        """What is over, in append-only files of one writer each. Made with the first of them."""
        return self.root / "index"

    @property
    def rejected(self) -> Path:
        """Bad jobs, each with a text that says why."""
        return self.root / "rejected"

    @property
    def workers(self) -> Path:
        """Liveness locks and heartbeats."""
        return self.root / "workers"

    @property
    def trials(self) -> Path:
        """How many trials were made on which data: records that stay when sessions go. Made with the first of them."""
        return self.root / "trials"

    @property
    def retention(self) -> Path:
        """What was archived and removed, and who is at it. Made with the first of it."""
        return self.root / "retention"

    @property
    def notices(self) -> Path:
        """Who was told of which session, a log for each target. Made with the first of them."""
        return self.root / "notices"

    @property
    def promotions(self) -> Path:
        """Who gave which winner to a bot: JSON lines, only ever appended to."""
        return self.root / "promotions.jsonl"

    @property
    def promotions_lock(self) -> Path:
        """Of `promotions`."""
        return self.root / "promotions.lock"

    @property
    def refusals(self) -> Path:
        """Why hosts refuse jobs that others may take; see `arbd.spool.refusals`. Made with the first of them."""
        return self.root / "refusals"

    @property
    def standing(self) -> Path:
        """One folder per standing job; see `arbd.spool.standing`. Made with the first of them."""
        return self.root / "standing"

    def session(self, session_id: str) -> SessionPaths:
        """Paths of one session; UsageError when the id could leave the spool."""
        return SessionPaths(self.sessions / check_name(session_id, "session id"))

    def files(self) -> Files:
        """The files of this spool, and no others."""
        from arbd.spool.confined import spool_files  # noqa: PLC0415 - locks, which looking for help does not need

        return spool_files(self.root)

    def folders(self) -> tuple[Path, ...]:
        """Every folder that a spool consists of."""
        return (self.incoming, self.taken, self.accepting, self.sessions, self.active, self.rejected, self.workers)

    def require_readable(self) -> None:
        """SpoolError unless this is a spool that can be read, and that not everybody can rearrange."""
        place.require_folder(self.root)
        try:
            self._require_safe()
            if not self.sessions.is_dir():
                raise place.no_spool(self.root, self.other_things())
        except PermissionError as error:
            raise place.no_access(self.root) from error

    def other_things(self) -> list[str]:
        """What is in this folder although it is no spool, and no part of one; nothing in a spool."""
        try:
            if self.sessions.is_dir():
                return []
            return place.other_things(self.root, {folder.name for folder in self.folders()})
        except PermissionError as error:
            raise place.no_access(self.root) from error

    def prepare(self) -> None:
        """Make the folders of the spool where missing and prove that this host can write; SpoolError if not."""
        import secrets  # noqa: PLC0415 - who only reads makes no names, and should not wait for its import

        place.require_folder(self.root)
        probe = self.root / f".probe-{secrets.token_hex(6)}"
        try:
            files = self.files()
            for folder in self.folders():
                files.make_folder(folder)
            self._require_safe()
            fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
            try:
                os.write(fd, b"arbd")
                os.fsync(fd)
            finally:
                os.close(fd)
        except UnsafePathError:
            raise
        except OSError as error:
            if error.errno == errno.EROFS:
                remedy = "it is mounted read-only: remount it read-write"
            elif isinstance(error, PermissionError):
                remedy = f"user {os.getuid()} may not write there: give that user write permission, or run as another"
            else:
                remedy = "check the mount and the free space"
            raise SpoolError(f"the spool {self.root} cannot be written ({error.strerror}): {remedy}") from error
        finally:
            try:
                probe.unlink(missing_ok=True)
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise

    def prepare_to_submit(self) -> None:
        """As `prepare`, but where the folders are there nobody needs more than the right to drop a job.

        A folder of something else is not made a spool of by who only drops a job: SpoolError.
        """
        place.require_folder(self.root)
        try:
            # Workers of earlier versions make no `.taken` and no `active`, and these are not the submitter's to make.
            if all(folder.is_dir() for folder in self.folders() if folder not in (self.taken, self.active)):
                self._require_safe()
                return
        except PermissionError as error:
            raise place.no_access(self.root) from error
        if others := self.other_things():
            raise place.no_spool(self.root, others)
        self.prepare()

    def _require_safe(self) -> None:
        """SpoolError when users that the spool does not belong to could put something else in its place."""
        root = self.root.stat()
        _require_sticky(self.root, root)
        parents = {self.root: root}
        for folder in (
            *self.folders(),
            self.trials,
            self.index,
            self.control,
            self.refusals,
            self.retention,
            self.notices,
            self.standing,
        ):
            try:
                found = folder.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise UnsafePathError(folder, "is a link or no folder: a spool's folders are real ones; remove it")
            _require_sticky(folder, found)
            # Where everybody may make names, everybody may have been the first to make this one.
            strange = found.st_uid not in (0, root.st_uid, os.geteuid())
            if parents[folder.parent].st_mode & stat.S_IWOTH and strange:
                raise SpoolError(
                    f"{folder} belongs to user {found.st_uid}, who is neither the owner of the spool nor this one: "
                    "whoever could write to the spool made it; move it away"
                )
            parents[folder] = found
