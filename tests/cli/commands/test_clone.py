"""`arbctl clone`: a session's job once more; and what is said to who mistypes a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

JOB = {
    "session_id": "first", "notes": "Why, in words.\nAnd what came of it.", "objective": {"python": "samples:quick"}, "metric": "value",
    "tuning": {"method": "random", "max_iterations": 20, "seed": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
}  # fmt: skip


@pytest.fixture
def first(arbctl: Arbctl, tmp_path: Path) -> str:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    code, _, err = arbctl("run", tmp_path / "job.yaml", "--workers", "1")
    assert code == 0, err
    return "first"


def test_a_clone_is_the_job_with_what_is_to_be_different_under_an_id_of_its_own(
    arbctl: Arbctl, layout: SpoolLayout, first: str
) -> None:
    code, out, err = arbctl("clone", first, "--session-id", "second", "--set", "tuning.seed=7", "--json")
    assert (code, json.loads(out)["session_id"]) == (0, "second"), err
    (dropped,) = [path for path in layout.incoming.iterdir() if path.is_file()]
    job = yaml.safe_load(dropped.read_text())
    assert (job["session_id"], job["notes"]) == ("second", JOB["notes"])
    assert job["tuning"] == JOB["tuning"] | {"seed": 7}
    code, out, _ = arbctl("clone", first)
    assert (code, out.strip() not in ("", "first", "second")) == (0, True)
    code, _, err = arbctl("clone", first, "--set", "tuning.sed=7")
    assert (code, "did you mean 'seed'" in err) == (2, True)


@pytest.mark.parametrize("method", ["random", "sobol", "halton"])
def test_a_longer_search_of_the_same_seed_begins_alike(arbctl: Arbctl, tmp_path: Path, method: str) -> None:
    found = []
    for number, count in enumerate((20, 77)):
        job = JOB | {"session_id": f"s{number}", "tuning": JOB["tuning"] | {"method": method, "max_iterations": count}}  # type: ignore[operator]
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        assert arbctl("run", tmp_path / "job.yaml", "--workers", "1")[0] == 0
        assert arbctl("export", f"s{number}", "--format", "jsonl", "--output", tmp_path / "rows.jsonl")[0] == 0
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        found.append({row["iteration"]: (row["params"], row["metrics"]) for row in rows})
    assert len(found[0]) == 20
    assert found[0].items() <= found[1].items()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("status", "frist"), "first"), (("summary", "frist"), "first"), (("best", "firs"), "first"), (("report", "firstt"), "first"), (("clone", "fist"), "first"),
        (("verdict", "firt"), "first"), (("replay", "firts", "best"), "first"), (("pause", "f1rst"), "first"), (("history", "frist"), "first"), (("repair", "frist", "--check"), "first"),
        (("summary", "first", "--metric", "valeu"), "value"), (("compare", "first", "first", "--metric", "valu"), "value"), (("report", "first", "--metric", "vlue"), "value"),
        (("retry", "first", "--state", "fialed"), "failed"), (("list", "--state", "runing"), "running"), (("best", "first", "--format", "yml"), "yaml"),
        (("export", "first", "--format", "cvs", "--output", "x"), "csv"), (("sumary", "first"), "summary"), (("completion", "bsh"), "bash"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)  # fmt: skip
def test_whoever_mistypes_a_name_is_told_the_nearest(
    arbctl: Arbctl, layout: SpoolLayout, arguments: tuple[str, ...], meant: str
) -> None:
    paths = make_session(layout, 3, "first")
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    code, _, err = arbctl(*arguments)
    assert code in (2, 3)
    assert f"did you mean {meant!r}?" in err.replace("`", "'"), err
    assert err.count("\n") == 1
