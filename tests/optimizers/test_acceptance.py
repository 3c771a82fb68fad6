"""Acceptance tests 9, 12, 13 and 14 of science/4 section 9."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from tests.support import same_bits

pytestmark = pytest.mark.optimized  # bits and figures as users have them

NOISY = spt.LinearResponse(dw_min=0.01, dw_min_std=0.3, center_mean=0.2, center_std=0.2)
WRITE_NOISE = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
RATES = {"transfer_rate": 0.02, "gamma": 0.4}


def train(tx, steps, shape=(4, 3), record=lambda state: None):
    """Final parameters and state on a noisy quadratic, and what `record` kept of every step."""
    params = {"w": jnp.zeros(shape)}
    noise = jnp.asarray(np.random.default_rng(3).normal(size=(steps, *shape)))
    target = jnp.linspace(-0.4, 0.4, noise[0].size).reshape(shape)

    def step(carry, noise_now):
        params, state = carry
        grads = {"w": params["w"] - target + noise_now}
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), record(state)

    run = jax.jit(lambda xs: jax.lax.scan(step, (params, tx.init(params)), xs))
    (params, state), kept = run(noise)
    return params, state, kept


def drift(tx, beta, eta):
    """Largest change of W - (beta/eta) Q relative to the larger of its two terms."""

    def invariant(state):
        return state.weight.hidden["w"], state.tracked_sp["w"]

    _, _, (w, q) = train(tx, 2500, record=invariant)
    w, q = np.asarray(w), np.asarray(q)
    assert np.abs(w[-1] - w[0]).min() > 1e-3  # W and Q moved
    scale = np.maximum(np.abs(w), beta / eta * np.abs(q)).max()
    return np.abs((w - beta / eta * q) - (w - beta / eta * q)[0]).max() / scale


BETA, ETA = 0.02, 0.01


@pytest.mark.parametrize("method", ["aggregate", "exact"])
def test_acceptance_09_rider_conserves_a_combination_of_w_and_q(key, x64, method):
    """With an ideal W, W - (beta/eta) Q is constant whatever P and the gradients do.

    1e-12 relative over 2500 steps in float64: rounding adds up to at most 2500 x 2e-16 = 5e-13.
    """
    tx = spt.rider(
        0.1, residual_spec=NOISY, weight_spec=spt.IdealStep(), transfer_rate=BETA, eta=ETA,
        gamma=0.4, key=key, method=method,
    )  # fmt: skip
    assert drift(tx, BETA, ETA) < 1e-12


@pytest.mark.parametrize(
    ("breaks", "settings"),
    {
        "the chopper": {"weight_spec": spt.IdealStep(), "chop_prob": 0.05},
        "a real W array": {"weight_spec": NOISY, "chop_prob": 0.0},
    }.items(),
)
def test_acceptance_09_negative_control(key, x64, breaks, settings):
    """What the invariant needs: no chopper and an ideal W. Without, W and Q part by over 10 %."""
    tx = spt.erider(
        0.1, residual_spec=NOISY, transfer_rate=BETA, eta=ETA, gamma=0.4, key=key,
        w_ref="tracked_sp", wbar_ref="tracked_sp", **settings,
    )  # fmt: skip
    assert drift(tx, BETA, ETA) > 0.1, breaks


def make(factory, key, method, **settings):
    return factory(
        0.2,
        residual_spec=NOISY,
        weight_spec=WRITE_NOISE,
        key=key,
        method=method,
        **RATES,
        **settings,
    )


def assert_same_training(one, other, steps=120, fields=("weight", "residual", "tracked_sp")):
    params, state, _ = train(one, steps)
    params_too, state_too, _ = train(other, steps)
    assert same_bits(params, params_too)
    for name in fields:
        pair = getattr(state, name), getattr(state_too, name)
        assert None in pair or same_bits(*pair), name
    assert np.all(np.asarray(params["w"]) != 0)
    pulses = spt.pulse_counts(state)
    assert np.asarray(pulses["training"]["w"]).min() > 0
    assert np.asarray(pulses["transfer"]["w"]).sum() > 0


COLUMNS = {
    "transfer": spt.ColumnTransfer(warm_up=False),  # with p = 0 it never ends
    "buffer": spt.DigitalBuffer(granularity=50.0),
}
SCHEDULES = {"matrix": {}, "columns": COLUMNS}


@pytest.mark.parametrize("method", ["aggregate", "exact"])
@pytest.mark.parametrize("name", ["matrix", "columns"])
def test_acceptance_12_erider_that_never_flips_is_residual_learning(key, name, method):
    """With Q~ and p = 0, and the static reference Q_0 = P's first read: the same bits.

    P is noisy but reads as it is: residual learning programs P to its reference, a read.
    """
    schedule = SCHEDULES[name]
    one = make(spt.erider, key, method, eta=0.05, chop_prob=0.0, **schedule)
    first_read = spt.read_arrays(one.init({"w": jnp.zeros((4, 3))}))["residual"]
    other = make(spt.residual_learning, key, method, reference=first_read, **schedule)
    assert_same_training(one, other, fields=("weight", "residual", "held_sp", "buffer"))


@pytest.mark.parametrize("name", ["matrix", "columns"])
def test_acceptance_12_erider_that_never_flips_and_reads_q_is_rider(key, name):
    schedule = SCHEDULES[name]
    references = {"w_ref": "tracked_sp", "wbar_ref": "tracked_sp"}
    one = make(spt.erider, key, "aggregate", eta=0.05, chop_prob=0.0, **references, **schedule)
    other = make(spt.rider, key, "aggregate", eta=0.05, **schedule)
    assert_same_training(one, other, fields=("weight", "residual", "tracked_sp", "buffer"))


def test_acceptance_12_negative_control(key):
    """Erratum 4: with Q~ and p = 0 it is not RIDER."""
    one = make(spt.erider, key, "aggregate", eta=0.05, chop_prob=0.0)
    other = make(spt.rider, key, "aggregate", eta=0.05)
    gap = train(one, 120)[0]["w"] - train(other, 120)[0]["w"]
    assert np.abs(gap).max() > 0.01


# 13 and 14: AGAD.

TRACKING = {"chop_prob": 0.1, "transfer_rate": 1.0}


def agad_and(other, key, spec, **settings):
    """Parameters and arrays of AGAD and of `other` after 150 steps, on the same seeds."""
    made = [
        factory(0.2, residual_spec=spec, weight_spec=WRITE_NOISE, key=key, **COLUMNS, **options)
        for factory, options in ((spt.agad, TRACKING), (other, TRACKING | settings))
    ]
    ends = [train(tx, 150)[:2] for tx in made]
    assert np.asarray(spt.pulse_counts(ends[0][1])["transfer"]["w"]).sum() > 3
    return [(params, state._replace(key=None)) for params, state in ends]


def test_acceptance_13_released_erider_without_its_residual_is_agad(key):
    """gamma = 0 and eta = min(5 p, 1): the same bits, on noisy cells with write noise and reads."""
    one, other = agad_and(spt.erider_released, key, WRITE_NOISE, gamma=0.0)
    assert same_bits(one, other)


def test_acceptance_13_algorithm_3_by_columns_without_its_residual_is_agad(key):
    """`erider` starts Q at P's first read, which shows zero where there is no write noise."""
    settings = {"gamma": 0.0, "eta": 0.5, "chopper": "periodic"}
    one, other = agad_and(spt.erider, key, NOISY, **settings)
    assert same_bits(one, other)


