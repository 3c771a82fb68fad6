"""The chopper: signs c that flip now and then, eq. (17) of arXiv 2602.21321.

A chopper multiplies what enters an array by c and what leaves it by c again. The signal comes out
as it went in, while the array's own offset comes out with alternating sign: a filter can then tell
the two apart. Three kinds:

  scalar     one sign for everything, c -> -c with probability p per step (the paper's eq. 17)
  random     a sign for each crossbar column, each flipped independently with probability p per step
  periodic   a sign for each crossbar column, flipped every max(ceil(1/p), 2) steps, column j ahead
             of column j - 1 by one step (released experiments: flips follow the column reads)

"relaxed_scalar", "relaxed_random" and "relaxed_periodic" flip at real times instead of between two
steps, so that a loss has a derivative in p: `sptrack/transforms/flip_clock.py`. Gaps between flips
are drawn with the p of their beginning, the first one by `init`, which must be inside of what is
differentiated. Where W is written through a `DigitalBuffer`, whose pulses are whole numbers, its
part of the derivative is zero like that of any rate.

For a weight of shape (..., inputs, outputs) column signs have shape (..., inputs, 1).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sptrack._random import as_key, leaf_keys, purpose_key
from sptrack._typing import Array, Key, PyTree, ScalarOrSchedule, check_rate
from sptrack.pulses import Factors, is_factors
from sptrack.transforms.arrays import ArrayState
from sptrack.transforms.flip_clock import RELAXED, init_clocks, mean_signs, tick_all
from sptrack.transforms.lines import num_columns

_KINDS = ("scalar", "random", "periodic")
CHOPPERS = (*_KINDS, *(RELAXED + kind for kind in _KINDS))


class ChopState(NamedTuple):
    """State of `chop`: step count, key, present signs, and the state of what is chopped.

    With a relaxed chopper signs are means over a step, and `clocks` knows when the next flips are.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spt.chop(0.1, key=jax.random.key(0)).init({"w": jnp.zeros((2, 3))}).sign
      {'w': Array(1., dtype=float32)}
    """

    count: Array
    key: Key
    sign: PyTree
    inner_state: PyTree
    clocks: PyTree | None = None

    def arrays(self) -> dict[str, ArrayState]:
        """None: those of what is chopped are found in `inner_state`."""
        return {}

    def digital(self) -> dict[str, PyTree]:
        """c, as "chopper"."""
        return {"chopper": self.sign}


def chop(
    chop_prob: ScalarOrSchedule,
    inner: optax.GradientTransformation | None = None,
    *,
    key: Key,
    chopper: str = "scalar",
) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by c, runs `inner` on them, and multiplies what comes out by c again.

    The first sign is +1. The sign of the next step is drawn at the end of this one. Without `inner`
    it only modulates, u -> c u.

    Args:
      chop_prob: flip probability p per step, in [0, 1]; number or schedule.
      inner: the chopped part, e.g. a chain that ends in `apply_device(..., emit="read")`.
      key: a JAX random key.
      chopper: "scalar", "random" or "periodic"; "relaxed_scalar", "relaxed_random" or
        "relaxed_periodic" for derivatives in p. See the module's docstring.

    Returns:
      An optax gradient transformation.

    Raises:
      TypeError: if `key` is no key.
      ValueError: if `chop_prob` is out of range or `chopper` unknown.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.chop(1.0, key=jax.random.key(0))
      >>> state = tx.init(jnp.zeros(2))
      >>> for _ in range(3):
      ...     updates, state = tx.update(jnp.ones(2), state)
      ...     print(updates)
      [1. 1.]
      [-1. -1.]
      [1. 1.]
    """
    check_chopper(chopper)
    check_rate("chop", "chop_prob", chop_prob, high=1.0)
    root = as_key(key)
    chopped = optax.with_extra_args_support(inner or optax.identity())
    demodulates = inner is not None

    def init(params) -> Any:
        sign, clocks = init_chopper(root, params, chop_prob, chopper)
        return ChopState(jnp.zeros([], jnp.int32), root, sign, chopped.init(params), clocks)

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        signal = modulate(state.sign, updates)
        signal, inner_state = chopped.update(signal, state.inner_state, params, **extra_args)
        if demodulates:
            signal = modulate(state.sign, signal)
        probability = value_at(chop_prob, state.count)
        step_key = jax.random.fold_in(state.key, state.count)
        if state.clocks is None:
            flips = draw_flips(step_key, state.sign, state.count, probability, chopper)
            clocks, sign = None, jax.tree.map(flip, state.sign, flips)
        else:
            clocks = tick_all(step_key, state.clocks, probability, kind_of(chopper))
            sign = mean_signs(clocks)
        return signal, ChopState(state.count + 1, state.key, sign, inner_state, clocks)

    return optax.GradientTransformationExtraArgs(init, update)


