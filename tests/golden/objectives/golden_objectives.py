"""Objectives of the golden sessions: exact arithmetic alone, so that every machine computes the same bits."""

import os
import signal
import time

import numpy as np

from arbd.tuning import Outcome

# Set only while a golden spool is made: what fails now and works later, and sessions that can be caught half way.
OUTAGE = "ARBD_GOLDEN_OUTAGE"
SLEEP_S = "ARBD_GOLDEN_SLEEP_S"


def _cost(params):
    offset = {"buy": 0.0, "sell": 0.25}.get(params.get("side", "buy"))
    x, k = float(params.get("x", 0.0)), int(params.get("k", 0))
    return (x - 0.375) * (x - 0.375) + 0.03125 * (k - 3) * (k - 3) + offset


def plain(params):
    time.sleep(float(os.environ.get(SLEEP_S, "0")))
    cost = _cost(params)
    return {"value": 1.0 - cost, "cost": cost}


def two_metrics(params):
    cost = _cost(params)
    return {"value": 1.0 - cost, "k_cost": 0.5 * params["k"], "cost": cost}


def with_failures(params):
    if os.environ.get(OUTAGE) and params["k"] == 2:
        raise ConnectionError("the file server of the quotes is away")
    if params["k"] == 4 and params["side"] == "sell":
        raise ValueError(f"no quotes to sell at k={params['k']}")
    return plain(params)


def odd_ends(params):
    n = int(params["n"])
    if n == 2:
        raise ValueError("the market was closed — 休場")
    if n == 3:
        return {"value": float("nan"), "only_here": 3.0}
    if n == 4:
        return {"value": "text"}
    if n == 5:
        return {"value": float("inf")}
    if n == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 7:
        time.sleep(60)
    return {"value": float(n)}


def with_reports(params, trial):
    returns = [params["x"] * step - 0.5 for step in range(1, 9)]
    for step, value in enumerate(returns, 1):
        trial.report(step, value)
    pairs = [(a + b, a * a + b * b) for a, b in zip(returns[::2], returns[1::2], strict=True)]
    return Outcome({"value": sum(returns), "seed": float(trial.seed % 1024)}, blocks=np.array(pairs))


def with_budget(params, budget):
    return {"value": 1.0 - _cost(params) * (2.0 - budget)}
