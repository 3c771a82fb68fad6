"""Cells with a constant step, and the ideal array.

Source: aihwkit 1.2, ConstantStepDevice.
"""

import math

import jax.numpy as jnp

from sptrack._typing import number, spec
from sptrack.devices.affine import AffineDevice, affine_cells
from sptrack.devices.pulsed import PulsedSpec


@spec
class ConstantStep(PulsedSpec):
    """Cells whose step doesn't depend on the weight: w += s_up (1 + sigma xi), w -= s_down (...).

    There is no symmetric point unless both steps of a cell are equal, and then every weight is one.
    All fields are `PulsedSpec`'s (`spt.devices.PulsedSpec` documents them).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.ConstantStep(dw_min=0.1, dw_min_dtod=0.0, dw_min_std=0.0, up_down_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.apply_pulses(jax.random.key(1), device, jnp.array(0.0), jnp.array(3)).round(3))
      0.3
    """

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        like = jnp.zeros(shape, dtype)
        return affine_cells(self, key, self.sample_cells(key, like), like, like)


@spec
class IdealStep:
    """The ideal array: takes any increment exactly, has no noise and no bounds (F = 1, G = 0).

    Attributes:
      dw_min: what one pulse adds where an algorithm fires single pulses; weight units, > 0.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.IdealStep(), ())
      >>> print(spt.analog_update(jax.random.key(1), device, jnp.array(0.5), jnp.array(0.25)))
      0.75
    """

    dw_min: float = number(0.001, low=0, above=True, symbol="δ", unit="weight")

    num_states = math.inf

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Returns the ideal device; nothing is drawn."""
        del key
        one, zero = jnp.ones(shape, dtype), jnp.zeros(shape, dtype)
        infinite = jnp.full(shape, jnp.inf, dtype)
        return AffineDevice(
            dw_min=jnp.asarray(self.dw_min, dtype),
            up=one,
            up_slope=zero,
            down=one,
            down_slope=zero,
            low=-infinite,
            high=infinite,
            continuous=True,
        )
