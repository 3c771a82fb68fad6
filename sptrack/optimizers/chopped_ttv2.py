"""Chopped TT-v2 (c-TTv2, aihwkit's TT-v3): Rasch et al. 2024, eq. (11)."""

from typing import Any

import optax

from sptrack._typing import Key, PyTree, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DEFAULT, DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import at_reference
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def chopped_ttv2(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.0,
    chop_prob: ScalarOrSchedule = 0.1,
    chopper: str = "random",
    out_chop_prob: ScalarOrSchedule | None = None,
    reference: str | PyTree = "zero",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """c-TTv2: TT-v2 with a sign c_j per column, so that P's offset averages out of the buffer.

        P <- AU(P, -alpha c g)                                c = c_in[j] (times c_out[i])
        H <- H + beta c (P - R) / g0,   n = clip(trunc(H), +-1),   n pulses on W
        H <- momentum H where n != 0                          (or H - (1 - momentum) n)
        c_in[j] flips with probability p after every read of column j, or periodically;
        c_out[i] flips with probability p_out after every pass over all columns
        W_bar = W + gamma c (P - R)

    The offset P - R in H changes its sign with c, while the signal, chopped twice, does not. A flip
    doesn't change P, so with gamma > 0 what the model sees jumps by -2 gamma c (P - R): as in
    aihwkit, which allows gamma since June 2026. With rows instead of columns the choppers change
    places. g0 = granularity dw_min(P) / (steps between two reads of a column).

    Not modelled: aihwkit's auto_scale of the learning rate by running means of max|x| and max|d|,
    and no_buffer.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule (aihwkit: fast_lr).
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, at which the buffer is filled; number or schedule (aihwkit:
        transfer_lr, times the learning rate if scale_transfer_lr).
      gamma: weight of P in what the model sees, >= 0.
      chop_prob: flip probability p of an input sign in [0, 1], per read of its column (per step for
        whole matrices).
      chopper: "random", "periodic", or for whole matrices also "scalar"; "relaxed_..."
        for derivatives in p. See `sptrack.transforms.chop`.
      out_chop_prob: flip probability of an output sign per pass; None has no output chopper.
      reference: R: "zero"; "true", the cells' true symmetric points; or an estimate, a number or a
        tree like the parameters. P starts there.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None reads whole matrices.
      buffer: a `DigitalBuffer`; None has its defaults.
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
      >>> spec = spt.presets.reram_array_om()
      >>> tx = spt.chopped_ttv2(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.5,
      ...                       transfer=spt.ColumnTransfer(), key=jax.random.key(0))
      >>> sorted(spt.read_arrays(tx.init(jnp.zeros((4, 2)))))
      ['buffer', 'chopper', 'held_sp', 'residual', 'weight']
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        chop_prob=chop_prob,
        out_chop_prob=out_chop_prob,
        start=at_reference(reference),
        settings=Settings(
            chopper=chopper,
            transfer=transfer,
            buffer=DEFAULT if buffer is None else buffer,
            method=method,
            train=train,
            count=count,
        ),
        key=key,
    )
