"""Code that is edited between jobs and under running sessions, on one host and on two: rows are of the code they name."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.errors import NotFoundError
from arbd.objective.processes import descendants
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import read_beats
from arbd.spool.queue import SessionQueue
from tests.conftest import REPOSITORY, Arbctl, Daemons, wait_until
from tests.daemon.code_bed import BODIES, EditedCode, assert_rows_are_of_their_code, rows_with_code
from tests.jobs import write_job

# Rounds of edits, jobs and kills; the large run of a release sets more.
ROUNDS = int(os.environ.get("ARBD_TEST_CODE_ROUNDS", "12"))
SEED = int(os.environ.get("ARBD_TEST_CODE_SEED", "1"))


def is_slot(pid: int) -> bool:
    """A process whose output goes to a slot's file; a daemon has others, which are no concern of these tests."""
    with contextlib.suppress(OSError):
        return any(Path(link).name.startswith("slot-") for link in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir()))
    return False


@dataclass
class Hosts:
    """Daemons on one spool, each with its own folder of objectives."""

    layout: SpoolLayout
    arbctl: Arbctl
    code: EditedCode
    pids: list[int]
    folder: Path
    sessions: list[str] = field(default_factory=list)

    def submit(self, n: int) -> str:
        name = f"s{len(self.sessions)}"
        self.sessions.append(name)
        job = write_job(self.folder / "job.yaml", "edited:objective", n)
        status, _, told = self.arbctl("submit", job, "--session-id", name)
        assert status == 0, told
        return name

    def state(self, name: str) -> LedgerState:
        try:
            return SessionQueue(self.layout.files(), self.layout.session(name)).refresh()
        except NotFoundError:
            return LedgerState()

    def finished(self, name: str) -> None:
        # A host that could not evaluate it looks again after a minute at the latest.
        wait_until(lambda: self.state(name).done, 150.0, what=f"{name}")

    def began(self, name: str) -> None:
        """Some rows of it are recorded, or nobody can evaluate it."""
        wait_until(lambda: self.state(name).counted or self.state(name).over or self.blocked(name))

    def blocked(self, name: str) -> list[str]:
        beats = read_beats(self.layout.files(), self.layout)
        return [str(beat.about["blocked"][name]) for beat in beats if name in beat.about.get("blocked", {})]

    def kill_a_slot(self, chance: random.Random) -> None:
        slots = [pid for pid in sorted(descendants(chance.choice(self.pids))) if is_slot(pid)]
        if slots:
            os.kill(chance.choice(slots), signal.SIGKILL)

    def code_of(self, name: str) -> list[dict[str, object]]:
        return list(json.loads(self.arbctl("status", name, "--json")[1])["code"])

    def give_up_code(self, name: str) -> None:
        current = self.code_of(name)[-1]
        if current["parts"]:
            code, _, told = self.arbctl("retry", name, "--code", str(current["digest"]))
            assert code == 0, told


def hosts_on(count: int, layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, tmp_path: Path) -> Hosts:
    folders = tuple(tmp_path / f"code-{name}" for name in "ab"[:count])
    for folder in folders:
        folder.mkdir()
    code = EditedCode(folders)
    settings = daemons.config.read_text()
    pids = []
    for name, folder in zip("ab", folders, strict=False):
        config = tmp_path / f"{name}.yaml"
        config.write_text(settings.replace(str(tmp_path / "objectives"), str(folder)))
        daemons.config = config
        pids.append(daemons.start(name).pid)
    arbctl.config = tmp_path / "a.yaml"
    wait_until(lambda: len(read_beats(layout.files(), layout)) == count)
    return Hosts(layout, arbctl, code, pids, tmp_path)


