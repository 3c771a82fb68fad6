"""Pulses applied to an array: one at a time, many in one step, or their mean.

One pulse on a cell at weight w (w is the hidden weight, which no read disturbs):

    up:    w <- clip(w + dw_min (q_up(w)   + std_up(w)   xi))
    down:  w <- clip(w - dw_min (q_down(w) + std_down(w) xi))
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key, normal
from sptrack._typing import Array, Key
from sptrack.devices.compound import cell_shape, is_compound
from sptrack.devices.device import within_bounds
from sptrack.pulses.parts import on_parts

METHODS = ("exact", "aggregate", "mean")
_GROUPS = 8  # steps that "aggregate" takes on a device without a closed form


def check_method(method: str) -> None:
    """Raises ValueError unless `method` is one of `METHODS`."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")


def check_weight(device: Any, w: Array, other: Array | None = None, name: str = "") -> None:
    """Raises unless `w` is floating and fits the device, and `other` has the cells' shape."""
    if not jnp.issubdtype(w.dtype, jnp.floating):
        raise TypeError(f"w must be floating, got dtype {w.dtype}; convert it with astype(float).")
    if is_compound(device) and (w.ndim == 0 or w.shape[0] != device.planes):
        raise ValueError(
            f"cells of several devices need w with an axis of {device.planes} in front, got shape "
            f"{w.shape}; begin with w = spt.devices.program(device, target)."
        )
    cells = cell_shape(device, w)
    if other is not None and other.shape != cells:
        whose = "the cells" if is_compound(device) else "w"
        raise ValueError(f"{name} must have the shape of {whose}, {cells}, got {other.shape}.")
    leaves, structure = jax.tree.flatten((device, w))
    if not all(isinstance(x, (jax.Array, np.ndarray, np.generic, float, int)) for x in leaves):
        raise TypeError(
            f"a device is a pytree of arrays, got {device!r}; make it a NamedTuple of arrays, or "
            "register its class with jax.tree_util.register_dataclass."
        )
    shape = _step_shape(structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves))
    if shape != cells:
        raise ValueError(f"w must have the device's shape {shape}, got {cells}.")


@functools.lru_cache(1024)  # to trace a response takes as long as to apply pulses
def _step_shape(structure: Any, kinds: tuple[tuple[tuple[int, ...], Any], ...]) -> tuple[int, ...]:
    """Shape of the steps of a device at w; of both, what their leaves are like is enough."""
    device, w = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*kind) for kind in kinds])
    try:
        return jax.eval_shape(lambda d, w: d.response(w), device, w)[0].shape
    except (TypeError, ValueError) as error:  # shapes that don't broadcast
        raise ValueError(f"the device doesn't fit w of shape {w.shape}: {error}") from None


def apply_pulses(key: Key, device: Any, w: Array, counts: Array, *, method: str = "exact") -> Array:
    """Applies `counts` pulses to every cell and returns the new hidden weights.

    Methods:
      exact: one pulse at a time, each with its own cycle noise and clip; costs max|counts| steps.
        Not reverse-differentiable (JAX says so), because the number of steps is data.
      aggregate: cost independent of the counts. For affine devices (constant, soft bounds, linear
        response) n pulses are drawn from their joint law: exact with additive noise away from the
        bounds, for any n; with multiplicative noise mean and variance are exact and the shape is
        not. It clips once instead of n times, so near a bound, where noise would have carried a
        cell over it on the way, the mean is too far out: by up to 0.4 standard deviations of what
        n pulses add (measured; additive and, for dw_min_std <= 1, multiplicative noise). A single
        pulse is exact everywhere.
        On other devices the pulses are taken in 8 groups, each group's step and noise at the weight
        where it starts: exact up to 8 pulses, then the error is of order (n/8) (dw_min q')
        relative to the movement of a group.
      mean: counts * dw_min through eq. (2) of arXiv 2602.21321, all pulses at the present weight
        and no noise: first order, error of order n dw_min q' relative to the movement.
    On cells of several devices (`spt.VectorCell`, `spt.OneSidedPair`) each method does this to
    every part, with the pulses that the part gets.
    Pathwise gradients of "aggregate" and "mean" with respect to w and the device are exact for what
    is computed, up to the clip, where the sub-gradient of a clipped cell is zero.

    Args:
      key: a JAX random key (unused by "mean").
      device: a device.
      w: hidden weights, floating, of the device's shape; for cells of several devices with an axis
        of parts in front (`spt.devices.program`).
      counts: signed integers, of the cells' shape; positive ones raise w.
      method: "exact", "aggregate" or "mean".

    Returns:
      The hidden weights after the pulses, inside the device's bounds.

    Raises:
      TypeError: if `counts` are not integers, `w` not floating, or `key` no key.
      ValueError: if the shapes differ or `method` is unknown.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2,))
      >>> w = spt.apply_pulses(jax.random.key(1), device, jnp.zeros(2), jnp.array([2, -1]))
      >>> print(w.round(3))  # 0.1 + 0.1 (1 - 0.1), and -0.1
      [ 0.19 -0.1 ]
    """
    check_method(method)
    w, counts = jnp.asarray(w), jnp.asarray(counts)
    if not jnp.issubdtype(counts.dtype, jnp.integer):
        raise TypeError(
            f"counts must be integers, got dtype {counts.dtype}; for a wanted weight change use "
            "spt.analog_update."
        )
    counts = counts.astype(jnp.int32)
    check_weight(device, w, counts, "counts")
    return _apply(as_key(key), device, w, counts, method)


