"""Gradients through rounding and coincidences: exact ones are sums over all outcomes, in NumPy.

Unbiased estimators have to be within 4.5 standard errors of them, with a standard error below 5 %
of the gradient; straight-through ones within what their docstrings say, and outside of those 4.5
standard errors: who calls them unbiased fails.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt
from sptrack.estimators import score_function_grad
from tests.support import K_SIGMA, same_bits

DW_MIN = 0.1
W = np.array([[0.1], [-0.3]])
TARGET = np.array([[0.6], [0.2]])
SLOPE = 0.5  # of the response: q = 1 -+ SLOPE w


class Affine(NamedTuple):
    """Cells without noise and bounds; up to 8 pulses by method "aggregate" are exact."""

    dw_min: float
    slope: float

    def response(self, w):
        return 1 - self.slope * w, 1 + self.slope * w


CELLS = Affine(DW_MIN, SLOPE)


def moved(w, counts):
    """Weights after whole pulses, one at a time."""
    w = np.array(w)
    for i, j in np.ndindex(w.shape):
        for _ in range(abs(counts[i, j])):
            w[i, j] += DW_MIN * (1 - SLOPE * w[i, j] if counts[i, j] > 0 else -1 - SLOPE * w[i, j])
    return w


def loss_of(w):
    return np.sum((w - TARGET) ** 4 + np.sin(3 * w)) + 10 * w[0, 0] * w[1, 0]


def loss(w):
    return jnp.sum((w - TARGET) ** 4 + jnp.sin(3 * w)) + 10 * w[0, 0] * w[1, 0]


def central(function, at, step=1e-5):
    """Derivative of a NumPy function in every entry of `at`."""
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        way = np.zeros_like(at)
        way[index] = step
        found[index] = (function(at + way) - function(at - way)) / (2 * step)
    return found


def assert_unbiased(found, exact):
    """Every entry, where the standard error is small enough for that to say something."""
    grad, error = np.asarray(found.grad), np.asarray(found.std_error)
    assert np.all(error < 0.05 * np.abs(exact)), (error, exact)
    assert np.all(np.abs(grad - exact) < K_SIGMA * error), (grad, exact, error)


def assert_biased(found, exact):
    grad, error = np.asarray(found.grad), np.asarray(found.std_error)
    assert np.any(np.abs(grad - exact) > K_SIGMA * error), (grad, exact, error)


# Rounding -----------------------------------------------------------------------------------------

DW = np.array([[0.237], [-0.148]])


def expected_loss(dw):
    """E[L] over the roundings of both cells."""
    size = np.abs(dw) / DW_MIN
    whole, part = np.floor(size), size - np.floor(size)
    total = 0.0
    for extra in itertools.product((0, 1), repeat=2):
        b = np.reshape(extra, dw.shape)
        chance = np.prod(np.where(b == 1, part, 1 - part))
        total += chance * loss_of(moved(W, (np.sign(dw) * (whole + b)).astype(int)))
    return total


def scored_rounding(key, dw, *, score=True):
    draw_key, pulse_key = jax.random.split(key)
    draw = spt.pulses.draw_rounding(draw_key, dw, DW_MIN)
    w = spt.apply_pulses(pulse_key, CELLS, jnp.asarray(W), draw.counts, method="aggregate")
    return loss(w), draw.log_prob if score else jnp.zeros(())


def sampled(fun, key, at, number):
    """Mean and standard error of jax.grad over keys."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))
    grads = jax.jit(jax.vmap(jax.grad(fun, argnums=1), (0, None)))(keys, at)
    error = grads.std(0, ddof=1) / np.sqrt(number)
    return spt.estimators.Estimate(None, grads.mean(0), error)


def test_scored_rounding_is_the_rounding(key):
    dw = jax.random.normal(jax.random.fold_in(key, 0), (50,))
    draw = spt.pulses.draw_rounding(key, dw, 0.1)
    assert same_bits(draw.counts, spt.pulses.round_to_pulses(key, dw, jnp.asarray(0.1)))


@pytest.mark.parametrize("baseline", ("leave_one_out", "none"))
def test_score_function_through_rounding(key, x64, baseline):
    estimate = jax.jit(score_function_grad(scored_rounding, 100_000, baseline=baseline))
    found = estimate(key, jnp.asarray(DW))
    exact = central(expected_loss, DW)
    assert_unbiased(found, exact)
    np.testing.assert_allclose(found.value, expected_loss(DW), rtol=0.02)


