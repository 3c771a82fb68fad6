"""Zero-shifting against closed forms, the oracle, and the published offsets."""

import csv
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt
from tests import oracle
from tests.support import NOISY_SPECS, QUIET, assert_mean, assert_std, same_bits

STATIC = ("num_pulses", "scheme", "first", "average", "tail_fraction", "record_every")
zero_shift = jax.jit(spt.zero_shift, static_argnames=STATIC)

# Section 4.0's linear cell: a = 0.8, f_1 = -0.2, w* = 0.25, F* = 0.75.
UP, DOWN = 1.0, 0.6
A, F1, POINT, F = 0.8, -0.2, 0.25, 0.75


def linear(dw_min, cells, **options):
    spec = spt.LinearResponse(dw_min=dw_min, alpha_up=UP, alpha_down=DOWN, **options)
    return spt.sample_device(jax.random.key(0), spec, (cells,))


@pytest.mark.parametrize("first", ["up", "down"])
@pytest.mark.parametrize("dw_min", [1e-3, 1e-2, 5e-2])
def test_acceptance_03_pair_contraction(x64, dw_min, first):
    """Section 9, number 3 (4.0): two starts approach each other by one factor in every pair."""
    starts = jnp.array([-0.5, 0.6])
    trace = zero_shift(
        jax.random.key(0), linear(dw_min, 2), starts, 100, first=first, record_every=2
    ).trace
    gaps = np.diff(np.concatenate([starts[None], trace]), axis=1)[:, 0]
    expected = (1 - dw_min * UP) * (1 - dw_min * DOWN)
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], expected, rtol=1e-6)


@pytest.mark.parametrize("last", ["down", "up"])
def test_acceptance_03_endpoints(x64, last):
    """The 2-cycle ends at w* -/+ dw F* slope / (2 a), up to O(dw^2)."""
    slope = -DOWN if last == "down" else UP
    errors = []
    steps = np.array([4e-3, 2e-3, 1e-3])
    for dw_min in steps:
        first = "up" if last == "down" else "down"
        n = 2 * int(10 / dw_min)  # exp(-a dw n) = e^-16 of the start's error is left
        end = zero_shift(
            jax.random.key(0), linear(dw_min, 1), jnp.array([POINT]), n, first=first
        ).estimate[0]
        errors.append(abs(end - (POINT + dw_min * F * slope / (2 * A))))
    assert max(errors) < 2 * steps[0] ** 2
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(2, abs=0.05)


