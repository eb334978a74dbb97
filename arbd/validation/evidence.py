"""What is known of a search when its winner is judged, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError
from arbd.validation.blocks import FloatArray, IntArray
from arbd.validation.claim import LEVEL, Beyond
from arbd.validation.overfitting import Overfitting
from arbd.validation.superior import Superiority
from arbd.values import dataclass

T = TypeVar("T")


class Verdict(StrEnum):
    """What is said of a winner."""

    SKILL = "skill"
    LUCK = "not distinguishable from luck"
    OVERFIT = "overfit"
    NO_DATA = "not enough data"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a search left behind. All trials have the same blocks of time.

    `s` and `q`, (n_trials, n_blocks), are sums of returns and of their squares, `counts` (n_blocks,) the steps of each
    block, None where not known, with the reason in `no_counts`; `step_s` is the length of a step in seconds. `winner` is
    the position of the trial to judge; `adaptive` says that trials were placed by looking at results. `trials` counts all
    that were run, failed ones too; `trials_on_data` all that any search ever ran on the same data. `unseen` trials of the
    winner's search left no returns to compare: they were pruned, or had less of the data, because of what they did.
    `may_win` (n_trials,) are those that the search could choose, None for all; others broke a constraint. `trades` is what
    the winner closed, `hold_s` how long it held, where known. `chosen_by` is how the search chooses: "mean" or "sharpe".
    `beyond` is what validation found.
    """

    s: FloatArray
    q: FloatArray
    winner: int
    adaptive: bool
    trials: int
    trials_on_data: int
    counts: IntArray | None = None
    step_s: float | None = None
    no_counts: str = "how many steps a block has is not known"
    trades: float | None = None
    hold_s: float | None = None
    chosen_by: str = "mean"
    beyond: Beyond = field(default_factory=Beyond)
    unseen: int = 0
    may_win: npt.NDArray[np.bool_] | None = None

    @property
    def level(self) -> float:
        """Of what p-value 5 % are asked.

        What any later search on the same data may still claim must be left to it: 5 % is shared by numbers of trials. And
        the trials that can be compared are the best of those that were tried: at worst, each is as many (Bonferroni).
        """
        shared = min(1.0, max(1, self.trials) / max(1, self.trials_on_data))
        return LEVEL * shared * max(1, len(self.s)) / max(1, len(self.s) + self.unseen)

    @property
    def why_less(self) -> str:
        """Why less than 5 % is asked, in words; "" where 5 % are."""
        others = "as other searches saw the same data" if self.trials_on_data > self.trials else ""
        unseen = f"as {self.unseen:,} trials left no returns to compare" if self.unseen else ""
        return " and ".join(filter(None, (others, unseen)))

    @property
    def block_s(self) -> float | None:
        """Mean length of a block in seconds, where known."""
        if self.counts is None or self.step_s is None:
            return None
        return float(self.counts.mean()) * self.step_s

    def p_of(self, found: Superiority) -> float:
        """Of a test of superior ability, the p-value that counts for how the trials were placed."""
        return found.p_upper if self.adaptive else found.p_consistent


@dataclass(slots=True, eq=False)
class Judgement:
    """The verdict, the rule that gave it, what would change it (`reasons`), and the numbers; Sharpe ratios per block."""

    verdict: Verdict = Verdict.LUCK
    rule: str = ""
    reasons: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    trials: int = 0
    trials_on_data: int = 0
    effective_trials: float | None = None
    sharpe: float | None = None
    luck_line: float | None = None
    psr: float | None = None
    dsr: float | None = None
    min_track_record_blocks: float | None = None
    pbo: Overfitting | None = None
    pbo_error: float | None = None
    pbo_valid: bool = False
    spa: Superiority | None = None
    winner: Superiority | None = None
    superior: list[int] | None = None

    def compute(self, name: str, how: Callable[[], T]) -> T | None:
        """What `how` gives, or None with the reason under `name`."""
        try:
            return how()
        except NotComputableError as error:
            self.missing[name] = str(error)
            return None
