"""Estimators of gradients by themselves: functions whose expectations are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.estimators import (
    bernoulli_log_prob,
    evolution_strategies_grad,
    score_function_grad,
    unroll,
)
from tests.support import K_SIGMA, same_bits


def test_log_probabilities_are_those_of_coins(x64):
    k, p = np.arange(5), 0.3
    expected = np.log(p) * k + np.log(1 - p) * (4 - k)
    np.testing.assert_allclose(bernoulli_log_prob(k, 4, p), expected, rtol=1e-12)
    score = jax.vmap(jax.grad(lambda p, k: bernoulli_log_prob(k, 4.0, p)), (None, 0))(p, k)
    np.testing.assert_allclose(score, k / p - (4 - k) / (1 - p), rtol=1e-12)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_outcomes_have_no_score(p):
    value, slope = jax.value_and_grad(lambda p: bernoulli_log_prob(2 * p, 2, p))(p)
    assert (value, slope) == (0, 0)


# A cubic: smoothed by sigma its gradient is 3 x^2 + 3 sigma^2, and mixed terms have no bias.
SIGMA = 0.5
POINT = {"a": jnp.array([0.4, -0.7]), "b": jnp.array(0.3)}


def cubic(key, point):
    noise = jax.random.normal(key)
    a, b = point["a"], point["b"]
    return jnp.sum(a**3) + a[0] * b + 100 * noise


def test_evolution_strategies_smooth_by_sigma(key):
    found = jax.jit(evolution_strategies_grad(cubic, SIGMA, 40_000))(key, POINT)
    a, b = POINT["a"], POINT["b"]
    smoothed = 3 * a**2 + 3 * SIGMA**2
    expected = {"a": smoothed + jnp.array([b, 0.0]), "b": a[0]}
    for name, value in expected.items():
        error = found.std_error[name]
        assert np.all(np.abs(found.grad[name] - value) < K_SIGMA * error)
        assert np.all(error < 0.05 * np.maximum(np.abs(value), 0.4))
    plain = expected["a"] - 3 * SIGMA**2  # without smoothing: biased, as documented
    assert np.all(np.abs(found.grad["a"] - plain) > K_SIGMA * found.std_error["a"])


def test_pairs_share_their_noise(key):
    """Noise of std 100 cancels; with noise of its own each run would add 100 / sigma."""
    found = evolution_strategies_grad(cubic, SIGMA, 200)(key, POINT)
    assert float(found.std_error["b"]) * np.sqrt(200) < 5


def test_batches_change_nothing(key):
    def run(batch_size):
        return evolution_strategies_grad(cubic, SIGMA, 6, batch_size=batch_size)(key, POINT)

    np.testing.assert_allclose(run(None).grad["a"], run(4).grad["a"], rtol=1e-4)


def test_the_first_samples_are_those_of_fewer(key):
    """What a sample draws depends on its number alone."""

    def drawn(number):
        fun = lambda key, x: (jax.random.normal(key) * x, jnp.zeros(()))
        estimate = score_function_grad(fun, number, baseline="none")
        return estimate(jax.random.clone(key), jnp.array(1.0))

    two, three = drawn(2), drawn(3)
    third = jax.random.normal(jax.random.fold_in(jax.random.clone(key), 2))
    np.testing.assert_allclose(3 * three.grad, 2 * two.grad + third, rtol=1e-5)


def test_pathwise_and_score_parts_add_up(key, x64):
    """L = b x + x^2 with b one at probability x: d/dx (x^2 + x^2) = 4 x."""

    def fun(key, x):
        b = jax.random.bernoulli(key, x)
        return b * x + x**2, bernoulli_log_prob(b, 1, x)

    found = jax.jit(score_function_grad(fun, 50_000))(key, 0.4)
    assert abs(found.grad - 1.6) < K_SIGMA * found.std_error
    assert found.std_error < 0.05 * 1.6


def spiral(rate):
    """A long recursion that is neither contracting nor exploding, with an output."""

    def step(carry, t):
        x, key = carry
        x = jnp.sin(rate * x) + 0.01 * t
        return (x, jax.random.fold_in(key, t)), x**2

    return step


def test_segments_change_no_gradient(x64):
    def total(rate, unrolled):
        carry = jnp.array(0.3), jax.random.key(0)
        if unrolled:
            _, outputs = unroll(spiral(rate), carry, 60, segment=10)
        else:
            _, outputs = jax.lax.scan(spiral(rate), carry, jnp.arange(60))
        return jnp.sum(outputs)

    one, other = (jax.value_and_grad(total)(1.3, unrolled) for unrolled in (True, False))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_truncated_gradients_are_sums_over_segments(x64):
    def total(rate):
        carry = jnp.array(0.3), jax.random.key(0)
        return jnp.sum(unroll(spiral(rate), carry, 6, segment=2, truncate=True)[1])

    expected, x = 0.0, 0.3
    for start in (0, 2, 4):

        def segment(rate, x=x, start=start):
            first = jnp.sin(rate * x) + 0.01 * start
            second = jnp.sin(rate * first) + 0.01 * (start + 1)
            return first**2 + second**2, second

        (_, x), slope = (
            jax.value_and_grad(segment, has_aux=True)(1.3)[0],
            jax.grad(lambda rate, segment=segment: segment(rate)[0])(1.3),
        )
        expected += slope
    np.testing.assert_allclose(jax.grad(total)(1.3), expected, rtol=1e-12)


def test_segments_take_less_memory():
    """At 400 steps of 1000 numbers: the whole run against 20 carries and 20 steps."""

    def total(rate, segment):
        def step(x, t):
            return jnp.sin(rate * x), None

        return jnp.sum(unroll(step, jnp.ones(1000), 400, segment=segment)[0])

    def memory(segment):
        compiled = jax.jit(jax.grad(total), static_argnums=1).lower(1.3, segment).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(20) < memory(400) / 5


def test_bad_input_is_refused(key):
    scalar = lambda key, x: (x, x)
    with pytest.raises(ValueError, match="num_samples must be an integer >= 2, got 1"):
        score_function_grad(scalar, 1)
    with pytest.raises(ValueError, match="baseline must be one of"):
        score_function_grad(scalar, 2, baseline="mean")
    with pytest.raises(ValueError, match="two scalars"):
        score_function_grad(lambda key, x: x, 2)(key, 1.0)
    with pytest.raises(TypeError, match=r"parameters\['n'\] has dtype int32"):
        score_function_grad(scalar, 2)(key, {"n": 3})
    with pytest.raises(ValueError, match="sigma"):
        evolution_strategies_grad(cubic, -1.0, 2)
    with pytest.raises(ValueError, match="sigma must be > 0"):
        evolution_strategies_grad(cubic, 0.0, 2)
    with pytest.raises(ValueError, match="batch_size must be an integer"):
        evolution_strategies_grad(cubic, 1.0, 2, batch_size=0)
    with pytest.raises(ValueError, match=r"must return a scalar, got shape \(2,\)"):
        evolution_strategies_grad(lambda key, x: x, 1.0, 2)(key, jnp.ones(2))
    for segment in (0, 7, 2.0):
        with pytest.raises(ValueError, match="divides num_steps"):
            unroll(lambda c, t: (c, c), 0.0, 10, segment=segment)
    with pytest.raises(TypeError, match="random key"):
        score_function_grad(scalar, 2)(0, 1.0)


def test_estimates_are_reproduced(key):
    estimate = evolution_strategies_grad(cubic, SIGMA, 4)
    assert same_bits(estimate(key, POINT), estimate(jax.random.clone(key), POINT))
    assert spt.estimators.Estimate._fields == ("value", "grad", "std_error")
