"""Pulses with a read after each: what calibration and identification learn from."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._random import normal
from sptrack._typing import Array, Key
from sptrack.pulses.apply import one_pulse
from sptrack.pulses.shown import show


def pulse_and_read(
    key: Key, device: Any, w: Array, directions: Array, read_noise_std: Any = 0.0
) -> tuple[Array, Array]:
    """Pulses an array and reads it before the first and after every pulse.

    A read shows the hidden weight with the device's write noise and the noise of the read.

    Args:
      key: a JAX random key (cycle, write and read noise).
      device: a device.
      w: hidden weights to start from.
      directions: 1 (up), -1 (down) or 0 (no pulse): shape (pulses,) for all cells alike, or
        (pulses, *cells).
      read_noise_std: std of the noise of one read, weight units.

    Returns:
      (hidden weights at the end, reads of shape (pulses + 1, *cells)).

    Example:
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2,))
      >>> up = jnp.array([1, 1])
      >>> print(spt.pulses.pulse_and_read(jax.random.key(1), device, jnp.zeros(2), up)[1])
      [[0.   0.  ]
       [0.1  0.1 ]
       [0.19 0.19]]
    """
    return _pulse_and_read(key, device, w, directions, read_noise_std)


@functools.partial(jax.jit, inline=True)  # one program for calls outside of jit
def _pulse_and_read(
    key: Key, device: Any, w: Array, directions: Array, read_noise_std: Any
) -> tuple[Array, Array]:
    def read(key, hidden):
        shown = show(key, device, hidden)
        return shown + read_noise_std * normal(key, "read noise", shown)

    def pulse(hidden, inputs):
        index, direction = inputs
        one = jax.random.fold_in(key, index)
        hidden = jnp.where(direction == 0, hidden, one_pulse(one, device, hidden, direction > 0))
        return hidden, read(one, hidden)

    indices = jnp.arange(1, len(directions) + 1)
    first = read(jax.random.fold_in(key, 0), w)
    hidden, rest = jax.lax.scan(pulse, w, (indices, directions))
    return hidden, jnp.concatenate([first[None], rest])
