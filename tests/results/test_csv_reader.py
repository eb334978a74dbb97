"""Tables of results that went through a spreadsheet or pandas are read as they were, or told for what they are."""

from __future__ import annotations

import csv
import io
import itertools
import math
from pathlib import Path

import pytest

from arbd.errors import DataError
from arbd.results.csv_reader import load_results_from_csv, read_table
from tests.conftest import Arbctl

HEAD = ["session_id", "worker_id", "iteration", "status", "timestamp", "duration_s", "attempt", "error", "param_x", "param_kind", "param_flag", "metric_value"]  # fmt: skip
ROWS = [
    ["s", "w", "1", "completed", "2026-01-01T00:00:00Z", "0.1", "1", "", "0.5", "up", "True", "1.25"],
    [
        "s",
        "w",
        "2",
        "failed",
        "2026-01-01T00:00:01Z",
        "0.25",
        "2",
        "ValueError: a; b, c",
        "1e-05",
        "'=down",
        "False",
        "",
    ],
]


def written(path: Path, *, mark: bool, delimiter: str, index: str | None, floats: bool, comma: bool, end: str) -> Path:
    rows = [[*row] for row in ROWS]
    for row in rows:
        if floats:
            row[2], row[6] = f"{row[2]}.0", f"{row[6]}.0"
        if comma:
            row[:] = [cell.replace(".", ",") if at in (2, 5, 6, 8, 11) else cell for at, cell in enumerate(row)]
    table = [HEAD, *rows]
    if index is not None:
        table = [[index, *HEAD], *([str(number), *row] for number, row in enumerate(rows))]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(table)
    path.write_bytes((("\ufeff" if mark else "") + text.getvalue()).encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("index", [None, "", "index", "Unnamed: 0"])
def test_every_way_of_a_spreadsheet_or_pandas_gives_the_same_results(
    tmp_path: Path, delimiter: str, index: str | None
) -> None:
    for mark, floats, comma, end in itertools.product([False, True], [False, True], [False, True], ["\n", "\r\n"]):
        if comma and delimiter != ";":
            continue
        path = written(
            tmp_path / "r.csv", mark=mark, delimiter=delimiter, index=index, floats=floats, comma=comma, end=end
        )
        first, second = load_results_from_csv(path)
        assert (first.iteration, first.attempt, first.duration_s, first.metrics) == (1, 1, 0.1, {"value": 1.25})
        assert first.params == {"x": 0.5, "kind": "up", "flag": True}
        assert (second.iteration, second.attempt, second.metrics) == (2, 2, {})
        assert (second.params["kind"], second.error) == ("=down", "ValueError: a; b, c")
        assert math.isclose(float(second.params["x"]), 1e-5)


def test_summary_reads_what_excel_saved(tmp_path: Path, arbctl: Arbctl) -> None:
    path = written(tmp_path / "r.csv", mark=True, delimiter=";", index=None, floats=True, comma=True, end="\r\n")
    code, out, err = arbctl("summary", "--csv", path, "--metric", "value")
    assert (code, err) == (0, "")
    assert "1.25" in out


@pytest.mark.parametrize(
    ("change", "row", "reason"),
    [
        (lambda text: text.replace(",1,completed", ",1.5,completed"), 1, "iteration is '1.5', not an integer"),
        (lambda text: text.replace(",1,completed", ",inf,completed"), 1, "iteration is 'inf', not an integer"),
        (lambda text: text.replace("1.25", "high"), 1, "metric_value is 'high', not a number"),
        (lambda text: text.replace("param_x", "iteration"), None, "has 2 columns iteration: which one counts"),
        (lambda text: text.replace("session_id", "id"), None, "no column session_id; is it a results table of arbd"),
        (
            lambda text: text.replace(",up,", ",u,p,"),
            1,
            "has another number of cells .13. than the first line has columns .12.",
        ),
        (lambda text: "x" * 2_000_000 + text, None, "first line of more than"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(tmp_path: Path, change: object, row: int | None, reason: str) -> None:
    path = written(tmp_path / "r.csv", mark=False, delimiter=",", index=None, floats=False, comma=False, end="\n")
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match=reason) as caught:
        load_results_from_csv(path)
    assert caught.value.row == row


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes((",".join(HEAD) + "\n" + ",".join(ROWS[0]) + "ü\n").encode(encoding))
    with pytest.raises(DataError, match="UTF-8"):
        load_results_from_csv(path)


def test_more_results_than_a_search_starts_from_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "r.csv", mark=False, delimiter=",", index=None, floats=False, comma=False, end="\n")
    assert len(read_table(path, 2)) == 2
    with pytest.raises(DataError, match="has more than 1 results, the maximum: export the best of them"):
        read_table(path, 1)
