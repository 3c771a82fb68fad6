"""The analog update: a wanted increment becomes pulses, and pulses change the weight (eq. 2)."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import as_key, uniform
from sptrack._typing import Array, Key
from sptrack.devices.device import is_continuous
from sptrack.pulses.apply import (
    check_method,
    check_weight,
    mean_update,
)
from sptrack.pulses.straight_through import check_gradient, straight_through
from sptrack.pulses.tally import Tally, apply_counted, moved_pulses, tally_of

_MOST_PULSES = 2**30  # what fits a 32-bit count; an increment beyond saturates here


class UpdateResult(NamedTuple):
    """New hidden weights, and the pulses sent to each cell (signed; expected ones for "mean").

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.pulses.UpdateResult(weight=jnp.zeros(2), counts=jnp.array([1, -1]))._fields
      ('weight', 'counts')
    """

    weight: Array
    counts: Array


def round_to_pulses(key: Key, dw: Array, dw_min: Array) -> Array:
    """Signed pulse counts n with E[n dw_min] = dw, by stochastic rounding of |dw| / dw_min.

    The variance of n dw_min is dw_min^2 f (1 - f), f the fractional part of |dw| / dw_min, so at
    most dw_min^2 / 4 and about |dw| dw_min for small |dw|: the noise b_k of Assumption 3.4.

    Args:
      key: a JAX random key.
      dw: wanted weight changes.
      dw_min: weight change of one pulse, > 0.

    Returns:
      Integers of dw's shape; 0 where dw is NaN.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> dw = jnp.array([0.2, -0.3])
      >>> print(spt.pulses.round_to_pulses(jax.random.key(0), dw, jnp.array(0.1, dw.dtype)).shape)
      (2,)
    """
    # The division comes last, and its result is what signs and counts are read from: XLA computes
    # what it takes for expensive once, and the rest anew for everything that uses it.
    part = jnp.copysign(uniform(key, "pulse rounding", dw), dw)
    size = (dw + dw_min * part) / dw_min
    size = jnp.where((dw == 0) | jnp.isnan(dw), 0, size)  # part may round up to a whole pulse
    return jnp.clip(size, -_MOST_PULSES, _MOST_PULSES).astype(jnp.int32)


def analog_update(
    key: Key,
    device: Any,
    w: Array,
    dw: Array,
    *,
    method: str = "exact",
    gradient: str = "pathwise",
) -> Array:
    """Changes the hidden weights by `dw` as the device lets it: eqs. (2), (5) of arXiv 2602.21321.

        w <- w + dw F(w) - |dw| G(w) + b,    E[b] = 0

    |dw| / dw_min is rounded stochastically to a number of pulses, which are then applied; "mean" is
    the formula itself without b and draws nothing. A continuous device (`spt.IdealStep`) takes dw
    exactly, by any method. A NaN in dw makes its cell NaN.

    Gradients: "mean" is differentiable in w, dw and the device, and its gradient is that of the
    formula. Through "exact" and "aggregate" no gradient reaches dw, because rounding has none,
    unless `gradient="straight_through"`: then the value is that of the method, and derivatives are
    those of "mean" at the same w and dw. Per update that is biased for a loss which curves over a
    pulse: for a loss L of one cell and a response of one by at most dw_min/2 max|L''|, by
    dw_min (f - 1/2) L'' for a quadratic one, f the fractional part of |dw| / dw_min. An unbiased
    one, of larger variance: `spt.pulses.draw_rounding`.

    Args:
      key: a JAX random key (unused by "mean").
      device: a device.
      w: hidden weights, floating, of the device's shape (`spt.apply_pulses`).
      dw: wanted weight changes, of the cells' shape, in weight units.
      method: "exact", "aggregate" or "mean", as in `spt.apply_pulses`.
      gradient: "pathwise", that of what is computed, or "straight_through".

    Returns:
      The new hidden weights, inside the device's bounds.

    Raises:
      TypeError: if `w` is not floating or `key` no key.
      ValueError: if the shapes differ, or `method` or `gradient` is unknown.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
      >>> w, dw = jnp.array([0.5, 0.5]), jnp.array([0.1, -0.1])
      >>> print(spt.analog_update(jax.random.key(1), device, w, dw, method="mean").round(3))
      [0.55 0.35]
    """

    def change(device, w, dw, *, method=method):
        return counted_update(key, device, w, dw, method=method).weight

    check_gradient(gradient)
    if gradient == "pathwise":
        return change(device, w, dw)
    return straight_through(change, functools.partial(change, method="mean"), device, w, dw)


def counted_update(
    key: Key, device: Any, w: Array, dw: Array, *, method: str = "exact"
) -> UpdateResult:
    """`analog_update` that also says how many pulses each cell was sent.

    Args and errors are those of `analog_update`.

    Returns:
      `UpdateResult(weight, counts)`: counts are signed int32; for "mean" the expected numbers
      dw / dw_min, floating; zero for a continuous device, which has no pulses.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), ())
      >>> w, dw = jnp.array(0.0), jnp.array(-0.2)
      >>> print(spt.pulses.counted_update(jax.random.key(1), device, w, dw).counts)
      -2
    """
    weight, tally = tallied_update(key, device, w, dw, method=method)
    return UpdateResult(weight, tally.up - tally.down)


def tallied_update(
    key: Key, device: Any, w: Array, dw: Array, *, method: str = "exact", count_moved: bool = False
) -> tuple[Array, Tally]:
    """`analog_update` that also counts pulses, up and down apart.

    Args and errors are those of `analog_update`, and
      count_moved: whether to count the pulses that moved a weight (`spt.pulses.apply_counted`).

    Returns:
      (new hidden weights, `Tally`).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2,))
      >>> w, dw = jnp.zeros(2), jnp.array([0.2, -0.3])
      >>> _, tally = spt.pulses.tallied_update(jax.random.key(1), device, w, dw)
      >>> print(tally.up, tally.down)
      [2 0] [0 3]
    """
    check_method(method)
    w, dw = jnp.asarray(w), jnp.asarray(dw)
    check_weight(device, w, dw, "dw")
    return _tallied(as_key(key), device, w, dw, method, count_moved)


@functools.partial(jax.jit, static_argnums=(4, 5), inline=True)
def _tallied(
    key: Key, device: Any, w: Array, dw: Array, method: str, count_moved: bool
) -> tuple[Array, Tally]:
    """`tallied_update`, everything checked."""
    if is_continuous(device):
        none = jnp.zeros(dw.shape, jnp.int32)
        return (w + dw).astype(w.dtype), tally_of(none, none if count_moved else None)
    if method == "mean":
        new, counts = mean_update(device, w, dw), (dw / device.dw_min).astype(w.dtype)
        moved = moved_pulses(device, w, new, counts) if count_moved else None
        return new, tally_of(counts, moved)
    counts = round_to_pulses(key, dw, device.dw_min)
    # Before the pulses, so that this joins the rounding: NaN is NaN after any pulses.
    w = jnp.where(jnp.broadcast_to(jnp.isnan(dw), w.shape), jnp.nan, w).astype(w.dtype)
    new, moved = apply_counted(key, device, w, counts, method=method, count_moved=count_moved)
    return new, tally_of(counts, moved)
