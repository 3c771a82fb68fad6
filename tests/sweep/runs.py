"""Runs for the tests of sweeps, also imported by subprocesses; small and quick to compile."""

import jax
import jax.numpy as jnp

import sptrack as spt

SPEC = spt.SoftBounds(dw_min=0.05, up_down=0.2, up_down_dtod=0.1)


def calibrate(key, seed, mean):
    """Zero-shifting: sampling, pulses, noise, reads. The seed is in the key already."""
    sample, shift = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    device = spt.sample_device(sample, SPEC, (3,))
    start = jnp.full(3, 0.5) * mean
    result = spt.zero_shift(shift, device, start, 24, record_every=8)
    return {"error": result.estimate - spt.symmetric_point(device), "trace": result.trace}


def grow(key, rate):
    """A record of ten steps, which overflows float32 for a large rate."""
    noise = jax.random.uniform(key)

    def step(x, t):
        return x * rate, x * rate

    _, record = jax.lax.scan(step, 1 + noise, jnp.arange(10))
    return {"size": record, "count": (record > 1).sum()}


AXES = {"seed": range(5), "mean": [0.0, 0.4, 0.8]}
OPTIONS = {"dims": {"error": "cell", "trace": ("read", "cell")}, "units": {"error": "weight"}}
