"""Maximum likelihood for many cells with parameters of their own and a few in common.

The information matrix of such a problem is an arrow: a block per cell, and a border for what is
shared. With H_i, B_i, C_i the parts of cell i's matrix (own, own x shared, shared) and g_i, f_i the
parts of its gradient, a step solves

    (sum_i C_i - B_i' H_i^-1 B_i) shared = sum_i f_i - B_i' H_i^-1 g_i
    cells_i = H_i^-1 (g_i - B_i shared)

so its cost is linear in the number of cells.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.inference.filter import Innovations

_LARGEST_STEP = 1.0  # of any coordinate: these are logarithms, or in units of the data's range
_DAMPING = (1e-3, 1e-10, 1e10)  # at the start, least, most


class Summary(NamedTuple):
    """Each cell's log-likelihood with its first two derivatives, over own and shared parameters.

    Attributes:
      value: log-likelihood, shape (cells,).
      gradient: shape (cells, n).
      information: shape (cells, n, n), expected: positive semi-definite.
    """

    value: Array
    gradient: Array
    information: Array


class Prior(NamedTuple):
    """Independent normal laws of parameters: centers and precisions, shape (cells, n) or (n,)."""

    center: Array
    precision: Array


class Optimum(NamedTuple):
    """Where the search ended.

    Attributes:
      cells: own parameters, shape (cells, p).
      shared: parameters in common, shape (s,).
      summary: there, penalty included.
      decrement: g' H^-1 g, twice what one more step would gain; small when it has converged.
    """

    cells: Array
    shared: Array
    summary: Summary
    decrement: Array


def joined(cells: Array, shared: Array) -> Array:
    """Own and shared parameters of each cell side by side, shape (cells, p + s)."""
    return jnp.concatenate([cells, jnp.broadcast_to(shared, (len(cells), len(shared)))], axis=1)


def summarise(filter_: Callable[[Array], Innovations], point: Array) -> Summary:
    """Value, gradient and expected information of a Gaussian innovations likelihood.

    Args:
      filter_: parameters (cells, n) -> `Innovations`; every cell sees its own row only.
      point: parameters, shape (cells, n).
    """

    def push(direction):  # one pass for all cells: no cell sees another's parameters
        tangent = jnp.broadcast_to(direction, point.shape)
        return jax.jvp(filter_, (point,), (tangent,))

    found, slopes = jax.vmap(push, out_axes=(None, -1))(jnp.eye(point.shape[1], dtype=point.dtype))
    error, variance = found.error[..., None], found.variance[..., None]
    by_error = jnp.where(found.read[..., None], slopes.error / jnp.sqrt(variance), 0)
    by_variance = jnp.where(found.read[..., None], slopes.variance / variance, 0)
    pull = (error / jnp.sqrt(variance)) * by_error
    gradient = -jnp.sum(pull + by_variance * (1 - error**2 / variance) / 2, axis=0)
    information = jnp.einsum("tci,tcj->cij", by_error, by_error)
    information += jnp.einsum("tci,tcj->cij", by_variance, by_variance) / 2
    return Summary(found.log_likelihood(), gradient, information)


def penalised(summary: Summary, point: Array, prior: Prior, sign: int = 1) -> Summary:
    """The summary with the prior, or (sign = -1) one that has it without."""
    center, precision = (jnp.broadcast_to(part, point.shape) for part in prior)
    away = point - center
    return Summary(
        summary.value - sign * jnp.sum(precision * away**2, axis=1) / 2,
        summary.gradient - sign * precision * away,
        summary.information + sign * jax.vmap(jnp.diag)(precision),
    )


def eliminated(summary: Summary, own: int) -> tuple[Array, Array]:
    """Information and gradient of the shared parameters, with every cell at its own optimum."""
    h, b, c = _blocks(summary.information, own)
    g, f = summary.gradient[:, :own], summary.gradient[:, own:]
    solved = jnp.linalg.solve(h, b)
    left = jnp.sum(c - jnp.einsum("cps,cpt->cst", b, solved), axis=0)
    return left, jnp.sum(f - jnp.einsum("cps,cp->cs", solved, g), axis=0)


def solve(summary: Summary, own: int, damping: Any = 0.0) -> tuple[Array, Array]:
    """The step (cells, shared) to the optimum of the quadratic that the summary describes."""
    damped = summary.information * (1 + damping * jnp.eye(summary.gradient.shape[1]))[None]
    summary = summary._replace(information=damped)
    shared = jnp.linalg.solve(*eliminated(summary, own))
    h, b, _ = _blocks(damped, own)
    right = summary.gradient[:, :own] - jnp.einsum("cps,s->cp", b, shared)
    return jnp.linalg.solve(h, right[..., None])[..., 0], shared


def _blocks(information: Array, own: int) -> tuple[Array, Array, Array]:
    """Own, own x shared, and shared."""
    return information[:, :own, :own], information[:, :own, own:], information[:, own:, own:]


def maximise(
    filter_: Callable[[Array], Innovations],
    cells: Array,
    shared: Array,
    prior: Prior,
    *,
    iterations: int,
    tolerance: float = 0.0,
) -> Optimum:
    """Maximises likelihood times prior by damped scoring (Levenberg and Marquardt).

    Under `jax.vmap` the search goes on until all problems have ended theirs.

    Args:
      filter_: parameters (cells, p + s) -> `Innovations`.
      cells: own parameters to start from, shape (cells, p).
      shared: parameters in common to start from, shape (s,).
      prior: of both; what is shared has it once per cell.
      iterations: how often the likelihood and its derivatives are evaluated, at most.
      tolerance: decrement at which the search ends.
    """
    own = cells.shape[1]

    def goes_on(carry):
        count, best, *_ = carry
        return (count < iterations) & (best.decrement > tolerance)

    def iterate(carry):
        count, best, trial, damping = carry
        point = joined(*trial)
        summary = penalised(summarise(filter_, point), point, prior)
        better = jnp.sum(summary.value) > jnp.sum(best.summary.value)
        fresh = Optimum(trial[0], trial[1], summary, _gain(summary, own))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), fresh, best)
        damping = jnp.where(better, damping / 5, damping * 4)
        damping = jnp.clip(damping, *_DAMPING[1:])
        steps = solve(best.summary, own, damping)
        trial = [
            old + jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
            for old, step in zip((best.cells, best.shared), steps, strict=True)
        ]
        return count + 1, best, trial, damping

    point = joined(cells, shared)
    lowest = jnp.full(len(cells), -jnp.inf, point.dtype)
    unit = jnp.broadcast_to(
        jnp.eye(point.shape[1], dtype=point.dtype), (*point.shape, point.shape[1])
    )
    nothing = Summary(lowest, jnp.zeros_like(point), unit)
    first = Optimum(cells, shared, nothing, jnp.asarray(jnp.inf, point.dtype))
    damping = jnp.asarray(_DAMPING[0], point.dtype)
    return jax.lax.while_loop(goes_on, iterate, (0, first, [cells, shared], damping))[1]


def _gain(summary: Summary, own: int) -> Array:
    """g' H^-1 g."""
    cells, shared = solve(summary, own)
    return jnp.sum(summary.gradient * joined(cells, shared))
