"""What a whole job costs from its start to its ranking, and where the processor time of it goes. JSON lines.

    python benchmarks/whole_job.py            1,000,000 iterations of 20 metrics and 64 return blocks, about a minute
    python benchmarks/whole_job.py --smoke    few iterations, to see that it runs

`arbd run --burst` with two slots evaluates a job of five parameters whose objective computes 20 metrics and 64 blocks
for a batch at a time, which costs little itself (`objective_s`, the same calls without arbd). `cpu_s` is of all of the
daemon's processes, user and system; `by_process` divides it by what each process is called, `finish_s` is from the
last record of finished work to the end of the session, `bytes_a_row` what the session's folder holds, by kind of file.
After that the results are exported: `us_a_row` is processor time, `peak_mb` the most memory that was resident (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue

METRICS, BLOCKS, PARAMS = 20, 64, 5
OBJECTIVE = f"""\
import numpy as np

METRICS, BLOCKS = {METRICS}, {BLOCKS}
SHAPE = np.random.default_rng(1).normal(0.0, 1e-3, (4096, BLOCKS, 2))


def objective(params):
    raise NotImplementedError("this one is asked for batches")


def evaluate_batch(columns):
    p0, p1 = columns["p0"], columns["p1"]
    found = {{f"m{{i}}": np.sqrt(p0 * (i + 1) + p1) for i in range(METRICS)}}
    blocks = SHAPE[(p0 * 4095).astype(np.int64)]
    blocks *= (p1 + 0.5)[:, None, None]
    np.abs(blocks[:, :, 1], out=blocks[:, :, 1])
    return {{**found, "blocks": blocks}}
"""
LOOK_S = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
SESSION = "whole"
EXPORT = """\
import sys
from pathlib import Path
from arbd.analysis.export import export_session
export_session(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def prepare(folder: Path, n: int, *, blocks: bool) -> SpoolLayout:
    """A spool with one job that waits to be taken up, and its objective and configuration beside it."""
    (folder / "wide.py").write_text(OBJECTIVE)
    (folder / "arbd.yaml").write_text(f"allow: ['python:*']\nobjective_paths: [{folder}]\n")
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    space = ", ".join(f"p{i}: {{type: float, bounds: [0, 1]}}" for i in range(PARAMS))
    (layout.incoming / "job.yaml").write_text(
        f"session_id: {SESSION}\nobjective: {{python: 'wide:objective'}}\nmetric: m0\nresults: {{blocks: {str(blocks).lower()}}}\n"
        f"tuning: {{method: random, max_iterations: {n}, seed: 1, search_space: {{{space}}}}}\n"
    )
    return layout


def processes_of(parent: int) -> dict[int, tuple[str, float]]:
    """Name and processor seconds of a process and all below it, as far as they are alive."""
    found: dict[int, tuple[int, str, float]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        found[int(entry.name)] = (int(fields[1]), name, (int(fields[11]) + int(fields[12])) / TICKS)
    below = {parent}
    while True:
        more = {pid for pid, (above, _, _) in found.items() if above in below} - below
        if not more:
            return {pid: found[pid][1:] for pid in below if pid in found}
        below |= more


def run(folder: Path, layout: SpoolLayout, n: int) -> dict[str, Any]:
    """The job from the start of the daemon to its end."""
    command = [sys.executable, "-m", "arbd.daemon", "run", "--config", str(folder / "arbd.yaml")]
    command += ["--spool", str(layout.root), "--burst", "--slots", "2"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
        seen: dict[int, tuple[str, float]] = {}
        while daemon.poll() is None:
            seen |= processes_of(daemon.pid)
            time.sleep(LOOK_S)
    seconds = time.perf_counter() - start
    if daemon.returncode:
        raise SystemExit((folder / "daemon.log").read_text()[-2_000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    by_process: dict[str, float] = defaultdict(float)
    for name, cpu_s in seen.values():
        by_process[name] += cpu_s
    paths = layout.session(SESSION)
    state = SessionQueue(Files(), paths).refresh()
    if not (state.done and state.counts[0] == n):
        raise SystemExit(f"the session is {state.label()} with {state.counts}")
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "by_process": {name: round(cpu_s, 2) for name, cpu_s in sorted(by_process.items()) if cpu_s >= 0.01},
        "bytes_a_row": sizes(paths, n),
    }


def sizes(paths: SessionPaths, n: int) -> dict[str, int]:
    """Bytes a row in the session's folder."""
    found: dict[str, int] = defaultdict(int)
    for path in paths.folder.rglob("*"):
        if path.is_file():
            found[path.parent.name if path.parent == paths.segments else path.name] += path.stat().st_size
            found["all"] += path.stat().st_size
    return {name: round(size / n) for name, size in found.items() if size >= n}


def objective_s(folder: Path, n: int) -> float:
    """Processor time of the objective's own calls, without arbd."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import numpy as np, wide, time; "
        f"columns = {{f'p{{i}}': np.random.default_rng(i).random(8192) for i in range({PARAMS})}}; "
        f"a = time.process_time(); [wide.evaluate_batch(columns) for _ in range({n} // 8192 + 1)]; "
        "print(time.process_time() - a)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)


def export(folder: Path, layout: SpoolLayout, n: int, form: str) -> dict[str, Any]:
    """An export in a process of its own."""
    command = [sys.executable, "-c", EXPORT, str(layout.root), SESSION, form, str(folder / f"out.{form}")]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # What is last of what it says: DuckDB shows its progress.
    peak_kb = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "us_a_row": round(cpu_s / n * 1e6, 1)}
    return {"format": form, **figures, "peak_mb": round(peak_kb / 1024)}


def say(stage: str, n: int, figures: dict[str, Any]) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"benchmark": "whole_job", "stage": stage, "n": n, **figures}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--no-blocks", action="store_true", help="keep no return blocks")
    parser.add_argument("--no-export", action="store_true")
    given = parser.parse_args()
    n = 20_000 if given.smoke else 1_000_000
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        layout = prepare(folder, n, blocks=not given.no_blocks)
        alone_s = objective_s(folder, n)
        say("job", n, {**run(folder, layout, n), "objective_s": round(alone_s, 2)})
        for form in () if given.no_export else ("csv", "parquet"):
            say("export", n, export(folder, layout, n, form))


if __name__ == "__main__":
    main()
