"""The filter against the joint normal law of all reads, quadrature, and simulated pulses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.devices import AffineDevice
from sptrack.inference.arrow import summarise
from sptrack.inference.filter import _clipped, innovations, pulsed
from sptrack.pulses.apply import one_pulse
from tests.support import assert_mean

PULSES, CELLS = 12, 3


def cells(scale, low=-jnp.inf, high=jnp.inf):
    """Three affine cells with additive noise; `scale` is one number per cell."""
    one = jnp.ones(CELLS)
    return AffineDevice(
        dw_min=jnp.asarray(0.05), up=scale, up_slope=0.9 * scale, down=0.8 * one,
        down_slope=1.2 * one, low=low * one, high=high * one, noise_up=0.4 * scale,
        noise_down=0.3 * one,
    )  # fmt: skip


def data():
    """Directions (a cell rests in the middle) and reads, some of them missing, one at the start."""
    random = np.random.default_rng(1)
    directions = random.choice([-1, 1], (PULSES, CELLS))
    directions[5, 2] = 0
    weights = 0.1 * random.normal(size=(PULSES + 1, CELLS))
    weights[[3, 4, 9], [0, 0, 1]] = np.nan
    weights[:2, 2] = np.nan
    return directions, weights


def joint_log_likelihood(scale, directions, weights, read_std):
    """One cell: mean and covariance matrix of all hidden weights from the first read on."""
    first = np.flatnonzero(np.isfinite(weights))[0]
    mean, covariance = [weights[first]], np.array([[read_std**2]])
    for direction in directions[first:]:
        slope, step, noise = {
            1: (0.9 * 0.05 * scale, 0.05 * scale, 0.4 * 0.05 * scale),
            -1: (1.2 * 0.05, -0.8 * 0.05, 0.3 * 0.05),
            0: (0.0, 0.0, 0.0),
        }[direction]
        keep = 1 - slope
        mean.append(keep * mean[-1] + step)
        column = keep * covariance[:, -1]
        corner = keep**2 * covariance[-1, -1] + noise**2
        covariance = np.block([[covariance, column[:, None]], [column[None], corner]])
    later = np.flatnonzero(np.isfinite(weights[first + 1 :])) + 1
    shown = weights[first:][later] - np.array(mean)[later]
    law = covariance[np.ix_(later, later)] + read_std**2 * np.eye(len(later))
    _, determinant = np.linalg.slogdet(2 * np.pi * law)
    return -(determinant + shown @ np.linalg.solve(law, shown)) / 2


def test_the_likelihood_is_that_of_the_joint_normal_law(x64):
    directions, weights = data()
    scale = np.array([1.0, 1.4, 0.7])
    found = innovations(cells(jnp.asarray(scale)), directions, weights, 0.03).log_likelihood()
    expected = [
        joint_log_likelihood(s, d, w, 0.03)
        for s, d, w in zip(scale, directions.T, weights.T, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_gradient_is_that_of_the_joint_normal_law(x64):
    """By central differences of the other code, per cell, with respect to scale and read noise."""
    directions, weights = data()
    point = np.stack([[1.0, 1.4, 0.7], np.full(CELLS, 0.03)], axis=1)
    found = summarise(
        lambda at: innovations(cells(at[:, 0]), directions, weights, at[:, 1]), jnp.asarray(point)
    )
    for cell, (scale, read_std) in enumerate(point):
        value = lambda s, r, c=cell: joint_log_likelihood(s, directions[:, c], weights[:, c], r)
        h = 1e-6
        expected = [
            (value(scale + h, read_std) - value(scale - h, read_std)) / (2 * h),
            (value(scale, read_std + h) - value(scale, read_std - h)) / (2 * h),
        ]
        np.testing.assert_allclose(found.gradient[cell], expected, rtol=1e-5, atol=1e-5)


def test_the_information_is_the_mean_square_of_the_score(x64):
    """Over simulated traces of one cell, far from the bounds: E[g g'] = information."""
    many, directions = 4000, np.where(np.arange(30) % 10 < 5, 1, -1)
    spec = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
    spec = spt.SoftBounds(dw_min=0.05, mult_noise=False, w_max=2.0, w_min=-2.0, **spec)
    device = spt.sample_device(jax.random.key(0), spec, (many,))
    traces = spt.simulate_traces(
        jax.random.key(1), device, jnp.zeros(many), directions, read_noise_std=0.02
    )

    def filter_(point):
        one = jnp.exp(point[:, 0])
        cell = AffineDevice(
            dw_min=jnp.asarray(0.05), up=one, up_slope=one / 2, down=one, down_slope=one / 2,
            low=-2 * one / one, high=2 * one / one, noise_up=0.3 * one, noise_down=0.3 * one,
        )  # fmt: skip
        return innovations(
            cell, jnp.asarray(traces.directions), traces.weights, jnp.exp(point[:, 1])
        )

    point = jnp.broadcast_to(jnp.log(jnp.array([1.0, 0.02])), (many, 2))
    found = summarise(filter_, point)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        products = found.gradient[:, i] * found.gradient[:, j] - found.information[:, i, j]
        assert_mean(products, 0.0)


@pytest.mark.parametrize("low, high", [(-0.5, 0.4), (-5.0, 0.1), (0.2, 9.0), (0.9, 1.0)])
def test_mean_and_variance_of_a_clipped_normal_variable(x64, low, high):
    x = np.linspace(-8, 8, 400_001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) * (x[1] - x[0])
    shown = np.clip(0.1 + 0.3 * x, low, high)
    mean = np.sum(density * shown)
    found = _clipped(jnp.asarray(0.1), jnp.asarray(0.09), jnp.asarray(low), jnp.asarray(high))
    np.testing.assert_allclose(found[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found[1], np.sum(density * (shown - mean) ** 2), rtol=1e-5)


@pytest.mark.parametrize("rises", [True, False])
def test_a_pulse_moves_mean_and_variance_as_simulated_ones_do(rises):
    """Multiplicative noise, from a normal law of hidden weights: both moments exact."""
    many = 100_000
    spec = spt.SoftBounds(
        dw_min=0.2, dw_min_std=0.8, dw_min_dtod=0.0, up_down=0.3, up_down_dtod=0.0,
        w_max=3.0, w_min=-2.0, w_max_dtod=0.0, w_min_dtod=0.0,
    )  # fmt: skip
    device = spt.sample_device(jax.random.key(0), spec, (many,))
    w = 0.3 + 0.1 * jax.random.normal(jax.random.key(1), (many,))
    after = one_pulse(jax.random.key(2), device, w, jnp.asarray(rises))
    one = jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, device)
    direction = jnp.where(rises, 1, -1)
    mean, variance = pulsed(one, jnp.full(1, 0.3), jnp.full(1, 0.01), direction)
    assert_mean(after, float(mean[0]))
    assert_mean((np.asarray(after, float) - float(mean[0])) ** 2, float(variance[0]))
