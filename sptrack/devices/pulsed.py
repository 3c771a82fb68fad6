"""What all pulsed cells have in common: steps, bounds, stuck cells, and how they are sampled.

Independently per cell, once for its life, with xi standard normal (the rules of aihwkit 1.2):

    gain   = 1 + dw_min_dtod xi,  or  exp(dw_min_dtod xi) if dw_min_dtod_log_normal
    rho    = up_down_dtod xi                             one draw, used with opposite signs
    s_up   = gain + min(up_down, 0) + rho                in units of dw_min
    s_down = gain - max(up_down, 0) - rho
    b_max  = w_max (1 + w_max_dtod xi),   b_min = w_min (1 + w_min_dtod xi)

Conventions that surprise: `up_down` is one-sided (a positive one shrinks the down step, a negative
one the up step); the mean log-normal gain is exp(dw_min_dtod^2 / 2), not 1.
`enforce_consistency` takes magnitudes of both steps, swaps crossed bounds and then makes b_max
positive and b_min negative; without it crossed bounds meet in their middle (the cell is frozen)
and a negative step counts as none, because a response is never negative.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._random import normals, uniform
from sptrack._typing import Array, Key, number, spec


class Cells(NamedTuple):
    """Sampled steps (over dw_min) and bounds of each cell, and which cells are stuck (or None)."""

    step_up: Array
    step_down: Array
    low: Array
    high: Array
    stuck: Array | None


def is_off(value: Any) -> bool:
    """Whether a number is known to be zero now; a traced one is not."""
    return not isinstance(value, Tracer) and bool(np.all(np.asarray(value) == 0))


def spreads(key: Key, stds: dict[str, Any], like: Array) -> dict[str, Array]:
    """std * xi per cell for every name, each from its own stream.

    Exactly zero, and nothing drawn, where a std is off.
    """
    drawn = normals(key, [name for name, std in stds.items() if not is_off(std)], like)
    return {
        name: std * drawn[name] if name in drawn else jnp.zeros_like(like)
        for name, std in stds.items()
    }


def switchable(value: Any, dtype: Any) -> Array | None:
    """The number as an array, or None when it is known to be off."""
    return None if is_off(value) else jnp.asarray(value, dtype)


@spec
class PulsedSpec:
    """Fields and sampling rules shared by all pulsed cells; the module's docstring has the rules.

    Attributes:
      dw_min: mean step per pulse at the reference response; weight units, > 0.
      dw_min_dtod: cell-to-cell std of the step, relative.
      dw_min_dtod_log_normal: whether the gain is log-normal instead of normal.
      dw_min_std: cycle-to-cycle std of a step, relative to the cell's own step.
      up_down: one-sided imbalance of up and down steps, in [-1, 1].
      up_down_dtod: cell-to-cell std of the imbalance.
      w_max, w_min: mean upper (> 0) and lower (< 0) bound; weight units.
      w_max_dtod, w_min_dtod: relative cell-to-cell std of the bounds.
      enforce_consistency: whether signs of steps and bounds are made consistent.
      corrupt_devices_prob: probability that a cell is stuck.
      corrupt_devices_range: stuck cells hold U[max(b_min, -range), min(b_max, range)].
      write_noise_std: std of what a read shows around the hidden weight, in units of dw_min.
      mult_noise: whether cycle noise scales with the step at the present weight (True), or with the
        cell's step at response 1 (False).

    Example:
      >>> import sptrack as spt
      >>> spt.ConstantStep(dw_min=0.002).num_states
      600.0
    """

    dw_min: float = number(0.001, low=0, above=True)
    dw_min_dtod: float = number(0.3, low=0)
    dw_min_dtod_log_normal: bool = False
    dw_min_std: float = number(0.3, low=0)
    up_down: float = number(0.0, low=-1, high=1)
    up_down_dtod: float = number(0.01, low=0)
    w_max: float = number(0.6, low=0)
    w_min: float = number(-0.6, high=0)
    w_max_dtod: float = number(0.3, low=0)
    w_min_dtod: float = number(0.3, low=0)
    enforce_consistency: bool = True
    corrupt_devices_prob: float = number(0.0, low=0, high=1)
    corrupt_devices_range: float = number(0.1, low=0)
    write_noise_std: float = number(0.0, low=0)
    mult_noise: bool = True

    @property
    def num_states(self):
        """Number of states of the mean cell, (w_max - w_min) / dw_min."""
        return (self.w_max - self.w_min) / self.dw_min

    def sample_cells(self, key: Key, like: Array) -> Cells:
        """Draws steps, bounds and stuck cells by the rules of the module's docstring."""
        names = ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod")
        drawn = spreads(key, {name: getattr(self, name) for name in names}, like)
        deviation, imbalance = drawn["dw_min_dtod"], drawn["up_down_dtod"]
        gain = jnp.exp(deviation) if self.dw_min_dtod_log_normal else 1 + deviation
        step_up = gain + jnp.minimum(self.up_down, 0.0) + imbalance
        step_down = gain - jnp.maximum(self.up_down, 0.0) - imbalance
        high = self.w_max * (1 + drawn["w_max_dtod"])
        low = self.w_min * (1 + drawn["w_min_dtod"])
        if self.enforce_consistency:
            step_up, step_down = jnp.abs(step_up), jnp.abs(step_down)
            low, high = -jnp.abs(jnp.minimum(low, high)), jnp.abs(jnp.maximum(low, high))
        else:
            step_up, step_down = jnp.maximum(step_up, 0), jnp.maximum(step_down, 0)
            middle = (low + high) / 2
            crossed = low > high
            low, high = jnp.where(crossed, middle, low), jnp.where(crossed, middle, high)
        if is_off(self.corrupt_devices_prob):
            return Cells(step_up, step_down, low, high, None)
        stuck = uniform(key, "corrupt_devices", like) < self.corrupt_devices_prob
        lowest = jnp.maximum(low, -self.corrupt_devices_range)
        highest = jnp.minimum(high, self.corrupt_devices_range)
        value = lowest + (highest - lowest) * uniform(key, "corrupt_value", like)
        return Cells(
            step_up=jnp.where(stuck, 0, step_up),
            step_down=jnp.where(stuck, 0, step_down),
            low=jnp.where(stuck, value, low),
            high=jnp.where(stuck, value, high),
            stuck=stuck,
        )

    def noise_fields(self, cells: Cells, dtype: Any) -> dict[str, Any]:
        """Cycle and write noise as fields of a device; None where switched off."""
        fields: dict[str, Any] = {"write_noise_std": switchable(self.write_noise_std, dtype)}
        if self.mult_noise:
            fields["relative_noise"] = switchable(self.dw_min_std, dtype)
        elif not is_off(self.dw_min_std):
            fields["noise_up"] = self.dw_min_std * cells.step_up
            fields["noise_down"] = self.dw_min_std * cells.step_down
        return fields
