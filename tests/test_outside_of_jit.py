"""Outside of jit, as in a notebook, a second call compiles nothing: programs of loops are kept."""

import jax
import jax.numpy as jnp
import pytest

import sptrack as spt

CELLS, SHAPE = spt.presets.figure_1_soft_bounds(), (2, 2)
NOISY = spt.periphery.ReadPath(
    inp_bound=1.0, inp_res=1 / 126, out_bound=0.5, out_noise=0.06, bound_management="iterative"
)


def made_of(spec):
    device = spt.sample_device(jax.random.key(0), spec, SHAPE)
    return device, spt.devices.program(device, jnp.zeros(SHAPE))


def with_cells(function, spec=CELLS):
    """The function of a key alone, on cells that are made once."""
    device, w = made_of(spec)
    return lambda key: function(key, device, w)


def pulses(method):
    counts = jnp.full(SHAPE, 3)
    return lambda key, device, w: spt.apply_pulses(key, device, w, counts, method=method)


def step_of(make, **options):
    tx = make(0.1, weight_spec=CELLS, key=jax.random.key(1), **options)
    state = tx.init(jnp.zeros(SHAPE))
    return lambda key: tx.update(jax.random.normal(key, SHAPE), state, jnp.zeros(SHAPE))


CASES = {
    "sample_device": lambda: lambda key: spt.sample_device(key, CELLS, SHAPE),
    "symmetric_point by bisection": lambda: with_cells(
        lambda key, device, w: spt.symmetric_point(device), spt.PowStep()
    ),
    "apply_pulses, exact": lambda: with_cells(pulses("exact")),
    "apply_pulses, aggregate": lambda: with_cells(pulses("aggregate")),
    "apply_pulses, groups": lambda: with_cells(pulses("aggregate"), spt.PowStep()),
    "apply_pulses, pairs": lambda: with_cells(pulses("exact"), spt.OneSidedPair()),
    "analog_update": lambda: with_cells(
        lambda key, device, w: spt.analog_update(key, device, w, jnp.full(SHAPE, 0.01))
    ),
    "coincidence_update": lambda: with_cells(
        lambda key, device, w: spt.coincidence_update(
            key, device, w, jnp.ones((3, 2)), jnp.ones((3, 2)), 0.01
        )
    ),
    "zero_shift": lambda: with_cells(
        lambda key, device, w: spt.zero_shift(key, device, w, 20, record_every=5)
    ),
    "pulse_and_read": lambda: with_cells(
        lambda key, device, w: spt.pulses.pulse_and_read(key, device, w, jnp.array([1, -1]))
    ),
    "analog_mvm": lambda: (
        lambda key: spt.periphery.analog_mvm(key, jnp.ones(SHAPE), jnp.ones(2), NOISY)
    ),
    "analog_sgd": lambda: step_of(spt.analog_sgd),
    "erider": lambda: step_of(
        spt.erider, residual_spec=CELLS, transfer_rate=0.1, transfer=spt.ColumnTransfer()
    ),
}


@pytest.fixture
def compiled():
    """Counts the programs that are compiled, or loaded, from here on."""
    found, event = [], "/jax/core/compile/backend_compile_duration"
    listen = lambda name, seconds, **about: found.append(name) if name == event else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("case", CASES)
def test_a_second_call_compiles_nothing(case, compiled):
    call, keys = CASES[case](), jax.random.split(jax.random.key(2))
    jax.block_until_ready(call(keys[0]))
    first, key = len(compiled), keys[1]
    jax.block_until_ready(call(key))
    assert first > 0
    assert len(compiled) == first