@pytest.mark.optimized  # runs longer than it compiles
@pytest.mark.parametrize("dw_min", [1e-3, 1e-2, 5e-2])
def test_acceptance_04_stationary_variance(key, dw_min):
    """Section 9, number 4 (4.0): dw F*^2 / (2a - dw (a^2 + f1^2)), 2 % with 4000 cells.

    One snapshot of 4000 cells has the standard error sqrt(2/4000) = 2.2 %; squares decorrelate over
    1/(2 a dw) pulses, so 24/(a dw) pulses are 24 independent snapshots: 0.46 %. The start at w* is
    forgotten by exp(-2 x 4) in the variance.
    """
    relaxation = round(1 / (A * dw_min))
    trace = zero_shift(
        spt.random.fast_key(int(jax.random.bits(key))), linear(dw_min, 4000), jnp.full(4000, POINT),
        28 * relaxation, scheme="stochastic", record_every=max(1, relaxation // 2),
    ).trace  # fmt: skip
    assert 55 <= len(trace) <= 60
    stationary = np.asarray(trace[8:], float)
    expected = dw_min * F**2 / (2 * A - dw_min * (A**2 + F1**2))
    assert np.mean((stationary - POINT) ** 2) == pytest.approx(expected, rel=0.02)
    # The mean is w* exactly: std/sqrt(cells x about 12 independent snapshots).
    assert abs(stationary.mean() - POINT) < 4.5 * np.sqrt(expected / (4000 * 12))


def published_offsets():
    """Offsets of arXiv 2602.21321, Fig. 1a: {N: (mean, std)}, estimate minus truth."""
    path = pathlib.Path(__file__).parents[2] / "experiments" / "reference" / "figure_1a_offsets.csv"
    with path.open() as file:
        return {
            int(row["N"]): (
                float(row["mean_offset_est_minus_truth_mine"]),
                float(row["std_offset_est_minus_truth_mine"]),
            )
            for row in csv.DictReader(file)
        }


@pytest.mark.optimized  # runs longer than it compiles
@pytest.mark.parametrize("double", [False, True])
def test_acceptance_06_figure_1a(key, double):
    """Section 9, number 6: means within 2 %, stds within 5 % of the table, for all of its N.

    The table has five decimals, so half of its last digit is added: 0.6 % of the smallest mean,
    3 % of the smallest std. Sampling 512 x 512 cells adds about 0.1 % to either.
    """
    with jax.enable_x64(double):
        shape = (512, 512)
        device = spt.sample_device(key, spt.presets.figure_1_soft_bounds(), shape)
        trace = zero_shift(
            key, device, jnp.full(shape, -0.5), 8000, first="down", record_every=500
        ).trace
        truth = np.asarray(spt.symmetric_point(device), float)
    assert truth.dtype == float and trace.dtype == (np.float64 if double else np.float32)
    for n, (mean, std) in published_offsets().items():
        estimate = np.asarray(trace[n // 500 - 1], float)
        assert estimate.mean() - truth.mean() == pytest.approx(mean, abs=0.02 * abs(mean) + 5e-6), n
        assert estimate.std() - truth.std() == pytest.approx(std, abs=0.05 * abs(std) + 5e-6), n


@pytest.mark.parametrize("first", ["up", "down"])
def test_cyclic_pulses_equal_the_oracle(x64, first):
    """Every read of the trace, on different cells with a reference, to rounding."""
    spec = spt.SoftBoundsReference(
        dw_min=0.05, up_down=0.3, reference_mean=0.2, **(QUIET | {"w_max": 0.9, "w_min": -0.7})
    )
    cells = oracle.SoftBoundsCells(0.05, 0.05 * 0.7, 0.9, -0.7, reference=0.2)
    device = spt.sample_device(jax.random.key(0), spec, (21,))
    w = np.linspace(-0.89, 0.69, 21)
    trace = zero_shift(
        jax.random.key(0), device, jnp.asarray(w), 61, first=first, record_every=1
    ).trace
    expected = oracle.alternate(cells, w, 61, first_up=first == "up")
    np.testing.assert_allclose(trace, expected, rtol=0, atol=1e-13)


def test_stochastic_pulses_are_fair_and_independent(key):
    """Constant steps sum the signs up: a random walk of unit variance per pulse."""
    spec = spt.ConstantStep(dw_min=1.0, **(QUIET | {"w_max": 1e3, "w_min": -1e3}))
    device = spt.sample_device(key, spec, (4000,))
    result = zero_shift(key, device, jnp.zeros(4000), 100, scheme="stochastic", record_every=1)
    signs = np.diff(np.asarray(result.trace), axis=0, prepend=0)
    assert set(np.unique(signs)) == {-1, 1}
    assert_mean(signs, 0)
    for one, other in ((signs[1:], signs[:-1]), (signs[:, 1:], signs[:, :-1])):
        products = one * other
        assert abs(products.mean()) < 4.5 / np.sqrt(products.size)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["linear", "soft bounds"])
def test_the_symmetric_point_is_the_mean_of_long_stochastic_alternation(key, kind, noise):
    """4.0: E[w - w*] = 0 once the start is forgotten; cells are independent, so is their SE."""
    if kind == "linear":
        device = linear(5e-3, 1000, dw_min_std=noise)
    else:
        spec = spt.SoftBounds(
            dw_min=5e-3, up_down=0.3, mult_noise=False, w_max=0.9, w_min=-0.8,
            dw_min_dtod=0.0, w_max_dtod=0.0, w_min_dtod=0.0, dw_min_std=noise,
        )  # fmt: skip
        device = spt.sample_device(key, spec, (1000,))
    point = spt.symmetric_point(device)
    result = zero_shift(
        key, device, point + 0.1, 6000, scheme="stochastic", average="tail", tail_fraction=0.5
    )
    # exp(-a dw 3000) < e^-10 of the start's 0.1 is left: 5e-6 at most.
    error = np.asarray(result.estimate - point, float)
    assert abs(error.mean()) < 4.5 * error.std() / np.sqrt(error.size) + 5e-6


@pytest.mark.parametrize("scheme, name", [("stochastic", "reference"), ("cyclic", "power")])
def test_trace_averages_and_estimate_belong_together(key, scheme, name):
    """The trace is what shorter runs estimate, and averages are means of the trace's last rows."""
    device = spt.sample_device(key, NOISY_SPECS[name], (16,))
    w = sum(spt.bounds(device)) / 2
    run = functools.partial(zero_shift, key, device, w, scheme=scheme, read_noise_std=0.01)
    full = run(12, record_every=1)
    assert full.trace.shape == (12, 16) and int(full.pulses) == 12
    every = run(12, record_every=5)
    # Within a few ulp: XLA may fuse programs with and without a trace differently.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(every.trace, full.trace[jnp.array([4, 9])])
    close(every.weight, full.weight)
    close(run(12).estimate, full.trace[-1])
    close(run(7).estimate, full.trace[6])
    close(run(12, average="two_point").estimate, full.trace[-2:].mean(axis=0))
    close(run(12, average="tail", tail_fraction=0.25).estimate, full.trace[-3:].mean(axis=0))
    close(run(12, average="tail", tail_fraction=1.0).estimate, full.trace.mean(axis=0))
    assert run(12).trace is None and run(12, record_every=13).trace.shape == (0, 16)


def test_two_point_average_leaves_the_documented_offset(x64):
    """-dw F* f1 / (2 a) instead of dw F* slope / (2 a): to first order in dw."""
    errors = []
    for dw_min in (4e-3, 2e-3):
        n = 2 * int(10 / dw_min)
        found = zero_shift(
            jax.random.key(0), linear(dw_min, 1), jnp.array([POINT]), n, average="two_point"
        ).estimate[0]
        errors.append(abs(found - (POINT - dw_min * F * F1 / (2 * A))))
        assert abs(found - POINT) > 20 * errors[-1]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_reads_are_noisy_and_pulses_are_not(key):
    """Without cycle noise: the estimates spread by the reads alone, the weights not at all."""
    spec = spt.SoftBounds(dw_min=0.02, write_noise_std=1.5, **QUIET)
    device = spt.sample_device(key, spec, (20_000,))
    result = zero_shift(key, device, jnp.zeros(20_000), 20, read_noise_std=0.04)
    assert np.ptp(result.weight) == 0
    assert_mean(result.estimate, float(result.weight[0]))
    assert_std(result.estimate, np.hypot(1.5 * 0.02, 0.04))
    two = zero_shift(key, device, jnp.zeros(20_000), 20, read_noise_std=0.04, average="two_point")
    assert_std(two.estimate, np.hypot(1.5 * 0.02, 0.04) / np.sqrt(2))


@pytest.mark.parametrize("scheme", ["cyclic", "stochastic"])
def test_the_estimate_is_differentiable(x64, scheme):
    """d estimate / d asymmetry and d start, reverse mode, against central differences, same key."""
    key = jax.random.key(5)

    @jax.jit
    def estimate(asymmetry, start):
        spec = spt.LinearResponse(dw_min=0.05, asymmetry_mean=asymmetry, dw_min_std=0.2)
        device = spt.sample_device(key, spec, (3,))
        w = jnp.full(3, start)
        return spt.zero_shift(key, device, w, 40, scheme=scheme, average="tail").estimate

    check_grads(estimate, (0.2, 0.1), order=1, modes=["fwd", "rev"])
    assert np.all(jax.jacrev(estimate)(0.2, 0.1) > 0.5)  # w* = c: most of it has been followed


DEVICE = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
shift = functools.partial(spt.zero_shift, jax.random.key(0), DEVICE, jnp.zeros(2))

REFUSED = {
    "floating num_pulses": (lambda: shift(10.0), TypeError, r"num_pulses.*integer.*10\.0"),
    "boolean num_pulses": (lambda: shift(True), TypeError, "num_pulses.*integer.*True"),
    "no pulses": (lambda: shift(0), ValueError, "num_pulses must be >= 1, got 0"),
    "scheme": (lambda: shift(9, scheme="random"), ValueError, "scheme.*'cyclic'.*got 'random'"),
    "first": (lambda: shift(9, first=1), ValueError, "first.*'up', 'down'.*got 1"),
    "average": (lambda: shift(9, average="mean"), ValueError, "average.*'two_point'.*got 'mean'"),
    "two points of one": (lambda: shift(1, average="two_point"), ValueError, ">= 2, got 1"),
    "tail_fraction": (
        lambda: shift(9, average="tail", tail_fraction=0.0),
        ValueError,
        r"tail_fraction=0\.0.*\(0, 1\]",
    ),
    "read noise": (lambda: shift(9, read_noise_std=-1.0), ValueError, r"read_noise_std=-1\.0"),
    "record_every": (lambda: shift(9, record_every=0), ValueError, "record_every must be >= 1"),
    "floating record_every": (lambda: shift(9, record_every=2.5), TypeError, r"record_every.*2\.5"),
    "key": (
        lambda: spt.zero_shift(0, DEVICE, jnp.zeros(2), 9),
        TypeError,
        r"jax\.random\.key\(0\); got 0",
    ),
    "unknown keyword": (lambda: shift(9, pulses=3), TypeError, "pulses"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_value_and_the_remedy(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_integer_weights_are_refused():
    with pytest.raises(TypeError, match="w must be floating, got dtype int32"):
        spt.zero_shift(jax.random.key(0), DEVICE, jnp.zeros(2, int), 9)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape.*\(2,\)"):
        spt.zero_shift(jax.random.key(0), DEVICE, jnp.zeros(1), 9)


def test_a_floating_array_is_no_number_of_pulses():
    with pytest.raises(TypeError, match="num_pulses"):
        shift(jnp.array(10.0))


def test_the_result_stays_within_the_bounds_and_in_the_weights_dtype(key):
    device = spt.sample_device(key, NOISY_SPECS["linear"], (50,))
    result = zero_shift(key, device, jnp.zeros(50), 50, scheme="stochastic")
    low, high = spt.bounds(device)
    assert np.all((low <= result.weight) & (result.weight <= high))
    assert result.estimate.dtype == jnp.float32
    assert same_bits(result.estimate, result.weight)  # without write and read noise
