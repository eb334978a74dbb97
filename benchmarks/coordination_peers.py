"""What `coordination.py` compares with: other ways to claim, evaluate and record iterations with several processes.

Each evaluates an objective that does nothing N times, on files in the temporary folder. Except for jug, the
processes import, open what they work on, and then start together: timed is from the first start to the last end.

pool_map         ProcessPoolExecutor.map in chunks of 256. It records nothing: the bound.
append_fsync     Claims and records each iteration by itself with flock, append and fsync, as a simple file queue does.
optuna_journal   Study.optimize with RandomSampler on JournalStorage over JournalFileBackend with its default lock;
                 fsync with every append. The study and the processes are there before.
optuna_sqlite    The same on RDBStorage over SQLite with its default settings.
jug              `jug execute` on one jugfile and the file store; results are written with fsync. Timed is from the
                 first to the last result by the files' times, so without the start of the processes and the
                 reading of the jugfile.
huey_file        FileHuey; each process dequeues, executes and stores the result. It writes without fsync: results
                 outlive their process, but not a power cut. The tasks are in the queue before.
"""

from __future__ import annotations

import fcntl
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

START_PATIENCE_S = 120.0
JUGFILE = """\
from jug import TaskGenerator

@TaskGenerator
def noop(number):
    return 1.0

results = [noop(number) for number in range({n})]
"""

# From the folder, the number of iterations in all and this process's share of them to the work that is timed.
Prepare = Callable[[Path, int, int], Callable[[], object]]


def noop(number: int) -> float:
    """What the objective does."""
    return 1.0 + 0 * number


def _in_process(prepare: Prepare, folder: Path, n: int, share: int, start: Barrier, times: SimpleQueue[Any]) -> None:
    try:
        work = prepare(folder, n, share)
    except BaseException:
        start.abort()
        raise
    start.wait(START_PATIENCE_S)
    started = time.monotonic()
    work()
    times.put((started, time.monotonic()))


