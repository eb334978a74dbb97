"""What several tests share: places, a spool, real daemons that are always stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest

from arbd.cli.__main__ import call
from arbd.objective.processes import _PR_SET_CHILD_SUBREAPER
from arbd.spool.layout import SpoolLayout

if TYPE_CHECKING:
    from tests.beds.faultfs import FaultBed
    from tests.beds.gluster import GlusterBed
    from tests.beds.redis_server import RedisServer
    from tests.beds.smalldisk import SmallDisk

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "arbd", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("arbd")

Bed = TypeVar("Bed")
REPOSITORY = Path(__file__).resolve().parent.parent
RECORDED = Path(os.environ.get("ARBD_TEST_DATA") or REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def compiled_code(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests and the processes they start compile the engine once, into the default place of this user."""
    from arbd.paper.code_cache import sources_digest

    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "arbd" / f"numba-{sources_digest()}"))


@pytest.fixture(autouse=True)
def no_settings_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARBD_CONFIG", "ARBD_SPOOL", "ARBD_WORKER_ID", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--max-cpu-s",
        type=float,
        help="A test that is not marked `slow` or `bed` and takes more CPU, in seconds, fails.",
    )
    parser.addoption("--failed-to", type=Path, help="A file that gets the name of each test that failed, one a line.")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (file := config.getoption("failed_to")) is not None:
        failed = {report.nodeid: None for kind in ("failed", "error") for report in terminalreporter.getreports(kind)}
        with file.open("a") as lines:
            lines.writelines(f"{name}\n" for name in failed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """CPU, with that of processes that have ended: how long a test takes says how busy the machine is."""
    ceiling_s = item.config.getoption("max_cpu_s")
    before_s = cpu_s()
    result = yield
    used_s = cpu_s() - before_s
    if ceiling_s is not None and used_s > ceiling_s and not any(map(item.get_closest_marker, ("slow", "bed"))):
        pytest.fail(f"takes {used_s:.1f} s of CPU, above {ceiling_s:g}: make it cheaper, or mark it `slow`")
    return result


def cpu_s() -> float:
    """Seconds of CPU of this process, and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@contextlib.contextmanager
def brought_up(bed: AbstractContextManager[Bed]) -> Iterator[Bed]:
    """A test bed; skips where the machine cannot have it, fails where it must (ARBD_TEST_BEDS=require)."""
    from tests.beds.needs import BedUnavailableError

    with contextlib.ExitStack() as stack:
        try:
            up = stack.enter_context(bed)
        except BedUnavailableError as error:
            if os.environ.get("ARBD_TEST_BEDS") == "require":
                pytest.fail(f"no {type(bed).__name__}: {error}")
            pytest.skip(f"no {type(bed).__name__}: {error}")
        yield up


@pytest.fixture(autouse=True)
def _adopts_nobody() -> Iterator[None]:
    """A slot's cell in a test's own process has it adopt orphans, and ends them: a bed's servers would be among them."""
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def gluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlusterBed]:
    """A distributed filesystem, mounted as by two hosts. For one module: what runs between two of them is not its affair."""
    from tests.beds.gluster import GlusterBed

    with brought_up(GlusterBed(tmp_path_factory.mktemp("gluster"))) as up:
        yield up


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[FaultBed]:
    """A filesystem that fails on command."""
    from tests.beds.faultfs import FaultBed

    folder = tmp_path / "faults"
    folder.mkdir()
    with brought_up(FaultBed(folder)) as up:
        yield up


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled."""
    from tests.beds.smalldisk import SmallDisk

    folder = tmp_path / "small"
    folder.mkdir()
    with brought_up(SmallDisk(folder)) as up:
        yield up


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own that keeps what it was told."""
    from tests.beds.redis_server import RedisServer

    # Not in tmp_path: the path of a unix socket must be short.
    with tempfile.TemporaryDirectory(prefix="arbd-redis-") as folder, brought_up(RedisServer(Path(folder))) as up:
        yield up


@pytest.fixture
def forgetful_redis() -> Iterator[RedisServer]:
    """A Redis that is empty after each start."""
    from tests.beds.redis_server import RedisServer

    with (
        tempfile.TemporaryDirectory(prefix="arbd-redis-") as folder,
        brought_up(RedisServer(Path(folder), forgets=True)) as up,
    ):
        yield up


@pytest.fixture
def recorded() -> Path:
    """The folder of recorded quotes."""
    if not RECORDED.is_dir():
        pytest.skip(f"no recorded quotes at {RECORDED}; set ARBD_TEST_DATA to their folder")
    return RECORDED


