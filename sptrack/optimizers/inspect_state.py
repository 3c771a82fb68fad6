"""What can be read off an optimizer's state, however it is wrapped by optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sptrack._typing import Array, PyTree
from sptrack.transforms.analog_state import AnalogState
from sptrack.transforms.arrays import ArrayState, array_symmetric_points, read
from sptrack.transforms.counting import PulseCounter, total_pulses


def read_arrays(state: Any) -> dict[str, PyTree]:
    """All arrays of an optimizer by name, as noise-free reads show them.

    Names: "weight" (W), "residual" (P), "tracked_sp" (Q), "held_sp" (Q~ or the static reference),
    "buffer" (H), "chopper" (c); those that the algorithm has. Arrays between W and the one that
    sees gradients, and what belongs to them, are "residual_1", "tracked_sp_1" and so on. Use
    `optax.tree.set` to put a value back, e.g. `optax.tree.set(state, tracked_sp=new_tree)`. A chain
    of links has the names of its links.

    Args:
      state: state of an optimizer of sptrack, also inside `optax.chain`, `masked`, `partition`,
        `MultiSteps` or `inject_hyperparams`.

    Returns:
      A dict from name to a tree with the structure of the parameters (leaves that belong to no
      analog optimizer are `optax.MaskedNode`).

    Raises:
      ValueError: if there is no analog optimizer in the state, or two for one parameter.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.analog_sgd(0.1, weight_spec=spt.IdealStep(), key=jax.random.key(0))
      >>> spt.read_arrays(tx.init({"w": jnp.ones(2)}))
      {'weight': {'w': Array([1., 1.], dtype=float32)}}
    """
    return merged(
        [
            {name: read(array) for name, array in one.arrays().items()} | one.digital()
            for one in analog_states(state)
        ]
    )


def eval_params(state: Any, params: PyTree, *, residual: bool = True) -> PyTree:
    """The parameters that the model is evaluated with, read off the arrays.

    With the residual, W + gamma c (P - R): what the forward pass uses, and what `params` are after
    every update (they may differ before the first one, where initial weights were clipped to an
    array's bounds). Without it, W alone: what is left if the residual array is given away.

    Args:
      state: state of an optimizer of sptrack, wrapped or not.
      params: the parameters, for all leaves that have no array.
      residual: whether the residual belongs to the model.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: if there is no main array in the state, or two for one parameter.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(tau_max=0.5)
      >>> tx = spt.analog_sgd(0.1, weight_spec=spec, key=jax.random.key(0))
      >>> params = jnp.array([0.2, 0.8])
      >>> print(spt.eval_params(tx.init(params), params))
      [0.2 0.5]
    """

    def weights(one: Any):
        if hasattr(one, "effective_weights"):
            return {"weight": one.effective_weights(residual)}
        return {"weight": read(one.arrays()["weight"])}

    main = [one for one in analog_states(state) if "weight" in one.arrays()]
    if not main:
        raise ValueError("there is no main array in this state; end with spt.apply_device(spec).")
    effective = merged([weights(one) for one in main])["weight"]
    return jax.tree.map(lambda w, p: p if is_masked(w) else w, effective, params, is_leaf=is_masked)


def pulse_counts(state: Any) -> dict[str, PyTree]:
    """Pulses sent to each cell, up and down together, by purpose.

    "calibration": zero-shifting of the residual array. "training": gradient pulses, on the array
    that sees gradients. "transfer": pulses on W of the algorithms that transfer to it. Attempted
    pulses are counted, on saturated and stuck cells too, modulo 2^32 per cell; with method "mean"
    expected numbers. Programming of initial weights isn't counted. `spt.pulse_details` has more.

    Args:
      state: state of an optimizer of sptrack, wrapped or not.

    Returns:
      A dict from purpose to a tree of counts with the structure of the parameters.

    Raises:
      ValueError: if there is no analog optimizer in the state, two for one parameter, or one with
        count="none".

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01)
      >>> tx = spt.analog_sgd(0.1, weight_spec=spec, key=jax.random.key(0))
      >>> params = jnp.zeros(2)
      >>> _, state = tx.update(jnp.ones(2), tx.init(params), params)  # 10 pulses of 0.01
      >>> print(spt.pulse_counts(state)["training"])
      [10 10]
    """

    def totals(array: ArrayState):
        return jax.tree.map(total_pulses, counters_of(array), is_leaf=_is_counter)

    training, transfer = pulses_by_purpose(state, totals)
    return {
        "calibration": calibration_pulses(state, training, jnp.full_like),
        "training": training,
        "transfer": transfer,
    }


def pulses_by_purpose(state: Any, of_array: Callable) -> tuple[PyTree, PyTree]:
    """Trees of what was counted of gradient pulses and of transfer pulses.

    Args:
      state: state of an optimizer, wrapped or not.
      of_array: (array) -> what was counted on it, a tree like the parameters whose leaves have +
        and can be multiplied by 0.

    Returns:
      (training, transfer): of the last array, that sees gradients, and the sum over all others.
    """
    states = analog_states(state)
    found = merged([{k: of_array(a) for k, a in one.arrays().items()} for one in states])
    # W first, what sees gradients last: in a chain W comes last, and states of other parameters
    # may have had fewer arrays
    places = {"weight": 0, "residual": 2}
    trees = [found[name] for name in sorted(found, key=lambda name: places.get(name, 1))]
    if not trees:
        raise ValueError("there is no array in this state, only digital parts of an optimizer.")

    def of_cells(count):
        """`count` of what is on all arrays of a parameter, W's first; masked where none are."""

        def at_leaf(*pulses):
            present = [x for x in pulses if not is_masked(x)]
            return count(present) if present else optax.MaskedNode()

        return jax.tree.map(at_leaf, *trees, is_leaf=is_masked)

    return (
        of_cells(lambda pulses: pulses[-1]),
        of_cells(lambda pulses: sum(pulses[:-1], 0 * pulses[-1])),
    )


