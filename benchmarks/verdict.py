"""How often the verdict is right, on markets of which it is known whether there is anything to earn. JSON lines.

    python benchmarks/verdict.py                          400 markets without an edge, 100 for each edge, per method
    python benchmarks/verdict.py --smoke                  a few of each, to see that it runs
    python benchmarks/verdict.py --method tpe --markets 100 --only luck
    python benchmarks/verdict.py --validation holdout     with a holdout, walk_forward or null searches, as sessions have

Every market is searched by 256 iterations of the paper engine's convergence strategy, by pnl, without fees or slippage: where
nothing can be earned, fees would only make it easier to say so. `skill` is the share of markets whose winner is called
skill; `at_most` is the upper end of its 95 % confidence interval (Clopper and Pearson). `naive` is what is called skill
by the rule that a winner which earned anything is good, `psr` by a probabilistic Sharpe ratio of 95 % of the winner alone.
With `--validation`, `null_p_ks` is the p-value of Kolmogorov and Smirnov's test that the null searches' p are uniform.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

import numpy as np
from verdict_markets import KINDS, market
from verdict_session import judged_session

from arbd.analysis.verdict import SessionVerdict
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.paper.metrics import block_counts
from arbd.paper.objective import PaperObjective
from arbd.search.generations import default_schedule
from arbd.search.in_process import Search
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive
from arbd.search.space import FloatDimension, IntDimension, SearchSpace
from arbd.validation.judgement import Evidence, Judgement, Verdict, judge

METHODS = ("sobol", "tpe", "bayesian", "cmaes")
ITERATIONS = 256
DAYS = 4.0
VALIDATIONS: dict[str, dict[str, Any]] = {
    "holdout": {"holdout": "30%", "finalists": 5},
    "walk_forward": {"walk_forward": {"train": "2d", "test": "12h"}, "finalists": 1},
    "null": {"null_searches": 19},
}
EDGES_BPS = (1.0, 2.0, 3.0, 4.0)
LENGTHS = (4.0, 16.0)
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


def searched(method: str, kind: str, seed: int, days: float, edge_bps: float) -> tuple[Judgement, float]:
    """One market, one search: the verdict, and what the winner earned."""
    objective = PaperObjective([market(kind, seed, days, edge_bps)], FIXED)
    goal = MetricGoal("pnl", "maximize")
    spec = JobSpec(
        objective=ObjectiveSpec("paper", ()), method=method, space=SPACE, n=ITERATIONS, seed=seed, metrics=(goal,),
        generation_size=default_schedule(method, ITERATIONS).size if adaptive(method) else 0,
        generation_lag=default_schedule(method, ITERATIONS).lag,
    )  # fmt: skip
    search = Search(spec)
    rows, blocks = [], []
    for iteration in range(1, ITERATIONS + 1):
        row = search.row(iteration)
        assert row is not None
        if int(row.origin[0]):
            search.tell(iteration, None)
            continue
        metrics, sums = objective.evaluate(SPACE.rows(row.columns)[0])
        search.tell(iteration, {"pnl": metrics["pnl"]})
        rows.append(metrics)
        blocks.append(sums)
    pnl = np.array([row["pnl"] for row in rows])
    at, sums = int(pnl.argmax()), np.array(blocks)
    steps = int((market_span_s(days, kind)) // GRID_S) + 1
    found = judge(
        Evidence(
            np.ascontiguousarray(sums[:, :, 0]), np.ascontiguousarray(sums[:, :, 1]), at, adaptive=adaptive(method) is not None,
            trials=len(rows), trials_on_data=len(rows), counts=block_counts(steps), step_s=GRID_S,
            trades=rows[at]["trades"], hold_s=rows[at]["avg_hold_s"],
        )
    )  # fmt: skip
    return found, float(pnl[at])


def validated(method: str, kind: str, seed: int, days: float, edge_bps: float, validation: str) -> SessionVerdict:
    """One market, one session with its validation: the verdict."""
    job = {
        "objective": "paper", "fixed": dict(FIXED), "metric": "pnl", "validation": VALIDATIONS[validation],
        "tuning": {
            "method": method, "max_iterations": ITERATIONS, "seed": seed,
            "search_space": {d.name: {"type": "int" if isinstance(d, IntDimension) else "float", "bounds": [d.low, d.high],
                                      "log": d.log} for d in SPACE.dimensions},
        },
    }  # fmt: skip
    return judged_session(market(kind, seed, days, edge_bps), job)[0]


def market_span_s(days: float, kind: str) -> float:
    """From the first quote to the last."""
    return days * 86_400 + (7 * 3_600 if kind == "gaps" else 0)


def case(
    method: str, kind: str, markets: int, days: float, edge_bps: float, validation: str | None = None
) -> dict[str, Any]:
    """All markets of one case."""
    start = time.process_time()
    verdicts: Counter[str] = Counter()
    naive = psr = 0
    p_values, null_p = [], []
    for seed in range(markets):
        if validation is None:
            found, pnl = searched(method, kind, seed, days, edge_bps)
        else:
            session = validated(method, kind, seed, days, edge_bps, validation)
            found, pnl = session.judgement, session.best
            beyond = session.evidence.beyond if session.evidence is not None else None
            null_p += [beyond.null] if beyond is not None and beyond.null is not None else []
        verdicts[str(found.verdict)] += 1
        naive += pnl > 0
        psr += (found.psr or 0.0) >= 0.95
        if found.winner is not None:
            p_values.append(found.winner.p_consistent)
    skill = verdicts[str(Verdict.SKILL)]
    return {
        "method": method, "market": kind, "days": days, "edge_bps": edge_bps, "markets": markets,
        "skill": round(skill / markets, 4), "at_most": round(upper(skill, markets), 4),
        "naive": round(naive / markets, 4), "psr": round(psr / markets, 4),
        "median_p": round(float(np.median(p_values)), 4) if p_values else None,
        **({} if validation is None else {"validation": validation}),
        **({} if not null_p else {"null_p_median": float(np.median(null_p)), "null_p_at_5": share_at_5(null_p),
                                  "null_p_ks": uniform(null_p)}),
        "verdicts": dict(verdicts), "cpu_s": round(time.process_time() - start, 1),
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
    parser.add_argument("--market", action="append", choices=KINDS, help="only these kinds of market")
    parser.add_argument("--markets", type=int, help="markets of each case, all kinds together without an edge")
    parser.add_argument("--only", choices=("luck", "edge"), help="only markets without an edge, or with one")
    parser.add_argument("--validation", choices=tuple(VALIDATIONS), help="sessions with a validation of this kind")
    given = parser.parse_args()
    for method in given.method or METHODS[: 2 if given.smoke else None]:
        most = 400 if method in ("sobol", "tpe") else 100
        markets = given.markets or (8 if given.smoke else most)
        kinds = given.market or KINDS
        if given.only != "edge":
            for kind in kinds:
                print(
                    json.dumps(case(method, kind, max(1, markets // len(kinds)), DAYS, 0.0, given.validation)),
                    flush=True,
                )
        if given.only != "luck" and method in ("sobol", "tpe"):
            for days in LENGTHS[: 1 if given.smoke else None]:
                for edge_bps in EDGES_BPS[: 1 if given.smoke else None]:
                    print(
                        json.dumps(case(method, "martingale", max(1, markets // 4), days, edge_bps, given.validation)),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
