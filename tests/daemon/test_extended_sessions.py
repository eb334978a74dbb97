"""A session that is done gets more iterations, and the daemons that live go on with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.test_sessions_end_to_end import assert_complete, content, is_done, state_of
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def test_daemons_that_live_go_on_with_an_extended_session_whatever_kills_them(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    learns = "tuning.method=cmaes", "tuning.generation_size=8", "tuning.generation_lag=2"
    plain = write_job(tmp_path / "job.yaml", "samples:slow", 60)
    for name, n, more in (("plan", 40, ()), ("plan-long", 140, ()), ("learn", 36, learns), ("learn-long", 60, learns)):
        options = [option for setting in (f"tuning.max_iterations={n}", *more) for option in ("--set", setting)]
        assert arbctl("submit", plain, "--session-id", name, *options)[0] == 0
    daemons.start("a")
    victim = daemons.start("b")
    for name in ("plan", "learn", "plan-long", "learn-long"):
        wait_until(is_done(layout, name), 120, f"the end of {name}")
    assert json.loads(arbctl("--json", "extend", "plan", "--iterations", "100")[1]) == {
        "session_id": "plan", "iterations": 140,
    }  # fmt: skip
    assert "learn: 60 iterations, 24 more than before" in arbctl("extend", "learn", "--iterations", "24")[1]
    wait_until(lambda: state_of(layout, "plan").counted > 50, 60, "some more of plan")
    victim.kill()
    for name in ("plan", "learn"):
        wait_until(is_done(layout, name), 120, f"the end of {name}")
        assert_complete(load_table(layout.root, name), state_of(layout, name).n)
        assert content(load_table(layout.root, name)) == content(load_table(layout.root, f"{name}-long"))
    history = json.loads(arbctl("--json", "history", "plan")[1])["history"]
    assert [deed["what"] for deed in history if deed["what"] in ("done", "extend")] == ["done", "extend", "done"]
    code, _, err = arbctl("extend", "pln", "--iterations", "1")
    assert code == 3
    assert "did you mean 'plan'" in err
