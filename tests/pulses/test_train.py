"""Lengths and probabilities of pulse trains against the published rules, derived once more here."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt

DW = 0.01
X = np.array([0.5, -0.02, 0.0, 0.9])
D = np.array([-0.3, 0.001, 0.07])


def rules(x, d, lr, *, desired=31, longest=255, fixed=True, um=True, ublm=True, scale=1.0):
    """BL and the probabilities of the lines, by the factors A and B of aihwkit 1.2, in float64."""
    x_max, d_max = np.abs(x).max(), scale * np.abs(d).max()
    k = lr * x_max * d_max / DW
    if ublm:
        bl = min(int(np.ceil(k)), desired)
    elif fixed or DW * desired >= lr:
        bl = desired
    else:
        bl = min(int(np.ceil(lr / DW)), longest)
    a = b = np.sqrt(lr / (DW * bl))
    if um or ublm:
        if k > bl:
            d_max = d_max * bl / k
        a, b = a * np.sqrt(x_max / d_max), b * np.sqrt(d_max / x_max)
    return bl, b * np.abs(x), a * np.abs(d)


def planned(train, lr, x=X, d=D):
    return spt.pulses.plan_lines(train, lr, DW, jnp.asarray(x), jnp.asarray(d))


@pytest.mark.parametrize("lr", [1e-4, 0.03, 0.5, 5.0, 30.0])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_rules_with_management(lr, scale):
    """k from 0.003 to 810 times `scale`: below one pulse, within BL, and saturated."""
    for um, ublm, desired in itertools.product([True, False], [True, False], [31, 5]):
        if not um and not ublm:
            continue
        train = spt.PulseTrain(
            desired_bl=desired, update_management=um, update_bl_management=ublm, um_grad_scale=scale
        )
        length, p_x, p_d = rules(X, D, lr, desired=desired, um=um, ublm=ublm, scale=scale)
        lines = planned(train, lr)
        assert int(lines.length) == length
        np.testing.assert_allclose(lines.x, np.sign(X) * p_x, rtol=1e-5)
        np.testing.assert_allclose(lines.d, np.sign(D) * p_d, rtol=1e-5)


@pytest.mark.parametrize("lr", [0.03, 0.5, 5.0])
@pytest.mark.parametrize("fixed", [True, False])
def test_the_rules_without_management(lr, fixed):
    """lr / dw_min = 3, 50, 500: at most 31, longer, longer than the longest."""
    train = spt.PulseTrain(update_management=False, update_bl_management=False, fixed_bl=fixed)
    length, p_x, p_d = rules(X, D, lr, fixed=fixed, um=False, ublm=False)
    assert length == (31 if fixed else {0.03: 31, 0.5: 50, 5.0: 255}[lr])
    lines = planned(train, lr)
    assert int(lines.length) == length
    np.testing.assert_allclose(lines.x, np.sign(X) * p_x, rtol=1e-5)
    np.testing.assert_allclose(lines.d, np.sign(D) * p_d, rtol=1e-5)


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("bl", [1, 10, 31, 40])
def test_expected_coincidences_are_the_wanted_pulses(managed, bl):
    """BL p_x p_d = lr |x d| / dw_min with every setting, if nothing saturates."""
    train = spt.PulseTrain(desired_bl=bl, update_management=managed, update_bl_management=managed)
    lines = planned(train, DW)
    assert float(spt.pulses.saturation(lines).lost) == 0
    found = spt.pulses.expected_coincidences(jax.random.key(0), train, lines)
    np.testing.assert_allclose(found, -np.outer(X, D), rtol=1e-5, atol=1e-7)


def test_the_most_driven_lines_have_equal_probability():
    """Update management's point: both maxima sqrt(k / BL), however different x and d are."""
    lines = planned(spt.PulseTrain(), 3.0, x=X * 1e-6, d=D * 1e4)
    k = 3.0 * 0.9e-6 * 0.3e4 / DW
    np.testing.assert_allclose(jnp.max(jnp.abs(lines.x)), np.sqrt(k / np.ceil(k)), rtol=1e-5)
    np.testing.assert_allclose(jnp.max(jnp.abs(lines.d)), np.sqrt(k / np.ceil(k)), rtol=1e-5)


