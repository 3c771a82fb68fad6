"""spt.nn.convert: the converted model computes what the model does; what can't be is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sptrack as spt


class Classifier(nnx.Module):
    """Every kind of layer that converts, some in containers, and layers that don't."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 6, rngs=rngs)
        self.conv = nnx.Conv(6, 5, 3, padding="VALID", strides=2, rngs=rngs)
        self.norm = nnx.LayerNorm(5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(5, 5, rngs=rngs) for _ in range(2)])
        self.again = self.blocks[0]  # the same layer under two names
        self.head = nnx.Linear(5, 2, use_bias=False, rngs=rngs)

    def __call__(self, ids):
        x = jnp.tanh(self.norm(self.conv(self.embed(ids))))
        for block in [*self.blocks, self.again]:
            x = jnp.tanh(block(x))
        return self.head(x.mean(-2))


@pytest.fixture(scope="module")
def model():
    model = Classifier(nnx.Rngs(0))
    for layer in (model.conv, *model.blocks):
        layer.bias[...] = jnp.linspace(-0.3, 0.3, 5)
    return model


IDS = jnp.asarray(np.random.default_rng(0).integers(0, 7, (3, 9)))


def names(model):
    return {".".join(map(str, p)): type(m).__name__ for p, m in nnx.iter_modules(model)}


def test_computes_what_the_model_does(model):
    before = jax.tree.map(jnp.copy, nnx.state(model))
    analog = spt.nn.convert(model, weight_range=0.5)
    assert names(analog) == {
        "": "Classifier",
        "embed": "AnalogEmbedding",
        "conv": "AnalogConv",
        "norm": "LayerNorm",
        "blocks": "List",
        "blocks.1": "AnalogLinear",
        "again": "AnalogLinear",
        "head": "AnalogLinear",
    }
    assert analog.again is analog.blocks[0]
    np.testing.assert_allclose(analog(IDS), model(IDS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.abs(analog.head.kernel[...]).max(0), 0.5, rtol=1e-6)
    labels = spt.nn.labels(nnx.split(analog, nnx.Param, ...)[1])
    assert labels["conv"]["kernel"] == labels["embed"]["embedding"] == "analog"
    assert labels["norm"]["scale"] == labels["conv"]["bias"] == "digital"
    # the model is as it was, and what is done to the copy doesn't reach it
    analog.norm.scale[...] = jnp.zeros(5)
    analog.head.kernel[...] = jnp.zeros((5, 2))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)


def test_gradients_are_those_of_the_model(model):
    """That of a kernel is scale times that of the weight; others are equal."""

    def grads(model):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        return jax.grad(lambda p: jnp.sum(nnx.merge(graph, p, rest)(IDS) ** 2))(nnx.as_pure(params))

    analog = spt.nn.convert(model)
    found, expected = grads(analog), grads(model)
    np.testing.assert_allclose(
        found["conv"]["kernel"],
        expected["conv"]["kernel"] * analog.conv.scale[...].reshape(1, 1, -1),
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        found["norm"]["scale"], expected["norm"]["scale"], rtol=1e-4, atol=1e-5
    )


def test_select_and_convert_twice(key, model):
    """By path, then by class with other settings; what is analog already stays as it is."""
    seen = []

    def head(path, module):
        seen.append((path, type(module)))
        return path == "head"

    once = spt.nn.convert(model, head, learn_scale=False)
    assert sorted(path for path, _ in seen) == ["again", "blocks.1", "conv", "embed", "head"]
    assert [name for name, kind in names(once).items() if kind.startswith("Analog")] == ["head"]
    assert isinstance(once.head.scale, spt.nn.FixedScale)
    reads = spt.periphery.ReadPaths(forward=spt.periphery.ReadPath(out_noise=0.1))
    twice = spt.nn.convert(once, lambda _, m: isinstance(m, nnx.Conv), reads=reads)
    assert isinstance(twice.head.scale, spt.nn.FixedScale)
    assert twice.conv.read_paths().forward is not None and isinstance(twice.embed, nnx.Embed)
    noisy = spt.nn.seed_reads(twice, key)(IDS)
    assert not np.allclose(noisy, model(IDS), atol=1e-3)


@pytest.mark.parametrize("kind", [nnx.SimpleCell, nnx.GRUCell, nnx.OptimizedLSTMCell])
def test_cells(kind):
    """Their arrays are Linear layers of flax; in nnx.RNN, and with factors by spt.nn.scan."""
    cell = kind(3, 4, rngs=nnx.Rngs(0))
    analog = spt.nn.convert(cell)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
    np.testing.assert_allclose(nnx.RNN(analog)(xs), nnx.RNN(cell)(xs), rtol=1e-5, atol=1e-6)
    graph, params, rest = nnx.split(analog, nnx.Param, ...)
    labels, params = spt.nn.labels(params), nnx.as_pure(params)
    carry = cell.initialize_carry((2, 3), nnx.Rngs(0))

    def loss(params):
        _, ys = spt.nn.scan(nnx.merge(graph, params, rest), carry, xs.swapaxes(0, 1))
        return jnp.sum(ys**2)

    found, expected = spt.nn.factor_grad(loss, labels)(params), jax.grad(loss)(params)
    for name in ("dense_i", "dense_h"):
        np.testing.assert_allclose(
            spt.pulses.contract(found[name]["kernel"]),
            expected[name]["kernel"],
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_layer_alone_and_its_dtype():
    layer = nnx.Linear(3, 2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    analog = spt.nn.convert(layer)
    assert isinstance(analog, spt.nn.AnalogLinear) and analog.kernel.dtype == jnp.bfloat16
    x = jnp.ones(3, jnp.bfloat16)
    np.testing.assert_allclose(
        np.float32(analog(x)),
        np.float32(layer(x)),
        rtol=0.02,
        atol=0.02,  # bfloat16's rounding
    )


REFUSED = {
    "nothing": (lambda r: nnx.LayerNorm(3, rngs=r), "nothing to convert in this LayerNorm"),
    "precision": (
        lambda r: nnx.Linear(2, 3, precision="highest", rngs=r),
        "the model is a Linear with precision='highest'.*leave it out by select",
    ),
    "dtype": (lambda r: nnx.Linear(2, 3, dtype=jnp.bfloat16, rngs=r), "Linear with dtype="),
    "groups": (lambda r: nnx.Conv(2, 4, 3, feature_group_count=2, rngs=r), "feature_group_count=2"),
    "dilation": (
        lambda r: nnx.Conv(2, 4, (3, 3), kernel_dilation=(1, 2), rngs=r),
        "kernel_dilation",
    ),
    "mask": (lambda r: nnx.Conv(2, 4, 3, mask=jnp.ones((3, 2, 4)), rngs=r), "Conv with mask="),
    "circular": (lambda r: nnx.Conv(2, 4, 3, padding="CIRCULAR", rngs=r), "got 'CIRCULAR'"),
    "3d": (lambda r: nnx.Conv(2, 4, (3, 3, 3), rngs=r), "1 or 2 integers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        spt.nn.convert(make(nnx.Rngs(0)))


def test_refuses_tied_weights_and_empty_selections(model):
    tied = nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(i)) for i in range(2)])
    tied[1].kernel = tied[0].kernel
    with pytest.raises(ValueError, match="0 shares a variable with another module"):
        spt.nn.convert(tied)
    with pytest.raises(ValueError, match="nothing to convert in this Classifier"):
        spt.nn.convert(model, lambda path, module: False)
