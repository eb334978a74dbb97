"""How good the search methods are, and whether suggesting keeps up. One JSON line per measurement.

    python benchmarks/search.py                       every problem and method, 20 seeds, peers from Optuna
    python benchmarks/search.py --smoke               2 seeds, 2 problems, to see that it runs
    python benchmarks/search.py --only busy           slots busy with an objective of 50 ms
    python benchmarks/search.py --only reproducible   the same results with 1 slot, 4 slots, two daemons with kills
    python benchmarks/search.py --only suggestions    CPU of a suggestion when 1,000, 10,000 and 50,000 results are known

`regret` is the best value found after 50, 100 and 200 iterations less the least there is, the median of the seeds
(for the paper engine, less `least`, the best that any method of the run found). Our methods suggest as the farm does
with `--slots` slots: generations of that size, without the results that would be on their way. That outcome does not depend on slots
or hosts (which `reproducible` shows with real daemons), so quality is measured in one process, through the same generations.
Optuna's samplers suggest one point at a time and know all results before it. Its GPSampler needs PyTorch; where that
is not installed, this is said and it is left out. `--seeds` and `--peer-seeds` set how many seeds, `--problem` and
`--method` choose some of them (the methods of `reproducible` too).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from search_problems import Problem, problems

from arbd.analysis.table import ResultTable, load_table
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner, default_schedule
from arbd.search.in_process import Search
from arbd.search.plan import NonAdaptivePlan, PlannedRows
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive, built_in
from arbd.search.schedule import Schedule
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from arbd.search.trial_history import TrialResults

ITERATIONS = 200
MARKS = (50, 100, 200)
IDLE_S = 3.0
OURS = ("tpe", "bayesian", "cmaes", "nsga2", "random")
PEERS = {"tpe": "optuna_tpe", "bayesian": "optuna_gp"}
Curve = list[float]


def say(**line: Any) -> None:
    """One measurement."""
    print(json.dumps(line), flush=True)


def ours(problem: Problem, method: str, seed: int, slots: int) -> Curve:
    """Best losses at the marks, of a search by so many slots."""
    schedule = default_schedule(method, ITERATIONS, slots)
    spec = JobSpec(
        objective=ObjectiveSpec("python", ("benchmark:loss",)),
        method=method,
        space=problem.space,
        n=ITERATIONS,
        seed=seed,
        metrics=(MetricGoal("loss", "minimize"),),
        generation_size=schedule.size if method in built_in(learns=True) else 0,
        generation_lag=schedule.lag,
    )
    search, losses = Search(spec), []
    for iteration in range(1, ITERATIONS + 1):
        row = search.row(iteration)
        assert row is not None
        source = int(row.origin[0])
        loss = problem.loss(problem.space.rows(row.columns)[0]) if source == 0 else losses[source - 1]
        search.tell(iteration, {"loss": loss} if source == 0 else None)
        losses.append(loss)
    return _at_marks(losses)


def _at_marks(losses: Sequence[float]) -> Curve:
    best = np.fmin.accumulate(np.array(losses))
    return [float(best[mark - 1]) for mark in MARKS]


def peers() -> dict[str, Callable[[int], Any]]:
    """Optuna's samplers that can be had, by name."""
    if importlib.util.find_spec("optuna") is None:
        say(benchmark="quality", note="Optuna is not installed (pip install 'arbd[bench]'): no peers")
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, Callable[[int], Any]] = {
        "optuna_random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "optuna_tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    }
    if importlib.util.find_spec("torch") is None:
        say(benchmark="quality", note="PyTorch is not installed: Optuna's GPSampler is left out")
    else:
        import torch

        torch.set_num_threads(1)
        found["optuna_gp"] = lambda seed: optuna.samplers.GPSampler(seed=seed)
    return found


def theirs(problem: Problem, sampler: Any) -> Curve:
    """The same of a sequential sampler of Optuna."""
    import optuna

    study, losses = optuna.create_study(sampler=sampler), []
    for _ in range(ITERATIONS):
        trial = study.ask()
        params: dict[str, Any] = {}
        for d in problem.space.dimensions:
            if isinstance(d, ChoiceDimension):
                params[d.name] = trial.suggest_categorical(d.name, list(d.values))
            elif isinstance(d, IntDimension):
                params[d.name] = trial.suggest_int(d.name, d.low, d.high, log=d.log)
            else:
                params[d.name] = trial.suggest_float(d.name, d.low, d.high, log=d.log)
        loss = problem.loss(params)
        losses.append(loss)
        if np.isnan(loss):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, loss)
    return _at_marks(losses)


