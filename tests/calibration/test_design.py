"""Designed pulses: what reads tell against least squares in NumPy, and what a design is worth."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.calibration import design

CELL = np.array([0.6, -0.2, 0.1, 0.3])  # g, k, log f, l
UNIT, READ = 0.02, 0.05
W = jnp.full(64, -0.5)


@pytest.fixture(scope="module")
def like():
    return spt.sample_device(jax.random.key(0), spt.presets.ecram(), (64,))


def trace(x, directions):
    """Mean weights and how much of a difference each pulse leaves, by the equation."""
    w, kept, (g, k, log_step, fall) = [0.0], [], x
    for d in directions:
        slope = -2 * np.exp(k) - d * np.exp(log_step) * fall
        w.append(w[-1] + UNIT * (g + d * np.exp(log_step) + slope * w[-1]))
        kept.append(1 + UNIT * slope)
    return np.array(w), np.array(kept)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_information_is_that_of_generalised_least_squares(x64, noise):
    """Reads are the mean trace from an unknown start, with noise of reads and of all pulses before.

    With J = dw/dx by differences, h what is left of a shift of the start and R the covariance of
    the reads, I = J' R^-1 J less what the start takes, J' R^-1 h (h' R^-1 h)^-1 h' R^-1 J.
    """
    directions = np.random.default_rng(0).choice([-1.0, 1.0, 0.3], 12)
    step = 1e-5
    j = np.stack([
        (trace(CELL + e, directions)[0] - trace(CELL - e, directions)[0]) / (2 * step)
        for e in step * np.eye(4)
    ], axis=1)  # fmt: skip
    kept = trace(CELL, directions)[1]
    h = np.concatenate([[1.0], np.cumprod(kept)])
    hidden = np.zeros((13, 12))
    for i in range(12):
        hidden[i + 1] = hidden[i] * kept[i]
        hidden[i + 1, i] = noise
    r = hidden @ hidden.T + READ**2 * np.eye(13)
    a, b, c = (np.linalg.solve(r, v) for v in (j, h, j))
    expected = j.T @ a - np.outer(j.T @ b, h @ c) / (h @ b)
    found = design._information(jnp.asarray(CELL), jnp.asarray(directions), UNIT, READ, noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_coordinates_are_those_of_soft_bounds(x64):
    """up - down and up + down are linear in the weight; the range is 2."""
    spec = spt.SoftBounds(dw_min=0.01, dw_min_std=0.4, up_down=0.2, w_max=1.2, w_min=-0.8)
    device = spt.sample_device(jax.random.key(1), spec, (5,))
    w = jnp.linspace(-0.4, 0.3, 5)
    (g, k, log_step, fall), noise = (
        np.asarray(part).T for part in design._coordinates(device, w, 2.0)
    )
    for shift in (0.0, 0.2):
        up, down = (np.asarray(step) for step in device.response(w + shift))
        drift = g - 2 * np.exp(k) * shift / 2
        step = np.exp(log_step) * (1 - fall * shift / 2)
        np.testing.assert_allclose((drift + step, step - drift), (up, down), rtol=1e-5)
    quiet, off = design._coordinates(
        spt.sample_device(jax.random.key(1), dataclasses.replace(spec, dw_min_std=0.0), (5,)),
        w,
        2.0,
    )
    assert noise > 0 and off == 0 and quiet.shape == (5, 4)


def test_pulses_follow_the_relaxed_directions():
    relaxed = np.random.default_rng(2).uniform(-1, 1, 200)
    found = design._followed(relaxed)
    assert set(found) == {-1, 1}
    assert np.max(np.abs(np.cumsum(found - relaxed))) <= 1


def test_a_design_expects_less_than_both_others(like):
    found = spt.design_pulses(like, W, 100, read_noise_std=0.06)
    assert found.expected_error < 0.9 * min(found.alternating_error, found.burst_error)
    again = spt.design_pulses(like, W, 100, read_noise_std=0.06)
    np.testing.assert_array_equal(found.directions, again.directions)
    assert found.directions.shape == (100,) and set(found.directions) == {-1, 1}
    louder = spt.design_pulses(like, W, 100, read_noise_std=0.12, steps=1)
    assert louder.alternating_error > found.alternating_error


def test_a_fit_takes_directions(like):
    """Those that it would have taken anyway give the same bits."""
    key = jax.random.key(3)
    plain = spt.fit_symmetric_point(key, like, W, 12, burst=3)
    signs = np.array([1, 1, 1, -1, -1, -1, 1, -1, 1, -1, 1, -1])
    given = spt.fit_symmetric_point(key, like, W, 12, directions=signs)
    assert np.asarray(plain.estimate).tobytes() == np.asarray(given.estimate).tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": np.ones(11)}, r"num_pulses=12 .*got shape \(11,\)"),
        ({"directions": np.zeros(12)}, r"must be 1 or -1 .*\[0\.\]"),
        ({"directions": np.ones(12), "burst": 2}, "burst=2"),
        ({"directions": np.ones(12), "first": "down"}, "first='down'"),
    ],
)
def test_directions_that_are_none_are_refused(like, options, message):
    with pytest.raises(ValueError, match=message):
        spt.fit_symmetric_point(jax.random.key(0), like, W, 12, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: spt.design_pulses(d, W, 6), ValueError, ">= 8"),
        (lambda d: spt.design_pulses(d, W, 20, steps=0), ValueError, "steps must be >= 1, got 0"),
        (lambda d: spt.design_pulses(d, W, 20, read_noise_std=-1.0), ValueError, "read_noise_std"),
        (lambda d: spt.design_pulses(d, W, 20, learning_rate=0.0), ValueError, "learning_rate"),
        (
            lambda d: spt.design_pulses(
                jax.tree.map(lambda x: x[:1] if jnp.ndim(x) else x, d), W[:1], 20
            ),
            ValueError,
            "at least 2 cells",
        ),
        (lambda d: spt.design_pulses(d, jnp.arange(64), 20), TypeError, "floating"),
        (lambda d: jax.jit(lambda w: spt.design_pulses(d, w, 20).directions)(W), TypeError, "jit"),
    ],
)
def test_nonsense_is_refused(like, call, error, message):
    with pytest.raises(error, match=message):
        call(like)
