"""A file with `each:` that is dropped into the spool by hand, under a real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def test_a_dropped_file_becomes_all_its_sessions_or_is_refused_as_a_whole(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    bad = write_job(tmp_path / "bad.yaml", "samples:quick", 5, session_id="bad", each={"tuning.seed": [1, "x"]})
    good = write_job(
        tmp_path / "good.yaml",
        "samples:quick",
        5,
        session_id="grid",
        each={"tuning.seed": [1, 2, 3]},
        labels={"k": "v"},
    )
    for job in (bad, good):
        job.rename(layout.incoming / job.name)
    listed = ("list", "--all", "--label", "array=grid", "--json")

    def done() -> list[str]:
        found = json.loads(arbctl(*listed)[1])["sessions"]
        return sorted(view["session_id"] for view in found if view["state"] == "done")

    wait_until(lambda: done() == ["grid-1", "grid-2", "grid-3"], 120.0, what="all sessions of the file")
    for number in (1, 2, 3):
        job = yaml.safe_load(layout.session(f"grid-{number}").job.read_text())
        assert (job["tuning"]["seed"], job["labels"], "each" in job) == (number, {"k": "v", "array": "grid"}, False)
    wait_until(lambda: list(layout.rejected.glob("bad.yaml*.error.txt")), 60.0, what="the refusal")
    (reason,) = layout.rejected.glob("bad.yaml*.error.txt")
    assert "bad-2 (tuning.seed=x)" in reason.read_text()
    assert "bad" not in {
        view["session_id"].partition("-")[0] for view in json.loads(arbctl("list", "--all", "--json")[1])["sessions"]
    }
    assert "job array accepted" in daemons.log()
