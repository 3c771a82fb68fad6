"""Factors in the place of gradients: what every optimizer and optax's wrappers make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from sptrack._random import leaf_keys, purpose_key
from tests.support import NOISY_SPECS, QUIET, same_bits

RNG = np.random.default_rng(3)
WEIGHT = jnp.asarray(RNG.normal(size=(3, 2)) * 0.1)
FACTORS = [
    spt.Factors(jnp.asarray(RNG.normal(size=(4, 3))), jnp.asarray(RNG.normal(size=(4, 2)) / 4))
    for _ in range(3)
]
RATES = {"learning_rate": 0.3, "transfer_rate": 0.2}
CHOPPED = {**RATES, "eta": 0.1, "chop_prob": 0.4}
COLUMNS = spt.ColumnTransfer(warm_up=False, read=None)
ROWS = spt.ColumnTransfer(warm_up=False, read=None, rows=True)
ALGORITHMS = {
    "analog_sgd": (spt.analog_sgd, {"learning_rate": 0.3}),
    "residual_learning": (spt.residual_learning, RATES),
    "rider": (spt.rider, {**RATES, "eta": 0.1}),
    "erider": (spt.erider, CHOPPED),
    "erider with signs of columns": (spt.erider, {**CHOPPED, "chopper": "random"}),
    "columns of erider": (spt.erider, {**CHOPPED, "transfer": COLUMNS}),
    "rows of erider": (spt.erider, {**CHOPPED, "transfer": ROWS}),
    "tiki_taka": (spt.tiki_taka, RATES),
}


def make(name, key, spec, **changed):
    factory, options = ALGORITHMS[name]
    specs = {"weight_spec": spec}
    if factory is not spt.analog_sgd:
        specs["residual_spec"] = spec
    return factory(**{**specs, **options, "key": key, **changed})


def follow(tx, gradients, state=None):
    params = {"w": WEIGHT}
    state = tx.init(params) if state is None else state
    for gradient in gradients:
        updates, state = tx.update({"w": gradient}, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def with_signs(state):
    """The state with choppers that aren't all +1, where it has one."""
    if getattr(state, "chopper", None) is None:
        return state
    sign = state.chopper["w"]
    signs = (
        -jnp.ones(()) if sign.ndim == 0 else jnp.where(jnp.arange(sign.size) % 2 == 0, -1.0, 1.0)
    )
    return state._replace(chopper={"w": signs.reshape(sign.shape)})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_on_ideal_arrays_factors_are_their_contraction(key, name):
    """Descent and choppers count once, whatever line a sign belongs to."""
    tx = make(name, key, spt.IdealStep())
    begin = with_signs(tx.init({"w": WEIGHT}))
    found, state = follow(tx, FACTORS[:2], begin)
    expected, other = follow(tx, [spt.pulses.contract(factors) for factors in FACTORS[:2]], begin)
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(found["w"], WEIGHT, atol=1e-2)
    for array, tree in spt.read_arrays(state).items():
        np.testing.assert_allclose(
            tree["w"], spt.read_arrays(other)[array]["w"], rtol=1e-4, atol=1e-5, err_msg=array
        )


