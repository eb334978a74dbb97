"""The search methods beside those of other packages, a line of JSON for each search, so that it can be run in parts.

    python benchmarks/search_peers.py run FILE [--problem NAME] [--method NAME] [--slots N] [--seeds N] [--iterations N]
    python benchmarks/search_peers.py table FILE... [--slots N] [--after N] [--method NAME]

`run` appends to FILE what it does not have yet: a search of 200 iterations for each problem, method and seed, with the
best loss (of several losses: the volume that its front encloses) after 50, 100 and 200 of them. What looks at the number of
iterations, as `auto` and the schedule of many slots do, is searched anew for each. Our methods suggest as a farm with so
many slots does: they do not know what would be on its way. `tpe_in_turn` is tpe with a `generation_size` and a
`generation_lag` of 1. Those of others suggest one point, or a population of their own, at a time and know all before it;
`optuna_tpe_batch` is Optuna's TPE at equal batch: it suggests as many at once as our tpe does with so many slots, and knows
as little of what is on its way (with `constant_liar`). A peer that is not installed is said, and left out; Optuna's GP
needs PyTorch.
`table` prints the medians, and how often each method is as good as each other one, of all problems and of those that were
held back from whoever chose constants.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from search_fronts import FrontProblem, fronts
from search_problems import Problem, problems

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.generations import default_schedule
from arbd.search.in_process import Search
from arbd.search.pareto import hypervolume
from arbd.search.policy import method_for
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive
from arbd.search.schedule import Schedule
from arbd.search.space import ChoiceDimension, IntDimension, SearchSpace

MARKS = (50, 100, 200)
ITERATIONS = MARKS[-1]
OURS = ("tpe", "tpe_in_turn", "bayesian", "cmaes", "nsga2", "random", "sobol", "auto")
IN_TURN = "_in_turn"
# Peers that suggest by the schedule of our tpe.
BATCH = "_batch"
# In place of a loss that is none, to those that know no failures.
FAILED = 1e30
BELOW_ONE = 1.0 - 1e-15
Losses = npt.NDArray[np.float64]
Params = Mapping[str, Any]
AnyProblem = Problem | FrontProblem


class Peer(Protocol):
    """A search of another package: points in turn, or in populations."""

    def ask(self) -> list[Params]:
        """What is to be evaluated next."""
        ...

    def tell(self, losses: Losses) -> None:
        """What was found, of shape (points, losses)."""
        ...


def _schedule(method: str, n: int, slots: int) -> Schedule:
    """How many points are suggested at once, and from which results."""
    if method == "auto":
        method = method_for(n)[0]
    in_turn = method.endswith(IN_TURN) or (method in PEERS and not method.endswith(BATCH))
    return Schedule(1, 1) if in_turn else default_schedule("tpe" if method in PEERS else method, n, slots)


def losses_of(problem: AnyProblem, params: Params) -> tuple[float, ...]:
    """One or several."""
    return problem.losses(params) if isinstance(problem, FrontProblem) else (problem.loss(params),)


def goals(problem: AnyProblem) -> int:
    """How many losses there are."""
    return len(problem.reference) if isinstance(problem, FrontProblem) else 1


def ours(problem: AnyProblem, method: str, seed: int, slots: int, n: int) -> Losses:
    """Losses by iteration of a search by so many slots."""
    names = [f"m{i}" for i in range(goals(problem))]
    schedule = _schedule(method, n, slots)
    method = method_for(n)[0] if method == "auto" else method.removesuffix(IN_TURN)
    learns = adaptive(method) is not None
    spec = JobSpec(
        objective=ObjectiveSpec("python", ("benchmark:loss",)), method=method, space=problem.space, n=n, seed=seed,
        metrics=tuple(MetricGoal(name, "minimize") for name in names),
        generation_size=schedule.size if learns else 0, generation_lag=schedule.lag,
    )  # fmt: skip
    search, found = Search(spec), np.full((n, len(names)), np.nan)
    for iteration in range(1, n + 1):
        row = search.row(iteration)
        assert row is not None
        source = int(row.origin[0])
        if source > 0:
            found[iteration - 1] = found[source - 1]
            search.tell(iteration, None)
        else:
            found[iteration - 1] = losses_of(problem, problem.space.rows(row.columns)[0])
            search.tell(iteration, dict(zip(names, found[iteration - 1].tolist(), strict=True)))
    return found


class _InCube:
    """A peer that knows numbers from 0 to 1 alone."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def params(self, points: Losses) -> list[Params]:
        """Points as parameters."""
        return list(self._space.rows(self._space.from_unit(np.clip(points, 0.0, BELOW_ONE))))