@pytest.fixture
def layout(tmp_path: Path) -> SpoolLayout:
    """A spool that is ready."""
    found = SpoolLayout(tmp_path / "spool")
    found.root.mkdir()
    found.prepare()
    return found


@dataclass
class Arbctl:
    """Runs arbctl in this process."""

    capture: pytest.CaptureFixture[str]
    spool: Path
    config: Path

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.capture.readouterr()
        code = call(["--spool", str(self.spool), "--config", str(self.config), *map(str, arguments)])
        out, err = self.capture.readouterr()
        return code, out, err


OBJECTIVES = """
import os, signal, time
def quick(params):
    return {"value": params["x"], "twice": 2 * params["x"]}
def slow(params):
    time.sleep(0.02)
    return {"value": params["x"]}
def brisk(params):
    time.sleep(0.0004)
    return {"value": params["x"]}
def very_slow(params):
    time.sleep(0.25)
    return {"value": params["x"]}
def moody(params):
    n = params["n"]
    if n % 10 == 3: raise ValueError(f"no luck with {n}")
    if n % 10 == 4: return [n]
    if n % 10 == 5: return {"value": "text"}
    if n % 10 == 6: return {"value": float("nan")}
    if n == 17: os.kill(os.getpid(), signal.SIGKILL)
    if n == 27: time.sleep(60)
    return {"value": float(n)}
def counted(params):
    # One byte for each evaluation, on a disk that works.
    with open(os.environ["ARBD_TEST_TALLY"], "ab", buffering=0) as tally: tally.write(b".")
    time.sleep(0.01)
    return {"value": params["x"]}
def nested(params):
    time.sleep(0.005)
    return {"value": -params["x"]}
"""

BATCH = """
import numpy as np
def objective(params):
    return {"value": params["x"] + params["k"]}
def evaluate_batch(columns):
    return {"value": np.asarray(columns["x"]) + np.asarray(columns["k"])}
"""


@pytest.fixture
def objectives(tmp_path: Path) -> Path:
    """A folder of Python objectives, and `arbd.yaml` beside them that allows them."""
    folder = tmp_path / "objectives"
    folder.mkdir()
    (folder / "samples.py").write_text(OBJECTIVES)
    (folder / "batched.py").write_text(BATCH)
    (tmp_path / "arbd.yaml").write_text(
        f"allow: [paper, 'python:*', 'command:*']\nobjective_paths: [{folder}]\ndata_dirs: [{tmp_path}]\n"
        "settle_s: 0.2\nscan_s: 0.2\nbeat_s: 0.2\nlease_s: 5\nchunk_target_s: 0.2\ndrain_timeout_s: 5\n"
        f"cache_dir: {tmp_path / 'cache'}\n"
    )
    return folder


@pytest.fixture
def arbctl(capsys: pytest.CaptureFixture[str], layout: SpoolLayout, objectives: Path) -> Arbctl:
    return Arbctl(capsys, layout.root, objectives.parent / "arbd.yaml")


@dataclass
class Daemons:
    """Starts daemons on a spool, each in a process group of its own."""

    spool: Path
    config: Path
    logs: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, worker_id: str, *options: str, slots: int = 2, spool: Path | None = None
    ) -> subprocess.Popen[bytes]:
        log = (self.logs / f"{worker_id}-{len(self.started)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "arbd.daemon", "run", "--config", str(self.config), "--spool", str(spool or self.spool),
             "--worker-id", worker_id, "--slots", str(slots), *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPOSITORY,
        )  # fmt: skip
        log.close()
        self.started.append(process)
        return process

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.logs.glob("*.log")))

    def stop(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@pytest.fixture
def daemons(layout: SpoolLayout, objectives: Path, tmp_path: Path) -> Iterator[Daemons]:
    logs = tmp_path / "logs"
    logs.mkdir()
    running = Daemons(layout.root, objectives.parent / "arbd.yaml", logs)
    yield running
    running.stop()


def wait_until(condition: Callable[[], object], within_s: float = 60.0, what: str = "it") -> None:
    """Wait for an event; AssertionError when it does not come."""
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, f"{what} did not happen within {within_s} s"
        time.sleep(0.05)


def remove_folder(folder: Path) -> None:
    """What a person's `rm -rf` does, again until nothing is left: a daemon may be writing there."""

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_gone, 20, f"{folder} gone")
