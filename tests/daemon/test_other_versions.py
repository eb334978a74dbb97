"""Daemons leave alone what another version wrote, say so once, and go on with everything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd import schema
from tests.conftest import Arbctl, Daemons, wait_until
from tests.golden.places import copy_spool, names, put_home
from tests.golden.restamp import CHANGES, restamp
from tests.jobs import write_job
from tests.test_schema import assert_not_damaged, assert_told, files_of

pytestmark = pytest.mark.bed
GOLDEN = names()[-1]


@pytest.fixture
def arbctl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Arbctl:
    """On a copy of the golden spool."""
    home = put_home(GOLDEN)
    (tmp_path / "arbd.yaml").write_text(
        f"allow: ['*']\nobjective_paths: [{home / 'objectives'}]\ncache_dir: {tmp_path / 'cache'}\n"
        "settle_s: 0.1\nscan_s: 0.1\nbeat_s: 0.2\nlease_s: 1\nchunk_target_s: 0.2\n"
    )
    return Arbctl(capsys, copy_spool(GOLDEN, tmp_path / "spool"), tmp_path / "arbd.yaml")


@pytest.fixture
def daemons(arbctl: Arbctl, tmp_path: Path) -> Iterator[Daemons]:
    running = Daemons(arbctl.spool, arbctl.config, tmp_path)
    yield running
    running.stop()


def state_of(arbctl: Arbctl, session: str) -> str:
    found = {one["session_id"]: one["state"] for one in json.loads(arbctl("list", "--json")[1])["sessions"]}
    return str(found.get(session, "not there"))


@pytest.mark.parametrize("change", CHANGES)
def test_sessions_of_another_version_are_left_alone_and_said_once(
    change: str, arbctl: Arbctl, daemons: Daemons, tmp_path: Path
) -> None:
    for session in ("paused", "paused-tpe"):
        assert arbctl("resume", session)[0] == 0
    folders = arbctl.spool / "sessions"
    restamp(folders / "paused" / "ledger", CHANGES[change])
    restamp(max((folders / "paused-tpe" / "generations").iterdir()), CHANGES[change])
    for segment in (folders / "killed" / "segments").iterdir():
        restamp(segment, CHANGES[change])
    of = {"paused": schema.LEDGER, "paused-tpe": schema.GENERATION, "killed": schema.SEGMENT}
    before = {session: files_of(arbctl, session) for session in of}

    daemon = daemons.start("today")
    wait_until(lambda: state_of(arbctl, "waiting") == "done", what="the job that waits")
    # Two jobs more, one after the other: the daemon looked at everything again in between.
    for session in ("again", "and-again"):
        job = write_job(tmp_path / "job.yaml", "golden_objectives:plain", 4)
        assert arbctl("submit", job, "--session-id", session)[0] == 0
        wait_until(lambda session=session: state_of(arbctl, session) == "done", what=session)
    for session, kind in of.items():
        assert_told(json.loads(arbctl("status", session, "--json")[1])["reason"], kind, change)
        said = [line for line in daemons.log().splitlines() if f"session={session} " in line]
        assert len(said) == 1
        assert_told(said[0], kind, change)
    daemon.terminate()
    assert daemon.wait(30) == 0
    assert {session: files_of(arbctl, session) for session in of} == before
    assert_not_damaged(daemons.log())


@pytest.mark.parametrize("change", CHANGES)
def test_a_daemon_that_works_until_nothing_is_left_says_what_it_could_not_do(
    change: str, arbctl: Arbctl, daemons: Daemons
) -> None:
    restamp(arbctl.spool / "sessions" / "killed" / "spec.msgpack", CHANGES[change], key=schema.JOB.key)
    before = files_of(arbctl, "killed")
    assert daemons.start("today", "--burst").wait(60) == 1
    assert state_of(arbctl, "waiting") == "done"
    assert_told(daemons.log(), schema.JOB, change)
    assert files_of(arbctl, "killed") == before


@pytest.mark.parametrize("change", CHANGES)
def test_the_work_of_a_worker_whose_heartbeat_is_of_another_version_is_not_taken_from_it(
    change: str, arbctl: Arbctl, daemons: Daemons
) -> None:
    restamp(arbctl.spool / "workers" / "golden-killed.beat", CHANGES[change])
    claimed = json.loads(arbctl("status", "killed", "--json")[1])["claimed"]
    daemons.start("today")
    wait_until(lambda: json.loads(arbctl("status", "killed", "--json")[1])["done"] == 24 - claimed, what="the rest")
    wait_until(lambda: "whether a worker lives cannot be told here" in daemons.log(), what="the warning")
    daemons.stop()
    found = json.loads(arbctl("status", "killed", "--json")[1])
    assert (claimed, found["claimed"], found["done"]) == (2, 2, 22)
    (said,) = [line for line in daemons.log().splitlines() if "whether a worker lives" in line]
    assert_told(said, schema.HEARTBEAT, change)
    assert "took back" not in daemons.log()


@pytest.mark.parametrize("change", CHANGES)
def test_a_batch_of_another_version_that_comes_later_stops_compaction_and_reruns_nothing(
    change: str, arbctl: Arbctl, daemons: Daemons
) -> None:
    """As when hosts of two versions share a session and one of them writes what the other cannot read."""
    segment = next((arbctl.spool / "sessions" / "killed" / "segments").iterdir())
    restamp(segment, CHANGES[change], frame=-1)
    daemons.start("today")
    wait_until(lambda: json.loads(arbctl("status", "killed", "--json")[1])["done"] == 24, what="every iteration")
    wait_until(lambda: "segment schema" in daemons.log(), what="the error")
    before = files_of(arbctl, "killed")
    daemons.stop()
    found = json.loads(arbctl("status", "killed", "--json")[1])
    assert (found["state"], found["done"], found["pending"], found["claimed"]) == ("finishing", 24, 0, 0)
    assert files_of(arbctl, "killed") == before
    said = [line for line in daemons.log().splitlines() if "segment schema" in line]
    assert len(said) == 1
    assert_told(said[0], schema.SEGMENT, change)


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_starts_from_another_versions_session_waits_for_a_worker_that_can_read_it(
    change: str, arbctl: Arbctl, daemons: Daemons
) -> None:
    restamp(arbctl.spool / "sessions" / "tpe" / "results.msgpack", CHANGES[change])
    job = arbctl.spool / "incoming" / "later.yaml"
    job.write_text((put_home(GOLDEN) / "jobs" / "warm.yaml").read_text())
    daemons.start("today", "--burst").wait(60)
    assert state_of(arbctl, "waiting") == "done"
    assert job.is_file()
    assert [path.name for path in (arbctl.spool / "rejected").iterdir() if "later" in path.name] == []
    (said,) = [line for line in daemons.log().splitlines() if "later.yaml" in line]
    assert_told(said, schema.RESULTS, change)