@pytest.mark.parametrize("train", [spt.PulseTrain(), spt.PulseTrain(update_bl_management=False)])
@pytest.mark.parametrize("which", ["x", "d", "lr"])
def test_nothing_wanted_sends_nothing(train, which):
    x, d = X * (which != "x"), D * (which != "d")
    lines = planned(train, 0.0 if which == "lr" else 0.5, x, d)
    assert np.all(np.isfinite(lines.x)) and np.all(np.isfinite(lines.d))
    assert not np.any(spt.pulses.count_coincidences(jax.random.key(0), train, lines))
    report = spt.pulses.saturation(lines)
    assert (int(report.samples), int(report.saturated), float(report.lost_fraction)) == (0, 0, 0)


def test_extreme_vectors_stay_finite():
    for x, d in ((X * 1e30, D * 1e30), (X * 1e-30, D * 1e30), (X * 1e-30, D * 1e-30)):
        lines = planned(spt.PulseTrain(), 0.5, x, d)
        assert np.all(np.isfinite(lines.x)) and np.all(np.isfinite(lines.d))


def test_a_saturated_train_reports_what_it_loses():
    """k = 2 BL: d lines above half of the maximum are clipped; wanted and lost by hand."""
    lr, d = 2 * 31 * DW, np.array([1.0, -0.75, 0.5, 0.1])
    lines = planned(spt.PulseTrain(), lr, np.array([1.0, 0.5]), d)
    np.testing.assert_allclose(np.abs(lines.d), 2 * np.abs(d), rtol=1e-5)
    report = spt.pulses.saturation(lines)
    assert (int(report.samples), int(report.saturated)) == (1, 1)
    np.testing.assert_allclose(report.wanted, 62 * 1.5 * 2.35, rtol=1e-5)
    np.testing.assert_allclose(report.lost, 31 * 1.5 * (1 + 0.5), rtol=1e-5)
    np.testing.assert_allclose(report.lost_fraction, 1.5 / 4.7, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 5, 31])
def test_a_full_train_is_not_saturated(k):
    """Probabilities are 1 up to rounding where k is an integer; that loses nothing."""
    for x in np.linspace(0.1, 3.3, 7):
        lines = planned(spt.PulseTrain(), k * DW / (x * 0.7), np.array([x]), np.array([0.7]))
        report = spt.pulses.saturation(lines)
        assert int(report.saturated) == 0 and float(report.lost) == 0


def lines_of(p, length=31):
    return spt.pulses.Lines(jnp.array(length), jnp.asarray(p), jnp.asarray([1.0]))


def test_probabilities_are_rounded_to_their_steps(key):
    train = spt.PulseTrain(x_res=0.25)
    sent = spt.pulses.round_lines(key, train, lines_of([0.12, 0.13, -0.6, 0.99, -1.7]))
    np.testing.assert_allclose(sent.x, [0.0, 0.25, -0.5, 1.0, -1.0])
    assert sent.d.tolist() == [1.0]


def test_stochastic_rounding_is_unbiased(key):
    """To 0.25 and 0.5 with P = 0.4 for 0.35; nothing else is possible."""
    train, n = spt.PulseTrain(d_res=0.25, sto_round=True), 20_000
    p = jnp.full(n, 0.35)
    sent = spt.pulses.round_lines(key, train, spt.pulses.Lines(jnp.array(31), p[:1], p))
    values, counts = np.unique(sent.d, return_counts=True)
    np.testing.assert_allclose(values, [0.25, 0.5])
    assert abs(counts[1] / n - 0.4) < 4.5 * np.sqrt(0.24 / n)
    sure = spt.pulses.round_lines(key, train, lines_of([0.3]), noisy=False)
    np.testing.assert_allclose(sure.d, [1.0])


REFUSED = {
    "kind": ({"kind": "random"}, ValueError, "kind must be one of .*'stochastic'.*got 'random'"),
    "no slots": ({"desired_bl": 0}, ValueError, "desired_bl must be an integer >= 1, got 0"),
    "half slots": ({"longest_bl": 2.5}, ValueError, "longest_bl must be an integer >= 1, got 2.5"),
    "flag for a length": ({"desired_bl": True}, ValueError, "desired_bl must be an integer"),
    "length for a flag": ({"update_management": 1}, TypeError, "update_management is True or"),
    "scale": ({"um_grad_scale": 0.0}, ValueError, r"um_grad_scale=0.0 is out of range.*\(0"),
    "step above 1": ({"x_res": 2.0}, ValueError, r"x_res=2.0 is out of range.*\[0, 1\]"),
    "unknown": ({"bl": 31}, TypeError, "bl"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused(name):
    options, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        spt.PulseTrain(**options)