@functools.partial(jax.jit, static_argnames="method", inline=True)
def _apply(key: Key, device: Any, w: Array, counts: Array, method: str) -> Array:
    """`apply_pulses` by method, everything checked; outside of jit loops are compiled once."""
    if method == "mean":
        return mean_update(device, w, counts * device.dw_min)
    if is_compound(device):
        return on_parts(key, device, w, counts, functools.partial(_apply, method=method))
    if method == "exact":
        return one_at_a_time(key, device, w, counts)[0]
    if hasattr(device, "pulse_law"):
        return _from_law(key, device, w, counts)
    return _in_groups(key, device, w, counts)


def one_pulse(key: Key, device: Any, w: Array, rises: Array, count: Any = 1) -> Array:
    """One pulse per cell, up where `rises`; `count` equal ones in first order if given.

    Args:
      key: a JAX random key; this step's own.
      device: a device.
      w: hidden weights.
      rises: booleans, of the cells' shape or scalar: up (True) or down.
      count: how many pulses at this weight, broadcastable; 0 leaves a cell as it is.

    Returns:
      The hidden weights after the pulses, clipped.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2,))
      >>> print(spt.pulses.one_pulse(jax.random.key(1), device, jnp.zeros(2), jnp.array(True)))
      [0.1 0.1]
    """
    if is_compound(device):
        counts = jnp.broadcast_to(jnp.where(rises, 1, -1) * count, cell_shape(device, w))
        return on_parts(key, device, w, counts, _pulse_of)
    q_up, q_down = device.response(w)
    step = jnp.where(rises, q_up, -q_down) * count
    std_up, std_down = device.noise(w) if hasattr(device, "noise") else (None, None)
    if std_up is not None and std_down is not None:
        std = jnp.where(rises, std_up, std_down) * jnp.sqrt(jnp.asarray(count, w.dtype))
        step = step + std * normal(key, "cycle noise", w)
    return within_bounds(device, (w + device.dw_min * step).astype(w.dtype))


def _pulse_of(key: Key, part: Any, w: Array, counts: Array) -> Array:
    return one_pulse(key, part, w, counts > 0, jnp.abs(counts))


def mean_update(device: Any, w: Array, dw: Array) -> Array:
    """Eq. (2) without rounding noise, clipped: w + dw F(w) - |dw| G(w).

    That is w + dw q_up(w) for dw >= 0 and w + dw q_down(w) otherwise. Differentiable; at dw = 0
    the derivative with respect to dw is the up side's, q_up(w).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.pulses.mean_update(device, jnp.array(0.5), jnp.array(0.1)))
      0.55
    """
    if is_compound(device):
        share = lambda _, part, plane, counts: mean_update(part, plane, counts * part.dw_min)
        return on_parts(None, device, w, dw / device.dw_min, share)
    q_up, q_down = device.response(w)
    moved = w + dw * jnp.where(dw >= 0, q_up, q_down)
    return within_bounds(device, moved.astype(w.dtype))


def one_at_a_time(
    key: Key, device: Any, w: Array, counts: Array, *, count_moved: bool = False
) -> tuple[Array, Array | None]:
    """The oracle. Cells that have had their pulses stay bit-identical while others go on."""

    def pulse(carry):
        index, w, left, moved = carry
        new = one_pulse(jax.random.fold_in(key, index), device, w, left > 0)
        new = jnp.where(left == 0, w, new)
        moved = None if moved is None else moved + (new != w)
        return index + 1, new, left - jnp.sign(left), moved

    # The first pulse is outside of the loop, where it becomes one program with the rounding; and
    # to ask whether any cell has pulses left is much cheaper than the largest count.
    start = (jnp.zeros((), jnp.int32), w, counts, jnp.zeros_like(counts) if count_moved else None)
    _, w, _, moved = jax.lax.while_loop(lambda carry: jnp.any(carry[2] != 0), pulse, pulse(start))
    return w, moved


def _from_law(key: Key, device: Any, w: Array, counts: Array) -> Array:
    """All pulses at once, by the device's closed form."""
    mean, std = device.pulse_law(w, counts)
    if std is not None:
        mean = mean + std * normal(key, "cycle noise", w)
    return jnp.where(counts == 0, w, within_bounds(device, mean.astype(w.dtype)))


def _in_groups(key: Key, device: Any, w: Array, counts: Array) -> Array:
    """The pulses in a fixed number of groups, as equal as integers can be."""
    rises, size = counts > 0, jnp.abs(counts)

    def group(w, index):
        count = (size + index) // _GROUPS  # sums to `size` over all groups
        new = one_pulse(jax.random.fold_in(key, index), device, w, rises, count)
        return jnp.where(count > 0, new, w), None

    return jax.lax.scan(group, w, jnp.arange(_GROUPS))[0]
