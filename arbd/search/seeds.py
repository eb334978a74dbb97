"""Random numbers of an iteration, from the session's seed and the iteration's number alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def iteration_seed(seed: int, iteration: int) -> int:
    """A 63-bit seed, different for each (seed, iteration).

    Two rounds of SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
    generators"), so that neighbouring iterations have unrelated seeds.
    """
    value: int = _mix(_mix((iteration + _GOLDEN) & _MASK) ^ (seed & _MASK)) >> 1
    return value


def iteration_seeds(seed: int, first: int, count: int) -> list[int]:
    """The seeds of `count` iterations from `first` on."""
    import numpy as np  # noqa: PLC0415 - who only needs a seed needs no NumPy

    iterations = np.arange(first, first + count, dtype=np.uint64)
    found: list[int] = (_mix(_mix(iterations + _GOLDEN) ^ (seed & _MASK)) >> 1).tolist()
    return found


def _mix(value: Any) -> Any:
    """Of an int of 64 bits, or of an array of them."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def generator(seed: int, generation: int) -> np.random.Generator:
    """The random numbers of one generation of suggestions."""
    import numpy as np  # noqa: PLC0415 - who only needs a seed needs no NumPy

    return np.random.Generator(np.random.Philox(key=iteration_seed(seed, generation)))
