"""Zero-shifting in closed form against one pulse at a time: NumPy, moments, and whole laws."""

import csv
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.devices.cyclic_law import cyclic_law
from tests import oracle
from tests.support import QUIET, WithoutClosedForm, assert_same_law

STATIC = ("num_pulses", "scheme", "first", "average", "record_every", "method")
zero_shift = jax.jit(spt.zero_shift, static_argnames=STATIC)
one_law = jax.jit(cyclic_law)
aggregate = functools.partial(zero_shift, method="aggregate")

COUNTS = np.array([1, 2, 3, 4, 7, 20, 101, 1000])
laws = jax.jit(jax.vmap(cyclic_law, in_axes=(None, None, 0, 0)))


def weights(cells, number=41):
    """Weights from bound to bound of one cell."""
    return np.linspace(cells[0], cells[1], number)


# name: (spec without noise, the oracle's cell, bounds of w)
CELLS = {
    "soft bounds": (
        spt.SoftBoundsReference(
            dw_min=0.05, up_down=0.3, reference_mean=0.2, **(QUIET | {"w_max": 0.9, "w_min": -0.7})
        ),
        oracle.SoftBoundsCells(0.05, 0.05 * 0.7, 0.9, -0.7, reference=0.2),
        (-0.9, 0.7),
    ),
    "passes its bound in one pulse": (
        spt.SoftBounds(dw_min=1.5, up_down=0.4, **(QUIET | {"w_max": 1.0, "w_min": -1.2})),
        oracle.SoftBoundsCells(1.5, 1.5 * 0.6, 1.0, -1.2),
        (-1.2, 1.0),
    ),
    "balanced steps": (
        spt.ConstantStep(dw_min=0.03, **QUIET),
        oracle.ConstantCells(0.03, 0.03, 0.6, -0.6),
        (-0.6, 0.6),
    ),
    "climbs to its bound": (
        spt.ConstantStep(dw_min=0.03, up_down=0.4, **QUIET),
        oracle.ConstantCells(0.03, 0.018, 0.6, -0.6),
        (-0.6, 0.6),
    ),
    "falls to its bound": (
        spt.ConstantStep(dw_min=0.03, up_down=-0.4, **QUIET),
        oracle.ConstantCells(0.018, 0.03, 0.6, -0.6),
        (-0.6, 0.6),
    ),
    "step as wide as the range": (
        spt.ConstantStep(dw_min=1.5, up_down=0.4, **QUIET),
        oracle.ConstantCells(1.5, 0.9, 0.6, -0.6),
        (-0.6, 0.6),
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_without_noise_it_is_the_recursion(x64, name):
    """For every number of pulses and either first direction, clips included, to rounding."""
    spec, cells, bounds = CELLS[name]
    w = weights(bounds)
    device = spt.sample_device(jax.random.key(0), spec, w.shape)
    for first in (True, False):
        found, std = laws(device, jnp.asarray(w), jnp.asarray(COUNTS), np.full(len(COUNTS), first))
        assert std is None
        trace = oracle.alternate(cells, w, COUNTS.max(), first_up=first)
        np.testing.assert_allclose(found, trace[COUNTS - 1], rtol=0, atol=1e-13)


def moments(slopes, offsets, noise, relative, w, num_pulses):
    """Mean and std after each pulse of w <- (1 - x) w + b + noise, from the definition alone.

    Additive: noise has the std `noise`; multiplicative: `relative` times the step b - x w.
    """
    mean, square = w.copy(), w**2  # E[w], E[w^2]
    for k in range(num_pulses):
        x, b, s = slopes[k % 2], offsets[k % 2], noise[k % 2]
        step_square = b**2 - 2 * b * x * mean + x**2 * square
        new_mean = (1 - x) * mean + b
        square = (1 - x) ** 2 * square + 2 * (1 - x) * b * mean + b**2
        square = square + (relative**2 * step_square if relative else s**2)
        mean = new_mean
        yield mean, np.sqrt(square - mean**2)


@pytest.mark.parametrize("kind", ["soft bounds", "constant", "one flat direction", "nearly flat"])
@pytest.mark.parametrize("noise", ["additive", "multiplicative"])
@pytest.mark.parametrize("first", ["up", "down"])
def test_mean_and_std_are_those_of_the_recursion_without_bounds(x64, kind, noise, first):
    dw, sigma, w = 0.02, 0.4, np.linspace(-0.6, 0.5, 12)
    up_slope, down_slope = {
        "soft bounds": (1.1, 1.4),
        "constant": (0.0, 0.0),
        "one flat direction": (0.9, 0.0),
        "nearly flat": (1e-9, 3e-11),
    }[kind]
    up, down = 1.0, 0.7
    full = functools.partial(jnp.full, w.shape)
    device = spt.devices.AffineDevice(
        dw_min=jnp.asarray(dw), up=full(up), up_slope=full(up_slope), down=full(down),
        down_slope=full(down_slope), low=full(-1e9), high=full(1e9),
        noise_up=full(sigma * up) if noise == "additive" else None,
        noise_down=full(sigma * down) if noise == "additive" else None,
        relative_noise=jnp.asarray(sigma) if noise == "multiplicative" else None,
    )  # fmt: skip
    rising = (dw * up_slope, dw * up, dw * sigma * up)
    falling = (dw * down_slope, -dw * down, dw * sigma * down)
    order = (rising, falling) if first == "up" else (falling, rising)
    relative = sigma if noise == "multiplicative" else 0
    expected = list(moments(*zip(*order, strict=True), relative, w, COUNTS.max()))
    means, stds = laws(
        device, jnp.asarray(w), jnp.asarray(COUNTS), np.full(len(COUNTS), first == "up")
    )
    for n, mean, std in zip(COUNTS, means, stds, strict=True):
        np.testing.assert_allclose(mean, expected[n - 1][0], rtol=1e-9, atol=1e-12)
        # Squares of up to 36 are subtracted in the recursion, so it has 1e-7 of a std at best.
        np.testing.assert_allclose(std, expected[n - 1][1], rtol=1e-6)


def kolmogorov_smirnov(one, other):
    """Statistic D sqrt(n/2) of two samples of n; above 2.2 with probability 1e-4."""
    one, other = np.sort(np.ravel(one)), np.sort(np.ravel(other))
    everywhere = np.concatenate([one, other])
    gaps = np.searchsorted(one, everywhere, "right") - np.searchsorted(other, everywhere, "right")
    return np.abs(gaps).max() / one.size * np.sqrt(one.size / 2)


@pytest.mark.parametrize("num_pulses", [2, 41])
def test_the_law_of_the_last_reads_is_that_of_single_pulses(key, num_pulses):
    """20 000 equal cells with additive noise, away from the bounds: KS, mean and std.

    The last read, and the mean of the last two, whose spread depends on how they go together.
    """
    device = spt.sample_device(
        key,
        spt.SoftBounds(dw_min=0.01, up_down=0.2, mult_noise=False, **(QUIET | NOISE)),
        (20_000,),
    )
    w = jnp.full(20_000, -0.2)
    for average in ("none", "two_point"):
        options = {"average": average, "read_noise_std": 1e-3}
        one = zero_shift(jax.random.fold_in(key, 1), device, w, num_pulses, **options).estimate
        other = aggregate(jax.random.fold_in(key, 2), device, w, num_pulses, **options).estimate
        assert_same_law(one, other)
        assert kolmogorov_smirnov(one, other) < 2.2


NOISE = {"dw_min_std": 1.5}


def test_a_trace_and_shorter_runs_belong_together(key):
    """Without noise: blocks of an odd number of pulses begin in either direction."""
    spec, _, bounds = CELLS["soft bounds"]
    w = jnp.asarray(weights(bounds), jnp.float32)
    device = spt.sample_device(key, spec, w.shape)
    for average, cases in {"none": [(13, 3), (4, 1)], "two_point": [(12, 3), (12, 4)]}.items():
        for num_pulses, every in cases:
            exact = zero_shift(key, device, w, num_pulses, record_every=every, average=average)
            found = aggregate(key, device, w, num_pulses, record_every=every, average=average)
            assert found.trace.shape == exact.trace.shape
            for one, other in zip(found, exact, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)


def test_single_precision_is_enough_for_any_step():
    """dw_min = 1.6e-6 and 8.192e6 pulses: single within 1e-6 of double, from any start."""
    results = []
    for double in (False, True):
        with jax.enable_x64(double):
            spec = spt.presets.figure_1_soft_bounds(dw_min=1.6e-6)
            cells = spt.sample_device(jax.random.key(3), spec, (64,), dtype=jnp.float32)
            device = jax.tree.map(lambda x: x.astype(float), cells)
            w = jnp.full(64, -0.5)
            assert w.dtype == (np.float64 if double else np.float32)
            results.append(
                [
                    aggregate(jax.random.key(0), device, w, n).weight
                    for n in (999, 1_000_001, 8_192_000)
                ]
            )
    single, double = (np.asarray(result, float) for result in results)
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-6)


def published_pulses():
    path = pathlib.Path(__file__).parents[2] / "experiments" / "reference" / "figure_1b_pulses.csv"
    with path.open() as file:
        return {
            float(row["dw_min"]): int(row["smallest_N_on_grid_mine"])
            for row in csv.DictReader(file)
        }


def test_acceptance_07_figure_1b(key):
    """Section 9, number 7: the fewest pulses on the grid that find the mean SP within 1 %.

    512 x 512 cells from -0.5, first pulse down, in single precision.
    """
    shape, grid = (512, 512), [200, 500, *(1000 * 2**j for j in range(14))]
    found = {}
    for dw_min in published_pulses():
        device = spt.sample_device(key, spt.presets.figure_1_soft_bounds(dw_min=dw_min), shape)
        truth = float(spt.symmetric_point(device).mean())
        for n in grid:
            mean, _ = one_law(device, jnp.full(shape, -0.5), n, False)
            if abs(float(mean.mean()) - truth) < 0.01 * abs(truth):
                found[dw_min] = n
                break
    assert found == published_pulses()


def test_the_estimate_is_differentiable(x64):
    """Reverse mode against central differences, same key; multiplicative noise has all terms."""
    key = spt.random.fast_key(5)

    @jax.jit
    def estimate(up_down, start):
        spec = spt.SoftBounds(dw_min=0.05, up_down=up_down, **(QUIET | NOISE))
        device = spt.sample_device(key, spec, (3,))
        w = jnp.full(3, start)
        return spt.zero_shift(key, device, w, 40, method="aggregate", average="two_point").estimate

    arguments, h = (0.2, 0.1), 1e-6
    found = jax.jacrev(estimate, argnums=(0, 1))(*arguments)
    for index, gradient in enumerate(found):
        shifted = lambda by, i=index: [x + by * (i == j) for j, x in enumerate(arguments)]
        expected = (estimate(*shifted(h)) - estimate(*shifted(-h))) / (2 * h)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_cells_without_a_slope_have_finite_gradients(key):
    flat = spt.sample_device(key, spt.ConstantStep(dw_min=0.01, **QUIET), (3,))
    total = lambda w, device: spt.zero_shift(key, device, w, 7, method="aggregate").estimate.sum()
    grads = jax.grad(total, argnums=(0, 1))(jnp.zeros(3), flat)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


DEVICE = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
shift = functools.partial(
    spt.zero_shift, jax.random.key(0), w=jnp.zeros(2), num_pulses=9, method="aggregate"
)

REFUSED = {
    "method": (lambda: shift(DEVICE, method="mean"), "method.*'exact', 'aggregate'.*got 'mean'"),
    "scheme": (lambda: shift(DEVICE, scheme="stochastic"), "cyclic.*'stochastic'.*'exact'"),
    "tail": (lambda: shift(DEVICE, average="tail"), "'tail'.*two_point.*'exact'"),
    "device": (lambda: shift(WithoutClosedForm(DEVICE)), "WithoutClosedForm.*cyclic_law.*'exact'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_is_refused_with_the_remedy(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
