"""What coincidences do to an array: moments, order of samples, edges, gradients, errors."""

import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests import oracle
from tests.support import (
    K_SIGMA,
    NOISY_SPECS,
    QUIET,
    assert_mean,
    assert_same_law,
    same_bits,
)

STATIC = ("train", "method", "count_moved")
update = jax.jit(spt.pulses.counted_coincidence_update, static_argnames=STATIC)
DW = 0.01
WIDE = spt.ConstantStep(dw_min=DW, **{**QUIET, "w_max": 100.0, "w_min": -100.0})
SEQUENCE, MERGED = spt.PulseTrain(), spt.PulseTrain(merged=True)
both = pytest.mark.parametrize("train", [SEQUENCE, MERGED], ids=["sequence", "merged"])
RNG = np.random.default_rng(0)
X, D = jnp.asarray(RNG.normal(size=(4, 3))), jnp.asarray(RNG.normal(size=(4, 2)))
START = jnp.full((3, 2), 0.1)


def device_of(spec, shape=(3, 2)):
    return spt.sample_device(spt.random.fast_key(1), spec, shape)


@functools.cache
def population(spec, train, lr=0.05, method="aggregate", seed=2, number=20_000):
    """Results of independent trains on one device, from START."""
    keys = jax.random.split(spt.random.fast_key(seed), number)
    device = device_of(spec)
    run = functools.partial(spt.pulses.counted_coincidence_update, train=train, method=method)
    return jax.jit(jax.vmap(run, (0, *[None] * 5)))(keys, device, START, X, D, lr)


@pytest.mark.parametrize("lr", [0.004, 0.05])
@both
def test_mean_and_variance_of_the_change_of_each_cell(train, lr):
    """Constant steps: mean -lr x^T d, variance sum dw_min^2 BL q (1 - q) <= lr |x|^T |d| dw_min."""
    moved = np.asarray(population(WIDE, train, lr).weight) - np.asarray(START)
    variance = 0
    for x, d in zip(X, D, strict=True):
        lines = spt.pulses.plan_lines(train, lr, DW, x, d)
        assert float(spt.pulses.saturation(lines).lost) == 0
        q = np.abs(np.outer(lines.x, lines.d))
        variance = variance + DW**2 * int(lines.length) * q * (1 - q)
    assert np.all(variance <= lr * np.abs(X).T @ np.abs(D) * DW)
    error = moved.std(0) / np.sqrt(len(moved))
    assert np.all(np.abs(moved.mean(0) + lr * X.T @ D) <= K_SIGMA * error)
    fourth = ((moved - moved.mean(0)) ** 4).mean(0)
    error = np.sqrt((fourth - variance**2) / len(moved))
    assert np.all(np.abs(moved.var(0) - variance) <= K_SIGMA * error)


def test_a_saturated_train_is_biased_as_reported(key):
    """Three pulses of four wanted are sent in BL = 3; nothing is random there."""
    device, x, d = device_of(WIDE, (1, 2)), jnp.ones(1), jnp.array([1.0, -0.5])
    train = spt.PulseTrain(desired_bl=3)
    result = spt.pulses.counted_coincidence_update(
        key, device, jnp.zeros((1, 2)), x, d, 4 * DW, train=train
    )
    assert result.down.tolist() == [[3, 0]]
    np.testing.assert_allclose(result.saturation.wanted, 6.0, rtol=1e-5)
    np.testing.assert_allclose(result.saturation.lost, 1.0, rtol=1e-5)
    assert (int(result.saturation.samples), int(result.saturation.saturated)) == (1, 1)


@pytest.mark.parametrize("kind", ["mean_count", "deterministic_implicit"])
def test_kinds_without_noise_are_applied(key, kind):
    """Counts of every sample as `count_coincidences` has them, one after the other."""
    train, expected = spt.PulseTrain(kind=kind), 0
    for x, d in zip(X, D, strict=True):
        lines = spt.pulses.plan_lines(train, 0.05, DW, x, d)
        expected = expected + spt.pulses.count_coincidences(key, train, lines)
    result = update(key, device_of(WIDE), START, X, D, 0.05, train=train, method="aggregate")
    np.testing.assert_array_equal(result.up - result.down, expected)
    np.testing.assert_allclose(result.weight, START + DW * expected, atol=1e-6)
    assert np.any(result.up > 0) and np.any(result.down > 0)


