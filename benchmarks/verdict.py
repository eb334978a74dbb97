"""How often the verdict is right, on markets of which it is known whether there is anything to earn. JSON lines.

    python benchmarks/verdict.py                          400 markets without an edge, 100 for each edge, per method
    python benchmarks/verdict.py --smoke                  a few of each, to see that it runs
    python benchmarks/verdict.py --method tpe --markets 100 --only luck
    python benchmarks/verdict.py --validation holdout     with a holdout, walk_forward or null searches, as sessions have
    python benchmarks/verdict.py --append judged.jsonl    in parts: what the file has is not judged again, the rest is added
    python benchmarks/verdict.py --append judged.jsonl --known        all that the file has

Every market is searched by 256 iterations of the paper engine's convergence strategy, by pnl, without fees or slippage: where
nothing can be earned, fees would only make it easier to say so. `skill` is the share of markets whose winner is called
skill; `at_most` is the upper end of its 95 % confidence interval (Clopper and Pearson). `naive` is what is called skill
by the rule that a winner which earned anything is good, `psr` by a probabilistic Sharpe ratio of 95 % of the winner alone.
`edge_over_luck` is how good the winners are after costs on markets of the same kind that nobody has seen: their mean Sharpe
ratio, over the best that is expected of 256 trials of noise. With `--validation`,
`null_p_ks` is the p-value of Kolmogorov and Smirnov's test that the null searches' p are uniform.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from verdict_markets import KINDS, market
from verdict_records import Found, Judged
from verdict_session import judged_session

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.paper.metrics import N_BLOCKS, block_counts
from arbd.paper.objective import PaperObjective
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner, default_schedule
from arbd.search.plan import RUN, NonAdaptivePlan, PlannedRows
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive
from arbd.search.space import FloatDimension, IntDimension, SearchSpace
from arbd.search.trial_history import TrialResults
from arbd.validation.claim import Beyond
from arbd.validation.evidence import Evidence, Verdict
from arbd.validation.judgement import judge
from arbd.validation.out_of_sample import block_sharpe
from arbd.validation.sharpe import expected_max_sharpe

METHODS = ("sobol", "tpe", "bayesian", "cmaes")
ITERATIONS = 256
DAYS = 4.0
VALIDATIONS: dict[str, dict[str, Any]] = {
    "holdout": {"holdout": "30%", "finalists": 5},
    "walk_forward": {"walk_forward": {"train": "2d", "test": "12h"}, "finalists": 1},
    "null": {"null_searches": 19},
}
EDGES_BPS = {"reverting": (0.2, 0.25, 0.3, 0.5), "wandering": (1.0, 2.0, 4.0, 6.0)}
LENGTHS = (4.0, 16.0)
# Added to the seed of a market for one like it that no search has seen.
UNSEEN = 10**6
# The best Sharpe ratio a block to expect of as many trials of noise.
LUCK_LINE = expected_max_sharpe(ITERATIONS) / N_BLOCKS**0.5
GRID_S = 300.0
FIXED = {
    "fee_a_bps": 0, "fee_b_bps": 0, "slippage_bps": 0, "latency_a_ms": 0, "latency_b_ms": 0, "max_position": 5_000,
    "initial_capital": 20_000, "grid_s": GRID_S,
}  # fmt: skip
SPACE = SearchSpace(
    (
        FloatDimension("min_spread_pct", 0.005, 0.10),
        FloatDimension("exit_spread_pct", -0.10, 0.10),
        FloatDimension("stop_loss_pct", 0.0, 0.5),
        IntDimension("max_hold_s", 300, 6_000, log=True),
    )
)


def searched(method: str, kind: str, seed: int, days: float, edge_bps: float) -> Found:
    """One market, one search, judged by its return blocks alone."""
    objective = PaperObjective([market(kind, seed, days, edge_bps)], FIXED)
    schedule = default_schedule(method, ITERATIONS)
    learns = adaptive(method) is not None
    spec = JobSpec(
        objective=ObjectiveSpec("paper", ()), method=method, space=SPACE, n=ITERATIONS, seed=seed,
        metrics=(MetricGoal("pnl", "maximize"),), generation_size=schedule.size if learns else 0,
        generation_lag=schedule.lag,
    )  # fmt: skip
    params, metrics, sums = _run(spec, objective)
    at = int(metrics["pnl"].argmax())
    steps = int((market_span_s(days, kind)) // GRID_S) + 1
    evidence = Evidence(
        np.ascontiguousarray(sums[:, :, 0]), np.ascontiguousarray(sums[:, :, 1]), at, adaptive=learns, trials=len(sums),
        trials_on_data=len(sums), counts=block_counts(steps), step_s=GRID_S, trades=float(metrics["trades"][at]),
        hold_s=float(metrics["avg_hold_s"][at]),
    )  # fmt: skip
    return Found.of(judge(evidence), float(metrics["pnl"][at]), fresh(kind, seed, days, edge_bps, params[at]), Beyond())


def _run(spec: JobSpec, objective: PaperObjective) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """Parameters, metrics and blocks of all that a search runs, generation by generation."""
    params: list[dict[str, Any]] = []
    parts: list[tuple[dict[str, Any], Any]] = []

    def evaluate(rows: PlannedRows) -> Any:
        ran = np.flatnonzero(rows.origin == RUN)
        pnl = np.full(len(rows), np.nan)
        if len(ran):
            params.extend(SPACE.rows(rows.select(ran).columns))
            parts.append(objective.evaluate_batch(SPACE.decode(rows.select(ran).columns)))
            pnl[ran] = parts[-1][0]["pnl"]
        return pnl

    if not spec.generation_size:
        evaluate(NonAdaptivePlan(spec).rows(1, spec.n))
    else:
        planner, made = GenerationPlanner(spec, {}), list[Generation]()
        for number in range(1, spec.generations + 1):
            generation = planner.generation(number, [made[at - 1] for at in planner.pending(number)])
            made.append(generation)
            rows = generation.rows
            iteration = np.arange(generation.first, generation.first + len(rows))
            done = np.ones(len(rows), dtype=bool)
            planner.learn(TrialResults(iteration, done, rows.origin, rows.columns, {"pnl": evaluate(rows)}))
    metrics = {name: np.concatenate([part[name] for part, _ in parts]) for name in ("pnl", "trades", "avg_hold_s")}
    return params, metrics, np.concatenate([sums for _, sums in parts])


def fresh(kind: str, seed: int, days: float, edge_bps: float, params: Mapping[str, Any]) -> float:
    """The Sharpe ratio a block of a set on a market of the same kind and length that no search has seen."""
    if not edge_bps:
        return 0.0
    _, sums = PaperObjective([market(kind, seed + UNSEEN, days, edge_bps)], FIXED).evaluate(params)
    return block_sharpe(sums[:, 0]) or 0.0


def validated(method: str, kind: str, seed: int, days: float, edge_bps: float, validation: str) -> Found:
    """One market, one session with its validation."""
    job = {
        "objective": "paper", "fixed": dict(FIXED), "metric": "pnl", "validation": VALIDATIONS[validation],
        "tuning": {
            "method": method, "max_iterations": ITERATIONS, "seed": seed,
            "search_space": {d.name: {"type": "int" if isinstance(d, IntDimension) else "float", "bounds": [d.low, d.high],
                                      "log": d.log} for d in SPACE.dimensions},
        },
    }  # fmt: skip
    session, _ = judged_session(market(kind, seed, days, edge_bps), job)
    beyond = session.evidence.beyond if session.evidence is not None else Beyond()
    sharpe = 0.0
    if session.phases is not None and session.winner is not None:
        source = session.phases.table.source
        sharpe = fresh(
            kind, seed, days, edge_bps, {name: source.param(name)[session.winner].item() for name in SPACE.names}
        )
    return Found.of(session.judgement, session.best, sharpe, beyond)


def market_span_s(days: float, kind: str) -> float:
    """From the first quote to the last."""
    return days * 86_400 + (7 * 3_600 if kind == "gaps" else 0)


def case(
    judged: Judged, method: str, kind: str, markets: int, days: float, edge_bps: float, validation: str | None = None
) -> tuple[dict[str, Any], list[Found]]:
    """All markets of one case: the line, and what it is made of."""
    told = {"method": method, "market": kind, "days": days, "edge_bps": edge_bps}

    def one(each: dict[str, Any]) -> tuple[Found, float]:
        start, seed = time.process_time(), each["seed"]
        if validation is None:
            found = searched(method, kind, seed, days, edge_bps)
        else:
            found = validated(method, kind, seed, days, edge_bps, validation)
        return found, time.process_time() - start

    known = judged.all([{**told, "validation": validation, "seed": seed} for seed in range(markets)], one)
    found = [each for each, _ in known]
    return {**told, **line(found, validation), "cpu_s": round(sum(cpu_s for _, cpu_s in known), 1)}, found


def line(found: list[Found], validation: str | None) -> dict[str, Any]:
    """What is told of judged searches."""
    markets = len(found)
    verdicts = Counter(one.verdict for one in found)
    skill = verdicts[str(Verdict.SKILL)]
    p_values = [one.p for one in found if one.p is not None]
    null_p = [one.null for one in found if one.null is not None]
    edge = float(np.mean([one.fresh_sharpe for one in found]))
    return {
        "markets": markets, "skill": round(skill / markets, 4), "at_most": round(upper(skill, markets), 4),
        "naive": round(sum(one.best > 0 for one in found) / markets, 4),
        "psr": round(sum((one.psr or 0.0) >= 0.95 for one in found) / markets, 4),
        **({"edge_over_luck": round(edge / LUCK_LINE, 2)} if edge else {}),
        "median_p": round(float(np.median(p_values)), 4) if p_values else None,
        **({} if validation is None else {"validation": validation}),
        **({} if not null_p else {"null_p_median": float(np.median(null_p)), "null_p_at_5": share_at_5(null_p),
                                  "null_p_ks": uniform(null_p)}),
        "verdicts": dict(verdicts),
    }  # fmt: skip


def share_at_5(p_values: list[float]) -> float:
    """How many of the p-values are 5 % or less."""
    return round(sum(p <= 0.05 for p in p_values) / len(p_values), 4)


def uniform(p_values: list[float]) -> float:
    """The p-value of a test that p-values are uniform, those of so many nulls being spread over their steps."""
    from scipy.stats import kstest

    step = 1 / (1 + VALIDATIONS["null"]["null_searches"])
    spread = np.array(p_values) - step * np.random.default_rng(0).random(len(p_values))
    return round(float(kstest(spread, "uniform").pvalue), 4)


def upper(found: int, of: int) -> float:
    """The upper end of the two-sided 95 % confidence interval of a share."""
    from scipy.stats import beta

    return 1.0 if found == of else float(beta.ppf(0.975, found + 1, of - found))


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few markets of each, to see that it runs")
    parser.add_argument("--method", action="append", choices=METHODS, help="only these methods")
    parser.add_argument("--market", action="append", choices=(*KINDS, *EDGES_BPS), help="only these kinds of market")
    parser.add_argument("--markets", type=int, help="markets of each case, all kinds together without an edge")
    parser.add_argument("--only", choices=("luck", "edge"), help="only markets without an edge, or with one")
    parser.add_argument("--validation", choices=tuple(VALIDATIONS), help="sessions with a validation of this kind")
    parser.add_argument(
        "--append", type=Path, metavar="FILE", help="take what FILE has of judged markets, and add those it has not"
    )
    parser.add_argument("--known", action="store_true", help="tell what FILE has")
    given = parser.parse_args()
    judged = Judged(given.append)
    if given.known:
        known(judged)
        return
    for method in given.method or METHODS[: 2 if given.smoke else None]:
        most = 400 if method in ("sobol", "tpe") else 100
        markets = given.markets or (8 if given.smoke else most)
        kinds = given.market or (*KINDS, *EDGES_BPS)
        if given.only != "edge" and (without := [kind for kind in kinds if kind in KINDS]):
            each = max(1, markets // len(without))
            luck(judged, method, dict.fromkeys(without, each), given.validation)
        if given.only != "luck" and method in ("sobol", "tpe"):
            for kind in (kind for kind in kinds if kind in EDGES_BPS):
                for days in LENGTHS[: 1 if given.smoke else None]:
                    for edge_bps in EDGES_BPS[kind][: 1 if given.smoke else None]:
                        tell(case(judged, method, kind, max(1, markets // 4), days, edge_bps, given.validation)[0])


def luck(judged: Judged, method: str, kinds: Mapping[str, int], validation: str | None) -> None:
    """Markets without an edge, so many of each kind, and all of them together."""
    together: list[Found] = []
    for kind, markets in kinds.items():
        told, found = case(judged, method, kind, markets, DAYS, 0.0, validation)
        together += found
        tell(told)
    if len(kinds) > 1:
        tell({"method": method, "market": "all of these", "days": DAYS, "edge_bps": 0.0, **line(together, validation)})


def known(judged: Judged) -> None:
    """All cases of a file."""
    counts = judged.counts()
    for method, validation in dict.fromkeys((method, validation) for method, validation, *_ in counts):
        of = {key[2]: n for key, n in counts.items() if key[:2] == (method, validation) and not key[4]}
        if of:
            luck(judged, method, of, validation)
    for (method, validation, kind, days, edge_bps), n in counts.items():
        if edge_bps:
            tell(case(judged, method, kind, n, days, edge_bps, validation)[0])


def tell(told: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
