"""Objectives that are programs: parameters as JSON on standard input, metrics as JSON in the last line printed."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.objective.processes import children, kill_children, kill_tree
from arbd.objective.program import MAX_OUTPUT_BYTES, CommandError, Program, feed, tail
from arbd.objective.protocol import Outcome, Params, Trial, check_outcome

__all__ = ["CommandError", "CommandEvaluator"]


class CommandEvaluator:
    """Starts the program once per iteration, without a shell and with a clean environment."""

    plain = None
    batch = False
    kept: frozenset[int] = frozenset()

    def __init__(self, spec: JobSpec, *, verify: bool) -> None:
        arguments = spec.objective.target
        self._program = Program(arguments, spec.digests.get(f"command:{arguments[0]}") if verify else None)
        self._fixed = dict(spec.fixed)

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`. Whatever the program started ends with it, and with this process.

        CodeChangedError when the file is not the one that was loaded any more.
        """
        self._program.require_unchanged()
        environment = {
            "ARBD_ITERATION": str(trial.iteration),
            "ARBD_SEED": str(trial.seed),
            "ARBD_SESSION_ID": trial.session_id,
            "ARBD_BUDGET": repr(trial.budget),
        }
        if trial.window is not None:
            start, end = trial.window
            environment |= {"ARBD_WINDOW_FROM_NS": str(start), "ARBD_WINDOW_TO_NS": str(end)}
        own = children()
        with self._program.start(environment) as process:
            try:
                out, err = _exchange(
                    process, json.dumps(trial.setting.changed({**self._fixed, **params})).encode(), own
                )
            except BaseException:
                kill_tree(process.pid)
                raise
            finally:
                kill_children(except_for={*own, process.pid})
        self._program.require_unchanged()
        if process.returncode:
            raise self._program.failed(process.returncode, err)
        return check_outcome(metrics_line(out, err), trial)

    def close(self) -> None:
        """See `Evaluator`."""

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """A command evaluates one set at a time."""
        raise ObjectiveError("a command has no evaluate_batch")


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
                    todo = feed(process.stdin, todo)
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


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON whose names stand once: which of two values counts, readers decide differently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ObjectiveError(f"the command's last line has {twice!r} twice: which one counts?")
    return found


def metrics_line(out: bytes, err: bytes) -> object:
    """What the last line of `out` says as JSON; ObjectiveError, with the end of `err`, where there is none."""
    lines = out.decode(errors="replace").strip().splitlines()
    if not lines:
        raise ObjectiveError(
            f"the command printed nothing; expected one JSON object of metrics as its last line{tail(err)}"
        )
    try:
        return json.loads(lines[-1], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        shown = lines[-1] if len(lines[-1]) <= 200 else lines[-1][:197] + "..."
        raise ObjectiveError(f"the command's last line is not JSON ({error}): {shown}") from error