@pytest.mark.timeout(100 * ROUNDS)
@pytest.mark.parametrize("count", [1, 2])
def test_no_row_is_of_other_code_than_its_digest_says_whatever_is_edited_when(
    count: int, layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, tmp_path: Path
) -> None:
    chance = random.Random(SEED + count)
    hosts = hosts_on(count, layout, arbctl, daemons, tmp_path)
    for _ in range(ROUNDS):
        act = chance.random()
        if act < 0.45:
            some = tuple(folder for folder in hosts.code.folders if chance.random() < 0.6) or hosts.code.folders[:1]
            hosts.code.edit(chance.choice(list(BODIES)), some, keep_time=chance.random() < 0.5)
        elif act < 0.75:
            hosts.submit(chance.randint(20, 120))
        elif act < 0.9:
            hosts.kill_a_slot(chance)
        elif hosts.sessions:
            hosts.give_up_code(chance.choice(hosts.sessions))
        if hosts.sessions and chance.random() < 0.6:
            hosts.began(hosts.sessions[-1])
    last = hosts.submit(40)
    hosts.began(last)
    due = hosts.code.same_everywhere(chance)
    for name in hosts.sessions:
        hosts.give_up_code(name)
    for name in hosts.sessions:
        hosts.finished(name)
    for name in hosts.sessions:
        assert assert_rows_are_of_their_code(layout, name, hosts.code) == hosts.state(name).n
        for said, _ in rows_with_code(layout, name):
            assert said["edited"] == due["edited"]
            assert {said[module] for module in ("kit", "plain", "kit.sizes")} == {
                due[module] for module in ("kit", "plain", "kit.sizes")
            }
        assert "stand side by side" not in arbctl("status", name)[1]


def test_a_job_after_an_edit_is_evaluated_with_it_by_the_same_daemon(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, tmp_path: Path
) -> None:
    hosts = hosts_on(1, layout, arbctl, daemons, tmp_path)
    hosts.finished(hosts.submit(30))
    for module in sorted(BODIES):
        # Neither size nor time of the file tells.
        due = hosts.code.edit(module, hosts.code.folders, keep_time=True)
        name = hosts.submit(30)
        hosts.finished(name)
        said = [row for row, _ in rows_with_code(layout, name)]
        assert {row[module] for row in said if row.get(module) == row.get(module)} == {due}
        assert "on this host" not in arbctl("status", name)[1]


def test_two_hosts_whose_helpers_differ_never_share_a_session(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, tmp_path: Path
) -> None:
    hosts = hosts_on(2, layout, arbctl, daemons, tmp_path)
    hosts.code.edit("plain", hosts.code.folders[1:])
    name = hosts.submit(300)
    hosts.finished(name)
    assert len({row["plain"] for row, _ in rows_with_code(layout, name)}) == 1
    assert assert_rows_are_of_their_code(layout, name, hosts.code) == 300
    assert "plain.py on this host is not the file" in daemons.log()


def test_an_edit_under_a_session_is_named_where_the_user_looks_and_retry_goes_on_with_it(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, tmp_path: Path
) -> None:
    hosts = hosts_on(1, layout, arbctl, daemons, tmp_path)
    name = hosts.submit(2_000)
    hosts.began(name)
    due = hosts.code.edit("plain", hosts.code.folders)
    for pid in filter(is_slot, descendants(hosts.pids[0])):
        os.kill(pid, signal.SIGKILL)
    path = hosts.code.folders[0] / "plain.py"
    wait_until(lambda: any(f"{path} on this host is not the file" in reason for reason in hosts.blocked(name)))
    assert f"on this host: {path} on this host is not the file" in arbctl("status", name)[1]
    assert f"{name}: {path} on this host is not the file" in arbctl("doctor")[1]
    # Of the first iterations, some were on the slots that were killed.
    recorded = int(load_table(layout.root, name).rows.iteration[0])
    code, _, told = arbctl("replay", name, str(recorded))
    assert code != 0
    assert f"{path} on this host is not the file" in told
    hosts.give_up_code(name)
    hosts.finished(name)
    assert {row["plain"] for row, _ in rows_with_code(layout, name)} == {due}
    assert assert_rows_are_of_their_code(layout, name, hosts.code) == 2_000
    assert [share["rows"] for share in hosts.code_of(name)] == [0, 2_000]


