"""Is the current setting still good? A standing job's setting beside the winner of its last session, and what to do.

The standing setting is evaluated again as the first iteration of the session. It was chosen before, so on days that were
not there then its returns need no allowance for a choice: the test is that of one trial. The winner was chosen on the
session's own data and is judged as any winner is (`verdict`). What is advised:

- change, where the winner's verdict is skill, and it does better out of sample, or, where nothing was held out, the
  standing setting does not earn beyond doubt;
- keep, where the standing setting earns, or does no worse out of sample, or nothing better is more than luck;
- doubt, where it loses and nothing better is more than luck;
- wait, where there is too little to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.phases import return_blocks
from arbd.analysis.table import ResultTable, load_table
from arbd.analysis.verdict import LINE_TRIALS, judged
from arbd.analysis.verdict_document import SessionVerdict
from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.paper.market.days import DayFiles
from arbd.search.phases import Phase
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.standing.folder import LABEL, StandingFolder
from arbd.spool.standing.records import FireRecord, Setting
from arbd.validation.claim import LEVEL
from arbd.validation.evidence import Verdict
from arbd.validation.out_of_sample import out_of_sample
from arbd.values import dataclass

# Fewer blocks of time say nothing by themselves.
MIN_BLOCKS = 8


class Advice(StrEnum):
    """What is advised."""

    KEEP = "keep"
    CHANGE = "change"
    DOUBT = "doubt"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class StandingNow:
    """The standing setting on the session's data: its metric, what it earned in blocks of time, and how surely.

    `total`, `t` and one-sided `p` are of the days that it was not chosen on (`fresh_days` of `days`), where these are
    known and enough; else of all. None where they cannot be computed, for the reason `missing`.
    """

    value: float | None
    total: float | None = None
    t: float | None = None
    p: float | None = None
    fresh_days: int | None = None
    days: int | None = None
    on_fresh: bool = False
    missing: str = ""

    @property
    def earns(self) -> bool:
        """True where it earns beyond doubt."""
        return self.p is not None and self.p <= LEVEL

    @property
    def loses(self) -> bool:
        """True where what is known of it is a loss."""
        return self.total is not None and self.total <= 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer of one session. `held_out` are the standing setting's and the winner's metric out of sample."""

    session_id: str
    metric: str
    setting: Setting | None
    now: StandingNow | None
    verdict: SessionVerdict
    winner_params: dict[str, Any]
    held_out: tuple[float, float] | None
    is_winner: bool
    advice: Advice
    reason: str

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = self.verdict
        return {
            "session_id": self.session_id,
            "metric": self.metric,
            "standing": None if self.now is None else asdict(self.now),
            "winner": {
                "iteration": found.best_iteration,
                "value": None if math.isnan(found.best) else found.best,
                "verdict": str(found.judgement.verdict),
                "rule": found.judgement.rule,
                "parameters": self.winner_params,
            },
            "out_of_sample": None
            if self.held_out is None
            else {"standing": self.held_out[0], "winner": self.held_out[1]},
            "standing_is_winner": self.is_winner,
            "advice": str(self.advice),
            "reason": self.reason,
        }


def compare_standing(spool: Path, fire: FireRecord) -> Comparison:
    """The standing setting of a firing against the winner of its session. NotFoundError when that is not there."""
    table = load_table(spool, fire.session, blocks=True)
    found = judged(spool, table, None)
    metric, ascending = found.metric, table.ranking.ascending(found.metric)
    position = table.ranking.best(metric) if metric in table.metric_names and table.completed.any() else None
    winner_params = {} if position is None else {**table.spec.fixed, **table.results([position])[0].params}
    now, is_winner, held_out = None, False, None
    if fire.setting is not None:
        now = _standing_now(spool, table, fire.setting, metric)
        if position is not None and now.value is not None:
            is_winner = _equal(table, 0, position)
            held_out = _held_out(table, metric, position)
    advice, reason = advise(
        now, found.judgement.verdict, found.judgement.rule, held_out, is_winner=is_winner, ascending=ascending
    )
    return Comparison(
        fire.session, metric, fire.setting, now, found, winner_params, held_out, is_winner, advice, reason
    )


def advise(
    now: StandingNow | None,
    verdict: Verdict,
    rule: str,
    held_out: tuple[float, float] | None,
    *,
    is_winner: bool,
    ascending: bool,
) -> tuple[Advice, str]:
    """What is advised, and why."""
    skill = verdict is Verdict.SKILL
    if now is None:
        advice = Advice.CHANGE if skill else Advice.WAIT
        return advice, f"no setting stands yet, and the winner's verdict is {verdict}"
    if verdict is Verdict.NO_DATA or now.value is None:
        return Advice.WAIT, rule if now.value is not None else f"the standing setting has no value: {now.missing}"
    if is_winner:
        best = "the standing setting is still the best that was found"
        return (Advice.DOUBT, f"{best}, and it loses") if now.loses else (Advice.KEEP, best)
    return _better(now, held_out, ascending=ascending) if skill else _no_better(now, verdict)