@pytest.mark.optimized  # the last bits as users have them
@pytest.mark.parametrize("method", ["exact", "aggregate", "mean"])
@pytest.mark.parametrize("name", ["soft_bounds", "power"])
def test_a_batch_is_the_loop_of_its_samples(key, method, name):
    """Bit for bit, with cycle noise: sample s has the key fold_in(key, s)."""
    device = device_of(NOISY_SPECS[name])
    options = {"method": method, "count_moved": True}
    together = update(key, device, START, X, D, 0.2, **options)
    w, total = START, None
    for s in range(len(X)):
        one = update(jax.random.fold_in(key, s), device, w, X[s], D[s], 0.2, **options)
        w = one.weight
        total = one if total is None else jax.tree.map(jnp.add, total, one)
    assert same_bits(together, total._replace(weight=w))
    assert not same_bits(together.weight, START)


@both
def test_vmap_is_the_loop(train):
    """Devices, weights, vectors and rates of their own, operation by operation outside the scan."""
    keys = jax.random.split(spt.random.fast_key(3), 3)
    devices = jax.vmap(lambda k: spt.sample_device(k, NOISY_SPECS["soft_bounds"], (3, 2)))(keys)
    w, lr = jnp.linspace(-0.2, 0.2, 18).reshape(3, 3, 2), jnp.array([0.05, 0.3, 0.01])
    x, d = jnp.stack([X, -X, 2 * X]), jnp.stack([D, D * D, -D])
    run = functools.partial(
        spt.pulses.counted_coincidence_update, train=train, method="aggregate", count_moved=True
    )
    given = keys, devices, w, x, d, lr
    together, single = jax.jit(jax.vmap(run))(*given), jax.jit(run)
    for i in range(3):
        one, other = (jax.tree.map(lambda a, i=i: a[i], tree) for tree in (given, together))
        alone = single(*one)
        np.testing.assert_allclose(alone.weight, other.weight, rtol=0, atol=1e-6)  # as XLA rounds
        assert same_bits(alone[1:-1], other[1:-1])


def test_merging_sends_the_same_pulses_in_another_order():
    sequence, merged = population(WIDE, SEQUENCE), population(WIDE, MERGED)
    for field in ("up", "down", "saturation"):
        assert same_bits(getattr(sequence, field), getattr(merged, field))
    np.testing.assert_allclose(merged.weight, sequence.weight, atol=2e-6)  # constant steps commute


def test_merging_errs_by_the_order_of_up_and_down_pulses():
    """Linear response: a swapped pair is off by 2 dw_min^2; the fair coin removes the mean.

    Of the gap to a random order of the samples, that is; one order is not random.
    """
    device, number = device_of(spt.LinearResponse(dw_min=DW)), 20_000

    def run(key, train):
        order = jax.random.permutation(jax.random.fold_in(key, 99), len(X))
        return spt.pulses.counted_coincidence_update(
            key, device, START, X[order], D[order], 0.05, train=train, method="aggregate"
        )

    keys = jax.random.split(spt.random.fast_key(12), number)
    sequence, merged = (
        jax.jit(jax.vmap(functools.partial(run, train=train)))(keys) for train in (SEQUENCE, MERGED)
    )
    gap, pairs = np.asarray(merged.weight - sequence.weight), np.asarray(merged.up * merged.down)
    assert np.all(np.abs(gap) <= 2 * DW**2 * pairs + 3e-7)
    mixed = pairs.mean(0) > 3
    assert mixed.any()
    assert np.all(np.abs(gap).mean(0)[mixed] > 0.2 * DW**2 * pairs.mean(0)[mixed])
    for cell in np.argwhere(mixed):
        assert_mean(gap[(slice(None), *cell)], 0.0)


EDGES = [0.0, 1.0, -1.0, 1e-30, 1e-12, -1e-7, 0.5, np.nan]


