"""Layers that read through converters and noise: forward, transposed backward, and their keys."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sptrack as spt
from sptrack._random import purpose_key
from sptrack.periphery import ReadPath, ReadPaths, analog_mvm
from tests.support import assert_mean, same_bits

PATHS = spt.periphery.table_6()
BACKWARD = dataclasses.replace(PATHS.backward, out_noise=0.2, out_scale=1.5)
NOISY = ReadPaths(forward=dataclasses.replace(PATHS.forward, out_scale=2.0), backward=BACKWARD)


def layer_of(reads, **options):
    layer = spt.nn.AnalogLinear(5, 3, reads=reads, rngs=nnx.Rngs(0), **options)
    layer.bias[...] = jnp.array([0.1, -0.2, 0.3])
    return layer


def split(model):
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return graph, nnx.as_pure(params), rest


def data(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


def value_and_grads(layer, key, x, e):
    """Output, and gradients of sum(e * output), with fresh reads."""
    graph, params, rest = split(layer)

    def loss(params, x):
        model = nnx.merge(graph, params, rest)
        y = model(x) if key is None else spt.nn.seed_reads(model, key)(x)
        return jnp.sum(e * y), y

    grads, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    return y, *grads


@pytest.mark.parametrize("batch", [(2, 4), ()], ids=str)
def test_reads_are_those_of_the_periphery(key, batch):
    """Forward, and backward through the transposed array, by the keys of their purposes."""
    layer, x, e = layer_of(NOISY), data(*batch, 5), data(*batch, 3)
    kernel, scale = layer.kernel[...], layer.scale[...]
    once = jax.random.fold_in(purpose_key(key, "reads of "), 0)
    y, grads, grad_x = value_and_grads(layer, key, x, e)
    lead = (1,) * len(batch)
    read = analog_mvm(purpose_key(once, "forward"), kernel, x, NOISY.forward)
    np.testing.assert_array_equal(y, read * scale.reshape(*lead, -1) + layer.bias.reshape(*lead, 3))
    d = 2.0 * e * scale.reshape(*lead, -1)  # at the array's outputs, out_scale included
    back = analog_mvm(purpose_key(once, "backward"), kernel.T, d, BACKWARD)
    np.testing.assert_allclose(grad_x, back, rtol=1e-6, atol=1e-6)
    assert not np.allclose(grad_x, 1.5 * d @ kernel.T, atol=1e-2)  # the noise is there
    exact = np.einsum("si,so->io", x.reshape(-1, 5), d.reshape(-1, 3))
    np.testing.assert_allclose(grads["kernel"], exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grads["bias"], e.reshape(-1, 3).sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        grads["scale"], (e * read).reshape(-1, 3).sum(0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("reads", [ReadPaths(), ReadPaths(ReadPath(), ReadPath())], ids=str)
def test_with_everything_off_it_is_the_plain_layer(reads):
    x, e = data(7, 5), data(7, 3)
    plain = value_and_grads(layer_of(None), None, x, e)
    off = value_and_grads(layer_of(reads), None, x, e)
    assert same_bits(off[0], plain[0])
    for one, other in zip(jax.tree.leaves(off[1:]), jax.tree.leaves(plain[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_without_a_backward_path_errors_go_straight_through():
    """Clipping and rounding are passed over, the digital factor counts."""
    x, e = data(7, 5), data(7, 3)
    forward = ReadPath(out_bound=0.5, out_res=0.1, out_scale=3.0)
    one_way = value_and_grads(layer_of(ReadPaths(forward)), None, x, e)
    two_way = value_and_grads(layer_of(ReadPaths(forward, ReadPath())), None, x, e)
    kernel, scale = layer_of(None).kernel[...], layer_of(None).scale[...]
    for _, grads, grad_x in (one_way, two_way):
        np.testing.assert_allclose(grad_x, 3 * (e * scale[None]) @ kernel.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            grads["kernel"], 3 * x.T @ (e * scale[None]), rtol=1e-5, atol=1e-5
        )
    assert np.abs((one_way[0] - layer_of(None).bias[...][None]) / scale[None]).max() <= 1.5 + 1e-6


def test_noise_in_errors_has_mean_zero(key):
    """Over passes, gradients with respect to x have the mean of exact ones."""
    paths = ReadPaths(backward=ReadPath(out_noise=0.2, inp_noise=0.1))
    layer, x, e = layer_of(paths), data(1, 5), data(1, 3)
    keys = jax.random.split(key, 2000)
    _, _, grad_x = jax.vmap(value_and_grads, (None, 0, None, None))(layer, keys, x, e)
    exact = (e * layer.scale[...][None]) @ layer.kernel[...].T
    for line in range(5):
        assert_mean(grad_x[:, 0, line], float(exact[0, line]))


class Net(nnx.Module):
    def __init__(self, *names):
        for name in names:
            setattr(self, name, spt.nn.AnalogLinear(5, 5, reads=PATHS, rngs=nnx.Rngs(0)))


def test_keys_belong_to_places_and_calls(key):
    """Another layer in the model changes nothing; every call and every layer has its own noise."""
    x = jnp.ones(5)
    small, large = (spt.nn.seed_reads(Net(*names), key) for names in ("b", ("a", "b")))
    first = small.b(x)
    assert same_bits(first, large.b(x))
    again = spt.nn.seed_reads(large, key)
    assert same_bits(first, again.b(x))
    others = [again.b(x), again.a(x), spt.nn.seed_reads(again, jax.random.fold_in(key, 1)).b(x)]
    for other in others:
        assert not np.array_equal(first, other)


def test_in_jit_vmap_and_scan(key):
    """Members of a population, step by step, are single runs; the key of a step is its own."""
    graph, params, rest = split(layer_of(PATHS))
    x = jnp.ones((1, 5))

    def run(key):
        def step(params, t):
            def loss(params):
                model = spt.nn.seed_reads(
                    nnx.merge(graph, params, rest), jax.random.fold_in(key, t)
                )
                return jnp.sum(model(x) ** 2)

            value, grads = jax.value_and_grad(loss)(params)
            return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), value

        return jax.lax.scan(step, params, jnp.arange(4))

    keys = jax.random.split(key, 3)
    together = jax.jit(jax.vmap(run))(keys)
    alone = jax.jit(run)(keys[1])
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[1], other, rtol=1e-5, atol=1e-6)
    assert not np.allclose(together[1][0], together[1][1])


def test_numbers_of_a_path_can_be_swept(key):
    """One program for all noise levels: numbers are leaves of what isn't a parameter."""
    x, keys = jnp.ones((1, 5)), jax.random.split(key, 500)

    def spread(std):
        layer = layer_of(ReadPaths(forward=ReadPath(out_noise=std)))
        return jax.vmap(lambda k: spt.nn.seed_reads(layer, k)(x))(keys).std()

    swept = layer_of(ReadPaths(forward=ReadPath(out_noise=1.0)))
    graph, params, _ = split(swept)

    def of(std):
        reads = ReadPaths(forward=ReadPath(out_noise=std))
        model = nnx.merge(graph, params, {"reads": reads})
        return jax.vmap(lambda k: spt.nn.seed_reads(model, k)(x))(keys).std()

    levels = jnp.array([0.1, 0.3])
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(levels), [spread(0.1), spread(0.3)], rtol=1e-4)


def test_refuses():
    with pytest.raises(ValueError, match=r"seed_reads\(model, key\) first"):
        layer_of(PATHS)(jnp.ones(5))
    with pytest.raises(TypeError, match=r"reads must be a spt\.periphery\.ReadPaths"):
        layer_of(PATHS.forward)
    with pytest.raises(TypeError, match="random key is needed"):
        spt.nn.seed_reads(layer_of(PATHS), 3)
