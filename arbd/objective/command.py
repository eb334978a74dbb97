"""Objectives that are programs: parameters as JSON on standard input, metrics as JSON in the last line printed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from arbd.errors import CodeChangedError, DataError, ObjectiveError
from arbd.job.digests import not_the_same
from arbd.job.policy import written_by_anybody
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.named_file import MAX_PROGRAM_BYTES, NamedFile, open_named
from arbd.objective.processes import adopt_orphans, children, kill_children, kill_tree
from arbd.objective.protocol import Outcome, Params, Trial, check_outcome

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
TAIL_CHARS = 1_000
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, 1024),
    (resource.RLIMIT_FSIZE, 4 * 1024 * 1024 * 1024),
)
_libc = ctypes.CDLL(None)
_ELF = b"\x7fELF"


class CommandError(Exception):
    """The program failed: its exit status and what it wrote last. Tried again like any exception."""


class CommandEvaluator:
    """Starts the program once per iteration, without a shell and with a clean environment."""

    batch = False

    def __init__(self, spec: JobSpec, *, verify: bool) -> None:
        self._arguments = list(spec.objective.target)
        program = shutil.which(self._arguments[0])
        if program is None:
            raise ObjectiveError(f"the command {self._arguments[0]} is not on this host, or may not be executed")
        reason = written_by_anybody(Path(program).resolve())
        if reason is not None:
            raise ObjectiveError(f"the command {self._arguments[0]}: {reason}")
        # Taken before it is looked at; its ctime no writer can set back.
        self._signature = _signature(program)
        self._program = program
        self._file = self._opened(spec.digests.get(f"command:{self._arguments[0]}") if verify else None)
        self._fixed = dict(spec.fixed)

    def _opened(self, expected: str | None) -> NamedFile | None:
        """The very file that is checked, from which it is started; None for a script, whose interpreter wants its path.

        ObjectiveError when it is not the `expected` one.
        """
        try:
            file = open_named(Path(self._program), MAX_PROGRAM_BYTES)
        except DataError as error:
            if expected is None:
                # One that may be executed and not read is started by its name.
                return None
            raise ObjectiveError(f"the command: {self._program} {error.reason}; put it where the job says") from error
        found = file.digest() if expected is not None else None
        if expected is not None and found is not None and found != expected:
            file.close()
            raise not_the_same("the command", Path(self._program), found, expected)
        with file.stream() as stream:
            compiled = stream.read(len(_ELF)) == _ELF
        if not compiled:
            file.close()
            return None
        return file

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`. Whatever the program started ends with it, and with this process.

        CodeChangedError when the file is not the one that was loaded any more.
        """
        self._require_unchanged()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "ARBD_ITERATION": str(trial.iteration),
            "ARBD_SEED": str(trial.seed),
            "ARBD_SESSION_ID": trial.session_id,
            "ARBD_BUDGET": repr(trial.budget),
        }
        if trial.window is not None:
            start, end = trial.window
            environment |= {"ARBD_WINDOW_FROM_NS": str(start), "ARBD_WINDOW_TO_NS": str(end)}
        adopt_orphans()
        own = children()
        with subprocess.Popen(  # noqa: S603 - which programs may run is the policy's to say; no shell is involved
            self._arguments,
            executable=self._program if self._file is None else self._file.place,
            pass_fds=() if self._file is None else (self._file.fd,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=_confine,  # noqa: PLW1509 - a slot has one thread
        ) as process:
            try:
                out, err = _exchange(
                    process, json.dumps(trial.setting.changed({**self._fixed, **params})).encode(), own
                )
            except BaseException:
                kill_tree(process.pid)
                raise
            finally:
                kill_children(except_for={*own, process.pid})
        self._require_unchanged()
        if process.returncode:
            raise CommandError(f"{self._arguments[0]} {_ending(process.returncode)}{_tail(err)}")
        return check_outcome(_last_line(out, err), trial)

    def _require_unchanged(self) -> None:
        if _signature(self._program) != self._signature:
            raise CodeChangedError(f"{self._program} was changed while the session ran")

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """A command evaluates one set at a time."""
        raise ObjectiveError("a command has no evaluate_batch")


def _signature(program: str) -> tuple[int, ...]:
    try:
        found = os.stat(program)  # noqa: PTH116 - once or twice per iteration
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _confine() -> None:
    """In the new process, before the program: it dies with the slot, gains no privileges, dumps no core."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs cannot be set")
    os.umask(0o077)
    for limit, most in _LIMITS:
        hard = resource.getrlimit(limit)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (bound, bound))


def _exchange(process: subprocess.Popen[bytes], data: bytes, own: set[int]) -> tuple[bytes, bytes]:
    """Write `data`, read both outputs to their ends; ObjectiveError when they are too long to keep.

    `own` are the children that this process had before.
    """
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    kept: dict[object, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    todo = memoryview(data)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        ended = os.pidfd_open(process.pid)
        stack.callback(os.close, ended)
        selector.register(ended, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                stream = key.fileobj
                if isinstance(stream, int):
                    # What it started may hold its outputs open for ever; what it printed itself is in the pipes.
                    selector.unregister(stream)
                    kill_children(except_for={*own, process.pid})
                    continue
                if stream is process.stdin:
                    todo = _feed(process.stdin, todo)
                    if not todo:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                piece = os.read(key.fd, 65_536)
                if not piece:
                    selector.unregister(stream)
                    continue
                kept[stream].extend(piece)
                if sum(map(len, kept.values())) > MAX_OUTPUT_BYTES:
                    raise ObjectiveError(f"the command printed more than {MAX_OUTPUT_BYTES // 1024 // 1024} MiB")
    return bytes(kept[process.stdout]), bytes(kept[process.stderr])


def _feed(stdin: IO[bytes], todo: memoryview) -> memoryview:
    try:
        return todo[os.write(stdin.fileno(), todo[:65_536]) :]
    except BrokenPipeError:
        # A program need not read its parameters.
        return memoryview(b"")


def _last_line(out: bytes, err: bytes) -> object:
    lines = out.decode(errors="replace").strip().splitlines()
    if not lines:
        raise ObjectiveError(
            f"the command printed nothing; expected one JSON object of metrics as its last line{_tail(err)}"
        )
    try:
        return json.loads(lines[-1])
    except ValueError as error:
        shown = lines[-1] if len(lines[-1]) <= 200 else lines[-1][:197] + "..."
        raise ObjectiveError(f"the command's last line is not JSON ({error}): {shown}") from error


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def _tail(err: bytes) -> str:
    text = err.decode(errors="replace").strip()[-TAIL_CHARS:]
    return f"; its final output: {text}" if text else ""
