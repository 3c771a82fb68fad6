"""Moving symmetric points against recursions in NumPy that share no code with the closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack import theory
from sptrack.theory.drift import MOVES


def followed(v, lost, eta, moves, steps):
    """S - Q after `steps`, without noise: S moves, then P, then the filter."""
    s = p = q = 0.0
    for _ in range(steps):
        s += v
        p += v if moves == "reference" else 0.0
        p -= lost * (p - s)
        q += eta * (p - q)
    return s - q


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize(("lost", "eta"), [(0.02, 0.3), (0.3, 0.02), (1.0, 0.1), (0.1, 1.0)])
def test_lag_of_the_recursion(x64, moves, lost, eta):
    """To rounding, after 1500 steps of which the slowest forgets 2 % each."""
    found = theory.tracking_lag(1e-3, lost, eta, moves=moves)
    assert float(found) == pytest.approx(followed(1e-3, lost, eta, moves, 1500), abs=1e-11)


def test_lag_and_variance_of_pulsed_cells(x64):
    """1000 affine cells that get a pulse in a random direction in every second step.

    P's variance is `stationary_variance` but for dw a / 2 = 2.5 % of the squared lag.
    """
    dw, share, eta, v = 0.05, 0.5, 0.04, 2e-4
    spec = spt.LinearResponse(dw_min=dw)  # q = 1 -+ (w - S), a = F* = 1
    variance = theory.stationary_variance(spt.sample_device(jax.random.key(0), spec, ()))
    rng, cells, steps = np.random.default_rng(5), 1000, 4000
    s, p, q, lags, squares = 0.0, np.zeros(cells), np.zeros(cells), 0.0, 0.0
    for step in range(steps):
        s += v
        sign = np.where(rng.uniform(size=cells) < 0.5, 1.0, -1.0)
        pulsed = rng.uniform(size=cells) < share
        p = p + dw * pulsed * sign * (1 - sign * (p - s))
        q = q + eta * (p - q)
        if step >= 1000:
            lags, squares = lags + (s - q) / (steps - 1000), squares + (s - q) ** 2 / (steps - 1000)
    lost = share * dw
    lag = float(theory.tracking_lag(v, lost, eta))
    noise = float(theory.tracking_variance(eta, lost, variance))
    assert abs(lags.mean() - lag) < 4.5 * lags.std() / np.sqrt(cells)
    extra = 0.025 * lag**2
    assert abs(squares.mean() - lag**2 - noise) < 4.5 * squares.std() / np.sqrt(cells) + extra
    assert squares.std() / np.sqrt(cells) < 0.01 * noise  # the test can tell


def test_the_best_rate_is_where_lag_and_noise_are_least(x64):
    """The exact minimum on a fine grid: within 5 % where eta < lambda / 20, slope 2/3 in v."""
    etas = np.geomspace(1e-5, 1e-1, 40_001)
    for v in (1e-7, 1e-6):
        error = np.asarray(theory.tracking_lag(v, 0.02, etas, moves="reference")) ** 2
        error += np.asarray(theory.tracking_variance(etas, 0.02, 0.01))
        found = float(theory.best_tracking_rate(v, 0.02, 0.01))
        assert found < 0.02 / 20
        assert found == pytest.approx(etas[error.argmin()], rel=0.05)
        assert error.min() == pytest.approx(3 * (v / found) ** 2, rel=0.05)
    rates = theory.best_tracking_rate(jnp.array([1e-7, 8e-7]), 0.02, 0.01)
    assert float(rates[1] / rates[0]) == pytest.approx(4.0)
    assert theory.best_tracking_rate(1.0, 0.02, 0.01) == 1


@pytest.mark.parametrize("moves", MOVES)
def test_erider_on_a_quadratic(x64, moves):
    """W, P, Q, Q~ and c of 4000 runs whose only randomness are the flips, mean over runs."""
    v, lost, eta, pull, gamma, beta, flips = 1e-3, 0.05, 0.08, 0.7, 0.3, 0.02, 0.1
    rng, runs, steps = np.random.default_rng(6), 4000, 1500
    s, (w, p, q, held), c = 0.0, np.zeros((4, runs)), np.ones(runs)
    lags = np.zeros(runs)
    for step in range(steps):
        gradient = w + gamma * c * (p - held)  # mu (W_bar - W_opt), over kappa
        s += v
        p = p + (v if moves == "reference" else 0)
        p = p - lost * (p - s) - lost * pull * c * gradient
        w = w + beta * c * (p - held)
        q = q + eta * (p - q)
        flip = rng.uniform(size=runs) < flips
        c, held = np.where(flip, -c, c), np.where(flip, q, held)
        lags += (s - q) * (step >= 500) / (steps - 500)
    found = theory.erider_lag(
        v, lost, eta, pull=pull, gamma=gamma, transfer_rate=beta, chop_prob=flips, moves=moves
    )
    error = lags.std() / np.sqrt(runs)
    assert abs(lags.mean() - found) < 4.5 * error
    alone = theory.tracking_lag(v, lost, eta, moves=moves)
    assert float(found - alone) > 20 * error  # what learning adds is seen


def test_erider_without_a_pull_is_the_tracker(x64):
    given = {"pull": 0.0, "gamma": 0.5, "transfer_rate": 0.1, "chop_prob": 0.05}
    found = theory.erider_lag(1e-3, 0.02, 0.1, **given)
    assert found == theory.tracking_lag(1e-3, 0.02, 0.1)


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_rider_follows_a_share(x64, moves, ratio):
    """W, P, Q without noise: speeds of Q and W at the end, and W - r Q all along."""
    v, lost, eta, pull, gamma = 1e-3, 0.05, 0.08, 0.7, 0.3
    s = w = p = q = old = 0.0
    for _ in range(4000):
        gradient = w + gamma * (p - q)
        s += v
        p += v if moves == "reference" else 0.0
        p -= lost * (p - s) + lost * pull * gradient
        old = q
        w, q = w + ratio * eta * (p - q), q + eta * (p - q)
    share = float(theory.rider_following(ratio, pull))
    assert (q - old) / v == pytest.approx(share, rel=1e-9)
    assert w == pytest.approx(ratio * q, rel=1e-12)


def test_rider_follows_as_its_landing_point_does(x64):
    """A symmetric cell: the landing point's slope in w*, at W_opt = w* = 0."""

    def landing(point):
        spec = spt.LinearResponse(center_mean=point)
        device = spt.sample_device(jax.random.key(0), spec, ())
        zero = jnp.array(0.0)
        return theory.rider_landing_point(
            device, weight=zero, tracked_sp=zero, optimum=zero, ratio=2.0, curvature=1.0,
            gradient_std=0.5,
        ).tracked_sp  # fmt: skip

    pull = 1 / (0.5 * np.sqrt(2 / np.pi))  # mu F* / (a E|g|)
    slope = (landing(1e-4) - landing(-1e-4)) / 2e-4
    assert float(slope) == pytest.approx(float(theory.rider_following(2.0, pull)), rel=1e-5)


def test_another_way_to_move_is_refused():
    with pytest.raises(ValueError, match=r"moves must be one of .*got 'cell'"):
        theory.tracking_lag(1e-3, 0.1, 0.1, moves="cell")
