"""A program that is kept: one line in, one line out, for as long as it behaves.

Standard output belongs to the answers. What else stands there is passed over as long as it cannot be taken for one;
whatever could leave questions and answers out of step is an error, and the process that did it is not asked again.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import subprocess
from collections.abc import Callable, Mapping
from typing import IO, Any

from arbd.errors import ObjectiveError
from arbd.objective.processes import kill_children, kill_tree
from arbd.objective.program import MAX_OUTPUT_BYTES, TAIL_CHARS, Program, close_pipes, feed, tail
from arbd.values import dataclass

MAX_LINE_BYTES = 1024 * 1024
# A program that sees the end of its input has so long to end by itself.
FAREWELL_S = 1.0
_PIECE = 65_536


# What is said to a program that is not done with its question; None where that is its answer.
Reply = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def no_reply(said: Mapping[str, Any]) -> None:
    """All that it says is its answer."""
    del said


@dataclass(frozen=True, slots=True)
class _Said:
    """What a program said: its answer, if that; what to say to anything else."""

    answer: dict[str, Any] | None
    reply: bytes = b""


class KeptProcess:
    """One run of a program. After an error it is of no more use than to be ended.

    `answered` counts the questions that it answered.
    """

    def __init__(self, program: Program, environment: Mapping[str, str]) -> None:
        self._program = program
        self._process = program.start(environment)
        self.answered = 0
        self._asked = 0
        self._out = bytearray()
        self._err = bytearray()
        self._seen = 0
        self._ended = os.pidfd_open(self._process.pid)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True when it is not there to be asked."""
        return self._process.poll() is not None

    def limit_memory(self) -> None:
        """Give it the bound of private memory that this process has now."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self.pid, resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA))

    def ask(self, question: Mapping[str, Any], own: set[int], reply: Reply = no_reply) -> dict[str, Any]:
        """The answer to a question, which gets an `id` that the answer must repeat.

        What it says before that gets a line back each: what `reply` has no line for is the answer. `own` are the
        children that this process had before. `CommandError` when it ended instead, ObjectiveError when what it said is
        no answer.
        """
        self._asked += 1
        self._seen = 0
        todo = memoryview(json.dumps({"id": self._asked, **question}).encode() + b"\n")
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        is_over = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            while (said := self._said(reply)).answer is None:
                if is_over:
                    raise self._failed()
                if said.reply and not todo:
                    selector.register(stdin, selectors.EVENT_WRITE)
                todo = memoryview(bytes(todo) + said.reply)
                for key, _ in selector.select():
                    if key.fileobj is stdin:
                        todo = feed(stdin, todo)
                        if not todo:
                            selector.unregister(stdin)
                    elif key.fd == self._ended:
                        # What it started may hold its outputs open; what it printed itself is in the pipes.
                        selector.unregister(self._ended)
                        self._read_all(stdout, stderr)
                        kill_children(except_for={*own, self.pid})
                        is_over = True
                    elif self._read(stdout if key.fileobj is stdout else stderr) is False:
                        selector.unregister(key.fileobj)
                        is_over |= key.fileobj is stdout
        if todo:
            raise ObjectiveError(f"the command {self._program.name} answered before it had read the question")
        self.answered += 1
        return said.answer

    def _said(self, reply: Reply) -> _Said:
        """What stands in the whole lines that were read. ObjectiveError where it goes on before it heard the reply."""
        line = self._next_answer()
        back = None if line is None else reply(line)
        if line is None or back is None:
            return _Said(line)
        if self._next_answer() is not None:
            raise ObjectiveError(
                f"the command {self._program.name} did not read what was said to its intermediate value: each one is "
                "answered by a line, which has to be read before it goes on"
            )
        return _Said(None, json.dumps({"id": self._asked, **back}).encode() + b"\n")

    def _failed(self) -> Exception:
        """The error of a process that says nothing more."""
        name = self._program.name
        if self._out:
            return ObjectiveError(
                f"the command {name} ended in the middle of a line: {_shown(bytes(self._out))}{tail(self._err)}"
            )
        try:
            # Its output is closed a moment before it is gone.
            code = self._process.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            return ObjectiveError(f"the command {name} closed its standard output{tail(self._err)}")
        if code == 0:
            return ObjectiveError(f"the command {name} ended without an answer{tail(self._err)}")
        return self._program.failed(code, self._err)

    def _read_all(self, *streams: IO[bytes]) -> None:
        for stream in streams:
            while self._read(stream):
                pass

    def _read(self, stream: IO[bytes]) -> bool | None:
        """Keep what there is: True where there was something, None where there is nothing yet, False at the end."""
        try:
            piece = os.read(stream.fileno(), _PIECE)
        except BlockingIOError:
            return None
        self._seen += len(piece)
        if self._seen > MAX_OUTPUT_BYTES:
            most = MAX_OUTPUT_BYTES // 1024 // 1024
            raise ObjectiveError(f"the command {self._program.name} printed more than {most} MiB for one question")
        if stream is self._process.stdout:
            self._out += piece
        else:
            self._err += piece
            del self._err[: -4 * TAIL_CHARS]
        return bool(piece)

    def _next_answer(self) -> dict[str, Any] | None:
        """The answer among the whole lines that were read; None when there is none yet."""
        while (end := self._out.find(b"\n")) >= 0:
            line = bytes(self._out[:end]).strip()
            del self._out[: end + 1]
            if len(line) > MAX_LINE_BYTES:
                break
            if not (line.startswith(b"{") or line.endswith(b"}")):
                # A banner, a warning, a bar of progress: nobody takes it for an answer.
                continue
            return self._checked(line)
        if end >= 0 or len(self._out) > MAX_LINE_BYTES:
            raise ObjectiveError(
                f"the command {self._program.name} printed a line of more than {MAX_LINE_BYTES // 1024 // 1024} MiB"
            )
        return None

    def _checked(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ObjectiveError(
                f"the command {self._program.name} printed what is no answer ({error}): {_shown(line)}; "
                "what is not for arbd belongs on standard error"
            ) from error
        if not isinstance(answer, dict) or type(answer.get("id")) is not int:
            raise ObjectiveError(
                f"the command {self._program.name} answered without the question's id: {_shown(line)}; "
                'expected {"id": ..., "metrics": {...}}'
            )
        if answer["id"] != self._asked:
            raise ObjectiveError(
                f"the command {self._program.name} answered question {answer['id']} when it was asked "
                f"question {self._asked}: each line gets one answer, in order"
            )
        return answer

    def end(self, own: set[int], within_s: float = 0.0) -> None:
        """End it and everything below it; it is asked to by the end of its input first, and has so long to go."""
        if within_s and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(within_s)
        if self._process.returncode is None:
            kill_tree(self.pid)
            self._process.wait()
        kill_children(except_for=own)
        close_pipes(self._process)
        os.close(self._ended)


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace")
    return repr(text if len(text) <= 200 else text[:197] + "...")
