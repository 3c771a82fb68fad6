"""The matrix product of a layer: read forward, read transposed backward, factors for the update."""

import jax
import jax.numpy as jnp

from sptrack._random import purpose_key
from sptrack._typing import Array, Key
from sptrack.nn.factors import TappedWeight
from sptrack.periphery import ReadPath, ReadPaths, analog_mvm, draws, read_columns


def product(weight: Array | TappedWeight, x: Array, paths: ReadPaths, key: Key | None) -> Array:
    """x @ weight as an array reads it, errors going back through the transposed array.

    With y = read(x; W) and d the derivative of the loss with respect to y, times `out_scale` of the
    forward path:

        grad x = read(d; W^T) through paths.backward,      grad W = x^T d, or the factors (x, d)

    So what is clipped or noisy in the forward read passes gradients straight through.

    Args:
      weight: shape (..., outputs); all axes but the last are input lines.
      x: shape (..., input lines).
      paths: how to read; the transfer path isn't used.
      key: a key if reads draw noise.

    Returns:
      Shape (..., outputs).
    """
    tapped = weight if isinstance(weight, TappedWeight) else None
    array: Array = jax.lax.stop_gradient(tapped.array) if tapped is not None else weight  # type: ignore
    matrix = array.reshape(-1, array.shape[-1])
    forward_key, backward_key = (
        purpose_key(key, name) if key is not None and draws(path) else None
        for name, path in (("forward", paths.forward), ("backward", paths.backward))
    )
    if paths.backward is None:
        y = analog_mvm(forward_key, matrix, x, paths.forward)
    else:
        x = x.astype(jnp.result_type(x, matrix))
        y = _two_way(matrix, x, *paths[:2], forward_key, backward_key)
    return y if tapped is None else tapped.capture(x, y, out_scale(paths.forward))


def lookup(
    weight: Array | TappedWeight, indices: Array, path: ReadPath | None, key: Key | None
) -> Array:
    """weight[indices] as an array shows it, line by line; gradients as in `product`.

    Args:
      weight: shape (input lines, outputs).
      indices: integers, any shape.
      path: how to read.
      key: a key if reads draw noise.

    Returns:
      Shape (*indices.shape, outputs).
    """
    tapped = weight if isinstance(weight, TappedWeight) else None
    array: Array = jax.lax.stop_gradient(tapped.array) if tapped is not None else weight  # type: ignore
    lines = jnp.take(array, indices, axis=0)
    forward_key = purpose_key(key, "forward") if key is not None and draws(path) else None
    y = read_columns(forward_key, lines.reshape(-1, array.shape[1]), path).reshape(lines.shape)
    if tapped is None:
        return y
    count = array.shape[0]
    x = jax.nn.one_hot(jnp.where(indices < 0, indices + count, indices), count, dtype=array.dtype)
    return tapped.capture(x, y, out_scale(path))


def out_scale(path: ReadPath | None) -> Array | float:
    """The digital factor on what a path shows."""
    return 1.0 if path is None else path.out_scale


@jax.custom_vjp
def _two_way(
    matrix: Array,
    x: Array,
    forward: ReadPath | None,
    backward: ReadPath,
    forward_key: Key | None,
    backward_key: Key | None,
) -> Array:
    """A read whose gradient with respect to x is a read of the transposed array."""
    return analog_mvm(forward_key, matrix, x, forward)


def _two_way_fwd(matrix, x, forward, backward, forward_key, backward_key):
    y = analog_mvm(forward_key, matrix, x, forward)
    return y, (matrix, x, forward, backward, backward_key)


def _two_way_bwd(kept, dy):
    matrix, x, forward, backward, backward_key = kept
    d = dy * jnp.asarray(out_scale(forward), dy.dtype)
    grad_x = analog_mvm(backward_key, matrix.T, d, backward)
    grad_matrix = x.reshape(-1, x.shape[-1]).T @ d.reshape(-1, d.shape[-1])
    return grad_matrix.astype(matrix.dtype), grad_x.astype(x.dtype), None, None, None, None


_two_way.defvjp(_two_way_fwd, _two_way_bwd)
