"""How many iterations a search suggests at once, and how many generations are in work at a time.

Generation g is a function of the results of generations up to g - lag: lag 1 waits for all of them, a larger one lets
slots work while the slowest iterations come in. Both are decided once, when a job is resolved, from the slots that there
are then, and written into it. So what the slots of a farm do later changes no suggestion (I5).

A rule that took whatever is known at some moment as known would let fast slots learn a little sooner, and give another
search each time: which results those are depends on hosts and load. Room for stragglers is given by the lag instead.
"""

from __future__ import annotations

import heapq
import math
from random import Random

from arbd.values import dataclass

# Of jobs that do not say, as those of earlier versions.
LAG = 2
MAX_LAG = 512
# Slots of a job whose farm is not known.
DEFAULT_SLOTS = 4
MOST_AT_ONCE = 256
# Slots for each generation, so that new results are learnt from several times while the slots finish one iteration each.
GENERATIONS_A_ROUND = 4
# What the simulation of busy slots takes for granted.
DURATION_SPREAD = 0.5
ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Schedule:
    """`size` iterations are suggested together, from the results of all generations but the `lag` - 1 just before."""

    size: int
    lag: int = LAG

    @property
    def reach(self) -> int:
        """So many iterations are suggested before the first result of them is needed; what slots can be at."""
        return self.size * self.lag

    def known_before(self, number: int) -> int:
        """The last iteration whose result generation `number` depends on; 0 for none."""
        return max(0, (number - self.lag) * self.size)

    def pending(self, number: int) -> range:
        """The generations before `number` whose results it does not depend on."""
        return range(max(1, number - self.lag + 1), number)


@dataclass(frozen=True, slots=True)
class GenerationSizes:
    """How many iterations a method suggests at once.

    `usual` is the least number, of a method that needs a population or whose suggestions are expensive together; `required`
    the least that a job may ask for. A long search has about `generations` of them. In a short one half of the
    generations are to know something all the same, of `short` iterations at least. `max_lag` is for a method that
    wants all results of its generation before the next. With `waits` slots at most it uses lag 1:
    its results are worth more than the time. `together` is the least number then, for a method whose points keep apart
    from each other only while their results are not known.
    """

    usual: int = 1
    generations: int = 64
    short: int = 1
    required: int = 1
    max_lag: int = MAX_LAG
    waits: int = 0
    together: int = 1

    def default(self, n: int) -> int:
        """For a search of `n` iterations by one slot."""
        return int(min(MOST_AT_ONCE, max(self.usual, n // self.generations), max(self.short, n // 4)))

    def schedule(self, n: int, slots: int) -> Schedule:
        """For a search of `n` iterations by so many slots."""
        if slots <= self.waits:
            return Schedule(max(self.default(n), min(self.together, max(self.short, n // 4))), 1)
        if slots == 1:
            return Schedule(self.default(n), min(LAG, self.max_lag))
        # Of a short search, no more than a quarter is to be suggested blindly, as long as every slot has an iteration.
        window = min(in_work(slots), max(-(-5 * slots // 4), n // 4))
        least = max(-(-slots // GENERATIONS_A_ROUND), -(-window // self.max_lag))
        size = max(self.default(n), min(least, max(self.short, n // 4)))
        return Schedule(size, max(min(LAG, self.max_lag), min(self.max_lag, -(-window // size))))


def in_work(slots: int) -> int:
    """Iterations that must be suggested ahead so that so many slots hardly ever wait for the slowest of them."""
    return math.ceil(slots * (1.1 + math.log2(slots) / 2))


def busy_share(schedule: Schedule, slots: int) -> float:
    """The share of their time that slots are busy, suggestions being free; from a simulation, the same each time.

    Durations vary as those of backtests do: log-normal, most within a factor of 2.7 of the median.
    """
    random = Random(0)
    n = -(-max(ROUNDS * slots, 2 * schedule.reach) // schedule.size) * schedule.size
    durations = [random.lognormvariate(0.0, DURATION_SPREAD) for _ in range(n)]
    free, all_ended = [0.0] * slots, [0.0]
    for number in range(1, n // schedule.size + 1):
        published = all_ended[schedule.known_before(number)]
        for duration in durations[(number - 1) * schedule.size : number * schedule.size]:
            ended = max(heapq.heappop(free), published) + duration
            heapq.heappush(free, ended)
            all_ended.append(max(all_ended[-1], ended))
    return min(1.0, math.fsum(durations) / (slots * all_ended[-1]))
