"""The one program of a sweep: a block of runs, the same on every device.

Every device computes whole blocks, with a program that does not depend on how many devices there
are; so results cannot depend on it either.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sptrack._digest import program_digest
from sptrack._random import is_key
from sptrack._typing import Array, Key, PyTree
from sptrack.sweep.axes import Grid, Tiling


class Program(NamedTuple):
    """A traced block of runs.

    Attributes:
      outputs: name -> shape and dtype of what one run returns.
      digest: SHA-256 of the program and of all that it closes over.
      closed: the traced block with its constants.
      grid: the points.
      tiling: their blocks.
      impl: name of the root key's implementation.
      root_data: data of the root key.
      width: points that one call on one device takes, at least a tile.
    """

    outputs: dict[str, Any]
    digest: str
    closed: Any
    grid: Grid
    tiling: Tiling
    impl: str
    root_data: np.ndarray
    width: int


def trace(run: Callable[..., PyTree], grid: Grid, tiling: Tiling, key: Key, exact: bool) -> Program:
    """Traces `run`, once, for a block of points; members one by one if `exact`."""
    impl = jax.random.key_impl(key)

    def one(root, words, swept):
        for word in words:
            root = jax.random.fold_in(root, word)
        return _named(run(root, **swept))

    def block(root_data, words, swept, count):
        root = jax.random.wrap_key_data(root_data, impl=impl)
        if exact:
            return _one_by_one(one, root, words, swept, count)
        return jax.vmap(one, in_axes=(None, 0, 0))(root, words, swept)

    size = math.prod(tiling.tile)
    width = max(size, 2) if exact else size  # a loop over one point would compile differently
    words, swept = grid.points([indices[:1] for indices in tiling.indices(0)])
    many = lambda x: jax.ShapeDtypeStruct((width, *x.shape[1:]), x.dtype)
    root_data = np.asarray(jax.random.key_data(key))
    traced = jax.jit(block).trace(
        jax.ShapeDtypeStruct(root_data.shape, root_data.dtype),
        *jax.tree.map(many, (words, swept)),
        jax.ShapeDtypeStruct((), np.int32),
    )
    outputs = {n: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for n, x in traced.out_info.items()}
    return Program(
        outputs,
        program_digest(traced.jaxpr),
        traced.jaxpr,
        grid,
        tiling,
        str(impl),
        root_data,
        width,
    )


def _one_by_one(one: Callable, root: Key, words: Any, swept: Any, count: Array) -> PyTree:
    """The same bits for every block size: one member per pass of a loop that XLA can't unroll."""
    take = lambda i: jax.tree.map(lambda x: x[i], (words, swept))
    width = jax.tree.leaves((words, swept))[0].shape[0]
    shapes = jax.eval_shape(lambda: one(root, *take(0)))
    empty = jax.tree.map(lambda x: jnp.zeros((width, *x.shape), x.dtype), shapes)

    def member(i, results):
        return jax.tree.map(lambda all, x: all.at[i].set(x), results, one(root, *take(i)))

    return jax.lax.fori_loop(0, count, member, empty)


def compiled(program: Program, devices: Sequence[Any]) -> Callable[[list[int]], list[dict]]:
    """A function that computes up to one block per device at once, and returns NumPy arrays.

    Every device runs the block's own program (`shard_map`), whatever the number of devices.
    """
    mesh = Mesh(np.asarray(devices), ("blocks",))
    replicated, split = PartitionSpec(), PartitionSpec("blocks")
    inputs = len(program.closed.in_avals)
    call = jax.jit(
        jax.shard_map(
            lambda constants, *flat: eval_jaxpr(program.closed.jaxpr, constants, *flat),
            mesh=mesh,
            in_specs=(replicated, replicated, *[split] * (inputs - 2), replicated),
            out_specs=split,
            check_vma=False,
        )
    )
    constants = jax.device_put(program.closed.consts, NamedSharding(mesh, replicated))
    count = np.asarray(math.prod(program.tiling.tile), np.int32)

    def compute(blocks: list[int]) -> list[dict[str, np.ndarray]]:
        padded = [*blocks, *[blocks[-1]] * (len(devices) - len(blocks))]
        inputs = [jax.tree.leaves(_inputs(program, block)) for block in padded]
        joined = [np.concatenate(parts) for parts in zip(*inputs, strict=True)]
        results = jax.device_get(call(constants, program.root_data, *joined, count))
        return [_of_block(program, results, n) for n in range(len(blocks))]

    return compute


def _inputs(program: Program, block: int) -> PyTree:
    """Words and swept values of a block's points, as many as its program takes."""
    indices = program.tiling.indices(block)
    missing = program.width - len(indices[0])
    return program.grid.points([np.pad(at, (0, missing), mode="edge") for at in indices])


def _of_block(program: Program, results: Sequence[np.ndarray], number: int) -> dict:
    """The results of one block by name, shaped like its region."""
    tile, inside = program.tiling.tile, slice(0, math.prod(program.tiling.tile))
    return {
        name: flat[number * program.width :][inside].reshape(*tile, *flat.shape[1:])
        for name, flat in zip(sorted(program.outputs), results, strict=True)
    }


def _named(tree: PyTree) -> dict[str, Array]:
    """What a run returns, by name: the path of each leaf, "result" for a single array."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "result"
        if is_key(leaf):
            raise ValueError(f"sweep: result {name!r} is a key; return jax.random.key_data(it).")
        named[name] = jnp.asarray(leaf)
    if not named:
        raise ValueError("sweep: the run returns no arrays; return a dict of small arrays.")
    return named
