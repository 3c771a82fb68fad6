"""Factors stand for the sum of the outer products of their samples."""

import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt


@pytest.mark.parametrize("inputs", [(3,), (2, 2, 3)])
def test_contraction_is_the_sum_of_outer_products(inputs):
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(5, *inputs)), rng.normal(size=(5, 4))
    expected = sum(np.multiply.outer(one, other) for one, other in zip(x, d, strict=True))
    found = spt.pulses.contract(spt.Factors(jnp.asarray(x), jnp.asarray(d)))
    assert found.shape == (*inputs, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shapes", [((3,), (3, 2)), ((3, 2), (2,)), ((3, 2), (4, 2))])
def test_other_shapes_are_refused(shapes):
    factors = spt.Factors(*map(jnp.zeros, shapes))
    with pytest.raises(ValueError, match=r"x of shape \(samples, inputs\).*got"):
        spt.pulses.contract(factors)
