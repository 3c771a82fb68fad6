"""AGAD (aihwkit's TT-v4): on-the-fly reference, Rasch et al. 2024, eqs. (12)-(13)."""

from typing import Any

import jax.numpy as jnp
import optax

from sptrack._typing import Array, Key, ScalarOrSchedule, check_number, check_rate
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DEFAULT, DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import at_zero
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.chop import chopper_period


def agad(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
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
    """AGAD: c-TTv2 whose reference is P's own filtered past, held from one flip to the next.

        P <- AU(P, -alpha c g)                                c = c[j], a sign per column
        H <- H + beta c (P - Q~) / g0,   n = clip(trunc(H), +-1),   n pulses on W
        H <- momentum H where n != 0                          (or H - (1 - momentum) n)
        Q <- (1 - eta) Q + eta P
        c[j] flips every max(ceil(1/p), 2) reads of column j, and then Q~[j] <- Q[j]
        W_bar = W

    Erratum: the paper prints a minus before eta P in (13); it must be plus. An offset of P that
    stays drops out from the first flip of a column on, so that no zero-shifting is needed; Q and Q~
    start at zero. `eta=None` takes `spt.optimizers.tail_rate(chop_prob)`, 5 p at most 1, aihwkit's
    default tail_weightening. With eta = 1 the reference is the last read before the flip. W waits
    until the first chopper period is over (`ColumnTransfer.warm_up`). With the residual in what the
    model sees this is `spt.erider_released`.

    Not modelled: aihwkit's buffer_cap and its experimental switches, and the significance gate of
    its documentation, which its code doesn't have either.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule (aihwkit: fast_lr).
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, at which the buffer is filled; number or schedule (aihwkit:
        transfer_lr, times the learning rate if scale_transfer_lr).
      eta: rate of the filter in [0, 1] (beta in Rasch et al.); number, schedule or None.
      chop_prob: flip probability p in [0, 1], per read of a column (per step for whole matrices).
      chopper: "periodic", "random", or for whole matrices also "scalar"; see
        `sptrack.transforms.chop`. Its buffer lets no derivative in p through, relaxed or not.
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
      ValueError: for an unknown option or a number out of range.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
      >>> tx = spt.agad(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.5,
      ...               transfer=spt.ColumnTransfer(), key=jax.random.key(0))
      >>> sorted(spt.read_arrays(tx.init(jnp.zeros((4, 2)))))
      ['buffer', 'chopper', 'held_sp', 'residual', 'tracked_sp', 'weight']
    """
    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=0.0,
        eta=rate_or_tail(eta, chop_prob),
        chop_prob=chop_prob,
        start=at_zero,
        settings=Settings(
            chopper=chopper,
            transfer=transfer,
            buffer=DEFAULT if buffer is None else buffer,
            warm_up=True,
            method=method,
            train=train,
            count=count,
        ),
        key=key,
    )


def tail_rate(chop_prob: ScalarOrSchedule, tail_weightening: float = 5.0) -> Any:
    """The filter rate of AGAD, eta = min(tail / n, 1), n = max(ceil(1/p), 2): tail p, at most 1.

    A filter with this rate weighs the last n / tail reads before a flip.

    Args:
      chop_prob: flip probability p in [0, 1]; number or schedule.
      tail_weightening: tail, >= 0; 5 in aihwkit and in the released experiments' table, 10 by
        default in their scripts.

    Returns:
      The rate, or a schedule if `chop_prob` is one.

    Raises:
      ValueError: if a number is out of range.

    Example:
      >>> import sptrack as spt
      >>> print(spt.optimizers.tail_rate(0.05), spt.optimizers.tail_rate(0.3))
      0.25 1.0
    """
    check_rate("tail_rate", "chop_prob", chop_prob, high=1.0)
    check_number("tail_rate", "tail_weightening", tail_weightening, 0.0, jnp.inf)

    def rate(probability: Any) -> Array:
        return jnp.minimum(tail_weightening / chopper_period(probability), 1.0)

    if callable(chop_prob):
        return lambda count: rate(chop_prob(count))
    return rate(chop_prob)


def rate_or_tail(eta: ScalarOrSchedule | None, chop_prob: ScalarOrSchedule) -> Any:
    """eta, or AGAD's own where it is None."""
    return tail_rate(chop_prob) if eta is None else eta
