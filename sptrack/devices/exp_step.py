"""Cells whose step is exponential in the weight: aihwkit's ExpStep, for ReRAM and PCM.

    z  = 2 a w / (b_max - b_min) + b
    y+ = max(1 - A_up exp(gamma_up z), 0),   y- = max(1 - A_down exp(-gamma_down z), 0)
    up:  w += s_up y+,    down:  w -= s_down y-

The std of a pulse's step dw is sigma |dw| (or sigma s with mult_noise=False); with a floor or a
slope it is sigma (|dw| + dw_min_std_add + dw_min_std_slope |w|), dw and w in weight units. A,
gamma, a and b have no variation from cell to cell. The symmetric point has no closed form.
Source: aihwkit 1.2, ExpStepDevice.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, number, option, spec
from sptrack.devices.pulsed import PulsedSpec, check_granularity, imbalance, scaled_cells
from sptrack.devices.pulsed_device import PulsedDevice, across
from sptrack.devices.sampling import is_off


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpDevice(PulsedDevice):
    """A sampled array of exponential-step cells; see the module's docstring.

    Attributes beyond those of `PulsedDevice`:
      up, down: s_up and s_down over dw_min, per cell.
      A_up, A_down, gamma_up, gamma_down, a, b: the curve; scalars.
      std_add, std_slope: floor and slope of the cycle noise, over dw_min; None when off.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.reram_es(), (2,))
      >>> device.up.shape, device.std_add
      ((2,), None)
    """

    up: Array
    down: Array
    A_up: Array
    A_down: Array
    gamma_up: Array
    gamma_down: Array
    a: Array
    b: Array
    std_add: Array | None = None
    std_slope: Array | None = None

    def response(self, w: Array) -> tuple[Array, Array]:
        """(s_up y+, s_down y-) over dw_min."""
        z = 2 * self.a * across(w, self.low, self.high) + self.b
        y_up = jnp.maximum(1 - self.A_up * jnp.exp(self.gamma_up * z), 0)
        y_down = jnp.maximum(1 - self.A_down * jnp.exp(-self.gamma_down * z), 0)
        return self.up * y_up, self.down * y_down

    def noise(self, w: Array) -> tuple[Any, Any]:
        """(std_up, std_down) of one pulse's step over dw_min."""
        if self.relative_noise is None or (self.std_add is None and self.std_slope is None):
            return super().noise(w)
        floor = 0 if self.std_add is None else self.std_add
        if self.std_slope is not None:
            floor = floor + self.std_slope * jnp.abs(w)
        moves = self.high > self.low  # a stuck cell has no noise either
        q_up, q_down = self.response(w)
        sigma = jnp.where(moves, self.relative_noise, 0)
        return sigma * (q_up + floor), sigma * (q_down + floor)


@spec
class ExpStep(PulsedSpec):
    """Exponential-step cells; see the module's docstring for the equations.

    `granularity` says what the device's dw_min is, in which an update counts its pulses; no pulse
    changes by it. aihwkit counts in the mean down step at w = 0, where its comment promises the
    mean of both directions.

    Attributes:
      A_up, A_down: amplitudes of the curves.
      gamma_up, gamma_down: exponents of the curves.
      a, b: scale and offset of the weight in the exponent.
      dw_min_std_add: floor of the cycle noise's std, times dw_min_std.
      dw_min_std_slope: growth of the cycle noise's std with |w|, times dw_min_std.
      granularity: unit of wanted increments: "dw_min" (the published parameter), "step_at_zero"
        (the mean of both steps of the mean cell at w = 0) or "aihwkit" (its down step there).

    Further fields are `PulsedSpec`'s.

    Raises:
      ValueError: for an unknown `granularity`, or a floor or slope with additive noise.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.ExpStep(dw_min_dtod=0.0, up_down_dtod=0.0, w_max_dtod=0.0, w_min_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.response(device, jnp.array(0.0))[0].round(3))
      0.983
    """

    A_up: float = number(0.00081, symbol="A↑", unit="1", equation="y↑ = max(1 − A↑ exp(γ↑ z), 0)")
    A_down: float = number(
        0.36833, symbol="A↓", unit="1", equation="y↓ = max(1 − A↓ exp(−γ↓ z), 0)"
    )
    gamma_up: float = number(12.44625, symbol="γ↑", unit="1")
    gamma_down: float = number(12.78785, symbol="γ↓", unit="1")
    a: float = number(0.244, symbol="a", unit="1", equation="z = 2 a w / (b_max − b_min) + b")
    b: float = number(0.2425, symbol="b", unit="1")
    dw_min_std_add: float = number(
        0.0, low=0, symbol="n_0", unit="weight", equation="std Δw = σ_c (|s y| + n_0 + n_1 |w|)"
    )
    dw_min_std_slope: float = number(0.0, low=0, symbol="n_1", unit="1")
    granularity: str = option("dw_min")

    def check(self):
        """Refuses an unknown granularity, and noise that has no rule."""
        super().check()
        check_granularity("ExpStep", self.granularity)
        complex_noise = not (is_off(self.dw_min_std_add) and is_off(self.dw_min_std_slope))
        if complex_noise and not self.mult_noise:
            raise ValueError(
                "ExpStep: dw_min_std_add and dw_min_std_slope need mult_noise=True, got "
                "mult_noise=False."
            )

    def unit(self):
        """What wanted increments are counted in; weight units."""
        if self.granularity == "dw_min":
            return self.dw_min
        more_up, more_down = imbalance(self.up_down, self.up_down_one_sided)
        up = (1 + more_up) * jnp.maximum(1 - self.A_up * jnp.exp(self.gamma_up * self.b), 0)
        down = (1 + more_down) * jnp.maximum(
            1 - self.A_down * jnp.exp(-self.gamma_down * self.b), 0
        )
        step = down if self.granularity == "aihwkit" else (up + down) / 2
        return self.dw_min * jnp.where(step > 0, step, 1)

    def sample(self, key, shape, dtype) -> ExpDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        cells = self.sample_cells(key, jnp.zeros(shape, dtype))
        unit = self.unit()
        cells = scaled_cells(cells, self.dw_min, unit)
        names = ("A_up", "A_down", "gamma_up", "gamma_down", "a", "b")
        noises = {"std_add": self.dw_min_std_add, "std_slope": self.dw_min_std_slope}
        return ExpDevice(
            up=cells.step_up,
            down=cells.step_down,
            **{name: jnp.asarray(getattr(self, name), dtype) for name in names},
            **{
                name: None if is_off(value) else jnp.asarray(value / unit, dtype)
                for name, value in noises.items()
            },
            **self.device_fields(key, cells, unit),
        )
