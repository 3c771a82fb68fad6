"""Where training starts: the residual array P and the reference R for its symmetric point."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array, Key, PyTree
from sptrack.devices.compound import program
from sptrack.transforms.arrays import ArrayState, array_symmetric_points, read, show_array


class Start(NamedTuple):
    """The residual array, its reference, and the pulses per cell that were spent on finding it."""

    residual: ArrayState
    reference: PyTree
    calibration_pulses: Array


def at_first_read(key: Key, residual: ArrayState) -> Start:
    """P where it is, and R = its first read, so that the first residual is zero."""
    del key
    first_read = jax.tree.map(jnp.asarray, read(residual))
    return Start(residual, first_read, jnp.zeros([], jnp.uint32))


def at_zero(key: Key, residual: ArrayState) -> Start:
    """P where it is, and R = 0."""
    del key
    zeros = jax.tree.map(jnp.zeros_like, read(residual))
    return Start(residual, zeros, jnp.zeros([], jnp.uint32))


def at_reference(reference: str | PyTree) -> Callable[[Key, ArrayState], Start]:
    """P programmed to R, which is "zero", "true", a number, or a tree like the parameters."""
    check_reference(reference)

    def start(key, residual):
        known = reference_tree(reference, residual)
        return Start(move_to(key, residual, known), known, jnp.zeros([], jnp.uint32))

    return start


def check_reference(reference: str | PyTree) -> None:
    """Raises ValueError for an unknown word; whether a tree fits shows in `init`."""
    if isinstance(reference, str) and reference not in ("zero", "true"):
        raise ValueError(
            f"reference must be 'zero', 'true', a number or a tree like params, got {reference!r}."
        )


def move_to(key: Key, array: ArrayState, target: PyTree) -> ArrayState:
    """The array programmed to `target`, clipped to its bounds."""

    def programmed(old, device, new):
        return program(device, new.astype(old.dtype))

    hidden = jax.tree.map(programmed, array.hidden, array.device, target)
    return show_array(key, array._replace(hidden=hidden))


def reference_tree(reference: Any, array: ArrayState) -> PyTree:
    """The reference as a tree like the parameters."""
    if isinstance(reference, str):
        if reference == "zero":
            return jax.tree.map(jnp.zeros_like, read(array))
        return array_symmetric_points(array)
    if np.ndim(reference) == 0 and not jax.tree.structure(reference).num_nodes > 1:
        return jax.tree.map(lambda w: jnp.full_like(w, reference), read(array))
    wanted = jax.tree.map(jnp.shape, read(array))
    given = jax.tree.map(jnp.shape, reference)
    if wanted != given:
        raise ValueError(
            f"reference must be a tree like params: shapes {wanted}, got shapes {given}."
        )
    return jax.tree.map(lambda w, r: jnp.asarray(r, w.dtype), read(array), reference)
