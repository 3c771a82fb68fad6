"""Lines of a crossbar: columns and rows of a matrix in the layout of flax kernels.

The last axis of a weight are outputs, the crossbar's *rows*; all others together are input lines,
its *columns*.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array


def num_columns(weight: Array) -> int:
    """Number of crossbar columns (input lines) of one weight: all axes but the last.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.num_columns(jnp.zeros((3, 3, 8, 16)))
      72
    """
    return math.prod(weight.shape[:-1])


def num_rows(weight: Array) -> int:
    """Number of crossbar rows (output lines) of one weight: its last axis.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.num_rows(jnp.zeros((3, 3, 8, 16)))
      16
    """
    return weight.shape[-1] if weight.ndim else 1


def lines(tree: Any, indices: Array, shape: tuple[int, ...], *, rows: bool = False) -> Any:
    """Some columns (or rows) of every array of a matrix's `shape` in `tree`; others unchanged.

    An array of this shape with one more axis in front, that of parts, is taken part by part.

    Args:
      tree: arrays, e.g. a device or the `ArrayState` of one matrix.
      indices: which lines, 1-d.
      shape: the matrix's shape.
      rows: whether the lines are rows.

    Returns:
      The tree with lines in place of matrices, each of shape (number of indices, line's length).

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> matrix = jnp.arange(6.0).reshape(2, 3)
      >>> spt.transforms.lines(matrix, jnp.array([1]), (2, 3))
      Array([[3., 4., 5.]], dtype=float32)
      >>> spt.transforms.lines(matrix, jnp.array([1]), (2, 3), rows=True)
      Array([[1., 4.]], dtype=float32)
    """

    def take(x):
        if shape and jnp.shape(x)[1:] == shape:
            return jax.vmap(take)(x)
        return _take(x, indices, rows) if jnp.shape(x) == shape else x

    return jax.tree.map(take, tree)


def set_lines(matrix: Array, indices: Array, values: Array, *, rows: bool = False) -> Array:
    """`matrix` with some columns (or rows) replaced; indices must differ from each other.

    Values of three axes, the first one that of parts, are set part by part.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.transforms.set_lines(jnp.zeros((2, 2)), jnp.array([1]), jnp.ones((1, 2)))
      Array([[0., 0.],
             [1., 1.]], dtype=float32)
    """
    if values.ndim == 3:
        put = lambda one, its: set_lines(one, indices, its, rows=rows)
        return jax.vmap(put)(matrix, values)
    return _set(matrix, indices, values, rows)


# Outside of jit an index expression costs a millisecond of Python, and a compiled one next to none.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def _take(x: Array, indices: Array, rows: bool) -> Array:
    return _as_matrix(x)[:, indices].T if rows else _as_matrix(x)[indices]


@functools.partial(jax.jit, static_argnums=3, inline=True)
def _set(matrix: Array, indices: Array, values: Array, rows: bool) -> Array:
    new, values = _as_matrix(matrix), values.astype(matrix.dtype)
    if rows:
        new = new.at[:, indices].set(values.T, unique_indices=True)
    else:
        new = new.at[indices].set(values, unique_indices=True)
    return new.reshape(matrix.shape)


def _as_matrix(x: Array) -> Array:
    """Shape (columns, rows); a scalar is one cell."""
    return x.reshape(num_columns(x), num_rows(x))
