"""Calibration by inference: closed forms, noise, stated errors, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.calibration import response_fit
from sptrack.calibration.inferred import _mean_cell, _whitened, relative_slope
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


def mean_trace(directions, unit, fall=0.0):
    """A recursion in NumPy with drift 0.6, slope 1.6 and step 0.9: w* = 0.375."""
    y = [0.0]
    for d in directions:
        y.append(y[-1] + unit * (0.6 - 1.6 * y[-1] + d * (0.9 - fall * y[-1])))
    return np.array(y)


@pytest.mark.parametrize("bursts", [0, 150])
def test_the_mean_cell_without_noise(bursts):
    """A fall of the step can be seen, and is allowed for, in bursts only."""
    directions, unit = response_fit.sequence(300, bursts, "up"), 1e-3
    y = mean_trace(directions, unit, fall=0.3 if bursts else 0.0)
    drift, k, error = _mean_cell(directions, y, unit, 1e-7, 0.0, 0.25)
    assert drift == pytest.approx(0.6, rel=0.01)
    assert relative_slope(k) == pytest.approx(1.6, rel=0.02)  # the grid's spacing is 0.9 %
    assert error < 0.02


@pytest.mark.parametrize("bursts", [False, True])
def test_more_noisy_reads_do_not_make_the_mean_cell_worse(bursts):
    """128 cells with noise of 3 % of the range, 30 times: the slope comes out near 0 in none."""
    rng, unit, noise, errors = np.random.default_rng(0), 5e-4, 0.03 / np.sqrt(128), []
    for n in (25, 200, 400):
        directions = response_fit.sequence(n, n // 2 if bursts else 0, "up")
        y, found = mean_trace(directions, unit), []
        for _ in range(30):
            seen = y + noise * rng.normal(size=n + 1)
            found.append(_mean_cell(directions, seen, unit, noise, 0.0, 0.25)[:2])
        drift, k = np.array(found).T
        points = drift / np.asarray(relative_slope(k))
        errors.append(rms(points - 0.375))
        assert np.max(np.abs(points)) < 0.8  # the range ends at 0.75
    assert errors[0] > errors[1] and errors[0] > errors[2]


def test_whitening_is_that_of_the_covariance():
    """r^2 1 + w^2 min(i, j), whose inverse Cholesky factor whitens."""
    columns, index = np.random.default_rng(1).normal(size=(9, 3)), np.arange(9)
    covariance = 0.3**2 * np.eye(9) + 0.2**2 * np.minimum.outer(index, index)
    expected = np.linalg.solve(np.linalg.cholesky(covariance), columns)
    np.testing.assert_allclose(_whitened(columns, 0.3, 0.2), expected, rtol=1e-10)


def test_reads_are_averaged(device, start):
    """Five reads per pulse have the noise of one over sqrt(5), within 10 % (1600 reads)."""
    for reads in (1, 5):
        found = spt.fit_symmetric_point(
            jax.random.key(6), device, start, 40, reads=reads, read_noise_std=0.5
        )
        assert int(found.reads) == 41 * reads
        trace = np.asarray(found.trace)
        spread = np.std(trace - trace.mean(axis=0)) * np.sqrt(41 / 40)
        assert spread == pytest.approx(0.5 / np.sqrt(reads), rel=0.1)


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
