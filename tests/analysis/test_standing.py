"""What is advised of a standing setting beside a new winner, and on which days its returns say something."""

from __future__ import annotations

import itertools

import pytest

from arbd.analysis.standing import Advice, StandingNow, advise, fresh_days
from arbd.analysis.standing_setting import is_session_of
from arbd.validation.evidence import Verdict
from tests.spool.sessions import spec_of

EARNS = StandingNow(2.0, total=2.0, t=3.0, p=0.01)
UNSURE = StandingNow(1.0, total=1.0, t=1.0, p=0.3)
LOSES = StandingNow(-1.0, total=-1.0, t=-1.0, p=0.9)
NO_VALUE = StandingNow(None, missing="it failed")


@pytest.mark.parametrize(
    ("now", "verdict", "held_out", "is_winner", "advice"),
    [
        (None, Verdict.SKILL, None, False, Advice.CHANGE),
        (None, Verdict.LUCK, None, False, Advice.WAIT),
        (EARNS, Verdict.NO_DATA, None, False, Advice.WAIT),
        (NO_VALUE, Verdict.SKILL, None, False, Advice.WAIT),
        (UNSURE, Verdict.SKILL, None, False, Advice.CHANGE),
        (LOSES, Verdict.SKILL, None, False, Advice.CHANGE),
        (EARNS, Verdict.SKILL, None, False, Advice.KEEP),
        (EARNS, Verdict.SKILL, (1.0, 2.0), False, Advice.CHANGE),
        (LOSES, Verdict.SKILL, (2.0, 1.0), False, Advice.KEEP),
        (EARNS, Verdict.OVERFIT, (1.0, 2.0), False, Advice.KEEP),
        (UNSURE, Verdict.LUCK, None, False, Advice.KEEP),
        (LOSES, Verdict.LUCK, None, False, Advice.DOUBT),
        (LOSES, Verdict.OVERFIT, None, False, Advice.DOUBT),
        (EARNS, Verdict.SKILL, None, True, Advice.KEEP),
        (LOSES, Verdict.LUCK, None, True, Advice.DOUBT),
    ],
)
def test_the_advice_follows_from_both_verdicts(
    now: StandingNow | None, verdict: Verdict, held_out: tuple[float, float] | None, is_winner: bool, advice: Advice
) -> None:
    found, reason = advise(now, verdict, "the rule", held_out, is_winner=is_winner, ascending=False)
    assert found is advice
    assert reason


@pytest.mark.parametrize(("now", "verdict"), list(itertools.product((EARNS, UNSURE, LOSES), Verdict)))
@pytest.mark.parametrize("held_out", [None, (1.0, 2.0), (2.0, 1.0)])
@pytest.mark.parametrize("is_winner", [True, False])
def test_a_change_is_never_advised_without_skill_nor_against_what_was_held_out(
    now: StandingNow, verdict: Verdict, held_out: tuple[float, float] | None, is_winner: bool
) -> None:
    advice, _ = advise(now, verdict, "the rule", held_out, is_winner=is_winner, ascending=False)
    if advice is Advice.CHANGE:
        assert verdict is Verdict.SKILL
        assert held_out != (2.0, 1.0)
        assert not is_winner
    mirrored = None if held_out is None else (-held_out[0], -held_out[1])
    assert advise(now, verdict, "the rule", mirrored, is_winner=is_winner, ascending=True)[0] is advice


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("/d/*[2026-03-01..2026-03-30]", "/d/*[2026-03-02..2026-03-31]", (1, 30)),
        ("/d/*[2026-03-01..2026-03-30]", "/d/*[2026-03-01..2026-03-30]", (0, 30)),
        ("/d/*[2026-01-01..2026-01-30]", "/d/*[2026-03-01..2026-03-30]", (30, 30)),
        ("/d/*[2026-03-01..2026-04-30]", "/d/*[2026-03-01..2026-03-30]", (0, 30)),
        ("/other/*[2026-01-01..2026-01-30]", "/d/*[2026-03-01..2026-03-30]", (None, None)),
        ("/d/*[..]", "/d/*[2026-03-01..2026-03-30]", (None, None)),
        ("/d/quotes.csv", "/d/quotes.csv", (None, None)),
    ],
)
def test_days_that_a_setting_was_not_chosen_on_are_counted(
    before: str, after: str, found: tuple[int | None, int | None]
) -> None:
    assert fresh_days(spec_of(5, data=(before,)), spec_of(5, data=(after,))) == found
    assert fresh_days(None, spec_of(5, data=(after,))) == (None, None)
    assert fresh_days(spec_of(5, data=(before, before)), spec_of(5, data=(after, after))) == (None, None)


@pytest.mark.parametrize(
    ("session", "meant"),
    [
        ("night-2026-11-30", True), ("night-0123456789", True), ("night-0123456789-2", True), ("night-asked-3", True),
        ("night-x-2026-11-30", False), ("night", False), ("night-", False), ("nightly-2026-11-30", False),
        ("night-2026-11-30x", False),
    ],
)  # fmt: skip
def test_a_promotion_belongs_to_a_standing_job_by_the_name_of_its_session(session: str, meant: bool) -> None:
    assert is_session_of("night", session) is meant
