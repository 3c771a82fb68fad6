"""A user's own device: ten lines, no registration, everything works."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt


class Tanh(NamedTuple):
    """A response that saturates smoothly, tilted: symmetric where tanh(slope w) = tilt."""

    dw_min: jax.Array
    slope: jax.Array
    tilt: jax.Array

    def response(self, w):
        bent = jnp.tanh(self.slope * w)
        return 1 + self.tilt - bent, 1 - self.tilt + bent

    def bounds(self):
        return -jnp.ones_like(self.slope), jnp.ones_like(self.slope)

    def noise(self, w):
        return 0.3, 0.3


CELLS = 200
METHODS = ("exact", "aggregate", "mean")


def tanh_cells(key, shape=(CELLS,)):
    slope = jax.random.uniform(jax.random.fold_in(key, 0), shape, minval=1.0, maxval=2.0)
    tilt = jax.random.uniform(jax.random.fold_in(key, 1), shape, minval=-0.3, maxval=0.3)
    return Tanh(jnp.asarray(0.01), slope, tilt)


def test_it_is_a_device(key):
    device = tanh_cells(key)
    assert isinstance(device, spt.devices.Device)
    assert not spt.devices.is_continuous(device) and not spt.pulses.has_write_noise(device)


def test_its_symmetric_point_is_found(key, x64):
    device = tanh_cells(key)
    expected = np.arctanh(device.tilt) / device.slope
    np.testing.assert_allclose(spt.symmetric_point(device), expected, atol=1e-12)


def test_without_bounds_the_search_says_what_is_missing():
    class Endless(NamedTuple):
        dw_min: float

        def response(self, w):
            return 1 - w, 1 + w

    with pytest.raises(ValueError, match=r"Endless has neither symmetric_point\(\) nor bounds\(\)"):
        spt.symmetric_point(Endless(0.1))
    assert np.all(np.isinf(spt.bounds(Endless(0.1))))
    w = jnp.zeros(2)
    for method in METHODS:
        moved = spt.apply_pulses(
            jax.random.key(0), Endless(0.1), w, jnp.array([1, -1]), method=method
        )
        np.testing.assert_allclose(moved, [0.1, -0.1], rtol=1e-6)


def test_scalar_bounds_are_enough():
    class Boxed(Tanh):
        def bounds(self):
            return -1.0, 1.0

    device = Boxed(0.01, jnp.array([1.0, 2.0]), jnp.array([0.1, -0.1]))
    expected = np.arctanh([0.1, -0.1]) / np.array([1.0, 2.0])
    np.testing.assert_allclose(spt.symmetric_point(device), expected, atol=1e-6)


def test_zero_shifting_finds_its_symmetric_point(key):
    device = tanh_cells(key)._replace(dw_min=jnp.asarray(1e-3))
    exact = spt.symmetric_point(device)
    result = spt.zero_shift(key, device, jnp.zeros(CELLS), 8000, average="tail", tail_fraction=0.5)
    # Noise 0.3 dw_min a pulse, averaged over about 4000 a dw_min = 4 to 8 relaxation times: the
    # error is below sqrt(dw_min 0.09 / 2 / 4) = 3.4e-3 (one std), and of either sign.
    error = np.asarray(result.estimate - exact)
    assert np.abs(error).max() < 4.5 * 3.4e-3
    assert abs(error.mean()) < 4.5 * 3.4e-3 / np.sqrt(CELLS)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_vmapped_over_keys_and_over_instances(key, method):
    keys = jax.random.split(key, 3)
    population = jax.vmap(lambda one: tanh_cells(one, (4,)))(keys)
    counts = jnp.array([0, 3, -5, 20])

    @jax.jit
    def run(one, device):
        return spt.apply_pulses(one, device, jnp.zeros(4), counts, method=method)

    together = jax.vmap(run)(keys, population)
    for index in range(3):
        alone = run(keys[index], jax.tree.map(operator.itemgetter(index), population))
        # Two ulp: XLA may vectorise tanh differently for 12 cells than for 4.
        np.testing.assert_allclose(together[index], alone, rtol=2.4e-7, atol=0)
    assert len(np.unique(together[:, 1])) == 3


@pytest.mark.parametrize("method", ["aggregate", "mean"])
def test_pulses_are_differentiable_in_its_parameters(x64, method):
    device = tanh_cells(jax.random.key(3), (4,))
    counts, w = jnp.array([1, 3, -5, 20]), jnp.array([0.1, -0.2, 0.3, 0.4])

    @jax.jit
    def moved(w, device):
        return spt.apply_pulses(jax.random.key(4), device, w, counts, method=method)

    # check_grads' defaults for float64: central differences, 1e-5 of step and tolerance.
    check_grads(moved, (w, device), order=1, modes=["fwd", "rev"])


def test_updates_train_towards_a_wanted_weight(key):
    device = tanh_cells(key)
    target = spt.symmetric_point(device)

    def step(w, index):
        dw = 0.1 * (target - w)
        one = jax.random.fold_in(key, index)
        return spt.analog_update(one, device, w, dw, method="aggregate"), None

    w = jax.lax.scan(step, jnp.zeros(CELLS), jnp.arange(200))[0]
    # At the symmetric point G = 0, so it is the fixed point. Pulse rounding adds |dw| dw_min per
    # step and the pull is 0.1 |dw|: the remaining error is some dw_min, here ten at most.
    assert np.abs(w - target).max() < 10 * 0.01 < np.abs(target).max()
