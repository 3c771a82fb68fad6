"""Tiki-Taka (TT-v1): Gokmen & Haensch 2020; whole matrices as in Wu et al. 2024 (2406.12774)."""

from typing import Any

import optax

from sptrack._typing import Key, PyTree, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import at_reference
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def tiki_taka(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.0,
    reference: str | PyTree = "zero",
    transfer: ColumnTransfer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Tiki-Taka: P (called A there) sees the gradients, W (C there) gets what P has come to.

        P <- AU(P, -alpha g)                                  (TT1)
        W <- AU(W, beta (P - R))                              (TT2)  line by line with `transfer`
        W_bar = W + gamma (P - R)                             (TT3)

    There is no digital buffer: a read is written to W at once, as an analog update. `transfer`
    reads a line per transfer through read noise, as hardware does. P's symmetric point must be R.

    Wu et al. write the same for whole matrices with the other sign and the names of the two rates
    exchanged: their P accumulates +grad f at rate beta and W gets -alpha P, so P here is -P there.
    (Their printed drift of W has the sign that makes it decay, which is what AU does.) aihwkit's
    fast_lr is `learning_rate`, its transfer_lr is `transfer_rate`, there times the learning rate if
    scale_transfer_lr. Not modelled: columns in random order, resets of a column after its read.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule.
      gamma: weight of P in what the model sees, >= 0.
      reference: R: "zero"; "true", the cells' true symmetric points; or an estimate, a number or a
        tree like the parameters. P starts there.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None updates whole matrices.
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
      >>> ideal = spt.IdealStep()
      >>> tx = spt.tiki_taka(0.1, residual_spec=ideal, weight_spec=ideal, transfer_rate=0.5,
      ...                    key=jax.random.key(0))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # P = -0.1, then -0.2; W = 0.5 (-0.1 - 0.2)
      ...     updates, state = tx.update(jnp.ones(2), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(params.round(3))
      [-0.15 -0.15]
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        start=at_reference(reference),
        settings=Settings(transfer=transfer, method=method, train=train, count=count),
        key=key,
    )
