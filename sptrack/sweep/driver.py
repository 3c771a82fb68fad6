"""`sweep`: what the user calls."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack import results
from sptrack._progress import bar
from sptrack._random import as_key
from sptrack._typing import Key, PyTree
from sptrack.sweep.axes import cut, parse
from sptrack.sweep.layout import Labels, divergence_rule, layout, result_dims
from sptrack.sweep.program import Program, compiled, trace
from sptrack.sweep.status import Rule, invalid_points, judge
from sptrack.sweep.store import IDENTITY, Memory, Store

if TYPE_CHECKING:
    import os

    import xarray

_MAX_REASONS = 1000  # reasons of invalid points kept in the dataset


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; what had finished is in `dataset`, and in the store if there is one.

    Example:
      >>> try:
      ...     raise spt.SweepInterrupted("sweep: interrupted", None)
      ... except KeyboardInterrupt as stop:
      ...     print(stop)
      sweep: interrupted
    """

    def __init__(self, message: str, dataset: Any):
        super().__init__(message)
        self.dataset = dataset


def sweep(
    run: Callable[..., PyTree],
    axes: Mapping[str, Any],
    key: Key,
    *,
    chunk: int | None = None,
    store: str | os.PathLike | None = None,
    mesh: jax.sharding.Mesh | None = None,
    resume: bool = True,
    paired: Sequence[str] = (),
    dims: Mapping[str, str | Sequence[str]] | None = None,
    units: Mapping[str, str] | None = None,
    coords: Mapping[str, Any] | None = None,
    step_dim: str | None = None,
    finite: Sequence[str] | None = None,
    validate: Callable[..., Any] | None = None,
    exact: bool = False,
    config: Mapping[str, Any] | None = None,
    progress: bool | str = False,
    shard: tuple[int, int] | None = None,
) -> xarray.Dataset:
    """Calls `run` at every point of the product of named axes, in blocks of one compiled program.

    Axes are `name: values` (numbers, passed to the run by that name), `name: n` (n repetitions that
    differ by their keys; nothing is passed), or `name: {argument: values, ...}` (arguments that
    change together: one axis, points numbered from 0).

    Keys: starting with `key`, the number of the point along every axis is folded in, in the order
    of the axes. An axis of integers numbers its points by their values (seed 7 is seed 7, whatever
    other seeds there are), other axes by position. So other points, chunks, devices and processes
    change nothing, and an axis can be extended at its end; one axis more makes other keys. Axes
    named in `paired` are left out: points along them share the key, and so the cells and the noise.

    Bits: every device computes blocks of `chunk` points with one program that doesn't depend on the
    number of devices or processes, so neither do the results. Blocks of another size are another
    program: pulses and calibration are elementwise and come out the same bits on a CPU, but the
    products of a batch of matrices may be rounded differently in a batch of another size.
    `exact=True` runs the members of a block one after the other: the same bits for every chunk,
    without the speed of batching.

    Args:
      run: (key, **swept) -> pytree of small arrays (results are named by path, "a.b"). It is traced
        once; swept values arrive as scalars of the default precision.
      axes: as above, at least one.
      key: root key.
      chunk: points computed at once on each device; it bounds memory, and is what a kill can lose.
        Blocks are rectangles of at most so many points. None: all points at once, divided between
        the devices.
      store: folder for a zarr group, e.g. "runs/study.zarr"; blocks are written as they finish.
        A manifest is put beside it, e.g. runs/study.manifest.json. None keeps results in memory.
      mesh: devices that share the blocks; of several processes each uses its own.
      resume: continue a store of the same sweep; False refuses any store that exists. A store of
        another sweep is always refused.
      paired: names of axes that leave the key alone (common random numbers).
      dims: result -> names of its dimensions, default NAME_0, NAME_1, ...
      units: result, axis or argument -> unit, default "1".
      coords: dimension of results -> values along it.
      step_dim: the dimension of results that counts steps, for `diverged_at`.
      finite: results that must be finite, else the point counts as diverged; default: all.
      validate: called before anything runs with the swept values of each point, as Python numbers;
        a ValueError marks the point as invalid. Building the spec there is usually enough. NaN
        values are invalid without it.
      exact: members of a block one by one.
      config: configuration for the manifest. Part of what makes two sweeps the same.
      progress: True or a title shows a bar over finished points if standard error is a terminal.
      shard: (index, count): do only this share of the blocks, for processes that don't know of each
        other. Default: what jax.distributed says.

    Returns:
      A dataset with the axes as first dimensions: the results, `status` (0 ok, 1 diverged, 2
      invalid, -1 not run) and, with `step_dim`, `diverged_at` (first step that is not finite, -1
      for none). Results of invalid points, or points not run, are NaN (0 for integers). From a
      store, values are read when they are used.

    Raises:
      ValueError: axes, labels or options don't fit, or no point is valid.
      FileExistsError: the store belongs to another sweep.
      OSError: the store can't be written; finished blocks stay.
      SweepInterrupted: Ctrl-C; finished blocks stay.
      ImportError: xarray or zarr is not installed.

    Example:
      >>> def run(key, gamma):
      ...     spec = spt.SoftBounds(dw_min=0.1)
      ...     device = spt.sample_device(key, spec, (3,))
      ...     return {"sp": gamma * spt.symmetric_point(device)}
      >>> ds = spt.sweep(run, {"instance": 4, "gamma": [0.5, 1.0]}, jax.random.key(0),
      ...                paired=("gamma",), dims={"sp": "cell"}, units={"sp": "weight"})
      >>> dict(ds.sizes), bool((ds.sp.sel(gamma=1.0) == 2 * ds.sp.sel(gamma=0.5)).all())
      ({'instance': 4, 'gamma': 2, 'cell': 3}, True)
    """
    key, config = as_key(key), dict(config or {})
    index, count = _share(shard)
    devices = _devices(mesh)
    if store is None and count > 1:
        raise ValueError(f"sweep: {count} processes need a store to put their results together.")
    grid = parse(axes, paired)
    invalid, reasons = invalid_points(grid, validate)
    if chunk is None:
        chunk = -(-math.prod(grid.shape) // (len(devices) * count))
    program = trace(run, grid, cut(grid.shape, chunk), key, exact)
    named = result_dims(program.outputs, dims or {})
    rule = divergence_rule(program.outputs, named, step_dim, finite)
    labels = Labels(named, units or {}, coords or {})
    empty = layout(grid, program.outputs, labels, rule)
    identity = _identity(program, labels, rule, invalid) | {"exact": exact, "config": config}
    empty.attrs |= {IDENTITY: results.canonical_json(identity)} | _why(reasons)
    if store is None:
        kept = Memory(empty, program.tiling)
    else:
        kept = Store(Path(store), empty, program.tiling, resume)
        _begin_manifest(kept.path, identity, config, key)
    mine = range(index, math.prod(program.tiling.counts), count)
    _work(program, kept, mine, devices, invalid, rule, progress if index == 0 else False)
    if shard is None and count > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("sweep finished")
    dataset = kept.dataset()
    if isinstance(kept, Store) and (index == 0 or shard is not None):
        _end_manifest(kept.path, dataset)
    return dataset


def _work(
    program: Program,
    kept: Memory | Store,
    blocks: Sequence[int],
    devices: Sequence[Any],
    invalid: np.ndarray,
    rule: Rule,
    progress: bool | str,
) -> None:
    """Computes and keeps the blocks that are not finished yet."""
    tiling = program.tiling
    waiting = [block for block in blocks if not kept.finished(block)]
    total = sum(map(tiling.points_in, blocks))
    finished = total - sum(map(tiling.points_in, waiting))
    if not waiting:
        return
    try:
        with bar(total, progress, finished=finished, unit="instance") as shown:
            compute = compiled(program, devices)
            for start in range(0, len(waiting), len(devices)):
                group = waiting[start : start + len(devices)]
                for block, values in zip(group, compute(group), strict=True):
                    inside, region = tiling.inside(block), tiling.region(block)
                    values = {name: array[inside] for name, array in values.items()}
                    values, report = judge(values, invalid[region], rule)
                    kept.write(block, values | report)
                    finished += tiling.points_in(block)
                    shown.update(tiling.points_in(block))
    except KeyboardInterrupt:
        raise SweepInterrupted(
            f"sweep: interrupted with {finished} of {total} instances finished, {kept.whereabouts}",
            kept.dataset(),
        ) from None


def _share(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Number of this process and of all processes."""
    if shard is None:
        return jax.process_index(), jax.process_count()
    try:
        index, count = (operator.index(n) for n in shard)
    except (TypeError, ValueError):
        index, count = 0, 0
    if not 0 <= index < count:
        raise ValueError(f"sweep: shard must be (index, count) with index < count, got {shard!r}.")
    return index, count


def _devices(mesh: jax.sharding.Mesh | None) -> list[Any]:
    """The devices of this process that take part; without a mesh, the default device."""
    if mesh is None:
        return list(jnp.zeros(()).devices())
    if not isinstance(mesh, jax.sharding.Mesh):
        raise TypeError(f"sweep: mesh must be a jax.sharding.Mesh, got {mesh!r}.")
    mine = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    if not mine:
        raise ValueError(f"sweep: process {jax.process_index()} has no device in {mesh}.")
    return mine


def _identity(program: Program, labels: Labels, rule: Rule, invalid: np.ndarray) -> dict[str, Any]:
    """All that decides about the bits of the results and about their names."""
    grid = program.grid
    return {
        "schema": 1,
        "axes": {
            axis.name: {"keyed": keyed, "labels": axis.labels, **axis.columns}
            for axis, keyed in zip(grid.axes, grid.keyed, strict=True)
        },
        "root_key": {"impl": program.impl, "data": program.root_data},
        "block": program.tiling.tile,
        "results": {
            name: {"dims": labels.dims[name], "shape": out.shape, "dtype": np.dtype(out.dtype).name}
            for name, out in program.outputs.items()
        },
        "units": labels.units,
        "coords": labels.coords,
        "divergence": rule,
        "invalid": invalid,
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "program": program.digest,
    }


def _why(reasons: Mapping[tuple[int, ...], str]) -> dict[str, str]:
    """The reasons of invalid points, as an attribute."""
    first = itertools.islice(reasons.items(), _MAX_REASONS)
    return {"invalid": json.dumps([[list(at), why] for at, why in first])} if reasons else {}


def _manifest_path(store: Path) -> Path:
    return store.with_name(f"{store.stem}.manifest.json")


def _begin_manifest(store: Path, identity: Mapping, config: Mapping, key: Key) -> None:
    """Writes the manifest beside a store that has none yet."""
    if not _manifest_path(store).exists():
        about = {name: value for name, value in identity.items() if name != "config"}
        manifest = results.manifest({**config, "sweep": about}, seed=key)
        results.save_manifest(manifest, _manifest_path(store))


def _end_manifest(store: Path, dataset: xarray.Dataset) -> None:
    """Adds how the sweep ended, once all its points have run."""
    manifest = json.loads(_manifest_path(store).read_text())
    counts = results.status_counts(dataset)
    if "ended" not in manifest and not counts["not_run"]:
        ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        about = {"ended": ended, "status": counts, "results_sha256": results.digest(dataset)}
        results.save_manifest(manifest | about, _manifest_path(store))
