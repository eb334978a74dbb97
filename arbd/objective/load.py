"""From a resolved job to its objective on this host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.errors import ObjectiveError
from arbd.job.spec import JobSpec
from arbd.named_file import ANY, ReadRule
from arbd.objective.protocol import Evaluator

if TYPE_CHECKING:
    from arbd.objective.paper import PaperEvaluator


def load_evaluator(
    spec: JobSpec,
    session_id: str,
    cache_dir: Path | None,
    search_paths: Sequence[Path],
    *,
    verify: bool = True,
    reading: ReadRule = ANY,
    compiling: Callable[[], object] | None = None,
) -> Evaluator:
    """Load a job's objective on this host; ObjectiveError or DataError when this host cannot evaluate it.

    With `verify`, data and code files must have the digests that the job was accepted with, so that no host
    evaluates something else than the others. `reading` is this host's rule for files that jobs name. `compiling` is called
    before the engine is compiled, or somebody who does that is waited for.
    """
    if spec.objective.kind == "paper":
        from arbd.objective.paper import PaperEvaluator  # noqa: PLC0415 - imports the engine

        engine = PaperEvaluator(spec, cache_dir, verify=verify, reading=reading, compiling=compiling)
        return engine if spec.aggregation.is_plain else _aggregated(spec, engine, engine)
    found = _loaded(spec.each, session_id, search_paths, verify=verify)
    return found if spec.aggregation.is_plain else _aggregated(spec, found)


def _aggregated(spec: JobSpec, inner: Evaluator, engine: PaperEvaluator | None = None) -> Evaluator:
    from arbd.objective.aggregated import AggregatedEvaluator  # noqa: PLC0415 - few jobs need it

    # Other interpreters and programs seed themselves, by the trial.
    seeds = spec.objective.kind == "python" and not spec.objective.interpreter
    return AggregatedEvaluator(spec, inner, engine, seeds=seeds)


def _loaded(spec: JobSpec, session_id: str, search_paths: Sequence[Path], *, verify: bool) -> Evaluator:
    """What evaluates one set once, of objectives that are not arbd's own."""
    if spec.objective.interpreter:
        from arbd.objective.interpreter import InterpreterEvaluator  # noqa: PLC0415

        return InterpreterEvaluator(spec, search_paths, session_id, verify=verify)
    if spec.objective.kind == "python":
        from arbd.objective.python import PythonEvaluator  # noqa: PLC0415 - imports the user's module

        return PythonEvaluator(spec, search_paths, verify=verify)
    if spec.objective.protocol == "lines":
        from arbd.objective.lines import LinesEvaluator  # noqa: PLC0415

        return LinesEvaluator(spec, verify=verify)
    if spec.objective.kind == "command":
        from arbd.objective.command import CommandEvaluator  # noqa: PLC0415

        return CommandEvaluator(spec, verify=verify)
    raise ObjectiveError(f"unknown kind of objective {spec.objective.kind!r}")
