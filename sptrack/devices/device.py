"""What a device is: the protocol, and the functions that ask a device about itself.

A *device* is one sampled instance of a crossbar array: a pytree of arrays shaped like the weight
matrix `w`. All of `sptrack` talks to it through the following protocol, so a NamedTuple with two
methods is a device, and works in pulses, calibration, training, `jax.vmap` and `jax.grad`.

Required of a device:
  dw_min            scalar > 0: mean weight change by one pulse where the response is 1
  response(w)       (q_up, q_down), both >= 0: mean step per up and per down pulse, over dw_min

Optional, with what holds in their absence:
  bounds()          (low, high), where `w` is clipped after every pulse        (no bounds)
  noise(w)          (std_up, std_down) of one pulse's step, over dw_min        (no cycle noise)
  write_noise_std   std, over dw_min, of what a read shows around the hidden
                    weight; drawn at a write and held until the next           (none)
  symmetric_point() where q_up = q_down, NaN where that is nowhere             (found by bisection)
  pulse_law(w, n)   (mean, std) of the weight after |n| pulses of n's sign, before clipping; std is
                    None without noise: the law of many pulses in one step     (groups of pulses)
  cyclic_law(w, pulses, rises)   the same after `pulses` alternating pulses, the first one up where
                    `rises`: zero-shifting in one step              (only pulse by pulse)
  continuous        True for an array that takes any increment exactly, not in pulses     (False)

Cells that are made of several devices have hidden weights with an axis of parts in front; what such
a device has besides is in `sptrack.devices.compound`.

Required of a spec, the distribution that devices are drawn from:
  sample(key, shape, dtype)   -> device

References: response functions and eq. numbers are those of arXiv 2602.21321, section 2.
"""

import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from sptrack._random import as_key
from sptrack._typing import Array, Key

_BISECTIONS = 60  # halves a bracket to below the spacing of float64


@runtime_checkable
class Device(Protocol):
    """The required part of the device protocol (the module's docstring has the optional part).

    Example:
      >>> from typing import NamedTuple
      >>> import jax, sptrack as spt
      >>> class Tanh(NamedTuple):  # saturates smoothly, with a slope of its own per cell
      ...     dw_min: float
      ...     slope: jax.Array
      ...     def response(self, w):
      ...         return 1 - jax.numpy.tanh(self.slope * w), 1 + jax.numpy.tanh(self.slope * w)
      >>> device = Tanh(0.01, jax.numpy.array([1.0, 2.0]))
      >>> w, counts = jax.numpy.zeros(2), jax.numpy.array([5, -5])
      >>> w = spt.apply_pulses(jax.random.key(0), device, w, counts)
      >>> print(w.round(3))
      [ 0.049 -0.048]
    """

    dw_min: Any

    def response(self, w: Array) -> tuple[Array, Array]:
        """Mean steps per up and per down pulse at weight `w`, over `dw_min`."""
        ...


def sample_device(key: Key, spec: Any, shape: tuple[int, ...], *, dtype: Any = None) -> Any:
    """Draws one device: a pytree of arrays shaped `shape`.

    Every source of cell-to-cell variation has its own stream, folded from `key`, so switching one
    off leaves the others as they were. To draw a population, `jax.vmap` over keys.

    Args:
      key: a JAX random key; which cell gets what depends on it alone.
      spec: what to draw from, e.g. `spt.SoftBounds(dw_min=0.01)`; anything with
        `sample(key, shape, dtype)`.
      shape: shape of the weight that the device's cells hold.
      dtype: floating dtype of the arrays; JAX's default float if None.

    Returns:
      A device (see `sptrack.devices.device` for the protocol).

    Raises:
      TypeError: if `key` is no key, `spec` no spec, or `shape` no tuple of integers.
      ValueError: if `shape` has a negative length or `dtype` is not floating.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.SoftBounds(dw_min=0.01, dw_min_dtod=0.0, up_down_dtod=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, (2, 3))
      >>> spt.bounds(device)[1].shape
      (2, 3)
    """
    if not hasattr(spec, "sample"):
        raise TypeError(
            f"spec must have a method sample(key, shape, dtype), got {spec!r}; "
            "use one of sptrack's specs, e.g. spt.SoftBounds(), or see sptrack.devices.device."
        )
    if isinstance(spec, type):
        raise TypeError(f"spec must be an instance: write {spec.__name__}(), with parentheses.")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        raise TypeError(f"shape must be a tuple of integers, got {shape!r}.")
    if any(n < 0 for n in shape):
        raise ValueError(f"shape must have lengths >= 0, got {shape!r}.")
    dtype = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating, got {dtype}.")
    return spec.sample(as_key(key), shape, dtype)


