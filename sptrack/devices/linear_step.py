"""Cells whose step is linear in the weight: aihwkit's LinearStep.

    up:    w += s_up   (1 - gamma_up   w / ref_up)    (x (1 + sigma xi), or + s_up   sigma xi)
    down:  w -= s_down (1 - gamma_down w / ref_down)  (x (1 + sigma xi), or + s_down sigma xi)

ref_up = w_max and ref_down = w_min, the means or (`mean_bound_reference=False`) the cell's own
bounds; gamma is the share of the step that is lost on the way from 0 to the reference. The
symmetric point is w* = (s_up - s_down) / (gamma_up s_up / ref_up - gamma_down s_down / ref_down).
A step that would change its sign inside the bounds is zero from there on (aihwkit lets it change
sign; none of the presets gets there). Source: aihwkit 1.2, LinearStepDevice.
"""

import jax.numpy as jnp

from sptrack._typing import Array, number, option, spec
from sptrack.devices.affine import AffineDevice, affine_cells
from sptrack.devices.pulsed import PulsedSpec
from sptrack.devices.sampling import spreads


@spec
class LinearStep(PulsedSpec):
    """Cells whose step falls linearly with the weight; see the module's docstring for equations.

    Attributes:
      gamma_up, gamma_down: share of the step lost between w = 0 and the reference.
      gamma_up_dtod, gamma_down_dtod: cell-to-cell std of gamma; an absolute number, unlike all
        other `_dtod` (published parameters mean this).
      gamma_dtod_relative: whether these stds are relative to gamma instead.
      allow_increasing: whether gamma keeps a negative sign, a step that grows, instead of |gamma|.
      mean_bound_reference: whether the reference is the mean bound instead of the cell's own.
      reverse_up: whether the up step grows with w: ref_up = w_min - reverse_offset.
      reverse_down: whether the down step grows with -w: ref_down = w_max + reverse_offset.
      reverse_offset: distance of a reversed reference from the bound, > 0.

    Further fields are `PulsedSpec`'s; cycle noise is multiplicative by default.

    Raises:
      ValueError: for a reversed step with additive noise, for which there is no rule.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearStep(gamma_up=0.5, gamma_up_dtod=0.0, dw_min_dtod=0.0, up_down_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.response(device, jnp.array(0.6))[0].round(3))
      0.5
    """

    gamma_up: float = number(0.0, symbol="γ↑", unit="1", equation="s↑(w) = s↑ (1 − γ↑ w / ref↑)")
    gamma_down: float = number(0.0, symbol="γ↓", unit="1", equation="s↓(w) = s↓ (1 − γ↓ w / ref↓)")
    gamma_up_dtod: float = number(0.05, low=0, unit="1", equation="γ↑ ← |γ↑ + σ ξ|")
    gamma_down_dtod: float = number(0.05, low=0, unit="1", equation="γ↓ ← |γ↓ + σ ξ|")
    gamma_dtod_relative: bool = option(False, equation="True: γ ← |γ (1 + σ ξ)|")
    allow_increasing: bool = option(False, equation="True: no magnitude is taken of γ")
    mean_bound_reference: bool = option(True, equation="ref↑ = w_max, ref↓ = w_min; False: b")
    reverse_up: bool = option(False, equation="True: ref↑ = w_min − o")
    reverse_down: bool = option(False, equation="True: ref↓ = w_max + o")
    reverse_offset: float = number(0.01, low=0, above=True, symbol="o", unit="weight")

    def check(self):
        """Refuses a combination that the model has no rule for."""
        super().check()
        if (self.reverse_up or self.reverse_down) and not self.mult_noise:
            raise ValueError(
                "LinearStep: reverse_up and reverse_down need mult_noise=True, got "
                "mult_noise=False."
            )

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        like = jnp.zeros(shape, dtype)
        cells = self.sample_cells(key, like)
        names = ("gamma_up_dtod", "gamma_down_dtod")
        drawn = spreads(key, {name: getattr(self, name) for name in names}, like)
        gammas = [
            self._gamma(gamma, drawn[name])
            for gamma, name in zip((self.gamma_up, self.gamma_down), names, strict=True)
        ]
        high, low = (
            (jnp.full_like(like, self.w_max), jnp.full_like(like, self.w_min))
            if self.mean_bound_reference
            else (cells.high, cells.low)
        )
        reference_up = low - self.reverse_offset if self.reverse_up else high
        reference_down = high + self.reverse_offset if self.reverse_down else low
        up_slope = _over(gammas[0] * cells.step_up, reference_up)
        down_slope = -_over(gammas[1] * cells.step_down, reference_down)
        return affine_cells(self, key, cells, up_slope, down_slope)

    def _gamma(self, mean, deviation: Array) -> Array:
        gamma = mean * (1 + deviation) if self.gamma_dtod_relative else mean + deviation
        return gamma if self.allow_increasing else jnp.abs(gamma)


def _over(step: Array, reference: Array) -> Array:
    """The slope; none where the reference is zero."""
    return jnp.where(reference == 0, 0, step / jnp.where(reference == 0, 1, reference))
