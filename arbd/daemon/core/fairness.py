"""Whose turn it is: equal shares of slot time for users, and of each user's for their sessions. Pure.

Start-time fair queueing (Goyal, Vin and Cheng 1996) in two levels. An account's time grows by the seconds that slots of
all hosts spent, or are about to spend, for it, as the ledgers tell; whoever has the least time is next. An account that
comes back to where others compete starts where the last one was served, less one chunk: who was away, or could not use
more, has saved nothing up and owes nothing. Names decide nothing: equals are ordered by a hash that differs by host.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from arbd.spool.ledger import LedgerState
from arbd.values import dataclass


def served_s(state: LedgerState, each_s: float | None, unmeasured_s: float) -> float:
    """Seconds that slots of all hosts were busy with a session, and will be with what they hold of it.

    `each_s` is what an iteration takes where its ledger does not tell (workers of earlier versions), None when nobody
    knows yet: then a claim counts as `unmeasured_s`.
    """
    if state.timed:
        each_s = state.busy_ns / 1e9 / state.timed
    if each_s is None:
        return unmeasured_s * len(state.claims)
    untimed = max(0, state.counted - state.timed)
    return state.busy_ns / 1e9 + each_s * (untimed + state.claimed)


@dataclass(slots=True)
class _Account:
    """`time_s` is its virtual time; `seen_s` what was spent for it in all; `turn` when it last wanted anything."""

    time_s: float
    seen_s: float
    turn: int


@dataclass(slots=True)
class _Level:
    """Accounts that compete with each other; `now_s` is where the last of them was served."""

    now_s: float = 0.0
    accounts: dict[str, _Account] = field(default_factory=dict)

    def wants(self, name: str, turn: int, credit_s: float) -> None:
        """It wants slots in this turn."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = _Account(self.now_s, 0.0, turn)
        elif account.turn < turn - 1:
            account.time_s = max(account.time_s, self.now_s - credit_s)
        account.turn = turn

    def spend(self, name: str, seconds: float) -> None:
        """So much more was spent for it (or less, when an estimate was too high)."""
        account = self.accounts.get(name)
        if account is not None:
            account.time_s += seconds

    def time_s(self, name: str) -> float:
        return self.accounts[name].time_s

    def serve(self, name: str) -> None:
        """It is its turn."""
        self.now_s = max(self.now_s, self.accounts[name].time_s)


@dataclass(frozen=True, slots=True)
class Demand:
    """A session that wants slots: at most `room` more tasks here. `owner` is whose it is.

    `served_s` is what slots spent for it in all, as `served_s` says; one more chunk would cost about `chunk_s`.
    """

    session_id: str
    priority: int
    room: int
    owner: str = ""
    served_s: float = 0.0
    chunk_s: float = 1.0


@dataclass(slots=True)
class FairShare:
    """For the sessions of one priority on one worker, whose `salt` makes its order of equals its own."""

    salt: int = 0
    _turn: int = 0
    _owners: _Level = field(default_factory=_Level)
    _sessions: dict[str, _Level] = field(default_factory=dict)

    def begin(self, demands: Iterable[Demand]) -> None:
        """A turn begins, in which these compete; those without room are only accounted for."""
        self._turn += 1
        for one in demands:
            self._see(one.session_id, one.owner, one.served_s)
            if one.room <= 0:
                continue
            self._owners.wants(one.owner, self._turn, one.chunk_s)
            self._sessions[one.owner].wants(one.session_id, self._turn, one.chunk_s)

    def _see(self, session_id: str, owner: str, total_s: float) -> None:
        level = self._sessions.setdefault(owner, _Level())
        account = level.accounts.setdefault(session_id, _Account(level.now_s, total_s, 0))
        more_s = total_s - account.seen_s
        account.seen_s = total_s
        account.time_s += more_s
        self._owners.spend(owner, more_s)

    def next(self, demands: Iterable[Demand]) -> Demand:
        """Whose turn it is of some of those that the turn began with; what its chunk costs counts from now on."""
        chosen = min(demands, key=self._order)
        level = self._sessions[chosen.owner]
        self._owners.serve(chosen.owner)
        level.serve(chosen.session_id)
        self._owners.spend(chosen.owner, chosen.chunk_s)
        level.spend(chosen.session_id, chosen.chunk_s)
        # Until the ledger tells of the claim, which may come to less.
        level.accounts[chosen.session_id].seen_s += chosen.chunk_s
        return chosen

    def _order(self, one: Demand) -> tuple[float, int, float, int]:
        return (
            self._owners.time_s(one.owner),
            self._hash(one.owner),
            self._sessions[one.owner].time_s(one.session_id),
            self._hash(one.session_id),
        )

    def _hash(self, name: str) -> int:
        return zlib.crc32(name.encode(), self.salt & 0xFFFF_FFFF)

    @property
    def is_used(self) -> bool:
        """True while it has accounts."""
        return bool(self._sessions)

    def forget(self, session_ids: Iterable[str]) -> None:
        """All but these are over."""
        kept = set(session_ids)
        for owner, level in list(self._sessions.items()):
            for name in [name for name in level.accounts if name not in kept]:
                del level.accounts[name]
            if not level.accounts:
                del self._sessions[owner]
                self._owners.accounts.pop(owner, None)


@dataclass(slots=True)
class Fairness:
    """All priorities of one worker. Not thread-safe: the coordinator owns it."""

    salt: int = 0
    _by_priority: dict[int, FairShare] = field(default_factory=dict)

    def share(
        self,
        demands: Sequence[Demand],
        depth: int,
        out: Mapping[int, int],
        owner_room: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Tasks to claim per session: the highest priority first, among equals as `FairShare` says.

        A priority gets what is left of `depth` tasks by those of the same or a higher one; `out` counts the tasks that
        are out by priority. So urgent work is claimed though slots are full of other work, which has to be preempted then.
        `owner_room` is how many tasks more some owners may have, on all hosts together.
        """
        given: dict[str, int] = {}
        left = dict(owner_room or {})
        for priority in sorted({demand.priority for demand in demands}, reverse=True):
            group = [demand for demand in demands if demand.priority == priority]
            fair = self._by_priority.setdefault(priority, FairShare(self.salt))
            fair.begin(group)
            free = depth - sum(given.values()) - sum(n for other, n in out.items() if other >= priority)
            for _ in range(free):
                open_to = [d for d in group if given.get(d.session_id, 0) < d.room and left.get(d.owner, 1) > 0]
                if not open_to:
                    break
                best = fair.next(open_to)
                given[best.session_id] = given.get(best.session_id, 0) + 1
                if best.owner in left:
                    left[best.owner] -= 1
        return given

    def forget(self, kept: Mapping[str, int]) -> None:
        """All sessions but these, of which the priority is told, are over or have another priority now."""
        for priority, fair in list(self._by_priority.items()):
            fair.forget(name for name, of in kept.items() if of == priority)
            if not fair.is_used:
                del self._by_priority[priority]
