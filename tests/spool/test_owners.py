"""Whose a session is: one person has one account, whatever hosts call him, and whether or not anybody still does."""

from __future__ import annotations

import os
import pwd
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.host.config import Config
from arbd.daemon.side.admission import admission
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.owners import Owners, is_one_of, is_said_to_be_one_of, is_same_user
from arbd.spool.provenance import UNKNOWN, Submission
from arbd.spool.sessions import create_session
from arbd.spool.user_limits import LimitTable, UserLimits
from tests.spool.sessions import spec_of

# Nobody on this machine has these.
NOBODYS = [uid for uid in range(40_000, 60_000) if uid not in {user.pw_uid for user in pwd.getpwall()}][:3]
USERS = dict(zip(NOBODYS, ("anna", "bob", "zoe"), strict=True))
# As a host that knows the user took his job up, and as one that does not.
taken_up = st.builds(
    lambda uid, is_known: Submission(user=USERS[uid] if is_known else str(uid), uid=uid),
    st.sampled_from(NOBODYS),
    st.booleans(),
)


@given(st.lists(taken_up, min_size=1, max_size=9))
def test_sessions_are_the_same_users_whether_or_not_the_host_that_took_them_up_knew_the_name(
    said: list[Submission],
) -> None:
    owners = Owners()
    owners.learn(said)
    called: dict[int | None, str] = {}
    for one in said:
        called.setdefault(one.uid, owners.of(one))
        assert owners.of(one) == called[one.uid]
        for other in said:
            assert is_same_user(one, other) is (one.uid == other.uid)
    assert len(set(called.values())) == len(called)
    for uid, name in called.items():
        is_told = any(one.uid == uid and one.user == USERS[uid] for one in said)
        assert uid is not None
        assert name == (USERS[uid] if is_told else str(uid))


@given(st.lists(st.lists(taken_up, max_size=3), max_size=4), st.randoms(use_true_random=False))
def test_in_whatever_order_and_groups_sessions_come_their_accounts_are_the_same(
    batches: list[list[Submission]], shuffle: random.Random
) -> None:
    every = [one for batch in batches for one in batch]
    # A number may have had another name before, too.
    every += [Submission(user="before", uid=NOBODYS[0])] if len(every) % 2 else []
    told = Owners()
    told.learn(every)
    accounts = [told.of(one) for one in every]
    owners, order = Owners(), list(range(len(every)))
    shuffle.shuffle(order)
    for number in order:
        owners.learn([every[number]])
        # Who is asked for before anybody knows a name has one as soon as somebody does.
        owners.of(every[number])
    assert [owners.of(one) for one in every] == accounts


@given(st.lists(taken_up, max_size=9))
def test_a_user_is_found_by_number_in_all_sessions_and_by_name_where_it_was_known(said: list[Submission]) -> None:
    for uid, name in USERS.items():
        for one in said:
            assert is_one_of(one, [str(uid)]) is (one.uid == uid)
            assert is_one_of(one, [name, "somebody"]) is (one.uid == uid and one.user == name)


def test_a_number_is_the_user_whom_this_host_calls_so_and_nobody_is_nobody() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    nameless = Submission(user=str(os.getuid()), uid=os.getuid())
    assert is_one_of(nameless, [me])
    # What cannot be undone asks nobody but the submission: another host may call that number otherwise.
    assert not is_said_to_be_one_of(nameless, [me])
    assert is_said_to_be_one_of(nameless, [str(os.getuid())])
    assert is_said_to_be_one_of(Submission(user=me), [me])
    assert not is_said_to_be_one_of(UNKNOWN, [me])
    assert Owners().of(Submission(user=str(os.getuid()), uid=os.getuid())) == me
    assert Owners().of(UNKNOWN) == ""
    assert is_same_user(UNKNOWN, UNKNOWN)
    # Whose number was given to another: the name says who it was.
    assert not is_one_of(Submission(user="gone", uid=os.getuid()), [me])


@pytest.mark.parametrize("entry", ["name", "number"])
@given(said=taken_up)
def test_limits_of_a_user_hold_by_name_and_by_number(entry: str, said: Submission) -> None:
    assert said.uid is not None
    mine, others = UserLimits(slots=1), UserLimits(slots=9)
    table = LimitTable({said.user if entry == "name" else str(said.uid): mine, "*": others})
    assert table.of(said.user, said.uid) == mine
    assert table.of("other", 7) == others
    # A name that has several numbers.
    by_number = entry == "number" or said.user == str(said.uid)
    assert table.of("other", 7, said.uid) == (mine if by_number else others)


@pytest.mark.parametrize("first", ["anna", str(NOBODYS[0])])
@pytest.mark.parametrize("then", ["anna", str(NOBODYS[0])])
def test_a_user_has_no_more_sessions_because_his_account_was_deleted_between(
    first: str, then: str, tmp_path: Path
) -> None:
    layout = SpoolLayout(tmp_path)
    layout.prepare()
    limits = {name: UserLimits(queued=1, spool_mb=1) for name in ("anna", str(NOBODYS[0]))}
    create_session(Files(), layout, "a", b"", spec_of(5), submission=Submission(user=first, uid=NOBODYS[0]))
    again = Submission(user=then, uid=NOBODYS[0])
    assert "1 sessions that are not over" in admission(Config(spool=layout.root, limits=limits), Files())(
        again, spec_of(5)
    )
    space = {name: UserLimits(spool_mb=1) for name in limits}
    (layout.session("a").segments / "w.seg").write_bytes(bytes(1_100_000))
    assert "take 1 MB of the spool" in admission(Config(spool=layout.root, limits=space), Files())(again, spec_of(5))
    assert admission(Config(spool=layout.root, limits=limits), Files())(Submission(user="zoe", uid=1), spec_of(5)) == ""