class OptunaPeer:
    """One of Optuna's samplers."""

    def __init__(self, problem: AnyProblem, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler, directions=["minimize"] * goals(problem))
        self._space = problem.space
        self._running: deque[Any] = deque()

    def ask(self) -> list[Params]:
        """See `Peer`. May be asked again before it is told."""
        trial = self._study.ask()
        self._running.append(trial)
        params: dict[str, Any] = {}
        for d in self._space.dimensions:
            if isinstance(d, ChoiceDimension):
                params[d.name] = trial.suggest_categorical(d.name, list(d.values))
            elif isinstance(d, IntDimension):
                params[d.name] = trial.suggest_int(d.name, d.low, d.high, log=d.log)
            else:
                params[d.name] = trial.suggest_float(d.name, d.low, d.high, log=d.log)
        return [params]

    def tell(self, losses: Losses) -> None:
        """See `Peer`."""
        import optuna

        for found in losses:
            trial = self._running.popleft()
            if np.isnan(found).any():
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, found.tolist())


class PycmaPeer(_InCube):
    """pycma from the middle, a quarter of the cube wide; begun anew elsewhere, twice as large, where it has ended."""

    def __init__(self, problem: AnyProblem, seed: int) -> None:
        super().__init__(problem.space)
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._begin(np.full(len(problem.space.dimensions), 0.5), None)

    def _begin(self, mean: Losses, population: int | None) -> None:
        import cma

        options = {"bounds": [0, 1], "seed": self._seed + 1, "verbose": -9}
        self._strategy = cma.CMAEvolutionStrategy(
            mean, 0.25, {**options, **({"popsize": population} if population else {})}
        )

    def ask(self) -> list[Params]:
        """See `Peer`."""
        if self._strategy.stop():
            self._begin(self._rng.random(len(self._space.dimensions)), 2 * self._strategy.popsize)
        self._asked = self._strategy.ask()
        return self.params(np.array(self._asked))

    def tell(self, losses: Losses) -> None:
        """See `Peer`."""
        self._strategy.tell(self._asked, np.nan_to_num(losses[:, 0], nan=FAILED).tolist())


class NevergradPeer:
    """nevergrad's NGOpt, which chooses its method by the space and the number of evaluations."""

    def __init__(self, problem: AnyProblem, seed: int) -> None:
        import nevergrad

        parts: dict[str, Any] = {}
        for d in problem.space.dimensions:
            if isinstance(d, ChoiceDimension):
                parts[d.name] = nevergrad.p.Choice(list(d.values))
                continue
            number = nevergrad.p.Log if d.log else nevergrad.p.Scalar
            parts[d.name] = number(lower=d.low, upper=d.high)
            if isinstance(d, IntDimension):
                parts[d.name] = parts[d.name].set_integer_casting()
        space = nevergrad.p.Dict(**parts)
        space.random_state.seed(seed)
        self._optimizer = nevergrad.optimizers.NGOpt(parametrization=space, budget=ITERATIONS, num_workers=1)

    def ask(self) -> list[Params]:
        """See `Peer`."""
        self._asked = self._optimizer.ask()
        return [self._asked.value]

    def tell(self, losses: Losses) -> None:
        """See `Peer`."""
        found = np.nan_to_num(losses[0], nan=FAILED)
        self._optimizer.tell(self._asked, float(found[0]) if len(found) == 1 else found)


