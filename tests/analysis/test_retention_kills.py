"""Retention under SIGKILL before each call to the system, of a round as a daemon makes it and of what a person does by hand.

Every kill is a real one, of a process of its own: nothing cleans up behind it. What is left holds every session that should
stay and every archive; whoever goes on ends it, once.
"""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import tarfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from arbd.analysis.archive import restore_archive
from arbd.cli.__main__ import call
from arbd.daemon.side.retention_process import Kept, RoundEnded, Setup, make_round
from arbd.job.stored import read_spec
from arbd.results.compaction import compact
from arbd.results.store_reader import read_results
from arbd.results.trials import trials_on_data
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.retention_log import ARCHIVED, PURGING, read_deeds
from arbd.spool.retention_rules import RetentionSettings, parse_rules
from arbd.spool.session_index import make_anew
from arbd.spool.sessions import remove_unfinished, session_ids
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

N = 6
NAMES = ("one", "three", "two")
# All calls with ARBD_RETENTION_KILLS=all, else one of so many.
ALL = os.environ.get("ARBD_RETENTION_KILLS") == "all"
STRIDE = 1 if ALL else 23
# All of them take longer than any other test, and on a busy machine many times as long.
pytestmark = [pytest.mark.timeout(3600)] if ALL else []
CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("open", "write", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "ftruncate")),
    (tarfile.TarFile, "addfile"),
)  # fmt: skip


@dataclass
class Ground:
    """A spool with sessions that are done, and a folder for archives; copied for each kill."""

    folder: Path
    expected: dict[str, list[float]] = field(default_factory=dict)

    @property
    def layout(self) -> SpoolLayout:
        return SpoolLayout(self.folder / "spool")

    @property
    def archives(self) -> Path:
        return self.folder / "archives"

    def copy(self, to: Path) -> Ground:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        return Ground(to, self.expected)

    def there(self) -> set[str]:
        return set(session_ids(Files(), self.layout))

    def values(self, name: str, layout: SpoolLayout | None = None) -> list[float]:
        groups = read_results(Files(), (layout or self.layout).session(name))
        return [float(value) for group in groups for value in group.rows.metrics["value"]]

    def archived(self, archive: Path) -> tuple[str, list[float]]:
        """Which session an archive is of, and its results."""
        other = SpoolLayout(self.folder / "restored")
        shutil.rmtree(other.root, ignore_errors=True)
        other.root.mkdir()
        other.prepare()
        name = restore_archive(Files(), other, archive)
        return name, self.values(name, other)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    made = Ground(tmp_path / "ground")
    made.layout.root.mkdir(parents=True)
    made.layout.prepare()
    made.archives.mkdir()
    for name in NAMES:
        paths = make_session(made.layout, N, name)
        write_rows(paths, "a", rows_of(1, N, value=float(len(name)), blocks=True))
        exhaust(paths, N)
        compact(Files(), paths)
        made.expected[name] = made.values(name)
    make_anew(Files(), made.layout)
    for path in list(made.layout.active.iterdir()):
        path.unlink()
    return made


def _killed_before(act: Callable[[], object], number: int) -> int:
    """Do it in a process that is killed before that call to the system; how many calls it came to."""
    counter = mmap.mmap(-1, 8)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _count(counter, number)
            act()
            code = 0
        except BaseException:  # nothing of the test goes on in here
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    calls = int.from_bytes(counter[:], "little")
    assert status == (-signal.SIGKILL if calls >= number else 0), status
    return calls


def _count(counter: mmap.mmap, number: int) -> None:
    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **more: Any) -> Any:
            calls = int.from_bytes(counter[:], "little") + 1
            counter[:] = calls.to_bytes(8, "little")
            if calls >= number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return counting

    for owner, name in CALLS:
        setattr(owner, name, counted(getattr(owner, name)))


def _numbers(ground: Ground, tmp_path: Path, act: Callable[[Ground], object]) -> Iterator[tuple[int, Ground]]:
    """A copy of the ground for each kill, after that."""
    whole = ground.copy(tmp_path / "whole")
    calls = _killed_before(lambda: act(whole), 1 << 40)
    assert calls > 20
    for number in range(1 + calls % STRIDE, calls + 1, STRIDE):
        killed = ground.copy(tmp_path / "killed")
        _killed_before(lambda killed=killed: act(killed), number)  # type: ignore[misc]
        yield number, killed


# What a rule leaves in the spool, and whether what it takes is in an archive.
RULES: dict[str, tuple[dict[str, Any], set[str], bool]] = {
    "segments": ({"action": "segments", "keep": 0}, set(NAMES), False),
    "archive": ({"action": "archive"}, set(NAMES), True),
    "archive and purge": ({"action": "archive_and_purge", "keep": 1}, {"two"}, True),
    "purge but for the last": ({"action": "purge", "keep": 1}, {"two"}, False),
    "purge all": ({"action": "purge"}, set(), False),
}


