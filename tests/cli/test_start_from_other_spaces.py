"""A search that starts from one over other parameters: what fits is taken, at the values that it was made with, and told."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.paper.params import defaults
from arbd.results.warm_start import past_reader
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl

SPACE: dict[str, dict[str, Any]] = {
    "min_spread_pct": {"type": "float", "bounds": [0.05, 0.5]},
    "participation": {"type": "float", "bounds": [0.1, 1.0]},
    "fee_a_bps": {"type": "float", "bounds": [0.0, 20.0]},
}
FIXED = {"min_spread_pct": 0.2, "participation": 0.5, "fee_a_bps": 3.0}
# Of each parameter: searched, fixed, or not spoken of. A search has at least one.
WAYS = ("searched", "fixed", "unsaid")
JOBS = [dict(zip(SPACE, ways, strict=True)) for ways in itertools.product(WAYS, repeat=3) if "searched" in ways]


def job_of(folder: Path, ways: dict[str, str], **tuning: Any) -> Path:
    names = {way: [name for name in SPACE if ways[name] == way] for way in WAYS}
    job = {
        "data": ["quotes.parquet"],
        "metric": "pnl",
        "fixed": {name: FIXED[name] for name in names["fixed"]},
        "tuning": {"max_iterations": 4, "search_space": {name: SPACE[name] for name in names["searched"]}, **tuning},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quotes(synth_profile("brl", 1, 300), tmp_path / "quotes.parquet")
    return tmp_path


@pytest.mark.parametrize("earlier", JOBS[::9], ids=lambda ways: "-".join(ways.values()))
def test_what_a_session_held_is_a_value_of_a_search_and_other_conditions_are_told(
    arbctl: Arbctl, layout: SpoolLayout, folder: Path, earlier: dict[str, str]
) -> None:
    job = job_of(folder, earlier, method="sobol", seed=1)
    code, _, err = arbctl("run", job, "--session-id", "earlier", "--workers", "1")
    assert code == 0, err
    code, out, _ = arbctl("export", "earlier", "--format", "jsonl", "--output", "-")
    rows = [json.loads(line)["params"] for line in out.splitlines()]
    assert (code, len(rows)) == (0, 4)
    there = {
        name: [row[name] if way == "searched" else held(name, way) for row in rows] for name, way in earlier.items()
    }
    for later in JOBS:
        job = job_of(folder, later, method="tpe", start_from="earlier")
        spec = resolve_job(parse_job(job.read_text(), "job.yaml"), base_dirs=[folder], past=past_reader(layout))
        assert spec.past is not None
        for name, way in later.items():
            if way == "searched":
                assert [point[name] for point in spec.past.points] == there[name]
        code, out, err = arbctl("validate", job)
        assert (code, "starts from 4 results of earlier" in out) == (0, True), out + err
        conditions = out.partition("made with")[2].partition("\n")[0]
        for name, way in later.items():
            differs = way != "searched" and any(value != held(name, way) for value in there[name])
            assert (f"{name} " in conditions) == differs, (out, name)


def held(name: str, way: str) -> Any:
    return FIXED[name] if way == "fixed" else defaults()[name]
