"""Cells whose step is a power of the distance to the bound: aihwkit's PowStep.

    up:    h += s_up   ((b_max - h) / R)^gamma_up   (1 + sigma xi),     R = b_max - b_min
    down:  h -= s_down ((h - b_min) / R)^gamma_down (1 + sigma xi)

    gamma_up   = pow_gamma (1 + pow_gamma_dtod xi + min(pow_up_down, 0) + rho)
    gamma_down = pow_gamma (1 + pow_gamma_dtod xi - max(pow_up_down, 0) - rho),  rho = .._dtod xi

With gamma = 1 the symmetric point is h* = (s_up b_max + s_down b_min) / (s_up + s_down), otherwise
it is found by bisection. A reference r shifts everything, w = h - r. A step at w = 0 is about
2^-gamma of dw_min: see `granularity`. Source: aihwkit 1.2, PowStepDevice, PowStepReferenceDevice.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sptrack._typing import Array, number, option, spec
from sptrack.devices.device import symmetric_point
from sptrack.devices.pulsed import (
    PulsedSpec,
    check_granularity,
    imbalance,
    scaled_cells,
)
from sptrack.devices.pulsed_device import PulsedDevice, across, power, read_against
from sptrack.devices.sampling import spreads


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PowDevice(PulsedDevice):
    """A sampled array of power-step cells; see the module's docstring.

    Attributes beyond those of `PulsedDevice`:
      up, down: s_up and s_down over dw_min, per cell.
      gamma_up, gamma_down: exponents, per cell.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.PowStep(), (2,))
      >>> device.gamma_up.shape
      (2,)
    """

    up: Array
    down: Array
    gamma_up: Array
    gamma_down: Array

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down): powers of the relative distances to the bounds."""
        rest = across(self.high - w, self.low, self.high)
        filled = across(w - self.low, self.low, self.high)
        return self.up * power(rest, self.gamma_up), self.down * power(filled, self.gamma_down)


@spec
class PowStep(PulsedSpec):
    """Power-step cells; see the module's docstring for the equations.

    Attributes:
      pow_gamma: mean exponent.
      pow_gamma_dtod: cell-to-cell std of the exponents, one draw for both directions.
      pow_up_down: imbalance of the exponents, one-sided or not as `up_down_one_sided` says.
      pow_up_down_dtod: cell-to-cell std of the imbalance.
      granularity: unit of wanted increments: "dw_min" (the published parameter), "step_at_zero"
        (the mean of both steps of the mean cell at w = 0) or "aihwkit" (dw_min 2^-pow_gamma).
        No pulse changes by it.

    Further fields are `PulsedSpec`'s; cycle noise is multiplicative by default.

    Raises:
      ValueError: for an unknown `granularity`.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.PowStep(dw_min_dtod=0.0, up_down=0.5, up_down_dtod=0.0, w_max_dtod=0.0,
      ...                    w_min_dtod=0.0, pow_gamma_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.symmetric_point(device).round(4))  # 0.6 (1 - 0.5) / (1 + 0.5)
      0.2
    """

    pow_gamma: float = number(
        1.0, low=0, symbol="γ", unit="1", equation="s↑(w) = s↑ ((b_max − w) / (b_max − b_min))^γ↑"
    )
    pow_gamma_dtod: float = number(
        0.1, low=0, symbol="σ_γ", unit="relative", equation="γ↑ = γ (1 + σ_γ ξ + min(v, 0) + ρ)"
    )
    pow_up_down: float = number(
        0.0, low=-1, high=1, symbol="v", unit="relative",
        equation="γ↓ = γ (1 + σ_γ ξ − max(v, 0) − ρ)",
    )  # fmt: skip
    pow_up_down_dtod: float = number(0.0, low=0, unit="relative", equation="ρ = σ ξ")
    granularity: str = option("dw_min")

    def check(self):
        """Refuses an unknown granularity."""
        super().check()
        check_granularity(type(self).__name__, self.granularity)

    def unit(self):
        """What wanted increments are counted in; weight units."""
        if self.granularity == "dw_min":
            return self.dw_min
        if self.granularity == "aihwkit":
            return self.dw_min * 0.5**self.pow_gamma
        more_up, more_down = imbalance(self.up_down, self.up_down_one_sided)
        top, bottom = jnp.asarray(self.w_max), jnp.asarray(self.w_min)
        gamma_up, gamma_down = (
            self.pow_gamma * (1 + more)
            for more in imbalance(self.pow_up_down, self.up_down_one_sided)
        )
        up = (1 + more_up) * power(across(top, bottom, top), gamma_up)
        down = (1 + more_down) * power(across(-bottom, bottom, top), gamma_down)
        step = (up + down) / 2
        return self.dw_min * jnp.where(step > 0, step, 1)

    def sample(self, key, shape, dtype) -> PowDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        like = jnp.zeros(shape, dtype)
        unit = self.unit()
        cells = scaled_cells(self.sample_cells(key, like), self.dw_min, unit)
        names = ("pow_gamma_dtod", "pow_up_down_dtod")
        drawn = spreads(key, {name: getattr(self, name) for name in names}, like)
        gain, rho = 1 + drawn["pow_gamma_dtod"], drawn["pow_up_down_dtod"]
        more_up, more_down = imbalance(self.pow_up_down, self.up_down_one_sided)
        exponents = (
            self.pow_gamma * (gain + more_up + rho),
            self.pow_gamma * (gain + more_down - rho),
        )
        if self.enforce_consistency:
            exponents = jnp.abs(exponents[0]), jnp.abs(exponents[1])
        else:
            exponents = jnp.maximum(exponents[0], 0), jnp.maximum(exponents[1], 0)
        return PowDevice(
            up=cells.step_up,
            down=cells.step_down,
            gamma_up=exponents[0],
            gamma_down=exponents[1],
            **self.device_fields(key, cells, unit),
        )


@spec
class PowStepReference(PowStep):
    """Power-step cells read against a fixed reference cell: w = h - r.

        r = reference_mean + reference_std xi   (+ h*  if subtract_symmetry_point)

    As in `SoftBoundsReference`, the bounds and the symmetric point move with r. h* is the exact
    symmetric point; aihwkit approaches it by up to 10,000 pulses of the mean cell. aihwkit has no
    write noise here and clips by the unreferenced bounds.

    Attributes:
      reference_mean: mean of the reference error; weight units.
      reference_std: cell-to-cell std of the reference error; weight units.
      subtract_symmetry_point: whether the cell's true symmetric point is part of the reference.

    Further fields are `PowStep`'s and `PulsedSpec`'s.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.PowStepReference(subtract_symmetry_point=True, reference_mean=0.4)
      >>> device = spt.sample_device(jax.random.key(0), spec, (2,))
      >>> print(spt.symmetric_point(device).round(4))
      [-0.4 -0.4]
    """

    reference_mean: float = number(
        0.0, symbol="μ_r", unit="weight", equation="r = h* + μ_r + σ_r ξ, w = h − r"
    )
    reference_std: float = number(0.0, low=0, symbol="σ_r", unit="weight")
    subtract_symmetry_point: bool = option(False, equation="False: no h* in r")

    def sample(self, key, shape, dtype) -> PowDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        device = super().sample(key, shape, dtype)
        reference = jnp.full(shape, self.reference_mean, dtype)
        reference += spreads(key, {"reference_std": self.reference_std}, reference)["reference_std"]
        if self.subtract_symmetry_point:
            reference += symmetric_point(device)
        fields = {name: getattr(device, name) for name in ("low", "high", "retention")}
        return dataclasses.replace(device, **read_against(fields, reference))
