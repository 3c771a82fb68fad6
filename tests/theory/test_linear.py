"""Exact results for affine cells, by the enumeration of all pulse sequences and by limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt
from sptrack import theory
from tests import oracle
from tests.support import NOISY_SPECS

UP, DOWN = 1.0, 0.6  # a = 0.8, f1 = -0.2, w* = 0.25, F* = 0.75


def linear(dw_min=0.01, **options):
    spec = spt.LinearResponse(**({"dw_min": dw_min, "alpha_up": UP, "alpha_down": DOWN} | options))
    return spt.sample_device(jax.random.key(0), spec, ())


def soft_bounds(noise=0.0):
    spec = spt.SoftBounds(
        dw_min=0.05, dw_min_dtod=0.0, up_down=0.3, up_down_dtod=0.0, w_max=0.9, w_min=-0.7,
        w_max_dtod=0.0, w_min_dtod=0.0, dw_min_std=noise, mult_noise=False,
    )  # fmt: skip
    cells = oracle.SoftBoundsCells(0.05, 0.05 * 0.7, 0.9, -0.7, sigma=noise, mult=False)
    return spt.sample_device(jax.random.key(0), spec, ()), cells


def enumerated(cells, w, num_pulses, noisy):
    """Mean weight and mean square over all sequences of signs, and of noise that is +-1.

    The moments see nothing of the noise but mean 0 and variance 1, and +-1 has these.
    """
    branches = [(up, xi) for up in (True, False) for xi in ((-1.0, 1.0) if noisy else (0.0,))]
    ends = []
    for sequence in itertools.product(branches, repeat=num_pulses):
        state = np.array(w)
        for up, xi in sequence:
            state = cells.step(state, up, xi)
        ends.append(state)
    return np.mean(ends), np.array(ends)


@pytest.mark.parametrize("kind", ["linear", "linear, noisy", "soft bounds, noisy"])
def test_stochastic_moments_equal_the_enumeration_of_all_sequences(x64, kind):
    """Five pulses in float64, 1e-13; steps of 5 to 20 % so that no term is small."""
    noise = 0.4 if "noisy" in kind else 0.0
    if "linear" in kind:
        device = linear(0.1, dw_min_std=noise)
        cells = oracle.LinearCells(0.1, UP, DOWN, 1.0, 1.0, sigma=noise)
    else:
        device, cells = soft_bounds(noise)
    point = float(spt.symmetric_point(device))
    for n in (0, 1, 2, 5):
        mean, ends = enumerated(cells, -0.2, n, noise > 0)
        found = theory.stochastic_moments(device, jnp.asarray(-0.2), n)
        assert float(found.mean) == pytest.approx(mean - point, abs=1e-13)
        assert float(found.second) == pytest.approx(np.mean((ends - point) ** 2), abs=1e-13)


def test_moments_where_both_decay_alike(x64):
    """dw (a^2 + f1^2) = a: the sum over mixed powers degenerates to n (1 - a dw)^(n - 1)."""
    steep = linear(0.5, alpha_up=2.0, alpha_down=0.0625, tau_max=1.0, tau_min=0.0625)
    cells = theory.linear_cells(steep)
    limit = float(cells.a / (cells.a**2 + cells.f1**2))
    found = [
        theory.stochastic_moments(
            linear(dw, alpha_up=2.0, alpha_down=0.0625, tau_max=1.0, tau_min=0.0625),
            jnp.asarray(0.3), 3,
        ).second
        for dw in (limit, limit * (1 - 1e-4))
    ]  # fmt: skip
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_stationary_variance_is_the_moments_limit(x64, noise):
    device = linear(0.02, dw_min_std=noise)
    limit = theory.stochastic_moments(device, jnp.asarray(-0.5), 10**6)
    assert float(limit.second) == pytest.approx(float(theory.stationary_variance(device)), 1e-12)
    assert float(limit.mean) == 0.0
    if noise == 0:
        expected = 0.02 * 0.75**2 / (1.6 - 0.02 * (0.8**2 + 0.2**2))
        assert float(limit.second) == pytest.approx(expected, rel=1e-12)


def test_two_cycle_is_a_fixed_point_of_a_pair_and_close_to_first_order(x64):
    """An up pulse leads from one end to the other; 4.0's endpoints are right to O(dw^2)."""
    gaps = []
    for dw in (2e-2, 1e-2):
        device = linear(dw)
        ends = theory.two_cycle(device)
        up, _ = device.cyclic_law(ends.after_down, 1, True)
        down, _ = device.cyclic_law(ends.after_up, 1, False)
        np.testing.assert_allclose([up, down], [ends.after_up, ends.after_down], rtol=0, atol=1e-15)
        first_order = np.array([0.25 + dw * 0.75 * UP / 1.6, 0.25 - dw * 0.75 * DOWN / 1.6])
        gaps.append(np.abs(np.array(ends) - first_order).max())
        pair = device.cyclic_law(jnp.asarray(0.1), 2, True)[0] - ends.after_down
        contraction = pair / (0.1 - ends.after_down)
        assert float(contraction) == pytest.approx(float(theory.pair_contraction(device)), 1e-12)
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.05)