def _better(now: StandingNow, held_out: tuple[float, float] | None, *, ascending: bool) -> tuple[Advice, str]:
    """The winner is another, and its verdict is skill."""
    told = "the winner's verdict is skill"
    if held_out is not None:
        standing, winner = held_out
        if (winner < standing) if ascending else (winner > standing):
            return Advice.CHANGE, f"{told}, and it does better on what was held out"
        return Advice.KEEP, f"{told}, and it does no better on what was held out"
    if now.earns:
        return (
            Advice.KEEP,
            f"the standing setting earns (p {now.p:.3g}); the winner leads on data that it was chosen on",
        )
    return Advice.CHANGE, f"{told}, and the standing setting does not earn beyond doubt"


def _no_better(now: StandingNow, verdict: Verdict) -> tuple[Advice, str]:
    """The winner is another, and no more than luck as far as is known."""
    told = f"the winner's verdict is {verdict}"
    if now.earns:
        return Advice.KEEP, f"the standing setting earns (p {now.p:.3g}); {told}"
    if now.loses:
        return Advice.DOUBT, f"the standing setting loses, and {told}"
    return Advice.KEEP, f"nothing better is more than luck: {told}"


def _standing_now(spool: Path, table: ResultTable, setting: Setting, metric: str) -> StandingNow:
    """Of the first iteration, which is the standing setting."""
    iterations = table.source.fixed("iteration")
    if not len(iterations) or int(iterations[0]) != 1:
        return StandingNow(None, missing="it has not run yet")
    if not bool(table.completed[0]):
        return StandingNow(None, missing=table.results([0])[0].error or "its iteration did not complete")
    column = table.column(metric)
    value = math.nan if column is None else float(column[0])
    if math.isnan(value):
        return StandingNow(None, missing=f"it has no {metric}")
    fresh, days = fresh_days(_spec(spool, setting.session), table.spec)
    blocks = return_blocks(table)
    if blocks is None or not np.isfinite(blocks[0]).all():
        return StandingNow(value, fresh_days=fresh, days=days, missing="it has no return blocks")
    sums = blocks[0, :, 0]
    held = 0 if fresh is None or not days else int(len(sums) * fresh / days)
    found, on_fresh = out_of_sample([sums]), False
    if MIN_BLOCKS <= held < len(sums):
        later = out_of_sample([sums[-held:]])
        # Where it hardly traded since, all days together say more.
        found, on_fresh = (later, True) if later.p is not None else (found, False)
    return StandingNow(value, found.total, found.t, found.p, fresh, days, on_fresh or fresh == days, found.no_p)


def fresh_days(chosen_on: JobSpec | None, now: JobSpec) -> tuple[int | None, int | None]:
    """How many days of one market a setting was not chosen on, and of how many; None where that is not known."""
    if chosen_on is None or len(now.data) != 1 or len(chosen_on.data) != 1 or now.scenarios:
        return None, None
    before, after = DayFiles.parse(chosen_on.data[0]), DayFiles.parse(now.data[0])
    if before is None or after is None or not (before.last and after.first and after.last):
        return None, None
    if (before.folder, before.pattern) != (after.folder, after.pattern):
        return None, None
    first, last, seen = (date.fromisoformat(day) for day in (after.first, after.last, before.last))
    days = (last - first).days + 1
    return max(0, min(days, (last - seen).days)), days


def _spec(spool: Path, session: str) -> JobSpec | None:
    layout = SpoolLayout(spool)
    try:
        return read_spec(layout.files(), layout.session(session))
    except (ArbdError, OSError):
        return None


def _held_out(table: ResultTable, metric: str, winner: int) -> tuple[float, float] | None:
    """The standing setting and the winner on what was held out, where both were among the finalists that ran there."""
    stretches = [stretch for stretch in table.spec.layout.stretches if stretch.phase is Phase.TEST]
    if len(stretches) != 1:
        return None
    iterations = table.source.fixed("iteration")
    first, last = np.searchsorted(iterations, [stretches[0].first, stretches[0].last + 1]).tolist()
    column = table.column(metric)
    if column is None:
        return None
    values = [_value_of(table, column, range(first, last), position) for position in (0, winner)]
    standing, best = values
    return None if standing is None or best is None else (standing, best)


def _value_of(table: ResultTable, column: Any, rows: Sequence[int], like: int) -> float | None:
    for row in rows:
        if table.completed[row] and _equal(table, row, like) and not math.isnan(column[row]):
            return float(column[row])
    return None


def _equal(table: ResultTable, one: int, other: int) -> bool:
    return all(
        bool(column[one] == column[other]) for column in (table.source.param(name) for name in table.spec.space.names)
    )


def answer_of(spool: Path, table: ResultTable) -> Comparison | None:
    """What a session that is done says for the standing job that made it; None for any other.

    None, too, where it takes a while: `arbctl standing show` says it.
    """
    name = table.spec.labels.get(LABEL, "")
    if not table.state.done or table.spec.search_n > LINE_TRIALS or not NAME_PATTERN.fullmatch(name):
        return None
    layout = SpoolLayout(spool)
    fires = StandingFolder(layout.files(), layout, name).refresh().fires
    fire = next((fire for fire in fires if fire.session == table.session_id), None)
    return None if fire is None else compare_standing(spool, fire)
