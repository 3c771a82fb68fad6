"""Fits of synthetic devices: truth, noise, units, wrong families, missing reads, errors.

`python -m experiments.fit_coverage` does the same at full size (100 x 20 cells x 400 pulses).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.fit.driver import fit_alike

CELLS, PULSES, TIMES = 10, 200, 12
READ_NOISE = 0.02
SPEC = spt.SoftBounds(
    dw_min=0.02, dw_min_dtod=0.2, dw_min_std=0.5, up_down=0.2, up_down_dtod=0.05, w_max=1.0,
    w_min=-1.0, w_max_dtod=0.1, w_min_dtod=0.1, mult_noise=False,
)  # fmt: skip
BURSTS = np.where(np.arange(PULSES) % 100 < 50, 1, -1)


def measured(spec, seed):
    """A device and its traces."""
    key = jax.random.fold_in(jax.random.key(7), seed)
    device = spt.sample_device(jax.random.fold_in(key, 0), spec, (CELLS,))
    traces = spt.simulate_traces(
        jax.random.fold_in(key, 1), device, jnp.zeros(CELLS), BURSTS, read_noise_std=READ_NOISE
    )
    return device, traces


def true_cells(device):
    """Parameters of soft-bounds cells by name."""
    steps = {"step_up": device.up, "step_down": device.down}
    steps = {name: np.asarray(step * device.dw_min, float) for name, step in steps.items()}
    return steps | {"w_max": np.asarray(device.high), "w_min": np.asarray(device.low)}


def assert_share(happened, share):
    """As often as that, up to 4 standard errors."""
    happened = np.asarray(happened)
    assert abs(happened.mean() - share) < 4 * np.sqrt(share * (1 - share) / happened.size)


@functools.cache
def repeats():
    """Twelve populations and their fits."""
    made = [measured(SPEC, seed) for seed in range(TIMES)]
    return [device for device, _ in made], fit_alike([traces for _, traces in made], "soft_bounds")


def test_true_parameters_are_inside_their_intervals_as_often_as_they_should_be():
    """480 intervals of cells, 96 of the population: 95 % up to 4 standard errors of the share."""
    devices, found = repeats()
    inside, off = [], []
    for device, one in zip(devices, found, strict=True):
        assert one.converged
        for name, truth in true_cells(device).items():
            estimate = one.cells[name]
            inside.append((estimate.low < truth) & (truth < estimate.high))
            off.append((estimate.value - truth) / estimate.std_error)
    assert_share(inside, 0.95)
    assert np.std(off) == pytest.approx(1, abs=0.15)
    inside = [
        one.population[name].low <= getattr(SPEC, name) <= one.population[name].high
        for one in found
        for name in one.population
    ]
    assert_share(inside, 0.95)


def test_noise_is_found_within_its_errors():
    _, found = repeats()
    for name, truth in (("dw_min_std", 0.5), ("read_noise_std", READ_NOISE)):
        logs = np.array([np.log(float(one.noise[name].value) / truth) for one in found])
        assert abs(logs.mean()) < 4.5 * logs.std(ddof=1) / np.sqrt(TIMES)
        errors = [float(one.noise[name].std_error / one.noise[name].value) for one in found]
        # The std of twelve values is known to 21 %.
        assert logs.std(ddof=1) == pytest.approx(np.mean(errors), rel=0.6)
        assert np.mean(abs(np.expm1(logs)) < 0.1) > 0.9


def test_residuals_of_the_right_family_are_white_and_standard():
    _, found = repeats()
    residuals = np.stack([one.residuals for one in found])  # nothing is missing
    assert residuals.shape == (TIMES, PULSES, CELLS)
    assert residuals.std() == pytest.approx(1, abs=0.02)
    neighbours = np.mean(residuals[:, 1:] * residuals[:, :-1])
    assert abs(neighbours) < 4.5 / np.sqrt(residuals.size)
    assert sum(one.misfit.p_value < 0.01 for one in found) <= 1


def test_the_spec_samples_and_trains(key):
    spec = repeats()[1][0].spec
    assert isinstance(spec, spt.SoftBounds) and spec.mult_noise is False
    assert spec.write_noise_std * spec.dw_min == pytest.approx(READ_NOISE, rel=0.1)
    tx = spt.erider(
        0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.1, gamma=0.1, eta=0.01,
        chop_prob=0.01, key=key,
    )  # fmt: skip
    params = jnp.zeros((2, 3))
    state = tx.init(params)
    updates, _ = tx.update(jnp.ones((2, 3)), state, params)
    assert np.isfinite(updates).all()


def test_the_instruments_noise_is_not_the_devices():
    _, traces = measured(SPEC, 0)
    found = spt.fit(traces, read_noise_std=READ_NOISE)
    assert found.spec.write_noise_std * found.spec.dw_min < 0.3 * READ_NOISE


def test_the_fitted_device_is_the_cells(key):
    device, traces = measured(SPEC, 0)
    found = spt.fit(traces)
    w = jnp.zeros(CELLS, found.device.high.dtype)
    steps = found.device.dw_min * jnp.stack(spt.response(found.device, w))
    np.testing.assert_allclose(steps[0], found.cells["step_up"].value, rtol=1e-6)
    np.testing.assert_allclose(steps[1], found.cells["step_down"].value, rtol=1e-6)
    errors = found.cells["w_max"].std_error
    assert np.all(abs(found.device.high - device.high) < 4.5 * errors)
    bumped = spt.apply_pulses(key, found.device, w, jnp.ones(CELLS, int))
    assert np.all(bumped > w)


@pytest.mark.parametrize(
    ("spec", "family"),
    [
        (SPEC, "constant_step"),
        (
            spt.ExponentialResponse(dw_min=0.02, gamma_res=2.0, tau=0.7, dw_min_std=0.5),
            "soft_bounds",
        ),
    ],
)
def test_a_wrong_family_is_flagged_and_the_right_one_wins(spec, family):
    _, traces = measured(spec, 1)
    wrong = spt.fit(traces, family)
    assert wrong.misfit.p_value < 1e-3 and wrong.misfit.departure > 0.1
    if family == "constant_step":
        best, other = spt.compare_fits(traces, [family, "soft_bounds"], mult_noise=[False])
        assert (best.family, other.family) == ("soft_bounds", "constant_step")
        assert best.aic < other.aic - 100 and best.bic < other.bic - 100


def test_missing_reads_widen_the_errors_and_move_nothing():
    device, traces = measured(SPEC, 2)
    weights = np.array(traces.weights, float)
    weights[np.random.default_rng(0).random(weights.shape) < 0.5] = np.nan
    full, half = spt.fit(traces), spt.fit(traces._replace(weights=weights))
    assert half.num_reads == np.isfinite(weights).sum() - CELLS
    assert half.noise["read_noise_std"].std_error > 1.2 * full.noise["read_noise_std"].std_error
    for name, truth in true_cells(device).items():
        estimate = half.cells[name]
        assert np.all(abs(estimate.value - truth) < 4.5 * estimate.std_error)
    assert np.isnan(half.residuals[np.isnan(weights[1:])]).all()


def test_unit_and_zero_of_the_weight_are_free():
    """In 40 uS per unit, and 70 uS up, the reference family finds the same cells."""
    device, traces = measured(SPEC, 3)
    one = spt.fit(traces, "soft_bounds_reference")
    there = spt.fit(traces._replace(weights=40 * traces.weights + 70), "soft_bounds_reference")
    for name in ("step", "w_max", "w_min"):
        np.testing.assert_allclose(there.cells[name].value, 40 * one.cells[name].value, rtol=1e-5)
    points = there.cells["symmetric_point"]
    np.testing.assert_allclose(
        points.value, 70 + 40 * one.cells["symmetric_point"].value, rtol=1e-6
    )
    truth = 70 + 40 * np.asarray(spt.symmetric_point(device), float)
    assert np.all(abs(points.value - truth) < 4.5 * points.std_error)
    np.testing.assert_allclose(spt.symmetric_point(there.device), points.value, rtol=1e-5)
    assert there.aic - one.aic == pytest.approx(2 * one.num_reads * np.log(40), rel=1e-3)
    sampled = spt.sample_device(jax.random.key(0), there.spec, (2000,))
    middle = float(spt.symmetric_point(sampled).mean())
    assert middle == pytest.approx(points.value.mean(), abs=4 * 40 * 0.1 / np.sqrt(CELLS))


def _fit(weights=None, directions=None, family="soft_bounds", **options):
    directions = np.tile([[1], [-1]], (10, 2)) if directions is None else directions
    if weights is None:
        weights = np.random.default_rng(0).normal(size=(len(directions) + 1, 2))
    return spt.fit(spt.Traces(directions, weights, ("a", "b")), family, **options)


few = np.full((21, 2), np.nan)
few[:6] = 0.1
REFUSED = {
    "family": (
        lambda: _fit(family="softbounds"),
        ValueError,
        "family must be one of.*'softbounds'",
    ),
    "no traces": (lambda: spt.fit(np.zeros((3, 2))), TypeError, "spt.Traces.*spt.read_traces"),
    "shape": (lambda: _fit(np.zeros((20, 2))), ValueError, r"\(20, 2\) and \(20, 2\)"),
    "few reads": (
        lambda: _fit(few),
        ValueError,
        "at least 7 reads of every cell, got 6 of cell 'a'",
    ),
    "no effect": (lambda: _fit(np.ones((21, 2))), ValueError, "no pulse has had an effect"),
    "read noise": (lambda: _fit(read_noise_std=-1.0), ValueError, "read_noise_std=-1.0"),
    "names": (
        lambda: spt.fit(spt.Traces(np.ones((20, 2)), np.ones((21, 2)), ("a",))),
        ValueError,
        "2 traces, but 1 names",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_value_and_the_remedy(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
