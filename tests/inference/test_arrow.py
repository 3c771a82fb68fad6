"""Steps of the arrow-shaped problem against a dense solve, and where the search ends."""

import jax.numpy as jnp
import numpy as np

from sptrack.inference.arrow import (
    Prior,
    Summary,
    eliminated,
    joined,
    maximise,
    penalised,
    solve,
)
from sptrack.inference.filter import Innovations

CELLS, OWN, SHARED = 4, 3, 2


def summary():
    random = np.random.default_rng(0)
    roots = random.normal(size=(CELLS, 8, OWN + SHARED))
    information = np.einsum("cki,ckj->cij", roots, roots)
    gradient = random.normal(size=(CELLS, OWN + SHARED))
    return Summary(jnp.zeros(CELLS), jnp.asarray(gradient), jnp.asarray(information))


def test_a_step_is_the_dense_solution(x64):
    one = summary()
    size = CELLS * OWN + SHARED
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for cell in range(CELLS):
        index = [*range(cell * OWN, cell * OWN + OWN), *range(CELLS * OWN, size)]
        matrix[np.ix_(index, index)] += one.information[cell]
        right[index] += one.gradient[cell]
    expected = np.linalg.solve(matrix, right)
    cells, shared = solve(one, OWN)
    np.testing.assert_allclose(cells.ravel(), expected[:-SHARED], rtol=1e-9)
    np.testing.assert_allclose(shared, expected[-SHARED:], rtol=1e-9)
    information, gradient = eliminated(one, OWN)
    covariance = np.linalg.inv(matrix)[-SHARED:, -SHARED:]
    np.testing.assert_allclose(np.linalg.inv(information), covariance, rtol=1e-9)
    np.testing.assert_allclose(jnp.linalg.solve(information, gradient), shared, rtol=1e-9)


def test_a_prior_can_be_put_on_and_taken_off(x64):
    one, point = summary(), jnp.asarray(np.random.default_rng(1).normal(size=(CELLS, OWN + SHARED)))
    prior = Prior(jnp.ones(OWN + SHARED), jnp.arange(1.0, 6.0))
    with_it = penalised(one, point, prior)
    np.testing.assert_allclose(
        with_it.value, -np.sum(np.arange(1, 6) * (np.asarray(point) - 1) ** 2, axis=1) / 2
    )
    for back, there in zip(penalised(with_it, point, prior, -1), one, strict=True):
        np.testing.assert_allclose(back, there, atol=1e-12)


def test_the_search_finds_means_and_a_common_variance(x64):
    """Normal samples: each cell's own mean, one variance for all; the optimum is textbook."""
    samples = np.random.default_rng(2).normal([[1.0, -2.0, 0.5]], 0.7, (50, 3))

    def filter_(point):
        shape = samples.shape
        variance = jnp.broadcast_to(jnp.exp(2 * point[None, :, 1]), shape)
        return Innovations(
            samples - point[None, :, 0], variance, jnp.zeros(shape), jnp.ones(shape, bool)
        )

    start = jnp.zeros((3, 1)), jnp.zeros(1)
    flat = Prior(jnp.zeros(2), jnp.zeros(2))
    found = maximise(filter_, *start, flat, iterations=15)
    np.testing.assert_allclose(found.cells[:, 0], samples.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(jnp.exp(found.shared), [np.sqrt(samples.var(axis=0).mean())])
    assert found.decrement < 1e-12
    assert joined(found.cells, found.shared).shape == (3, 2)
