"""The device whose steps are affine in the weight: constant, linear, soft bounds, ideal.

    q_up(w) = up - up_slope w,    q_down(w) = down + down_slope w,    then clip to [low, high].

All four coefficients are per cell. Soft bounds with a reference r are this in w = h - r: the shift
only changes coefficients. n equal pulses are then a closed form (`AffineDevice.pulse_law`).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, Key
from sptrack.devices.cyclic_law import cyclic_law
from sptrack.devices.pulsed import Cells, PulsedSpec
from sptrack.devices.pulsed_device import PulsedDevice

_SMALL = 1e-12  # below this slope a series replaces what would be 0 / 0
_STEEP = 1 - 1e-6  # one pulse at a larger slope reaches the bound
_MOST = 60.0  # largest exponent: such a spread is clipped to the bounds anyway


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class AffineDevice(PulsedDevice):
    """A sampled array of cells with affine response; see the module's docstring.

    Attributes beyond those of `PulsedDevice`:
      up, up_slope: q_up(w) = up - up_slope w, per cell.
      down, down_slope: q_down(w) = down + down_slope w, per cell.
      continuous: whether increments are taken exactly, not in pulses.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.ConstantStep(dw_min_dtod=0.0), (2,))
      >>> type(device).__name__, device.up.shape
      ('AffineDevice', (2,))
    """

    up: Array
    up_slope: Array
    down: Array
    down_slope: Array
    continuous: bool = dataclasses.field(default=False, metadata={"static": True})

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down), not below zero: that removes rounding errors at a soft bound.

        Where a linear step would change its sign inside the bounds, there is no step beyond.
        """
        q_up = self.up - self.up_slope * w
        q_down = self.down + self.down_slope * w
        return jnp.where(q_up < 0, 0, q_up), jnp.where(q_down < 0, 0, q_down)

    def symmetric_point(self) -> Array:
        """w* = (up - down) / (up_slope + down_slope).

        NaN where that lies outside the bounds, or where G falls through it (steps that grow towards
        the bounds): pulses leave such a point instead of finding it.
        """
        slope = self.up_slope + self.down_slope
        excess = self.up - self.down
        everywhere = jnp.clip(jnp.zeros_like(slope), self.low, self.high)
        nowhere = jnp.full_like(slope, jnp.nan)
        flat = jnp.where((excess == 0) & (slope == 0), everywhere, nowhere)
        point = excess / jnp.where(slope > 0, slope, 1)
        slack = 8 * jnp.finfo(point.dtype).eps * jnp.maximum(jnp.abs(self.low), jnp.abs(self.high))
        inside = (point >= self.low - slack) & (point <= self.high + slack)  # up to rounding
        point = jnp.where(inside, jnp.clip(point, self.low, self.high), nowhere)
        return jnp.where(slope > 0, point, flat)

    def pulse_law(self, w: Array, counts: Array) -> tuple[Array, Array | None]:
        """Mean and std of the weight after |counts| pulses, before the clip.

        With x = dw_min slope and q the response at the first pulse, the mean moves by
        dw_min q S(n, x), S(n, x) = (1 - (1 - x)^n) / x. Additive noise s adds the variance
        (dw_min s)^2 S(n, 2x - x^2), and the law is Gaussian: exact. Multiplicative noise has the
        variance (dw_min q)^2 (B^n - (1 - x)^(2n)) / x^2, B = (1 - x)^2 + (x s)^2: mean and variance
        exact, law not quite Gaussian. With a slope x > 1 a pulse overshoots the bound,
        and any further one is taken to leave the cell there. A negative slope (steps that grow) has
        the same formulas.
        """
        n = jnp.maximum(jnp.abs(counts), 1).astype(w.dtype)  # the caller leaves n = 0 alone
        rises = counts > 0
        x = self.dw_min * jnp.where(rises, self.up_slope, self.down_slope)
        q_up, q_down = self.response(w)
        step = self.dw_min * jnp.where(rises, q_up, q_down)
        flat = jnp.abs(x) < _SMALL
        slope = jnp.where(flat, 0.5, jnp.minimum(x, _STEEP))
        lost = jnp.expm1(jnp.minimum(n * jnp.log1p(-slope), _MOST))  # (1 - x)^n - 1
        moved = jnp.where(flat, n - n * (n - 1) * x / 2, -lost / jnp.where(flat, 1, x))
        moved = jnp.where(n == 1, 1, moved)  # S(n, x)
        mean = w + jnp.where(rises, step, -step) * moved
        if self.relative_noise is not None:
            retained = (1 - slope) ** 2
            spread = jnp.log1p((slope * self.relative_noise) ** 2 / retained)
            growth = jnp.exp(jnp.minimum(n * (jnp.log(retained) + spread), _MOST))
            variance = growth * -jnp.expm1(-n * spread) / slope**2
            first_order = n * self.relative_noise**2 * (1 - 2 * (n - 1) * x)
            variance = jnp.where(flat | (n == 1), first_order, variance)
            return mean, step * jnp.sqrt(variance)
        if self.noise_up is not None and self.noise_down is not None:
            std = self.dw_min * jnp.where(rises, self.noise_up, self.noise_down)
            variance = -lost * (2 + lost) / (slope * (2 - slope))
            return mean, std * jnp.sqrt(jnp.where(flat | (n == 1), n - n * (n - 1) * x, variance))
        return mean, None

    def against(self, reference: Array) -> "AffineDevice":
        """The same cells read against a reference, in w = h - reference."""
        retention = self.retention
        return dataclasses.replace(
            self,
            up=self.up - self.up_slope * reference,
            down=self.down + self.down_slope * reference,
            low=self.low - reference,
            high=self.high - reference,
            retention=None if retention is None else retention.shifted(reference),
        )

    def cyclic_law(self, w: Array, pulses: Any, rises: Any) -> tuple[Array, Array | None]:
        """Mean and std after alternating pulses; `sptrack.devices.cyclic_law` has the equations."""
        return cyclic_law(self, w, pulses, rises)


def affine_cells(
    spec: PulsedSpec,
    key: Key,
    cells: Cells,
    up_slope: Array,
    down_slope: Array,
    reference: Array | None = None,
) -> AffineDevice:
    """The device of pulsed cells whose steps fall by these slopes, in w = h - reference."""
    device = AffineDevice(
        up=cells.step_up,
        up_slope=up_slope,
        down=cells.step_down,
        down_slope=down_slope,
        **spec.device_fields(key, cells),
    )
    return device if reference is None else device.against(reference)
