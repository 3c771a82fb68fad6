"""Counters of pulses: how many cells were sent, up and down apart, beyond 2^31 without 64-bit mode.

What is counted of each array is chosen when an optimizer is made:

  total     pulses sent to each cell, up and down together: uint32, modulo 2^32
  detailed  up and down apart, how many moved the weight, and what trains lost: `PulseCounter`
  none      nothing; the state has no arrays for it

With method "mean" the numbers are expected ones, floating.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array
from sptrack.pulses import Saturation, Tally

COUNTS = ("total", "detailed", "none")


class Wide(NamedTuple):
    """A number wider than JAX's default types, in two words.

    Attributes:
      low, high: for counts uint32 words, low + 2^32 high; for sums of floating numbers the sum
        `high` and what its rounding has lost, `low`.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> almost = spt.transforms.Wide(jnp.uint32(2**32 - 1), jnp.uint32(0))
      >>> spt.transforms.wide_value(spt.transforms.wide_sum(almost, jnp.uint32(2)))
      np.uint64(4294967297)
    """

    low: Array
    high: Array


class TrainCounter(NamedTuple):
    """What trains of factors wanted and lost on one array so far; the fields of `Saturation`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> counter = spt.transforms.init_counter(jnp.zeros((2, 3)), "exact", "detailed").trains
      >>> spt.transforms.wide_value(counter.samples)
      np.uint64(0)
    """

    samples: Wide
    saturated: Wide
    wanted: Wide
    lost: Wide


class PulseCounter(NamedTuple):
    """What is counted of one array's pulses in detail.

    Attributes:
      up, down: pulses sent to each cell that raise and lower it, whatever they did.
      moved_up, moved_down: those of them that changed its weight (`spt.pulses.apply_counted`).
      trains: what trains of factors wanted and lost, of all cells together.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.1)
      >>> state = spt.transforms.init_array(
      ...     jax.random.key(0), spec, jnp.zeros(2), count="detailed")
      >>> state = spt.transforms.write_pulses(
      ...     jax.random.key(1), state, jnp.array([2, -1]), method="exact")
      >>> print(spt.transforms.wide_value(state.pulses.up))
      [2 0]
    """

    up: Wide
    down: Wide
    moved_up: Wide
    moved_down: Wide
    trains: TrainCounter


class RewriteCounter(NamedTuple):
    """How often a stored value of each cell was rewritten, and what that is in pulses.

    Attributes:
      rewrites: how often.
      up, down: estimated pulses, |change| / dw_min rounded at every rewrite.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> counter = spt.transforms.init_rewrites(jnp.zeros(2))
      >>> counter = spt.transforms.count_rewrite(
      ...     counter, jnp.array([True, False]), jnp.array([0.21, 0.5]), jnp.array(0.1))
      >>> print(*map(spt.transforms.wide_value, counter))
      [1 0] [2 0] [0 0]
    """

    rewrites: Wide
    up: Wide
    down: Wide


def check_count(count: str) -> None:
    """Raises ValueError unless `count` is one of `COUNTS`."""
    if count not in COUNTS:
        raise ValueError(f"count must be one of {COUNTS}, got {count!r}.")


def wide_zero(shape: tuple[int, ...], *, floating: bool = False) -> Wide:
    """Zero.

    Example:
      >>> import sptrack as spt
      >>> spt.transforms.wide_zero((2,)).high
      Array([0, 0], dtype=uint32)
    """
    dtype = float if floating else jnp.uint32
    return Wide(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def wide_sum(number: Wide, more: Array) -> Wide:
    """`number` + `more`; what floating sums lose by rounding is kept (Knuth's two-sum).

    Args:
      number: the counter.
      more: what is added: integers >= 0 below 2^32, or floating numbers.

    Returns:
      The counter after that.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> sum_of_tenths = spt.transforms.wide_zero((), floating=True)
      >>> for _ in range(3):
      ...     sum_of_tenths = spt.transforms.wide_sum(sum_of_tenths, jnp.float32(0.1))
      >>> print(spt.transforms.wide_value(sum_of_tenths).round(8))
      0.3
    """
    low, high = number
    more = more.astype(low.dtype)
    if jnp.issubdtype(low.dtype, jnp.floating):
        more = more + low
        total = high + more
        back = total - high
        return Wide((high - (total - back)) + (more - back), total)
    total = low + more
    return Wide(total, high + (total < low).astype(high.dtype))


def wide_value(number: Wide) -> Any:
    """The number in NumPy, uint64 or float64; outside of jit.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.wide_value(spt.transforms.Wide(jnp.uint32(1), jnp.uint32(1)))
      np.uint64(4294967297)
    """
    low, high = (np.asarray(word) for word in number)
    if np.issubdtype(low.dtype, np.floating):
        return high.astype(np.float64) + low.astype(np.float64)
    return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)


def init_counter(like: Array, method: str, count: str) -> Any:
    """What counts the pulses on one weight: None, an array, or a `PulseCounter`.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.init_counter(jnp.zeros(2), "exact", "total")
      Array([0, 0], dtype=uint32)
    """
    if count == "none":
        return None
    if count == "total":
        return jnp.zeros(like.shape, like.dtype if method == "mean" else jnp.uint32)
    cells = wide_zero(like.shape, floating=method == "mean")
    samples, pulses = wide_zero(()), wide_zero((), floating=True)
    return PulseCounter(cells, cells, cells, cells, TrainCounter(samples, samples, pulses, pulses))


def count_pulses(counter: Any, tally: Tally, report: Saturation | None) -> Any:
    """The counter after one write."""
    if counter is None:
        return None
    if not isinstance(counter, PulseCounter):
        return counter + (tally.up + tally.down).astype(counter.dtype)
    up, down, moved_up, moved_down = (
        wide_sum(number, jnp.asarray(more)) for number, more in zip(counter[:4], tally, strict=True)
    )
    trains = counter.trains
    if report is not None:
        trains = TrainCounter(*(wide_sum(*pair) for pair in zip(trains, report, strict=True)))
    return PulseCounter(up, down, moved_up, moved_down, trains)


def total_pulses(counter: Any) -> Array:
    """Up and down together: modulo 2^32, or floating."""
    if not isinstance(counter, PulseCounter):
        return counter
    if jnp.issubdtype(counter.up.low.dtype, jnp.floating):
        return counter.up.high + counter.down.high
    return counter.up.low + counter.down.low


def init_rewrites(like: Array) -> RewriteCounter:
    """A counter of rewrites, of the shape of `like`; its docstring has an example.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.init_rewrites(jnp.zeros(2)).rewrites.low
      Array([0, 0], dtype=uint32)
    """
    return RewriteCounter(*(wide_zero(like.shape) for _ in RewriteCounter._fields))


def count_rewrite(
    counter: RewriteCounter, rewritten: Array, change: Array, dw_min: Array
) -> RewriteCounter:
    """The counter after some cells were rewritten.

    Args:
      counter: before.
      rewritten: which cells, broadcastable to `change`.
      change: by how much the stored value changes there; weight units.
      dw_min: weight change of one pulse.

    Returns:
      The counter after that.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> counter = spt.transforms.count_rewrite(
      ...     spt.transforms.init_rewrites(jnp.zeros(1)), True, jnp.array([-0.3]), jnp.array(0.1))
      >>> print(spt.transforms.wide_value(counter.down))
      [3]
    """
    rewritten = jnp.broadcast_to(rewritten, change.shape)
    pulses = jnp.where(rewritten, jnp.round(change / dw_min), 0)
    pulses = jnp.clip(jnp.nan_to_num(pulses), -(2.0**30), 2.0**30).astype(jnp.int32)
    more = (rewritten, jnp.maximum(pulses, 0), jnp.maximum(-pulses, 0))
    return RewriteCounter(*(wide_sum(*pair) for pair in zip(counter, more, strict=True)))
