"""A session whose files were wrong for longer than anybody waits, and then are not, completes by itself."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.liveness import read_beat
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job

pytestmark = [pytest.mark.bed, pytest.mark.slow]

N = 40


@contextlib.contextmanager
def all_bytes_lost(path: Path) -> Iterator[None]:
    with path.open("r+b") as file:
        kept = file.read()
        file.seek(0)
        file.write(bytes(len(kept)))
    yield
    with path.open("r+b") as file:
        file.write(kept)


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    aside = path.with_name(f".aside-{path.name}")
    path.rename(aside)
    yield
    aside.rename(path)


@contextlib.contextmanager
def a_folder_in_its_place(path: Path) -> Iterator[None]:
    with moved_away(path):
        path.mkdir()
        yield
        path.rmdir()


BREAKS: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "zeroed": all_bytes_lost, "away": moved_away, "folder": a_folder_in_its_place
}  # fmt: skip
FILES: dict[str, Callable[[SessionPaths], Path]] = {
    "ledger": lambda paths: paths.ledger,
    "spec": lambda paths: paths.spec,
    "generation": lambda paths: next(iter(sorted(paths.generations.iterdir()))),
}
CASES = list(itertools.product(FILES, BREAKS, (True, False)))


def name_of(case: tuple[str, str, bool]) -> str:
    file, how, running = case
    return f"{file}-{how}-{'running' if running else 'waiting'}"


def is_done(layout: SpoolLayout, name: str) -> bool:
    return SessionQueue(Files(), layout.session(name)).refresh().done


def test_each_file_of_a_session_broken_in_each_way_before_and_while_it_runs(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    settings = arbctl.config.read_text()
    arbctl.config.write_text(settings.replace("scan_s: 0.2", "scan_s: 0.02"))
    for case in CASES:
        more = {"method": "tpe"} if case[0] == "generation" else {}
        job = write_job(tmp_path / "job.yaml", "samples:slow", N, **more)
        assert arbctl("submit", job, "--session-id", name_of(case))[0] == 0
    first = daemons.start("a", slots=1)
    everywhere = [layout.session(name_of(case)) for case in CASES]
    searches = [layout.session(name_of(case)) for case in CASES if case[0] == "generation"]
    wait_until(lambda: all(paths.ledger.exists() for paths in everywhere), 60, "sessions of all jobs")
    names = [name_of(case) for case in CASES]
    assert all(arbctl("pause", name)[0] == 0 for name in names if not name.startswith("generation"))
    wait_until(lambda: all(any(paths.generations.iterdir()) for paths in searches), 60, "a generation of every search")
    first.terminate()
    assert first.wait(20) == 0

    assert all(arbctl("resume", name)[0] == 0 for name in names if not name.startswith("generation"))

    broken = contextlib.ExitStack()
    for file, how, running in CASES:
        if not running:
            broken.enter_context(BREAKS[how](FILES[file](layout.session(name_of((file, how, running))))))
    daemons.start("b", slots=2)
    wait_until(lambda: (layout.workers / "b.beat").exists(), what="the second daemon")
    for file, how, running in CASES:
        if running:
            broken.enter_context(BREAKS[how](FILES[file](layout.session(name_of((file, how, running))))))
    begun = read_beat(Files(), layout, "b").counter
    wait_until(lambda: read_beat(Files(), layout, "b").counter > begun + 15, 60, "more looks than make it unreadable")
    unusable = {name_of(case) for case in CASES if case[0] != "generation" and not case[2]}
    wait_until(
        lambda: unusable <= read_beat(Files(), layout, "b").about.get("blocked", {}).keys(), what="each to be told of"
    )
    broken.close()
    wait_until(lambda: all(is_done(layout, name_of(case)) for case in CASES), 120, "all of them")
    for case in CASES:
        table = load_table(layout.root, name_of(case))
        assert table.rows.iteration.tolist() == list(range(1, N + 1)), name_of(case)
        assert set(table.rows.status.tolist()) == {0}, name_of(case)
