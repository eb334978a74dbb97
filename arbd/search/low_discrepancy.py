"""Low-discrepancy sequences, entered anywhere: scrambled Sobol and Halton points as SciPy's `stats.qmc` gives them.

Keeps I5: point i depends on seed, number of dimensions and i alone, to the same bits as SciPy's. They are computed here
because importing `scipy.stats` costs every process more than all its other imports together.

Sources: Joe and Kuo 2008, "Constructing Sobol sequences with better two-dimensional projections" (direction numbers, as
SciPy ships them); Matousek 1998, "On the L2-discrepancy for anchored boxes" (linear scramble with digital shift);
Owen 2017, "A randomized Halton algorithm in R".
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arbd.errors import ArbdError
from arbd.search.dimensions import BELOW_ONE
from arbd.search.space import Columns, SearchSpace
from arbd.values import dataclass

# SciPy's default; the sequence has 2^30 points.
BITS = 30
_Floats = npt.NDArray[np.float64]
_Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class SequenceSampler:
    """A sequence, scrambled by the seed, over a space: entered at the iteration asked for."""

    space: SearchSpace
    seed: int
    points: Callable[[int, int, int, int], _Floats]

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        points = self.points(len(self.space.dimensions), self.seed, first - 1, count)
        return self.space.from_unit(np.minimum(points, BELOW_ONE))


def sobol_points(dimensions: int, seed: int, first: int, count: int) -> _Floats:
    """Points `first` to `first + count - 1`, counted from 0, of the scrambled Sobol sequence: (count, dimensions)."""
    assert first >= 0
    assert first + count <= 2**BITS, "the sequence has no more points"
    directions, shift = _scrambled(dimensions, seed)
    # In the order of Gray codes a point is the one before with one direction number added: that of the lowest bit in
    # which the two codes differ.
    steps = np.empty((count, dimensions), dtype=np.uint32)
    if count:
        steps[0] = shift
        code = first ^ (first >> 1)
        for bit in range(code.bit_length()):
            if code >> bit & 1:
                steps[0] ^= directions[:, bit]
        index = np.arange(first + 1, first + count, dtype=np.int64)
        steps[1:] = directions.T[_lowest_bit(index)]
    points: _Floats = np.bitwise_xor.accumulate(steps, axis=0) * (1.0 / 2**BITS)
    return points


def halton_points(dimensions: int, seed: int, first: int, count: int) -> _Floats:
    """Points `first` to `first + count - 1`, counted from 0, of the scrambled Halton sequence: (count, dimensions)."""
    points = np.zeros((count, dimensions))
    for column, (base, permutations) in enumerate(_permutations(dimensions, seed)):
        quotient = np.arange(first, first + count, dtype=np.int64)
        weight = 1.0 / base
        for permutation in permutations:
            quotient, digit = np.divmod(quotient, base)
            points[:, column] += permutation[digit] * weight
            weight /= base
    return points


def _generator(seed: int) -> np.random.Generator:
    """What a generator seeded so spawns first, as SciPy's engines do of the one that they are given."""
    return np.random.default_rng(seed).spawn(1)[0]


def _lowest_bit(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The position of the lowest bit that is set."""
    return np.frexp((index & -index).astype(np.float64))[1].astype(np.int64) - 1


@lru_cache(maxsize=8)
def _scrambled(dimensions: int, seed: int) -> tuple[_Words, _Words]:
    """Direction numbers (dimensions, BITS) and digital shift (dimensions,) after scrambling by `seed`."""
    rng = _generator(seed)
    powers = 2 ** np.arange(BITS, dtype=np.uint32)
    shift = np.dot(rng.integers(0, 2, size=(dimensions, BITS), dtype=np.uint32), powers)
    matrices = np.tril(rng.integers(0, 2, size=(dimensions, BITS, BITS), dtype=np.uint32))
    matrices[:, np.arange(BITS), np.arange(BITS)] = 1
    # Bits with the highest first, as rows and columns of the matrices are.
    bits = (_directions(dimensions)[:, :, None] >> np.arange(BITS - 1, -1, -1, dtype=np.uint32)) & 1
    mixed = np.einsum("dpk,djk->djp", matrices, bits) & 1
    return (mixed * powers[::-1]).sum(axis=2, dtype=np.uint32), shift


def _directions(dimensions: int) -> _Words:
    """Direction numbers, by the recurrence of each dimension's primitive polynomial: (dimensions, BITS)."""
    found = importlib.util.find_spec("scipy")
    folder = Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None
    if folder is None:
        raise ArbdError("sobol needs SciPy's table of direction numbers; install scipy")
    with np.load(folder / "stats" / "_sobol_direction_numbers.npz") as table:
        polynomials, initial = table["poly"][:dimensions], table["vinit"][:dimensions]
    if len(polynomials) < dimensions:
        raise ArbdError(f"sobol has {len(polynomials):,} dimensions, and {dimensions:,} parameters are searched")
    numbers = np.ones((dimensions, BITS), dtype=np.uint64)
    for row in range(1, dimensions):
        polynomial = int(polynomials[row])
        degree = polynomial.bit_length() - 1
        values = [int(v) for v in initial[row, :degree]]
        for j in range(degree, BITS):
            value = values[j - degree]
            for k in range(degree):
                if polynomial >> (degree - 1 - k) & 1:
                    value ^= values[j - k - 1] << (k + 1)
            values.append(value)
        numbers[row] = values
    return (numbers << np.arange(BITS - 1, -1, -1, dtype=np.uint64)).astype(np.uint32)


@lru_cache(maxsize=8)
def _permutations(dimensions: int, seed: int) -> tuple[tuple[int, npt.NDArray[np.int64]], ...]:
    """For each dimension its base, a prime, and a permutation of the digits for each place: (places, base)."""
    rng = _generator(seed)
    found = []
    for base in _primes(dimensions):
        # As many places as a double has.
        places = math.ceil(54 / math.log2(base)) - 1
        permutations = np.repeat(np.arange(base, dtype=np.int64)[None], places, axis=0)
        for permutation in permutations:
            rng.shuffle(permutation)
        found.append((base, permutations))
    return tuple(found)


def _primes(count: int) -> list[int]:
    """The first `count` primes."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes if prime * prime <= candidate):
            primes.append(candidate)
        candidate += 1
    return primes
