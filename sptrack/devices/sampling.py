"""Drawing what differs from cell to cell: switches that are off draw nothing."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._random import normals
from sptrack._typing import Array, Key


def is_off(value: Any) -> bool:
    """Whether a number is known to be zero now; a traced one is not."""
    return not isinstance(value, Tracer) and bool(np.all(np.asarray(value) == 0))


def spreads(key: Key, stds: dict[str, Any], like: Array) -> dict[str, Array]:
    """std * xi per cell for every name, each from its own stream.

    Exactly zero, and nothing drawn, where a std is off.
    """
    drawn = normals(key, [name for name, std in stds.items() if not is_off(std)], like)
    return {
        name: std * drawn[name] if name in drawn else jnp.zeros_like(like)
        for name, std in stds.items()
    }


def switchable(value: Any, dtype: Any) -> Array | None:
    """The number as an array, or None when it is known to be off."""
    return None if is_off(value) else jnp.asarray(value, dtype)
