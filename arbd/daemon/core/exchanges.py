"""What is finished goes into the ledgers, and what the slots can take comes out of them, in the order of fairness."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from arbd.daemon.core import events
from arbd.daemon.core.fairness import Demand, Fairness
from arbd.daemon.core.session_registry import BackingOffError, SessionRegistry
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.core.waits import reasons_to_wait
from arbd.errors import ArbdError
from arbd.spool.ledger import RUNNING
from arbd.spool.owners import Owners
from arbd.spool.user_limits import LimitTable
from arbd.values import dataclass

# Rounds of a turn: each records or claims something, or finds that others were first.
MAX_ROUNDS = 100
# Where others claim, too, what they did is read again before it is decided whose turn it is.
FRESH_S = 0.25
MAX_REFRESHED = 64


@dataclass(slots=True)
class Exchanges:
    """For all sessions of this worker. Not thread-safe: the coordinator owns it."""

    registry: SessionRegistry
    send: Callable[[events.Command], None]
    fairness: Fairness
    limits: LimitTable = field(default_factory=LimitTable)
    labels: Mapping[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    _owners: Owners = field(default_factory=Owners)
    _kept: Mapping[str, int] = field(default_factory=dict)

    def run(self, slots: int, between: Callable[[], None]) -> None:
        """Record and claim until neither gives anything more; nothing is claimed for 0 `slots`.

        `between` is called between any two sessions.
        """
        is_fresh = False
        for _ in range(MAX_ROUNDS):
            given, demands = self._shares(slots)
            if given and not is_fresh:
                is_fresh = True
                if self._refresh(demands):
                    continue
            to_do = [
                work
                for work in self.registry.usable()
                if (work.has_finished or work.has_unconfirmed or given.get(work.session_id)) and not work.is_backing_off
            ]
            if not to_do:
                return
            # Somebody else may be served first only where there is somebody else.
            contested = sum(demand.room > 0 for demand in demands.values()) > 1
            for work in sorted(to_do, key=lambda w: -w.priority):
                demand = demands.get(work.session_id)
                expected_s = demand.served_s + demand.chunk_s / 2 if demand is not None and contested else None
                with contextlib.suppress(BackingOffError), self.registry.handling(work.session_id):
                    for task in work.exchange(given.get(work.session_id, 0), expected_s):
                        self.send(events.Run(task, work.limits))
                between()

    def _shares(self, slots: int) -> tuple[dict[str, int], dict[str, Demand]]:
        """Tasks to claim now, by session, and what every session wants."""
        if not slots:
            return {}, {}
        usable = self.registry.usable()
        self._name_owners(usable)
        owner_room = self._apply_limits(usable)
        demands = {work.session_id: work.demand(0 if work.session_id in self.held else slots) for work in usable}
        kept = {name: demand.priority for name, demand in demands.items()}
        if kept != self._kept:
            self.fairness.forget(kept)
            self._kept = kept
        out: Counter[int] = Counter()
        for work in self.registry.work.values():
            out[work.priority] += len(work.tasks)
        return self.fairness.share(list(demands.values()), 2 * slots, out, owner_room), demands

    def _name_owners(self, works: Sequence[SessionState]) -> None:
        """A user has one account, however the hosts that took the jobs up call him."""
        said = [work.state.provenance.submission for work in works]
        self._owners.learn(said)
        for work, submission in zip(works, said, strict=True):
            work.owner = self._owners.of(submission)

    def _apply_limits(self, works: Sequence[SessionState]) -> dict[str, int]:
        """Cap priorities, have sessions wait beyond what their owners may have at once; slots that owners may still have."""
        owner_room: dict[str, int] = {}
        self.held = self._not_yet(works)
        if not self.limits.entries:
            return owner_room
        by_owner: dict[str, list[SessionState]] = defaultdict(list)
        for work in works:
            by_owner[work.owner].append(work)
        for owner, mine in by_owner.items():
            # A name may have another number on each host.
            uids = {uid for work in mine if (uid := work.state.provenance.submission.uid) is not None}
            limits = self.limits.of(owner, *sorted(uids))
            if limits.slots is not None:
                owner_room[owner] = max(0, limits.slots - sum(len(work.state.claims) for work in mine))
            for work in mine:
                work.priority_cap = math.inf if limits.max_priority is None else limits.max_priority
            if limits.sessions is not None:
                running = [work for work in mine if work.state.state == RUNNING and not work.state.over]
                running = [work for work in running if work.session_id not in self.held]
                running.sort(key=lambda work: (work.state.provenance.submission.wall_ns, work.session_id))
                reason = f"waits: {owner} may have {limits.sessions} sessions worked on at once"
                self.held.update({work.session_id: reason for work in running[limits.sessions :]})
        return owner_room

    def _not_yet(self, works: Sequence[SessionState]) -> dict[str, str]:
        """Why this host does not work on sessions by their own terms, or not yet."""
        found: dict[str, str] = {}
        waits: dict[str, list[str]] = {}
        for work in works:
            terms = work.spec.terms
            if lacking := [
                f"{name}={value}" for name, value in terms.requires.items() if self.labels.get(name) != value
            ]:
                found[work.session_id] = f"needs a host with {', '.join(lacking)}"
            if others := [name for name in terms.after if not self.registry.watch.has_ended(name)]:
                waits[work.session_id] = others
        return reasons_to_wait(waits, self.registry.watch.is_there) | found if waits else found

    def _refresh(self, demands: Mapping[str, Demand]) -> bool:
        """Read what other workers did meanwhile to the sessions that compete; True when there was anything to read."""
        works = [self.registry.work[name] for name, demand in demands.items() if demand.room > 0]
        if len(works) < 2:
            return False
        shared = [work for work in works if work.others_can(work.session_id)][:MAX_REFRESHED]
        for work in shared:
            with contextlib.suppress(BackingOffError, ArbdError), self.registry.handling(work.session_id):
                work.refresh_if_older(FRESH_S)
        return bool(shared)
