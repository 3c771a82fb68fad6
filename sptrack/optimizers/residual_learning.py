"""Residual learning with a static reference: Wu et al. 2025 (2502.06309), eqs. (10)-(11)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sptrack._typing import Key, PyTree, ScalarOrSchedule
from sptrack.devices.device import bounds
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.residual_training import Start, residual_training
from sptrack.transforms.arrays import ArrayState, array_symmetric_points, show_array


def residual_learning(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.1,
    reference: str | PyTree = "zero",
    transfer: ColumnTransfer | None = None,
    key: Key,
    method: str = "aggregate",
) -> optax.GradientTransformationExtraArgs:
    """Residual learning: W_bar = W + gamma (P - R) with a fixed reference R.

        P <- AU(P, -alpha g),    W <- AU(W, beta (P - R))

    It is exact when R is P's symmetric point, and biased by R's error otherwise. P starts at R,
    clipped to its bounds.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule. With `transfer`, the rate of its buffer.
      gamma: weight of the residual in what the model sees, >= 0.
      reference: "zero"; "true", the cells' true symmetric points; or an estimate: a number or a
        tree of arrays like the parameters.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None updates whole matrices.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key or a spec no spec.
      ValueError: for an unknown option, a number out of range, or (in `init`) a reference that
        doesn't fit the parameters.

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> spec = spt.SoftBounds(dw_min=0.001, up_down=0.3)
      >>> tx = spt.residual_learning(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.01,
      ...                            reference="true", key=jax.random.key(0))
      >>> state = tx.init(jnp.zeros(3))
      >>> sorted(spt.read_arrays(state))
      ['held_sp', 'residual', 'weight']
    """
    if isinstance(reference, str) and reference not in ("zero", "true"):
        raise ValueError(
            f"reference must be 'zero', 'true', a number or a tree like params, got {reference!r}."
        )

    def start(start_key, residual):
        known = _reference_tree(reference, residual)
        return Start(move_to(start_key, residual, known), known, jnp.zeros([], jnp.uint32))

    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        start=start,
        transfer=transfer,
        key=key,
        method=method,
    )


def move_to(key: Key, array: ArrayState, target: PyTree) -> ArrayState:
    """The array programmed to `target`, clipped to its bounds."""

    def clipped(old, device, new):
        return jnp.clip(new, *bounds(device)).astype(old.dtype)

    hidden = jax.tree.map(clipped, array.hidden, array.device, target)
    return show_array(key, array._replace(hidden=hidden))


def _reference_tree(reference: Any, residual: ArrayState) -> PyTree:
    """The reference as a tree like the parameters."""
    if isinstance(reference, str):
        if reference == "zero":
            return jax.tree.map(jnp.zeros_like, residual.hidden)
        return array_symmetric_points(residual)
    if np.ndim(reference) == 0 and not jax.tree.structure(reference).num_nodes > 1:
        return jax.tree.map(lambda w: jnp.full_like(w, reference), residual.hidden)
    wanted = jax.tree.map(jnp.shape, residual.hidden)
    given = jax.tree.map(jnp.shape, reference)
    if wanted != given:
        raise ValueError(
            f"reference must be a tree like params: shapes {wanted}, got shapes {given}."
        )
    return jax.tree.map(lambda w, r: jnp.asarray(r, w.dtype), residual.hidden, reference)
