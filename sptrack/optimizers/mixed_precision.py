"""Mixed precision: gradients add up in digital memory, arrays get whole pulses.

Nandakumar et al. 2020; aihwkit's MixedPrecisionCompound; with any optimizer in front and the
mapping centred at symmetric points as in Wu et al. 2026 (2609.36584).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sptrack._random import as_key, leaf_keys, purpose_key, uniform
from sptrack._typing import Array, Key, PyTree, ScalarOrSchedule, check_number, check_rate
from sptrack.devices.device import is_continuous
from sptrack.optimizers.column_transfer import ColumnTransfer, Visit, visit
from sptrack.optimizers.digital_buffer import DigitalBuffer, fill, pulses_of, release
from sptrack.optimizers.settings import check_kind
from sptrack.optimizers.starts import check_reference, move_to, reference_tree
from sptrack.pulses import Factors, contract, is_factors
from sptrack.pulses.apply import check_method
from sptrack.transforms.apply_device import check_spec, difference
from sptrack.transforms.arrays import (
    ArrayState,
    init_array,
    read,
    relax_array,
    write,
    write_pulses,
)
from sptrack.transforms.chop import value_at
from sptrack.transforms.counting import check_count

_MOST_PULSES = 2.0**20  # per write and cell; what is left stays in chi


class MixedPrecisionState(NamedTuple):
    """State of `spt.mixed_precision`; trees have the structure of the parameters.

    Attributes:
      count: steps done.
      key: root of this optimizer's random streams.
      weight: the array W.
      buffer: chi in units of what one release stands for, s granularity dw_min.
      held_sp: the reference R that the mapping is centred at.
      scale: s, one number per weight.
      inner_state: state of the optimizer in front.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.mixed_precision(0.1, weight_spec=spt.SoftBounds(), key=jax.random.key(0))
      >>> tx.init(jnp.zeros(2)).buffer
      Array([0., 0.], dtype=float32)
    """

    count: Array
    key: Key
    weight: ArrayState
    buffer: PyTree
    held_sp: PyTree
    scale: PyTree
    inner_state: PyTree

    def arrays(self) -> dict[str, ArrayState]:
        """W, as "weight"."""
        return {"weight": self.weight}

    def digital(self) -> dict[str, PyTree]:
        """R and chi."""
        return {"held_sp": self.held_sp, "buffer": self.buffer}

    def effective_weights(self, residual: bool = True) -> PyTree:
        """W_bar = s (W - R); there is no residual array."""
        del residual
        return jax.tree.map(
            lambda s, w, r: s * (w - r), self.scale, read(self.weight), self.held_sp
        )


def mixed_precision(
    learning_rate: ScalarOrSchedule,
    *,
    weight_spec: Any,
    optimizer: optax.GradientTransformation | None = None,
    granularity: Any = 1.0,
    scale: Any = 1.0,
    reference: str | PyTree = "zero",
    x_bins: int | None = None,
    d_bins: int | None = None,
    transfer: ColumnTransfer | None = None,
    key: Key,
    method: str = "aggregate",
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Mixed precision: a digital chi collects updates; where it holds whole pulses, they are fired.

        chi <- chi + alpha u                                  (M1)   u = -g, or the optimizer's
        n = trunc(chi / e),   chi <- chi - n e                (M2)   e = s granularity dw_min
        granularity n pulses on W                             (M3)
        W_bar = s (W - R)                                     (M4)   what the model sees

    With R = the symmetric points ("true", or an estimate) cells are symmetric about the weight
    zero, and s makes their range the weights' own. With `transfer` only some lines of chi are
    looked at per step, rows in aihwkit (n_rows_per_transfer). On `IdealStep()` chi is written to
    the end (n isn't rounded), which is the optimizer itself.

    `spt.Factors` are multiplied out in digital arithmetic, as the algorithm has it. x_bins and
    d_bins quantise them as aihwkit does, with width max|v| / floor(bins / 2) for every sample and
    stochastic rounding. Not modelled: random rows. aihwkit writes after every `transfer_every` + 1
    updates; here it is after every `transfer_every`.

    Args:
      learning_rate: alpha >= 0, which multiplies the optimizer's updates; number or schedule.
      weight_spec: what W's devices are sampled from.
      optimizer: any optax optimizer, whole and descending, e.g. `optax.adam(1e-3)` with
        `learning_rate` 1; None is plain gradient descent.
      granularity: pulses that are fired together, > 0; rounded at random if not whole.
      scale: s > 0, what the model sees of one unit of W: a number, or a tree like the parameters
        with a number per weight, e.g. `jax.tree.map(lambda w: omega * w.std() / tau, params)`.
      reference: R: "zero"; "true", the cells' true symmetric points; or an estimate, a number or a
        tree like the parameters. W starts at R + params / s.
      x_bins: levels of the activations in `spt.Factors`, >= 2; None doesn't quantise.
      d_bins: the same for the gradients of outputs.
      transfer: a `ColumnTransfer`: which lines are written and when; None writes whole matrices at
        every step. No array is read, so its `read`, `warm_up` and `visible` play no part.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key, `weight_spec` no spec, or `optimizer` no transformation.
      ValueError: for an unknown option, a number out of range, bins without factors (in `update`),
        or a reference that doesn't fit the parameters (in `init`).

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01)
      >>> tx = spt.mixed_precision(1.0, optimizer=optax.sgd(0.1), weight_spec=spec,
      ...                          key=jax.random.key(0))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # chi is -0.004, then -0.008; and 0.016 twice: one pulse, two
      ...     updates, state = tx.update(jnp.array([0.04, -0.16]), state, params)
      ...     print(spt.pulse_counts(state)["training"], state.buffer.round(3))
      [0 1] [-0.4  0.6]
      [0 3] [-0.8  0.2]
    """
    _check(learning_rate, weight_spec, optimizer, scale, x_bins, d_bins)
    check_method(method)
    check_count(count)
    check_kind("transfer", transfer, ColumnTransfer)
    check_reference(reference)
    front = optax.with_extra_args_support(optax.scale(-1) if optimizer is None else optimizer)
    buffer = _releases(granularity)
    root, bins = as_key(key), (x_bins, d_bins)

    def init(params) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        array = init_array(
            purpose_key(root, "weight"), weight_spec, zeros, method=method, count=count
        )
        known = reference_tree(reference, array)
        scales = _per_weight(scale, params)
        target = jax.tree.map(lambda r, w, s: r + w / s, known, params, scales)
        array = move_to(purpose_key(root, "start"), array, target)
        inner_state = front.init(params)
        return MixedPrecisionState(
            jnp.zeros([], jnp.int32), root, array, zeros, known, scales, inner_state
        )

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        step_key = jax.random.fold_in(state.key, state.count)
        gradients = _multiplied_out(step_key, updates, state.buffer, bins)
        wanted, inner_state = front.update(gradients, state.inner_state, params, **extra_args)
        alpha = value_at(learning_rate, state.count)
        after = _collected(state, wanted, alpha, buffer)
        after = _fired(step_key, after, buffer, transfer, method)
        array = relax_array(step_key, after.weight, state.weight)
        after = after._replace(count=state.count + 1, weight=array, inner_state=inner_state)
        return difference(after.effective_weights(), params), after

    return optax.GradientTransformationExtraArgs(init, update)


