"""What a read shows of an array: the hidden weight plus the write noise of its last write."""

from typing import Any

import jax.numpy as jnp

from sptrack._random import normal
from sptrack._typing import Array, Key


def has_write_noise(device: Any) -> bool:
    """Whether what a read shows differs from the hidden weight.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.presets.reram_array_om()
      >>> spt.pulses.has_write_noise(spt.sample_device(jax.random.key(0), spec, (2,)))
      True
    """
    return getattr(device, "write_noise_std", None) is not None


def show(key: Key, device: Any, hidden: Array) -> Array:
    """What reads show of an array all of whose cells have just been written.

    shown = hidden + write_noise_std dw_min xi. Nothing is drawn if the device has no write noise.

    Args:
      key: a JAX random key.
      device: a device.
      hidden: hidden weights.

    Returns:
      What a read shows until the next write, of hidden's shape; may lie outside the bounds.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
      >>> print(spt.pulses.show(jax.random.key(1), device, jnp.zeros(2)))
      [0. 0.]
    """
    if not has_write_noise(device):
        return hidden
    noise = device.write_noise_std * device.dw_min * normal(key, "write noise", hidden)
    return (hidden + noise).astype(hidden.dtype)


def show_written(key: Key, device: Any, hidden: Array, shown: Array, counts: Array) -> Array:
    """What reads show after some cells were written: noise is redrawn where counts are not zero.

    A cell that a write made NaN (without any pulse) shows NaN.

    Args:
      key: a JAX random key.
      device: a device.
      hidden: hidden weights after the write.
      shown: what reads showed before it.
      counts: pulses sent to each cell.

    Returns:
      What a read shows until the next write.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.reram_array_om(), (2,))
      >>> old, counts = jnp.array([0.1, 0.2]), jnp.array([0, 1])
      >>> new = spt.pulses.show_written(jax.random.key(1), device, jnp.zeros(2), old, counts)
      >>> print(bool(new[0] == old[0]), bool(new[1] == old[1]))
      True False
    """
    if not has_write_noise(device):
        return hidden
    unwritten = (counts == 0) & ~jnp.isnan(hidden)
    return jnp.where(unwritten, shown, show(key, device, hidden))
