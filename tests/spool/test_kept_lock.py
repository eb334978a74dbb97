"""A lock whose file stays open: it excludes as any other, leads to the file that has the name, and keeps nothing for ever."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from arbd.errors import UnsafePathError
from arbd.spool import ledger
from arbd.spool.confined import spool_files
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.spans import Finish
from tests.spool.sessions import make_session


@pytest.fixture(params=["confined", "plain"])
def files_of(request: pytest.FixtureRequest) -> Callable[[Path], Files]:
    return spool_files if request.param == "confined" else lambda _: Files()


def descriptors() -> set[str]:
    """What this process has open."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except FileNotFoundError:
            continue  # the listing itself
    return found


def test_it_excludes_whoever_takes_the_lock_of_that_path_and_is_free_when_given_back(
    tmp_path: Path, files_of: Callable[[Path], Files]
) -> None:
    files, path = files_of(tmp_path), tmp_path / "l.lock"
    one, two = files.system.kept_lock(path), files.system.kept_lock(path)
    for _ in range(3):
        held = one.take(0.0)
        assert held is not None
        assert two.take(0.0) is None
        assert files.try_lock(path) is None
        assert files.is_locked(path)
        held.release()
        assert not files.is_locked(path)
        other = two.take(0.0)
        assert other is not None
        other.release()
        older = files.try_lock(path)
        assert older is not None
        assert one.take(0.0) is None
        older.release()


def test_it_stays_open_until_nobody_has_it(tmp_path: Path, files_of: Callable[[Path], Files]) -> None:
    path = tmp_path / "l.lock"
    kept = files_of(tmp_path).system.kept_lock(path)
    held = kept.take(0.0)
    assert held is not None
    held.release()
    assert str(path) in descriptors()
    kept.close()
    assert str(path) not in descriptors()
    assert kept.take(0.0) is not None
    del kept, held
    assert str(path) not in descriptors()
    assert not Files().is_locked(path)


def test_it_leads_to_the_file_of_a_folder_that_was_made_again(
    tmp_path: Path, files_of: Callable[[Path], Files]
) -> None:
    folder = tmp_path / "s"
    path = folder / "l.lock"
    for leave in (shutil.rmtree, lambda at: at.rename(tmp_path / "elsewhere")):
        folder.mkdir()
        files = files_of(tmp_path)
        kept = files.system.kept_lock(path)
        first = kept.take(0.0)
        assert first is not None
        first.release()
        leave(folder)
        with pytest.raises(FileNotFoundError):
            kept.take(0.0)
        folder.mkdir()
        held = kept.take(0.0)
        assert held is not None
        assert files.is_locked(path)
        held.release()
        shutil.rmtree(folder)


def test_a_link_in_its_place_is_refused(tmp_path: Path, files_of: Callable[[Path], Files]) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "l.lock").symlink_to(tmp_path / "there")
    with pytest.raises(UnsafePathError):
        files_of(tmp_path).system.kept_lock(tmp_path / "l.lock").take(0.0)


def test_a_queue_keeps_the_lock_of_a_session_open_until_it_is_over(tmp_path: Path) -> None:
    layout = SpoolLayout(tmp_path)
    layout.prepare()
    paths = make_session(layout, 10)
    queue, worker = SessionQueue(Files(), paths), Worker("a", 1, 1)
    queue.refresh()
    assert not any("ledger" in name for name in descriptors())
    (claim,) = queue.claim(worker, [], lambda state: (10, 10), 1)
    # The ledger itself must not stay open: on NFS its next holder would not see what others wrote.
    assert {Path(name).name for name in descriptors() if "ledger" in name} == {"ledger.lock"}
    queue.claim(worker, [Finish(claim.claim_id, (10, 0, 0, 0))], lambda state: (10, 10), 1)
    queue.change(lambda state: [ledger.compacted([10, 0, 0, 0], 0)])
    assert queue.state.over
    assert not any("ledger" in name for name in descriptors())
