"""Responses, their symmetric and asymmetric parts, symmetric points and bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sptrack as spt
from tests.support import NOISY_SPECS, QUIET, WithoutClosedForm, assert_mean, assert_std

CELLS = 500


def linear_cells(rng):
    """Linear cells of random slopes and bounds: the device, and alpha_up, alpha_down, tau_s."""
    parameters = rng.uniform(0.1, 2.0, (4, CELLS))
    names = ("alpha_up", "alpha_down", "tau_max", "tau_min")

    def draw(*values):
        spec = spt.LinearResponse(**dict(zip(names, values, strict=True)))
        return spt.sample_device(jax.random.key(0), spec, ())

    return jax.vmap(draw)(*map(jnp.asarray, parameters)), parameters


def c_linear_cells(key):
    spec = spt.LinearResponse(asymmetry_mean=0.1, asymmetry_std=0.3, tau_max=0.7, tau_min=0.7)
    return spt.sample_device(key, spec, (CELLS,))


DEVICES = {
    "linear": lambda key: linear_cells(np.random.default_rng(0))[0],
    "c_lin": c_linear_cells,
    "soft_bounds": lambda key: spt.sample_device(
        key, spt.SoftBounds(up_down=0.3, up_down_dtod=0.1), (CELLS,)
    ),
    "soft_bounds_reference": lambda key: spt.sample_device(
        key, spt.SoftBoundsReference(up_down=-0.2, reference_mean=0.3, reference_std=0.4), (CELLS,)
    ),
}


@pytest.mark.parametrize("name", DEVICES)
def test_acceptance_01_parts_and_symmetric_points(key, x64, name):
    """Section 9, number 1: Q+- = F -+ G everywhere and q+ = q- at the SP, to 1e-12 in float64."""
    device = DEVICES[name](key)
    low, high = spt.bounds(device)
    for share in (0.0, 0.3, 0.9):
        w = low + share * (high - low)
        q_up, q_down = spt.response(device, w)
        f, g = spt.symmetric_part(device, w), spt.asymmetric_part(device, w)
        np.testing.assert_allclose(q_up, f - g, rtol=0, atol=1e-12)
        np.testing.assert_allclose(q_down, f + g, rtol=0, atol=1e-12)
        assert np.abs(g).max() > 0.1  # or else the above says nothing
    q_up, q_down = spt.response(device, spt.symmetric_point(device))
    np.testing.assert_allclose(q_up, q_down, rtol=0, atol=1e-12)


def test_acceptance_02_the_printed_symmetric_point_has_a_wrong_sign(x64):
    """Section 9, number 2: eq. (104) as printed does not solve (103), corrected it does."""
    device, (up, down, tau_max, tau_min) = linear_cells(np.random.default_rng(1))
    corrected = (up - down) / (up / tau_max + down / tau_min)
    printed = (up - down) / (up / tau_max - down / tau_min)
    np.testing.assert_allclose(spt.symmetric_point(device), corrected, rtol=1e-13)

    def gap(w):  # q+ - q- of eq. (103)
        return up * (1 - w / tau_max) - down * (1 + w / tau_min)

    assert np.abs(gap(corrected)).max() < 1e-12
    # By algebra the printed one leaves 2 down/tau_min (up - down) / (down/tau_min - up/tau_max).
    left = 2 * down / tau_min * (up - down) / (down / tau_min - up / tau_max)
    np.testing.assert_allclose(gap(printed), left, rtol=1e-9)
    assert np.all(np.abs(left) > 1e-6)


def test_acceptance_16_reference_statistics(key):
    """Section 9, number 16: with the SP subtracted, SPs have mean -mu and std sigma (MC error)."""
    spec = spt.presets.reram_array_hfo2(reference_mean=0.4, reference_std=0.3)
    device = spt.sample_device(key, spec, (40_000,))
    assert_mean(spt.symmetric_point(device), -0.4)
    assert_std(spt.symmetric_point(device), 0.3)
    low, high = (np.asarray(bound) for bound in spt.bounds(device))
    # Nothing is clipped: cells whose SP lies outside [-1, 1] keep their range around it.
    point = np.asarray(spt.symmetric_point(device))
    assert np.any(point < -1) and np.all((low <= point) & (point <= high))


def test_a_reference_without_subtraction_shifts_all_by_the_same(key, x64):
    plain = spt.sample_device(key, spt.SoftBoundsReference(up_down=0.3), (CELLS,))
    shifted = spt.sample_device(
        key, spt.SoftBoundsReference(up_down=0.3, reference_mean=0.4), (CELLS,)
    )
    w = jnp.linspace(-0.1, 0.1, CELLS)
    pairs = [
        (spt.symmetric_point(shifted), spt.symmetric_point(plain) - 0.4),
        *zip(spt.bounds(shifted), [bound - 0.4 for bound in spt.bounds(plain)], strict=True),
        *zip(spt.response(shifted, w - 0.4), spt.response(plain, w), strict=True),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_published_special_cases_of_the_linear_family():
    """ALD: F = 1, G = (w - w*)/tau. c_Lin: F = 1 - c w/tau, G = w/tau - c, w* = c tau."""
    w, tau, c = jnp.linspace(-0.3, 0.3, 7), 0.8, 0.25
    ald = spt.LinearResponse(center_mean=0.1, tau_max=tau, tau_min=tau)
    c_lin = spt.LinearResponse(asymmetry_mean=c, tau_max=tau, tau_min=tau)
    for spec, f, g, point in (
        (ald, jnp.ones(7), (w - 0.1) / tau, 0.1),
        (c_lin, 1 - c * w / tau, w / tau - c, c * tau),
    ):
        device = spt.sample_device(jax.random.key(0), spec, (7,))
        # Rounding of float32: a few times 6e-8.
        np.testing.assert_allclose(spt.symmetric_part(device, w), f, atol=4e-7)
        np.testing.assert_allclose(spt.asymmetric_part(device, w), g, atol=4e-7)
        np.testing.assert_allclose(spt.symmetric_point(device), point, atol=4e-7)


def test_exponential_parts_are_hyperbolic():
    """F = (e^g cosh(g w/tau) - 1) / (e^g - 1), G = e^g sinh(g w/tau) / (e^g - 1): Wu25, 148-149."""
    gamma, tau, w = 1.7, 0.6, np.linspace(-0.5, 0.5, 9)
    spec = spt.ExponentialResponse(gamma_res=gamma, tau=tau)
    device = spt.sample_device(jax.random.key(0), spec, (9,))
    f = (np.exp(gamma) * np.cosh(gamma * w / tau) - 1) / (np.exp(gamma) - 1)
    g = np.exp(gamma) * np.sinh(gamma * w / tau) / (np.exp(gamma) - 1)
    np.testing.assert_allclose(spt.symmetric_part(device, jnp.asarray(w)), f, rtol=2e-6)
    np.testing.assert_allclose(spt.asymmetric_part(device, jnp.asarray(w)), g, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(NOISY_SPECS) - {"constant"}))
def test_bisection_agrees_with_the_closed_form(key, x64, name):
    device = spt.sample_device(key, NOISY_SPECS[name], (CELLS,))
    exact = spt.symmetric_point(device)
    moving = sum(spt.response(device, exact)) > 0  # a stuck cell has no sign change to find
    assert moving.sum() > 0.8 * CELLS and np.all(np.isfinite(exact))
    found = spt.symmetric_point(WithoutClosedForm(device))
    # The bracket ends at the spacing of float64; steep or flat G multiply its rounding.
    np.testing.assert_allclose(found[moving], exact[moving], rtol=0, atol=1e-8)


class Flat(WithoutClosedForm):
    """G = 0 everywhere."""

    def response(self, w):
        return jnp.ones_like(w), jnp.ones_like(w)


def test_bisection_returns_the_point_nearest_zero_where_all_are_symmetric(key):
    device = Flat(spt.sample_device(key, spt.PowerResponse(center_mean=0.3), (3,)))
    np.testing.assert_allclose(spt.symmetric_point(device), 0.0, atol=1e-6)


def test_cells_without_a_symmetric_point_say_nan(key):
    tilted = spt.ConstantStep(**(QUIET | {"up_down": 0.1}))
    equal = spt.ConstantStep(**(QUIET | {"w_min": -0.5}))
    assert np.all(np.isnan(spt.symmetric_point(spt.sample_device(key, tilted, (3,)))))
    assert np.all(spt.symmetric_point(spt.sample_device(key, equal, (3,))) == 0)
    device = WithoutClosedForm(spt.sample_device(key, tilted, (3,)))
    assert np.all(np.isnan(spt.symmetric_point(device)))
    assert spt.symmetric_point(spt.sample_device(key, spt.IdealStep(), (3,))).tolist() == [0, 0, 0]


def test_a_stuck_cell_is_symmetric_where_it_is(key):
    spec = spt.SoftBounds(corrupt_devices_prob=1.0)
    device = spt.sample_device(key, spec, (100,))
    np.testing.assert_array_equal(spt.symmetric_point(device), spt.bounds(device)[0])


def test_one_sided_cells_are_symmetric_at_their_bound(key):
    """c = 1: no down step, so the up step alone vanishes, at the upper bound."""
    spec = spt.LinearResponse(asymmetry_mean=1.0, center_std=0.3, tau_max=0.3, tau_min=0.7)
    device = spt.sample_device(key, spec, (CELLS,))
    # The quotient that gives w* carries the rounding of three float32 operations.
    np.testing.assert_allclose(
        spt.symmetric_point(device), spt.bounds(device)[1], rtol=1e-5, atol=1e-6
    )


def test_ideal_array_has_unit_response_and_no_bounds(key):
    device = spt.sample_device(key, spt.IdealStep(), (2,))
    w = jnp.array([-5.0, 3.0])
    np.testing.assert_array_equal(spt.symmetric_part(device, w), 1)
    np.testing.assert_array_equal(spt.asymmetric_part(device, w), 0)
    assert np.all(np.isinf(spt.bounds(device)))


@pytest.mark.parametrize("name", NOISY_SPECS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), share=st.floats(0, 1))
def test_responses_are_never_negative_within_the_bounds(name, seed, share):
    device = spt.sample_device(jax.random.key(seed), NOISY_SPECS[name], (50,))
    low, high = spt.bounds(device)
    w = jnp.clip(low + share * (high - low), low, high)
    for q in spt.response(device, w):
        assert np.all(q >= 0) and np.all(np.isfinite(q))
