"""A job's `prune:` block, checked against what the job evaluates, and made into rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from arbd.job.model import CommandObjective, Job
from arbd.job.model_prune import PruneModel
from arbd.search.problem import MetricGoal
from arbd.search.pruning import PATIENT, PERCENTILE, PruneRules
from arbd.search.samplers import default_budgets

# Takes what is wrong, and where in `tuning`.
Wrong = Callable[..., None]
OF_COMPARISON = ("percentile", "startup_trials", "min_trials")


def prune_rules(job: Job, metrics: Sequence[MetricGoal], wrong: Wrong) -> PruneRules | None:
    """The rules; None where nothing is pruned."""
    given = job.tuning.prune
    if given is None:
        return None
    for fault in (_of_objective(job), _of_method(job.tuning.method, len(metrics))):
        if fault:
            wrong(fault, "prune")
    for fault, name in _of_rules(given):
        wrong(fault, "prune", name)
    default = PruneRules()
    return PruneRules(
        given.rule,
        default.percentile if given.percentile is None else given.percentile,
        default.startup_trials if given.startup_trials is None else given.startup_trials,
        default.min_trials if given.min_trials is None else given.min_trials,
        given.warmup_steps,
        given.patience or 0,
        given.min_delta or 0.0,
    )


def _of_rules(given: PruneModel) -> Iterator[tuple[str, str]]:
    """What is wrong, and the field that says so."""
    if given.rule == PATIENT:
        for name in OF_COMPARISON:
            if getattr(given, name) is not None:
                yield "compares with others, which patient does not; median or percentile with a patience do both", name
        if given.patience is None:
            yield "rule patient needs a patience: after how many steps without an improvement", "rule"
    elif given.rule == PERCENTILE and given.percentile is None:
        yield "rule percentile needs a percentile: how many of a hundred go on", "rule"
    elif given.rule != PERCENTILE and given.percentile is not None:
        yield f"is for rule percentile; rule {given.rule} is its half", "percentile"
    if given.min_delta is not None and given.patience is None:
        yield "says what counts as no improvement for `patience`, which is not given", "min_delta"


def _of_objective(job: Job) -> str:
    if job.objective == "paper":
        return (
            "the paper engine evaluates many sets in one pass and reports nothing on the way: `execution: give_up` ends its "
            "hopeless runs, and method successive_halving tries sets on less of the data"
        )
    if isinstance(job.objective, CommandObjective) and job.objective.protocol != "lines":
        return "a program that is started for each iteration cannot report intermediate values: use `protocol: lines`"
    return ""


def _of_method(method: str, metrics: int) -> str:
    if metrics > 1:
        return f"intermediate values are of one metric, and {metrics} are optimised"
    if default_budgets(method, 0.5):
        return f"{method} chooses what goes on by its budgets, and values of different budgets are not to be compared"
    return ""
