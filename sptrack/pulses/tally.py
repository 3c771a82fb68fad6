"""How many pulses cells were sent, up and down apart, and how many of them moved the weight."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sptrack._typing import Array, Key
from sptrack.devices.device import bounds
from sptrack.pulses.apply import apply_pulses, mean_update, one_at_a_time


class Tally(NamedTuple):
    """Pulses of one write, per cell: int32, or expected numbers in floating point for "mean".

    Attributes:
      up, down: pulses sent that raise and lower the weight, whatever they did.
      moved_up, moved_down: those of them that changed it; None where that isn't asked for.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.pulses.tally_of(jnp.array([3, -2]), None).down
      Array([0, 2], dtype=int32)
    """

    up: Array
    down: Array
    moved_up: Array | None = None
    moved_down: Array | None = None


def tally_of(counts: Array, moved: Array | None) -> Tally:
    """The tally of signed counts, and of how many pulses moved each cell if that is known.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> tally = spt.pulses.tally_of(jnp.array([3, -2]), jnp.array([1, 2]))
      >>> print(tally.up, tally.down, tally.moved_up, tally.moved_down)
      [3 0] [0 2] [1 0] [0 2]
    """
    zero = jnp.zeros((), counts.dtype)
    up, down = jnp.maximum(counts, zero), jnp.maximum(-counts, zero)
    if moved is None:
        return Tally(up, down)
    return Tally(up, down, jnp.where(up > 0, moved, zero), jnp.where(down > 0, moved, zero))


def apply_counted(
    key: Key, device: Any, w: Array, counts: Array, *, method: str, count_moved: bool = False
) -> tuple[Array, Array | None]:
    """`spt.apply_pulses` that can tell how many pulses of each cell moved it.

    Exact for method "exact". "aggregate" and "mean" take n pulses at once: all n have moved a cell
    that ends off its bound, none a cell that hasn't changed, and of a cell that ends at its bound
    as many as it takes with the mean step of the first, at least 1. That is exact for constant
    steps without noise. Of a cell made of several devices all n count if any of them moved.

    Args:
      key: a JAX random key.
      device: a device.
      w: hidden weights.
      counts: signed counts, integers; for "mean" they may be floating.
      method: "exact", "aggregate" or "mean".
      count_moved: whether to count.

    Returns:
      (new hidden weights, number of pulses that moved each cell or None).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.ConstantStep(dw_min=0.25, dw_min_dtod=0.0, dw_min_std=0.0, up_down_dtod=0.0,
      ...                         w_max_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> w, counts = jnp.array(0.0), jnp.array(5)  # the bound is at 0.6
      >>> for method in ("exact", "aggregate"):
      ...     print(*spt.pulses.apply_counted(
      ...         jax.random.key(1), device, w, counts, method=method, count_moved=True))
      0.6 3
      0.6 3
    """
    if method == "exact" and count_moved and w.shape == counts.shape:
        return one_at_a_time(key, device, w, counts, count_moved=True)
    if jnp.issubdtype(counts.dtype, jnp.floating):
        new = mean_update(device, w, counts * device.dw_min)
    else:
        new = apply_pulses(key, device, w, counts, method=method)
    return new, moved_pulses(device, w, new, counts) if count_moved else None


def moved_pulses(device: Any, w: Array, new: Array, counts: Array) -> Array:
    """How many of |counts| pulses, taken at once, moved w to `new`; the rule of `apply_counted`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), (2,))
      >>> w, new, counts = jnp.zeros(2), jnp.array([0.0, 0.1]), jnp.array([5, 5])
      >>> print(spt.pulses.moved_pulses(device, w, new, counts))
      [0 5]
    """
    rises, size = counts > 0, jnp.abs(counts)
    if w.shape != counts.shape:  # a cell of several devices has no one bound
        changed = jnp.any(new != w, axis=tuple(range(w.ndim - counts.ndim)))
        return jnp.where(changed, size, jnp.zeros_like(size))
    (low, high), (q_up, q_down) = bounds(device), device.response(w)
    step = device.dw_min * jnp.where(rises, q_up, q_down)
    needed = jnp.ceil(jnp.abs(new - w) / jnp.where(step > 0, step, 1) - 1e-3)
    needed = jnp.clip(needed, 1, 1e9).astype(size.dtype)
    at_bound = jnp.where(rises, new >= high, new <= low) & (step > 0)
    moved = jnp.where(at_bound, jnp.minimum(size, needed), size)
    return jnp.where(new == w, jnp.zeros_like(size), moved)