def test_without_the_score_it_is_wrong(key, x64):
    """The negative control: what is left is zero, with a standard error of zero."""
    without = functools.partial(scored_rounding, score=False)
    found = jax.jit(score_function_grad(without, 100))(key, jnp.asarray(DW))
    with pytest.raises(AssertionError):
        assert_unbiased(found, central(expected_loss, DW))


def test_the_baseline_takes_variance_away(key, x64):
    one, other = (
        score_function_grad(scored_rounding, 2000, baseline=name)(
            jax.random.clone(key), jnp.asarray(DW)
        ).std_error
        for name in ("leave_one_out", "none")
    )
    assert np.all(one < other)


def straight_rounding(key, dw, curve=loss):
    w = spt.analog_update(
        key, CELLS, jnp.asarray(W), dw, method="exact", gradient="straight_through"
    )
    return curve(w)


def test_straight_through_rounding_is_biased_as_documented(key, x64):
    """Exactly by dw_min (f - 1/2) L'' for L = w^2 and steps of one size."""
    flat = Affine(DW_MIN, 0.0)

    def fun(key, dw):
        w = spt.analog_update(
            key, flat, jnp.asarray(W), dw, method="exact", gradient="straight_through"
        )
        return jnp.sum(w**2)

    found = sampled(fun, key, jnp.asarray(DW), 40_000)
    whole = np.floor(np.abs(DW) / DW_MIN)
    part = np.abs(DW) / DW_MIN - whole
    start = W + np.sign(DW) * whole * DW_MIN
    exact = 2 * start + np.sign(DW) * DW_MIN  # (L(one more) - L(start)) / dw_min
    bias = np.sign(DW) * 2 * DW_MIN * (part - 0.5)
    assert np.all(np.abs(found.grad - exact - bias) < K_SIGMA * found.std_error)
    assert_biased(found, exact)


def test_straight_through_has_the_value_drawn_and_the_mean_s_derivative(key, x64):
    dw = jnp.asarray(DW)
    for method in ("exact", "aggregate"):
        straight, plain = (
            spt.analog_update(key, CELLS, jnp.asarray(W), dw, method=method, gradient=name)
            for name in ("straight_through", "pathwise")
        )
        assert same_bits(straight, plain)

    def total(dw, method, gradient):
        return jnp.sum(spt.analog_update(key, CELLS, jnp.asarray(W), dw, method=method,
                                         gradient=gradient))  # fmt: skip

    mean = jax.grad(total)(dw, "mean", "pathwise")
    np.testing.assert_array_equal(jax.grad(total)(dw, "exact", "straight_through"), mean)
    assert not np.any(jax.grad(total)(dw, "aggregate", "pathwise"))


def test_descent_on_straight_through_gradients_lowers_the_loss_of_fresh_keys(key, x64):
    dw = jnp.asarray(DW)
    gradient = jax.jit(jax.grad(lambda dw, key: straight_rounding(key, dw)))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(200))
    fresh = jax.vmap(jax.random.fold_in, (None, 0))(key, 1000 + jnp.arange(2000))
    mean_loss = jax.jit(lambda dw: jax.vmap(straight_rounding, (0, None))(fresh, dw).mean())
    before = mean_loss(dw)
    for k in keys:
        dw = dw - 0.002 * gradient(dw, k)
    assert mean_loss(dw) < before - 0.05


# Coincidences -------------------------------------------------------------------------------------

RATE = 0.1
X, D = np.array([0.9, -0.5]), np.array([-0.7])
TRAINS = {bl: spt.PulseTrain(desired_bl=bl, update_management=False, update_bl_management=False)
          for bl in (1, 2, 3, 4)}  # fmt: skip


def expected_train_loss(x, bl):
    """E[L] over all bits of three lines and BL slots; p = |x| sqrt(rate / (dw_min BL))."""
    root = np.sqrt(RATE / (DW_MIN * bl))
    p = np.minimum(np.concatenate([np.abs(x), np.abs(D)]) * root, 1)
    total = 0.0
    for bits in itertools.product((0, 1), repeat=3 * bl):
        b = np.reshape(bits, (3, bl))
        chance = np.prod(np.where(b == 1, p[:, None], 1 - p[:, None]))
        counts = -np.sign(np.outer(x, D)) * (b[:2] @ b[2:].T)
        total += chance * loss_of(moved(W, counts.astype(int)))
    return total


