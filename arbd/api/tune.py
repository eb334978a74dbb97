"""Searches from Python: here, in processes of this host, or by the daemons of a spool.

The work is done by the same command that a shell would use, in a process of its own: a session that is begun here is as
durable as any other, and goes on after a kill, from Python or from a shell.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from arbd.api import arguments
from arbd.api.functions import function_job
from arbd.api.job import SOURCE, Job
from arbd.api.own_spool import functions_folder, own_spool
from arbd.api.progress import progress_view
from arbd.api.session import Session
from arbd.errors import ArbdError, JobError, NotFoundError, Problem, UnopenedError, UsageError
from arbd.private_folder import OWN, private_folder
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import new_session_id
from arbd.spool.submitted import Submitted, submitted
from arbd.spool.system import SystemClock

POLL_S = 0.1
DRAIN_S = 15.0
MAX_WORKERS = 1_024
_BAD_JOB = 2
_LINE = re.compile(r"^line \d+: ")
_EXTEND = re.compile(r"`arbctl extend \S+ --iterations (\d+)`")
# Of a line of the log; quotes within are escaped as in JSON.
_REASON = re.compile(r' reason=("(?:[^"\\]|\\.)*")')


def tune(
    job: Job | None = None,
    *,
    workers: int | None = None,
    spool: str | Path | None = None,
    session_id: str | None = None,
    progress: bool = True,
    **fields: Any,
) -> Session:
    """Search here, in `workers` processes (one per processor), until the session is done.

    Give a job, or the fields of one. Without `spool` the session is in one of this user's own. The same call with the
    `session_id` of a session that was interrupted goes on where it was; Ctrl-C leaves one that can. A function as
    objective is carried to the processes with cloudpickle, as it was when the session began: such a session can be worked
    on by this user on this host alone.

    JobError names what is wrong with the job, ArbdError why the session could not be evaluated.
    """
    job = _job(job, fields, "arbd.tune")
    if workers is not None:
        workers = arguments.integer(workers, "workers", 1, MAX_WORKERS)
    if session_id is not None:
        arguments.name(session_id, "session_id")
    root = private_folder(own_spool(), OWN) if spool is None else arguments.path(spool, "spool")
    layout = SpoolLayout(root)
    layout.prepare()
    name = session_id or job.fields.get("session_id") or new_session_id(layout.files(), SystemClock())
    with _job_file(job, name) as (path, folder):
        words = [
            "--json",
            "run",
            str(path),
            "--session-id",
            name,
            *(["--workers", str(workers)] if workers is not None else []),
        ]
        _work(layout, name, path, words, folder, progress=progress)
    session = Session(layout.root, name)
    if text := session.failures_text():
        warnings.warn(text, stacklevel=2)
    return session


def submit(
    job: Job | None = None,
    *,
    spool: str | Path,
    session_id: str | None = None,
    timeout_s: float | None = 30.0,
    **fields: Any,
) -> Session:
    """Give a job to the daemons of a spool; its session.

    Returns once a daemon has taken the job up, or after `timeout_s` (None: waits as long as it takes). Returns after about
    2 s when no daemon is running, unless `timeout_s` is None. A warning says why nobody has taken it up; the session's
    `status()` is `queued`, with the reason, until a daemon is there, and `wait()` waits for that too.

    JobError names what is wrong with the job, here or where it was refused. UsageError for a job that is no single session:
    with `each`, or a `schedule`.
    """
    if timeout_s is not None:
        timeout_s = arguments.seconds(timeout_s, "submit: timeout_s")
    job = _job(job, fields, "arbd.submit")
    if session_id is not None:
        arguments.name(session_id, "session_id")
    if job.function is not None:
        raise UsageError(
            "a function of this process can be tuned on this host alone (arbd.tune): put it into a module that the daemons "
            "can import, and name it as objective={'python': 'module:function'}"
        )
    _require_one_session(job)
    layout = SpoolLayout(arguments.path(spool, "spool"))
    layout.prepare_to_submit()
    known = session_id or job.fields.get("session_id")
    # A refusal of an earlier job of that name says nothing of this one.
    before = submitted(layout.files(), layout, known) if known else None
    with _job_file(job, "") as (path, folder):
        words = ["--json", "submit", str(path), *(["--session-id", session_id] if session_id is not None else [])]
        done = subprocess.run(  # noqa: S603 - this Python and a job of the caller
            _command(layout.root, words), cwd=folder, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise _error(done.returncode, done.stderr, path)
    name = str(json.loads(done.stdout)["session_id"])
    session = Session.of(before if before is not None and before.session_id == name else Submitted(layout, name))
    if why := session.wait_until_begun(timeout_s):
        warnings.warn(why, stacklevel=2)
    return session


def _require_one_session(job: Job) -> None:
    """What is submitted from Python is held as one session."""
    makes = {"each": "makes several sessions", "schedule": "makes a standing job, which begins sessions of its own"}
    for name, what in makes.items():
        if job.fields.get(name) is not None:
            raise UsageError(
                f"{name} {what}, and arbd.submit returns one: write the job into a file and say `arbctl submit FILE`, or "
                f"leave {name} out"
            )


def _job(job: object, fields: dict[str, Any], what: str) -> Job:
    if job is not None and not isinstance(job, Job):
        # What people have at hand first: a function, a mapping of fields, a path.
        instead = {True: "objective=f"}.get(callable(job), "**fields" if isinstance(job, Mapping) else "")
        instead = instead or ("arbd.Job.load(path)" if isinstance(job, str | Path) else "arbd.Job(...)")
        raise UsageError(
            f"{what} takes an arbd.Job, or fields by name; given was {arguments.shown(job)}: say {what}({instead})"
        )
    if job is None:
        return Job(**fields)
    return job.but(**fields) if fields else job


@contextlib.contextmanager
def _job_file(job: Job, name: str) -> Iterator[tuple[Path, Path]]:
    """The job as a file for a command, and the folder from which relative paths are looked for."""
    if job.function is not None:
        yield function_job(job, name, functions_folder()), job.folder
        return
    with tempfile.TemporaryDirectory(prefix="arbd-job-") as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(job.to_yaml(), encoding="utf-8")
        yield path, job.folder


def _command(spool: Path, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "arbd.cli", "--spool", str(spool), *words]


def _work(layout: SpoolLayout, name: str, file: Path, words: Sequence[str], folder: Path, *, progress: bool) -> None:
    """Run the command until it ends, and show how far the session is."""
    queue = SessionQueue(layout.files(), layout.session(name))
    with tempfile.TemporaryFile() as said:
        # In a session of its own: what a terminal sends on Ctrl-C reaches it from here alone, and once.
        child = subprocess.Popen(  # noqa: S603 - as above
            _command(layout.root, words), cwd=folder, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            with progress_view(name, quiet=not progress) as view:
                while child.poll() is None:
                    time.sleep(POLL_S)
                    with contextlib.suppress(NotFoundError, UnopenedError):
                        view.show(queue.refresh())
                with contextlib.suppress(NotFoundError, UnopenedError):
                    view.show(queue.refresh(), force=True)
        finally:
            if child.poll() is None:
                _end(child)
        if child.returncode:
            raise _error(child.returncode, _text(said), file)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace")


def _error(code: int, said: str, file: Path) -> ArbdError:
    """What a command said on standard error of a job's `file`, without its own name before it."""
    lines = said.strip()
    reasons = _REASON.findall(lines)
    if "the reason is above" in lines and reasons:
        return ArbdError(str(json.loads(reasons[-1])))
    text = lines.removeprefix("arbctl: ").strip() or f"the command ended with code {code}"
    # Options of a command are arguments here.
    text = _EXTEND.sub(r"`session.extend(\1)`", text.replace("--session-id", "session_id"))
    if code != _BAD_JOB:
        return ArbdError(text)
    head, _, faults = text.partition("\n")
    # File and lines are what the caller does not have; the fields are his.
    one = re.compile(rf"{re.escape(str(file))}(, line \d+)?: ").match(head)
    if faults:
        found = [_LINE.sub("", fault.strip()) for fault in faults.splitlines()]
    elif one is not None:
        found = [head[one.end() :]]
    else:
        return UsageError(head)
    return JobError(SOURCE, [Problem(each) for each in found])
