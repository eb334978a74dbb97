"""Thousands of stories of daemons, filesystems and disasters, each from one seed; and that they would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest import mock

import pytest

from arbd.daemon.notices.log import Step
from arbd.daemon.notices.outbox import Outbox
from arbd.results.store_reader import read_results
from arbd.spool.ledger import COMPLETED
from tests.conftest import REPOSITORY
from tests.simulation.__main__ import catch, play_all
from tests.simulation.daemon import SimDaemon
from tests.simulation.mutants import MUTANTS
from tests.simulation.notices import play_notices
from tests.simulation.retention import play_retention
from tests.simulation.scenario import Scenario
from tests.simulation.slot import Objective
from tests.spool.sessions import spec_of

# ARBD_TEST_SEEDS=100 is a glance; ARBD_TEST_UPGRADES=2000 plays as many as of the others.
SEEDS = int(os.environ.get("ARBD_TEST_SEEDS", "2000"))
UPGRADES = int(os.environ.get("ARBD_TEST_UPGRADES", "300"))
NOTICED = int(os.environ.get("ARBD_TEST_NOTICED", "15"))
RETAINED = int(os.environ.get("ARBD_TEST_RETAINED", "25"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_invariant_holds_on_thousands_of_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    failed = play_all(0, SEEDS, len(os.sched_getaffinity(0)))
    assert [f"bin/simulate --seed {outcome.seed}: {outcome.violation}" for outcome in failed] == []
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_are_upgraded_one_after_the_other_and_nothing_is_lost_or_called_damage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = play_all(0, UPGRADES, len(os.sched_getaffinity(0)), upgrade=True)
    assert [f"bin/simulate --upgrade --seed {outcome.seed}: {outcome.violation}" for outcome in failed] == []
    capsys.readouterr()


def test_every_session_is_archived_whole_and_removed_once_whatever_happens_and_extended_or_not() -> None:
    failed = {seed: told for seed in range(RETAINED) if (told := play_retention(seed))}
    assert failed == {}


def test_a_target_is_told_of_every_end_by_one_host_whatever_happens_and_again_only_where_that_is_not_known() -> None:
    failed = {seed: told for seed in range(NOTICED) if (told := play_notices(seed))}
    assert failed == {}


def test_who_sends_before_it_is_written_down_or_believes_what_it_read_before_is_caught() -> None:
    def hasty(self: Outbox, steps: list[Step]) -> bool:
        self.told.fold(steps)
        return True

    with mock.patch.object(Outbox, "_write_first", hasty):
        assert any(play_notices(seed) for seed in range(20))


def test_a_newer_version_that_writes_its_own_schema_into_an_older_session_is_caught() -> None:
    def careless(seed: int) -> Scenario:
        story = Scenario(seed, upgrade=True)
        assert story.versions is not None
        story.versions.keeps = False
        return story

    told = (careless(seed).play().violation for seed in range(200))
    assert next((violation for violation in told if "V2" in violation or "V3" in violation), "") != ""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_planted_bug_is_caught(mutant: str) -> None:
    assert catch(mutant, 0, 2_000) is not None


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "11"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=REPOSITORY, check=True, capture_output=True, text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(told) == 1
    assert "every invariant holds" in told.pop()


@pytest.mark.parametrize("seed", range(40))
def test_no_decision_depends_on_a_calendar(seed: int) -> None:
    straight, skewed = Scenario(seed), Scenario(seed, wall_skew=-0.7)
    assert straight.play().digest == skewed.play().digest
    assert straight.hosts[0].wall_offset_s != skewed.hosts[0].wall_offset_s


def _quiet(n_hosts: int, n: int, **objective: frozenset[int]) -> Scenario:
    """One job on hosts to which nothing happens."""
    story = next(s for s in (Scenario(seed, calm=True) for seed in range(100)) if len(s.hosts) == n_hosts)
    name = next(iter(story.specs))
    story.specs = {name: spec_of(n, session_id=name)}
    story.objectives = {name: Objective(0.05, **objective)}
    story.around.slow = 0.3
    return story


def _workers_of(story: Scenario) -> dict[str, list[int]]:
    """Which iterations each worker's final rows stand for."""
    (name,) = story.specs
    found: dict[str, list[int]] = {}
    for group in read_results(story.checks.files, story.layout.session(name)):
        for iteration, worker in zip(group.rows.iteration.tolist(), group.worker.tolist(), strict=True):
            found.setdefault(group.workers[worker], []).append(iteration)
    return found


def _play(story: Scenario, *broken: str) -> None:
    start = SimDaemon.__post_init__

    def with_broken(daemon: SimDaemon) -> None:
        daemon.broken = daemon.host.name in broken
        start(daemon)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimDaemon, "__post_init__", with_broken)
        assert story.play().violation == ""


def test_a_host_on_which_everything_fails_spoils_nothing_and_stops_claiming() -> None:
    story = _quiet(2, 400)
    _play(story, "h1")
    assert set(_workers_of(story)) == {"w-h0"}
    assert any("pauses the session" in line and "in a row failed here" in line for line in story.lines)


def test_what_fails_everywhere_is_recorded_as_failed() -> None:
    story = _quiet(2, 60, failing=frozenset(range(1, 61)))
    _play(story)
    (name,) = story.specs
    for group in read_results(story.checks.files, story.layout.session(name)):
        assert not (group.rows.status == COMPLETED).any()


def test_an_iteration_that_kills_its_process_is_tried_on_another_host() -> None:
    story = _quiet(2, 40, crashing=frozenset({20}))
    _play(story)
    exits = [line.split()[1] for line in story.lines if "a slot died" in line]
    assert len(exits) == 2
    assert len({name.split(".")[0] for name in exits}) == 2
