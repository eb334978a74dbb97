"""Python objectives in an interpreter of their own: a virtual environment with other packages, or another Python.

The interpreter runs `foreign.py`, which needs nothing but its standard library, and is kept as a program of lines is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import ObjectiveError
from arbd.job.code import INTERPRETER, MODULE
from arbd.job.policy import interpreter_fault
from arbd.job.python_source import no_trial
from arbd.job.spec import JobSpec
from arbd.objective import foreign
from arbd.objective.kept_process import KeptProcess
from arbd.objective.lines import LinesEvaluator
from arbd.objective.processes import children
from arbd.objective.program import CommandError, Program
from arbd.objective.protocol import Outcome, Trial, check_outcome, the_metric
from arbd.objective.python import NO_WINDOW, trial_needed
from arbd.values import dataclass


@dataclass(slots=True)
class ForeignCode:
    """What ran in the interpreter: digests by module, versions by part; and why something was refused, or ''."""

    loaded: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    refusal: str = ""

    def parts(self) -> dict[str, str]:
        """As parts of a session's code."""
        modules = {f"{MODULE}{name}": digest for name, digest in self.loaded.items()}
        return modules | {f"{INTERPRETER}{name}": version for name, version in self.versions.items()}

    def learn(self, answer: Mapping[str, Any]) -> None:
        """Take over what an answer says."""
        loaded, refusal = answer.get("modules"), answer.get("refusal")
        if isinstance(loaded, dict):
            self.loaded.update({str(name): str(digest)[:64] for name, digest in loaded.items()})
        if isinstance(refusal, str):
            self.refusal = self.refusal or refusal


class InterpreterEvaluator(LinesEvaluator):
    """Loads the objective in its interpreter at once, so that what is wrong with it is told before iterations run."""

    _own_questions = 1

    def __init__(self, spec: JobSpec, search_paths: Sequence[Path], session_id: str, *, verify: bool) -> None:
        interpreter, self._target = spec.objective.interpreter, spec.objective.target[0]
        # The name counts: from it an interpreter knows its environment.
        if (fault := interpreter_fault(interpreter)) is not None:
            raise ObjectiveError(f"the interpreter {interpreter}: {fault}")
        runner = str(Path(foreign.__file__).resolve())
        self._program = Program((interpreter, "-I", runner), None)
        self._fixed = dict(spec.fixed)
        self._the_metric = the_metric(spec)
        self._process: KeptProcess | None = None
        # Why what fails in the process may be an earlier iteration's doing.
        self._stain = ""
        self._folders = [str(folder) for folder in search_paths]
        digests = spec.digests if verify else {}
        self._expected = {n.removeprefix(MODULE): d for n, d in digests.items() if n.startswith(MODULE)}
        self.code = ForeignCode()
        self._windows = spec.validation is not None and bool(spec.validation.scheme)
        self._shares = spec.has_shares
        self._method = spec.method
        self._needs_trial = trial_needed(spec)
        self._process = self._start(session_id)

    def _start(self, session_id: str) -> KeptProcess:
        process = super()._start(session_id)
        question = {
            "target": self._target,
            "folders": self._folders,
            "expected": self._expected,
            "session_id": session_id,
        }
        own = children() - {process.pid}
        try:
            answer = process.ask(question, own)
            self.code.learn(answer)
            self._check(answer)
        except CommandError as error:
            process.end(own)
            raise ObjectiveError(f"the objective {self._target} in {self._program.name}: {error}") from error
        except BaseException:
            process.end(own)
            raise
        return process

    def _asked(self, question: Mapping[str, Any], trial: Trial, own: set[int]) -> tuple[dict[str, Any], Trial]:
        """As in a slot's own process: what an iteration leaves behind is no other's, and no reason for its failure."""
        while True:
            stained = self._stain
            answer, trial = super()._asked(question, trial, own)
            assert self._process is not None
            is_first = self._process.answered == self._own_questions + 1
            # What fails where others were before is asked again of a process that nothing happened to.
            again = not is_first and "error" in answer and bool(answer.get("exhausted") or stained)
            self._stain = str(answer.get("stain", ""))
            if again or answer.get("exhausted") or answer.get("retire"):
                self._end(own)
            if not again:
                return answer, trial
            trial = trial.again()

    def _end(self, own: set[int], within_s: float = 0.0) -> None:
        self._stain = ""
        super()._end(own, within_s)

    def _check(self, answer: Mapping[str, Any]) -> None:
        """ObjectiveError when the objective cannot be called; what it says of itself is believed otherwise."""
        versions, takes, trial = answer.get("versions"), answer.get("takes"), answer.get("trial")
        where = f"the objective {self._target} in {self._program.name}"
        if not isinstance(versions, dict) or not isinstance(takes, list):
            raise ObjectiveError(f"{where} cannot be loaded: {answer.get('broken', 'it did not say why')}")
        self.code.versions = {str(name): str(version) for name, version in versions.items()}
        if self._shares and not (trial or "budget" in takes):
            raise ObjectiveError(
                f"{where} takes no budget, which {self._method} needs: "
                "give it a parameter `budget` (the share to use, up to 1), or `trial` and read trial.budget"
            )
        if self._windows and not (trial or "window" in takes):
            raise ObjectiveError(f"{where} {NO_WINDOW}")
        if self._needs_trial and not trial:
            raise ObjectiveError(f"{where} {no_trial(self._needs_trial)}")

    def _outcome(self, answer: Mapping[str, Any], trial: Trial) -> Outcome:
        self.code.learn(answer)
        if isinstance(answer.get("broken"), str) and not trial.pruned:
            raise ObjectiveError(answer["broken"])
        outcome = super()._outcome(answer, trial)
        if outcome.pruned:
            return outcome
        if (blocks := answer.get("blocks")) is None and not trial.reports:
            return outcome
        return check_outcome(Outcome(outcome.metrics, None if blocks is None else np.array(blocks)), trial)
