"""Empirical Bayes: parameters of many cells under a normal law that the cells themselves tell.

With a normal law of every cell's own coordinates,

    posterior = prod_i  likelihood(reads_i | cell_i, shared) N(cell_i | mean, square)

is maximised over cells and what they share, and the law is estimated from what the likelihoods say
at the cells so found (`population.restricted`); a few rounds of both settle. What a cell's own
reads leave open the law thus fills, and what they tell well it leaves alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.inference.arrow import Optimum, Prior, joined, maximise, penalised
from sptrack.inference.filter import Innovations
from sptrack.inference.population import restricted

_WEAK = 0.04  # precision of a prior around the start: a std of 5 in every coordinate
_NARROWEST = 1e-8  # variance of a law


class Found(NamedTuple):
    """Where the search ended.

    Attributes:
      optimum: of likelihood times prior.
      prior: the law of the cells with a weak prior around the start, shape (1, n) or (cells, n).
      alone: what each cell's reads alone say of it, to first order, shape (cells, p).
      alone_covariance: of that, shape (cells, p, p).
    """

    optimum: Optimum
    prior: Prior
    alone: Array
    alone_covariance: Array


def search(
    filter_: Callable[[Array], Innovations],
    cells: Array,
    shared: Array,
    *,
    rounds: int = 6,
    iterations: int = 10,
) -> Found:
    """Cells, what they share, and the law of the cells.

    Args:
      filter_: parameters (cells, p + s) -> `Innovations`; every cell sees its own row only.
      cells: own coordinates to start from, shape (cells, p).
      shared: coordinates in common to start from, shape (s,).
      rounds: of law and cells; a single cell has no law.
      iterations: of the search for the cells, in each round.
    """
    own, start = cells.shape[1], joined(cells, shared)
    weak = Prior(start, jnp.full_like(start, _WEAK).at[:, own:].divide(len(cells)))

    def better(carry, _):
        cells, shared, prior, *_ = carry
        optimum = maximise(filter_, cells, shared, prior, iterations=iterations)
        point = joined(optimum.cells, optimum.shared)
        only = penalised(penalised(optimum.summary, point, prior, -1), point, weak)
        covariance = jnp.linalg.inv(only.information[:, :own, :own])
        alone = optimum.cells + jnp.einsum("cij,cj->ci", covariance, only.gradient[:, :own])
        law = prior
        if len(cells) > 1:
            mean, square = restricted(alone, jnp.einsum("cii->ci", covariance), adjusted=True)
            precise = jnp.zeros(start.shape[1]).at[:own].set(1 / jnp.maximum(square, _NARROWEST))
            precision = weak.precision + precise[None]
            center = (precise * jnp.zeros(start.shape[1]).at[:own].set(mean))[None]
            law = Prior((weak.precision * start + center) / precision, precision)
        return (optimum.cells, optimum.shared, law, prior, optimum, alone, covariance), None

    nothing = jax.eval_shape(better, (cells, shared, weak), None)[0]
    first = (cells, shared, weak, *jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nothing[3:]))
    _, _, _, prior, optimum, alone, covariance = jax.lax.scan(better, first, length=rounds)[0]
    return Found(optimum, prior, alone, covariance)
