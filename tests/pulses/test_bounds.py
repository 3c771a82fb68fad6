"""Whatever the cell, the start and the pulses: a weight stays a number within its bounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sptrack as spt

CELLS = 64
METHODS = ("exact", "aggregate", "mean")

PULSED = {
    "dw_min": st.floats(1e-5, 3.0),
    "dw_min_dtod": st.floats(0, 2.0),
    "dw_min_std": st.floats(0, 5.0),
    "up_down": st.floats(-0.9, 0.9),
    "up_down_dtod": st.floats(0, 1.0),
    "w_max": st.floats(0, 2.0),
    "w_min": st.floats(-2.0, 0),
    "w_max_dtod": st.floats(0, 2.0),
    "w_min_dtod": st.floats(0, 2.0),
    "corrupt_devices_prob": st.floats(0, 1.0),
}
SHIFTED = {"reference_mean": st.floats(-1, 1), "reference_std": st.floats(0, 1)}
CENTERED = {
    "dw_min": st.floats(1e-5, 3.0),
    "tau": st.floats(0.1, 2.0),
    "gamma_res": st.floats(0.3, 4.0),
    "center_std": st.floats(0, 1.0),
    "dw_min_std": st.floats(0, 5.0),
}
# Multiplicative noise with (x sigma)^2 + (1 - x)^2 > 1 grows without end in n; that is included.
WILD = {"dw_min_std": st.floats(0, 5.0), "dw_min": st.floats(1e-5, 0.9)}

KINDS = {
    "constant, inconsistent": (
        functools.partial(spt.ConstantStep, enforce_consistency=False),
        PULSED,
    ),
    "additive, symmetric point subtracted": (
        functools.partial(spt.SoftBoundsReference, subtract_symmetry_point=True),
        PULSED | SHIFTED,
    ),
    "linear": (
        spt.LinearResponse,
        {
            "alpha_up": st.floats(0.1, 1.0),
            "alpha_down": st.floats(0.1, 1.0),
            "tau_max": st.floats(1.0, 2.0),
            "tau_min": st.floats(1.0, 2.0),
            "asymmetry_std": st.floats(0, 1.0),
            "center_std": st.floats(0, 1.0),
        }
        | WILD,
    ),
    "power": (spt.PowerResponse, CENTERED),
    "exponential": (spt.ExponentialResponse, CENTERED),
}


@jax.jit
def everything(spec, key, shares, counts):
    """A device, and its weights after pulses by all methods and after zero-shifting."""
    device = spt.sample_device(key, spec, (CELLS,))
    low, high = spt.bounds(device)
    w = jnp.clip(low + shares * (high - low), low, high)
    moved = [spt.apply_pulses(key, device, w, counts, method=method) for method in METHODS]
    shifted = spt.zero_shift(key, device, w, 11, scheme="stochastic").weight
    return low, high, [*moved, shifted]


@pytest.mark.optimized  # a bound that is computed twice differs by an ulp without
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1), most=st.sampled_from([1, 8, 60, 10_000]))
def test_bounds_are_never_violated(kind, data, seed, most):
    cls, fields = KINDS[kind]
    spec = cls(**{name: data.draw(values, label=name) for name, values in fields.items()})
    rng = np.random.default_rng(seed)
    shares = np.clip(rng.uniform(-0.2, 1.2, CELLS), 0, 1)  # a third start at a bound
    counts = rng.integers(-min(most, 100), min(most, 100) + 1, CELLS)
    low, high, weights = everything(
        spec, jax.random.key(seed), jnp.asarray(shares, jnp.float32), jnp.asarray(counts)
    )
    for moved in weights:
        assert np.all(np.isfinite(moved)) and np.all((low <= moved) & (moved <= high))