def init_chopper(
    key: Key,
    params: PyTree,
    chop_prob: ScalarOrSchedule,
    chopper: str,
    *,
    rows: bool = False,
    staggered: bool = True,
) -> tuple[PyTree, PyTree | None]:
    """The first c of every weight, and the clocks of a relaxed chopper, or None.

    Args:
      key: the chopper's key, which no step has.
      params: the weights.
      chop_prob: p, or its schedule.
      chopper: one of `CHOPPERS`.
      rows: whether there is a sign per row instead of one per column.
      staggered: whether periodic flips of columns follow each other by one step.
    """
    kind = kind_of(chopper)
    signs = init_sign(params, kind, rows=rows)
    if kind == chopper:
        return signs, None
    probability = value_at(chop_prob, jnp.zeros([], jnp.int32))
    clocks = init_clocks(key, signs, probability, kind, staggered=staggered)
    return mean_signs(clocks), clocks


def init_sign(params: PyTree, chopper: str, *, rows: bool = False) -> PyTree:
    """Signs +1: a tree like `params`, scalars for "scalar", else one per column (or row)."""
    return jax.tree.map(
        lambda x: jnp.ones(() if chopper == "scalar" else _sign_shape(x, rows), x.dtype), params
    )


def modulate(sign: PyTree, updates: PyTree) -> PyTree:
    """c * u, leaf by leaf; of `Factors` the lines that the signs belong to are multiplied."""
    return jax.tree.map(_times, sign, updates)


def _times(sign: Array, update: Any) -> Any:
    """sign * update, for one weight."""
    if not is_factors(update):
        return sign * update
    x, d, scale = update
    if sign.size == 1:
        return Factors(sign.reshape(()) * x, d, scale)
    if sign.shape[-1] == 1:  # one per column
        shape = x.shape[1:]
        return Factors(sign.reshape(1, *shape) * x, d, scale)
    return Factors(x, sign.reshape(1, -1) * d, scale)


def flip(sign: Array, flips: Array) -> Array:
    """-c where `flips`, else c."""
    return jnp.where(flips, -sign, sign)


def draw_flips(key: Key, tree: PyTree, count: Array, probability: Array, chopper: str) -> PyTree:
    """Which signs flip at the end of step `count`: booleans shaped like the signs of `tree`.

    Args:
      key: this step's key.
      tree: tree of arrays shaped like the weights, or like their signs.
      count: number of steps before this one.
      probability: p in [0, 1].
      chopper: "scalar", "random" or "periodic".

    Returns:
      A tree like `tree` of booleans; for "scalar" the same one in every leaf.
    """
    if chopper == "scalar":
        flips = jax.random.bernoulli(purpose_key(key, "chopper"), probability)
        return jax.tree.map(lambda _: flips, tree)
    leaves, treedef = jax.tree.flatten(tree)
    if chopper == "random":
        drawn = [
            jax.random.bernoulli(purpose_key(k, "chopper"), probability, _sign_shape(x))
            for k, x in zip(leaf_keys(key, tree), leaves, strict=True)
        ]
        return treedef.unflatten(drawn)
    period = chopper_period(probability)
    return treedef.unflatten(
        [
            ((count + 1 + jnp.arange(num_columns(x))) % period == 0).reshape(_sign_shape(x))
            for x in leaves
        ]
    )


def chopper_period(probability: Array) -> Array:
    """Steps between two flips of a periodic chopper, max(ceil(1/p), 2); never for p = 0.

    A 1/p within rounding of an integer is that integer: 1/61 in single precision is less than it.
    """
    never = jnp.iinfo(jnp.int32).max
    probability = jnp.asarray(probability, jnp.result_type(probability, float))
    inverse = 1 / jnp.maximum(probability, 1e-9)
    rounded = jnp.round(inverse)
    is_integer = jnp.abs(inverse - rounded) <= 4 * jnp.finfo(inverse.dtype).eps * inverse
    period = jnp.maximum(jnp.where(is_integer, rounded, jnp.ceil(inverse)), 2).astype(jnp.int32)
    return jnp.where(probability > 0, period, never)


def kind_of(chopper: str) -> str:
    """What a chopper is, relaxed or not: "scalar", "random" or "periodic"."""
    return chopper.removeprefix(RELAXED)


def check_chopper(chopper: str) -> None:
    """Raises ValueError unless `chopper` is one of `CHOPPERS`."""
    if chopper not in CHOPPERS:
        raise ValueError(f"chopper must be one of {CHOPPERS}, got {chopper!r}.")


def value_at(value: ScalarOrSchedule, count: Array) -> Array:
    """A number as it is, a schedule at `count`."""
    return jnp.asarray(value(count) if callable(value) else value)


def _sign_shape(x: Array, rows: bool = False) -> tuple[int, ...]:
    """Shape of one sign per column, or per row, that broadcasts against `x`."""
    if x.ndim == 0:
        return ()
    return (1,) * (x.ndim - 1) + x.shape[-1:] if rows else (*x.shape[:-1], 1)
