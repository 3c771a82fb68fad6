"""Randomness: the key alone decides, whatever surrounds the call, in whatever process."""

import hashlib
import json
import operator
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests.support import NOISY_SPECS, same_bits

pytestmark = pytest.mark.optimized  # bits as users have them

METHODS = ("exact", "aggregate", "mean")
SCHEMES = ("cyclic", "stochastic")
CELLS = 37  # no multiple of a vector register
NAMES = ("soft_bounds_additive", "power")  # with a law of n pulses, and without


def run(name, key):
    """One instance by all functions: its own cells, start and pulses, all from its key."""
    device = spt.sample_device(jax.random.fold_in(key, 0), NOISY_SPECS[name], (CELLS,))
    low, high = spt.bounds(device)
    w = low + jax.random.uniform(jax.random.fold_in(key, 1), (CELLS,)) * (high - low)
    counts = jax.random.randint(jax.random.fold_in(key, 2), (CELLS,), -20, 21)
    results = {"sample": device}
    for method in METHODS:
        one = jax.random.fold_in(key, 3)
        results[method] = spt.apply_pulses(one, device, w, counts, method=method)
    for scheme in SCHEMES:
        one = jax.random.fold_in(key, 4)
        results[scheme] = spt.zero_shift(one, device, w, 25, scheme=scheme).estimate
    return results


jitted = jax.jit(run, static_argnums=0)


@pytest.mark.parametrize("name", NAMES)
def test_vmapped_instances_equal_single_runs_bit_for_bit(key, name):
    """Instance i has the key fold_in(root, i), whoever else is in its chunk."""
    single = jax.jit(lambda index: run(name, jax.random.fold_in(key, index)))
    together = jax.jit(jax.vmap(single))(jnp.arange(4))
    singles = [single(index) for index in range(4)]
    for what in together:
        for index in range(4):
            alone = jax.tree.map(operator.itemgetter(index), together[what])
            assert same_bits(alone, singles[index][what]), (what, index)
        assert not same_bits(singles[0][what], singles[1][what]), what


@pytest.mark.parametrize("purpose", ["exact", "aggregate", "cyclic", "stochastic"])
def test_vmapped_keys_on_one_shared_array_equal_single_runs_to_rounding(key, purpose):
    """A shared device is broadcast, and XLA then fuses products and sums elsewhere: an ulp."""
    device = spt.sample_device(key, NOISY_SPECS["reference"], (CELLS,))
    w, counts = jnp.zeros(CELLS), jax.random.randint(jax.random.fold_in(key, 1), (CELLS,), -20, 21)

    @jax.jit
    def single(index):
        one = jax.random.fold_in(key, index)
        if purpose in SCHEMES:
            return spt.zero_shift(one, device, w, 25, scheme=purpose).estimate
        return spt.apply_pulses(one, device, w, counts, method=purpose)

    together = jax.vmap(single)(jnp.arange(3))
    for index in range(3):
        # An ulp of a weight of order 2 per pulse at most, and at most 25 pulses.
        np.testing.assert_allclose(together[index], single(index), rtol=0, atol=25 * 2.4e-7)


@pytest.mark.parametrize("name", NAMES)
def test_jitted_equals_eager_to_rounding(key, name):
    eager, compiled = run(name, key), jitted(name, key)
    for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)  # some ulp for 25 pulses


def test_legacy_keys_are_the_typed_keys_of_the_same_seed():
    legacy = jax.random.PRNGKey(11)
    assert not jnp.issubdtype(legacy.dtype, jax.dtypes.prng_key)
    assert same_bits(jitted("power", jax.random.key(11)), jitted("power", legacy))


def test_purposes_and_keys_have_streams_of_their_own(key):
    device = spt.sample_device(key, NOISY_SPECS["reference"], (1000,))
    shown = spt.pulses.show(key, device, jnp.zeros(1000)) / device.write_noise_std / device.dw_min
    pulsed = spt.pulses.one_pulse(key, device, jnp.zeros(1000), jnp.array(True))
    free = np.asarray((pulsed > spt.bounds(device)[0]) & (pulsed < spt.bounds(device)[1]))
    noise = np.asarray(
        (pulsed / device.dw_min - spt.response(device, jnp.zeros(1000))[0]) / device.noise_up
    )
    correlation = np.corrcoef(np.asarray(shown)[free], noise[free])[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(free.sum())


def fingerprint():
    """Hashes of the bytes of every function's result for one key."""
    return {
        f"{name} {what}": hashlib.sha256(
            b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result))
        ).hexdigest()
        for name in NAMES
        for what, result in jitted(name, jax.random.key(11)).items()
    }


def test_the_same_key_gives_the_same_bits_in_two_processes():
    root = pathlib.Path(__file__).parents[1]
    code = "import json; from tests.test_keys import fingerprint; print(json.dumps(fingerprint()))"
    path = os.pathsep.join([str(root), *sys.path])
    environment = os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    other = json.loads(done.stdout)
    assert other == fingerprint() and len(set(other.values())) == len(other)
