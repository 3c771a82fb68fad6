"""AnalogConv: beside flax, beside its matrix with the same noise, and its factors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sptrack as spt
from sptrack._random import purpose_key
from sptrack.periphery import ReadPath, ReadPaths, analog_mvm
from tests.support import same_bits

# kernel size, strides, padding, space
CASES = {
    "1d same": (3, 1, "SAME", (7,)),
    "1d valid": ((4,), 2, "VALID", (9,)),
    "1d pairs": (3, 2, [(2, 0)], (7,)),
    "2d same": ((3, 2), 1, "SAME", (5, 6)),
    "2d valid": ((3, 3), (2, 1), "VALID", (7, 5)),
    "2d same strided": ((2, 3), (2, 3), "SAME", (5, 7)),
    "2d number": ((3, 3), 2, 1, (4, 5)),
}
BATCHES = {"1d same": (), "2d valid": (2, 2)}  # others: three images
CHANNELS, OUTPUTS = 2, 4


def case_of(name, seed=0, **options):
    """(layer, its counterpart in flax with the same weights, images)."""
    size, strides, padding, space = CASES[name]
    arguments = {"kernel_size": size, "strides": strides, "padding": padding}
    layer = spt.nn.AnalogConv(CHANNELS, OUTPUTS, rngs=nnx.Rngs(seed), **arguments, **options)
    flax = nnx.Conv(CHANNELS, OUTPUTS, rngs=nnx.Rngs(seed), **arguments)
    layer.bias[...] = flax.bias[...] = jnp.array([0.1, -0.2, 0.3, 0.0])
    shape = (*BATCHES.get(name, (3,)), *space, CHANNELS)
    return layer, flax, jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", CASES)
def test_is_the_convolution_of_flax(name):
    """The same initial weights for a seed, and the same outputs."""
    layer, flax, x = case_of(name)
    assert layer.kernel.shape == flax.kernel.shape
    scale = layer.scale[...].reshape((1,) * (layer.kernel.ndim - 1) + (-1,))
    np.testing.assert_allclose(layer.kernel[...] * scale, flax.kernel[...], rtol=1e-6)
    largest = np.abs(layer.kernel[...]).reshape(-1, OUTPUTS).max(0)
    np.testing.assert_allclose(largest, 0.3, rtol=1e-6)
    expected = flax(x)
    assert layer(x).shape == expected.shape
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_patches_are_those_of_a_loop(name):
    """NumPy, position by position, from zero-padded inputs; exactly."""
    layer, _, x = case_of(name)
    x = np.asarray(x).reshape(-1, *x.shape[-1 - len(layer.kernel_size) :])
    rows = np.asarray(
        spt.nn.patches(jnp.asarray(x), layer.kernel_size, layer.strides, layer.padding)
    )
    sizes = list(zip(x.shape[1:-1], layer.kernel_size, layer.strides, strict=True))
    pads = layer.padding
    if pads == "VALID":
        pads = [(0, 0)] * len(sizes)
    elif pads == "SAME":  # as many positions as strides fit; the odd zero at the end
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sizes]
        pads = [(t // 2, t - t // 2) for t in total]
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    for position in itertools.product(*map(range, rows.shape[1:-1])):
        window = tuple(
            slice(p * s, p * s + k) for p, (_, k, s) in zip(position, sizes, strict=True)
        )
        expected = padded[:, *window].reshape(len(x), -1)
        np.testing.assert_array_equal(rows[:, *position], expected)


NOISE = ReadPath(inp_bound=1.0, inp_res=1 / 126, out_noise=0.1, noise_management="abs_max")
READS = ReadPaths(forward=NOISE, backward=ReadPath(out_noise=0.2, out_scale=1.5))


def value_and_grads(layer, x, key):
    """Output, and gradients of the sum of its squares."""
    graph, params, rest = nnx.split(layer, nnx.Param, ...)

    def loss(params, x):
        y = spt.nn.seed_reads(nnx.merge(graph, params, rest), key)(x)
        return jnp.sum(y**2), y

    (_, y), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(nnx.as_pure(params), x)
    return y, *grads


@pytest.mark.parametrize("name", ["1d pairs", "2d same strided"])
def test_is_its_matrix_with_the_same_noise(key, name):
    """Forward, backward and update of the im2col matrix by an AnalogLinear with the same keys."""
    layer, _, x = case_of(name, reads=READS)
    y, grads, grad_x = value_and_grads(layer, x, key)
    rows, back = jax.vjp(
        lambda x: spt.nn.patches(x, layer.kernel_size, layer.strides, layer.padding), x
    )
    linear = spt.nn.AnalogLinear(rows.shape[-1], OUTPUTS, reads=READS, rngs=nnx.Rngs(0))
    linear.kernel[...] = layer.kernel[...].reshape(-1, OUTPUTS)
    linear.scale[...], linear.bias[...] = layer.scale[...], layer.bias[...]
    expected, matrix_grads, grad_rows = value_and_grads(linear, rows, key)
    assert same_bits(y, expected)
    np.testing.assert_allclose(
        grads["kernel"].reshape(-1, OUTPUTS), matrix_grads["kernel"], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(grad_x, back(grad_rows)[0], rtol=1e-5, atol=1e-5)
    # and these are the reads of the periphery
    once = jax.random.fold_in(purpose_key(key, "reads of "), 0)
    read = analog_mvm(purpose_key(once, "forward"), linear.kernel[...], rows, NOISE)
    lead = (1,) * (y.ndim - 1)
    shown = read * layer.scale.reshape(*lead, -1) + layer.bias.reshape(*lead, -1)
    assert same_bits(y, shown)


@pytest.mark.parametrize(("name", "reads"), [("1d same", None), ("2d valid", READS)])
def test_factors_share_the_weight(key, name, reads):
    """A sample per image and position; their contraction is the ordinary gradient, also in vmap."""
    layer, _, x = case_of(name, reads=reads)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    labels, params = spt.nn.labels(params), nnx.as_pure(params)

    def loss(params, x):
        model = nnx.merge(graph, params, rest)
        return jnp.sum((model if reads is None else spt.nn.seed_reads(model, key))(x) ** 2)

    members = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    both = [spt.nn.factor_grad(loss, labels), jax.grad(loss)]
    found, expected = (jax.jit(jax.vmap(grad, (0, None)))(members, x) for grad in both)
    kernel = found["kernel"]
    samples = int(np.prod(shape_of_output(layer, x)[:-1]))
    assert kernel.x.shape == (2, samples, *layer.kernel.shape[:-1])
    assert kernel.d.shape == (2, samples, OUTPUTS)
    np.testing.assert_allclose(
        jax.vmap(spt.pulses.contract)(kernel), expected["kernel"], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(found["bias"], expected["bias"], rtol=1e-5, atol=1e-5)


def shape_of_output(layer, x):
    """The shape of the output, by flax."""
    flax = nnx.Conv(
        CHANNELS,
        OUTPUTS,
        layer.kernel_size,
        layer.strides,
        padding=layer.padding,
        rngs=nnx.Rngs(0),
    )
    return jax.eval_shape(flax, x).shape


def test_arrays_train_with_its_factors(key):
    """On ideal arrays pulse trains of the factors are the step by the gradient."""
    layer, _, x = case_of("2d number")
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    kernel = nnx.as_pure(params)["kernel"]
    others = {name: value for name, value in nnx.as_pure(params).items() if name != "kernel"}

    def loss(params):
        return jnp.mean(nnx.merge(graph, params | others, rest)(x) ** 2)

    tx = spt.analog_sgd(0.1, weight_spec=spt.IdealStep(), key=key)
    params = {"kernel": kernel}
    grads = spt.nn.factor_grad(loss, "analog")(params)
    updates, _ = tx.update(grads, tx.init(params), params)
    expected = -0.1 * jax.grad(loss)(params)["kernel"]
    np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel_size": (3, 3, 3)}, r"kernel_size needs 1 or 2 integers, got \(3, 3, 3\)"),
        ({"kernel_size": (3, 0)}, "kernel_size must be an integer >= 1, got 0"),
        ({"strides": (1,)}, r"strides need 2 integers, got \(1,\)"),
        ({"strides": 0}, "strides must be an integer >= 1, got 0"),
        ({"padding": "CIRCULAR"}, "padding must be 'SAME', 'VALID', an integer.*got 'CIRCULAR'"),
        ({"padding": [(1, 1)]}, r"got \[\(1, 1\)\]"),
        ({"padding": -1}, "got -1"),
        ({"out_features": 0}, "out_features must be an integer >= 1"),
    ],
    ids=str,
)
def test_refuses(wrong, message):
    arguments = {"in_features": 2, "out_features": 3, "kernel_size": (3, 3)} | wrong
    with pytest.raises(ValueError, match=message):
        spt.nn.AnalogConv(**arguments, rngs=nnx.Rngs(0))


def test_refuses_inputs():
    layer = spt.nn.AnalogConv(2, 3, (3, 3), padding="VALID", rngs=nnx.Rngs(0))
    for shape in [(4, 2), (5, 5, 3)]:
        with pytest.raises(ValueError, match=r"\(\.\.\., height, width, 2\), got"):
            layer(jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"a patch of \(3, 3\) doesn't fit in padded \(2, 5\)"):
        layer(jnp.zeros((2, 5, 2)))
