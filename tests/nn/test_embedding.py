"""AnalogEmbedding: a lookup, line by line through a read path, with one-hot factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sptrack as spt
from sptrack._random import purpose_key
from sptrack.periphery import ReadPath, ReadPaths, read_columns
from tests.support import same_bits

IDS = jnp.array([[0, 3, 3], [-1, 5, 2]])
PATH = ReadPath(out_bound=0.25, out_res=1 / 64, out_noise=0.05, out_scale=2.0)


def layer_of(reads=None, **options):
    return spt.nn.AnalogEmbedding(6, 4, reads=reads, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("ids", [IDS, IDS[0], IDS[1, 2]], ids=lambda ids: str(ids.shape))
def test_is_a_lookup(ids):
    """Rows of embedding * scale, which are those of flax for a seed."""
    layer, flax = layer_of(), nnx.Embed(6, 4, rngs=nnx.Rngs(0))
    table = np.asarray(layer.embedding[...]) * np.asarray(layer.scale[...])[None]
    np.testing.assert_array_equal(layer(ids), table[np.asarray(ids)])
    np.testing.assert_allclose(layer(ids), flax(ids), rtol=1e-6)
    np.testing.assert_allclose(np.abs(layer.embedding[...]).max(0), 0.3, rtol=1e-6)


def test_reads_line_by_line(key):
    layer = layer_of(ReadPaths(forward=PATH))
    once = jax.random.fold_in(purpose_key(key, "reads of "), 0)
    lines = layer.embedding[...][IDS.ravel()]
    read = read_columns(purpose_key(once, "forward"), lines, PATH)
    expected = read.reshape(2, 3, 4) * layer.scale[...].reshape(1, 1, 4)
    assert same_bits(spt.nn.seed_reads(layer, key)(IDS), expected)
    with pytest.raises(ValueError, match=r"seed_reads\(model, key\) first"):
        layer(IDS)


@pytest.mark.parametrize("reads", [None, ReadPaths(forward=PATH)], ids=["ideal", "noisy"])
def test_factors_are_one_hot(key, reads):
    """Lines that are looked up twice get both samples; the contraction is the gradient."""
    graph, params, rest = nnx.split(layer_of(reads), nnx.Param, ...)
    labels, params = spt.nn.labels(params), nnx.as_pure(params)
    target = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)

    def loss(params):
        model = nnx.merge(graph, params, rest)
        model = model if reads is None else spt.nn.seed_reads(model, key)
        return jnp.sum((model(IDS) - target) ** 2)

    found = spt.nn.factor_grad(loss, labels)(params)
    expected = jax.grad(loss)(params)
    factors = found["embedding"]
    np.testing.assert_array_equal(factors.x, np.eye(6)[np.asarray(IDS).ravel()])
    np.testing.assert_allclose(
        spt.pulses.contract(factors), expected["embedding"], rtol=1e-5, atol=1e-6
    )
    assert np.all(np.asarray(expected["embedding"])[[1, 4]] == 0)
    np.testing.assert_allclose(found["scale"], expected["scale"], rtol=1e-5)


def test_refuses():
    with pytest.raises(ValueError, match="features must be an integer >= 1, got 0"):
        spt.nn.AnalogEmbedding(6, 0, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="indices must be integers, got float32"):
        layer_of()(jnp.zeros(3))
