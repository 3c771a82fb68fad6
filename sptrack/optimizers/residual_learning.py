"""Residual learning with a static reference: Wu et al. 2025 (2502.06309), eqs. (10)-(11)."""

from typing import Any

import optax

from sptrack._typing import Key, PyTree, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings, schedule
from sptrack.optimizers.starts import at_reference
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def residual_learning(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.1,
    reference: str | PyTree = "zero",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Residual learning: W_bar = W + gamma (P - R) with a fixed reference R.

        P <- AU(P, -alpha g),    W <- AU(W, beta (P - R))

    It is exact when R is P's symmetric point, and biased by R's error otherwise. P starts at R,
    clipped to its bounds.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule. With a buffer, its rate.
      gamma: weight of the residual in what the model sees, >= 0.
      reference: "zero"; "true", the cells' true symmetric points; or an estimate: a number or a
        tree of arrays like the parameters.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None updates whole matrices.
      buffer: a `DigitalBuffer` in front of W; None is a default one with `transfer`, else none.
        RLv2 is `buffer=spt.DigitalBuffer.rlv2()`, in both schedules.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      train: a `PulseTrain`: how gradients that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

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
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        start=at_reference(reference),
        settings=Settings(
            visible="stored", method=method, train=train, count=count, **schedule(transfer, buffer)
        ),
        key=key,
    )