def test_acceptance_13_negative_control(key):
    """With its residual in the model it is another algorithm."""
    one, other = agad_and(spt.erider_released, key, WRITE_NOISE, gamma=0.1)
    assert not same_bits(one[0], other[0])


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_acceptance_14_a_constant_on_all_reads_drops_out_of_agad(key, x64, eta):
    """Increments of H from a column's first flip on are as without the constant.

    Gradients are given and the buffer is never emptied, so that increments are differences of H.
    At eta = 1 equality is up to rounding of float64. At eta < 1 the filter, which starts at zero as
    in aihwkit, has reached 1 - (1 - eta)^n of the constant at the n-th read.
    """
    constant, columns, period = 0.7, 3, 5
    ideal = spt.IdealStep(dw_min=0.01)
    tx = spt.agad(
        0.1, residual_spec=ideal, weight_spec=ideal, transfer_rate=1.0, chop_prob=0.2, eta=eta,
        transfer=spt.ColumnTransfer(read=None), buffer=spt.DigitalBuffer(granularity=1e6), key=key,
    )  # fmt: skip
    params = jnp.zeros((columns, 2))
    grads = jnp.asarray(np.random.default_rng(0).normal(size=(20 * columns, columns, 2)))

    @jax.jit
    def increments(offset):
        state = tx.init(params)
        shifted = state.residual.hidden + offset
        state = state._replace(residual=state.residual._replace(hidden=shifted))

        def step(state, g):
            after = tx.update(g, state, params)[1]
            return after, after.buffer - state.buffer

        return jax.lax.scan(step, state, grads)[1]

    without, with_constant = np.asarray(increments(0.0)), np.asarray(increments(constant))
    unit = 0.01 * 1e6 / columns
    first_flip = period * columns  # of the first column; the last flips columns - 1 steps later
    gap = np.abs(with_constant - without).max(axis=(1, 2)) * unit
    np.testing.assert_allclose(gap[:first_flip], constant, rtol=1e-9)
    left = 0.0 if eta == 1 else constant * (1 - eta) ** period
    np.testing.assert_allclose(gap[first_flip : 2 * first_flip], left, rtol=1e-9, atol=1e-12)
    assert np.all(gap[2 * first_flip :] <= left * (1 - eta) ** period + 1e-12)
