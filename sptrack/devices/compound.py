"""Cells made of several devices: what all of them have in common.

    W = sum_k gamma_k w_k

The hidden weights of such cells have an axis of *parts* in front: shape (parts, *cells), and some
cells need a further plane behind for where they stand (whose turn it is, writes since a refresh).
Pulse counts, wanted increments, what a read shows, bounds and symmetric points have the shape of
the cells. Beyond the protocol of `sptrack.devices.device`, whose `response(w)` takes hidden
weights, such a device has

  parts                 its devices, a tuple
  gammas                their weights gamma_k in W, a tuple of scalars
  planes                length of the hidden weights' first axis
  program(target)       hidden weights that show `target`, as nearly as the bounds allow
  deal(key, w, counts)  (pulses of each part, w): who gets the cells' pulses, which go up where
                        counts > 0; planes behind the parts are moved on. Without a key expected
                        numbers.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp

from sptrack._random import purpose_key, purpose_keys
from sptrack._typing import Array, Key
from sptrack.devices.device import bounds


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompoundDevice:
    """The common part of sampled cells made of several devices; see the module's docstring.

    Attributes:
      parts: the devices.
      gammas: weights of the parts in W, scalars.
      dw_min: mean change of W by one pulse where all responses are 1; scalar.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.VectorCell(), (3,))
      >>> isinstance(device, spt.devices.CompoundDevice), device.planes
      (True, 2)
    """

    parts: tuple
    gammas: tuple
    dw_min: Array

    @property
    def planes(self) -> int:
        """Length of the first axis of hidden weights."""
        return len(self.parts)

    @property
    def write_noise_std(self) -> Array | None:
        """Std of what a read shows around W, over dw_min; None without write noise."""
        stds = [getattr(part, "write_noise_std", None) for part in self.parts]
        variances = [
            (gamma * std * part.dw_min) ** 2
            for gamma, std, part in zip(self.gammas, stds, self.parts, strict=True)
            if std is not None
        ]
        return jnp.sqrt(total(variances)) / self.dw_min if variances else None

    def bounds(self) -> tuple[Array, Array]:
        """(low, high) of W."""
        pairs = zip(self.gammas, self.parts, strict=True)
        ends = [[gamma * bound for bound in bounds(part)] for gamma, part in pairs]
        return total(jnp.minimum(*one) for one in ends), total(jnp.maximum(*one) for one in ends)

    def combined(self, w: Array) -> Array:
        """W = sum_k gamma_k w_k."""
        return total(gamma * w[k] for k, gamma in enumerate(self.gammas))


def total(terms: Iterable[Any]) -> Any:
    """The sum of at least one array."""
    return functools.reduce(operator.add, terms)


def is_compound(device: Any) -> bool:
    """Whether the device's cells are made of several devices, so that w has an axis of parts.

    Example:
      >>> import jax, sptrack as spt
      >>> spt.devices.is_compound(spt.sample_device(jax.random.key(0), spt.VectorCell(), (3,)))
      True
    """
    return hasattr(device, "parts")


def cell_shape(device: Any, w: Array) -> tuple[int, ...]:
    """The shape of the cells whose hidden weights are `w`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.VectorCell(), (3,))
      >>> spt.devices.cell_shape(device, jnp.zeros((2, 3)))
      (3,)
    """
    return w.shape[1:] if is_compound(device) else w.shape


def combine(device: Any, w: Array) -> Array:
    """The weights of the cells: `w` itself, or W = sum_k gamma_k w_k of cells of several devices.

    Args:
      device: a device.
      w: hidden weights.

    Returns:
      Weights without write noise, of the shape of the cells.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.VectorCell(gammas=(1.0, 0.5)), (1,))
      >>> print(spt.devices.combine(device, jnp.array([[0.2], [0.4]])))
      [0.4]
    """
    return device.combined(w) if is_compound(device) else w


def program(device: Any, target: Array) -> Array:
    """Hidden weights with which cells show `target`, as nearly as their bounds allow.

    Args:
      device: a device.
      target: wanted weights, floating, of the shape of the cells.

    Returns:
      Hidden weights: `target` clipped to the bounds, or with an axis of parts in front.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> pair = spt.OneSidedPair(device=spt.ConstantStep(w_min=0.0))
      >>> device = spt.sample_device(jax.random.key(0), pair, (2,))
      >>> print(spt.devices.program(device, jnp.array([0.1, -0.2])))
      [[0.1 0. ]
       [0.  0.2]]
    """
    if is_compound(device):
        return device.program(target)
    return jnp.clip(target, *bounds(device)).astype(target.dtype)


def map_parts(
    key: Key | None, device: Any, w: Array, act: Callable[[Any, Any, Array, int], Array]
) -> Array:
    """Hidden weights after `act(key, part, w_k, k)` on every part, each with a key of its own."""
    count = len(device.parts)
    keys = [None] * count
    if key is not None:
        keys = list(purpose_keys(key, [f"part {k}" for k in range(count)]))
    planes = [act(keys[k], part, w[k], k) for k, part in enumerate(device.parts)]
    return jnp.concatenate([jnp.stack(planes), w[count:]]).astype(w.dtype)


def sample_parts(key: Key, specs: tuple, shape: tuple[int, ...], dtype: Any) -> tuple:
    """A device of each spec, from a stream of its own; TypeError for cells of several devices."""
    parts = tuple(
        one.sample(purpose_key(key, f"part {k}"), shape, dtype) for k, one in enumerate(specs)
    )
    if any(map(is_compound, parts)):
        raise TypeError(f"parts of a cell must be single devices, got specs {specs!r}.")
    return parts


def check_parts(owner: str, name: str, specs: Any) -> None:
    """Raises TypeError unless `specs` is a tuple of specs."""
    if not isinstance(specs, tuple) or not specs:
        raise TypeError(f"{owner}: {name} must be a tuple of specs, got {specs!r}.")
    for one in specs:
        if isinstance(one, type) or not hasattr(one, "sample"):
            raise TypeError(f"{owner}: {name} must be specs, e.g. spt.SoftBounds(), got {one!r}.")
