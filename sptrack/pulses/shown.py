"""What a read shows of an array: the cells' weights plus the write noise of their last write."""

from typing import Any

import jax.numpy as jnp

from sptrack._random import normal
from sptrack._typing import Array, Key
from sptrack.devices.compound import combine, is_compound


def shows_hidden(device: Any) -> bool:
    """Whether what a noise-free read shows are the hidden weights themselves.

    Example:
      >>> import jax, sptrack as spt
      >>> spt.pulses.shows_hidden(spt.sample_device(jax.random.key(0), spt.SoftBounds(), (2,)))
      True
    """
    return not has_write_noise(device) and not is_compound(device)


def has_write_noise(device: Any) -> bool:
    """Whether reads show other weights than the cells have.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.presets.reram_array_om()
      >>> spt.pulses.has_write_noise(spt.sample_device(jax.random.key(0), spec, (2,)))
      True
    """
    return getattr(device, "write_noise_std", None) is not None


def show(key: Key, device: Any, hidden: Array) -> Array:
    """What reads show of an array all of whose cells have just been written.

    shown = hidden + write_noise_std dw_min xi, where hidden is W of cells of several devices.
    Nothing is drawn if the device has no write noise.

    Args:
      key: a JAX random key.
      device: a device.
      hidden: hidden weights.

    Returns:
      What a read shows until the next write, of the cells' shape; may lie outside the bounds.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
      >>> print(spt.pulses.show(jax.random.key(1), device, jnp.zeros(2)))
      [0. 0.]
    """
    weight = combine(device, hidden)
    if not has_write_noise(device):
        return weight
    noise = device.write_noise_std * device.dw_min * normal(key, "write noise", weight)
    return (weight + noise).astype(hidden.dtype)


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
    weight = combine(device, hidden)
    if not has_write_noise(device):
        return weight
    unwritten = (counts == 0) & ~jnp.isnan(weight)
    return jnp.where(unwritten, shown, show(key, device, hidden))
