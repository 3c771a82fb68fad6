"""Hashes that say whether two computations are the same: of programs, and of values."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.core import eval_jaxpr

from sptrack._random import is_key
from sptrack._typing import PyTree


def program_digest(closed: Any) -> str:
    """SHA-256 of a lowered program and the constants that it closes over.

    The program's text has no names of variables or places in it: another one means other numbers.

    Args:
      closed: a closed jaxpr, e.g. `jax.jit(f).trace(...).jaxpr`.
    """
    call = lambda constants, *flat: eval_jaxpr(closed.jaxpr, constants, *flat)
    abstract = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in closed.in_avals]
    text = jax.jit(call).lower(closed.consts, *abstract).as_text()
    digest = hashlib.sha256(text.encode())
    for constant in closed.consts:
        digest.update(plain(constant).tobytes())
    return digest.hexdigest()


def values_digest(tree: PyTree) -> str:
    """SHA-256 of the leaves of a tree of arrays and keys: paths, dtypes, shapes, bits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        kind = jax.random.key_impl(leaf) if is_key(leaf) else ""
        array = plain(leaf)
        head = f"{jax.tree_util.keystr(path)} {kind} {array.dtype.name} {array.shape} "
        digest.update(head.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def plain(leaf: Any) -> np.ndarray:
    """An array, or the data of a key, as a NumPy array."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
