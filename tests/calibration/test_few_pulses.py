"""Calibration by inference: closed forms, noise, stated errors, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.calibration import response_fit
from sptrack.calibration.inferred import _SLOPE_ERROR, _mean_cell, relative_slope
from tests.support import QUIET

CELLS, START = 40, -0.5
SPEC = spt.presets.figure_1_soft_bounds()


@pytest.fixture(scope="module")
def device():
    return spt.sample_device(jax.random.key(11), SPEC, (CELLS,))


@pytest.fixture(scope="module")
def start():
    return jnp.full(CELLS, START)


def rms(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, float)))))


def test_without_noise_the_extrapolation_is_the_midpoint_of_the_final_two_cycle(device, start):
    """The limit of the mean of two reads is w* - dw F f1 / (2 a) (science/4 section 4.0)."""
    found = spt.extrapolate_zero_shift(jax.random.key(1), device, start, 160)
    up, down = (np.asarray(s, float) for s in (device.up_slope, device.down_slope))
    point = np.asarray(spt.symmetric_point(device), float)
    step = 0.001 * np.asarray(spt.response(device, spt.symmetric_point(device))[0], float)
    limit = point - step * (down - up) / 2 / (up + down)
    error = rms(found.estimate - limit)
    assert error < 2e-3 * rms(np.asarray(found.weight) - limit)  # 500 times nearer than the cells
    assert rms(found.estimate - point) < 1e-3
    assert int(found.pulses) == 160 and int(found.reads) == 16
    assert found.trace.shape == (8, CELLS)


def test_without_noise_the_fit_finds_the_crossing(device, start):
    """(up - down) / (up_slope + down_slope), the closed form of affine cells."""
    found = spt.fit_symmetric_point(jax.random.key(1), device, start, 160)
    crossing = (device.up - device.down) / (device.up_slope + device.down_slope)
    assert rms(found.estimate - crossing) < 1e-3
    assert rms(found.weight - crossing) > 0.5  # no cell has come near
    assert int(found.reads) == 161


@pytest.mark.parametrize("bursts", [0, 150])
def test_the_mean_cell_without_noise(bursts):
    """A recursion in NumPy with drift 0.7, slope 1.2, step 0.9 and, if seen, a fall of 0.3."""
    fall = 0.3 if bursts else 0.0
    directions, unit = response_fit.sequence(300, bursts, "up"), 1e-3
    y = [0.0]
    for d in directions:
        y.append(y[-1] + unit * (0.7 - 1.2 * y[-1] + d * (0.9 - fall * y[-1])))
    drift, k, error = _mean_cell(directions, np.array(y), unit, 1e-7, 0.0)
    assert drift == pytest.approx(0.7, rel=1e-3)
    assert relative_slope(k) == pytest.approx(1.2, rel=5e-3)
    assert error < 0.02


def test_a_mean_cell_that_shows_no_slope_has_the_nominal_one():
    """Noise of 1 % of the range on a drift over 2 % of it: 2, and the error of the prior."""
    rng, unit = np.random.default_rng(0), 1e-4
    directions = response_fit.sequence(200, 0, "up")
    y = unit * 1.0 * np.arange(201) + 0.01 * rng.normal(size=201)
    drift, k, error = _mean_cell(directions, y, unit, 0.01, 0.0)
    assert relative_slope(k) == pytest.approx(2.0, rel=0.1)
    assert error == pytest.approx(_SLOPE_ERROR, rel=0.1)
    assert drift == pytest.approx(1.0, abs=0.3)  # 4.5 x 0.01 sqrt(12 / 200) / (200 unit) = 0.55


def test_200_noisy_pulses_in_two_bursts_do_what_zero_shifting_needs_2000_for():
    """Reads with noise 0.06, three arrays of 128 cells; five reads per pulse leave less error."""
    errors, zero_shift = {1: [], 5: []}, []
    for seed in range(3):
        device = spt.sample_device(jax.random.key(seed), SPEC, (128,))
        w, truth = jnp.full(128, START), spt.symmetric_point(device)
        for reads in errors:
            found = spt.fit_symmetric_point(
                jax.random.key(20 + seed), device, w, 200, burst=100, reads=reads,
                read_noise_std=0.06,
            )  # fmt: skip
            assert int(found.reads) == 201 * reads
            errors[reads].append(rms(found.estimate - truth))
        many = spt.zero_shift(jax.random.key(30 + seed), device, w, 2000, method="aggregate")
        zero_shift.append(rms(many.estimate - truth))
    assert rms(errors[5]) < rms(errors[1]) < rms(zero_shift)


def test_stated_errors_are_those_that_are_made():
    """Cycle noise and reads with 0.02 noise: the RMS of 40 errors over the stated ones is 1.

    A std of 40 values has a relative error of 11 %, of which three are allowed, and 10 % for the
    noise, which the stated error takes as known.
    """
    spec = spt.SoftBounds(
        dw_min=0.02, dw_min_std=0.3, dw_min_dtod=0.1, up_down=0.2, up_down_dtod=0.1,
        w_max=1.0, w_min=-1.0, w_max_dtod=0.1, w_min_dtod=0.1, mult_noise=False,
    )  # fmt: skip
    device = spt.sample_device(jax.random.key(2), spec, (CELLS,))
    w = jnp.full(CELLS, START)
    found = spt.fit_symmetric_point(jax.random.key(3), device, w, 160, read_noise_std=0.02)
    error = np.asarray(found.estimate - spt.symmetric_point(device))
    assert rms(error / found.std_error) == pytest.approx(1, abs=0.43)
    last = spt.zero_shift(jax.random.key(4), device, w, 160, read_noise_std=0.02)
    assert rms(error) < rms(last.estimate - spt.symmetric_point(device))


def test_reads_that_say_nothing_have_large_stated_errors(device, start):
    """Noise of 0.5 on 8 reads: the error is stated to be no smaller than a third of what it is."""
    found = spt.extrapolate_zero_shift(jax.random.key(5), device, start, 160, read_noise_std=0.5)
    assert rms(found.std_error) > rms(found.estimate - spt.symmetric_point(device)) / 3


def test_the_sequence_is_two_bursts_and_alternation():
    np.testing.assert_array_equal(
        response_fit.sequence(9, 2, "down"), [-1, -1, 1, 1, -1, 1, -1, 1, -1]
    )
    assert np.all(response_fit.sequence(8, 0, "up") == np.tile([1, -1], 4))


def test_the_slope_is_bounded_and_soft_bounds_have_two():
    assert relative_slope(0.0) == 2
    assert relative_slope(50.0) == pytest.approx(2 * np.exp(2), rel=1e-6)


def test_matrices_keep_their_shape_and_dtype(device):
    spec = spt.SoftBounds(dw_min=0.05, **QUIET)
    matrix = spt.sample_device(jax.random.key(0), spec, (4, 10))
    found = spt.extrapolate_zero_shift(jax.random.key(1), matrix, jnp.full((4, 10), 0.3), 160)
    assert found.estimate.shape == found.std_error.shape == (4, 10)
    assert found.estimate.dtype == jnp.float32


REFUSED = {
    "few pulses": (lambda d, w: spt.extrapolate_zero_shift(KEY, d, w, 12), "at least 16 pulses"),
    "checkpoints": (
        lambda d, w: spt.extrapolate_zero_shift(KEY, d, w, 40, checkpoints=2),
        "checkpoints must be >= 3, got 2",
    ),
    "fit": (lambda d, w: spt.fit_symmetric_point(KEY, d, w, 6), "num_pulses must be >= 8"),
    "burst": (
        lambda d, w: spt.fit_symmetric_point(KEY, d, w, 20, burst=11),
        "burst must be between 0 and num_pulses / 2, got 11",
    ),
    "reads": (lambda d, w: spt.fit_symmetric_point(KEY, d, w, 20, reads=0), "reads must be >= 1"),
    "first": (lambda d, w: spt.fit_symmetric_point(KEY, d, w, 20, first="left"), "'left'"),
    "noise": (
        lambda d, w: spt.fit_symmetric_point(KEY, d, w, 20, read_noise_std=-1.0),
        r"read_noise_std=-1\.0",
    ),
}
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_value_and_the_remedy(device, start, name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call(device, start)


def test_inside_a_compiled_program_it_says_so(device):
    with pytest.raises(TypeError, match=r"outside, or use spt\.zero_shift"):
        jax.jit(lambda w: spt.fit_symmetric_point(KEY, device, w, 20).estimate)(jnp.zeros(CELLS))
