"""The program of an objective on this host: found, checked, started without a shell in a clean environment, and ended."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from arbd.errors import CodeChangedError, DataError, ObjectiveError
from arbd.job.digests import not_the_same
from arbd.job.policy import written_by_anybody
from arbd.named_file import MAX_PROGRAM_BYTES, NamedFile, open_named
from arbd.objective.processes import adopt_orphans

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


class Program:
    """A program and its arguments. ObjectiveError when it is not on this host, or is anybody's, or not the `expected` one.

    `expected` is the SHA-256 of its file; None where it is not compared.
    """

    def __init__(self, arguments: Sequence[str], expected: str | None) -> None:
        self.name = arguments[0]
        self._arguments = list(arguments)
        path = shutil.which(self.name)
        if path is None:
            raise ObjectiveError(f"the command {self.name} is not on this host, or may not be executed")
        reason = written_by_anybody(Path(path).resolve())
        if reason is not None:
            raise ObjectiveError(f"the command {self.name}: {reason}")
        # Taken before it is looked at; its ctime no writer can set back.
        self._signature = _signature(path)
        self._path = path
        self._file = self._opened(expected)

    def _opened(self, expected: str | None) -> NamedFile | None:
        """The very file that is checked, from which it is started; None for a script, whose interpreter wants its path.

        ObjectiveError when it is not the `expected` one.
        """
        try:
            file = open_named(Path(self._path), MAX_PROGRAM_BYTES)
        except DataError as error:
            if expected is None:
                # One that may be executed and not read is started by its name.
                return None
            raise ObjectiveError(f"the command: {self._path} {error.reason}; put it where the job says") from error
        found = file.digest() if expected is not None else None
        if expected is not None and found is not None and found != expected:
            file.close()
            raise not_the_same("the command", Path(self._path), found, expected)
        with file.stream() as stream:
            compiled = stream.read(len(_ELF)) == _ELF
        if not compiled:
            file.close()
            return None
        return file

    def require_unchanged(self) -> None:
        """CodeChangedError when the file is not the one that was looked at any more."""
        if _signature(self._path) != self._signature:
            raise CodeChangedError(f"{self._path} was changed while the session ran")

    def start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start it with pipes, none of which blocks a writer. It has its own session, and dies with this process."""
        adopt_orphans()
        try:
            process = subprocess.Popen(  # noqa: S603 - which programs may run is the policy's to say; no shell is involved
                self._arguments,
                executable=self._path if self._file is None else self._file.place,
                pass_fds=() if self._file is None else (self._file.fd,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**{name: os.environ[name] for name in _PASSED_ON if name in os.environ}, **environment},
                start_new_session=True,
                preexec_fn=_confine,  # noqa: PLW1509 - a slot has one thread
            )
        except OSError as error:
            self._require_program(error)
            raise
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _require_program(self, error: OSError) -> None:
        """ObjectiveError where what the job names is there, and is nothing that this host can start."""
        if error.errno == errno.ENOEXEC:
            raise ObjectiveError(
                f"the command {self._path} is no program of this host: a script's first line is one such as #!/bin/sh"
            ) from error
        if error.errno == errno.ENOENT and _signature(self._path):
            raise ObjectiveError(
                f"the command {self._path}: its first line names an interpreter that is not there (where lines end as on "
                "Windows, their ends count as part of the name)"
            ) from error

    def failed(self, code: int, err: bytes | bytearray) -> CommandError:
        """The error of a run that ended with this status, after this output."""
        return CommandError(f"{self.name} {_ending(code)}{tail(err)}")


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


def feed(stdin: IO[bytes], todo: memoryview) -> memoryview:
    """Write what the pipe takes now; what is left. Nothing is left for a program that reads no more."""
    try:
        return todo[os.write(stdin.fileno(), todo[:65_536]) :]
    except BlockingIOError:
        return todo
    except BrokenPipeError:
        # A program need not read its parameters.
        return memoryview(b"")


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def tail(err: bytes | bytearray) -> str:
    """The end of what a program wrote, for an error."""
    text = err.decode(errors="replace").strip()[-TAIL_CHARS:]
    return f"; its final output: {text}" if text else ""


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close this side of a process's pipes."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            # What was still to be written to a program that is gone is nobody's.
            with contextlib.suppress(OSError):
                pipe.close()
