"""Whoever looks at what is held out a second time is counted, whichever way that was done."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.cli.__main__ import call
from arbd.paper.market.quotes import Quotes, quotes_of
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.objective.test_windows import quotes, written

N, FINALISTS = 8, 2


def _job(folder: Path, data: Path, seed: int = 1, n: int = N, **more: Any) -> Path:
    job = {
        "data": [str(data)], "fixed": {"fee_a_bps": 0, "fee_b_bps": 0, "grid_s": 600}, "metric": "pnl",
        "tuning": {
            "method": "random", "max_iterations": n, "seed": seed,
            "search_space": {
                "min_spread_pct": {"type": "float", "bounds": [0.005, 0.1]},
                "max_hold_s": {"type": "int", "bounds": [60, 900]},
            },
        },
        **more,
    }  # fmt: skip
    (path := folder / "job.yaml").write_text(yaml.safe_dump(job))
    return path


HOLDOUT = {"validation": {"holdout": "30%", "finalists": FINALISTS}}


def _as_csv(folder: Path, market: Quotes) -> Path:
    told = market.told()
    with (path := folder / "again.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(told)
        writer.writerows(
            [int(v) if name == "ts_ns" else f"{v:.10g}" for name, v in zip(told, row, strict=True)]
            for row in zip(*(column.tolist() for column in told.values()), strict=True)
        )
    return path


def _some(chosen: slice) -> Quotes:
    return quotes_of({name: column[chosen] for name, column in quotes().told().items()})


def _copied(folder: Path, path: Path) -> Path:
    return Path(shutil.copy(path, folder / "copy.npz"))


WAYS: dict[str, dict[str, Any]] = {
    "another seed": {}, "more iterations of another seed": {"n": 2 * N}, "without a holdout": {"plain": True},
    "the same search without a holdout": {"plain": True, "seed": 1},
    "a copy of the file": {"file": _copied}, "as CSV": {"file": lambda folder, path: _as_csv(folder, quotes())},
    "without the first row": {"file": lambda folder, path: written(folder, _some(slice(1, None)), "b.npz")},
    "the second half alone": {"file": lambda folder, path: written(folder, _some(slice(600, None)), "b.npz")},
    "other sizes": {"file": lambda folder, path: written(folder, quotes_of(
        {**quotes().told(), "bid_size_a": np.ones(len(quotes()))}), "b.npz")},
}  # fmt: skip
AFTER: dict[str, list[tuple[str, ...]]] = {
    "stays": [], "is purged": [("purge", "look", "--results", "--claims", "--yes")],
    "is archived, purged and restored": [
        ("archive", "look", "--output", "ARCHIVE"), ("purge", "look", "--results", "--claims", "--yes"),
        ("restore", "ARCHIVE"),
    ],
}  # fmt: skip
CASES = [*((way, "stays") for way in WAYS), *((way, a) for way in ("as CSV", "another seed") for a in AFTER)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a spool in which a session held a part of it out."""
    folder = tmp_path_factory.mktemp("judged")
    (layout := SpoolLayout(folder / "spool")).root.mkdir()
    layout.prepare()
    job = _job(folder, written(folder, quotes()), **HOLDOUT)
    words = ["run", str(job), "--session-id", "judged", "--worker-id", "w"]
    assert call(["--spool", str(layout.root), *words]) == 0
    return folder


@pytest.fixture
def spool(judged: Path, layout: SpoolLayout) -> Path:
    """A copy of it; the folder of the data."""
    shutil.copytree(judged / "spool", layout.root, dirs_exist_ok=True)
    return judged


def _verdict(arbctl: Arbctl) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(arbctl("verdict", "judged", "--json")[1])
    assert found["trials"] == N
    assert found["out_of_sample"]["p"] is not None
    return found


@pytest.mark.parametrize(("way", "after"), list(dict.fromkeys(CASES)))
def test_a_second_look_counts(arbctl: Arbctl, spool: Path, tmp_path: Path, way: str, after: str) -> None:
    how, data = WAYS[way], spool / "market.npz"
    file = how.get("file", lambda folder, path: path)(tmp_path, data)
    n, plain = how.get("n", N), how.get("plain", False)
    job = _job(tmp_path, file, how.get("seed", 2), n, **({} if plain else HOLDOUT))
    words = ("run", job, "--session-id", "look", "--worker-id", "w")
    for each in (words, *AFTER[after]):
        code, _, err = arbctl(*(tmp_path / "look.tar.gz" if word == "ARCHIVE" else word for word in each))
        assert code == 0, err
    found = _verdict(arbctl)
    assert found["trials_on_data"] == N + n
    assert "looked at before" in found["rule"]


def test_the_first_look_is_not_counted_twice(arbctl: Arbctl, spool: Path) -> None:
    found = _verdict(arbctl)
    assert found["trials_on_data"] == N
    assert "looked at before" not in found["rule"]


@pytest.mark.parametrize("more", [0, 3 * N])
def test_the_same_search_in_another_file_counts_as_far_as_it_went_there(
    arbctl: Arbctl, spool: Path, tmp_path: Path, more: int
) -> None:
    job = _job(tmp_path, _as_csv(tmp_path, quotes()), 1, N + more, **HOLDOUT)
    code, _, err = arbctl("run", job, "--session-id", "look", "--worker-id", "w")
    assert code == 0, err
    assert _verdict(arbctl)["trials_on_data"] == N + more
