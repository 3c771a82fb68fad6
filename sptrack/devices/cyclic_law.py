"""Closed form for many pulses of alternating direction on affine cells.

One pulse maps w to (1 - x) w + const, with x = dw_min slope, so a pair maps it to A w + const with
1 - A = y = x_1 + x_2 - x_1 x_2, and m pairs are again one such map. With D the movement by the
first pair:

    mean after m pairs   w + D S(m),   S(m) = (1 - A^m) / y
    variance             sum_k R^(m-1-k) c_k,   c_k = c_0 + c_1 A^k + c_2 A^(2k)

R is the factor by which a pair shrinks the variance: A^2 with additive noise, a little more with
multiplicative noise. c_k is what the noise of pair k adds: constant if additive, and quadratic in
the mean if multiplicative. All sums are geometric. They are written with expm1 and log1p of x and
y, of which nothing large is subtracted, so single precision serves down to any dw_min and up to any
number of pulses that single precision can count.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sptrack._typing import Array

_LOWEST = -80.0  # exponent that stands for the logarithm of zero
_MOST = 60.0  # largest exponent: such a spread is clipped to the bounds anyway


class _Direction(NamedTuple):
    """Pulses of one direction: their mean step at a weight, and the noise of one of them."""

    device: Any
    rises: Any
    slope: Array  # x, at most 1

    def step(self, w: Array) -> Array:
        """Mean change of the weight by a pulse at w."""
        device = self.device
        up = device.up - device.up_slope * w
        down = device.down + device.down_slope * w
        step = device.dw_min * jnp.where(self.rises, up, -down)
        bound = jnp.where(self.rises, device.high, device.low)
        return jnp.where(self.slope < 1, step, bound - w)  # a steeper pulse passes the bound

    def clipped(self, w: Array) -> Array:
        """The weight after one pulse without noise."""
        return jnp.clip(w + self.step(w), self.device.low, self.device.high)

    def variance(self, step: Array) -> Array:
        """Variance that one pulse of mean `step` adds."""
        device = self.device
        if device.relative_noise is not None:
            return (device.relative_noise * step) ** 2
        return (device.dw_min * jnp.where(self.rises, device.noise_up, device.noise_down)) ** 2

    def log_retained(self) -> Array:
        """Logarithm of the factor by which one pulse shrinks the variance there is."""
        change = -self.slope * (2 - self.slope)
        if self.device.relative_noise is not None:
            change = change + (self.device.relative_noise * self.slope) ** 2
        return _log1p(change)


def cyclic_law(device: Any, w: Array, pulses: Any, rises: Any) -> tuple[Array, Array | None]:
    """Mean and std after `pulses` pulses that alternate, the first one up where `rises`.

    Args:
      device: an `AffineDevice`.
      w: weights before the first pulse.
      pulses: how many, >= 0; integer.
      rises: direction of the first pulse; boolean, scalar or per cell.

    Returns:
      (mean, std), std None without cycle noise. Without noise the mean is exact, clips at the
      bounds included. Noise is treated as if it never carried a cell over a bound on the way;
      then additive noise makes the law Gaussian, and with multiplicative noise mean and variance
      are exact and the law is not quite Gaussian. Left out: that there is no step where the affine
      response of a cell would be negative inside its bounds (some cells of `spt.LinearStep`).
    """
    one, two = _direction(device, rises), _direction(device, jnp.logical_not(rises))
    pairs = jnp.asarray(pulses // 2).astype(w.dtype)
    odd = jnp.asarray(pulses % 2 == 1)
    y = one.slope + two.slope - one.slope * two.slope
    log_a = _log1p(-y)

    noisy = device.relative_noise is not None or device.noise_up is not None
    start = two.clipped(one.clipped(w))  # later pairs of a noise-free cell meet no bound, or end it
    step = one.step(start)
    moved = (step + two.step(start + step)) * _sum_of_powers(pairs - 1, log_a, y)
    mean = jnp.where(pairs > 0, start + moved, w)
    if not noisy:
        low, high = two.clipped(one.clipped(device.low)), two.clipped(one.clipped(device.high))
        mean = jnp.where(pairs > 0, jnp.clip(mean, low, high), w)
        return jnp.where(odd, one.clipped(mean), mean), None

    variance = _variance(one, two, w, pairs, y, log_a)
    last = one.step(mean)
    after = jnp.exp(one.log_retained()) * variance + one.variance(last)
    return jnp.where(odd, mean + last, mean), jnp.sqrt(jnp.where(odd, after, variance))


def _direction(device: Any, rises: Any) -> _Direction:
    slope = device.dw_min * jnp.where(rises, device.up_slope, device.down_slope)
    return _Direction(device, rises, jnp.minimum(slope, 1))


def _variance(
    one: _Direction, two: _Direction, w: Array, pairs: Array, y: Array, log_a: Array
) -> Array:
    """Variance after `pairs` pairs from w."""
    retained = jnp.exp(two.log_retained())
    log_r = one.log_retained() + two.log_retained()
    if one.device.relative_noise is None:
        added = retained * one.variance(w) + two.variance(w)
        return added * _sum_of_products(pairs, jnp.zeros_like(y), log_r)
    first = one.step(w)
    second = two.step(w + first)
    moved = first + second
    # The steps of pair k are (first - share moved) + share moved A^k, and so for the second.
    share = jnp.where(y != 0, one.slope / jnp.where(y != 0, y, 1), 0)
    varying = (share * moved, jnp.where(y != 0, 1 - share, 0) * moved)
    constant = (first - varying[0], second - varying[1])
    relative = one.device.relative_noise**2
    c0 = relative * (retained * constant[0] ** 2 + constant[1] ** 2)
    c1 = 2 * relative * (retained * constant[0] * varying[0] + constant[1] * varying[1])
    c2 = relative * (retained * varying[0] ** 2 + varying[1] ** 2)
    total = c0 * _sum_of_products(pairs, jnp.zeros_like(y), log_r)
    total += c1 * _sum_of_products(pairs, log_a, log_r)
    total += c2 * _sum_of_products(pairs, 2 * log_a, log_r)
    return jnp.maximum(total, 0)


def _log1p(x: Array) -> Array:
    """log(1 + x), finite at x = -1 too."""
    inside = x > -1
    return jnp.where(inside, jnp.maximum(jnp.log1p(jnp.where(inside, x, 0)), _LOWEST), _LOWEST)


def _sum_of_powers(n: Array, log_a: Array, y: Array) -> Array:
    """1 + A + ... + A^(n-1) = (1 - A^n) / y, and n at y = 0."""
    n = jnp.maximum(n, 0)
    lost = -jnp.expm1(jnp.minimum(n * log_a, _MOST))
    return jnp.where(y != 0, lost / jnp.where(y != 0, y, 1), n)


def _sum_of_products(n: Array, log_a: Array, log_r: Array) -> Array:
    """sum over k < n of a^k r^(n-1-k) = (a^n - r^n) / (a - r), and n a^(n-1) where they agree."""
    top = jnp.maximum(log_a, log_r)
    apart = jnp.abs(log_a - log_r)
    differ = apart > 0
    gap = jnp.where(differ, apart, 1)
    terms = jnp.where(differ, jnp.expm1(-n * gap) / jnp.expm1(-gap), n)
    return jnp.exp(jnp.minimum(jnp.maximum(n - 1, 0) * top, _MOST)) * terms