def scored_coincidences(key, x, train):
    draw_key, pulse_key = jax.random.split(key)
    lines = spt.pulses.plan_lines(train, RATE, DW_MIN, x, jnp.asarray(D))
    draw = spt.pulses.draw_coincidences(draw_key, train, lines)
    w = spt.apply_pulses(pulse_key, CELLS, jnp.asarray(W), draw.counts, method="aggregate")
    return loss(w), draw.log_prob


@pytest.mark.parametrize("bl", [2, 4])
def test_score_function_through_coincidences(key, x64, bl):
    fun = functools.partial(scored_coincidences, train=TRAINS[bl])
    found = jax.jit(score_function_grad(fun, 100_000))(key, jnp.asarray(X))
    assert_unbiased(found, central(functools.partial(expected_train_loss, bl=bl), X))


def test_scored_coincidences_are_the_coincidences(key):
    train = spt.PulseTrain(desired_bl=40)  # two words
    lines = spt.pulses.plan_lines(train, 1.0, 0.1, jnp.array([0.9, -0.2]), jnp.array([0.5, 0.0]))
    draw = spt.pulses.draw_coincidences(key, train, lines)
    assert same_bits(draw.counts, spt.pulses.count_coincidences(key, train, lines))
    assert np.isfinite(draw.log_prob)


def test_straight_through_coincidences_are_biased_within_the_bound(key, x64):
    """Trains of one slot: a cell's count is 0 or 1, as in rounding."""
    bl = 1

    def fun(key, x):
        train = TRAINS[bl]
        w = spt.coincidence_update(
            key, CELLS, jnp.asarray(W), x, jnp.asarray(D), RATE, train=train,
            gradient="straight_through",
        )  # fmt: skip
        return loss(w)

    found = sampled(fun, key, jnp.asarray(X), 20_000)
    exact = central(functools.partial(expected_train_loss, bl=bl), X)
    # |d counts/dx| steps, times half a step and the largest curvature: 12 (w - t)^2 + 9, and 10 for
    # the product, in which the other cell is off by up to a step.
    bound = RATE * np.abs(D) * DW_MIN * ((12 + 9) / 2 + 10)
    assert np.all(np.abs(found.grad - exact) < bound + K_SIGMA * found.std_error)
    assert_biased(found, exact)


def test_coincidences_straight_through_in_forward_and_reverse(key, x64):
    """The derivatives of the mean, in everything that is differentiable."""
    args = jnp.asarray(X), jnp.asarray(D), jnp.asarray(W)

    def total(x, d, w, method, gradient):
        return jnp.sum(spt.coincidence_update(key, CELLS, w, x, d, RATE, train=TRAINS[4],
                                              method=method, gradient=gradient) ** 2)  # fmt: skip

    mean = functools.partial(total, method="mean", gradient="straight_through")
    check_grads(mean, args, order=1, modes=("fwd", "rev"))
    straight = jax.grad(functools.partial(total, method="exact", gradient="straight_through"))
    assert np.all(straight(*args) != 0)


# What is refused ----------------------------------------------------------------------------------


def test_unknown_gradients_and_trains_without_one_are_refused(key):
    w, x, d = jnp.zeros((2, 1)), jnp.ones(2), jnp.ones(1)
    with pytest.raises(ValueError, match="gradient must be one of"):
        spt.analog_update(key, CELLS, w, w, gradient="score")
    with pytest.raises(ValueError, match="gradient must be one of"):
        spt.coincidence_update(key, CELLS, w, x, d, 0.1, gradient="score")
    train = spt.PulseTrain(kind="mean_count")
    with pytest.raises(ValueError, match="no smooth mean"):
        spt.coincidence_update(key, CELLS, w, x, d, 0.1, train=train, gradient="straight_through")
    lines = spt.pulses.plan_lines(train, 0.1, 0.1, x, d)
    with pytest.raises(ValueError, match="kind 'stochastic'"):
        spt.pulses.draw_coincidences(key, train, lines)
    with pytest.raises(ValueError, match="x_res = d_res = 0"):
        spt.pulses.draw_coincidences(key, spt.PulseTrain(x_res=0.1), lines)
    with pytest.raises(TypeError, match=r"must be a spt\.PulseTrain"):
        spt.pulses.draw_coincidences(key, "stochastic", lines)
