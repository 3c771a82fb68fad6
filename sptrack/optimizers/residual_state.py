"""The state that all residual-training optimizers share, and what can be asked of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array, Key, PyTree
from sptrack.transforms.arrays import ArrayState, read
from sptrack.transforms.chop import modulate

_SHARED = ("count", "key", "gamma", "calibration_pulses")  # fields that are no trees of weights


class ResidualState(NamedTuple):
    """State of a residual-training optimizer; trees have the structure of the parameters.

    Attributes:
      count: steps done.
      key: root of this optimizer's random streams.
      residual: the residual array P.
      weight: the main array W.
      tracked_sp: Q, the filtered reads of P; None without tracking.
      held_sp: Q~ (synchronised at flips), or the static reference.
      chopper: signs c; None without a chopper.
      buffer: H, the digital buffer in front of W; None in whole-matrix updates.
      demodulated: d = c (P - R) as the model sees it; of each column's last read with a
        `ColumnTransfer`.
      gamma: weight of d in what the model sees; scalar.
      calibration_pulses: pulses per cell spent on finding the reference; scalar.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.rider(0.1, residual_spec=spt.IdealStep(), weight_spec=spt.IdealStep(),
      ...                transfer_rate=0.01, key=jax.random.key(0))
      >>> tx.init(jnp.zeros(2)).tracked_sp
      Array([0., 0.], dtype=float32)
    """

    count: Array
    key: Key
    residual: ArrayState
    weight: ArrayState
    tracked_sp: PyTree | None
    held_sp: PyTree
    chopper: PyTree | None
    buffer: PyTree | None
    demodulated: PyTree
    gamma: Array
    calibration_pulses: Array


class Rates(NamedTuple):
    """The numbers of one step, schedules evaluated; None where an algorithm has no such part."""

    alpha: Any
    beta: Any
    gamma: Any
    eta: Any
    p: Any


def chopped(state: ResidualState, tree: PyTree) -> PyTree:
    """c * tree; the tree itself without a chopper."""
    return tree if state.chopper is None else modulate(state.chopper, tree)


def reference_of(state: ResidualState, name: str) -> PyTree:
    """The reference R by name, "tracked_sp" or "held_sp"."""
    return state.tracked_sp if name == "tracked_sp" else state.held_sp


def residual_of(state: ResidualState, reference: str) -> PyTree:
    """P - R as reads show it."""
    return jax.tree.map(jnp.subtract, read(state.residual), reference_of(state, reference))


def effective_weights(state: ResidualState) -> PyTree:
    """W_bar = W + gamma d: what the model sees."""
    return jax.tree.map(
        lambda w, d: w + state.gamma.astype(w.dtype) * d, read(state.weight), state.demodulated
    )


def split_matrices(state: ResidualState) -> list[ResidualState]:
    """One state per leaf of the parameters, each with plain arrays where there were trees."""
    treedef = jax.tree.structure(state.weight.hidden)

    def leaves(tree):
        if tree is None:
            return [None] * treedef.num_leaves
        if isinstance(tree, ArrayState):
            return [ArrayState(*fields) for fields in zip(*map(leaves, tree), strict=True)]
        return treedef.flatten_up_to(tree)

    shared = {name: getattr(state, name) for name in _SHARED}
    trees = {name: tree for name, tree in state._asdict().items() if name not in shared}
    columns = zip(*map(leaves, trees.values()), strict=True)
    return [ResidualState(**shared, **dict(zip(trees, one, strict=True))) for one in columns]


def join_matrices(state: ResidualState, matrices: list[ResidualState]) -> ResidualState:
    """The inverse of `split_matrices`; `state` gives the structure and the shared fields."""
    treedef = jax.tree.structure(state.weight.hidden)

    def tree(old, new):
        if old is None:
            return None
        if isinstance(old, ArrayState):
            return ArrayState(
                *(tree(*pair) for pair in zip(old, zip(*new, strict=True), strict=True))
            )
        return treedef.unflatten(new)

    return state._replace(
        **{
            name: tree(old, [getattr(one, name) for one in matrices])
            for name, old in state._asdict().items()
            if name not in _SHARED
        }
    )
