"""Gradients that arrive as factors: their contraction is the ordinary gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sptrack as spt


class Net(nnx.Module):
    """A hidden layer that is used twice, and a layer that isn't analog."""

    def __init__(self, reads=None):
        rngs = nnx.Rngs(0)
        self.first = spt.nn.AnalogLinear(4, 5, reads=reads, rngs=rngs)
        self.shared = spt.nn.AnalogLinear(5, 5, reads=reads, rngs=rngs)
        self.unused = spt.nn.AnalogLinear(2, 3, rngs=rngs)
        self.out = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        x = jnp.tanh(self.first(x))
        return self.out(jnp.tanh(self.shared(jnp.tanh(self.shared(x)))))


def parts(model):
    """(loss, params, labels) of a model; the loss takes a key for its reads, or None."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    labels = spt.nn.labels(params)

    def loss(params, x, key=None):
        model = nnx.merge(graph, params, rest)
        model = model if key is None else spt.nn.seed_reads(model, key)
        return jnp.mean(model(x) ** 2)

    return loss, nnx.as_pure(params), labels


def inputs(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def assert_contraction(found, expected):
    """Trees of gradients, with factors in one of them, are equal to float precision."""
    contracted = jax.tree.map(
        lambda g: spt.pulses.contract(g) if spt.pulses.is_factors(g) else g,
        found,
        is_leaf=spt.pulses.is_factors,
    )
    assert jax.tree.structure(contracted) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), contracted, expected
    )


NOISE = spt.periphery.ReadPath(out_noise=0.06, out_scale=2.0)


@pytest.mark.parametrize(
    ("reads", "shape"),
    [
        (None, (4,)),
        (None, (2, 3, 4)),
        (spt.periphery.ReadPaths(forward=NOISE), (6, 4)),
        (spt.periphery.ReadPaths(NOISE, NOISE), (6, 4)),
        (spt.periphery.table_6(), (2, 3, 4)),
    ],
    ids=["ideal one", "ideal", "forward", "both", "table 6"],
)
def test_contraction_is_the_ordinary_gradient(key, reads, shape):
    """Values too; with reads, for the same noise. Uses of a layer come one after the other."""
    loss, params, labels = parts(Net(reads))
    key = None if reads is None else key
    grads = (spt.nn.value_and_factor_grad(loss, labels), jax.value_and_grad(loss))
    results = jax.jit(lambda *args: [grad(*args) for grad in grads])(params, inputs(*shape), key)
    (value, found), (expected_value, expected) = results
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    assert_contraction(found, expected)
    samples = inputs(*shape).size // 4
    assert found["first"]["kernel"].x.shape == (samples, 4)
    assert found["shared"]["kernel"].x.shape == (2 * samples, 5)
    assert found["unused"]["kernel"].x.shape == (0, 2)
    np.testing.assert_array_equal(found["first"]["kernel"].x, inputs(samples, 4))
    assert isinstance(found["out"]["kernel"], jax.Array)
    assert np.abs(expected["shared"]["kernel"]).max() > 1e-3


def test_in_jit_vmap_and_scan():
    """A population of parameters, several steps of descent, against one member at a time."""
    loss, params, labels = parts(Net())
    grad = spt.nn.factor_grad(loss, labels)
    x = inputs(3, 6, 4)

    def run(params, grad):
        def step(params, x):
            grads = jax.tree.map(
                lambda g: spt.pulses.contract(g) if spt.pulses.is_factors(g) else g,
                grad(params, x),
                is_leaf=spt.pulses.is_factors,
            )
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), None

        return jax.lax.scan(step, params, x)[0]

    members = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    together = jax.jit(jax.vmap(lambda p: run(p, grad)))(members)
    for i in range(2):
        alone = run(jax.tree.map(lambda p, i=i: p[i], members), jax.grad(loss))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6),
            together,
            alone,
        )


def test_auxiliary_data_and_other_arguments():
    loss, params, labels = parts(Net())

    def with_aux(params, x, *, name):
        return loss(params, x), {"name": name, "mean": x.mean()}

    grads, aux = spt.nn.factor_grad(with_aux, labels, has_aux=True)(params, inputs(6, 4), name="a")
    assert aux["name"] == "a" and np.isclose(aux["mean"], inputs(6, 4).mean())
    assert_contraction(grads, jax.grad(loss)(params, inputs(6, 4)))


def test_one_label_for_a_whole_branch():
    loss, params, labels = parts(Net())
    params, labels = nnx.to_pure_dict(params), nnx.to_pure_dict(labels)
    branches = dict.fromkeys(labels, "digital") | {"shared": labels["shared"]}
    grads = spt.nn.factor_grad(loss, branches)(params, inputs(6, 4))
    assert spt.pulses.is_factors(grads["shared"]["kernel"])
    assert isinstance(grads["first"]["kernel"], jax.Array)
    assert_contraction(grads, jax.grad(loss)(params, inputs(6, 4)))


WRAPPED = {
    "jit": jax.jit,
    "vmap": jax.vmap,
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, row: (c, f(row)), 0.0, x)[1],
    "cond": lambda f: lambda x: jax.lax.cond(x.sum() > 0, f, f, x),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_calls_that_would_be_added_up_are_refused(name):
    graph, params, rest = nnx.split(Net(), nnx.Param, ...)

    def loss(params, x):
        model = nnx.merge(graph, params, rest)
        return jnp.sum(WRAPPED[name](lambda x: model.first(x))(x))

    grad = spt.nn.factor_grad(loss, spt.nn.labels(params))
    with pytest.raises(ValueError, match=r"inside jax\.jit, vmap.*spt\.nn\.scan"):
        grad(nnx.as_pure(params), inputs(6, 4))


def test_an_analog_weight_outside_of_its_layer_is_refused():
    loss, params, labels = parts(Net())

    def decayed(params, x):
        return loss(params, x) + jnp.sum(params["first"]["kernel"] ** 2)

    with pytest.raises(TypeError, match="TappedWeight"):
        spt.nn.factor_grad(decayed, labels)(params, inputs(6, 4))


def test_trains_with_pulse_trains(key):
    """A regression by analog SGD on ideal arrays is that of ordinary gradients, also unused."""
    loss, params, labels = parts(Net())
    tx = optax.partition(
        {
            "analog": spt.analog_sgd(0.1, weight_spec=spt.IdealStep(), key=key),
            "digital": optax.sgd(0.1),
        },
        labels,
    )
    state = tx.init(params)
    ends = []
    for grad in (jax.grad(loss), spt.nn.factor_grad(loss, labels)):
        step = jax.jit(lambda p, s, grad=grad: tx.update(grad(p, inputs(6, 4)), s, p)[0])
        ends.append(optax.apply_updates(params, step(params, state)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *ends)
