"""`arbctl validate` and `arbctl schema`: jobs before they are submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.text import format_pairs, format_value
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.jobs import overrides_option, read_job
from arbd.cli.typed_file import TypedFile
from arbd.job.aggregation import ONE_EVALUATION, QUANTILE
from arbd.job.spec import JobSpec

if TYPE_CHECKING:
    from arbd.job.file import JobDocument
    from arbd.objective.sampled_cost import SampledCost
    from arbd.search.space import FloatDimension, IntDimension


@click.command()
@click.argument("job", type=TypedFile())
@overrides_option
@json_option
@pass_app
def validate(app: App, job: Path, overrides: tuple[str, ...]) -> None:
    """Check JOB and show what it resolves to: every error at once with its line, or the resolved job and N.

    What looks odd is noted: units, bounds beside what the market shows, sets that would trade all the time.

    \b
    Examples:
      arbctl validate etc/jobs/grid.yaml
      arbctl validate etc/jobs/grid.yaml --set tuning.seed=7
    """
    array = _array(job, overrides)
    # Of several sessions each is checked, and the first one shown.
    checked = [read_job(app.config(), job, (), name, document=member) for name, member in array]
    prepared = checked[0] if checked else read_job(app.config(), job, overrides, None)
    spec = prepared.spec
    from arbd.objective.sampled_cost import sampled_cost

    cost = sampled_cost(spec, app.config().cache_dir)
    document = {
        "job": str(job), "valid": True, "evaluations": _evaluations(spec), "evaluations_each": _most_of_one(spec),
        "resolved": spec.to_plain(),
    }  # fmt: skip
    schedule = prepared.schedule.text() if prepared.schedule is not None else ""
    more: dict[str, Any] = {"schedule": schedule} if schedule else {}
    more |= {"sessions": [name for name, _ in array]} if array else {}
    app.show(
        document | more | ({"cost": cost.to_plain()} if cost else {}), lambda: _text(job, spec, cost, schedule, more)
    )


def _array(job: Path, overrides: tuple[str, ...]) -> list[tuple[str, JobDocument]]:
    """The sessions that the job's `each:` makes; none where it has none."""
    from arbd.job.each import array_of
    from arbd.job.file import apply_overrides, load_job

    document = load_job(job)
    if overrides:
        document = apply_overrides(document, overrides)
    return array_of(document, document.job.session_id or job.name.partition(".")[0]) or []


def _text(job: Path, spec: JobSpec, cost: SampledCost | None, schedule: str, more: dict[str, Any]) -> str:
    from arbd.search.samplers import adaptive

    names: list[str] = more.get("sessions", [])

    lines: list[tuple[str, Any]] = [
        *([("schedule", schedule)] if schedule else []),
        *([("each", f"{len(names):,} sessions, {names[0]} to {names[-1]}; the first one:")] if names else []),
        ("objective", str(spec.objective)),
        ("data", ", ".join(spec.data) or "-"),
        ("scenarios", ", ".join(spec.scenarios) or "-"),
        ("fixed", format_pairs(spec.fixed) or "-"),
        ("metric", ", ".join(f"{goal.name} ({goal.direction})" for goal in spec.metrics)),
        ("method", f"{spec.method}, seed {spec.seed}"),
        *(("searched" if number == 0 else "", text) for number, text in enumerate(_searched(spec))),
        (
            "iterations",
            f"{spec.n:,}"
            + (
                f", {spec.generation_size:,} a generation, {spec.generation_lag} at a time"
                if adaptive(spec.method) is not None
                else ""
            ),
        ),
        *([("evaluations", each)] if (each := _each(spec)) else []),
        *([("validation", _validation(spec))] if spec.validation is not None else []),
        *([("constraints", "; ".join(spec.constraints))] if spec.constraints else []),
        *([("first", f"{len(spec.enqueue)} points of the job")] if spec.enqueue else []),
        ("execution", format_pairs({n: v for n, v in spec.execution.to_plain().items() if v is not None})),
    ]
    text = [f"{job}: valid", *(f"  {name:<12}{value}" for name, value in lines)]
    notices = [*spec.notices, *([cost.notice] if cost is not None and cost.notice else [])]
    return "\n".join([*text, *(f"  note: {notice}" for notice in notices)])


