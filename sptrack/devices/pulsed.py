"""What all pulsed cells have in common: steps, bounds, stuck cells, and how they are sampled.

Independently per cell, once for its life, with xi standard normal (the rules of aihwkit 1.2):

    gain   = 1 + dw_min_dtod xi,  or  exp(dw_min_dtod xi) if dw_min_dtod_log_normal
    rho    = up_down_dtod xi                             one draw, used with opposite signs
    s_up   = gain + min(up_down, 0) + rho                in units of dw_min
    s_down = gain - max(up_down, 0) - rho
    b_max  = w_max (1 + w_max_dtod xi),   b_min = w_min (1 + w_min_dtod xi)

Conventions that surprise, and the option that selects the other reading: `up_down` is one-sided (a
positive one shrinks the down step, a negative one the up step; `up_down_one_sided`); the mean
log-normal gain is exp(dw_min_dtod^2 / 2), not 1 (`log_normal_unit_mean`); `write_noise_std` is in
units of dw_min while `dw_min_std` is relative to a cell's own step.
`enforce_consistency` takes magnitudes of both steps, swaps crossed bounds and then makes b_max
positive and b_min negative; without it crossed bounds meet in their middle (the cell is frozen)
and a negative step counts as none, because a response is never negative.

Left out: aihwkit's `perfect_bias` (a column of ideal cells; biases are digital here) and
`adjust_bounds_with_up_down` (not reachable from its Python).
Source: aihwkit 1.2, PulsedDevice.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sptrack._random import uniform
from sptrack._typing import Array, Key, number, option, spec
from sptrack.devices.retention import RetentionSpec
from sptrack.devices.sampling import is_off, spreads, switchable

GRANULARITIES = ("dw_min", "step_at_zero", "aihwkit")  # of devices whose step at 0 isn't dw_min


class Cells(NamedTuple):
    """Sampled steps (over dw_min) and bounds of each cell, and which cells are stuck (or None)."""

    step_up: Array
    step_down: Array
    low: Array
    high: Array
    stuck: Array | None


def imbalance(up_down: Any, one_sided: bool) -> tuple[Any, Any]:
    """What `up_down` adds to the up and to the down side of a gain of 1."""
    if one_sided:
        return jnp.minimum(up_down, 0.0), -jnp.maximum(up_down, 0.0)
    return up_down, -up_down


def check_granularity(owner: str, granularity: Any) -> None:
    """Refuses an unknown unit of wanted increments."""
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"{owner}: granularity must be one of {GRANULARITIES}, got {granularity!r}."
        )


def scaled_cells(cells: Cells, dw_min: Any, unit: Any) -> Cells:
    """The cells with their steps in units of `unit` instead of dw_min."""
    if unit is dw_min:
        return cells
    return cells._replace(
        step_up=cells.step_up * (dw_min / unit), step_down=cells.step_down * (dw_min / unit)
    )


@spec
class PulsedSpec(RetentionSpec):
    """Fields and sampling rules shared by all pulsed cells; the module's docstring has the rules.

    Attributes:
      dw_min: mean step per pulse at the reference response; weight units, > 0.
      dw_min_dtod: cell-to-cell std of the step, relative.
      dw_min_dtod_log_normal: whether the gain is log-normal instead of normal.
      log_normal_unit_mean: whether a log-normal gain is divided by its mean.
      dw_min_std: cycle-to-cycle std of a step, relative to the cell's own step.
      up_down: imbalance of up and down steps, in [-1, 1].
      up_down_one_sided: whether `up_down` shrinks one side only (published parameters mean this),
        or moves both sides by half of the difference that it makes, 1 +- up_down.
      up_down_dtod: cell-to-cell std of the imbalance.
      w_max, w_min: mean upper (>= 0) and lower (<= 0) bound; weight units.
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

    dw_min: float = number(0.001, low=0, above=True, symbol="δ", unit="weight")
    dw_min_dtod: float = number(
        0.3, low=0, symbol="σ_g", unit="relative", equation="g = 1 + σ_g ξ or exp(σ_g ξ)"
    )
    dw_min_dtod_log_normal: bool = option(False)
    log_normal_unit_mean: bool = option(False, equation="g / exp(σ_g²/2)")
    dw_min_std: float = number(
        0.3, low=0, symbol="σ_c", unit="relative", equation="Δw = s (1 + σ_c ξ) per pulse"
    )
    up_down: float = number(
        0.0,
        low=-1,
        high=1,
        symbol="u",
        unit="relative",
        equation="s↑ = δ (g + min(u, 0) + ρ), s↓ = δ (g − max(u, 0) − ρ)",
    )
    up_down_one_sided: bool = option(True, equation="False: s↑ = δ (g + u + ρ), s↓ = δ (g − u − ρ)")
    up_down_dtod: float = number(
        0.01, low=0, symbol="σ_ρ", unit="relative", equation="ρ = σ_ρ ξ, one draw for both sides"
    )
    w_max: float = number(0.6, low=0, symbol="w_max", unit="weight")
    w_min: float = number(-0.6, high=0, symbol="w_min", unit="weight")
    w_max_dtod: float = number(
        0.3, low=0, symbol="σ_max", unit="relative", equation="b_max = w_max (1 + σ_max ξ)"
    )
    w_min_dtod: float = number(
        0.3, low=0, symbol="σ_min", unit="relative", equation="b_min = w_min (1 + σ_min ξ)"
    )
    enforce_consistency: bool = option(True)
    corrupt_devices_prob: float = number(0.0, low=0, high=1, symbol="p_stuck", unit="probability")
    corrupt_devices_range: float = number(0.1, low=0, unit="weight")
    write_noise_std: float = number(
        0.0, low=0, symbol="σ_w", unit="δ", equation="shown = w + σ_w δ ξ, redrawn at a write"
    )
    mult_noise: bool = option(True)

    @property
    def num_states(self):
        """Number of states of the mean cell, (w_max - w_min) / dw_min."""
        return (self.w_max - self.w_min) / self.dw_min

    def sample_cells(self, key: Key, like: Array) -> Cells:
        """Draws steps, bounds and stuck cells by the rules of the module's docstring."""
        names = ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod")
        drawn = spreads(key, {name: getattr(self, name) for name in names}, like)
        gain = self._gain(drawn["dw_min_dtod"])
        more_up, more_down = imbalance(self.up_down, self.up_down_one_sided)
        step_up = gain + more_up + drawn["up_down_dtod"]
        step_down = gain + more_down - drawn["up_down_dtod"]
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

    def _gain(self, deviation: Array) -> Array:
        if not self.dw_min_dtod_log_normal:
            return 1 + deviation
        if self.log_normal_unit_mean:
            deviation = deviation - jnp.asarray(self.dw_min_dtod, deviation.dtype) ** 2 / 2
        return jnp.exp(deviation)

    def device_fields(self, key: Key, cells: Cells, unit: Any = None) -> dict[str, Any]:
        """The fields of `PulsedDevice`; noises that are off are None.

        With a `unit`, the steps of `cells` are in units of it instead of dw_min.
        """
        dtype = cells.low.dtype
        dw_min = self.dw_min if unit is None else unit
        write_noise = self.write_noise_std
        if unit is not None and not is_off(write_noise):
            write_noise = write_noise * self.dw_min / unit
        fields: dict[str, Any] = {
            "dw_min": jnp.asarray(dw_min, dtype),
            "low": cells.low,
            "high": cells.high,
            "write_noise_std": switchable(write_noise, dtype),
            "retention": self.sample_retention(key, cells.low),
        }
        if self.mult_noise:
            fields["relative_noise"] = switchable(self.dw_min_std, dtype)
        elif not is_off(self.dw_min_std):
            fields["noise_up"] = self.dw_min_std * cells.step_up
            fields["noise_down"] = self.dw_min_std * cells.step_down
        return fields
