"""What each alert on a worker's condition looks at shows the real cause, made with a real daemon, and its end."""

from __future__ import annotations

import contextlib
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.side.test_metrics import free_port, samples, scraped
from tests.jobs import write_job

pytestmark = pytest.mark.bed

Shown = Callable[[str], float]


@pytest.fixture
def shown(arbctl: Arbctl, daemons: Daemons) -> Shown:
    """The value of a metric of a daemon that runs."""
    port = free_port()
    arbctl.config.write_text(arbctl.config.read_text() + f"metrics: {{listen: '{port}'}}\n")
    daemons.start("a", slots=1)

    def value(name: str) -> float:
        try:
            return samples(scraped(port)).get((name,), float("nan"))
        except urllib.error.URLError:
            return float("nan")

    wait_until(lambda: value("arbd_spool_trouble") == 0, what="a daemon that shows itself")
    return value


@contextlib.contextmanager
def aside(path: Path) -> Iterator[None]:
    moved = path.with_name(f"{path.name}.aside")
    path.rename(moved)
    yield
    moved.rename(path)


def run_session(arbctl: Arbctl, tmp_path: Path, name: str, objective: str = "samples:quick", n: int = 5) -> None:
    assert arbctl("submit", write_job(tmp_path / "job.yaml", objective, n), "--session-id", name)[0] == 0


def test_a_spool_that_is_away_is_trouble_until_it_is_back(layout: SpoolLayout, shown: Shown) -> None:
    with aside(layout.root):
        wait_until(lambda: shown("arbd_spool_trouble") == 1, what="trouble")
    wait_until(lambda: shown("arbd_spool_trouble") == 0, what="its end")


def test_workers_that_is_no_folder_is_trouble_until_it_is_one(layout: SpoolLayout, shown: Shown) -> None:
    with aside(layout.workers):
        layout.workers.write_text("")
        wait_until(lambda: shown("arbd_spool_trouble") == 1, what="trouble")
        layout.workers.unlink()
    wait_until(lambda: shown("arbd_spool_trouble") == 0, what="its end")


def test_a_ledger_that_cannot_be_read_is_an_unreadable_session_until_it_can(
    arbctl: Arbctl, layout: SpoolLayout, shown: Shown, tmp_path: Path
) -> None:
    run_session(arbctl, tmp_path, "s", "samples:slow", 4_000)
    ledger = layout.session("s").ledger
    wait_until(lambda: ledger.exists() and any(layout.session("s").segments.iterdir()), what="a start")
    with aside(ledger):
        ledger.mkdir()
        wait_until(
            lambda: shown("arbd_sessions_unreadable") == 1 or shown("arbd_spool_trouble") == 1, what="word of it"
        )
        ledger.rmdir()
    wait_until(lambda: shown("arbd_sessions_unreadable") + shown("arbd_spool_trouble") == 0, what="its end")


def test_a_folder_in_the_place_of_the_results_makes_compaction_fail_until_it_is_gone(
    arbctl: Arbctl, layout: SpoolLayout, shown: Shown, tmp_path: Path
) -> None:
    run_session(arbctl, tmp_path, "s", "samples:very_slow", 8)
    paths = layout.session("s")
    wait_until(paths.ledger.exists, what="the session")
    paths.results.mkdir()
    wait_until(lambda: shown("arbd_compactions_failing") == 1, what="word of it")
    wait_until(lambda: shown("arbd_finishing_seconds") > 0, what="a session that does not end")
    paths.results.rmdir()
    wait_until(lambda: shown("arbd_compactions_failing") == 0 and shown("arbd_finishing_seconds") == 0, what="its end")


def test_a_job_whose_last_line_has_no_end_waits_and_is_shown(layout: SpoolLayout, shown: Shown) -> None:
    dropped = layout.incoming / "half.yaml"
    dropped.write_text("objective: {python: 'samples:quick'}\nmetric: val")
    wait_until(lambda: shown("arbd_jobs_waiting_seconds") > 0, what="a job that waits")
    dropped.unlink()
    wait_until(lambda: shown("arbd_jobs_waiting_seconds") == 0, what="its end")


def test_a_refused_job_is_counted_until_it_is_removed(layout: SpoolLayout, shown: Shown) -> None:
    (layout.incoming / "bad.submitted.yaml").write_text("tuning: {method: gird}\n")
    wait_until(lambda: shown("arbd_jobs_rejected") == 1, what="a refused job")
    for path in layout.rejected.iterdir():
        path.unlink()
    wait_until(lambda: shown("arbd_jobs_rejected") == 0, what="its end")
