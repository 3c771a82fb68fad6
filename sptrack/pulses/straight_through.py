"""Straight-through gradients: the value of what was drawn, the derivatives of its mean."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.device import without_gradient

GRADIENTS = ("pathwise", "straight_through")


def check_gradient(gradient: str) -> None:
    """Raises ValueError unless `gradient` is one of `GRADIENTS`."""
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {GRADIENTS}, got {gradient!r}.")


def straight_through(
    drawn: Callable[..., Array], mean: Callable[..., Array], *arguments: Any
) -> Array:
    """drawn(*arguments), bit for bit, with the derivatives of mean(*arguments).

    `drawn` itself is never differentiated, so loops that can't be are fine in it.
    """
    fixed = jax.tree.map(without_gradient, arguments)
    smooth = mean(*arguments)
    zero = smooth - jax.lax.stop_gradient(smooth)
    return drawn(*fixed) + jnp.where(jnp.isfinite(smooth), zero, 0)