def _round(ground: Ground, rule: dict[str, Any]) -> list[Kept | RoundEnded]:
    rules = parse_rules([{"older_than": "1s", "state": "done", **rule}], "here")
    settings = RetentionSettings(str(ground.archives), rules=rules)
    return list(make_round(Setup(ground.layout.root, "w", settings, os.getpid())))


@pytest.mark.parametrize("kind", RULES)
def test_a_round_that_is_killed_before_any_call_loses_nothing_and_the_next_ends_it_once(
    ground: Ground, tmp_path: Path, kind: str
) -> None:
    rule, stay, archives = RULES[kind]

    def act(there: Ground) -> object:
        return _round(there, rule)

    for number, killed in _numbers(ground, tmp_path, act):
        there = killed.there()
        assert stay <= there, number
        for name in there:
            assert killed.values(name) == ground.expected[name], (number, name)
        if archives:
            packed = {killed.archived(path)[0] for path in killed.archives.glob("*.tar.gz")}
            assert there | packed == set(NAMES), number
        assert [one.error for one in _round(killed, rule) if isinstance(one, Kept) and one.error] == [], number
        assert [one for one in _round(killed, rule) if isinstance(one, Kept)] == [], number
        remove_unfinished(Files(), killed.layout)
        assert {path.name for path in killed.layout.sessions.iterdir()} == stay, number
        for name in stay:
            assert killed.values(name) == ground.expected[name], (number, name)
        found = [killed.archived(path) for path in killed.archives.iterdir() if path.suffix != ".lock"]
        wanted = set(NAMES) if kind == "archive" else set(NAMES) - stay if archives else set()
        assert sorted(found) == sorted((name, ground.expected[name]) for name in wanted), number
        deeds = [(deed.session_id, deed.what) for deed in read_deeds(Files(), killed.layout).every]
        ends = [(name, what) for name, what in deeds if what not in (PURGING, ARCHIVED)]
        assert len(ends) == len(set(ends)), (number, deeds)


def _verb(*line: str) -> Callable[[Ground], object]:
    def act(there: Ground) -> object:
        said = [part.format(archives=there.archives) for part in line]
        code = call(["--spool", str(there.layout.root), *said])
        assert code == 0, line
        return code

    return act


# What a person does; whether the session is then in the spool with its results; what doing it again ends with.
VERBS: dict[str, tuple[Callable[[Ground], object], bool]] = {
    "archive": (_verb("archive", "one", "--output", "{archives}/one.tar.gz", "--force"), True),
    "purge the segments": (_verb("purge", "one", "--segments", "--yes"), True),
    "purge all of it": (_verb("purge", "one", "--results", "--claims", "--yes"), False),
}


@pytest.mark.parametrize("kind", VERBS)
def test_a_person_who_is_killed_before_any_call_does_it_again(
    ground: Ground, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    act, stays = VERBS[kind]
    for number, killed in _numbers(ground, tmp_path, act):
        there = killed.there()
        assert there >= set(NAMES) - ({"one"} if not stays else set()), number
        for name in there:
            assert killed.values(name) == ground.expected[name], (number, name)
        if "one" in there:
            act(killed)
        remove_unfinished(Files(), killed.layout)
        assert {path.name for path in killed.layout.sessions.iterdir()} == set(NAMES if stays else NAMES[1:]), number
        for path in killed.archives.glob("*.tar.gz"):
            assert killed.archived(path) == ("one", ground.expected["one"]), number
        # Luck does not become less by forgetting how often it was tried, nor more by telling it twice.
        spec = read_spec(Files(), killed.layout.session("two"))
        trials = trials_on_data(Files(), killed.layout, "two", spec)
        assert trials == trials_on_data(Files(), ground.layout, "two", spec), number


def test_a_restore_that_is_killed_before_any_call_is_whole_or_none_and_can_be_done_again(
    ground: Ground, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _verb("archive", "one", "--output", "{archives}/one.tar.gz")(ground)
    _verb("purge", "one", "--results", "--claims", "--yes")(ground)
    act = _verb("restore", "{archives}/one.tar.gz")
    for number, killed in _numbers(ground, tmp_path, act):
        if "one" not in killed.there():
            act(killed)
        assert killed.values("one") == ground.expected["one"], number
        remove_unfinished(Files(), killed.layout)
        assert {path.name for path in killed.layout.sessions.iterdir()} == set(NAMES), number