def counters_of(array: ArrayState) -> PyTree:
    """The array's counters of pulses, or an error if it has none."""
    if array.pulses is None:
        raise ValueError("pulses aren't counted: make the optimizer with count='total'.")
    return array.pulses


def calibration_pulses(state: Any, like: PyTree, full_like: Callable) -> PyTree:
    """Pulses before training, a tree like `like`: `full_like(leaf, pulses)`, 0 without any."""
    zeros = jax.tree.map(lambda leaf: full_like(leaf, 0), like)
    parts = [
        jax.tree.map(
            lambda _, one=one: one.calibration_pulses, list(one.arrays().values())[-1].hidden
        )
        for one in analog_states(state)
        if hasattr(one, "calibration_pulses")
    ]
    for part in parts:
        zeros = jax.tree.map(
            lambda a, b: a if is_masked(b) or is_masked(a) else full_like(a, b),
            zeros,
            part,
            is_leaf=is_masked,
        )
    return zeros


def residual_symmetric_points(state: Any) -> PyTree:
    """True symmetric points of the array whose symmetric point an algorithm tracks or is given.

    What `read_arrays(state)["tracked_sp"]` and `["held_sp"]` are to be compared with. Cells without
    pulses can't be tracked: compare where `pulse_counts(state)["training"]` is not zero.

    Args:
      state: state of a residual-training optimizer of sptrack or of `spt.mixed_precision` (whose
        array is W), wrapped or not.

    Returns:
      A tree with the structure of the parameters; NaN where a cell has no symmetric point.

    Raises:
      ValueError: if there is no optimizer with a reference in the state.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(center_mean=0.25)
      >>> tx = spt.rider(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.01,
      ...                key=jax.random.key(0))
      >>> print(spt.optimizers.residual_symmetric_points(tx.init(jnp.zeros(2))))
      [0.25 0.25]
    """
    parts = [
        {"symmetric point": array_symmetric_points(list(one.arrays().values())[-1])}
        for one in analog_states(state)
        if "residual" in one.arrays() or "held_sp" in one.digital()
    ]
    if not parts:
        raise ValueError(
            "no optimizer in this state has a reference for symmetric points; analog_sgd has none."
        )
    return merged(parts)["symmetric point"]


def analog_states(state: Any) -> list[Any]:
    """All states of links and optimizers of sptrack in `state`; an error if there are none."""
    found = _find(state)
    if not found:
        raise ValueError(
            "there is no state of an sptrack optimizer in here; pass the state that tx.init or "
            f"tx.update returned, got {type(state).__name__}."
        )
    return found


def _find(state: Any) -> list[Any]:
    """All analog states in `state`, those inside of others included."""

    def is_analog(x):
        return isinstance(x, AnalogState)

    found = [x for x in jax.tree.leaves(state, is_leaf=is_analog) if is_analog(x)]
    inner = [x.inner_state for x in found if hasattr(x, "inner_state")]
    return found + (_find(inner) if inner else [])


def _is_counter(x: Any) -> bool:
    return isinstance(x, PulseCounter)


def is_masked(x: Any) -> bool:
    """Whether this is optax's mark of a parameter that belongs to another transformation."""
    return isinstance(x, optax.MaskedNode)


def merged(parts: list[dict[str, PyTree]]) -> dict[str, PyTree]:
    """Puts together what several optimizers hold for different leaves of one parameter tree."""
    merged = dict(parts[0])
    for part in parts[1:]:
        for name, tree in part.items():
            merged[name] = _overlay(name, merged[name], tree) if name in merged else tree
    return merged


def _overlay(name: str, first: PyTree, second: PyTree) -> PyTree:
    def pick(a: Array, b: Array):
        if not is_masked(a) and not is_masked(b):
            raise ValueError(
                f"two parts of the state hold {name!r} of the same parameter; look at their states "
                "one by one, e.g. with optax.tree.get_all_with_path."
            )
        return b if is_masked(a) else a

    return jax.tree.map(pick, first, second, is_leaf=is_masked)
