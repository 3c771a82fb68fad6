"""Decay, diffusion, drift and reset: closed forms, statistics, and what an array makes of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import sptrack as spt
from sptrack.devices import DriftClock, is_relaxing, relax, reset, start_clock
from tests.support import QUIET, assert_mean, assert_std, same_bits

CELLS = 20_000
WIDE = QUIET | {"w_max": 1.0, "w_min": -1.0}


def cells(key, count=CELLS, **fields):
    return spt.sample_device(key, spt.SoftBounds(**(WIDE | fields)), (count,))


def relaxed(key, device, w, steps, clock=None):
    """The weights after each of `steps` updates without pulses."""

    def step(carry, index):
        carry = relax(jax.random.fold_in(key, index), device, *carry)
        return carry, carry[0]

    end, trace = jax.lax.scan(step, (w, clock), jnp.arange(steps))
    return end, np.asarray(trace)


@pytest.mark.parametrize("rest", [0.0, 0.3, -0.3])
def test_decay_is_geometric_around_the_rest_value(x64, rest):
    """v -> (v - b) d^k + b with d = 1 - 1/t, here for t = 20, 2 and 1 (at once)."""
    w = np.array([0.9, -0.4, 0.2])
    for lifetime in (20.0, 2.0, 1.0):
        device = cells(jax.random.key(0), 3, lifetime=lifetime, reset=rest)
        _, trace = relaxed(jax.random.key(1), device, jnp.asarray(w), 4)
        for k in range(4):
            expected = (w - rest) * (1 - 1 / lifetime) ** (k + 1) + rest
            np.testing.assert_allclose(trace[k], expected, rtol=0, atol=1e-15)


def test_lifetimes_and_rest_values_differ_from_cell_to_cell(key):
    device = cells(key, lifetime=50.0, lifetime_dtod=0.1, reset=0.05, reset_dtod=0.02)
    assert_mean(1 / (1 - device.retention.decay), 50.0)
    assert_std(1 / (1 - device.retention.decay), 5.0)
    assert_mean(device.retention.rest, 0.05)
    assert_std(device.retention.rest, 0.02)
    relative = cells(key, reset=0.05, reset_dtod=0.2, reset_dtod_relative=True)
    assert_std(relative.retention.rest, 0.01)
    # A lifetime of one update or less keeps nothing.
    short = cells(key, lifetime=2.0, lifetime_dtod=1.0).retention.decay
    assert_mean(short == 0, stats.norm.cdf(-1, scale=2))  # t = 2 + 2 xi <= 1
    assert short.min() == 0 and short.max() < 1


def test_diffusion_is_a_random_walk_within_the_bounds(key):
    device = cells(key, diffusion=0.01)
    _, trace = relaxed(key, device, jnp.zeros(CELLS), 25)
    for k in (0, 24):
        assert_mean(trace[k], 0)
        assert_std(trace[k], 0.01 * np.sqrt(k + 1))
    strong = cells(key, diffusion=0.5, diffusion_dtod=0.3)
    assert_std(strong.retention.diffusion, 0.15)
    _, trace = relaxed(key, strong, jnp.zeros(CELLS), 20)
    low, high = (np.asarray(bound) for bound in spt.bounds(strong))
    assert np.all((low <= trace) & (trace <= high)) and np.any(trace == high)


def drifting(count=CELLS, **fields):
    drift = spt.Drift(**({"nu": 0.05, "t_0": 2.0, "interval": 3.0} | fields))
    return cells(jax.random.key(0), count, drift=drift)


def drift_all(key, device, w, steps):
    return relaxed(key, device, w, steps, start_clock(device, w))


def test_drift_is_a_power_of_the_time_since_the_pulse(x64):
    w = np.array([0.8, -0.4])
    _, trace = drift_all(jax.random.key(1), drifting(2), jnp.asarray(w), 10)
    for k in range(10):
        expected = w * max(3.0 * (k + 1) / 2.0, 1.0) ** -0.05
        np.testing.assert_allclose(trace[k], expected, rtol=1e-14)


def test_drift_begins_at_t_0(x64):
    _, trace = drift_all(jax.random.key(1), drifting(1, t_0=7.0), jnp.ones(1) / 2, 3)
    assert trace[0, 0] == trace[1, 0] == 0.5 and trace[2, 0] < 0.5


def test_a_pulse_restarts_the_clock(x64):
    """Only where it moved the cell by more than the tolerance."""
    device = drifting(3, reset_tol=1e-3)
    w = jnp.array([0.5, 0.5, 0.5])
    (w, clock), _ = drift_all(jax.random.key(1), device, w, 4)
    pulsed = w + jnp.array([0.0, 0.1, 1e-4])
    new, clock = relax(jax.random.key(2), device, pulsed, clock, before=w)
    assert clock.age.tolist() == [7.5, 0.0, 7.5]
    assert new[1] == pulsed[1]  # it waits for the next interval
    later, _ = relax(jax.random.key(3), device, new, clock)
    np.testing.assert_allclose(later[1], pulsed[1] * 1.5**-0.05, rtol=1e-14)
    np.testing.assert_allclose(later[0], 0.5 * 9.0**-0.05, rtol=1e-14)


def test_the_exponent_depends_on_cell_update_and_conductance(key, x64):
    spread = drifting(nu_dtod=0.2)
    assert_mean(spread.retention.drift.nu, 0.05)
    assert_std(spread.retention.drift.nu, 0.01)
    # Its noise from update to update doesn't add up: ln w = -nu (1 + sigma xi) ln T.
    noisy = drifting(nu_std=0.2)
    _, trace = drift_all(key, noisy, jnp.full(CELLS, 0.5), 5)
    for k in (0, 4):
        logarithm = np.log(trace[k] / 0.5)
        assert_mean(logarithm, -0.05 * np.log(1.5 * (k + 1)))
        assert_std(logarithm, 0.01 * np.log(1.5 * (k + 1)))
    # nu - k (ln G - ln G_0), G = (w - w_offset)/wg_ratio + g_offset; zero conductance stays.
    numbers = {"nu_k": 0.01, "log_g0": 0.3, "w_offset": 0.1, "g_offset": 0.2, "wg_ratio": 0.5}
    device = drifting(2, **numbers)
    w = np.array([0.4, 0.8])
    moved, _ = relax(key, device, jnp.asarray(w), start_clock(device, jnp.asarray(w)))
    conductance = (w - 0.1) / 0.5 + 0.2
    exponent = 0.05 - 0.01 * (np.log(conductance) - 0.3)
    np.testing.assert_allclose((moved - 0.1) / 0.5 + 0.2, conductance * 1.5**-exponent, rtol=1e-13)


def test_reset_cells_lie_around_their_rest_value(key):
    device = cells(key, reset=0.1, reset_std=0.05)
    w, where = jnp.full(CELLS, 0.7), jnp.arange(CELLS) % 2 == 0
    new = reset(key, device, w, where)
    assert_mean(new[::2], 0.1)
    assert_std(new[::2], 0.05)
    assert same_bits(new[1::2], w[1::2])
    far = cells(key, 2, reset=3.0, reset_std=0.0)
    assert reset(key, far, jnp.zeros(2)).tolist() == [1.0, 1.0]  # the bound
    plain = spt.sample_device(key, spt.LinearResponse(), (2,))
    assert reset(key, plain, jnp.ones(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("cls", [spt.SoftBoundsReference, spt.PowStepReference])
def test_a_referenced_cell_relaxes_in_its_own_state(cls, x64):
    """h = w + r decays to b and drifts: in w that is towards b - r."""
    quiet = WIDE | ({"pow_gamma_dtod": 0.0} if cls is spt.PowStepReference else {})
    spec = cls(lifetime=4.0, reset=0.1, reset_std=0.0, reference_mean=0.3, **quiet)
    device = spt.sample_device(jax.random.key(0), spec, (2,))
    w = jnp.array([0.2, -0.5])
    np.testing.assert_allclose(
        relax(jax.random.key(1), device, w)[0], (w + 0.2) * 0.75 - 0.2, atol=1e-15
    )
    np.testing.assert_allclose(reset(jax.random.key(1), device, w), -0.2, atol=1e-15)
    drifts = dataclasses.replace(spec, lifetime=0.0, drift=spt.Drift(nu=0.1, interval=2.0))
    device = spt.sample_device(jax.random.key(0), drifts, (2,))
    moved, _ = relax(jax.random.key(1), device, w, start_clock(device, w))
    np.testing.assert_allclose(moved, (w + 0.3) * 2.0**-0.1 - 0.3, atol=1e-15)


def test_what_is_off_does_nothing_and_has_no_arrays(key):
    device = cells(key, 2)
    w = jnp.array([0.1, 0.2])
    assert not is_relaxing(device) and start_clock(device, w) is None
    assert relax(key, device, w)[0] is w
    tanh = spt.sample_device(key, spt.PowerResponse(), (2,))
    assert relax(key, tanh, w)[0] is w
    assert cells(key, 2, drift=spt.Drift()).retention.drift is None
    # A process that is on leaves the draws of the others alone.
    both = cells(key, 9, lifetime=9.0, lifetime_dtod=0.3, diffusion=0.1, diffusion_dtod=0.3)
    alone = cells(key, 9, diffusion=0.1, diffusion_dtod=0.3)
    assert same_bits(both.retention.diffusion, alone.retention.diffusion)
    assert same_bits(both.up, cells(key, 9).up)


def test_drift_without_a_clock_is_refused(key):
    with pytest.raises(ValueError, match=r"clock = spt\.devices\.start_clock"):
        relax(key, drifting(2), jnp.zeros(2))
    with pytest.raises(TypeError, match=r"SoftBounds: drift must be a spt\.Drift or None, got 0.1"):
        spt.SoftBounds(drift=0.1)
    with pytest.raises(ValueError, match=r"Drift: t_0=0"):
        spt.Drift(t_0=0)


def test_retention_is_swept_and_differentiated(x64):
    def left(lifetime):
        device = cells(jax.random.key(0), 1, lifetime=lifetime)
        return relax(jax.random.key(1), device, jnp.ones(1) / 2)[0][0]

    lifetimes = jnp.array([0.0, 1.0, 4.0])  # a traced zero is no decay either
    np.testing.assert_allclose(jax.vmap(left)(lifetimes), [0.5, 0.0, 0.375])
    np.testing.assert_allclose(jax.grad(left)(4.0), 0.5 / 16)  # d/dt of w (1 - 1/t)


# Arrays: once per update, after the pulses.


@functools.partial(jax.jit, static_argnames="method")
def update(key, state, changes, method="exact"):
    """One update of an array: pulses, then time."""
    written = spt.transforms.write(key, state, changes, method=method)
    return spt.transforms.relax_array(key, written, state)


def test_an_array_relaxes_leaf_by_leaf(x64):
    spec = spt.SoftBounds(lifetime=4.0, **WIDE)
    start = {"a": jnp.array([0.4, -0.2]), "b": jnp.ones((2, 2)) / 2}
    state = spt.transforms.init_array(jax.random.key(0), spec, start)
    state = update(jax.random.key(1), state, jax.tree.map(jnp.zeros_like, start))
    np.testing.assert_allclose(state.hidden["a"], start["a"] * 0.75)
    np.testing.assert_allclose(state.hidden["b"], start["b"] * 0.75)
    assert state.clock is None


def test_what_reads_show_moves_with_the_hidden_weight(x64):
    spec = spt.SoftBounds(lifetime=4.0, write_noise_std=2.0, dw_min=0.1, **WIDE)
    before = spt.transforms.init_array(jax.random.key(0), spec, jnp.array([0.4, -0.2]))
    after = update(jax.random.key(1), before, jnp.zeros(2))
    np.testing.assert_allclose(after.shown - after.hidden, before.shown - before.hidden)
    assert np.all(before.shown != before.hidden)


def test_an_arrays_clock_counts_updates_without_pulses(x64):
    spec = spt.SoftBounds(dw_min=0.01, drift=spt.Drift(nu=0.05, interval=2.0), **WIDE)
    state = spt.transforms.init_array(jax.random.key(0), spec, {"w": jnp.array([0.5, 0.5])})
    for index in range(3):
        changes = {"w": jnp.array([0.0, 0.05 if index == 1 else 0.0])}
        state = update(jax.random.fold_in(jax.random.key(1), index), state, changes)
    assert isinstance(state.clock["w"], DriftClock)
    assert state.clock["w"].age.tolist() == [6.0, 2.0]
    np.testing.assert_allclose(state.hidden["w"][0], 0.5 * 6.0**-0.05)


@pytest.mark.parametrize("transfer", [None, spt.ColumnTransfer(warm_up=False)])
def test_both_arrays_of_an_optimizer_relax_once_per_step(transfer, x64):
    """Without gradients P stays at 0 and W decays (and its clock runs) step by step."""
    spec = spt.SoftBounds(lifetime=4.0, drift=spt.Drift(nu=0.05), **WIDE)
    tx = spt.residual_learning(
        0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.1, transfer=transfer,
        key=jax.random.key(0), method="mean",
    )  # fmt: skip
    params = jnp.ones((2, 2)) / 2
    state = tx.init(params)
    for _ in range(2):
        updates, state = jax.jit(tx.update)(jnp.zeros((2, 2)), state, params)
        params = params + updates
    if transfer is None:
        expected = 0.5 * 0.75**2 * 2.0**-0.05
        np.testing.assert_allclose(spt.read_arrays(state)["weight"], expected)
    assert np.all(state.weight.clock.age == 2) and np.all(state.weight.hidden < 0.3)


def test_analog_sgd_and_an_auxiliary_array_relax_once_per_step(x64):
    spec = spt.SoftBounds(lifetime=4.0, **WIDE)
    for tx in (
        spt.analog_sgd(0.1, weight_spec=spec, key=jax.random.key(0)),
        spt.apply_device(spec, key=jax.random.key(0), emit="read", method="mean"),
    ):
        params, changes = jnp.ones(2) / 2, jnp.zeros(2)
        state = tx.init(params)
        for _ in range(2):
            _, state = tx.update(changes, state, params)
        array = next(iter(spt.read_arrays(state).values()))
        np.testing.assert_allclose(array, array[0])
        assert array[0] in (0.0, 0.5 * 0.75**2)