def test_the_array_is_written_by_coincidences(key):
    """Bit for bit what `coincidence_update` does with the keys of the step."""
    tx = make("analog_sgd", key, NOISY_SPECS["soft_bounds"])
    begin = tx.init({"w": WEIGHT})
    _, state = tx.update({"w": FACTORS[0]}, begin, {"w": WEIGHT})
    step_key = jax.random.fold_in(begin[-1].key, 0)
    (key,) = leaf_keys(purpose_key(step_key, "write"), {"w": WEIGHT})
    before = begin[-1].weight
    expected = spt.pulses.counted_coincidence_update(
        key, before.device["w"], before.hidden["w"], *FACTORS[0][:2], 0.3, method="aggregate"
    )
    np.testing.assert_allclose(state[-1].weight.hidden["w"], expected.weight, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(state[-1].weight.pulses["w"], expected.up + expected.down)
    assert np.any(expected.up > 0) and np.any(expected.down > 0)


@pytest.mark.parametrize("chopper", ["scalar", "random", "periodic"])
def test_a_chopped_link_of_ones_own(key, chopper):
    """chop(apply_device(..., emit="read")) from links, with signs per matrix or per column."""

    def link():
        inner = optax.chain(
            optax.scale(-0.1), spt.apply_device(spt.IdealStep(), key=key, emit="read")
        )
        return spt.chop(0.5, inner, key=key, chopper=chopper)

    reads = []
    for gradients in (FACTORS, [spt.pulses.contract(factors) for factors in FACTORS]):
        tx, out = link(), []
        state = tx.init({"w": WEIGHT})
        for gradient in gradients:
            signal, state = tx.update({"w": gradient}, state)
            out.append(signal["w"])
        reads.append(jnp.stack(out))
    np.testing.assert_allclose(reads[0], reads[1], rtol=1e-4, atol=1e-6)


STEPS = spt.ConstantStep(dw_min=0.01, **{**QUIET, "w_max": 9.0, "w_min": -9.0})
LABELS = {"w": "analog", "b": "digital"}


def wrapped(name, analog, digital):
    """The analog optimizer for "w", the digital one for "b"; a tree says which."""
    if name == "partition":
        return optax.partition({"analog": analog, "digital": digital}, LABELS)
    return optax.chain(
        optax.masked(analog, {"w": True, "b": False}),
        optax.masked(digital, {"w": False, "b": True}),
    )


@pytest.mark.parametrize("name", ["partition", "masked"])
def test_other_leaves_keep_their_gradients(key, name):
    """A `Factors` among arrays; every leaf is as with an optimizer of its own."""
    analog = make("erider", key, STEPS)
    tx, params = wrapped(name, analog, optax.sgd(0.1)), {"w": WEIGHT, "b": jnp.ones(2)}
    state = tx.init(params)
    for factors in FACTORS[:3]:
        updates, state = tx.update({"w": factors, "b": jnp.ones(2)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["b"], 0.7, rtol=1e-6)
    alone, alone_state = follow(analog, FACTORS[:3])
    assert same_bits(params["w"], alone["w"])
    assert same_bits(
        spt.pulse_counts(state)["training"]["w"], spt.pulse_counts(alone_state)["training"]["w"]
    )


def test_numbers_in_front_count_once(key):
    """optax.scale, a schedule, and a rate injected by optax, against the rate itself."""
    expected, _ = follow(make("analog_sgd", key, STEPS), FACTORS[:2])
    slow = {"learning_rate": 0.6}
    injected = optax.inject_hyperparams(spt.analog_sgd, static_args=("key",))
    for tx in (
        optax.chain(optax.scale(0.5), make("analog_sgd", key, STEPS, **slow)),
        optax.chain(
            optax.scale_by_schedule(lambda count: 0.5), make("analog_sgd", key, STEPS, **slow)
        ),
        make("analog_sgd", key, STEPS, learning_rate=lambda count: 0.3),
        injected(learning_rate=0.3, weight_spec=STEPS, key=key),
    ):
        found, _ = follow(tx, FACTORS[:2])
        np.testing.assert_allclose(found["w"], expected["w"], rtol=0, atol=2e-6)  # no pulse differs


def test_populations_and_compiled_steps(key):
    """vmap over keys and rates, under jit; pulses are those of single runs."""

    def run(key, rate):
        params, state = follow(make("erider", key, STEPS, learning_rate=rate), FACTORS[:2])
        return params, spt.pulse_counts(state)

    keys, rates = jax.random.split(key, 2), jnp.array([0.3, 0.1])
    together = jax.jit(jax.vmap(run))(keys, rates)
    for i in range(2):
        params, pulses = run(keys[i], rates[i])
        assert same_bits(pulses, jax.tree.map(lambda a, i=i: a[i], together[1]))
        np.testing.assert_allclose(params["w"], together[0]["w"][i], rtol=0, atol=1e-5)


def test_wrappers_that_average_or_branch_refuse_factors(key):
    """They treat a tree like the parameters; contracted gradients are the way there."""
    analog = make("analog_sgd", key, STEPS)
    for tx in (optax.MultiSteps(analog, 2), optax.chain(optax.trace(0.9), analog)):
        with pytest.raises(ValueError, match="Expected named tuple"):
            follow(tx, FACTORS[:1])
    with pytest.raises(TypeError, match="same pytree structure"):
        follow(optax.apply_if_finite(analog, 3), FACTORS[:1])


def test_factors_that_do_not_fit_are_refused(key):
    with pytest.raises(ValueError, match=r"got w \(3, 2\), x \(4, 2\) and d \(4, 2\)"):
        follow(make("analog_sgd", key, STEPS), [spt.Factors(jnp.ones((4, 2)), jnp.ones((4, 2)))])
