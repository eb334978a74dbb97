"""What merging the segments of a long session into its results costs, and that its memory is bounded. One JSON line each.

    python benchmarks/compaction.py            10,000,000 rows, about two minutes; 1,000,000; 200,000 with return blocks
    python benchmarks/compaction.py --smoke    small sessions, to see that it runs

The segments are written by the writer that slots use: four of two workers in turns of 8,192 rows each, one row in a
thousand failed. Compaction runs in a process of its own, as a daemon has it. `cpu_s` is its processor time, user and
system, with the start of the interpreter; `peak_mb` the most memory that was resident in it (VmHWM). The long session is
compacted once more under a limit of 400 MB (RLIMIT_DATA): `limited` says that it held.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from arbd.job.spec import JobSpec, ObjectiveSpec, ResultOptions
from arbd.results.columns import RowBatch
from arbd.results.segments import SegmentWriter
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import FAILED
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import create_session
from arbd.spool.spans import Finish

BATCH_ROWS = 8_192
FAILED_EACH = 1_000
METRICS = ("pnl", "sharpe", "max_drawdown", "trades", "fill_rate")
SPACE = SearchSpace(
    (FloatDimension("entry", 0.0, 1.0), FloatDimension("exit", 0.0, 1.0), ChoiceDimension("kind", ("up", "down")))
)
LIMIT_BYTES = 400 * 1024 * 1024
COMPACT = """\
import resource
import sys
from pathlib import Path
if limit_bytes := int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
from arbd.results.compaction import compact
from arbd.spool.confined import spool_files
from arbd.spool.layout import SessionPaths
folder = Path(sys.argv[1])
report = compact(spool_files(folder.parent.parent), SessionPaths(folder))
assert not report.again, report
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def batch(first: int, count: int, n_blocks: int, values: np.random.Generator) -> RowBatch:
    """Rows as a slot has them."""
    iteration = np.arange(first, first + count, dtype=np.int64)
    failed = iteration % FAILED_EACH == 0
    metrics = {name: np.where(failed, np.nan, values.random(count)) for name in METRICS}
    return RowBatch(
        iteration=iteration,
        status=np.where(failed, FAILED, 0).astype(np.uint8),
        ended_ns=1_700_000_000_000_000_000 + iteration * 1_000,
        duration_s=np.full(count, 1e-5),
        attempt=np.ones(count, dtype=np.int32),
        epoch=np.zeros(count, dtype=np.int32),
        params={"entry": values.random(count), "exit": values.random(count), "kind": iteration % 2},
        metrics=metrics,
        blocks=values.random((count, n_blocks, 2)) if n_blocks else None,
        errors=dict.fromkeys(iteration[failed].tolist(), "ValueError: no quotes in this part"),
    )


def make_session(layout: SpoolLayout, name: str, n: int, *, n_blocks: int = 0, csv: bool = False) -> SessionPaths:
    """A session of which every iteration is recorded and nothing is compacted."""
    spec = JobSpec(
        objective=ObjectiveSpec("python", ("samples:quick",)),
        method="random",
        space=SPACE,
        n=n,
        seed=1,
        metrics=(MetricGoal("pnl", "maximize"),),
        results=ResultOptions(csv=csv),
    )
    files = Files()
    paths = create_session(files, layout, name, b"tuning: {}\n", spec)
    writers = [SegmentWriter(files, paths, f"host-{i // 2}", 1, f"{i % 2}.1") for i in range(4)]
    values = np.random.default_rng(1)
    for turn, first in enumerate(range(1, n + 1, BATCH_ROWS)):
        count = min(BATCH_ROWS, n + 1 - first)
        writers[turn % len(writers)].write(batch(first, count, n_blocks, values))
    for writer in writers:
        writer.sync()
        writer.close()
    queue, worker = SessionQueue(files, paths), Worker("host-0", 1, 1)
    (claim,) = queue.claim(worker, [], lambda state: (n, n), 1)
    failed = n // FAILED_EACH
    queue.claim(worker, [Finish(claim.claim_id, (n - failed, failed, 0, 0))], lambda state: (1, 0), 2)
    return paths


def sizes(smoke: bool) -> Iterator[tuple[str, int, int]]:
    """Name, rows and return blocks of each session."""
    yield "million", 20_000 if smoke else 1_000_000, 0
    yield "blocks", 2_000 if smoke else 200_000, 64
    yield "long", 40_000 if smoke else 10_000_000, 0


def compaction(paths: SessionPaths, limit_bytes: int) -> dict[str, float]:
    """Compact in a process of its own, with a limit or 0: what that took."""
    command = [sys.executable, "-c", COMPACT, str(paths.folder), str(limit_bytes)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak_kb = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu_s, 2), "peak_mb": round(peak_kb / 1024)}


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", help="one of the sessions: million, blocks, long")
    parser.add_argument("--csv", action="store_true", help="with a results table")
    given = parser.parse_args()
    for name, n, n_blocks in sizes(given.smoke):
        if given.only not in (None, name):
            continue
        for limited in (False, True) if name == "long" else (False,):
            with tempfile.TemporaryDirectory(prefix="arbd-bench-") as folder:
                layout = SpoolLayout(Path(folder))
                layout.prepare()
                paths = make_session(layout, name, n, n_blocks=n_blocks, csv=given.csv)
                segments_mb = sum(path.stat().st_size for path in paths.segments.iterdir()) / 1e6
                cost = compaction(paths, LIMIT_BYTES if limited else 0)
                results_mb = paths.results.stat().st_size / 1e6
            about = {"rows": n, "blocks": n_blocks, "csv": given.csv, "limited": limited}
            mb = {"segments_mb": round(segments_mb), "results_mb": round(results_mb)}
            sys.stdout.write(json.dumps({"benchmark": "compaction", **about, **mb, **cost}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
