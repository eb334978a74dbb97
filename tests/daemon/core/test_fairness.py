"""Whose turn it is: equal shares of time for users, then for their sessions, whatever they are called."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.daemon.core.fairness import Demand, Fairness, served_s
from arbd.spool import ledger
from arbd.spool.layout import NAME_PATTERN
from arbd.spool.ledger import LedgerState
from arbd.spool.spans import Claim, Finish
from arbd.spool.user_limits import UserLimits
from tests.simulation.fair import MANY, Farm, Plan, Wanted


def test_the_highest_priority_goes_first() -> None:
    low, high = Demand("low", 0, 4), Demand("high", 9, 2)
    assert Fairness().share([low, high], 3, {}) == {"high": 2, "low": 1}
    assert Fairness().share([], 3, {}) == {}


def test_urgent_work_is_claimed_though_all_slots_have_other_work() -> None:
    low, high = Demand("low", 0, 4), Demand("high", 9, 2)
    assert Fairness().share([low, high], 4, {0: 4}) == {"high": 2}
    assert Fairness().share([low, high], 4, {0: 2, 9: 3}) == {"high": 1}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=6),
    st.integers(0, 12),
    st.dictionaries(st.integers(0, 2), st.integers(0, 6)),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
)
def test_nothing_is_given_beyond_room_depth_or_what_an_owner_may_have(
    wants: list[tuple[int, int]], depth: int, out: dict[int, int], owner_room: dict[str, int]
) -> None:
    demands = [Demand(str(i), *want, owner="ab"[i % 2]) for i, want in enumerate(wants)]
    given_ = Fairness().share(demands, depth, out, owner_room)
    assert all(count <= demands[int(name)].room for name, count in given_.items())
    for owner, room in owner_room.items():
        assert sum(count for name, count in given_.items() if demands[int(name)].owner == owner) <= room
    for priority in (0, 1, 2):
        as_urgent = sum(count for name, count in given_.items() if demands[int(name)].priority >= priority)
        if any(demands[int(name)].priority == priority for name in given_):
            assert as_urgent + sum(n for other, n in out.items() if other >= priority) <= depth


@dataclass
class Desk:
    """Sessions as (name, owner, seconds of a chunk), served by one slot."""

    sessions: list[tuple[str, str, float]]
    fairness: Fairness = field(default_factory=lambda: Fairness(7))
    order: list[str] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)

    def turn(self, names: set[str] | None = None) -> str:
        """One chunk of whoever is next, of these sessions or of all."""
        demands = [
            Demand(name, 0, int(names is None or name in names), owner, self.spent.get(name, 0.0), seconds)
            for name, owner, seconds in self.sessions
        ]
        (name,) = self.fairness.share(demands, 1, {})
        self.spent[name] = self.spent.get(name, 0.0) + next(s for n, _, s in self.sessions if n == name)
        self.order.append(name)
        return name


@st.composite
def desks(draw: st.DrawFn) -> list[tuple[str, str, float]]:
    names = draw(st.lists(st.text("abyz019", min_size=1, max_size=4), min_size=2, max_size=9, unique=True))
    owners = draw(st.lists(st.sampled_from(("anna", "bob", "zoe")), min_size=len(names), max_size=len(names)))
    chunks = draw(st.lists(st.sampled_from((0.2, 1.0, 2.0, 5.0)), min_size=len(names), max_size=len(names)))
    return list(zip(names, owners, chunks, strict=True))


@given(desks())
@settings(max_examples=60, deadline=None)
def test_every_user_gets_the_same_and_so_does_each_session_of_a_user(sessions: list[tuple[str, str, float]]) -> None:
    desk = Desk(sessions)
    for _ in range(300):
        desk.turn()
    longest = max(seconds for _, _, seconds in sessions)
    owners = {owner for _, owner, _ in sessions}
    by_owner = {owner: [desk.spent.get(name, 0.0) for name, of, _ in sessions if of == owner] for owner in owners}
    totals = [sum(spent) for spent in by_owner.values()]
    assert max(totals) - min(totals) <= 2 * longest + 1e-6
    for spent in by_owner.values():
        assert max(spent) - min(spent) <= 2 * longest + 1e-6


def test_who_was_away_has_saved_nothing_up_and_owes_nothing() -> None:
    desk = Desk([("a", "anna", 1.0), ("z", "zoe", 1.0)])
    for _ in range(100):
        desk.turn({"a"})
    later = [desk.turn() for _ in range(20)]
    assert 9 <= later.count("z") <= 11
    for _ in range(100):
        desk.turn({"z"})
    later = [desk.turn() for _ in range(20)]
    assert 9 <= later.count("a") <= 11


def test_who_can_use_little_does_not_let_newcomers_starve_the_others() -> None:
    desk = Desk([("small", "anna", 1.0), ("large", "bob", 1.0), ("new", "carl", 1.0)])
    for number in range(300):
        desk.turn({"small"} if number % 10 == 0 else {"large"})
    later = [desk.turn({"large", "new"}) for _ in range(20)]
    assert 9 <= later.count("large") <= 11


def test_what_an_estimate_was_wrong_about_is_put_right() -> None:
    fairness, spent = Fairness(), {"a": 0.0, "b": 0.0}
    for _ in range(200):
        demands = [Demand(name, 0, 1, name, spent[name], 1.0) for name in spent]
        (name,) = fairness.share(demands, 1, {})
        spent[name] += 5.0 if name == "a" else 1.0
    assert abs(spent["a"] - spent["b"]) <= 6.0


def test_seconds_are_those_that_slots_of_all_hosts_were_busy_and_will_be() -> None:
    state = LedgerState()
    state.fold(ledger.opened(100))
    assert served_s(state, None, 2.0) == 0.0
    claims = [Claim(number, span, "w", 7) for number, span in enumerate(state.take(10, 30), 1)]
    state.fold(ledger.claimed(claims, 2, 1))
    assert served_s(state, None, 2.0) == 6.0
    state.fold(ledger.finished(7, [Finish(1, (10, 0, 0, 0))], 2, busy_ns=5_000_000_000))
    assert served_s(state, 100.0, 2.0) == pytest.approx(5.0 + 20 * 0.5)
    # A worker of an earlier version does not say how long it took.
    state.fold(ledger.finished(7, [Finish(2, (10, 0, 0, 0))], 3))
    assert served_s(state, 100.0, 2.0) == pytest.approx(5.0 + 20 * 0.5)


names = st.from_regex(NAME_PATTERN, fullmatch=True)


@st.composite
def farms(draw: st.DrawFn) -> Plan:
    """One to five users with one to three sessions each, on one to four hosts with one to three slots each."""
    users = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    counts = [draw(st.integers(1, 3)) for _ in users]
    called = draw(st.lists(names, min_size=sum(counts), max_size=sum(counts), unique=True))
    owners = [user for user, count in zip(users, counts, strict=True) for _ in range(count)]
    sessions = tuple(
        Wanted(
            name,
            owner,
            draw(st.floats(0.05, 2.0)),
            draw(st.integers(MANY, 10**9)),
            draw(st.just(0.0) | st.floats(0.0, 15.0)),
        )
        for name, owner in zip(called, owners, strict=True)
    )
    slots = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    return Plan(draw(st.integers(0, 2**32)), sessions, tuple(slots), is_nfs=draw(st.booleans()))


# The same few each time, unless more are asked for.
MANY_FARMS = os.environ.get("ARBD_TEST_FARMS")


@given(farms())
@settings(max_examples=int(MANY_FARMS or "4"), derandomize=MANY_FARMS is None, deadline=None)
def test_users_and_their_sessions_share_many_hosts_within_two_chunks_and_none_waits_long(plan: Plan) -> None:
    farm = Farm(plan)
    farm.run(45.0)
    served = farm.served_s()
    by_owner: dict[str, list[str]] = {}
    for name, owner in farm.owners.items():
        by_owner.setdefault(owner, []).append(name)
    fair_s = sum(served.values()) / len(by_owner)
    assert sum(served.values()) > 0.8 * farm.slots * 45.0
    for mine in by_owner.values():
        of_owner = sum(served[name] for name in mine)
        assert abs(of_owner - fair_s) <= 2 * farm.longest_chunk_s
        for name in mine:
            assert abs(served[name] - of_owner / len(mine)) <= 2 * farm.longest_chunk_s
            assert farm.longest_wait_s(name) <= 2 * len(served) * farm.longest_chunk_s


def test_an_owner_has_no_more_slots_sessions_and_priority_than_an_administrator_allows() -> None:
    limits = {"user0": UserLimits(slots=1, sessions=1, max_priority=0)}
    farm = Farm(Plan.drawn(3, each=(2, 3), hosts=2), limits=limits)
    farm.run(20.0)
    served = farm.served_s()
    first, *others = sorted(name for name, owner in farm.owners.items() if owner == "user0" and served[name])
    assert not others
    at_once = [sum(farm.owners[name] == "user0" for name in names) for _, names in farm.seen]
    # A claim waits for a slot beside the one that is worked on.
    assert max(at_once) == 1
    assert served[first] > 0
    assert sum(served.values()) > 0.9 * farm.slots * 20.0
