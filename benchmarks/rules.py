"""Winners of the recorded jobs under the engine's first rules and under its second, side by side.

    python benchmarks/rules.py                  the table of docs/rules.md, from benchmarks/rules_first.json and a run now
    python benchmarks/rules.py --first FOLDER   writes benchmarks/rules_first.json: what a checkout of the first rules,
                                                `git worktree add FOLDER 05a1f1c`, gives for the same jobs

Both run the same job files with the same seed through `arbctl run`. The second rules run twice: as the job says, and with
what carrying a position costs. The first rules' winner is also run by the second ones, as it is: what it was worth.
Recorded quotes are in $DATA (see docs/run_examples.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
FIRST = Path(__file__).with_name("rules_first.json")
QUOTES = {
    "recorded_brl": "brl_two_venue_book",
    "recorded_spot_perp": "binance_btc_spot_perp_tick",
    "recorded_bybit": "bybit_binance_btc_1m",
}
# What carrying costs is stated, not measured: borrowed coins at 10 % a year, a perpetual's usual funding of 1 bp in 8 h.
CARRY: dict[str, dict[str, float]] = {
    "recorded_brl": {"borrow_a_pct_year": 10, "borrow_b_pct_year": 10},
    "recorded_spot_perp": {"funding_a_bps_8h": 1, "borrow_b_pct_year": 10},
    "recorded_bybit": {"borrow_a_pct_year": 10, "funding_b_bps_8h": 1},
}
SHOWN = ("pnl", "trades", "sharpe", "max_drawdown")
LATER = ("orders", "rejected", "unhedged_pnl", "funding_paid", "borrow_paid")


def main() -> None:
    """Write what the first rules give, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, metavar="FOLDER", help="a checkout of the first rules")
    given = parser.parse_args()
    if given.first is None:
        first = json.loads(FIRST.read_text())
        for text in table(first["jobs"], first["commit"]):
            print(text)
        return
    where = given.first.resolve()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=where, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="arbd-rules-") as name:
        jobs = {job: best(tuned(where, Path(name), job, {})) for job in QUOTES}
    FIRST.write_text(json.dumps({"commit": commit.stdout.strip(), "jobs": jobs}, indent=1) + "\n")


def tuned(
    checkout: Path, folder: Path, job: str, fixed: Mapping[str, Any], searched: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of a session of that checkout's arbd: the job, or one iteration with `searched` as it is."""
    data = Path(os.environ.get("DATA") or os.environ.get("ARBD_TEST_DATA") or ROOT.parent / "shared" / "data")
    text = yaml.safe_load((ROOT / "etc" / "jobs" / f"{job}.yaml").read_text())
    text["data"] = [str(data.resolve() / f"{QUOTES[job]}.parquet")]
    text["fixed"] |= fixed
    if searched is not None:
        space = {name: {"type": "choice", "values": [value]} for name, value in searched.items()}
        text["tuning"] = {"method": "grid", "search_space": space}
    spool = Path(tempfile.mkdtemp(dir=folder))
    (folder / "arbd.yaml").write_text(f"cache_dir: {folder}/cache\nworker_id: host-a\n")
    (folder / "job.yaml").write_text(yaml.safe_dump(text, sort_keys=False))

    def arbctl(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "arbd.cli", "--spool", str(spool), "--config", f"{folder}/arbd.yaml", *words],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"arbctl {' '.join(words)}: {done.stderr}")
        return done.stdout

    arbctl("run", f"{folder}/job.yaml", "--session-id", "rules", "--worker-id", "host-a")
    return [json.loads(line) for line in arbctl("export", "rules", "--format", "jsonl", "--output", "-").splitlines()]


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the winner by pnl what was searched and its metrics; and of all sets the median and how many made anything."""
    done = [row for row in rows if row["status"] == "completed"]
    winner = max(done, key=lambda row: float(row["metrics"]["pnl"]))
    made = [row["metrics"]["pnl"] for row in done]
    return {
        "iteration": winner["iteration"], "params": winner["params"], "metrics": winner["metrics"],
        "sets": len(made), "above_0": sum(pnl > 0 for pnl in made), "median": statistics.median(made),
    }  # fmt: skip


def table(first: Mapping[str, Any], commit: str) -> Iterator[str]:
    """What is printed."""
    with tempfile.TemporaryDirectory(prefix="arbd-rules-") as name:
        folder = Path(name)
        for job in QUOTES:
            costs = " ".join(f"{name}={value:g}" for name, value in CARRY[job].items())
            now, carrying = best(tuned(ROOT, folder, job, {})), best(tuned(ROOT, folder, job, CARRY[job]))
            as_it_is = best(tuned(ROOT, folder, job, {}, first[job]["params"]))
            yield f"{job}: {now['sets']:,} sets; carrying costs {costs}"
            yield line("rules", ("winner", *SHOWN, *LATER, "sets above 0", "median pnl"))
            yield line(f"first ({commit})", [first[job]["iteration"], *values(first[job]), *every(first[job])])
            yield line("  the same set, second", [first[job]["iteration"], *values(as_it_is), "", ""])
            yield line("second", [now["iteration"], *values(now), *every(now)])
            yield line("second, carrying", [carrying["iteration"], *values(carrying), *every(carrying)])
            for rules, found in (("first", first[job]), ("second", now), ("second, carrying", carrying)):
                yield f"  {rules}: " + " ".join(f"{name}={value:.4g}" for name, value in found["params"].items())
            yield ""


def values(found: Mapping[str, Any]) -> list[str]:
    """Metrics of a winner; blank where its rules have none."""
    return [f"{found['metrics'][name]:.4g}" if name in found["metrics"] else "" for name in (*SHOWN, *LATER)]


def every(found: Mapping[str, Any]) -> list[str]:
    """Of all sets."""
    return [f"{found['above_0']:,}", f"{found['median']:.4g}"]


def line(rules: str, cells: Sequence[Any]) -> str:
    """One row."""
    return f"{rules:23}" + "".join(f"{cell:>14}" for cell in cells)


if __name__ == "__main__":
    main()