def response(device: Any, w: Array) -> tuple[Array, Array]:
    """Mean steps q_up(w), q_down(w) per pulse, in units of `dw_min`; both are >= 0 (Def. 2.1).

    Args:
      device: a device.
      w: weights, of the device's shape.

    Returns:
      (q_up, q_down), of w's shape. Differentiable; an exact gradient except at a clip.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(asymmetry_mean=0.2), ())
      >>> q_up, q_down = spt.response(device, jnp.array(0.2))
      >>> print(q_up.round(3), q_down.round(3))
      0.96 0.96
    """
    return device.response(w)


def symmetric_part(device: Any, w: Array) -> Array:
    """F(w) = (q_down + q_up) / 2, eq. (6a).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.symmetric_part(device, jnp.array(0.3)))
      1.0
    """
    q_up, q_down = device.response(w)
    return (q_down + q_up) / 2


def asymmetric_part(device: Any, w: Array) -> Array:
    """G(w) = (q_down - q_up) / 2, eq. (6b): zero at the symmetric point, and rising through it.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.asymmetric_part(device, jnp.array(0.3)))
      0.3
    """
    q_up, q_down = device.response(w)
    return (q_down - q_up) / 2


def bounds(device: Any) -> tuple[Array, Array]:
    """Smallest and largest weight of each cell, in the coordinates of `w`.

    Returns:
      (low, high), of the device's shape; -inf and inf (scalars) where a device has no bounds.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(tau_max=0.5), ())
      >>> low, high = spt.bounds(device)
      >>> print(low, high)
      -1.0 0.5
    """
    if hasattr(device, "bounds"):
        return device.bounds()
    return jnp.asarray(-jnp.inf), jnp.asarray(jnp.inf)


def within_bounds(device: Any, w: Array) -> Array:
    """`w` clipped to the bounds; NaN stays NaN. Two selects: cheaper than `jnp.clip` on a CPU."""
    low, high = bounds(device)
    w = jnp.where(w < low, low, w).astype(w.dtype)
    return jnp.where(w > high, high, w).astype(w.dtype)


def symmetric_point(device: Any) -> Array:
    """Where up and down pulses have the same mean step, G(w) = 0; NaN where a cell has none.

    A device's own closed form is used where it has one. Otherwise G is bisected between the cell's
    bounds to the last digit, which needs finite bounds and a sign change of G between them; the
    gradient of that root with respect to the device is the implicit one, -dG / G'(w*).
    Where G vanishes identically (an ideal array, a stuck cell) every weight qualifies, and the one
    nearest to zero within the bounds is returned.

    Args:
      device: a device.

    Returns:
      The symmetric points w*, of the device's shape.

    Raises:
      ValueError: if the device has neither a closed form nor bounds to search between.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(asymmetry_mean=0.2), ())
      >>> print(spt.symmetric_point(device).round(6))
      0.2
    """
    if hasattr(device, "symmetric_point"):
        return device.symmetric_point()
    if not hasattr(device, "bounds"):
        raise ValueError(
            f"{type(device).__name__} has neither symmetric_point() nor bounds() to search "
            "between; add one of these methods to the device."
        )
    low, high = (jnp.asarray(bound, float) for bound in device.bounds())
    shape = jnp.broadcast_shapes(low.shape, jax.eval_shape(device.response, low)[0].shape)
    low, high = (jnp.broadcast_to(x, shape) for x in (low, high))
    fixed = jax.tree.map(without_gradient, device)
    root = _bisected(fixed, jax.lax.stop_gradient(low), jax.lax.stop_gradient(high))
    at = jnp.nan_to_num(root)
    value, slope = jax.jvp(lambda w: asymmetric_part(fixed, w), (at,), (jnp.ones_like(at),))
    excess = asymmetric_part(device, at) - value  # zero, with the gradient of the response
    found = root - jnp.where(slope > 0, excess / jnp.where(slope > 0, slope, 1), 0)
    vanishes = (asymmetric_part(fixed, low) == 0) & (asymmetric_part(fixed, high) == 0)
    return jnp.where(vanishes, jnp.clip(jnp.zeros_like(low), low, high), found)


