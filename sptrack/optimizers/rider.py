"""RIDER: residual learning with a tracked symmetric point, Algorithm 2 of arXiv 2602.21321."""

from typing import Any

import optax

from sptrack._typing import Key, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings, schedule
from sptrack.optimizers.starts import at_first_read
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def rider(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.1,
    eta: ScalarOrSchedule = 1e-3,
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """RIDER: the residual array's symmetric point is tracked by a moving average Q of its reads.

        P <- AU(P, -alpha g),   W <- AU(W, beta (P - Q)),   Q <- (1 - eta) Q + eta P,
        W_bar = W + gamma (P - Q)

    (11b) uses the new P and the old Q. Correction to the paper: without a chopper W and Q are
    driven by the same residual, so on an ideal W array W - (beta/eta) Q never changes and W cannot
    reach the optimum while Q reaches the symmetric point, as Theorem 3.7 concludes; on a real W
    array W also creeps to W's own symmetric point. Use `erider`. Q starts at P's first read.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule. With a buffer, its rate.
      gamma: weight of the residual in what the model sees, >= 0.
      eta: rate of the moving average, in [0, 1].
      transfer: a `ColumnTransfer` for the schedule of real arrays; None updates whole matrices.
      buffer: a `DigitalBuffer` in front of W; None is a default one with `transfer`, else none.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      train: a `PulseTrain`: how gradients that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key or a spec no spec.
      ValueError: for an unknown option or a number out of range.

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.001, center_mean=0.4)
      >>> tx = spt.rider(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.01,
      ...                eta=0.05, key=jax.random.key(0))
      >>> params = jnp.zeros(3)
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jnp.ones(3), state, params)
      >>> params = optax.apply_updates(params, updates)
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        eta=eta,
        start=at_first_read,
        settings=Settings(
            w_ref="tracked_sp",
            wbar_ref="tracked_sp",
            visible="stored",
            method=method,
            train=train,
            count=count,
            **schedule(transfer, buffer),
        ),
        key=key,
    )