def quality(chosen: Sequence[Problem], seeds: int, peer_seeds: int, only: Sequence[str], slots: int) -> None:
    """Regrets, and how ours stand to theirs."""
    samplers = {name: sampler for name, sampler in peers().items() if name in only or not only}
    medians: dict[tuple[str, str], list[float]] = {}
    for problem in chosen:
        curves: dict[str, list[Curve]] = {}
        seconds: dict[str, float] = {}
        for name in [*(name for name in OURS if name in only or not only), *samplers]:
            started = time.perf_counter()
            if name in samplers:
                count = peer_seeds if name == "optuna_gp" else seeds
                curves[name] = [theirs(problem, samplers[name](seed)) for seed in range(count)]
            else:
                curves[name] = [ours(problem, name, seed, slots) for seed in range(seeds)]
            seconds[name] = (time.perf_counter() - started) / len(curves[name])
        least = problem.least
        if np.isnan(least):
            least = min(curve[-1] for found in curves.values() for curve in found)
        for name, found in curves.items():
            regret = (np.median(np.array(found), axis=0) - least).tolist()
            medians[problem.name, name] = regret
            line = {f"regret_{mark}": float(f"{value:.4g}") for mark, value in zip(MARKS, regret, strict=True)}
            say(
                benchmark="quality", problem=problem.name, method=name, seeds=len(found), slots=slots, **line, least=least,
                seconds_per_run=round(seconds[name], 2),
            )  # fmt: skip
    _compare(medians, [problem.name for problem in chosen], samplers)


def _compare(
    medians: Mapping[tuple[str, str], Sequence[float]], names: Sequence[str], samplers: Mapping[str, Any]
) -> None:
    for method, peer in PEERS.items():
        if not all((name, method) in medians for name in names):
            continue
        random_ = {name: medians[name, "random"][-1] for name in names if (name, "random") in medians}
        beats = [name for name, regret in random_.items() if medians[name, method][-1] < regret]
        say(benchmark="better than random", method=method, problems=len(names), count=len(beats), on=beats)
        if peer in samplers:
            near = [n for n in names if medians[n, method][-1] <= 1.05 * medians[n, peer][-1] + 1e-12]
            say(benchmark="within 5 %", method=method, peer=peer, problems=len(names), count=len(near), on=near)


SLOW = """
import time
def slow(params):
    time.sleep(0.05)
    return {"value": -(params["x"] - 0.3) ** 2 - (params["y"] - 0.6) ** 2}
def quick(params, trial):
    time.sleep(0.002)
    return {"value": -(params["x"] - 0.3) ** 2 - (params["y"] - 0.6) ** 2 - 0.1 * (1 - trial.budget)}
"""


