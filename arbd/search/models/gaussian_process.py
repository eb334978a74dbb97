"""A Gaussian process over the unit cube: Matern 5/2, one length per dimension, hyperparameters by maximum a posteriori.

Choices are as far apart as the ends of a dimension when they differ. Everything is exact; the cost grows with the
cube of the number of results, so whoever uses it chooses which few hundred of them it is to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize

from arbd.arrays import Floats
from arbd.search.space import Unit
from arbd.values import dataclass

TWO_STARTS = 60
SMALLEST_NOISE = 1e-7
JITTER = 1e-9
SMALLEST_VARIANCE = 1e-14
# An acquisition of mean and deviation: its value, and its derivatives by both.
Scored = Callable[[Floats, Floats], tuple[Floats, Floats, Floats]]
_ROOT5 = math.sqrt(5.0)
_BOUNDS = (math.log(1e-3), math.log(1e4))


@dataclass(frozen=True, slots=True, eq=False)
class Hyperparameters:
    """`precision` is 1 / length^2 by dimension."""

    precision: Floats
    scale: float
    noise: float


def matern(squares: Floats, scale: float) -> tuple[Floats, Floats]:
    """The kernel at scaled squared distances, and its derivative by them."""
    root = _ROOT5 * np.sqrt(squares)
    decay = scale * np.exp(-root)
    return decay * (1.0 + root + root * root / 3.0), (-5.0 / 6.0) * decay * (1.0 + root)


def squared_differences(a: Unit, b: Unit, is_choice: npt.NDArray[np.bool_]) -> Floats:
    """By dimension, of shape (dimensions, len(a), len(b)); 1 between different choices."""
    by = a.T[:, :, None] - b.T[:, None, :]
    by *= by
    if is_choice.any():
        by[is_choice] = by[is_choice] > 1e-12
    return by


def fit(points: Unit, values: Floats, is_choice: npt.NDArray[np.bool_], max_steps: int = 40) -> Hyperparameters:
    """Maximum a posteriori from fixed starts, so that the answer depends on the data alone."""
    squares = squared_differences(points, points, is_choice)
    d = points.shape[1]
    best: tuple[float, Floats] | None = None
    # With few results there are several explanations; with many they agree.
    for precision in (4.0, 0.5) if len(points) <= TWO_STARTS else (2.0,):
        start = np.concatenate([np.full(d, math.log(precision)), [0.0, math.log(1e-4)]])
        found = optimize.minimize(
            _loss,
            start,
            args=(squares, values),
            jac=True,
            method="L-BFGS-B",
            bounds=[_BOUNDS] * d + [(math.log(0.02), math.log(50.0)), (math.log(SMALLEST_NOISE), 0.0)],
            options={"maxiter": max_steps},
        )
        if best is None or found.fun < best[0]:
            best = float(found.fun), found.x
    assert best is not None
    x = best[1]
    return Hyperparameters(np.exp(x[:d]), float(np.exp(x[d])), float(np.exp(x[d + 1])))


def _loss(x: Floats, squares: Floats, values: Floats) -> tuple[float, Floats]:
    """Minus the log of posterior density, and its gradient by the logarithms of the hyperparameters."""
    d, n = squares.shape[0], squares.shape[1]
    precision, scale, noise = np.exp(x[:d]), float(np.exp(x[d])), float(np.exp(x[d + 1]))
    kernel, slope = matern(np.tensordot(precision, squares, 1), scale)
    covariance = kernel + (noise + JITTER) * np.eye(n)
    try:
        lower = linalg.cholesky(covariance, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return 1e10, np.zeros_like(x)
    alpha = linalg.cho_solve((lower, True), values, check_finite=False)
    inverse = linalg.lapack.dpotri(lower, lower=1)[0]
    inverse = inverse + np.tril(inverse, -1).T
    misfit = np.outer(alpha, alpha) - inverse
    weighted = misfit * slope
    gradient = np.empty_like(x)
    gradient[:d] = -0.5 * precision * np.tensordot(squares, weighted, 2)
    gradient[d] = -0.5 * float((misfit * kernel).sum())
    gradient[d + 1] = -0.5 * noise * float(np.trace(misfit))
    loss = 0.5 * float(values @ alpha) + float(np.log(np.diag(lower)).sum())
    # Priors: lengths neither far below nor far above the cube, scale near that of standardised values, little noise.
    loss += float((0.1 / precision + 0.1 * precision).sum()) - math.log(scale) + scale
    gradient[:d] += -0.1 / precision + 0.1 * precision
    gradient[d] += -1.0 + scale
    loss += 0.05 * x[d + 1] + 30.0 * noise
    gradient[d + 1] += 0.05 + 30.0 * noise
    return loss, gradient


@dataclass(slots=True, eq=False)
class Posterior:
    """What the process says of any point, given results; and given that some more points will be evaluated.

    A point that is only `expected` tells nothing about the mean (its value is believed to be the mean), but there
    the deviation falls: that is how points that are pending keep others away (Ginsbourger et al. 2010).
    """

    points: Unit
    values: Floats
    parameters: Hyperparameters
    is_choice: npt.NDArray[np.bool_]
    # The inverse of the Cholesky factor: what is asked many times costs a product instead of a solution.
    _inverse: Floats = field(init=False)
    _alpha: Floats = field(init=False)
    _all: Unit = field(init=False)

    def __post_init__(self) -> None:
        covariance = self._kernel(self.points, self.points)[0]
        jitter = self.parameters.noise + JITTER
        while True:
            try:
                lower = linalg.cholesky(covariance + jitter * np.eye(len(self.points)), lower=True, check_finite=False)
                break
            except linalg.LinAlgError:
                jitter *= 10
        self._inverse = np.asarray(linalg.lapack.dtrtri(lower, lower=1)[0])
        self._alpha = linalg.cho_solve((lower, True), self.values, check_finite=False)
        self._all = self.points

    def _kernel(self, a: Unit, b: Unit) -> tuple[Floats, Floats]:
        squares = squared_differences(a, b, self.is_choice)
        return matern(np.tensordot(self.parameters.precision, squares, 1), self.parameters.scale)

    def expect(self, points: Unit) -> None:
        """Points that will be evaluated."""
        for point in points:
            self._expect(point[None, :])

    def _expect(self, point: Unit) -> tuple[Floats, float]:
        """One more; the new row of the Cholesky factor, and its end."""
        row = self._inverse @ self._kernel(self._all, point)[0][:, 0]
        rest = self.parameters.scale + self.parameters.noise + JITTER - float(row @ row)
        end = math.sqrt(max(rest, JITTER))
        n = len(row)
        grown = np.zeros((n + 1, n + 1))
        grown[:n, :n], grown[n, :n], grown[n, n] = self._inverse, -(row @ self._inverse) / end, 1.0 / end
        self._inverse = grown
        self._all = np.concatenate([self._all, point])
        return row, end

    def predict(self, points: Unit) -> tuple[Floats, Floats]:
        """Mean and standard deviation at points."""
        cross = self._kernel(self._all, points)[0]
        return self._alpha @ cross[: len(self.points)], self._deviation(self._inverse @ cross)

    def _deviation(self, solved: Floats) -> Floats:
        variance = self.parameters.scale - np.einsum("ij,ij->j", solved, solved)
        return np.asarray(np.sqrt(np.maximum(variance, SMALLEST_VARIANCE)))

    def candidates(self, points: Unit, most_expected: int) -> Candidates:
        """Many points, whose deviations follow cheaply as more and more of them, up to `most_expected`, are expected."""
        cross = self._kernel(self._all, points)[0]
        n = len(self._all)
        solved = np.empty((n + most_expected, len(points)))
        np.matmul(self._inverse, cross, out=solved[:n])
        variance = self._deviation(solved[:n]) ** 2
        return Candidates(self, points, self._alpha @ cross[: len(self.points)], solved, n, variance)

    def climb(
        self, start: Unit, acquisition: Scored, steps: int, others: Sequence[tuple[Posterior, Scored]] = ()
    ) -> Unit:
        """Local maxima of an acquisition from several starts at once; choices stay as they are.

        `others` are further processes of the same space, what is worthwhile by each of which is added.
        """
        moving = ~self.is_choice
        count, width = len(start), int(moving.sum())
        if not width:
            return start

        def loss(flat: Floats) -> tuple[float, Floats]:
            points = start.copy()
            points[:, moving] = flat.reshape(count, width)
            value, gradient = self._rising(points, moving, acquisition)
            for other, of_other in others:
                more, rise = other._rising(points, moving, of_other)
                value, gradient = value + more, gradient + rise
            return -value, -gradient.ravel()

        found = optimize.minimize(
            loss, start[:, moving].ravel(), jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * (count * width),
            options={"maxiter": steps, "maxfun": steps + 3},
        )  # fmt: skip
        ended = start.copy()
        ended[:, moving] = found.x.reshape(count, width)
        return ended

    def _rising(self, points: Unit, moving: npt.NDArray[np.bool_], acquisition: Scored) -> tuple[float, Floats]:
        """The sum of an acquisition at points, and its gradient by the dimensions that move."""
        n = len(self.points)
        kernel, slope = self._kernel(self._all, points)
        solved = self._inverse @ kernel
        deviation = self._deviation(solved)
        value, by_mean, by_deviation = acquisition(self._alpha @ kernel[:n], deviation)
        # d kernel / d point, contracted with what the value depends on.
        weight = -(by_deviation / deviation)[None, :] * (solved.T @ self._inverse).T
        weight[:n] += by_mean[None, :] * self._alpha[:, None]
        weight *= 2.0 * slope
        gradient = points[:, moving] * weight.sum(axis=0)[:, None] - weight.T @ self._all[:, moving]
        return float(value.sum()), gradient * self.parameters.precision[moving]


@dataclass(slots=True, eq=False)
class Candidates:
    """See `Posterior.candidates`. Only the first `_known` rows of `_solved` are filled."""

    _posterior: Posterior
    points: Unit
    mean: Floats
    _solved: Floats
    _known: int
    _variance: Floats
    _out: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self._out = np.zeros(len(self.points), dtype=bool)

    @property
    def deviation(self) -> Floats:
        """Now."""
        return np.asarray(np.sqrt(np.maximum(self._variance, SMALLEST_VARIANCE)))

    def best(self, values: Floats, count: int) -> Unit:
        """Points with the largest values, of those that were not left out; of all when all were."""
        order = np.argsort(-values, kind="stable")
        left = order[~self._out[order]]
        return self.points[(left if len(left) else order)[:count]]

    def leave_out(self, point: Unit) -> None:
        """Take a point out, if it is among them."""
        self._out |= (self.points == point).all(axis=1)

    def expect(self, point: Unit) -> None:
        """A point, which need not be among them, will be evaluated; the posterior knows too."""
        here = self._posterior._kernel(point[None, :], self.points)[0][0]
        row, end = self._posterior._expect(point[None, :])
        new = (here - row @ self._solved[: self._known]) / end
        self._solved[self._known] = new
        self._known += 1
        self._variance = self._variance - new * new
