"""The distribution behind estimates with errors: closed forms, and how often intervals hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sptrack.inference.population import _chi_squared, _student, normal_population, restricted


def test_equal_errors_are_subtracted(x64):
    values = np.random.default_rng(0).normal(size=(9, 2)) * [1.0, 3.0]
    mean, square = restricted(jnp.asarray(values), jnp.full((9, 2), 0.2))
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(square, values.var(axis=0, ddof=1) - 0.2)


def test_less_spread_than_errors_is_no_spread_unless_adjusted(x64):
    values, variances = jnp.asarray([0.0, 0.1, -0.1, 0.05]), jnp.full(4, 1.0)
    assert restricted(values, variances)[1] == 0
    _, square = restricted(values, variances, adjusted=True)
    # With equal variances the score is ((n-1) s^2 - (n-1) (v+t)) / (2 (v+t)^2) + 1/t = 0.
    s, t = float(jnp.var(values, ddof=1)), float(square)
    assert 3 * (s - 1 - t) / (2 * (1 + t) ** 2) + 1 / t == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_intervals_hold_as_often_as_they_say(spread):
    """20 cells with errors between 0.3 and 0.6, 1000 times: 95 % within 3.5 binomial errors.

    The quantile of chi-squared (Wilson and Hilferty) is right to a thousandth, and the mean's
    Student's to a hundredth when errors dominate: 1 % is added.
    """
    random, times = np.random.default_rng(3), 1000
    inside = np.zeros(2)
    for _ in range(times):
        errors = random.uniform(0.3, 0.6, 20)
        values = random.normal(2.0, np.hypot(spread, errors))
        for index, (found, truth) in enumerate(
            zip(normal_population(values, errors**2), (2.0, spread), strict=True)
        ):
            inside[index] += found.low <= truth <= found.high
    assert np.all(abs(inside / times - 0.95) < 0.01 + 3.5 * np.sqrt(0.95 * 0.05 / times))


def test_a_single_cell_has_no_spread():
    mean, std = normal_population(np.array([2.0]), np.array([0.25]))
    assert (mean.value, mean.std_error, std.value) == (2.0, 0.5, 0.0)


def test_quantiles():
    """Tables of Student's t and chi-squared with 9 degrees of freedom."""
    assert _student(9) == pytest.approx(2.262, abs=1e-3)
    assert _chi_squared(9, 1.959964) == pytest.approx(19.02, abs=0.02)
    assert _chi_squared(9, -1.959964) == pytest.approx(2.70, abs=0.03)


def test_two_cells_have_wide_intervals():
    """By hand: the mean of 0 and 1 with errors of 0.1 is 0.5 ± t(1) / 2; t(1) = 12.706."""
    mean, std = normal_population(np.array([0.0, 1.0]), np.full(2, 0.01))
    np.testing.assert_allclose([mean.value, mean.high], [0.5, 0.5 + 12.706 / 2], rtol=1e-4)
    # (x - mean)^2 summed is 1/2, so 1/2 / (std^2 + 0.01) is 5.024 and 0.000982 at the ends
    ends = np.sqrt(0.5 / np.array([5.02389, 0.000982069]) - 0.01)
    np.testing.assert_allclose([std.low, std.high], ends, rtol=1e-4)


def test_it_maps_over_many_populations(x64):
    values = jax.random.normal(jax.random.key(0), (5, 8))
    many = jax.vmap(restricted)(values, jnp.full((5, 8), 0.1))
    for index in range(5):
        one = restricted(values[index], jnp.full(8, 0.1))
        np.testing.assert_allclose([many[0][index], many[1][index]], one, rtol=1e-9)