def _collected(
    state: MixedPrecisionState, wanted: PyTree, alpha: Array, buffer: DigitalBuffer
) -> MixedPrecisionState:
    """(M1), in units of e."""

    def one(held, u, scale, device):
        unit = (scale * buffer.granularity * device.dw_min).astype(held.dtype)
        return fill(buffer, held, u, alpha, unit).astype(held.dtype)

    filled = jax.tree.map(one, state.buffer, wanted, state.scale, state.weight.device)
    return state._replace(buffer=filled)


def _fired(
    step_key: Key,
    state: MixedPrecisionState,
    buffer: DigitalBuffer,
    transfer: ColumnTransfer | None,
    method: str,
) -> MixedPrecisionState:
    """(M2) and (M3), for the lines whose turn it is."""
    held, treedef = jax.tree.flatten(state.buffer)
    devices = treedef.flatten_up_to(state.weight.device)
    taken = [
        _released(visit(h, state.count, transfer), buffer, h, is_continuous(device))
        for h, device in zip(held, devices, strict=True)
    ]
    numbers, rests = zip(*taken, strict=True) if taken else ((), ())
    state = state._replace(buffer=treedef.unflatten(rests))
    write_key = purpose_key(step_key, "write")
    if all(map(is_continuous, devices)):
        increments = [
            n * buffer.granularity * d.dw_min for n, d in zip(numbers, devices, strict=True)
        ]
        array = write(write_key, state.weight, treedef.unflatten(increments), method=method)
    else:
        keys = leaf_keys(step_key, state.buffer)
        pulses = [pulses_of(k, buffer, n) for k, n in zip(keys, numbers, strict=True)]
        array = write_pulses(write_key, state.weight, treedef.unflatten(pulses), method=method)
    return state._replace(weight=array)


