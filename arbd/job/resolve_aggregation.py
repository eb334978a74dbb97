"""A job's `repeats` and `robust:`, checked against what the job evaluates, and made into an `Aggregation`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from arbd.job.aggregation import (
    BLOCKS,
    DEFAULT_GROUPS,
    MARKETS,
    NEIGHBOURHOOD,
    QUANTILE,
    SHARES,
    Aggregation,
    RobustRule,
)
from arbd.job.model import CommandObjective, Job, PythonObjective
from arbd.job.model_robust import RobustModel
from arbd.job.python_source import OVER_MARKETS, PRUNE
from arbd.job.resolve_space import Wrong
from arbd.job.sanity import ranges_of
from arbd.job.spec import JobSpec
from arbd.job.validation import Windows
from arbd.paper import params
from arbd.paper.market.prepared import whole_steps
from arbd.paper.market.quotes import IntArray
from arbd.paper.scenario import Scenario
from arbd.search.neighbourhood import most_neighbours
from arbd.search.problem import MetricGoal
from arbd.search.space import SearchSpace, Value
from arbd.values import dataclass

# What the engine draws at random, where one of these is not 0.
DRAWN = ("latency_jitter", "reject_pct_a", "reject_pct_b")
# Of what the engine counts, what a stretch of the time has for itself as sums of returns.
SUMMED = ("pnl",)


@dataclass(frozen=True, slots=True)
class EvaluatedJob:
    """What is known of a job when its metrics are looked at; `scenarios` are those that can be read."""

    job: Job
    space: SearchSpace
    fixed: Mapping[str, Value]
    scenarios: Sequence[Scenario]

    @property
    def profiles(self) -> list[Mapping[str, Value]]:
        """The engine's parameters that each market brings."""
        found: list[Mapping[str, Value]] = [{} for _ in self.job.data]
        for scenario in self.scenarios:
            found += [scenario.risk_profile] * len(scenario.symbols)
        return found

    @property
    def markets(self) -> int:
        """How many there are, or would be."""
        return max(len(self.profiles), len(self.job.data) + len(self.job.tuning.scenarios))

    @property
    def paper(self) -> bool:
        """True where the engine evaluates it."""
        return self.job.objective == "paper"


def resolve_aggregation(
    evaluated: EvaluatedJob, goals: tuple[MetricGoal, ...], wrong: Wrong
) -> tuple[tuple[MetricGoal, ...], Aggregation]:
    """The metrics that the search goes by, and what they are made of. What is wrong is told."""
    tuning = evaluated.job.tuning
    if tuning.repeats > 1 and evaluated.paper and not _draws(evaluated):
        wrong(
            "the paper engine gives the same each time: repeats are for what is drawn at random, and this job has neither "
            f"{' nor '.join(DRAWN)}",
            "tuning", "repeats",
        )  # fmt: skip
    given = tuning.robust
    if tuning.prune is not None and (tuning.repeats > 1 or given is not None):
        what = "robust" if given is not None else "repeats"
        wrong(
            f"ends an iteration by what one evaluation reports, and `{what}` makes more of it: leave one out",
            "tuning",
            "prune",
        )
    if given is None:
        return goals, Aggregation(tuning.repeats)
    for fault, *field in (*_of_form(given), *_of_job(given, evaluated, goals)):
        wrong(fault, "tuning", "robust", *field)
    groups = (given.groups or DEFAULT_GROUPS) if given.over == BLOCKS else 0
    rule = RobustRule(given.over, given.use, SHARES.get(given.use, given.q or 0.0), groups)
    return tuple(map(rule.robust, goals)), Aggregation(tuning.repeats, rule)


def _draws(evaluated: EvaluatedJob) -> bool:
    """Whether the engine draws anything at random for some set."""
    if not set(DRAWN).isdisjoint(evaluated.space.names):
        return True
    return any(params.resolve({**own, **evaluated.fixed})[name] != 0 for own in evaluated.profiles for name in DRAWN)


def _of_form(given: RobustModel) -> Iterator[tuple[str, ...]]:
    """What is wrong, and the field that says so."""
    if given.use == QUANTILE and given.q is None:
        yield "use: quantile needs a q; with q: 0.25, a quarter of the values are worse than it", "use"
    if given.use != QUANTILE and given.q is not None:
        yield f"is for use: quantile; {given.use} is a quantile of its own", "q"
    if given.over != BLOCKS and given.groups is not None:
        yield "joins return blocks, for over: blocks", "groups"


