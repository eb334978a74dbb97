"""Which sessions a rule is about, from when on, and what goes before what."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import UsageError
from arbd.spool.provenance import Submission
from arbd.spool.retention_log import ARCHIVED, PURGED, RESTORED, SEGMENTS, Deed, Deeds
from arbd.spool.retention_rules import Keeping, RetentionRule, RetentionSettings, parse_rules, plan
from arbd.spool.session_index import Ended

DAY_NS = 86_400 * 10**9
NOW_NS = 1_000 * DAY_NS


def ended(name: str, age_d: int, **changed: Any) -> Ended:
    given: dict[str, Any] = {"n": 4, "counts": (4, 0, 0, 0), "ended_ns": NOW_NS - age_d * DAY_NS}
    return Ended(session_id=name, **(given | changed))


def due(rules: object, *entries: Ended, deeds: Deeds | None = None) -> list[tuple[str, str]]:
    found = plan(parse_rules(rules, "here"), {one.session_id: one for one in entries}, deeds or Deeds(), NOW_NS)
    return [(one.session_id, one.action.value) for one in found.now]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"older_than": "30d"}, "oldbob oldkilled"),
        ({"older_than": "30d", "state": "cancelled"}, "oldkilled"),
        ({"older_than": "30d", "user": ["bob"]}, "oldbob"),
        ({"older_than": "1d", "label": "desk=btc"}, "youngbtc"),
        ({"older_than": "1d", "label": ["desk"]}, "youngbtc"),
        ({"keep": 1}, "oldbob oldkilled"),
        ({"keep": 2}, "oldbob"),
        ({"keep": 2, "older_than": "200d"}, ""),
        ({"keep": 9}, ""),
    ],
)
def test_a_rule_is_about_what_fits_all_of_it(rule: dict[str, Any], expected: str) -> None:
    entries = (
        ended("oldbob", 90, submission=Submission(user="bob")),
        ended("oldkilled", 60, cancelled=True),
        ended("youngbtc", 3, labels={"desk": "btc"}),
        ended("kept", 900, labels={"keep": ""}),
    )
    assert " ".join(name for name, _ in due([{"action": "purge", **rule}], *entries)) == expected


def test_what_ends_a_session_goes_before_the_rest_and_an_archive_before_none() -> None:
    rules = [{"action": name, "older_than": "1d"} for name in ("segments", "archive")]
    assert due(rules, ended("a", 5)) == [("a", "archive"), ("a", "segments")]
    purge = {"action": "purge", "older_than": "2d"}
    assert due([rules[0], purge], ended("a", 5)) == [("a", "purge")]
    # What no host came to archive, because none lived or its disk was full, is not removed without that.
    for order in permutations([*rules, purge]):
        assert due(list(order), ended("a", 5)) == [("a", "archive_and_purge")]
    archived, entry = Deeds(), ended("a", 5)
    archived.fold([Deed(session_id="a", what=ARCHIVED, ended_ns=entry.ended_ns)])
    assert due([*rules, purge], entry, deeds=archived) == [("a", "purge")]
    both = [{"action": "purge", "older_than": "2d"}, {"action": "archive_and_purge", "older_than": "3d"}]
    assert due([*rules, *both], ended("a", 5)) == [("a", "archive_and_purge")]


def test_what_was_done_is_not_due_again_until_the_session_ends_anew_or_comes_back() -> None:
    rules = [{"action": "segments", "older_than": "1d"}]
    deeds, entry = Deeds(), ended("a", 5)
    deeds.fold([Deed(session_id="a", what=SEGMENTS, ended_ns=entry.ended_ns)])
    assert due(rules, entry, deeds=deeds) == []
    assert due(rules, ended("a", 4), deeds=deeds) == [("a", "segments")]
    deeds.fold([Deed(session_id="a", what=RESTORED, wall_ns=NOW_NS - DAY_NS // 2)])
    assert due(rules, entry, deeds=deeds) == []
    deeds.fold([Deed(session_id="a", what=RESTORED, wall_ns=NOW_NS - 2 * DAY_NS)])
    assert due(rules, entry, deeds=deeds) == [("a", "segments")]
    came_back = Deeds()
    came_back.fold([Deed(session_id="a", what=SEGMENTS, ended_ns=entry.ended_ns)])
    came_back.fold([Deed(session_id="a", what=PURGED, ended_ns=entry.ended_ns, wall_ns=NOW_NS - 3 * DAY_NS)])
    assert due(rules, entry, deeds=came_back) == [("a", "segments")]


def test_a_session_whose_end_nobody_knows_has_no_age() -> None:
    assert due([{"action": "purge", "older_than": "1d"}], ended("a", 0, ended_ns=0)) == []


def is_due(rule: RetentionRule, entry: Ended, entries: dict[str, Ended]) -> bool:
    newer = sum(
        rule.is_about(other) and (other.ended_ns, other.session_id) > (entry.ended_ns, entry.session_id)
        for other in entries.values()
    )
    return rule.is_about(entry) and newer >= rule.keep and NOW_NS - entry.ended_ns >= rule.older_than_ns


@given(
    st.lists(st.tuples(st.integers(0, 400), st.booleans(), st.sampled_from(["anna", "bob"])), max_size=12),
    st.lists(
        st.builds(
            RetentionRule,
            st.sampled_from(list(Keeping)),
            st.integers(0, 400).map(lambda days: days * DAY_NS),
            st.integers(0, 5),
            st.sampled_from([(), ("done",), ("cancelled",)]),
            st.sampled_from([(), ("bob",)]),
        ),
        max_size=4,
    ),
)
def test_what_is_due_follows_from_one_rule_and_the_newest_are_kept(
    sessions: list[tuple[int, bool, str]], rules: list[RetentionRule]
) -> None:
    entries = {
        f"s{number:02}": ended(f"s{number:02}", age, cancelled=cancelled, submission=Submission(user=user))
        for number, (age, cancelled, user) in enumerate(sessions)
    }
    found = plan(rules, entries, Deeds(), NOW_NS)
    assert len({(one.session_id, one.action) for one in found.now}) == len(found.now)
    ending = [one.session_id for one in found.now if one.action.ends_it]
    assert len(set(ending)) == len(ending)
    for one in found.now:
        rule = rules[one.rule - 1]
        assert is_due(rule, one.ended, entries)
        assert one.session_id not in ending or one.action.ends_it
        archives = [other for other in rules if other.action is Keeping.ARCHIVE and is_due(other, one.ended, entries)]
        assert not (archives and one.action is Keeping.PURGE)
    assert not {one.session_id for one in found.later} & set(ending)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("purge", "a list of rules"),
        ([{"older_than": "1d"}], "`action`"),
        ([{"action": "purgee", "older_than": "1d"}], "did you mean 'purge'"),
        ([{"action": "purge"}], "older_than"),
        ([{"action": "purge", "older_than": "soon"}], "as in 30d"),
        ([{"action": "purge", "older_then": "30d"}], "older_than"),
        ([{"action": "purge", "older_than": "0d"}], "the minimum is 1s"),
        ([{"action": "purge", "older_than": "0s", "keep": 3}], "the minimum is 1s"),
        ([{"action": "purge", "keep": -1}], "keep"),
        ([{"action": "purge", "keep": True}], "keep"),
        ([{"action": "purge", "keep": 1, "state": "running"}], "only what is over"),
        ([{"action": "purge", "keep": 1, "user": [3]}], "list of words"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_told_by_its_place(rules: object, said: str) -> None:
    with pytest.raises(UsageError, match=r"arbd.yaml, line 3: retention.rules") as error:
        parse_rules(rules, "arbd.yaml, line 3: retention.rules")
    assert said in str(error.value)


@pytest.mark.parametrize(
    "folder", ["", "archive", "/srv/spool/sessions", "/srv/spool/incoming/old", "/srv/spool/active/"]
)
def test_archives_need_a_folder_that_everybody_finds(folder: str) -> None:
    rules = parse_rules([{"action": "archive_and_purge", "older_than": "1d"}], "here")
    with pytest.raises(UsageError, match=r"archive_dir"):
        RetentionSettings(folder, rules=rules).check("here", Path("/srv/spool"))
    assert ARCHIVED