def _released(
    now: Visit, buffer: DigitalBuffer, held: Array, continuous: bool
) -> tuple[Array, Array]:
    """(n, chi afterwards) of one weight: n is 0 on lines that aren't looked at now."""
    seen = now.get(held)
    n, rest = (seen, jnp.zeros_like(seen)) if continuous else release(buffer, seen)
    return now.put(jnp.zeros_like(held), n), now.put(held, rest)


def _releases(granularity: Any) -> DigitalBuffer:
    """chi as a buffer in front of W: whole numbers leave, the rest stays."""
    own: dict[str, Any] = {"granularity": granularity, "step": granularity, "unit": "weight"}
    own |= {"over_lines": False, "forget": False, "max_pulses": _MOST_PULSES}
    return DigitalBuffer(**own)


def _multiplied_out(key: Key, updates: PyTree, like: PyTree, bins: tuple[Any, Any]) -> PyTree:
    """Gradients as arrays, those given as factors multiplied out after quantisation."""
    treedef = jax.tree.structure(like)
    keys = leaf_keys(key, like)
    return treedef.unflatten(
        [_gradient(k, g, *bins) for k, g in zip(keys, treedef.flatten_up_to(updates), strict=True)]
    )


def _gradient(key: Key, gradient: Any, x_bins: Any, d_bins: Any) -> Array:
    if is_factors(gradient):
        x = quantised(purpose_key(key, "x bins"), gradient.x, x_bins)
        d = quantised(purpose_key(key, "d bins"), gradient.d, d_bins)
        return contract(Factors(x, d, gradient.scale))
    if x_bins is not None or d_bins is not None:
        raise ValueError(
            "x_bins and d_bins quantise the factors of a gradient, but this is an array of shape "
            f"{jnp.shape(gradient)}; give spt.Factors, or leave the bins out."
        )
    return gradient


def quantised(key: Key, vectors: Array, bins: Any) -> Array:
    """Vectors (samples, ...) on a grid of max|v| / floor(bins / 2) each, rounded at random."""
    if bins is None:
        return vectors
    half = jnp.floor(jnp.asarray(bins, vectors.dtype) / 2)
    axes = tuple(range(1, vectors.ndim))
    width = jnp.max(jnp.abs(vectors), axis=axes, keepdims=True) / half
    width = jnp.where(width > 0, width, 1)
    shifted = vectors / width + uniform(key, "rounding", vectors) - 0.5
    return jnp.clip(jnp.round(shifted), -half, half) * width


def _per_weight(scale: Any, params: PyTree) -> PyTree:
    """A number for every weight, of its dtype."""
    if jax.tree.structure(scale).num_nodes == 1:
        return jax.tree.map(lambda w: jnp.asarray(scale, w.dtype), params)
    return jax.tree.map(lambda w, s: jnp.asarray(s, w.dtype), params, scale)


def _check(
    learning_rate: Any, weight_spec: Any, optimizer: Any, scale: Any, x_bins: Any, d_bins: Any
) -> None:
    owner = "mixed_precision"
    check_rate(owner, "learning_rate", learning_rate)
    check_spec("weight_spec", weight_spec)
    for leaf in jax.tree.leaves(scale):
        check_number(owner, "scale", leaf, 0, jnp.inf, above=True)
    for name, bins in (("x_bins", x_bins), ("d_bins", d_bins)):
        if bins is not None:
            check_number(owner, name, bins, 2, jnp.inf)
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            "optimizer must be an optax optimizer such as optax.adam(1e-3), or None, got "
            f"{optimizer!r}."
        )
