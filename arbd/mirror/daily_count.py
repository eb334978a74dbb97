"""Once a day: does Redis hold as many results of each session that is done as that has? A few keys are walked at a time.

What Redis lost of a session in silence, with its position left, is seen by nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import field

from arbd.mirror.state import StateManager
from arbd.spool.system import Clock
from arbd.values import dataclass

COUNT_EVERY_S = 86_400.0
# After a start what is behind comes first.
FIRST_COUNT_S = 600.0
KEYS_A_STEP = 5_000


@dataclass(slots=True)
class DailyCount:
    """Not thread-safe. Errors of Redis end a count; the next begins anew."""

    state: StateManager
    clock: Clock
    every_s: float = COUNT_EVERY_S
    first_s: float = FIRST_COUNT_S
    _next_s: float = field(init=False)
    _walk: Iterator[str] | None = None
    _expected: Mapping[str, int] = field(default_factory=dict)
    _found: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._next_s = self.clock.monotonic_s() + self.first_s

    def step(self, expected: Mapping[str, int]) -> dict[str, tuple[int, int]] | None:
        """Go on: when a count is over, the sessions that have not as many as expected: (results in Redis, in the files).

        `expected` is what sessions have that are done and mirrored; one that is not there both when the count begins and
        when it ends is not looked at. None while there is nothing to tell.
        """
        if self._walk is None:
            if self.clock.monotonic_s() < self._next_s:
                return None
            self._walk, self._expected, self._found = self.state.session_of_results(), dict(expected), Counter()
        for _ in range(KEYS_A_STEP):
            session_id = next(self._walk, None)
            if session_id is None:
                return self._ended(expected)
            self._found[session_id] += 1
        return None

    def give_up(self) -> None:
        """Redis failed: begin anew."""
        self._walk = None

    def _ended(self, expected: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        self._walk, self._next_s = None, self.clock.monotonic_s() + self.every_s
        wrong = {}
        for session_id, count in self._expected.items():
            if self._found[session_id] != count and expected.get(session_id) == count:
                # A walk may see a key twice.
                exact = len(set(self.state.keys(session_id)))
                if exact != count:
                    wrong[session_id] = (exact, count)
        return wrong
