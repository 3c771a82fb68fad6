"""Key discipline: one root key, folded with what the numbers are for.

A random function takes its key first and draws nothing from the key itself: it folds in the
purpose of each draw. So two purposes never share a stream, switching one source of noise off
leaves all others bit-identical, and instance `i`, step `t` is `fold_in(fold_in(root, i), t)`
whatever else is in the program.
"""

import zlib
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array, Key
from sptrack.random import bits, standard_normal


def is_key(value: Any) -> TypeGuard[Key]:
    """Whether `value` is a typed key, or an array of them."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def as_key(key: Key) -> Key:
    """Returns `key` as a typed key; a legacy uint32 key is wrapped, anything else is refused."""
    if is_key(key):
        return key
    if isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.ndim >= 1:
        return jax.random.wrap_key_data(key)
    raise TypeError(f"A random key is needed, e.g. jax.random.key(0); got {key!r}.")


def purpose_key(key: Key, purpose: str) -> Key:
    """The key for one purpose, e.g. `purpose_key(key, "cycle noise")`."""
    return _fold_in(as_key(key), _number_of(purpose))


def purpose_keys(key: Key, purposes: list[str]) -> Key:
    """An array of keys, one per purpose; folding them in at once is much less to compile."""
    return _fold_in_all(as_key(key), np.array([_number_of(purpose) for purpose in purposes]))


def _number_of(purpose: str) -> np.uint32:
    return np.uint32(zlib.crc32(purpose.encode()))


# Compiled for calls outside of jit, where jax.random costs 0.4 ms of Python and jax.vmap several.
_fold_in = jax.jit(jax.random.fold_in, inline=True)
_fold_in_all = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), inline=True)


def normal(key: Key, purpose: str, like: Array) -> Array:
    """Standard normal numbers for a purpose, of the shape and dtype of `like`."""
    return standard_normal(purpose_key(key, purpose), like.shape, like.dtype)


def normals(key: Key, purposes: list[str], like: Array) -> dict[str, Array]:
    """Standard normal numbers for several purposes, none of them by counting bits.

    Bit for bit those of `normal` for each, unless the key is one for normal numbers from bits.
    """
    if not purposes:
        return {}
    draw = jax.vmap(lambda k: standard_normal(k, like.shape, like.dtype, exact=True))
    return dict(zip(purposes, draw(purpose_keys(key, purposes)), strict=True))


def uniform(key: Key, purpose: str, like: Array) -> Array:
    """Uniform numbers in [0, 1) for a purpose, of the shape and dtype of `like`."""
    return jax.random.uniform(purpose_key(key, purpose), like.shape, like.dtype)


def random_bits(key: Key, purpose: str, shape: tuple[int, ...]) -> Array:
    """Independent fair bits for a purpose, 32 in each uint32 of an array of `shape`."""
    return bits(purpose_key(key, purpose), shape)


def leaf_keys(key: Key, tree) -> list[Key]:
    """One key per leaf of `tree`, made of the leaf's path: other leaves don't change it."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return list(purpose_keys(key, [f"leaf {path}" for path in paths])) if paths else []
