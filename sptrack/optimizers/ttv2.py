"""TT-v2: Tiki-Taka with a digital buffer, Gokmen 2021; Rasch et al. 2024, eq. (10)."""

from typing import Any

import optax

from sptrack._typing import Key, PyTree, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import at_reference
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def ttv2(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.0,
    reference: str | PyTree = "zero",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """TT-v2: reads of P fill a digital buffer H, which sends single pulses to W.

        P <- AU(P, -alpha g)
        H <- H + beta (P - R) / g0,   n = clip(trunc(H), +-1),   n pulses on W
        H <- momentum H where n != 0                          (or H - (1 - momentum) n)
        W_bar = W + gamma (P - R)

    g0 = granularity dw_min(W). H g0 is aihwkit's buffer in weight units, and granularity its
    thres_scale. Where more than one pulse is allowed, exactly n are sent (aihwkit's trains send a
    random number with another mean).

    Args:
      learning_rate: alpha >= 0, on P; number or schedule (aihwkit: fast_lr).
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, at which the buffer is filled; number or schedule (aihwkit:
        transfer_lr, times the learning rate if scale_transfer_lr).
      gamma: weight of P in what the model sees, >= 0.
      reference: R: "zero"; "true", the cells' true symmetric points; or an estimate, a number or a
        tree like the parameters. P starts there.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None reads whole matrices.
      buffer: a `DigitalBuffer`; None is `DigitalBuffer.ttv2()`.
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
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> ideal = spt.IdealStep(dw_min=0.01)
      >>> tx = spt.ttv2(0.1, residual_spec=ideal, weight_spec=ideal, transfer_rate=0.06,
      ...               key=jax.random.key(0))
      >>> params = jnp.zeros(1)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # H = -0.6, then -0.6 - 1.2: one pulse, and a tenth of H stays
      ...     updates, state = tx.update(jnp.ones(1), state, params)
      >>> print(state.weight.hidden, state.buffer.round(3))
      [-0.01] [-0.18]
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        start=at_reference(reference),
        settings=Settings(
            transfer=transfer,
            buffer=DigitalBuffer.ttv2() if buffer is None else buffer,
            method=method,
            train=train,
            count=count,
        ),
        key=key,
    )
