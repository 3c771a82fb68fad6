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
      out_chopper: signs of the output chopper; None without.
      buffer: H, the digital buffer in front of W; None without.
      demodulated: d = c (P - R) as the model sees it, live or of each line's last read; None where
        gamma is known to be zero.
      gamma: weight of d in what the model sees; scalar.
      calibration_pulses: pulses per cell spent on finding the reference; scalar.
      programming: how often Q~ was rewritten, if pulses are counted in detail; else None.
      flip_clocks: when a relaxed chopper flips next; else None.

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
    out_chopper: PyTree | None
    buffer: PyTree | None
    demodulated: PyTree | None
    gamma: Array
    calibration_pulses: Array
    programming: PyTree | None = None
    flip_clocks: PyTree | None = None

    def arrays(self) -> dict[str, ArrayState]:
        """W as "weight" and P as "residual"."""
        return {"weight": self.weight, "residual": self.residual}

    def digital(self) -> dict[str, PyTree]:
        """Q, Q~, H and the choppers, those that there are."""
        names = ("tracked_sp", "held_sp", "buffer", "chopper", "out_chopper")
        named = {name: getattr(self, name) for name in names}
        return {name: tree for name, tree in named.items() if tree is not None}

    def effective_weights(self, residual: bool = True) -> PyTree:
        """W_bar = W + gamma d, what the model sees; W alone without the residual."""
        if not residual or self.demodulated is None:
            return read(self.weight)
        return jax.tree.map(
            lambda w, d: w + self.gamma.astype(w.dtype) * d, read(self.weight), self.demodulated
        )


class Rates(NamedTuple):
    """The numbers of one step, schedules evaluated; None where an algorithm has no such part."""

    alpha: Any
    beta: Any
    gamma: Any
    eta: Any = None
    p: Any = None
    p_out: Any = None


def chopped(state: ResidualState, tree: PyTree) -> PyTree:
    """c * tree, with both choppers; the tree itself without one."""
    for sign in (state.chopper, state.out_chopper):
        tree = tree if sign is None else modulate(sign, tree)
    return tree


def reference_of(state: ResidualState, name: str) -> PyTree:
    """The reference R by name, "tracked_sp" or "held_sp"."""
    return state.tracked_sp if name == "tracked_sp" else state.held_sp


def residual_of(state: ResidualState, reference: str) -> PyTree:
    """P - R as reads show it."""
    return jax.tree.map(jnp.subtract, read(state.residual), reference_of(state, reference))


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
