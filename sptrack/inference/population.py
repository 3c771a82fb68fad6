"""The distribution over cells behind estimates that have errors of their own."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array

Z95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
_ROUNDS = 100


class Estimate(NamedTuple):
    """A number, or one per cell, with its standard error and its 95 % interval.

    Attributes:
      value: the estimate.
      std_error: its standard error.
      low, high: the 95 % interval.
    """

    value: np.ndarray
    std_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def around(value, std_error) -> Estimate:
    """The estimate with a symmetric interval."""
    value, std_error = np.asarray(value, float), np.asarray(std_error, float)
    return Estimate(value, std_error, value - Z95 * std_error, value + Z95 * std_error)


def restricted(values: Array, variances: Array, *, adjusted: bool = False) -> tuple[Array, Array]:
    """Mean and variance over the first axis of what each cell's value estimates.

    With x_i ~ N(mean, square + v_i), v_i the variance of cell i's estimate, the weights
    w_i = 1 / (square + v_i) give the mean, and iteration solves the equation of the restricted
    likelihood, sum w^2 (square - (x - mean)^2 + v - 1 / sum w) = 0.

    Args:
      values: estimates, shape (cells, ...), two cells or more.
      variances: of the estimates, > 0, of the same shape.
      adjusted: whether the likelihood is multiplied by `square`. Then it is never zero, which keeps
        cells that are drawn towards the mean from being taken for equal (Li and Lahiri 2010).
    """
    total = functools.partial(jnp.sum, axis=0, keepdims=True)

    def weighted(square):
        weights = 1 / (square + variances)
        return weights, total(weights * values) / total(weights)

    def improve(square, _):
        weights, mean = weighted(square)
        extra = (values - mean) ** 2 - variances + 1 / total(weights)
        new = total(weights**2 * extra) / total(weights**2)
        if adjusted:  # halfway, in the logarithm: the last term makes whole steps overshoot
            new = jnp.sqrt(square * jnp.maximum(new + 2 / (square * total(weights**2)), 0))
        return jnp.maximum(new, smallest), None

    spread = jnp.var(values, axis=0, ddof=1, keepdims=True)
    smallest = 1e-12 * spread if adjusted else jnp.zeros_like(spread)
    square = jax.lax.scan(improve, spread + 1e-30, length=_ROUNDS)[0]
    return weighted(square)[1][0], square[0]


_restricted = jax.jit(restricted)


def normal_population(values: np.ndarray, variances: np.ndarray) -> tuple[Estimate, Estimate]:
    """Mean and std over cells of what each cell's value estimates, by `restricted`.

    The intervals are Student's for the mean and `_std_at`'s for the std.

    Args:
      values: estimates, shape (cells,).
      variances: of the estimates, shape (cells,).

    Returns:
      (mean, std). For a single cell the std is 0, known without error.
    """
    values, variances = np.asarray(values, float), np.maximum(np.asarray(variances, float), 1e-30)
    if len(values) < 2:
        return around(values[0], math.sqrt(variances[0])), around(0.0, 0.0)
    with jax.enable_x64(True):
        mean, square = (np.asarray(part) for part in _restricted(values, variances))
    weights = 1 / (square + variances)
    error = 1 / math.sqrt(np.sum(weights))
    reach = _student(len(values) - 1) * error
    middle = Estimate(*map(np.asarray, (mean, error, mean - reach, mean + reach)))
    std = math.sqrt(square)
    of_square = math.sqrt(2 / (np.sum(weights**2) * (1 - 1 / len(values))))
    spread = of_square / (2 * std) if std > 0 else math.sqrt(of_square)
    low, high = (_std_at(values, variances, _chi_squared(len(values) - 1, z)) for z in (Z95, -Z95))
    return middle, Estimate(*map(np.asarray, (std, spread, low, high)))


def _std_at(values: np.ndarray, variances: np.ndarray, wanted: float) -> float:
    """The std over cells at which sum w (x - mean)^2 is `wanted`; 0 where it is less even there.

    That sum has the chi-squared law of all but one cells if the std is right, whatever the errors,
    so that its quantiles give an interval (Viechtbauer 2007).
    """

    def scatter(std):
        weights = 1 / (std**2 + variances)
        return np.sum(weights * (values - np.sum(weights * values) / np.sum(weights)) ** 2)

    if scatter(0.0) <= wanted:
        return 0.0
    low, high = 0.0, 2 * math.sqrt(np.sum((values - values.mean()) ** 2) / wanted)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if scatter(middle) > wanted else (low, middle)
    return high


def _student(freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution."""
    from scipy.special import stdtrit  # takes longer to import than the rest of this package

    return float(stdtrit(freedom, 0.975))


def _chi_squared(freedom: float, z: float) -> float:
    """The quantile of chi-squared that is as probable as z of the normal distribution."""
    from scipy.special import chdtri, ndtr

    return float(chdtri(freedom, ndtr(-z)))
