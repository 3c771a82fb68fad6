"""A wanted increment becomes pulses: stochastic rounding, eq. (2), the ideal array, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests.support import NOISY_SPECS, QUIET, assert_mean, assert_same_law, same_bits

REPEATS = 20_000
METHODS = ("exact", "aggregate", "mean")
KEY = jax.random.key(0)


def test_acceptance_17_pulse_numbers(key):
    """Section 9, number 17: E[pulses] = lr |x d| / delta per cell, Var[dw] = Theta(lr delta).

    Here for the stochastic rounding of the rank-1 increment; coincidence trains come later.
    """
    lr, delta = 0.1, 0.005
    x, d = jnp.array([0.9, -0.5, 0.02]), jnp.array([1.0, -0.3, 0.0, 0.07])
    dw = -lr * jnp.outer(d, x)
    repeated = jnp.broadcast_to(dw, (REPEATS, 4, 3))
    counts = spt.pulses.round_to_pulses(key, repeated, jnp.asarray(delta))
    assert counts.dtype == jnp.int32
    size = np.abs(np.asarray(dw, float)) / delta
    for cell in np.ndindex(4, 3):
        n = np.asarray(counts[(slice(None), *cell)])
        assert set(np.unique(n * np.sign(dw[cell]))) <= {np.floor(size[cell]), np.ceil(size[cell])}
        part = size[cell] - np.floor(size[cell])
        # A Bernoulli share f has the standard error sqrt(f (1 - f) / n).
        error = np.sqrt(part * (1 - part) / REPEATS)
        assert abs(np.abs(n).mean() - size[cell]) <= 4.5 * error + 1e-5 * size[cell]
        variance = (n * delta).var()
        assert variance <= delta**2 / 4 * 1.05  # the largest variance of rounding, f = 1/2
    # For less than one expected pulse, Var = |dw| delta (1 - |dw|/delta): first order in lr delta.
    small = (size > 0) & (size < 0.2)
    expected = np.abs(np.asarray(dw)) * delta * (1 - size)
    found = np.asarray((counts * delta).var(axis=0))
    assert small.sum() >= 2
    np.testing.assert_allclose(
        found[small], expected[small], rtol=4.5 / np.sqrt(REPEATS * size[small].min())
    )


def test_roundings_are_independent_from_cell_to_cell(key):
    counts = spt.pulses.round_to_pulses(key, jnp.full(REPEATS, 0.05), jnp.asarray(0.1))
    assert abs(np.corrcoef(counts[1:], counts[:-1])[0, 1]) < 4.5 / np.sqrt(REPEATS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_no_increment_is_no_pulse(key, dtype):
    """Also where the random number is the largest that there is, and rounds to a whole pulse."""
    counts = spt.pulses.round_to_pulses(key, jnp.zeros(REPEATS, dtype), jnp.asarray(0.1, dtype))
    assert not counts.any()


def test_the_mean_of_updates_is_equation_two(key):
    """E[w'] = w + dw F - |dw| G: exact for a response without slope, here of unequal steps."""
    spec = spt.ConstantStep(dw_min=0.01, **(QUIET | {"up_down": 0.4, "dw_min_std": 0.3}))
    device = spt.sample_device(KEY, spec, (REPEATS,))
    w = jnp.full(REPEATS, 0.1)
    for dw in (0.023, -0.023):
        f, g = (part(device, w)[0] for part in (spt.symmetric_part, spt.asymmetric_part))
        expected = float(0.1 + dw * f - abs(dw) * g)
        for method in METHODS[:2]:
            found = spt.analog_update(key, device, w, jnp.full(REPEATS, dw), method=method)
            assert_mean(found, expected)
        found = spt.analog_update(key, device, w, jnp.full(REPEATS, dw), method="mean")
        np.testing.assert_allclose(found, expected, rtol=1e-6)  # rounding of float32


@pytest.mark.parametrize("name", NOISY_SPECS)
def test_mean_is_equation_two_on_every_device(key, name):
    device = spt.sample_device(key, NOISY_SPECS[name], (200,))
    low, high = spt.bounds(device)
    w = low + 0.4 * (high - low)
    dw = jnp.linspace(-0.02, 0.02, 200)
    f, g = spt.symmetric_part(device, w), spt.asymmetric_part(device, w)
    expected = np.clip(w + dw * f - np.abs(dw) * g, low, high)
    found = spt.analog_update(key, device, w, dw, method="mean")
    largest = np.maximum(1, np.abs(dw) * (np.abs(f) + np.abs(g)))  # of what is added
    assert np.all(np.abs(found - expected) <= 4 * np.finfo(np.float32).eps * largest)


def test_updates_are_rounded_pulses(key):
    """`counted_update` applies the counts it reports (noise-free, so they can be reapplied)."""
    device = spt.sample_device(key, spt.LinearResponse(dw_min=0.01), (200,))
    w, dw = jnp.linspace(-0.5, 0.5, 200), jnp.linspace(0.2, -0.2, 200)
    for method in METHODS[:2]:
        weight, counts = spt.pulses.counted_update(key, device, w, dw, method=method)
        assert same_bits(weight, spt.apply_pulses(KEY, device, w, counts, method=method))
        assert same_bits(weight, spt.analog_update(key, device, w, dw, method=method))
        assert np.abs(counts - dw / 0.01).max() < 1
    counts = spt.pulses.counted_update(key, device, w, dw, method="mean").counts
    np.testing.assert_allclose(counts, dw / 0.01, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_ideal_array_takes_any_increment_exactly(key, method):
    device = spt.sample_device(key, spt.IdealStep(), (4,))
    w, dw = jnp.array([0.1, -3.0, 2.0, 0.0]), jnp.array([1e-6, 0.123, -7.5, 0.0])
    weight, counts = spt.pulses.counted_update(key, device, w, dw, method=method)
    assert same_bits(weight, w + dw) and counts.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["soft_bounds", "power"])
def test_nan_stays_with_its_cell(key, method, name):
    device = spt.sample_device(key, NOISY_SPECS[name], (3,))
    dw = jnp.array([0.1, jnp.nan, -0.1])
    moved = spt.analog_update(key, device, jnp.zeros(3), dw, method=method)
    assert np.isnan(moved).tolist() == [False, True, False]


def test_exact_and_aggregate_updates_have_the_same_law(key):
    spec = spt.SoftBounds(dw_min=0.003, mult_noise=False, **(QUIET | {"dw_min_std": 0.8}))
    device = spt.sample_device(KEY, spec, (REPEATS,))
    w, dw = jnp.zeros(REPEATS), jnp.full(REPEATS, 0.0245)
    exact, aggregate = (
        spt.analog_update(jax.random.fold_in(key, number), device, w, dw, method=method)
        for number, method in enumerate(METHODS[:2])
    )
    assert_same_law(exact, aggregate)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("method", METHODS)
def test_the_weights_dtype_is_kept(key, dtype, method):
    device = spt.sample_device(key, NOISY_SPECS["soft_bounds"], (3,))
    w, dw = jnp.zeros(3, dtype), jnp.full(3, 0.1, dtype)
    assert spt.analog_update(key, device, w, dw, method=method).dtype == dtype
    assert spt.apply_pulses(key, device, w, jnp.ones(3, int), method=method).dtype == dtype


def test_the_ideal_array_keeps_the_weights_dtype(key):
    device = spt.sample_device(key, spt.IdealStep(), (3,))
    w = jnp.zeros(3, jnp.bfloat16)
    assert spt.analog_update(key, device, w, jnp.ones(3)).dtype == jnp.bfloat16


DEVICE = spt.sample_device(KEY, spt.LinearResponse(), (3,))
W, N = jnp.zeros(3), jnp.ones(3, int)

REFUSED = {
    "floating counts": (
        lambda: spt.apply_pulses(KEY, DEVICE, W, jnp.ones(3)),
        TypeError,
        r"integers, got dtype float32.*spt\.analog_update",
    ),
    "boolean counts": (
        lambda: spt.apply_pulses(KEY, DEVICE, W, jnp.ones(3, bool)),
        TypeError,
        "integers, got dtype bool",
    ),
    "unknown method": (
        lambda: spt.apply_pulses(KEY, DEVICE, W, N, method="fast"),
        ValueError,
        "method must be one of .*'exact'.*got 'fast'",
    ),
    "unknown method of an update": (
        lambda: spt.analog_update(KEY, DEVICE, W, W, method="Exact"),
        ValueError,
        "method must be one of .*'exact'.*got 'Exact'",
    ),
    "integer weights": (
        lambda: spt.apply_pulses(KEY, DEVICE, jnp.zeros(3, int), N),
        TypeError,
        r"w must be floating, got dtype int32.*astype\(float\)",
    ),
    "integer weights of an update": (
        lambda: spt.analog_update(KEY, DEVICE, jnp.zeros(3, int), W),
        TypeError,
        "w must be floating, got dtype int32",
    ),
    "counts of another shape": (
        lambda: spt.apply_pulses(KEY, DEVICE, W, jnp.ones(2, int)),
        ValueError,
        r"counts must have the shape of w, \(3,\), got \(2,\)",
    ),
    "dw of another shape": (
        lambda: spt.analog_update(KEY, DEVICE, W, jnp.ones(())),
        ValueError,
        r"dw must have the shape of w, \(3,\), got \(\)",
    ),
    "integer key": (
        lambda: spt.apply_pulses(0, DEVICE, W, N),
        TypeError,
        r"random key.*jax\.random\.key\(0\); got 0",
    ),
    "no key, even where it is unused": (
        lambda: spt.analog_update(None, DEVICE, W, W, method="mean"),
        TypeError,
        "random key.*got None",
    ),
    "unknown keyword": (
        lambda: spt.apply_pulses(KEY, DEVICE, W, N, mode="exact"),
        TypeError,
        "mode",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_value_and_the_remedy(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_another_shape_than_the_device_is_refused(method):
    with pytest.raises(ValueError, match=r"shape.*\(3,\)"):
        spt.apply_pulses(KEY, DEVICE, jnp.zeros(1), jnp.ones(1, int), method=method)


def test_what_is_no_pytree_is_no_device(key):
    class Plain:
        dw_min = 0.1

        def response(self, w):
            return jnp.ones_like(w), jnp.ones_like(w)

    with pytest.raises(TypeError, match=r"a device is a pytree of arrays, got .*Plain"):
        spt.analog_update(key, Plain(), jnp.zeros(2), jnp.ones(2))
