"""E-RIDER: RIDER with a chopper, Algorithm 3 of arXiv 2602.21321, and as its experiments ran it."""

from typing import Any

import optax

from sptrack._typing import Key, ScalarOrSchedule
from sptrack.optimizers.agad import rate_or_tail
from sptrack.optimizers.column_transfer import DEFAULT, ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings, schedule
from sptrack.optimizers.starts import at_first_read, at_zero
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN


def erider(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.1,
    eta: ScalarOrSchedule = 1e-3,
    chop_prob: ScalarOrSchedule = 1e-3,
    chopper: str | None = None,
    w_ref: str = "held_sp",
    wbar_ref: str = "held_sp",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """E-RIDER: a chopper c moves the residual away from the symmetric point that Q tracks.

        P <- AU(P, -alpha c g),   W <- AU(W, beta c (P - Q~)),   Q <- (1 - eta) Q + eta P,
        c <- -c with probability p, and then Q~ <- Q,   W_bar = W + gamma c (P - Q~)

    The filter must be slow against the chopper, eta well below pi p, to keep the symmetric point
    and reject the residual. The released experiments (`erider_released`) have eta = 5 p instead.
    The paper's text is not consistent about Q~ or Q in its eq. (18); Q~ in both places is what its
    implementation does, and the default here. Correction: with p = 0 and Q~ this is residual
    learning with the static reference Q_0, not RIDER; with p = 0 and Q ("tracked_sp") in both
    places it is RIDER. Q = Q~ starts at P's first read, c at +1.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule. With a buffer, its rate.
      gamma: weight of the residual in what the model sees, >= 0.
      eta: rate of the filter, in [0, 1].
      chop_prob: flip probability p in [0, 1], per step; per read of a column with `transfer`.
      chopper: "scalar" (default for whole matrices), "random" or "periodic" (default with
        `transfer`); "relaxed_..." for derivatives in p. See `sptrack.transforms.chop`.
      w_ref: what stands for the symmetric point in W's update, "held_sp" (Q~) or "tracked_sp" (Q).
      wbar_ref: the same in what the model sees.
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
      >>> spec = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
      >>> tx = spt.erider(0.5, residual_spec=spec, weight_spec=spec, transfer_rate=1e-4,
      ...                 gamma=0.1, eta=1e-3, chop_prob=1e-2, key=jax.random.key(0))
      >>> params = {"kernel": jnp.zeros((2, 3))}
      >>> state = tx.init(params)
      >>> grads = {"kernel": jnp.ones((2, 3))}
      >>> updates, state = tx.update(grads, state, params)
      >>> params = optax.apply_updates(params, updates)
      >>> sorted(spt.read_arrays(state))
      ['chopper', 'held_sp', 'residual', 'tracked_sp', 'weight']
    """
    if chopper is None:
        chopper = "scalar" if transfer is None else "periodic"
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        eta=eta,
        chop_prob=chop_prob,
        start=at_first_read,
        settings=Settings(
            chopper=chopper,
            w_ref=w_ref,
            wbar_ref=wbar_ref,
            visible="stored",
            warm_up=True,
            method=method,
            train=train,
            count=count,
            **schedule(transfer, buffer),
        ),
        key=key,
    )


def erider_released(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.1,
    eta: ScalarOrSchedule | None = None,
    chop_prob: ScalarOrSchedule = 0.1,
    chopper: str = "periodic",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """E-RIDER as the released experiments ran it: AGAD with the stored residual in the model.

    What differs from Algorithm 3, by their code's items:

      1, 5   column j of P is read at step t = j, j + columns, ...; c[j] flips every
             n = max(ceil(1/p), 2) reads of it, and eta = min(5 / n, 1) (`eta=None`)
      2, 3   d[j] = c[j] (read - Q~[j]) is stored until the column's next read
      4      H <- H + beta d / g0; at |H| >= 1 one pulse on W, and H <- 0
      6      W isn't written before n + 1 passes over all columns
      7      W_bar = W + gamma d with the stored, stale d; in evaluation too

    Q settles within each half-period at this eta: what is subtracted is a transient reference
    rather than the symmetric point. Q and Q~ start at zero. At gamma = 0 this is `agad`. Not
    modelled: their convolution layers leave the residual out of the backward pass.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, at which the buffer is filled; number or schedule.
      gamma: weight of the stored residual in what the model sees, >= 0.
      eta: rate of the filter in [0, 1]; None is `spt.optimizers.tail_rate(chop_prob)`.
      chop_prob: flip probability p in [0, 1], per read of a column.
      chopper: "periodic" or "random"; "relaxed_..." for derivatives in p, see
        `sptrack.transforms.chop`.
      transfer: a `ColumnTransfer`; None has its defaults (there is no whole-matrix version).
      buffer: a `DigitalBuffer`; None has its defaults.
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
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
      >>> tx = spt.erider_released(0.5, residual_spec=spec, weight_spec=spec, transfer_rate=0.2,
      ...                          gamma=0.1, chop_prob=0.05, key=jax.random.key(0))
      >>> sorted(spt.read_arrays(tx.init(jnp.zeros((4, 2)))))
      ['buffer', 'chopper', 'held_sp', 'residual', 'tracked_sp', 'weight']
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        eta=rate_or_tail(eta, chop_prob),
        chop_prob=chop_prob,
        start=at_zero,
        settings=Settings(
            chopper=chopper,
            visible="stored",
            warm_up=True,
            method=method,
            train=train,
            count=count,
            **schedule(DEFAULT if transfer is None else transfer, buffer),
        ),
        key=key,
    )
