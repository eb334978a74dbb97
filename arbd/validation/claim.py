"""What a verdict of skill rests on, and what speaks against it, where a job asked for more than the search's own returns.

The test is fixed by the job, not by what comes of it: without a scheme, all trials resampled together; with a holdout,
that and the winner's returns on what was held out, combined, as the two see different times; with walk-forward or
combinatorial folds, that or the stitched returns of the folds' winners, each at half the level (Bonferroni), as the
session's own search has seen all of the data, and the two depend on one another in ways that nobody knows. Whatever else
was asked for can only take a claim back, so that none of it adds to the share of wrong ones.
"""

from __future__ import annotations

from arbd.validation.out_of_sample import OutOfSample, combined_p
from arbd.values import dataclass

LEVEL = 0.05
HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True)
class Beyond:
    """What validation found. `scheme` is "" where nothing was held out; `test` is None where there is none yet.

    `test_share` is what part of all trials ever made on the test's time this session's are. `null` is the null searches'
    p-value, None without any.
    """

    scheme: str = ""
    test: OutOfSample | None = None
    no_test: str = ""
    test_share: float = 1.0
    null: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """`p` against `level`: how often luck does as well; `text` says of what. `against` is what contradicts skill, or ''."""

    p: float
    level: float
    text: str
    against: str = ""

    @property
    def holds(self) -> bool:
        """True when it is skill."""
        return self.p <= self.level and not self.against


def claim_of(p: float, reps: int, resampled: str, level: float, beyond: Beyond, why: str = "") -> Claim:
    """Of the winner's p in `reps` resamples of what `resampled` names, of which `level` is asked, and of what else there is.

    `why` says why that is less than 5 %.
    """
    times = f"{resampled} resampled {reps:,} times"
    if _is_least(p, reps):
        times = f"none of {reps:,} resamples of {resampled}"
    own_text, against = f"{_cases(p, reps)} ({times})", _against(beyond)
    if not beyond.scheme:
        return Claim(p, level, f"luck alone gives a winner as good in {own_text}", against)
    # What was looked at before is no longer as good as unseen.
    own, unseen = min(1.0, p * LEVEL / level), unseen_p(beyond)
    own_text += _counted(p, own, why)
    test = beyond.test
    looked = "" if test is None or test.p is None else _cases(test.p, test.reps) + _counted(
        test.p, unseen, "as it was looked at before"
    )  # fmt: skip
    if beyond.scheme == HOLDOUT:
        both = combined_p(own, unseen)
        held_out = (
            f"earns as much on what was held out in {looked}" if looked else "nothing can be said of what was held out"
        )
        text = f"luck alone gives a winner as good in {own_text}, and {held_out}: {percent(both)} together"
        return Claim(both, LEVEL, text, against)
    either = min(1.0, 2 * min(own, unseen))
    folds = 0 if test is None else test.folds
    stitched = f"luck alone earns as much as the winners of {folds:,} folds did out of sample in {looked}"
    if not looked:
        stitched = "nothing can be said of what the folds' winners earned out of sample"
    text = f"{stitched}; luck alone gives a winner as good on all of the data in {own_text}: twice the smaller is {percent(either)}"
    return Claim(either, LEVEL, text, against)


def _is_least(p: float, reps: int) -> bool:
    """True where no resample reached what was found: p is the least that so many can tell."""
    return p * (1 + reps) < 1.5


def _cases(p: float, reps: int) -> str:
    return f"{percent(p)} of cases{' or fewer' if _is_least(p, reps) else ''}"


def unseen_p(beyond: Beyond) -> float:
    """The p of what was held out, as far as it was unseen: counted as often as it was looked at. 1 without any."""
    test = beyond.test
    return 1.0 if test is None or test.p is None else min(1.0, test.p / beyond.test_share)


def _counted(p: float, as_if: float, why: str) -> str:
    return f", which counts as {percent(as_if)}, {why}" if as_if > p * (1 + 1e-9) else ""


def percent(value: float) -> str:
    """A share with the digits that tell it: never 0 % of what is more."""
    if value <= 0 or value >= 0.0005:
        return f"{value:.2%}" if value <= LEVEL * (1 + 1e-9) else f"{value:.1%}"
    return f"{100 * value:.2g}%" if value >= 1e-6 else "less than 0.0001%"


def _against(beyond: Beyond) -> str:
    test = beyond.test
    if test is not None and test.total <= 0:
        return "out of sample the winner lost" if test.total < 0 else "out of sample the winner earned nothing"
    if beyond.null is not None and beyond.null > 0.5:
        return f"of the searches on markets without an edge most found a winner as good (p {beyond.null:.2f})"
    return ""


def lost_out_of_sample(beyond: Beyond) -> bool:
    """True when what was chosen went on to lose."""
    return beyond.test is not None and beyond.test.total < 0
