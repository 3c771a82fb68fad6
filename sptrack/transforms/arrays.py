"""The state of an analog array under training, for a whole tree of weights.

Leaves of the tree are weight matrices in the layout of flax kernels, (..., inputs, outputs): the
last axis are outputs, the crossbar's *rows*; all others together are input lines, its *columns*.
Each leaf has a device, random streams and pulse counters of its own; its streams depend on its path
in the tree and on nothing else there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import leaf_keys, purpose_key
from sptrack._typing import Key, PyTree
from sptrack.devices.compound import combine, program
from sptrack.devices.device import sample_device, symmetric_point
from sptrack.devices.retention import is_relaxing, relax, start_clock
from sptrack.pulses import (
    PulseTrain,
    Tally,
    apply_counted,
    counted_coincidence_update,
    is_factors,
    show,
    show_written,
    shows_hidden,
    tallied_update,
    tally_of,
    unscaled,
)
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.counting import PulseCounter, count_pulses, init_counter


class ArrayState(NamedTuple):
    """An analog array; every field has the tree structure of the parameters.

    Attributes:
      device: the sampled devices.
      hidden: hidden weights, on which pulses act; an axis of parts in front where cells are made of
        several devices.
      shown: what reads show of them, or None where that is hidden itself, without write noise.
      pulses: pulses sent to each cell so far, up and down together: uint32, or the expected number
        in floating point if the method is "mean". A `PulseCounter` per weight if they are counted
        in detail; None if they aren't.
      clock: where the drift of the cells stands; None for devices without drift.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> state = spt.transforms.init_array(jax.random.key(0), spt.IdealStep(), jnp.ones((2, 3)))
      >>> print(spt.transforms.read(state))
      [[1. 1. 1.]
       [1. 1. 1.]]
    """

    device: PyTree
    hidden: PyTree
    shown: PyTree | None
    pulses: PyTree | None
    clock: PyTree | None = None


def init_array(
    key: Key, spec: Any, start: PyTree, *, method: str = "aggregate", count: str = "total"
) -> ArrayState:
    """Samples a device per leaf and programs the weights to `start`, clipped to the bounds.

    Programming is ideal up to the write noise, and its pulses aren't counted.

    Args:
      key: a JAX random key.
      spec: what devices are sampled from.
      start: tree of floating arrays.
      method: as in `spt.analog_update`; decides only how pulses will be counted.
      count: "total", "detailed" or "none": what will be counted.

    Returns:
      The `ArrayState`.

    Raises:
      TypeError: if a leaf of `start` is not floating.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> start = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
      >>> state = spt.transforms.init_array(jax.random.key(0), spt.SoftBounds(), start)
      >>> sorted(state.device)
      ['a', 'b']
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(start):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise TypeError(
                f"analog weights must be floating, but params{jax.tree_util.keystr(path)} has "
                f"dtype {jnp.asarray(leaf).dtype}; leave it out with optax.partition."
            )
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, start))
    keys = leaf_keys(key, start)
    devices = [
        sample_device(k, spec, leaf.shape, dtype=leaf.dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    hidden = [program(device, leaf) for device, leaf in zip(devices, leaves, strict=True)]
    pulses = [init_counter(leaf, method, count) for leaf in leaves]
    state = ArrayState(
        device=treedef.unflatten(devices),
        hidden=treedef.unflatten(hidden),
        shown=None,
        pulses=_tree_or_none(treedef, pulses),
        clock=_tree_or_none(treedef, map(start_clock, devices, hidden)),
    )
    return show_array(key, state)


def show_array(key: Key, state: ArrayState) -> ArrayState:
    """Redraws the write noise of all cells, as if every cell had just been written.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> key, spec = jax.random.key(0), spt.presets.reram_array_om()
      >>> state = spt.transforms.init_array(key, spec, jnp.zeros(3))
      >>> again = spt.transforms.show_array(jax.random.key(1), state)
      >>> print(bool((again.shown != state.shown).all()))
      True
    """
    hidden, treedef = jax.tree.flatten(state.hidden)
    devices = treedef.flatten_up_to(state.device)
    if all(map(shows_hidden, devices)):
        return state._replace(shown=None)
    keys = leaf_keys(key, state.hidden)
    shown = [show(k, device, w) for k, device, w in zip(keys, devices, hidden, strict=True)]
    return state._replace(shown=treedef.unflatten(shown))


def read(state: ArrayState) -> PyTree:
    """What a noise-free read shows: the hidden weights with the noise of their last writes.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> state = spt.transforms.init_array(jax.random.key(0), spt.IdealStep(), jnp.array([0.5]))
      >>> print(spt.transforms.read(state))
      [0.5]
    """
    return state.hidden if state.shown is None else state.shown


def array_symmetric_points(state: ArrayState) -> PyTree:
    """The true symmetric points of all cells, as a tree like the weights.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(center_mean=0.25)
      >>> state = spt.transforms.init_array(jax.random.key(0), spec, {"w": jnp.zeros(2)})
      >>> print(spt.transforms.array_symmetric_points(state))
      {'w': Array([0.25, 0.25], dtype=float32)}
    """
    return jax.tree.map(lambda _, device: symmetric_point(device), state.hidden, state.device)


def write(
    key: Key,
    state: ArrayState,
    increments: PyTree,
    *,
    method: str,
    train: PulseTrain = DEFAULT_TRAIN,
) -> ArrayState:
    """Changes every cell by an analog update and counts its pulses.

    An increment that is an array is rounded to pulses cell by cell (`spt.analog_update`); one that
    is `spt.Factors`, whose contraction is the wanted change, comes as pulse trains on the lines
    (`spt.coincidence_update`).

    Args:
      key: a JAX random key; this write's own.
      state: the array.
      increments: tree like the weights, wanted changes in weight units; with `Factors` anywhere.
      method: "exact", "aggregate" or "mean".
      train: how factors become coincidences.

    Returns:
      The array after the write.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> state = spt.transforms.init_array(jax.random.key(0), spt.IdealStep(), jnp.zeros((1, 2)))
      >>> key, factors = jax.random.key(1), spt.Factors(jnp.ones((1, 1)), jnp.array([[0.1, -0.2]]))
      >>> for increments in (jnp.array([[0.1, -0.2]]), factors):
      ...     print(spt.transforms.write(key, state, increments, method="exact").hidden)
      [[ 0.1 -0.2]]
      [[ 0.1 -0.2]]
    """

    def act(k, device, w, change, **options):
        if not is_factors(change):
            return *tallied_update(k, device, w, change.astype(w.dtype), **options), None
        x, d, scale = unscaled(change)
        new, up, down, *moved, report = counted_coincidence_update(
            k, device, w, x, d, -scale, train=train, **options
        )
        return new, Tally(up, down, *moved), report

    return _written(key, state, increments, act, method)


def write_pulses(key: Key, state: ArrayState, counts: PyTree, *, method: str) -> ArrayState:
    """Sends whole numbers of pulses to every cell (`spt.apply_pulses`) and counts them.

    Args:
      key: a JAX random key; this write's own.
      state: the array.
      counts: tree like the weights: signed whole numbers, integer or floating; positive ones raise
        a weight, and NaN makes it NaN.
      method: "exact", "aggregate" or "mean".

    Returns:
      The array after the write.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.1)
      >>> state = spt.transforms.init_array(jax.random.key(0), spec, jnp.zeros(2))
      >>> state = spt.transforms.write_pulses(
      ...     jax.random.key(1), state, jnp.array([2, -1]), method="exact")
      >>> print(state.hidden.round(3), state.pulses)
      [ 0.19 -0.1 ] [2 1]
    """

    def act(k, device, w, n, **options):
        pulses = jnp.where(jnp.isnan(n), 0, n).astype(jnp.int32)
        new, moved = apply_counted(k, device, w, pulses, **options)
        lost = jnp.broadcast_to(jnp.isnan(n), w.shape)
        new = jnp.where(lost, jnp.nan, new).astype(w.dtype)
        return new, tally_of(pulses, moved), None

    return _written(key, state, counts, act, method)


def _written(
    key: Key, state: ArrayState, changes: PyTree, act: Callable, method: str
) -> ArrayState:
    """Every leaf after `act`, shown and counted.

    act: (key, device, hidden, change, method=, count_moved=) -> (hidden, `Tally`, `Saturation` or
    None).
    """
    hidden, treedef = jax.tree.flatten(state.hidden)
    devices = treedef.flatten_up_to(state.device)
    wanted = treedef.flatten_up_to(changes)
    shown = treedef.flatten_up_to(read(state))
    pulses = [None] * len(hidden) if state.pulses is None else treedef.flatten_up_to(state.pulses)
    for index, k in enumerate(leaf_keys(key, state.hidden)):
        hidden[index], tally, report = act(
            k,
            devices[index],
            hidden[index],
            wanted[index],
            method=method,
            count_moved=isinstance(pulses[index], PulseCounter),
        )
        sent = tally.up + tally.down
        shown[index] = show_written(k, devices[index], hidden[index], shown[index], sent)
        pulses[index] = count_pulses(pulses[index], tally, report)
    return state._replace(
        hidden=treedef.unflatten(hidden),
        shown=None if state.shown is None else treedef.unflatten(shown),
        pulses=_tree_or_none(treedef, pulses),
    )


def relax_array(key: Key, state: ArrayState, before: ArrayState) -> ArrayState:
    """What the time between two updates does to the cells: decay, diffusion, drift.

    For an algorithm to call once per update, after all of the update's pulses. What reads show
    moves with the hidden weights.

    Args:
      key: a JAX random key; this update's own.
      state: the array after the update's pulses.
      before: the array before them.

    Returns:
      The array at the next update; `state` itself, and nothing drawn, without retention.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.SoftBounds(lifetime=10.0)
      >>> state = spt.transforms.init_array(jax.random.key(0), spec, jnp.array([0.1, -0.2]))
      >>> print(spt.transforms.relax_array(jax.random.key(1), state, state).hidden)
      [ 0.09 -0.18]
    """
    hidden, treedef = jax.tree.flatten(state.hidden)
    devices = treedef.flatten_up_to(state.device)
    if not any(map(is_relaxing, devices)):
        return state
    clocks = [None] * len(hidden) if state.clock is None else treedef.flatten_up_to(state.clock)
    olds = treedef.flatten_up_to(before.hidden)
    keys = leaf_keys(purpose_key(key, "retention"), state.hidden)
    relaxed = [relax(*one) for one in zip(keys, devices, hidden, clocks, olds, strict=True)]
    new, clocks = zip(*relaxed, strict=True)
    shown = state.shown
    if shown is not None:
        pairs = zip(treedef.flatten_up_to(shown), devices, new, hidden, strict=True)
        shown = treedef.unflatten(
            [s + (combine(device, w) - combine(device, old)) for s, device, w, old in pairs]
        )
    clock = _tree_or_none(treedef, clocks)
    return state._replace(hidden=treedef.unflatten(new), shown=shown, clock=clock)


def _tree_or_none(treedef: Any, leaves: Any) -> PyTree | None:
    leaves = list(leaves)
    if leaves and all(leaf is None for leaf in leaves):
        return None
    return treedef.unflatten(leaves)