def without_gradient(leaf: Any) -> Any:
    """A leaf of a device as a constant; what is no array stays as it is."""
    return jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.Array) else leaf


@functools.partial(jax.jit, inline=True)
def _bisected(device: Any, low: Array, high: Array) -> Array:
    """Where G rises through zero between the bounds; NaN where it does not."""

    def halve(_, bracket):
        left, right = bracket
        middle = (left + right) / 2
        below = asymmetric_part(device, middle) < 0
        return jnp.where(below, middle, left), jnp.where(below, right, middle)

    left, right = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    at_low, at_high = asymmetric_part(device, low), asymmetric_part(device, high)
    return jnp.where((at_low <= 0) & (at_high >= 0), (left + right) / 2, jnp.nan)


def slope_at_symmetric_point(device: Any) -> Array:
    """dG/dw at the symmetric point: how fast alternating pulses return there, per dw_min.

    The distance from the symmetric point shrinks by exp(-dw_min dG/dw) per pulse. Found by forward
    differentiation of the response.

    Args:
      device: a device.

    Returns:
      The slopes, of the device's shape and in units of 1 / weight; NaN where a cell has no
      symmetric point. Differentiable with respect to the device.

    Raises:
      ValueError: as `symmetric_point`; for cells of several devices, whose parts return each at its
        own rate.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(tau_max=0.5), ())
      >>> print(spt.slope_at_symmetric_point(device))  # (1 / 0.5 + 1 / 1) / 2
      1.5
    """
    if hasattr(device, "parts"):
        raise ValueError(
            f"{type(device).__name__}: parts of a cell return each at its own rate; ask "
            "slope_at_symmetric_point of device.parts."
        )
    point = symmetric_point(device)
    inside = jnp.nan_to_num(point)
    slope = jax.jvp(lambda w: asymmetric_part(device, w), (inside,), (jnp.ones_like(inside),))[1]
    return jnp.where(jnp.isnan(point), jnp.nan, slope)


def num_states(device: Any) -> Any:
    """Number of states: the range of a cell over dw_min, the step at the reference response.

    Args:
      device: a device, or a spec, of whose mean cell the number is then.

    Returns:
      An array of the device's shape, or a number for a spec; infinite without bounds. A stuck cell
      has none, 0.

    Raises:
      TypeError: for a spec that doesn't say: then ask a device sampled from it.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.01), (2,))
      >>> print(spt.num_states(device), spt.num_states(spt.ConstantStep(dw_min=0.002)))
      [200. 200.] 600.0
    """
    if hasattr(device, "num_states"):
        return device.num_states
    if hasattr(device, "sample"):
        raise TypeError(
            f"{type(device).__name__} has no attribute num_states; pass a device, "
            "spt.num_states(spt.sample_device(key, spec, shape))."
        )
    low, high = bounds(device)
    return (high - low) / device.dw_min


def is_continuous(device: Any) -> bool:
    """Whether the device takes any increment exactly instead of in pulses.

    Example:
      >>> import jax, sptrack as spt
      >>> spt.devices.is_continuous(spt.sample_device(jax.random.key(0), spt.IdealStep(), ()))
      True
    """
    return getattr(device, "continuous", False)