@pytest.mark.parametrize("kind", spt.pulses.train.KINDS)
def test_edge_probabilities_never_hang(kind):
    """x and d of 0, 1, tiny and NaN, every pair in a population; compiled and run in time."""
    pairs = np.array(list(itertools.product(EDGES, EDGES)), np.float32)
    device, train = device_of(WIDE, (2, 2)), spt.PulseTrain(kind=kind)
    begin = time.monotonic()

    def run(key, x, d):
        x, d = jnp.stack([jnp.ones(()), x]), jnp.stack([d, jnp.ones(())])
        return spt.pulses.counted_coincidence_update(
            key, device, jnp.zeros((2, 2)), x, d, 0.1, train=train, method="exact"
        )

    keys = jax.random.split(spt.random.fast_key(4), len(pairs))
    result = jax.jit(jax.vmap(run))(keys, *pairs.T)
    assert time.monotonic() - begin < 60
    x, d = pairs.T
    nan = np.stack([np.isnan(d), np.zeros(len(x), bool), np.isnan(x * d), np.isnan(x)], axis=1)
    np.testing.assert_array_equal(np.isnan(result.weight).reshape(-1, 4), nan)
    counts = np.asarray(result.up - result.down)
    np.testing.assert_array_equal(counts[:, 0, 1], -10)  # x = d = 1: the full train of 10
    known = np.abs(d) != 0.5
    expected = np.where(np.abs(d) == 1, -10 * d, 0)  # the tiny ones don't fire here
    np.testing.assert_array_equal(counts[known, 0, 0], expected[known])


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_on_its_line(key, bad, train):
    device = device_of(NOISY_SPECS["soft_bounds"])

    def run(x, d, lr=0.1):
        return update(key, device, START, x, d, lr, train=train, method="aggregate")

    found, zero = run(X.at[1, 2].set(bad), D), run(X.at[1, 2].set(0.0), D)
    assert np.isnan(found.weight).tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert same_bits(found.weight[:2], zero.weight[:2])
    assert same_bits(found[1:], zero[1:])
    assert np.isnan(run(X, D.at[0, 1].set(bad)).weight).tolist() == [[False, True]] * 3
    assert np.all(np.isnan(run(X, D, bad).weight))


def test_a_negative_rate_climbs(key):
    device = device_of(NOISY_SPECS["linear"])
    down, up = (
        update(key, device, START, sign * X, D, sign * 0.1, method="aggregate")
        for sign in (1.0, -1.0)
    )
    assert same_bits(down, up)


@both
def test_the_ideal_array_takes_the_contraction(key, train):
    moved = spt.coincidence_update(key, device_of(spt.IdealStep()), START, X, D, 0.3, train=train)
    expected = START - 0.3 * spt.pulses.contract(spt.Factors(X, D))
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


def test_a_kernel_with_more_axes_is_its_matrix(key):
    shape = (2, 2, 3, 2)
    device, start = device_of(NOISY_SPECS["soft_bounds"], shape), jnp.zeros(shape)
    x = jnp.asarray(RNG.normal(size=(4, 2, 2, 3)))
    matrix = jax.tree.map(lambda a: a.reshape(12, 2) if a.shape == shape else a, device)
    expected = update(
        key, matrix, start.reshape(12, 2), x.reshape(4, 12), D, 0.1, method="aggregate"
    )
    for given in (x, x.reshape(4, 12)):
        moved = update(key, device, start, given, D, 0.1, method="aggregate").weight
        assert same_bits(moved.reshape(12, 2), expected.weight)


@both
def test_without_samples_nothing_happens(key, train):
    device, w = device_of(spt.ConstantStep()), jnp.full((3, 2), 0.1)
    new = spt.coincidence_update(
        key, device, w, jnp.zeros((0, 3)), jnp.zeros((0, 2)), 0.1, train=train
    )
    np.testing.assert_array_equal(new, w)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("method", ["aggregate", "mean"])
def test_the_weights_dtype_is_kept(key, dtype, method):
    device = spt.sample_device(key, NOISY_SPECS["soft_bounds"], (3, 2), dtype=dtype)
    moved = update(key, device, START.astype(dtype), X.astype(dtype), D, 0.1, method=method)
    assert moved.weight.dtype == dtype and np.all(np.isfinite(moved.weight))


@both
@pytest.mark.parametrize("managed", [True, False])
def test_the_mean_is_differentiable(x64, key, managed, train):
    """Constant steps: the gradients of w - lr x^T d are products; also at x = 0 and at p = 1."""
    train = spt.PulseTrain(
        merged=train.merged, update_management=managed, update_bl_management=managed
    )
    device = spt.sample_device(key, WIDE, (3, 2))
    x, d, a = np.array(X, float), np.array(D, float), np.arange(6.0).reshape(3, 2) - 2
    x[0, 1], d[1, 0] = 0.0, 0.0

    def value(x, d, lr):
        moved = spt.coincidence_update(
            key, device, jnp.zeros((3, 2)), x, d, lr, train=train, method="mean"
        )
        return jnp.sum(moved * a)

    gradient = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(x, d, 0.05)
    np.testing.assert_allclose(gradient[0], -0.05 * d @ a.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient[1], -0.05 * x @ a, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient[2], -np.sum((x.T @ d) * a), rtol=1e-9)