def _of_job(given: RobustModel, evaluated: EvaluatedJob, goals: Sequence[MetricGoal]) -> Iterator[tuple[str, ...]]:
    objective = evaluated.job.objective
    if given.over == BLOCKS and isinstance(objective, CommandObjective):
        yield "a program returns no return blocks: use a Python objective, or another `over`", "over"
    if given.over == BLOCKS and evaluated.paper:
        for goal in goals:
            if goal.name not in SUMMED:
                yield f"{goal.name} has no return blocks: the engine's are of {', '.join(SUMMED)}", "over"
        capital = {params.resolve({**own, **evaluated.fixed})["initial_capital"] for own in evaluated.profiles}
        if len(capital) > 1 and "initial_capital" not in evaluated.space.names:
            yield "returns of markets with different initial_capital make no sum: fix initial_capital", "over"
    if given.over == MARKETS:
        yield from _of_markets(evaluated)
    if given.over == NEIGHBOURHOOD and evaluated.space.dimensions and not most_neighbours(evaluated.space):
        yield "no number is searched that could be a little more or less, and choices have no neighbours", "over"


def _of_markets(evaluated: EvaluatedJob) -> Iterator[tuple[str, ...]]:
    objective, count = evaluated.job.objective, evaluated.markets
    if count < 2:
        named = "quotes under `data:` or scenarios" if evaluated.paper else "files under `data:`"
        yield f"the job has {count or 'no'} market{'' if count == 1 else 's'}: name {named}, two or more", "over"
    if isinstance(objective, CommandObjective) and objective.protocol != "lines":
        yield "a program that is started for each iteration is not told the data: use `protocol: lines`", "over"


def needs_trial(job: Job) -> str:
    """What the job needs an objective of Python to take a trial for; '' for nothing."""
    if not isinstance(job.objective, PythonObjective):
        return ""
    if job.tuning.prune is not None:
        return PRUNE
    return OVER_MARKETS if job.tuning.robust is not None and job.tuning.robust.over == MARKETS else ""


def told_of_blocks(spec: JobSpec, times: Mapping[str, Sequence[IntArray]], scenarios: Iterable[Scenario]) -> JobSpec:
    """The job, with a notice where the engine has fewer whole grid steps for `over: blocks` than there are to be groups.

    `times` are the first and the last moment of each market. A searched `grid_s` counts as its longest.
    """
    rule = spec.aggregation.robust
    if rule is None or rule.over != BLOCKS or spec.objective.kind != "paper" or not times:
        return spec
    profiles: list[Mapping[str, Value]] = [scenario.risk_profile for scenario in scenarios]
    grid_s = [float(params.resolve({**own, **spec.fixed})["grid_s"]) for own in profiles or [{}]]
    longest_s = max(ranges_of(spec.space, {}).get("grid_s", grid_s))
    whole: Sequence[int] = [int(last) - int(first) for each in times.values() for first, last in each]
    shown: dict[str, tuple[Sequence[int], float]] = {"the quotes have": (whole, min((1.0, *spec.budgets)))}
    for fold in () if spec.validation is None else spec.validation.folds:
        for name, windows in (("a search window has", fold.train), ("a test window has", fold.test)):
            seen = _seen(times, windows)
            if seen and (name not in shown or sum(seen) < sum(shown[name][0])):
                shown[name] = (seen, shown["the quotes have"][1] if windows is fold.train else 1.0)
    notices = []
    for name, (spans, budget) in shown.items():
        steps = sum(whole_steps(int(span * budget), longest_s) for span in spans)
        if steps < rule.groups:
            share = f" at a budget of {budget:g}" if budget < 1 else ""
            notices.append(
                f"{name} at most {steps} whole grid steps{share} (grid_s {longest_s:g}), and `robust: {{over: blocks}}` joins "
                f"their returns to {rule.groups} groups: "
                + (
                    "there is nothing to join, and the metric is nan"
                    if not steps
                    else "there are no more groups than steps"
                )
                + "; make grid_s less"
            )
    return replace(spec, notices=(*spec.notices, *notices))


def _seen(times: Mapping[str, Sequence[IntArray]], windows: Windows) -> list[int]:
    """How much time windows show of each market, in nanoseconds."""
    markets = [moments for each in times.values() for moments in each]
    return [
        max(0, min(int(last), end) - max(int(first), start))
        for (first, last), own in zip(markets, windows, strict=False)
        for start, end in own
    ]