def test_pulses_to_accuracy_solves_the_mean(x64):
    device = linear(0.003)
    for start, error in ((-0.5, 0.0025), (0.9, 1e-6)):
        n = theory.pulses_to_accuracy(device, jnp.asarray(start), error)
        mean = theory.stochastic_moments(device, jnp.asarray(start), n).mean
        assert abs(float(mean)) == pytest.approx(error, rel=1e-9)
    assert float(theory.pulses_to_accuracy(device, jnp.asarray(0.25), 0.1)) == 0.0


def test_single_precision_at_millions_of_pulses():
    """Fig. 1b's last pulse size; in float32 (1 - 1e-6)^n without care would be off by 6 %."""
    with jax.enable_x64(True):
        exact = theory.stochastic_moments(linear(1.6e-6), jnp.asarray(-0.5), 4_000_000)
    found = theory.stochastic_moments(linear(1.6e-6), jnp.asarray(-0.5), 4_000_000)
    assert found.mean.dtype == jnp.float32
    np.testing.assert_allclose(found, np.array(exact), rtol=1e-4)


def test_gradients_are_those_of_finite_differences(x64):
    @jax.jit
    def results(asymmetry, start, dw_min):
        spec = spt.LinearResponse(dw_min=dw_min, asymmetry_mean=asymmetry, tau_max=0.8)
        device = spt.sample_device(jax.random.key(0), spec, ())
        return jnp.stack(
            [
                *theory.stochastic_moments(device, start, 30),
                *theory.two_cycle(device),
                theory.stationary_variance(device),
                theory.pulses_to_accuracy(device, start, 0.01),
            ]
        )

    check_grads(results, (0.2, -0.3, 0.05), order=1, modes=["fwd", "rev"])


def test_cells_without_a_symmetric_point_or_slope_give_nan():
    device = spt.sample_device(jax.random.key(1), spt.ConstantStep(up_down=0.5), (3,))
    assert np.all(np.isnan(theory.stochastic_moments(device, jnp.zeros(3), 5).mean))
    assert np.all(np.isnan(theory.two_cycle(device)))


def test_steep_cells_give_nan():
    """A pulse that overshoots the bound is clipped there, which no affine map does."""
    assert np.isnan(theory.stochastic_moments(linear(1.4), jnp.asarray(0.0), 3).mean)


def test_other_devices_are_refused():
    device = spt.sample_device(jax.random.key(0), NOISY_SPECS["power"], (2,))
    with pytest.raises(TypeError, match=r"AffineDevice.*CenteredDevice.*stochastic_error_bound"):
        theory.two_cycle(device)
