"""What pulse trains make of a population of every preset, against NumPy code of its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests import populations
from tests.support import assert_same_law

CELLS = 65_536
PULSES = (1, 2, 5, 10, 20, 50, 100, 200, 400)


@functools.partial(jax.jit, static_argnames="cells")
def up_and_down(key, spec, cells=CELLS):
    """Weights after each number of up pulses, and after as many down pulses from there.

    Cells start at 0, or at the bound next to it where a reference is beyond a cell's range.
    """
    sample, up, down = jax.random.split(key, 3)
    device = spt.sample_device(sample, spec, (cells,))

    def further(w, pulses):
        n, more = pulses
        w = spt.apply_pulses(jax.random.fold_in(up, n), device, w, jnp.full(cells, more))
        back = spt.apply_pulses(jax.random.fold_in(down, n), device, w, jnp.full(cells, -n))
        return w, (w, back)

    n, start = jnp.asarray(PULSES), jnp.clip(jnp.zeros(cells), *spt.bounds(device))
    return jax.lax.scan(further, start, (n, jnp.diff(n, prepend=0)))[1]


def test_there_are_rules_for_every_preset():
    """But the pair, which is made of two cells of `pcm`: `test_compound.py` has its rules."""
    assert set(spt.presets.__all__) - {"pcm_pair"} == set(populations.PRESETS)


@pytest.mark.optimized  # runs longer than it compiles
@pytest.mark.parametrize("name", populations.PRESETS)
def test_pulses_make_the_populations_that_the_rules_say(request, seed_of, name):
    """Mean and std over 65,536 cells within 4 standard errors of those of independent cells."""
    seed = seed_of(request.node)
    expected = populations.after_pulses(seed, name, CELLS, PULSES)
    found = up_and_down(spt.random.fast_key(seed), getattr(spt.presets, name)())
    for n, up, down in zip(PULSES, *map(np.asarray, found), strict=True):
        assert_same_law(up, expected[n][0], k=4)
        assert_same_law(down, expected[n][1], k=4)
