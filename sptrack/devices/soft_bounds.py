"""Soft-bounds cells: the step shrinks linearly to zero at the cell's own bound.

    up:    h += s_up   (1 - h / b_max)    (x (1 + sigma xi), or + s_up   sigma xi)
    down:  h -= s_down (1 - h / b_min)    (x (1 + sigma xi), or + s_down sigma xi)

with b_min < 0 < b_max. The symmetric point is h* = (s_up - s_down) / (s_up/b_max - s_down/b_min);
with b_min = -tau_min this is eq. (103) of arXiv 2602.21321, whose printed solution (104) has the
wrong sign in front of its second term. Bounds that differ shift h* even when both steps are equal.
Source: aihwkit 1.2, SoftBoundsDevice and SoftBoundsReferenceDevice.
"""

import jax.numpy as jnp

from sptrack._typing import number, option, spec
from sptrack.devices.affine import AffineDevice, affine_cells
from sptrack.devices.pulsed import Cells, PulsedSpec
from sptrack.devices.sampling import spreads


def _soft_bounds_device(spec_: PulsedSpec, key, cells: Cells, reference=None) -> AffineDevice:
    """The device in w = h - reference; a bound on the wrong side of zero has no slope."""
    high, low = cells.high, cells.low
    up_slope = jnp.where(high > 0, cells.step_up / jnp.where(high > 0, high, 1), 0)
    down_slope = jnp.where(low < 0, -cells.step_down / jnp.where(low < 0, low, 1), 0)
    return affine_cells(spec_, key, cells, up_slope, down_slope, reference)


@spec
class SoftBounds(PulsedSpec):
    """Soft-bounds cells without a reference; see the module's docstring for the equations.

    The same cells are `LinearStep(gamma_up=1, gamma_down=1, gamma_up_dtod=0, gamma_down_dtod=0,
    mean_bound_reference=False)`.

    All fields are `PulsedSpec`'s (`spt.devices.PulsedSpec` documents them); cycle noise is
    multiplicative by default.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.SoftBounds(dw_min=0.01, dw_min_dtod=0.0, up_down=0.5, up_down_dtod=0.0,
      ...                       w_max=1.0, w_min=-1.0, w_max_dtod=0.0, w_min_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.symmetric_point(device).round(4))  # (1 - 0.5) / (1 + 0.5)
      0.3333
    """

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        return _soft_bounds_device(self, key, self.sample_cells(key, jnp.zeros(shape, dtype)))


@spec
class SoftBoundsReference(PulsedSpec):
    """Soft-bounds cells read against a fixed reference cell: w = h - r.

        r = reference_mean + reference_std xi   (+ h*  if subtract_symmetry_point)

    The weight, its bounds [b_min - r, b_max - r] and its symmetric point all move with r and
    nothing is clipped. With `subtract_symmetry_point` the symmetric point is -(reference_mean +
    reference_std xi): "reference mean and std" are the *error* with which the symmetric point was
    subtracted, with the sign opposite to arXiv 2602.21321's "W* ~ N(mean, std^2)". aihwkit clips
    externally set weights by the unreferenced bounds; here all bounds are those of w.

    Attributes:
      reference_mean: mean of the reference error; weight units.
      reference_std: cell-to-cell std of the reference error; weight units.
      subtract_symmetry_point: whether the cell's true symmetric point is part of the reference.
      slope_up_dtod, slope_down_dtod: relative cell-to-cell std of the slopes s/b, applied as
        |1 + dtod xi| with the bound recomputed from the slope.

    Further fields are `PulsedSpec`'s; cycle noise is additive by default.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.SoftBoundsReference(subtract_symmetry_point=True, reference_mean=0.4)
      >>> device = spt.sample_device(jax.random.key(0), spec, (2,))
      >>> print(spt.symmetric_point(device).round(4))
      [-0.4 -0.4]
    """

    reference_mean: float = number(
        0.0, symbol="μ_r", unit="weight", equation="r = h* + μ_r + σ_r ξ, w = h − r"
    )
    reference_std: float = number(0.0, low=0, symbol="σ_r", unit="weight")
    subtract_symmetry_point: bool = option(False, equation="False: no h* in r")
    slope_up_dtod: float = number(
        0.0, low=0, symbol="σ_a", unit="relative", equation="b_max ← b_max / |1 + σ_a ξ|"
    )
    slope_down_dtod: float = number(
        0.0, low=0, symbol="σ_a", unit="relative", equation="b_min ← b_min / |1 + σ_a ξ|"
    )
    mult_noise: bool = option(False)

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        like = jnp.zeros(shape, dtype)
        cells = self.sample_cells(key, like)
        two_sided = (cells.high > 0) & (cells.low < 0)
        names = ("slope_up_dtod", "slope_down_dtod", "reference_std")
        drawn = spreads(key, {name: getattr(self, name) for name in names}, like)
        rescale_up = jnp.abs(1 + drawn["slope_up_dtod"])
        rescale_down = jnp.abs(1 + drawn["slope_down_dtod"])
        cells = cells._replace(
            high=jnp.where(two_sided, cells.high / rescale_up, cells.high),
            low=jnp.where(two_sided, cells.low / rescale_down, cells.low),
        )
        reference = self.reference_mean + drawn["reference_std"]
        if self.subtract_symmetry_point:
            # 0 for a cell that has none, so that its reference stays finite
            raw = _soft_bounds_device(self, key, cells).symmetric_point()
            reference = reference + jnp.nan_to_num(raw)
        return _soft_bounds_device(self, key, cells, reference)