class PymooPeer(_InCube):
    """pymoo's NSGA-II over the cube, with populations of twenty."""

    def __init__(self, problem: AnyProblem, seed: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem as PymooProblem

        super().__init__(problem.space)
        self._problem = PymooProblem(n_var=len(problem.space.dimensions), n_obj=goals(problem), xl=0.0, xu=1.0)
        self._algorithm = NSGA2(pop_size=20)
        self._algorithm.setup(self._problem, termination=("n_gen", ITERATIONS), seed=seed, verbose=False)

    def ask(self) -> list[Params]:
        """See `Peer`."""
        self._asked = self._algorithm.ask()
        return self.params(self._asked.get("X"))

    def tell(self, losses: Losses) -> None:
        """See `Peer`."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        Evaluator().eval(StaticProblem(self._problem, F=np.nan_to_num(losses, nan=FAILED)), self._asked)
        self._algorithm.tell(infills=self._asked)


def _optuna(name: str, **options: Any) -> Callable[[AnyProblem, int], Peer]:
    def make(problem: AnyProblem, seed: int) -> Peer:
        import optuna

        return OptunaPeer(problem, getattr(optuna.samplers, name)(seed=seed, **options))

    return make


# By name: the packages that each needs, how it is made, and whether it takes several losses, or only several.
PEERS: Mapping[str, tuple[tuple[str, ...], Callable[[AnyProblem, int], Peer], tuple[bool, bool]]] = {
    "optuna_tpe": (("optuna",), _optuna("TPESampler"), (True, True)),
    "optuna_tpe_batch": (("optuna",), _optuna("TPESampler", constant_liar=True), (True, True)),
    "optuna_gp": (("optuna", "torch"), _optuna("GPSampler"), (True, True)),
    "optuna_cmaes": (("optuna", "cmaes"), _optuna("CmaEsSampler"), (True, False)),
    "optuna_nsga2": (("optuna",), _optuna("NSGAIISampler", population_size=20), (False, True)),
    "pycma": (("cma",), PycmaPeer, (True, False)),
    "nevergrad": (("nevergrad",), NevergradPeer, (True, True)),
    "pymoo_nsga2": (("pymoo",), PymooPeer, (False, True)),
}


def can(method: str, problem: AnyProblem) -> bool:
    """Whether a method is for problems of that kind."""
    several = isinstance(problem, FrontProblem)
    if method in PEERS:
        return PEERS[method][2][several]
    found = adaptive(method.removesuffix(IN_TURN)) if method != "auto" else None
    return not several or found is None or found.max_metrics is None


def theirs(problem: AnyProblem, method: str, seed: int, slots: int, n: int) -> Losses:
    """Losses by iteration of a peer."""
    peer = PEERS[method][1](problem, seed)
    schedule = _schedule(method, n, slots)
    found: list[tuple[float, ...]] = []
    generations: deque[list[tuple[float, ...]]] = deque()
    while len(found) < n:
        # What is on its way is told after the next generations were suggested, as ours learn it.
        asked = [params for _ in range(schedule.size) for params in peer.ask()]
        generations.append([losses_of(problem, params) for params in asked])
        found += generations[-1]
        if len(generations) == schedule.lag:
            peer.tell(np.array(generations.popleft(), dtype=np.float64))
    return np.array(found[:n], dtype=np.float64)


def reached(problem: AnyProblem, losses: Losses, n: int) -> float:
    """The least loss of the first n, or minus the volume that they enclose."""
    if isinstance(problem, FrontProblem):
        known = losses[:n][~np.isnan(losses[:n]).any(axis=1)]
        return -hypervolume(known, np.array(problem.reference))
    return float(np.fmin.reduce(losses[:n, 0]))


def searched(problem: AnyProblem, method: str, seed: int, slots: int, iterations: int) -> list[float]:
    """What is reached at each mark, as far as the search goes: one search as far as its beginning is the same for all marks."""
    marks = [mark for mark in MARKS if mark <= iterations]
    schedules = [_schedule(method, n, slots) for n in marks]
    alike = method != "auto" and len(set(schedules)) == 1
    search = theirs if method in PEERS else ours
    if alike:
        losses = search(problem, method, seed, slots, marks[-1])
        return [reached(problem, losses, n) for n in marks]
    return [reached(problem, search(problem, method, seed, slots, n), n) for n in marks]


def missing(method: str) -> list[str]:
    """The packages of a peer that are not installed."""
    return [name for name in PEERS[method][0] if importlib.util.find_spec(name) is None] if method in PEERS else []


def run(
    path: Path, chosen: Sequence[AnyProblem], methods: Sequence[str], seeds: int, slots: int, iterations: int
) -> None:
    """Append what the file lacks."""
    wanted = sum(mark <= iterations for mark in MARKS)
    done = {
        (line["problem"], line["method"], line["slots"], line["seed"])
        for line in lines([path])
        if len(line["best"]) >= wanted
    }
    for method in methods:
        if without := missing(method):
            print(f"{method} is left out: {', '.join(without)} is not installed", flush=True)
    for seed in range(seeds):
        for problem in chosen:
            for method in methods:
                alike = method in PEERS and not method.endswith(BATCH)
                key = (problem.name, method, 1 if alike else slots, seed)
                if key in done or missing(method) or not can(method, problem):
                    continue
                began = time.process_time()
                best = searched(problem, method, seed, slots, iterations)
                line = dict(zip(("problem", "method", "slots", "seed"), key, strict=True))
                line |= {"best": [float(f"{value:.6g}") for value in best]}
                line |= {"cpu_s": round(time.process_time() - began, 2)}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


def lines(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """What was run."""
    for path in paths:
        if path.exists():
            yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def main() -> None:
    """Run a part, or tabulate parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("file", type=Path)
    runs.add_argument("--problem", action="append")
    runs.add_argument("--method", action="append")
    runs.add_argument("--tune", action="store_true", help="only problems that constants may be chosen on")
    runs.add_argument("--slots", type=int, default=1)
    runs.add_argument("--seeds", type=int, default=10)
    runs.add_argument("--iterations", type=int, default=ITERATIONS, help="50, 100 or 200")
    table = commands.add_parser("table")
    table.add_argument("files", type=Path, nargs="+")
    table.add_argument("--slots", type=int, default=1)
    table.add_argument("--after", type=int, action="append", choices=MARKS, help="iterations; 50, 100 and 200")
    table.add_argument("--method", action="append", help="these alone, in this order")
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    everything: list[AnyProblem] = [*problems(), *fronts()]
    if given.command == "table":
        from search_table import tables

        print(
            "\n".join(
                tables(lines(given.files), everything, given.slots, MARKS, given.after or MARKS, given.method or ())
            )
        )
        return
    chosen = [p for p in everything if given.problem is None or p.name in given.problem]
    chosen = [p for p in chosen if not (given.tune and p.held_back)]
    run(given.file, chosen, given.method or (*OURS, *PEERS), given.seeds, given.slots, given.iterations)


if __name__ == "__main__":
    main()
