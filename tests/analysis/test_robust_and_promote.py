"""`arbctl best --robust` and `arbctl promote`: what survives is chosen, and nothing is written but what was shown."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.job.spec import ObjectiveSpec
from arbd.job.validation import Change, FoldWindows, Stress, ValidationSpec
from arbd.results.columns import RowBatch, concatenate
from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from tests.conftest import Arbctl
from tests.spool.sessions import SPACE, exhaust, make_session, rows_of, write_rows

N = 40
BLOCKS = 32


def _rows(layout_n: int, values: Any, xs: Any) -> RowBatch:
    rng = np.random.default_rng(1)
    sums = np.asarray(values)[:, None] / BLOCKS + 0.02 * rng.standard_normal((layout_n, BLOCKS))
    blocks = np.stack([sums, sums**2], axis=2)
    rows = rows_of(1, layout_n)
    params = {"x": np.asarray(xs, dtype=np.float64), "kind": np.zeros(layout_n, dtype=np.int64)}
    return replace(rows, params=params, metrics={"value": np.asarray(values, dtype=np.float64)}, blocks=blocks)


def make(layout: SpoolLayout, **given: Any) -> str:
    """A finished session as of `session_of`."""
    paths = session_of(layout, **given)
    exhaust(paths, N + 6, (N + 6, 0, 0, 0))
    compact(Files(), paths)
    return "s"


def session_of(
    layout: SpoolLayout,
    *,
    test: Any = (1.0, -1.0, 1.0),
    stress: Any = (1.0, 1.0, 1.0),
    luck: bool = False,
    blocks: bool = True,
    last: int = N + 6,
    risk: Any = None,
    lowest: bool = False,
    **changed: Any,
) -> SessionPaths:
    """A search whose best is a spike at 0.9 beside a plateau around 0.3; three finalists, tested and stressed.

    `risk` is a metric of the finalists in their test and under stress, 0 in the search.
    """
    xs = np.concatenate([np.linspace(0.2, 0.4, 20), np.linspace(0.5, 1.0, 20)])
    values = np.where(xs < 0.45, 2.0 - np.abs(xs - 0.3), -1.0)
    values[int(np.argmin(np.abs(xs - 0.9)))] = 3.0
    if luck:
        values, test = np.linspace(-1.0, 0.001, N), (0.001, 0.0, 0.0)
    best = np.argsort(values if lowest else -values, kind="stable")[:3]
    validation = ValidationSpec(
        N, "holdout", (FoldWindows((((0, 100),),), (((100, 200),),)),), finalists=3,
        stresses=(Stress("dear", (Change("x", "x", 2.0),)),),
    )  # fmt: skip
    job: dict[str, Any] = {
        "objective": ObjectiveSpec("python", ("m:f",)), "space": SPACE, "method": "random",
        "metrics": (MetricGoal("value", "maximize"),), "validation": validation, "generation_size": N,
        "digests": {"python:m": "d" * 64}, **changed,
    }  # fmt: skip
    n = N + 6
    paths = make_session(layout, n, "s", **job)
    everything = np.concatenate([values, test, stress])
    rows = concatenate([_rows(n, everything, np.concatenate([xs, xs[best], xs[best]]))])
    if risk is not None:
        rows = replace(rows, metrics={**rows.metrics, "risk": np.concatenate([np.zeros(N), risk])})
    write_rows(paths, "w", (rows if blocks else replace(rows, blocks=None)).select(np.arange(last)))
    return paths


def _best(arbctl: Arbctl, *words: str) -> dict[str, Any]:
    code, out, err = arbctl("best", "s", *words, "--format", "json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_robust_choice_is_on_the_plateau_and_survived(arbctl: Arbctl, layout: SpoolLayout) -> None:
    make(layout)
    assert _best(arbctl)["x"] == pytest.approx(0.9, abs=0.03)
    # The spike has bad neighbours, and the second finalist lost in its test.
    assert 0.2 <= _best(arbctl, "--robust")["x"] <= 0.4
    assert "2 of 3 finalists earn" in arbctl("best", "s", "--robust")[2]


@pytest.mark.parametrize("loses", ["test", "stress"])
def test_where_nothing_survives_nothing_is_chosen(arbctl: Arbctl, layout: SpoolLayout, loses: str) -> None:
    make(layout, **{"test": (1.0, 1.0, 1.0), "stress": (1.0, 1.0, 1.0), loses: (-1.0, -1.0, -1.0)})
    code, out, err = arbctl("best", "s", "--robust")
    assert (code, out) == (3, "")
    assert "none of its 3 finalists earns" in err


@pytest.mark.parametrize("breaks", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("phase", ["test", "stress"])
def test_who_breaks_a_constraint_under_stress_does_not_survive(
    arbctl: Arbctl, layout: SpoolLayout, phase: str, breaks: tuple[bool, ...]
) -> None:
    broken = np.where(breaks, 2.0, 0.0)
    risk = np.concatenate([broken, np.zeros(3)] if phase == "test" else [np.zeros(3), broken])
    make(layout, test=(1.0, 1.0, 1.0), risk=risk, constraints=("risk <= 1",))
    # A limit for the time of the search is none for the shorter time of a test.
    survived = 3 if phase == "test" else 3 - sum(breaks)
    code, _, err = arbctl("best", "s", "--robust")
    assert (code, f"{survived} of 3 finalists" in err) == ((0, True) if survived else (3, False)), err
    assert ("keeps the constraints under stress" in err) == (not survived)
    (line,) = json.loads(arbctl("verdict", "s", "--json")[1])["stress"]
    assert line["break_constraints"] == (0 if phase == "test" else sum(breaks))
    told = f"{sum(breaks)} break a constraint"
    assert (told in arbctl("verdict", "s")[1]) == (phase == "stress" and any(breaks))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("blocks", [True, False])
def test_where_less_is_better_returns_alone_say_who_earns(
    arbctl: Arbctl, layout: SpoolLayout, direction: str, blocks: bool
) -> None:
    goal = MetricGoal("value", direction)
    # Of a search for little, the finalists are those of the lowest value.
    make(layout, metrics=(goal,), blocks=blocks, test=(1.0, 1.0, 1.0), lowest=direction == "minimize")
    code, _, err = arbctl("best", "s", "--robust")
    nothing_says = direction == "minimize" and not blocks
    assert (code, "nothing says which of its finalists earn" in err) == ((2, True) if nothing_says else (0, False)), err


def test_a_session_without_tests_says_what_to_ask_for(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 20, "s")
    write_rows(paths, "w", rows_of(1, 20))
    code, _, err = arbctl("best", "s", "--robust")
    assert code == 2
    assert "validation:" in err


def _shown(arbctl: Arbctl, to: Path, *words: str) -> str:
    code, out, err = arbctl("promote", "s", "--to", to, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert not found["written"]
    return str(found["code"])


def test_a_winner_is_written_in_two_steps_with_where_it_comes_from(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    make(layout)
    to = tmp_path / "bot.yaml"
    code = _shown(arbctl, to)
    assert not to.exists()
    assert arbctl("promote", "s", "--to", to, "--code", code)[0] == 0
    written = yaml.safe_load(to.read_text())
    assert written["parameters"] == _best(arbctl)
    told = written["provenance"]
    verdict = json.loads(arbctl("verdict", "s", "--json")[1])
    assert told["code"]["python:m"] == "d" * 64
    assert (told["session_id"], told["iteration"], told["verdict"]) == ("s", verdict["best_iteration"], "skill")
    (line,) = [json.loads(line) for line in layout.promotions.read_text().splitlines()]
    assert line["provenance"] == told
    assert (line["event"], line["file"], bool(line["user"]), bool(line["host"])) == ("promoted", str(to), True, True)


def test_a_code_is_good_once_and_for_what_was_shown(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    make(layout)
    first, other = tmp_path / "one.json", tmp_path / "two.json"
    code = _shown(arbctl, first)
    for words in (("--to", other), ("--to", first, "--robust"), ("--to", first, "--metric", "value", "--robust")):
        refused, _, err = arbctl("promote", "s", *words, "--code", code)
        assert (refused, "is not the code" in err) == (2, True)
    assert arbctl("promote", "s", "--to", first, "--code", "00000000")[0] == 2
    assert not layout.promotions.exists()
    assert arbctl("promote", "s", "--to", first, "--code", code)[0] == 0
    assert arbctl("promote", "s", "--to", first, "--code", code)[0] == 2
    assert len(layout.promotions.read_text().splitlines()) == 1
    assert not other.exists()


def test_anything_but_skill_takes_a_reason_which_is_recorded(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    make(layout, luck=True)
    to = tmp_path / "bot.json"
    code, _, err = arbctl("promote", "s", "--to", to)
    assert (code, "--despite-verdict" in err) == (2, True)
    assert arbctl("promote", "s", "--to", to, "--despite-verdict", "  ")[0] == 2
    reason = ("--despite-verdict", "a paper account")
    shown = _shown(arbctl, to, *reason)
    assert arbctl("promote", "s", "--to", to, "--despite-verdict", "another", "--code", shown)[0] == 2
    assert arbctl("promote", "s", "--to", to, *reason, "--code", shown)[0] == 0
    assert json.loads(to.read_text())["provenance"]["despite_verdict"] == "a paper account"


@pytest.mark.parametrize("name", ["bot.txt", "missing/bot.yaml"])
def test_where_it_cannot_be_written_nothing_is_recorded(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, name: str
) -> None:
    make(layout)
    code = arbctl("promote", "s", "--to", tmp_path / name)[0]
    assert code == 2
    assert not layout.promotions.exists()
