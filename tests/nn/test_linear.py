"""AnalogLinear: its output, the weight mapping, and training through optax.partition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sptrack as spt

BATCHES = [(), (7,), (2, 7), (2, 1, 3), (0,)]


def layer_of(seed=0, **changed):
    return spt.nn.AnalogLinear(4, 3, **{"rngs": nnx.Rngs(seed), **changed})


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("use_bias", [True, False])
def test_output(batch, use_bias):
    """(x @ kernel) * scale + bias in float64, to float32's rounding of four terms of order one."""
    layer = layer_of(use_bias=use_bias)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*batch, 4)).astype(np.float32)
    expected = np.float64(x) @ np.float64(layer.kernel[...]) * np.float64(layer.scale[...])
    if use_bias:
        layer.bias[...] = jnp.array([0.5, -1.0, 2.0])
        expected = expected + np.array([0.5, -1.0, 2.0])
    else:
        assert layer.bias is None
    out = layer(jnp.asarray(x))
    assert out.shape == (*batch, 3) and out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)


INITIALIZERS = {
    "default": (None, nnx.initializers.lecun_normal()),
    "glorot": (nnx.initializers.glorot_uniform(), nnx.initializers.glorot_uniform()),
    "zeros": (nnx.initializers.zeros, nnx.initializers.zeros),
}


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("weight_range", [0.3, 2.0])
def test_initial_weights(name, weight_range):
    """kernel * scale is the initializer's draw, to one rounding; column maxima are weight_range."""
    given, drawn_by = INITIALIZERS[name]
    layer = layer_of(seed=3, kernel_init=given, weight_range=weight_range)
    draw = drawn_by(nnx.Rngs(3).params(), (4, 3), jnp.float32)
    effective = np.asarray(layer.kernel[...]) * np.asarray(layer.scale[...])[None, :]
    np.testing.assert_allclose(effective, draw, rtol=3e-7, atol=0)
    largest = np.abs(np.asarray(layer.kernel[...])).max(axis=0)
    if name == "zeros":
        assert np.all(largest == 0) and np.all(np.asarray(layer.scale[...]) == 1)
    else:
        np.testing.assert_allclose(largest, weight_range, rtol=3e-7)
        assert np.ptp(np.asarray(layer.scale[...])) > 0  # a scale per output, not one for all
    assert layer.kernel.shape == (4, 3) and layer.scale.shape == layer.bias.shape == (3,)


def test_seeds_draw_different_kernels():
    assert not np.array_equal(layer_of(0).kernel[...], layer_of(1).kernel[...])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype(dtype):
    layer = layer_of(dtype=dtype)
    assert layer.kernel.dtype == layer.scale.dtype == layer.bias.dtype == dtype
    assert layer(jnp.ones((2, 4), dtype)).dtype == dtype


def split(model):
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return graph, nnx.as_pure(params), rest, spt.nn.labels(params)


def test_labels_and_parameters():
    _, params, _, labels = split(layer_of())
    assert labels == {"kernel": "analog", "scale": "digital", "bias": "digital"}
    assert jax.tree.structure(labels) == jax.tree.structure(params)


def test_a_fixed_scale_is_no_parameter():
    layer = layer_of(learn_scale=False)
    _, params, rest, labels = split(layer)
    assert set(params) == set(labels) == {"kernel", "bias"}
    assert set(nnx.as_pure(rest)) == {"scale"}
    # it still scales
    x = jnp.ones((1, 4))
    np.testing.assert_array_equal(layer(x), layer_of(learn_scale=True)(x))


def test_labels_of_a_nested_model():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = spt.nn.AnalogLinear(2, 5, rngs=rngs)
            self.out = nnx.Linear(5, 1, rngs=rngs)

    labels = split(Net(nnx.Rngs(0)))[-1]
    assert labels["hidden"] == {"kernel": "analog", "scale": "digital", "bias": "digital"}
    assert set(labels["out"].values()) == {"digital"}


def test_labels_refuse_plain_arrays():
    with pytest.raises(TypeError, match=r"before nnx\.as_pure"):
        spt.nn.labels({"kernel": jnp.zeros(2)})


@pytest.mark.parametrize("shape", [(3,), (2, 5), (4, 3)])
def test_wrong_number_of_features(shape):
    with pytest.raises(ValueError, match=rf"4 features, got shape \({shape[0]},"):
        layer_of()(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be an integer >= 1, got 0"),
        ({"out_features": 2.0}, ValueError, r"out_features must be an integer >= 1, got 2\.0"),
        ({"weight_range": 0.0}, ValueError, r"weight_range=0\.0.*\(0, inf\)"),
        ({"weight_range": -1}, ValueError, "weight_range=-1"),
        ({"bias": True}, TypeError, "unexpected keyword argument 'bias'"),
        ({"rngs": None}, (TypeError, AttributeError), "None"),
    ],
)
def test_refuses(wrong, error, message):
    with pytest.raises(error, match=message):
        spt.nn.AnalogLinear(**{"in_features": 4, "out_features": 3, "rngs": nnx.Rngs(0), **wrong})


def test_gradient_of_the_kernel_is_scale_times_that_of_the_weight():
    graph, params, rest, _ = split(layer_of())
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)

    def loss(params):
        return jnp.sum(nnx.merge(graph, params, rest)(x))

    got = jax.grad(loss)(params)["kernel"]
    expected = np.asarray(x.sum(0))[:, None] * np.asarray(params["scale"])[None, :]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_learns_a_regression_on_arrays_with_offsets(key):
    """Analog kernel by E-RIDER, digital scale and bias by SGD, in one partition."""
    spec = spt.LinearResponse(dw_min=0.002, center_mean=0.1, center_std=0.1)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 4)), jnp.float32)
    y = x @ jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    graph, params, rest, labels = split(layer_of())
    tx = optax.partition(
        {
            "analog": spt.erider(
                0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.05, gamma=0.3,
                eta=0.02, chop_prob=0.02, key=key,
            ),
            "digital": optax.sgd(0.02),
        },
        labels,
    )  # fmt: skip

    def loss(params):
        return jnp.mean((nnx.merge(graph, params, rest)(x) - y) ** 2)

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=600))
    (trained, state), losses = run((params, tx.init(params)))
    assert losses[-1] < 0.05 * losses[0], losses[::100]
    evaluated = spt.eval_params(state, trained)
    assert jax.tree.structure(evaluated) == jax.tree.structure(trained)
    np.testing.assert_array_equal(evaluated["bias"], trained["bias"])
    assert np.abs(spt.pulse_counts(state)["transfer"]["kernel"]).sum() > 0
