"""Likelihood of what was read between pulses: a Kalman filter along every cell's trace.

The hidden weight h of a cell moves by pulses, a read shows it with the std r of write and read
noise:

    h' = clip(h + s(h) + n(h) xi),     y = h' + r eps,     s = +-dw_min q,   n = dw_min std

Given the past, h is taken to be normal with mean m and variance P. Then, with A = 1 + s'(m),

    pulse   m' = m + s(m),   P' = A^2 P + n(m)^2 + n'(m)^2 P,   then mean and variance of the clip
    read    e = y - m',      S = P' + r^2,   m = m' + (P' / S) e,   P = P' r^2 / S

and the logarithm of the likelihood is -1/2 sum (e^2 / S + log 2 pi S). For steps that are affine in
the weight (constant, linear, soft bounds) and additive noise away from the bounds this is exact;
with multiplicative noise the mean and the variance of every step are exact and the law isn't quite
normal; at the bounds the clipped law is replaced by a normal one of the same mean and variance;
steps that are curved in the weight are linearised at m. A cell's trace starts at its first read,
whose hidden weight is y +- r: nothing else is assumed about the start.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.device import bounds

_TINY = 1e-24  # variance, weight units: keeps quotients finite where nothing is random
_FAR = 1e6  # standard deviations at which a bound is as good as none
_ROOT = 1 / math.sqrt(2 * math.pi)


class Innovations(NamedTuple):
    """What each read adds to the ones before it, on a leading axis of reads.

    Attributes:
      error: e, the read minus its prediction; 0 where nothing was read.
      variance: S, the prediction's; 1 where nothing was read.
      weight: m, the hidden weight expected before the pulse.
      read: whether there is a read that others predict.
    """

    error: Array
    variance: Array
    weight: Array
    read: Array

    def log_likelihood(self) -> Array:
        """Logarithm of each cell's likelihood, of the cells' shape."""
        terms = self.error**2 / self.variance + jnp.log(2 * jnp.pi * self.variance)
        return -jnp.sum(jnp.where(self.read, terms, 0), axis=0) / 2


def innovations(device: Any, directions: Array, weights: Array, read_std: Any) -> Innovations:
    """Runs the filter along the traces of a device's cells.

    Args:
      device: a device of shape (cells,).
      directions: 1 (up), -1 (down) or 0 (no pulse), shape (pulses, cells).
      weights: reads before the first and after every pulse, NaN where there is none,
        shape (pulses + 1, cells).
      read_std: r, std of a read around the hidden weight; weight units, scalar or per cell.

    Returns:
      `Innovations` of shape (pulses, cells). Differentiable with respect to device and read_std.
    """
    noise = jnp.asarray(read_std) ** 2

    def follow(carry, inputs):
        mean, variance, started = carry
        direction, shown = inputs
        ahead, spread = pulsed(device, mean, variance, direction)
        seen = jnp.isfinite(shown)
        shown = jnp.where(seen, shown, 0)
        predicted = seen & started
        error = jnp.where(predicted, shown - ahead, 0)
        total = jnp.where(predicted, spread + noise, 1)
        gain = jnp.where(predicted, spread / total, 0)
        new_mean = jnp.where(seen & ~started, shown, ahead + gain * error)
        new_variance = jnp.where(seen & ~started, noise, (1 - gain) * spread)
        out = Innovations(error, total, mean, predicted)
        return (new_mean, new_variance, started | seen), out

    first = weights[0]
    started = jnp.isfinite(first)
    mean = jnp.where(started, first, 0)
    variance = jnp.broadcast_to(noise, mean.shape).astype(mean.dtype)
    return jax.lax.scan(follow, (mean, variance, started), (directions, weights[1:]))[1]


def pulsed(device: Any, mean: Array, variance: Array, direction: Array) -> tuple[Array, Array]:
    """Mean and variance of the hidden weight after one pulse, or none where `direction` is 0."""

    def step(w):
        q_up, q_down = device.response(w)
        return device.dw_min * jnp.where(direction > 0, q_up, -q_down)

    moved, slope = jax.jvp(step, (mean,), (jnp.ones_like(mean),))
    after = mean + moved
    spread = (1 + slope) ** 2 * variance
    if hasattr(device, "noise") and device.noise(mean)[0] is not None:

        def std(w):
            up, down = device.noise(w)
            return device.dw_min * jnp.where(direction > 0, up, down) * jnp.ones_like(w)

        size, growth = jax.jvp(std, (mean,), (jnp.ones_like(mean),))
        spread = spread + size**2 + growth**2 * variance
    if hasattr(device, "bounds"):
        after, spread = _clipped(after, spread, *bounds(device))
    moves = direction != 0
    return jnp.where(moves, after, mean), jnp.where(moves, spread, variance)


def _clipped(mean: Array, variance: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Mean and variance of a normal variable that is clipped to [low, high]."""
    std = jnp.sqrt(variance + _TINY)
    a, b = _away(low, mean, std, -_FAR), _away(high, mean, std, _FAR)
    below, above = _cumulative(a), _cumulative(-b)
    first = a * below + b * above + _density(a) - _density(b)
    second = 1 + (a**2 - 1) * below + (b**2 - 1) * above + a * _density(a) - b * _density(b)
    return mean + std * first, variance * jnp.maximum(second - first**2, 0) + _TINY


def _away(bound: Array, mean: Array, std: Array, far: float) -> Array:
    """Standard deviations from the mean to a bound; `far` where there is no bound."""
    there = jnp.isfinite(bound)
    return jnp.where(there, (jnp.where(there, bound, 0) - mean) / std, far)


def _density(x: Array) -> Array:
    return jnp.exp(-(x**2) / 2) * _ROOT


@jax.custom_jvp
def _cumulative(x: Array) -> Array:
    """The normal distribution function, with a derivative that costs one exponential."""
    return jax.lax.erfc(-x * math.sqrt(0.5)) / 2


@_cumulative.defjvp
def _(primals, tangents):
    return _cumulative(*primals), _density(*primals) * tangents[0]
