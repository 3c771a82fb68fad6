"""Lemma 3.5 by random vectors; Lemma 3.10 and what is left of a chopped signal by simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptrack import theory


@given(st.integers(0, 2**31))
def test_lemma_3_5(x64, seed):
    """Above the floor Q is closer than P, below it is not; the floor is 1 for a right angle."""
    rng = np.random.default_rng(seed)
    p, q, point = rng.normal(size=(3, 5))
    floor = float(theory.ema_rate_floor({"w": p}, {"w": q}, {"w": point}))
    assert 0 <= floor <= 1
    assert (floor < 1) == (np.dot(p - point, p - q) > 0)

    def gain(eta):
        return np.linalg.norm(p - point) - np.linalg.norm((1 - eta) * q + eta * p - point)

    for share in (1e-3, 0.5, 0.999):
        if floor < 1 - 1e-6:
            assert gain(floor + share * (1 - floor)) > 0
        if floor > 1e-6:
            assert gain(floor * (1 - share)) < 0


def test_lemma_3_5_sums_over_all_leaves(x64):
    rng = np.random.default_rng(0)
    p, q, point = rng.normal(size=(3, 6))
    split = [{"a": x[:2], "b": x[2:]} for x in (p, q, point)]
    assert float(theory.ema_rate_floor(*split)) == pytest.approx(
        float(theory.ema_rate_floor(p, q, point)), abs=1e-15
    )
    assert theory.ema_rate_floor(p, p, point) == 1


@pytest.mark.parametrize("eta", [0.01, 0.3, 0.8])
def test_transfer_function_and_cutoff(x64, eta):
    """|H|^2 as printed in Lemma 3.10; half of the power passes at the cutoff."""
    omega = np.linspace(0, np.pi, 7)
    printed = eta**2 / (1 + (1 - eta) ** 2 - 2 * (1 - eta) * np.cos(omega))
    found = np.asarray(theory.low_pass_response(eta, omega))
    np.testing.assert_allclose(np.abs(found) ** 2, printed, rtol=1e-12)
    assert abs(theory.low_pass_response(eta, theory.low_pass_cutoff(eta))) ** 2 == pytest.approx(
        0.5
    )
    assert float(theory.low_pass_cutoff(1e-4)) == pytest.approx(1e-4, rel=1e-3)
    assert np.isnan(theory.low_pass_cutoff(0.9))


@pytest.mark.parametrize("eta", [0.02, 0.25, 1.0])
@pytest.mark.parametrize("p", [0.02, 0.2])
def test_chopper_leakage(x64, eta, p):
    """Periodic: the settled output of the recursion, to rounding. Random: 400 signals, 4.5 SE."""
    rng = np.random.default_rng(1)
    half = round(1 / p)
    steps = 2 * half * int(np.ceil(40 / (2 * half * eta)))  # exp(-40) of the start is left
    periodic = np.where(np.arange(steps) // half % 2 == 0, 1.0, -1.0)[:, None]
    flips = rng.uniform(size=(steps, 400)) < p
    random = np.where(np.cumsum(flips, axis=0) % 2 == 0, 1.0, -1.0)
    random *= np.where(rng.uniform(size=400) < 0.5, 1.0, -1.0)

    def squares(signal):
        q, kept = np.zeros(signal.shape[1]), []
        for now in signal:
            q = (1 - eta) * q + eta * now
            kept.append(q**2)
        return np.array(kept)

    found = theory.chopper_leakage(eta, p, chopper="periodic")
    assert float(found) == pytest.approx(squares(periodic)[-2 * half :].mean(), rel=1e-10)
    means = squares(random)[steps // 2 :].mean(axis=0)
    found = float(theory.chopper_leakage(eta, p))
    assert abs(means.mean() - found) <= 4.5 * means.std() / np.sqrt(400) + 1e-12


def test_leakage_says_why_the_released_settings_do_not_track():
    assert theory.chopper_leakage(0.25, 0.05, chopper="periodic") > 0.6  # eta = 5 p
    assert theory.chopper_leakage(0.005, 0.05, chopper="periodic") < 0.001  # eta = p / 10
    with pytest.raises(ValueError, match="'random' or 'periodic', got 'scalar'"):
        theory.chopper_leakage(0.1, 0.1, chopper="scalar")
    slope = jax.grad(lambda eta: theory.chopper_leakage(eta, 0.1))(jnp.float32(0.1))
    assert slope > 0