def test_exact_and_aggregate_have_the_same_law():
    spec = spt.LinearResponse(dw_min=DW, dw_min_std=0.5)
    exact = population(spec, SEQUENCE, method="exact", seed=5, number=4000).weight
    aggregate = population(spec, SEQUENCE, seed=6, number=4000).weight
    for cell in itertools.product([slice(None)], range(3), range(2)):
        assert_same_law(exact[cell], aggregate[cell])


def test_pulses_that_move_nothing_are_told_from_those_that_do(key):
    """Constant steps of 0.01 to a bound at 0.6; the counts by the NumPy oracle, pulse by pulse."""
    n = 60
    device = spt.sample_device(key, spt.ConstantStep(dw_min=DW, **QUIET), (n,))
    w, counts = jnp.linspace(-0.597, 0.597, n), jnp.asarray(RNG.integers(-30, 31, n))
    cells = oracle.ConstantCells(DW, DW, 0.6, -0.6)
    state, moved = np.array(w, float), np.zeros(n, int)
    for k in range(30):
        new = np.where(k < np.abs(counts), cells.step(state, np.asarray(counts) > 0, 0.0), state)
        state, moved = new, moved + (new != state)
    assert 0 < (moved < np.abs(counts)).mean() < 1
    for method in ("exact", "aggregate"):
        new, found = spt.pulses.apply_counted(
            key, device, w, counts, method=method, count_moved=True
        )
        np.testing.assert_array_equal(found, moved)
        assert same_bits(new, spt.apply_pulses(key, device, w, counts, method=method))


@pytest.mark.parametrize("method", ["exact", "aggregate", "mean"])
def test_no_pulse_moves_a_stuck_cell(key, method):
    device = device_of(spt.presets.reram_array_hfo2(corrupt_devices_prob=1.0))
    w, _ = spt.bounds(device)
    result = update(key, device, w, X, D, 0.5, method=method, count_moved=True)
    assert not np.any(result.moved_up) and not np.any(result.moved_down)
    assert np.any(result.up > 0)


KEY, DEVICE, W = spt.random.fast_key(0), device_of(WIDE), jnp.zeros((3, 2))
REFUSED = {
    "x of another length": (
        (KEY, DEVICE, W, X[:, :2], D, 0.1),
        ValueError,
        r"\(inputs,\).*got w \(3, 2\), x \(4, 2\) and d \(4, 2\)",
    ),
    "other samples": ((KEY, DEVICE, W, X, D[:3], 0.1), ValueError, r"d \(3, 2\)"),
    "a batch with a vector": ((KEY, DEVICE, W, X, D[0], 0.1), ValueError, r"d \(2,\)"),
    "integer x": (
        (KEY, DEVICE, W, jnp.ones(3, int), D[0], 0.1),
        TypeError,
        "x must be floating, got dtype int32",
    ),
    "a word for the rate": (
        (KEY, DEVICE, W, X, D, "fast"),
        TypeError,
        "learning_rate must be a number, got 'fast'",
    ),
    "NaN for the rate": ((KEY, DEVICE, W, X, D, np.nan), ValueError, "learning_rate=nan is out"),
    "no key": ((0, DEVICE, W, X, D, 0.1), TypeError, "random key"),
    "integer weight": ((KEY, DEVICE, W.astype(int), X, D, 0.1), TypeError, "w must be floating"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused(name):
    arguments, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        spt.coincidence_update(*arguments)


def test_unknown_settings_are_refused():
    for options, error, message in (
        ({"train": "stochastic"}, TypeError, r"train must be a spt\.PulseTrain.*got 'stochastic'"),
        ({"method": "fast"}, ValueError, "method must be one of"),
        ({"trains": SEQUENCE}, TypeError, "trains"),
    ):
        with pytest.raises(error, match=message):
            spt.coincidence_update(KEY, DEVICE, W, X, D, 0.1, **options)
