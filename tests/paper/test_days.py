"""Day files of a folder are one market: in a job, in the cache, and to whoever evaluates."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.errors import DataError
from arbd.paper.market.cache import load_days
from arbd.paper.market.days import DayFiles
from arbd.paper.market.quotes import Quotes, build_quotes, quotes_of
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl
from tests.paper.test_levels_and_funding import same, same_markets, with_levels

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04")


def whole(rows: int = 2_000) -> Quotes:
    return synth_profile("kimchi", 4, rows, span_s=4 * 86_400)


def parts(quotes: Quotes) -> dict[str, Quotes]:
    """By day."""
    day = (quotes.ts_ns - quotes.ts_ns[0]) // (86_400 * 10**9)
    return {
        name: quotes_of({key: column[day == number] for key, column in quotes.told().items()})
        for number, name in enumerate(DAYS)
    }


def folder_of(tmp_path: Path, suffix: str = ".npz", without: tuple[str, ...] = ()) -> Path:
    folder = tmp_path / "days"
    folder.mkdir(exist_ok=True)
    for name, quotes in parts(whole()).items():
        if name not in without:
            write_quotes(quotes, folder / f"BTC-{name}{suffix}")
    (folder / "notes.txt").write_text("not quotes")
    return folder


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_day_files_are_the_market_that_was_cut_into_them(tmp_path: Path, suffix: str) -> None:
    days = DayFiles(folder_of(tmp_path, suffix), "BTC-*")
    made = replace(whole(), block=np.zeros(2_000, dtype=np.int64))
    for cache in (tmp_path / "cache", tmp_path / "cache", None):
        loaded, market = load_days(days, cache)
        assert same(loaded.quotes, made)
        assert np.array_equal(market.ts_ns, made.ts_ns)
    assert DayFiles.parse(str(days)) == days


def test_days_are_chosen_by_the_names_of_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for first, last, expected in (
        ("2024-01-02", "2024-01-03", DAYS[1:3]),
        ("", "2024-01-01", DAYS[:1]),
        ("2024-01-04", "", DAYS[3:]),
    ):
        files = DayFiles(folder, "*", first, last).files()
        assert [file.name for file in files] == [f"BTC-{day}.npz" for day in expected]
    assert [file.name for file in DayFiles(folder, "*-03*").files()] == ["BTC-2024-01-03.npz"]


def test_a_day_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    loaded, market = load_days(DayFiles(folder_of(tmp_path, without=(DAYS[1],))), tmp_path / "cache")
    assert sorted(set(loaded.quotes.block.tolist())) == [0, 1]
    seam = int(np.flatnonzero(np.diff(loaded.quotes.block))[0])
    assert loaded.quotes.ts_ns[seam + 1] - loaded.quotes.ts_ns[seam] > 80_000 * 10**9
    assert market.block[seam] != market.block[seam + 1]


def test_blocks_of_files_go_on_from_one_to_the_next(tmp_path: Path) -> None:
    for number, (name, quotes) in enumerate(parts(whole()).items()):
        block = np.arange(len(quotes)) // (len(quotes) // 2 + 1)
        write_quotes(replace(quotes, block=block + 7 * number), tmp_path / f"{name}.npz")
    loaded, _ = load_days(DayFiles(tmp_path), tmp_path / "cache")
    steps = np.diff(loaded.quotes.block)
    assert (steps >= 0).all()
    assert int((steps > 0).sum()) == len(DAYS)


def test_levels_and_dropped_rows_are_kept_and_counted(tmp_path: Path) -> None:
    first = with_levels(3, 2)
    later = {**first, "ts_ns": first["ts_ns"] + 10**10}
    later["bid_a"] = later["bid_a"].copy()
    later["bid_a"][2] = np.nan
    np.savez(tmp_path / "2024-01-01.npz", **first)
    np.savez(tmp_path / "2024-01-02.npz", **later)
    loaded, market = load_days(DayFiles(tmp_path), tmp_path / "cache", "drop")
    assert (len(loaded.quotes), loaded.dropped, len(loaded.quotes.levels)) == (13, 1, 2)
    assert same_markets(market, load_days(DayFiles(tmp_path), None, "drop")[1])
    with pytest.raises(DataError, match="2024-01-02.npz, row 3: bid_a is nan"):
        load_days(DayFiles(tmp_path), tmp_path / "cache")


def shifted(**changed: Any) -> dict[str, Any]:
    base = with_levels(1, 1)
    return base | {"ts_ns": base["ts_ns"] + changed.pop("by", 0) * 10**9} | changed


@pytest.mark.parametrize(
    ("files", "days", "reason"),
    [
        ({}, {}, "has no file \\*"),
        ({"BTC-2024-01-01": shifted()}, {"first": "2025-01-01"}, "of 2025-01-01 to the last"),
        ({"BTC": shifted()}, {"first": "2024-01-01"}, "BTC.npz: its name tells no day"),
        ({"a": shifted(), "b": shifted(by=3)}, {}, "b.npz: begins before a.npz ends"),
        ({"2024-01-01": shifted(), "2024-01-01-again": shifted()}, {}, "01.npz: begins before 2024-01-01-again.npz ends"),
        ({"a": shifted(), "b": shifted(by=60, fx=np.ones(7), bid_size_a=np.ones(7))}, {}, "tells other columns .* bid_size_a"),
    ],
)  # fmt: skip
def test_folders_that_are_no_market_are_told(
    tmp_path: Path, files: dict[str, Any], days: dict[str, str], reason: str
) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    for name, given in files.items():
        np.savez(folder / f"{name}.npz", **given)
    with pytest.raises(DataError, match=reason):
        load_days(DayFiles(folder, **days), tmp_path / "cache")
    with pytest.raises(DataError, match="cannot be listed"):
        load_days(DayFiles(tmp_path / "absent"), tmp_path / "cache")


def test_a_job_over_a_folder_runs_as_one_over_the_whole_file(tmp_path: Path, arbctl: Arbctl) -> None:
    folder = folder_of(tmp_path)
    write_quotes(whole(), tmp_path / "whole.npz")
    tuning = {
        "method": "grid",
        "grid_points": 4,
        "search_space": {"min_spread_pct": {"type": "float", "bounds": [0.0, 0.1]}},
    }
    rows: dict[str, Any] = {}
    for name, data in (
        ("one", ["whole.npz"]),
        ("days", [{"folder": "days", "pattern": "BTC-*", "from": "2024-01-01"}]),
    ):
        job = tmp_path / f"{name}.yaml"
        job.write_text(
            yaml.safe_dump(
                {"session_id": name, "data": data, "fixed": {"fee_a_bps": 0, "fee_b_bps": 0}, "tuning": tuning}
            )
        )
        assert arbctl("validate", job)[0] == 0
        code, _, err = arbctl("run", job, "--workers", 1)
        assert code == 0, err
        rows[name] = json.loads(arbctl("summary", name, "--json")[1])["ranking"]
    assert [row["metrics"] for row in rows["days"]] == [row["metrics"] for row in rows["one"]]
    assert rows["one"][0]["metrics"]["trades"] > 0
    write_quotes(parts(whole(2_100))[DAYS[2]], folder / f"BTC-{DAYS[2]}.npz")
    code, _, err = arbctl("run", tmp_path / "days.yaml", "--workers", 1)
    assert code != 0
    assert "days" in err


JOB = {"fixed": {"fee_a_bps": 0, "fee_b_bps": 0}, "tuning": {
    "method": "grid", "grid_points": 4, "search_space": {"min_spread_pct": {"type": "float", "bounds": [0.0, 0.1]}},
}}  # fmt: skip


def write_job(tmp_path: Path, name: str, **days: str) -> Path:
    job = tmp_path / f"{name}.yaml"
    job.write_text(yaml.safe_dump({"session_id": name, "data": [{"folder": "days", **days}], **JOB}))
    return job


@pytest.mark.parametrize("window", [{}, {"from": "2023-12-01"}, {"to": "2024-12-31"}])
def test_days_that_arrive_after_a_job_was_taken_up_are_no_part_of_it(
    tmp_path: Path, arbctl: Arbctl, window: dict[str, str]
) -> None:
    folder = folder_of(tmp_path, without=(DAYS[0], DAYS[3]))
    code, out, err = arbctl("validate", "--json", write_job(tmp_path, "one", **window))
    assert code == 0, err
    (name,) = json.loads(out)["resolved"]["data"]
    assert name == f"{folder}/*[{DAYS[1]}..{DAYS[2]}]"
    days = DayFiles.parse(name)
    assert days is not None
    before = load_days(days, tmp_path / "cache")[0]
    for day in (DAYS[0], DAYS[3]):
        write_quotes(parts(whole())[day], folder / f"BTC-{day}.npz")
    assert load_days(days, tmp_path / "cache", expected_digest=before.digest)[0].digest == before.digest
    write_quotes(parts(whole(2_100))[DAYS[2]], folder / f"BTC-{DAYS[2]}.npz")
    with pytest.raises(DataError, match="its files are not those that the job was accepted with"):
        load_days(days, tmp_path / "cache", expected_digest=before.digest)


def test_days_without_a_file_are_told_where_a_job_is_checked_and_run(tmp_path: Path, arbctl: Arbctl) -> None:
    folder = folder_of(tmp_path, without=DAYS[1:3])
    job = write_job(tmp_path, "gaps", last="4d")
    told = f"{folder}/*[{DAYS[0]}..{DAYS[3]}] has no file of {DAYS[1]}, {DAYS[2]}: gaps in the market"
    assert told in arbctl("validate", job)[1]
    assert arbctl("run", job, "--workers", 1)[0] == 0
    for day in DAYS[1:3]:
        write_quotes(parts(whole())[day], folder / f"BTC-{day}.npz")
    assert "no file" not in arbctl("validate", job)[1]


def test_a_folder_has_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    row = {name: column[:1] for name, column in with_levels(1, 1).items()}
    folder = tmp_path / "days"
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(120):
        np.savez(folder / f"{number:03}.npz", **{**row, "ts_ns": row["ts_ns"] + number * 10**9})
    # Half as many as there are files, beside what tests before this one left open.
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 60, hard))
    try:
        loaded, _ = load_days(DayFiles(folder), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(loaded.quotes) == 120


def test_a_folder_that_cannot_be_used_is_a_fault_of_its_line(tmp_path: Path, arbctl: Arbctl) -> None:
    for data, reason in (
        ({"folder": "nowhere"}, "cannot be listed"),
        ({"folder": ".", "pattern": "a/b"}, "pattern"),
        ({"folder": ".", "from": "yesterday"}, "from"),
        ({"folder": ".", "until": "2024-01-01"}, "until"),
    ):
        job = tmp_path / "job.yaml"
        space = {"min_spread_pct": {"type": "float", "bounds": [0.0, 0.1]}}
        job.write_text(
            yaml.safe_dump({"data": [data], "tuning": {"method": "random", "max_iterations": 2, "search_space": space}})
        )
        code, _, err = arbctl("validate", job)
        assert code == 2 and reason in err, err


def test_quotes_that_are_alike_have_one_order(tmp_path: Path) -> None:
    made = build_quotes(with_levels(1, 1), "x")[0]
    write_quotes(made, tmp_path / "x20240102.npz")
    write_quotes(replace(made, ts_ns=made.ts_ns - 86_400 * 10**9), tmp_path / "z2024_01_01.npz")
    assert [file.name for file in DayFiles(tmp_path).files()] == ["z2024_01_01.npz", "x20240102.npz"]
