"""Full, failing, stale, read-only, hanging, vanished spools: the daemon lives on, loses nothing, repeats nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from tests.beds.faultfs import WRITING, FaultBed, Rule
from tests.beds.smalldisk import SmallDisk
from tests.conftest import Daemons, remove_folder, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed

N = 400
EVERYTHING = (*WRITING, "open", "read", "getattr", "readdir", "flock")


class Run:
    """A daemon on a spool of its own, at work on one session."""

    def __init__(self, daemons: Daemons, spool: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tally = folder / "tally"
        monkeypatch.setenv("ARBD_TEST_TALLY", str(self.tally))
        self.daemons = daemons
        self.layout = SpoolLayout(spool)
        spool.mkdir(exist_ok=True)
        self.layout.prepare()
        self.daemon = daemons.start("a", spool=spool)
        self.job = write_job(folder / "counted.yaml", "samples:counted", N).read_bytes()
        self.submit("s")
        wait_until(lambda: self.tally.exists() and self.evaluated > N / 10, what="the first evaluations")

    def submit(self, name: str) -> None:
        data = self.job + f"session_id: {name}\n".encode()
        Files().publish(self.layout.incoming / f"{name}.submitted.yaml", data)

    @property
    def evaluated(self) -> int:
        return self.tally.stat().st_size

    def said(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.daemons.log()

    def state(self, name: str = "s") -> LedgerState:
        return SessionQueue(Files(), self.layout.session(name)).refresh()

    def finishes(self, name: str = "s") -> None:
        wait_until(lambda: self.state(name).done, 60, "the end of the session")
        assert load_table(self.layout.root, name).rows.iteration.tolist() == list(range(1, N + 1))

    def stops_clean(self) -> None:
        assert self.daemon.poll() is None
        self.daemon.terminate()
        assert self.daemon.wait(20) == 0


def processor_share(process: subprocess.Popen[bytes], over_s: float = 2.0) -> float:
    """How much of one processor a process takes."""

    def ticks() -> int:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(over_s)
    return (ticks() - before) / 100 / over_s


def test_a_full_disk_stops_claims_and_loses_and_repeats_nothing(
    daemons: Daemons, small_disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, small_disk.mount / "spool", tmp_path, monkeypatch)
    small_disk.fill()
    wait_until(run.said("No space left on device"), what="a word about the full disk")
    assert processor_share(run.daemon) < 0.5
    assert run.state().counted < N
    small_disk.free()
    run.finishes()
    assert run.evaluated == N
    run.stops_clean()


@pytest.mark.parametrize(
    ("calls", "error", "said"),
    [
        (WRITING, "EIO", "Input/output error"),
        (WRITING, "EROFS", "Read-only file system"),
        (WRITING, "EDQUOT", "Disk quota exceeded"),
        (EVERYTHING, "EIO", "Input/output error"),
        (EVERYTHING, "ESTALE", "Stale file handle"),
    ],
)
def test_errors_of_the_filesystem_pass_and_lose_and_repeat_nothing(
    daemons: Daemons, faults: FaultBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    calls: tuple[str, ...], error: str, said: str,
) -> None:  # fmt: skip
    run = Run(daemons, faults.mount / "spool", tmp_path, monkeypatch)
    faults.set(Rule(calls, error))
    wait_until(run.said(said), what="a word about the error")
    time.sleep(1.0)
    assert run.daemon.poll() is None
    faults.clear()
    run.finishes()
    assert run.evaluated == N
    assert "works again" in daemons.log()
    run.stops_clean()


def test_errors_that_come_and_go_lose_nothing(
    daemons: Daemons, faults: FaultBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, faults.mount / "spool", tmp_path, monkeypatch)
    faults.set(Rule(WRITING, "EIO", chance=0.05), Rule(("open",), "ESTALE", chance=0.02))
    wait_until(lambda: run.evaluated >= N, what="the evaluations")
    faults.clear()
    run.finishes()
    run.stops_clean()


def test_a_hanging_mount_delays_and_nothing_more(
    daemons: Daemons, faults: FaultBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, faults.mount / "spool", tmp_path, monkeypatch)
    faults.set(Rule(EVERYTHING))
    time.sleep(3.0)
    assert run.daemon.poll() is None
    assert processor_share(run.daemon) < 0.5
    faults.clear()
    run.finishes()
    assert run.evaluated == N
    run.stops_clean()


def test_sigterm_ends_the_daemon_even_while_the_mount_hangs(
    daemons: Daemons, faults: FaultBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, faults.mount / "spool", tmp_path, monkeypatch)
    faults.set(Rule(EVERYTHING))
    time.sleep(1.0)
    run.daemon.send_signal(signal.SIGTERM)
    wait_until(run.said("the spool does not answer"), what="the last words")
    # The kernel keeps a process for as long as FUSE owes an answer to one of its calls, killed or not.
    faults.clear()
    assert run.daemon.wait(10) == 4
    run.daemon = daemons.start("b", spool=run.layout.root)
    run.finishes()
    run.stops_clean()


def test_a_spool_that_vanishes_is_missed_and_found_again(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, tmp_path / "there", tmp_path, monkeypatch)
    (tmp_path / "there").rename(tmp_path / "away")
    wait_until(run.said("is the spool mounted"), what="a word about the missing spool")
    assert processor_share(run.daemon) < 0.5
    assert not (tmp_path / "there").exists()
    (tmp_path / "away").rename(tmp_path / "there")
    run.finishes()
    assert run.evaluated == N
    run.stops_clean()


def test_a_spool_that_is_deleted_is_not_made_anew_and_the_daemon_can_be_stopped(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, tmp_path / "there", tmp_path, monkeypatch)
    remove_folder(tmp_path / "there")
    wait_until(run.said("is the spool mounted"), what="a word about the missing spool")
    run.daemon.terminate()
    assert run.daemon.wait(40) in (0, 4)
    assert not (tmp_path / "there").exists()


def test_a_session_whose_folder_is_removed_ends_and_the_others_go_on(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(daemons, tmp_path / "there", tmp_path, monkeypatch)
    run.submit("other")
    wait_until(lambda: run.layout.session("other").ledger.exists())
    run.layout.session("s").folder.rename(tmp_path / "trash")
    run.finishes("other")
    wait_until(run.said("folder was removed"), what="a word about the session")
    run.stops_clean()
