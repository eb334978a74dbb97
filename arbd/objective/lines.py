"""Objectives that are programs which are kept: a JSON line for each iteration, a JSON line back.

Start-up is paid once. What goes wrong in one iteration is its own: the process is ended, and where it had answered
others before, the iteration is asked again of a fresh one first, since what went wrong may be an earlier one's fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError, TrialPruned
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.objective.kept_process import FAREWELL_S, KeptProcess
from arbd.objective.processes import children
from arbd.objective.program import CommandError, Program
from arbd.objective.protocol import Outcome, Params, Trial, check_outcome, the_metric

MAX_ERROR_CHARS = 4_000


def _reply(trial: Trial, said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to answer to an intermediate value; None to what is none. ObjectiveError when it is a broken one."""
    if "step" not in said:
        return None
    step, value = said["step"], said.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ObjectiveError(
            f'an intermediate value is {{"id": ..., "step": ..., "value": a number}}, not {value!r:.80}'
        )
    with contextlib.suppress(TrialPruned):
        trial.report(step, value)
    return {"prune": trial.should_prune()}


class LinesEvaluator:
    """Keeps the program between iterations; it is started when it is first needed."""

    plain = None
    batch = False

    def __init__(self, spec: JobSpec, *, verify: bool) -> None:
        arguments = spec.objective.target
        self._program = Program(arguments, spec.digests.get(f"command:{arguments[0]}") if verify else None)
        self._fixed = dict(spec.fixed)
        self._the_metric = the_metric(spec)
        self._process: KeptProcess | None = None

    @property
    def kept(self) -> frozenset[int]:
        """See `Evaluator`."""
        return frozenset() if self._process is None else frozenset({self._process.pid})

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`. What it says on the way is answered line by line.

        CodeChangedError when the program's file is not the one that was loaded any more.
        """
        self._program.require_unchanged()
        question = self._question(trial.setting.changed({**self._fixed, **params}), trial)
        own = children() - self.kept
        answer, trial = self._asked(question, trial, own)
        self._program.require_unchanged()
        return self._outcome(answer, trial)

    def _question(self, params: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
        question: dict[str, Any] = {
            "iteration": trial.iteration,
            "seed": trial.seed,
            "budget": trial.budget,
            "params": dict(params),
        }
        if trial.window is not None:
            question["window"] = list(trial.window)
        if trial.data:
            question["data"] = list(trial.data)
        return question

    def _asked(self, question: Mapping[str, Any], trial: Trial, own: set[int]) -> tuple[dict[str, Any], Trial]:
        """The answer, and the trial with what was reported before it."""
        while True:
            process = self._running(trial.session_id, own)
            process.limit_memory()
            had_answered = process.answered > self._own_questions
            try:
                return process.ask(question, own, partial(_reply, trial)), trial
            except BaseException as error:
                self._end(own)
                if not (had_answered and isinstance(error, ObjectiveError | CommandError)):
                    raise
                trial = trial.again()

    # Questions that every process is asked before iterations.
    _own_questions = 0

    def _running(self, session_id: str, own: set[int]) -> KeptProcess:
        """The process, or a fresh one where it ended between two questions."""
        if self._process is not None and self._process.has_ended:
            self._end(own)
        if self._process is None:
            self._process = self._start(session_id)
        return self._process

    def _start(self, session_id: str) -> KeptProcess:
        return KeptProcess(self._program, {"ARBD_SESSION_ID": session_id})

    def _end(self, own: set[int], within_s: float = 0.0) -> None:
        if self._process is not None:
            self._process.end(own, within_s)
            self._process = None

    def _outcome(self, answer: Mapping[str, Any], trial: Trial) -> Outcome:
        error = answer.get("error")
        if isinstance(answer.get("pruned"), str) and not trial.pruned:
            trial.pruned = f"pruned by the objective: {answer['pruned'][:MAX_ERROR_CHARS]}".removesuffix(": ")
        if isinstance(error, str) and not trial.pruned:
            raise CommandError(error[:MAX_ERROR_CHARS])
        return check_outcome(answer.get("metrics"), trial, self._the_metric)

    def close(self) -> None:
        """See `Evaluator`."""
        self._end(children() - self.kept, FAREWELL_S)

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """A command evaluates one set at a time."""
        raise ObjectiveError("a command has no evaluate_batch")