def test_slots_import_nothing_from_the_current_folder_nor_from_relative_ones(
    layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    (here / "beside").mkdir(parents=True)
    for name in ("intruder", "random", "signal", "click", "numpy", "beside/related"):
        (here / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(here / 'imported')!r}).touch()\n")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/lent.py").write_text("V = 5.0\n")
    (objectives / "curious.py").write_text(
        "import importlib, os, sys\n"
        "def objective(params):\n"
        "    found = 0.0\n"
        "    for name in ('intruder', 'related'):\n"
        "        try: importlib.import_module(name)\n"
        "        except ModuleNotFoundError: found += 1.0\n"
        "    import lent\n"
        "    return {'value': found, 'lent': lent.V, 'safe': float('PYTHONSAFEPATH' in os.environ)}\n"
    )
    write_job(layout.incoming / "job.yaml", "curious:objective", 4, session_id="s")
    environment = {**os.environ, "PYTHONPATH": f"beside:{tmp_path / 'given'}"}
    environment.pop("PYTHONSAFEPATH", None)
    command = [Path(sys.executable).with_name("arbd"), "run", "--config", objectives.parent / "arbd.yaml"]
    subprocess.run(
        [*command, "--spool", layout.root, "--worker-id", "w", "--slots", "1", "--burst"],
        cwd=here, env=environment, check=True, timeout=120,
    )  # fmt: skip
    said = [row for row, _ in rows_with_code(layout, "s")]
    assert said == [{"value": 2.0, "lent": 5.0, "safe": 0.0}] * 4
    assert not (here / "imported").exists()


def other_engine(tmp_path: Path) -> Path:
    """A folder with this version of arbd, with a change in what computes."""
    folder = tmp_path / "other"
    shutil.copytree(REPOSITORY / "arbd", folder / "arbd", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "arbd/paper/metrics.py").open("a") as file:
        file.write("# Another version.\n")
    return folder


def start_from(daemons: Daemons, folder: Path, worker_id: str) -> subprocess.Popen[bytes]:
    log = (daemons.logs / f"{worker_id}-own.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "arbd.daemon", "run", "--config", daemons.config, "--spool", daemons.spool,
         "--worker-id", worker_id, "--slots", "1"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=daemons.logs, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    log.close()
    daemons.started.append(process)
    return process


def test_two_versions_of_arbd_on_one_spool_never_share_a_session(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, objectives: Path, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    start_from(daemons, other_engine(tmp_path), "b")
    wait_until(lambda: len(read_beats(layout.files(), layout)) == 2)
    queue = SessionQueue(layout.files(), layout.session("s"))
    assert (
        arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 400), "--session-id", "s", "--wait")[0] == 0
    )
    assert sorted(sum(counts) for counts in queue.refresh().worker_counts.values())[-1] == 400
    assert len({parts["arbd"] for _, parts in rows_with_code(layout, "s")}) == 1
    assert "is not what the session began with" in daemons.log()
    assert "arbd/paper/metrics.py" in daemons.log()
    assert "version of arbd_code" in arbctl("doctor")[1]


def test_code_of_arbd_that_changes_under_a_daemon_is_not_run_by_it(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, objectives: Path, tmp_path: Path
) -> None:
    folder = other_engine(tmp_path)
    process = start_from(daemons, folder, "b")
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 3_000), "--session-id", "s")
    wait_until(lambda: any((layout.sessions / "s").glob("segments/*")))
    # What is recorded stays, whatever becomes of its slot.
    wait_until(lambda: SessionQueue(layout.files(), layout.session("s")).refresh().counted > 0)
    with (folder / "arbd/paper/metrics.py").open("a") as file:
        file.write("# One more.\n")
    for pid in filter(is_slot, descendants(process.pid)):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "is not what the session began with" in daemons.log())
    assert "has to be restarted" in daemons.log()
    assert len({parts["arbd"] for _, parts in rows_with_code(layout, "s")}) == 1
