"""AnalogSimpleCell and steps in time: beside flax, beside a loop, with reads and with factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sptrack as spt
from tests.support import same_bits

NOISE = spt.periphery.ReadPath(out_noise=0.1)
PATHS = spt.periphery.ReadPaths(forward=NOISE, backward=NOISE)
STEPS = 5


def cell_of(reads=None, **options):
    return spt.nn.AnalogSimpleCell(3, 4, reads=reads, rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def xs():
    """Time first, then sequences."""
    return jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, 2, 3)), jnp.float32)


def effective(layer):
    return np.asarray(layer.kernel[...]) * np.asarray(layer.scale[...])[None]


def in_a_loop(cell, xs):
    """The cell's equation in NumPy, step by step."""
    h, hs = np.zeros((*xs.shape[1:-1], 4)), []
    for x in np.asarray(xs, float):
        h = np.tanh(
            x @ effective(cell.dense_i) + np.array(cell.dense_i.bias) + h @ effective(cell.dense_h)
        )
        hs.append(h)
    return np.stack(hs)


def test_is_the_cell_of_flax(xs):
    """The same initial weights for a seed, the same outputs, in nnx.RNN and in spt.nn.scan."""
    cell, flax = cell_of(), nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(effective(cell.dense_i), flax.dense_i.kernel[...], rtol=1e-6)
    np.testing.assert_allclose(effective(cell.dense_h), flax.dense_h.kernel[...], rtol=1e-6)
    cell.dense_i.bias[...] = flax.dense_i.bias[...] = jnp.array([0.1, -0.2, 0.3, 0.0])
    expected = nnx.RNN(flax, time_major=True)(xs)
    np.testing.assert_allclose(nnx.RNN(cell, time_major=True)(xs), expected, rtol=1e-5, atol=1e-6)
    carry, ys = spt.nn.scan(cell, cell.initialize_carry((2, 3)), xs)
    np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ys, in_a_loop(cell, xs), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(carry, ys[-1])


def test_initial_carry():
    cell = cell_of()
    np.testing.assert_array_equal(cell.initialize_carry((2, 7, 3)), np.zeros((2, 7, 4)))
    for rngs in (nnx.Rngs(carry=0), nnx.Rngs(carry=0).carry):
        drawn = cell.initialize_carry((2, 3), rngs, nnx.initializers.normal())
        flax = nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0))
        expected = flax.initialize_carry((2, 3), nnx.Rngs(carry=0), nnx.initializers.normal())
        np.testing.assert_array_equal(drawn, expected)


def test_every_step_reads_with_its_own_noise(key):
    """Steps of a scan differ, passes differ, and a key gives the same again, also in nnx.RNN."""
    constant = jnp.ones((STEPS, 3))
    cell = cell_of(PATHS, recurrent_kernel_init=nnx.initializers.zeros)  # steps don't see others

    def ys(key, run):
        return run(spt.nn.seed_reads(cell, key))

    runs = [
        lambda cell: spt.nn.scan(cell, jnp.zeros(4), constant)[1],
        lambda cell: nnx.RNN(cell, time_major=True)(constant),
    ]
    for run in runs:
        first = ys(key, run)
        assert len(np.unique(np.asarray(first)[:, 0])) == STEPS
        assert same_bits(first, ys(key, run))
        assert not np.isclose(first, ys(jax.random.fold_in(key, 1), run)).any(axis=0).all()
    with pytest.raises(ValueError, match=r"seed_reads\(model, key\) first"):
        spt.nn.scan(cell_of(PATHS), jnp.zeros(4), constant)


@pytest.mark.parametrize("reads", [None, PATHS], ids=["ideal", "noisy"])
def test_factors_of_all_steps(key, xs, reads):
    """In jit; contraction is the gradient through time, samples are in the order of steps."""
    graph, params, rest = nnx.split(cell_of(reads), nnx.Param, ...)
    labels, params = spt.nn.labels(params), nnx.as_pure(params)

    def loss(params, xs):
        cell = nnx.merge(graph, params, rest)
        cell = cell if reads is None else spt.nn.seed_reads(cell, key)
        _, ys = spt.nn.scan(cell, jnp.zeros((2, 4)), xs)
        return jnp.sum(ys**2), ys

    (value, ys), found = jax.jit(spt.nn.value_and_factor_grad(loss, labels, has_aux=True))(
        params, xs
    )
    (expected_value, expected_ys), expected = jax.value_and_grad(loss, has_aux=True)(params, xs)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(ys, expected_ys, rtol=1e-5, atol=1e-6)
    inputs, hidden = found["dense_i"]["kernel"], found["dense_h"]["kernel"]
    np.testing.assert_array_equal(inputs.x, xs.reshape(-1, 3))
    before = jnp.concatenate([jnp.zeros((1, 2, 4)), ys[:-1]]).reshape(-1, 4)
    np.testing.assert_allclose(hidden.x, before, rtol=1e-5, atol=1e-6)
    for name, factors in (("dense_i", inputs), ("dense_h", hidden)):
        np.testing.assert_allclose(
            spt.pulses.contract(factors), expected[name]["kernel"], rtol=1e-5, atol=1e-5
        )
    np.testing.assert_allclose(
        found["dense_i"]["bias"], expected["dense_i"]["bias"], rtol=1e-5, atol=1e-5
    )
