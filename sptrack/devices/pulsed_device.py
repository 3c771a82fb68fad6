"""What all sampled arrays of pulsed cells have in common: a unit of steps, bounds, noise."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.retention import Retention


@dataclasses.dataclass(frozen=True, kw_only=True)
class PulsedDevice:
    """The common part of sampled pulsed cells; a subclass adds `response(w)`.

    Attributes:
      dw_min: mean weight change of one pulse where the response is 1; scalar.
      low, high: bounds of w, per cell.
      noise_up, noise_down: std of one pulse's step over dw_min, per cell (additive cycle noise);
        None when off.
      relative_noise: std of one pulse's step relative to that step (multiplicative cycle noise),
        scalar; None when off.
      write_noise_std: std of a read around the hidden weight, over dw_min; None when off.
      retention: what the cells do between updates and when they are reset.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.ExpStep(), (2,))
      >>> isinstance(device, spt.devices.PulsedDevice)
      True
    """

    dw_min: Array
    low: Array
    high: Array
    noise_up: Array | None = None
    noise_down: Array | None = None
    relative_noise: Array | None = None
    write_noise_std: Array | None = None
    retention: Retention | None = None

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down): mean steps per pulse over dw_min."""
        raise NotImplementedError

    def noise(self, w: Array) -> tuple[Any, Any]:
        """(std_up, std_down) of one pulse's step over dw_min."""
        if self.relative_noise is not None:
            q_up, q_down = self.response(w)
            return self.relative_noise * q_up, self.relative_noise * q_down
        return self.noise_up, self.noise_down

    def bounds(self) -> tuple[Array, Array]:
        """(low, high)."""
        return self.low, self.high


def read_against(fields: dict[str, Any], reference: Array) -> dict[str, Any]:
    """The fields of `PulsedDevice` for cells read against a reference, in w = h - reference."""
    bounds = {name: fields[name] - reference for name in ("low", "high")}
    return fields | bounds | {"retention": fields["retention"].shifted(reference)}


def across(distance: Array, low: Array, high: Array) -> Array:
    """`distance` over the range of a cell; 0 for a cell that has none."""
    span = high - low
    return jnp.where(span > 0, distance / jnp.where(span > 0, span, 1), 0)


def power(distance: Array, exponent: Array) -> Array:
    """distance^exponent, 0 from 0 down, with the derivative at 0 kept finite."""
    inside = distance > 0
    return jnp.where(inside, jnp.where(inside, distance, 1) ** exponent, 0)
