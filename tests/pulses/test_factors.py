"""Factors stand for the sum of the outer products of their samples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt


def random_factors(inputs=(3,)):
    rng = np.random.default_rng(0)
    return spt.Factors(*(jnp.asarray(rng.normal(size=s)) for s in ((5, *inputs), (5, 4))))


@pytest.mark.parametrize("inputs", [(3,), (2, 2, 3)])
def test_contraction_is_the_sum_of_outer_products(inputs):
    factors = random_factors(inputs)
    expected = sum(np.multiply.outer(x, d) for x, d in zip(factors.x, factors.d, strict=True))
    found = spt.pulses.contract(factors)
    assert found.shape == (*inputs, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", [-0.1, 3.0, 0.0])
def test_a_scaled_tree_is_a_scaled_gradient(number):
    """Once, with its sign, although both x and d are leaves; also through a schedule."""
    factors = random_factors()
    expected = number * spt.pulses.contract(factors)
    for tx in (optax.scale(number), optax.scale_by_schedule(lambda count: number)):
        scaled, _ = tx.update({"w": factors}, tx.init({"w": jnp.zeros((3, 4))}))
        np.testing.assert_allclose(spt.pulses.contract(scaled["w"]), expected, rtol=1e-5)
        x, d, scale = spt.pulses.unscaled(scaled["w"])
        if number:
            np.testing.assert_allclose(x, factors.x, rtol=1e-5)
            np.testing.assert_allclose(d, factors.d, rtol=1e-5)
        np.testing.assert_allclose(scale, number, rtol=1e-6)


def test_the_contraction_is_differentiable():
    """d/dx of sum_io g[i, o] a[i, o] is a d^T."""
    factors, a = random_factors(), jnp.arange(12.0).reshape(3, 4)
    grad = jax.grad(lambda f: jnp.sum(spt.pulses.contract(f) * a))(factors)
    np.testing.assert_allclose(grad.x, factors.d @ a.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad.d, factors.x @ a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shapes", [((3,), (3, 2)), ((3, 2), (2,)), ((3, 2), (4, 2))])
def test_other_shapes_are_refused(shapes):
    factors = spt.Factors(*map(jnp.zeros, shapes))
    with pytest.raises(ValueError, match=r"x of shape \(samples, inputs\).*got"):
        spt.pulses.contract(factors)