@contextlib.contextmanager
def farm() -> Iterator[tuple[Path, Callable[..., list[str]]]]:
    """A spool with objectives, and how to call a command on it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spool").mkdir()
        (folder / "slow.py").write_text(SLOW)
        (folder / "arbd.yaml").write_text(
            f"allow: ['python:*']\nobjective_paths: [{folder}]\nbeat_s: 0.2\nscan_s: 0.2\nlease_s: 5\nsettle_s: 0.2\n"
        )

        def command(module: str, *words: object) -> list[str]:
            options = ["--config", str(folder / "arbd.yaml"), "--spool", str(folder / "spool")]
            if module == "arbd.cli":
                return [sys.executable, "-m", module, *options, *map(str, words)]
            return [sys.executable, "-m", module, str(words[0]), *options, *map(str, words[1:])]

        yield folder, command


def start_daemon(command: Callable[..., list[str]], name: str, slots: int) -> subprocess.Popen[bytes]:
    """A daemon on the farm's spool."""
    return subprocess.Popen(
        command("arbd.daemon", "run", "--worker-id", name, "--slots", slots),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def write_job(folder: Path, function: str, method: str, n: int, seed: int, schedule: Schedule | None = None) -> Path:
    """A job over two floats; its schedule follows the slots unless it is given."""
    space = {name: {"type": "float", "bounds": [0, 1]} for name in ("x", "y")}
    tuning = {"method": method, "search_space": space, "max_iterations": n, "seed": seed}
    if method == "grid":
        tuning["grid_points"] = 8
    if schedule is not None:
        tuning |= {"generation_size": schedule.size, "generation_lag": schedule.lag}
    path = folder / f"{method}-{n}-{seed}.yaml"
    path.write_text(json.dumps({"objective": {"python": f"slow:{function}"}, "metric": "value", "tuning": tuning}))
    return path


def busy(cases: Mapping[str, int], slots: int = 4) -> None:
    """The share of their time, from the first start to the last end, that slots spend in the objective.

    The slots of the daemon are up before; how quickly processes start is no matter of the search.
    """
    with farm() as (folder, command):
        daemon = start_daemon(command, "one", slots)
        try:
            while not list((folder / "spool" / "workers").glob("*.beat")):
                if daemon.poll() is not None:
                    raise SystemExit(f"the daemon did not start, exit code {daemon.returncode}")
                time.sleep(0.05)
            time.sleep(IDLE_S)
            for method, n in cases.items():
                job = write_job(folder, "slow", method, n, 1)
                subprocess.run(
                    command("arbd.cli", "submit", job, "--session-id", method, "--wait"),
                    check=True, capture_output=True,
                )  # fmt: skip
                rows = load_table(folder / "spool", method).rows
                ends = rows.ended_ns / 1e9
                span = float(ends.max() - (ends - rows.duration_s).min())
                share = float(rows.duration_s.sum()) / (slots * span)
                say(
                    benchmark="slots busy", method=method, iterations=n, slots=slots, objective_ms=50,
                    busy=round(share, 3),
                )  # fmt: skip
        finally:
            daemon.terminate()
            daemon.wait()


def content(table: ResultTable) -> bytes:
    """All parameters and metrics, sorted by iteration."""
    columns = [*table.rows.params.values(), *(table.rows.metrics[name] for name in sorted(table.rows.metrics))]
    return b"".join(np.ascontiguousarray(column).tobytes() for column in [table.rows.iteration, *columns])


KNOWN = (1_000, 10_000, 50_000)
METRICS = (1, 2, 3)
WIDE = SearchSpace((*(FloatDimension(f"x{i}", 0.0, 1.0) for i in range(5)), IntDimension("k", 1, 100, log=True)))


def suggestions(methods: Sequence[str], known: Sequence[int] = KNOWN) -> None:
    """CPU of one suggestion by how much is known: of the first generation that a process computes, and of those after."""
    for method in methods:
        declared = adaptive(method)
        assert declared is not None
        for count in METRICS if declared.max_metrics is None else METRICS[: declared.max_metrics]:
            for results in known:
                first_ms, next_ms = _suggested(method, count, results)
                say(
                    benchmark="cpu of a suggestion", method=method, metrics=count, results=results,
                    generation=default_schedule(method, results).size, first_ms=first_ms, ms=next_ms,
                )  # fmt: skip


def _suggested(method: str, metrics: int, results: int, further: int = 4) -> tuple[float, float]:
    """Milliseconds of CPU a point: of the first generation after so many results, and of the `further` ones after it."""
    size = default_schedule(method, results).size
    goals = tuple(MetricGoal(f"m{i}", "minimize") for i in range(metrics))
    spec = JobSpec(
        objective=ObjectiveSpec("python", ("benchmark:loss",)), method=method, space=WIDE, n=results + 20 * size, seed=1,
        metrics=goals, generation_size=size,
    )  # fmt: skip
    planner, number = GenerationPlanner(spec, {}), results // size + 1
    plan = NonAdaptivePlan(dataclasses.replace(spec, method="random", generation_size=0))
    _learn(planner, plan.rows(1, (number - 2) * size), 1)
    before = Generation(number - 1, (number - 2) * size + 1, plan.rows((number - 2) * size + 1, size))
    planner.warm_up()
    taken: list[float] = []
    for at in range(number, number + 1 + further):
        began = time.process_time()
        made = planner.generation(at, [before])
        taken.append((time.process_time() - began) * 1e3 / size)
        _learn(planner, before.rows, before.first)
        before = made
    return round(taken[0], 3), round(sum(taken[1:]) / further, 3)


def _learn(planner: GenerationPlanner, rows: PlannedRows, first: int) -> None:
    """Results of iterations that are no optimum anywhere: three metrics that pull apart."""
    x = WIDE.to_unit(rows.columns)
    metrics = {
        "m0": (x[:, 0] - 0.3) ** 2 + (x[:, 1] - 0.6) ** 2 + abs(x[:, 2] - 0.5) + x[:, 3] * x[:, 4],
        "m1": (x[:, 0] - 0.8) ** 2 + x[:, 1],
        "m2": (x[:, 2] - 0.1) ** 2 + x[:, 0] * x[:, 5],
    }
    if rows.budget is not None:
        metrics["budget"] = rows.budget
    iterations = np.arange(first, first + len(rows))
    planner.trial_history.learn(
        TrialResults(iterations, np.ones(len(rows), dtype=bool), rows.origin, rows.columns, metrics)
    )


def reproducible(methods: Sequence[str], seeds: int, n: int = 60) -> None:
    """1 slot, 4 slots, two daemons of which one is killed at times: whether all three give the same bytes."""
    for method in methods:
        same = 0
        for seed in range(seeds):
            with farm() as (folder, command):
                # On any farm, which it would follow otherwise.
                job = write_job(folder, "quick", method, n, seed, default_schedule(method, n))
                for slots in (1, 4):
                    words = ("run", job, "--session-id", f"s{slots}", "--workers", slots, "--json")
                    subprocess.run(command("arbd.cli", *words), check=True, capture_output=True)
                subprocess.run(
                    command("arbd.cli", "submit", job, "--session-id", "two"), check=True, capture_output=True
                )
                _with_kills(command, folder / "spool", random.Random(seed), n)
                found = {content(load_table(folder / "spool", name)) for name in ("s1", "s4", "two")}
                same += len(found) == 1
        say(benchmark="reproducible", method=method, iterations=n, seeds=seeds, equal=same)


def _with_kills(command: Callable[..., list[str]], spool: Path, rng: random.Random, n: int) -> None:
    running = {name: start_daemon(command, name, 2) for name in "ab"}
    marks = sorted(rng.sample(range(5, n - 5), 2))
    try:
        while True:
            with contextlib.suppress(Exception):
                state = load_table(spool, "two").state
                if state.done:
                    return
                if marks and state.counted >= marks[0]:
                    marks.pop(0)
                    name = rng.choice("ab")
                    running[name].send_signal(signal.SIGKILL)
                    running[name].wait()
                    running[name] = start_daemon(command, name, 2)
            time.sleep(0.02)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", choices=["quality", "busy", "reproducible", "suggestions"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--peer-seeds", type=int, help="seeds of Optuna's GPSampler, which takes a minute each")
    parser.add_argument("--slots", type=int, default=4, help="slots whose schedule our methods follow in `quality`")
    parser.add_argument("--held-back", action="store_true", help="only problems that no constant was chosen on")
    parser.add_argument("--problem", action="append", help="only this problem (may be given several times)")
    parser.add_argument("--method", action="append", help="only this method or peer (may be given several times)")
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    seeds = 2 if given.smoke else given.seeds
    chosen = [p for p in problems() if given.problem is None or p.name in given.problem]
    if given.held_back:
        chosen = [p for p in chosen if p.held_back]
    if given.smoke:
        chosen = [p for p in chosen if p.name in ("branin", "mixed")]
    if given.only in (None, "quality"):
        quality(chosen, seeds, given.peer_seeds or seeds, given.method or (), given.slots)
    if given.only in (None, "busy"):
        busy({"tpe": 60, "bayesian": 60} if given.smoke else {"tpe": 1_000, "bayesian": 300})
    if given.only in (None, "suggestions"):
        learns = [name for name in built_in(learns=True) if name in (given.method or built_in(learns=True))]
        suggestions(learns, KNOWN[:1] if given.smoke else KNOWN)
    if given.only in (None, "reproducible"):
        methods = (
            ("bayesian", "successive_halving") if given.smoke else (*built_in(learns=True), *built_in(learns=False))
        )
        reproducible([name for name in methods if name in (given.method or methods)], 1 if given.smoke else seeds)


if __name__ == "__main__":
    main()