def _evaluations(spec: JobSpec) -> dict[str, int]:
    """How many evaluations there are of each phase, the searches of folds beside the session's own."""
    counts: dict[str, int] = {}
    for stretch in spec.layout.stretches:
        name = "folds" if stretch.phase == "search" and not stretch.is_own_search else str(stretch.phase)
        counts[name] = counts.get(name, 0) + stretch.count
    return counts


def _most_of_one(spec: JobSpec) -> int:
    """How many evaluations an iteration is, at most."""
    # Of scenarios the engine takes all symbols, and of those in one pass.
    return spec.aggregation.evaluations(spec.space, len(spec.data), one_pass=spec.objective.kind == "paper")


def _each(spec: JobSpec) -> str:
    """How many evaluations `repeats` and `robust` add; '' without them."""
    if spec.aggregation == ONE_EVALUATION:
        return ""
    rule, count = spec.aggregation.robust, _most_of_one(spec)
    repeats = [f"{spec.aggregation.repeats} repeats"] if spec.aggregation.repeats > 1 else []
    robust = [f"{rule.use} over {rule.over}" + (f", q {rule.q:g}" if rule.use == QUANTILE else "")] if rule else []
    added = f"{(count - 1) * spec.n:,} more in total" if count > 1 else "none more"
    return f"{'at most ' if rule and count > 1 else ''}{count:,} per iteration, {added}: {'; '.join(repeats + robust)}"


def _validation(spec: JobSpec) -> str:
    """How many evaluations validation adds, and for what."""
    parts = ", ".join(f"{name} {count:,}" for name, count in _evaluations(spec).items() if name != "search")
    return f"{spec.n - spec.search_n:,} of the iterations beside the {spec.search_n:,} of the search: {parts}"


def _searched(spec: JobSpec) -> list[str]:
    """A line for each parameter: from where to where, in which steps, how many values."""
    from arbd.plain_json import text_of
    from arbd.search.samplers import METHODS
    from arbd.search.space import ChoiceDimension

    lines = []
    takes_points = "grid_points" in METHODS.get(spec.method).fields
    width = max((len(name) for name in spec.space.names), default=0)
    for dimension in spec.space.dimensions:
        levels = dimension.levels
        count = "" if levels is None else f", {levels:,} values"
        if isinstance(dimension, ChoiceDimension):
            text = " | ".join(map(text_of, dimension.values))
        else:
            text = f"{format_value(dimension.low)} to {format_value(dimension.high)}{', logarithmic' if dimension.log else ''}"
            if levels is not None and dimension.step not in (None, 1):
                last = _last(dimension, levels)
                missed = (
                    f" (the last is {format_value(last)})" if abs(last - dimension.high) > 1e-9 * dimension.step else ""
                )
                text += f" in steps of {dimension.step:g}{missed}"
        grid = spec.grid_points.get(dimension.name) if takes_points else None
        points = f", {grid:,} points of the grid" if grid is not None and levels != grid else ""
        needs = [c for c in spec.space.conditions if c.name == dimension.name]
        when = " and ".join(f"{c.parent} is {' or '.join(map(text_of, c.values))}" for c in needs)
        lines.append(f"{dimension.name:<{width}}  {text}{count}{points}{f', when {when}' if when else ''}")
    return lines


def _last(dimension: FloatDimension | IntDimension, levels: int) -> float:
    """The largest value that there is, which may be below the upper bound."""
    import numpy as np

    from arbd.search.space import IntDimension

    if isinstance(dimension, IntDimension):
        return dimension.low + (levels - 1) * dimension.step
    return float(dimension.at_level(np.array([levels - 1]))[0])


@click.command()
def schema() -> None:
    """JSON Schema of the job file, for editors that check and complete as you type.

    \b
    Example:
      arbctl schema > arbd-job.schema.json
      # then, in the first line of a job for the YAML language server:
      # yaml-language-server: $schema=arbd-job.schema.json
    """
    from arbd.job.file import job_schema

    click.echo(json.dumps(job_schema(), indent=2))
