"""The device whose steps are affine in the weight: constant, linear, soft bounds, ideal.

    q_up(w) = up - up_slope w,    q_down(w) = down + down_slope w,    then clip to [low, high].

All four coefficients are per cell. Soft bounds with a reference r are this in w = h - r: the shift
only changes coefficients. n equal pulses are then a closed form (`AffineDevice.pulse_law`).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array

_SMALL = 1e-12  # below this slope a series replaces what would be 0 / 0
_STEEP = 1 - 1e-6  # one pulse at a larger slope reaches the bound
_MOST = 60.0  # largest exponent: such a spread is clipped to the bounds anyway


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AffineDevice:
    """A sampled array of cells with affine response; see the module's docstring.

    Attributes:
      dw_min: mean weight change of one pulse where the response is 1; scalar.
      up, up_slope: q_up(w) = up - up_slope w, per cell.
      down, down_slope: q_down(w) = down + down_slope w, per cell.
      low, high: bounds of w, per cell.
      noise_up, noise_down: std of one pulse's step over dw_min, per cell (additive cycle noise);
        None when off.
      relative_noise: std of one pulse's step relative to that step (multiplicative cycle noise),
        scalar; None when off.
      write_noise_std: std of a read around the hidden weight, over dw_min; None when off.
      continuous: whether increments are taken exactly, not in pulses.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.ConstantStep(dw_min_dtod=0.0), (2,))
      >>> type(device).__name__, device.up.shape
      ('AffineDevice', (2,))
    """

    dw_min: Array
    up: Array
    up_slope: Array
    down: Array
    down_slope: Array
    low: Array
    high: Array
    noise_up: Array | None = None
    noise_down: Array | None = None
    relative_noise: Array | None = None
    write_noise_std: Array | None = None
    continuous: bool = dataclasses.field(default=False, metadata={"static": True})

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down); the maximum only removes rounding errors at a bound."""
        q_up = jnp.maximum(self.up - self.up_slope * w, 0)
        q_down = jnp.maximum(self.down + self.down_slope * w, 0)
        return q_up, q_down

    def noise(self, w: Array) -> tuple[Any, Any]:
        """(std_up, std_down) of one pulse's step over dw_min."""
        if self.relative_noise is not None:
            q_up, q_down = self.response(w)
            return self.relative_noise * q_up, self.relative_noise * q_down
        return self.noise_up, self.noise_down

    def bounds(self) -> tuple[Array, Array]:
        """(low, high)."""
        return self.low, self.high

    def symmetric_point(self) -> Array:
        """w* = (up - down) / (up_slope + down_slope)."""
        slope = self.up_slope + self.down_slope
        excess = self.up - self.down
        everywhere = jnp.clip(jnp.zeros_like(slope), self.low, self.high)
        nowhere = jnp.full_like(slope, jnp.nan)
        flat = jnp.where(excess == 0, everywhere, nowhere)
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
        and any further one is taken to leave the cell there.
        """
        n = jnp.maximum(jnp.abs(counts), 1).astype(w.dtype)  # the caller leaves n = 0 alone
        rises = counts > 0
        x = self.dw_min * jnp.where(rises, self.up_slope, self.down_slope)
        q_up, q_down = self.response(w)
        step = self.dw_min * jnp.where(rises, q_up, q_down)
        flat = x < _SMALL
        slope = jnp.where(flat, 0.5, jnp.minimum(x, _STEEP))
        lost = jnp.expm1(n * jnp.log1p(-slope))  # (1 - x)^n - 1
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
