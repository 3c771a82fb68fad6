"""Cells whose reads may say little: one normal law of all cells, learnt from all of them.

Cell i has the own coordinates x_i ~ N(mean, S) and a likelihood that near its optimum is quadratic
with information H_i. With V_i = 1 / H_i and x^_i its maximum, x^_i ~ N(mean, S + V_i), so the
law is that which makes all x^_i likely. Nothing is inverted that may be singular:

    (S + V)^-1 = 1/S - 1/S (H + 1/S)^-1 1/S,      (S + V)^-1 x^ = (1 - H (H + 1/S)^-1) (H x + g)

for a cell at x with gradient g. Search for the cells under the law, and the law by some steps of
expectation and maximisation, take turns. Unlike `search`, which averages the cells' own estimates,
this needs no cell to know its coordinates; prior knowledge of the mean counts once, not per cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.inference.arrow import Prior, maximise
from sptrack.inference.filter import Innovations

_WEAK = 0.04  # precision of what is shared, around its start
_LAW_STEPS = 50
_CONVERGED = 1e-4  # decrement: twice the gain in log-likelihood, of all cells, of one more step
_STIFF = 0.05  # weight of the spread that is expected in the one that is found
_WIDEST, _FARTHEST = 1.5, 6.0  # std of a law; coordinate of a cell
_NARROWEST = 1e-8  # variance of a law; coordinates are of order 1


class Law(NamedTuple):
    """A normal law of the coordinates: mean (p,) and covariance (p, p)."""

    mean: Array
    square: Array


class Posterior(NamedTuple):
    """What is known of the cells.

    Attributes:
      cells: own coordinates, shape (cells, p).
      covariance: of them, the error of the law's mean included, shape (cells, p, p).
      shared: coordinates in common, shape (s,).
      law: of the cells.
    """

    cells: Array
    covariance: Array
    shared: Array
    law: Law


class _Quadratic(NamedTuple):
    """Likelihoods near their optima: (H x + g, H) of every cell."""

    pull: Array
    information: Array


def hierarchical(
    filter_: Callable[[Array], Innovations],
    known: Law,
    spread: Array,
    cells: int,
    shared: Array,
    *,
    rounds: int = 8,
    iterations: int = 30,
) -> Posterior:
    """Cells, what they share, and their law.

    Args:
      filter_: parameters (cells, p + s) -> `Innovations`; every cell sees its own row only.
      known: what is known beforehand of the law's mean, which is where the search starts.
      spread: std over cells that is expected, shape (p,); it counts for a twentieth.
      cells: how many.
      shared: coordinates in common to start from, shape (s,).
      rounds: of law and cells.
      iterations: of the search for the cells, in each round, at most; where reads are exact, ten
        leave some cells far from their optimum.
    """
    p = len(known.mean)

    def better(carry, _):
        x, shared_now, law = carry
        x, shared_now, quadratic = _search(filter_, x, shared_now, law, shared, iterations)
        law = _law(quadratic, law, known, jnp.diag(spread**2))
        x = jnp.clip(_given(quadratic, law)[0], -_FARTHEST, _FARTHEST)
        return (x, shared_now, law), quadratic

    law = Law(known.mean, jnp.diag(spread**2))
    first = jnp.tile(known.mean, (cells, 1)), jnp.asarray(shared), law
    (x, found, law), quadratics = jax.lax.scan(better, first, length=rounds)
    last = _Quadratic(quadratics.pull[-1], quadratics.information[-1])
    alone, precise = _given(last, law)[1], jnp.linalg.inv(law.square)
    told = jnp.sum(_about_mean(alone, precise), axis=0) + jnp.linalg.inv(known.square)
    follows = jnp.einsum("cij,jk->cik", alone, precise)
    covariance = alone + jnp.einsum("cij,jk,clk->cil", follows, jnp.linalg.inv(told), follows)
    return Posterior(x[:, :p], covariance, found, law)


def _search(filter_, x, shared, law, shared_start, iterations) -> tuple[Array, Array, _Quadratic]:
    """The optimum under the law, in coordinates in which the law is the standard normal one."""
    p, count = len(law.mean), len(x)
    root = jnp.linalg.cholesky(law.square)
    back = jnp.linalg.inv(root)

    def of_standard(point):
        return filter_(
            jnp.concatenate([law.mean[None] + point[:, :p] @ root.T, point[:, p:]], axis=1)
        )

    prior = Prior(
        jnp.concatenate([jnp.zeros(p), shared_start])[None],
        jnp.concatenate([jnp.ones(p), jnp.full_like(shared_start, _WEAK / count)])[None],
    )
    start = (x - law.mean[None]) @ back.T
    optimum = maximise(
        of_standard, start, shared, prior, iterations=iterations, tolerance=_CONVERGED
    )
    gradient = (optimum.summary.gradient[:, :p] + optimum.cells) @ back  # the prior taken off
    information = optimum.summary.information[:, :p, :p] - jnp.eye(p)[None]
    information = jnp.einsum("ji,cjk,kl->cil", back, information, back)
    x = law.mean[None] + optimum.cells @ root.T
    pull = jnp.einsum("cij,cj->ci", information, x) + gradient
    return x, optimum.shared, _Quadratic(pull, information)


def _given(quadratic: _Quadratic, law: Law) -> tuple[Array, Array]:
    """Means and covariances of the cells under a law."""
    precise = jnp.linalg.inv(law.square)
    alone = jnp.linalg.inv(quadratic.information + precise[None])
    return jnp.einsum("cij,cj->ci", alone, quadratic.pull + (precise @ law.mean)[None]), alone


def _about_mean(alone: Array, precise: Array) -> Array:
    """(S + V)^-1 of every cell: what it tells of the mean."""
    return precise[None] - jnp.einsum("ij,cjk,kl->cil", precise, alone, precise)


def _law(quadratic: _Quadratic, law: Law, known: Law, first: Array) -> Law:
    """The law given quadratic likelihoods, by expectation and maximisation."""
    pull, information = quadratic
    before = jnp.linalg.inv(known.square)

    def step(law, _):
        precise = jnp.linalg.inv(law.square)
        alone = jnp.linalg.inv(information + precise[None])
        said = pull - jnp.einsum("cij,cjk,ck->ci", information, alone, pull)
        mean = jnp.linalg.solve(
            jnp.sum(_about_mean(alone, precise), axis=0) + before,
            jnp.sum(said, axis=0) + before @ known.mean,
        )
        away = _given(quadratic, Law(mean, law.square))[0] - mean[None]
        square = (jnp.einsum("ci,cj->ij", away, away) + jnp.sum(alone, axis=0)) / len(away)
        square = (1 - _STIFF) * square + _STIFF * first
        shrink = jnp.minimum(1, _WIDEST / jnp.sqrt(jnp.diag(square)))
        square = shrink[:, None] * (square + square.T) / 2 * shrink[None]
        return Law(mean, square + _NARROWEST * jnp.eye(len(mean))), None

    return jax.lax.scan(step, law, length=_LAW_STEPS)[0]