def timed_together(prepare: Prepare, folder: Path, n: int, slots: int) -> float:
    """Seconds from the first start to the last end of what `slots` processes do once all of them are ready."""
    context = multiprocessing.get_context("spawn")
    start, times = context.Barrier(slots), context.SimpleQueue()
    shares = [n // slots + (index < n % slots) for index in range(slots)]
    processes = [
        context.Process(target=_in_process, args=(prepare, folder, n, share, start, times), daemon=True)
        for share in shares
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(f"a process of {prepare.__name__} failed")
    spans = [times.get() for _ in processes]
    return float(max(end for _, end in spans) - min(begin for begin, _ in spans))


def _require(n: int, found: int, name: str) -> None:
    if found != n:
        raise SystemExit(f"{name} recorded {found} of {n} iterations")


def run_pool_map(n: int, slots: int) -> float:
    """Seconds for ProcessPoolExecutor.map, its processes started before."""
    with ProcessPoolExecutor(slots) as pool:
        list(pool.map(noop, range(slots * 256), chunksize=256))
        started = time.perf_counter()
        for _ in pool.map(noop, range(n), chunksize=256):
            pass
        return time.perf_counter() - started


def _prepare_append(folder: Path, n: int, share: int) -> Callable[[], object]:
    del share  # each takes what is next
    path = folder / "log"

    def work() -> None:
        done = 0
        while done < n:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0, os.SEEK_END)
                done = file.tell() // 16
                if done < n:
                    file.write(b"%15d\n" % noop(done))
                    file.flush()
                    os.fsync(file.fileno())

    return work


def run_append_fsync(n: int, slots: int) -> float:
    """Seconds when every iteration is claimed and recorded by itself."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        path = Path(name) / "log"
        path.touch()
        seconds = timed_together(_prepare_append, path.parent, n, slots)
        _require(n, path.stat().st_size // 16, "append_fsync")
        return seconds


def _journal(folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


def _sqlite(folder: Path) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(f"sqlite:///{folder / 'study.db'}")


def _optuna_objective(trial: Any) -> float:
    trial.suggest_float("x", 0.0, 1.0)
    return 1.0


def _prepare_optuna(storage: Any, share: int) -> Callable[[], object]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="bench", storage=storage, sampler=optuna.samplers.RandomSampler())
    return lambda: study.optimize(_optuna_objective, n_trials=share)


def _prepare_journal(folder: Path, n: int, share: int) -> Callable[[], object]:
    del n
    return _prepare_optuna(_journal(folder), share)


def _prepare_sqlite(folder: Path, n: int, share: int) -> Callable[[], object]:
    del n
    return _prepare_optuna(_sqlite(folder), share)


def _run_optuna(prepare: Prepare, open_storage: Callable[[Path], Any], n: int, slots: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        optuna.create_study(study_name="bench", storage=open_storage(folder))
        seconds = timed_together(prepare, folder, n, slots)
        study = optuna.load_study(study_name="bench", storage=open_storage(folder))
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        _require(n, len(complete), "optuna")
        return seconds


def run_optuna_journal(n: int, slots: int) -> float:
    """Seconds for Optuna on one journal file."""
    return _run_optuna(_prepare_journal, _journal, n, slots)


def run_optuna_sqlite(n: int, slots: int) -> float:
    """Seconds for Optuna on one SQLite database."""
    return _run_optuna(_prepare_sqlite, _sqlite, n, slots)


def run_jug(n: int, slots: int) -> float:
    """Seconds from jug's first to its last result."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        (folder / "jugfile.py").write_text(JUGFILE.format(n=n))
        command = [sys.executable, "-c", "from jug.jug import main; main()"]
        command += ["execute", "jugfile.py", "--jugdir", "jugdata"]
        processes = [subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) for _ in range(slots)]
        exit_codes = [process.wait() for process in processes]
        if any(exit_codes):
            raise SystemExit("jug failed")
        # A result is jugdata/<first two digits of the hash>/<the rest>.
        times = [path.stat().st_mtime_ns for path in (folder / "jugdata").glob("??/*")]
        _require(n, len(times), "jug")
        return (max(times) - min(times)) / 1e9


def _huey(folder: Path) -> tuple[Any, Any]:
    from huey import FileHuey

    queue = FileHuey("bench", path=str(folder))
    return queue, queue.task()(noop)


def _prepare_huey(folder: Path, n: int, share: int) -> Callable[[], object]:
    del n, share  # each takes what is next
    queue, _ = _huey(folder)

    def work() -> None:
        while (task := queue.dequeue()) is not None:
            queue.execute(task)

    return work


def run_huey_file(n: int, slots: int) -> float:
    """Seconds for huey on files, until its queue is empty."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        _, task = _huey(folder)
        for number in range(n):
            task(number)
        seconds = timed_together(_prepare_huey, folder, n, slots)
        _require(n, sum(path.is_file() for path in (folder / "results").rglob("*")), "huey")
        return seconds


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to do the work: `run` takes N and the number of processes, and returns seconds.

    `package` is what it needs to be installed. Its seconds are expected to grow as N to the power of `growth`; a
    `slow` one is not measured at large N.
    """

    name: str
    run: Callable[[int, int], float]
    package: str = ""
    slow: bool = True
    growth: float = 1.0

    def is_missing(self) -> bool:
        """True when what it needs is not installed."""
        return bool(self.package) and importlib.util.find_spec(self.package) is None


PEERS = (
    Peer("pool_map", run_pool_map, slow=False),
    Peer("append_fsync", run_append_fsync),
    Peer("optuna_journal", run_optuna_journal, "optuna", growth=1.3),
    Peer("optuna_sqlite", run_optuna_sqlite, "optuna"),
    Peer("jug", run_jug, "jug", growth=1.2),
    Peer("huey_file", run_huey_file, "huey", growth=1.6),
)
