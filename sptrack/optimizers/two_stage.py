"""Two-stage training: zero-shift the residual array, then residual learning (Algorithm 4)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from sptrack._random import leaf_keys
from sptrack._typing import Key, ScalarOrSchedule
from sptrack.calibration.zero_shift import check_options, zero_shift
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.residual_training import residual_training
from sptrack.optimizers.settings import Settings, schedule
from sptrack.optimizers.starts import Start
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.arrays import show_array


def two_stage(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    num_pulses: int,
    gamma: ScalarOrSchedule = 0.1,
    scheme: str = "cyclic",
    average: str = "none",
    transfer: ColumnTransfer | None = None,
    buffer: DigitalBuffer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Zero-shifts the residual array by `num_pulses` per cell, then trains with the estimate.

    Stage one runs in `init`: cells start at zero, and P is left where the last pulse put it, which
    is where it physically is. Stage two is `residual_learning` with R = the estimate. The pulses of
    stage one are counted as "calibration" (`spt.pulse_counts`). The published experiments instead
    measure two numbers on a separate array (mean and std of the offset) and put them into the
    device's reference; here every cell has its own estimate.

    Args:
      learning_rate: alpha >= 0, on P; number or schedule.
      residual_spec: what P's devices are sampled from.
      weight_spec: what W's devices are sampled from.
      transfer_rate: beta >= 0, on W; number or schedule. With a buffer, its rate.
      num_pulses: pulses per cell for zero-shifting, >= 1.
      gamma: weight of the residual in what the model sees, >= 0.
      scheme: "cyclic" or "stochastic", as in `spt.zero_shift`.
      average: "none", "two_point" or "tail", as in `spt.zero_shift`.
      transfer: a `ColumnTransfer` for the schedule of real arrays; None updates whole matrices.
      buffer: a `DigitalBuffer` in front of W; None is a default one with `transfer`, else none.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      train: a `PulseTrain`: how gradients that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key, a spec no spec, or `num_pulses` no integer.
      ValueError: for an unknown option or a number out of range.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.002, center_mean=0.3)
      >>> tx = spt.two_stage(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.01,
      ...                    num_pulses=5000, key=jax.random.key(0))
      >>> state = tx.init(jnp.zeros(2))
      >>> print(spt.read_arrays(state)["held_sp"].round(2), spt.pulse_counts(state)["calibration"])
      [0.3 0.3] [5000 5000]
    """
    options: dict[str, Any] = {"scheme": scheme, "average": average}
    check_options(num_pulses, **options)

    def start(start_key, residual):
        hidden, treedef = jax.tree.flatten(residual.hidden)
        devices = treedef.flatten_up_to(residual.device)
        results = [
            zero_shift(k, device, w, num_pulses, **options)
            for k, device, w in zip(
                leaf_keys(start_key, residual.hidden), devices, hidden, strict=True
            )
        ]
        moved = residual._replace(hidden=treedef.unflatten([r.weight for r in results]))
        estimate = treedef.unflatten([r.estimate for r in results])
        return Start(show_array(start_key, moved), estimate, jnp.asarray(num_pulses, jnp.uint32))

    return residual_training(
        learning_rate,
        residual_spec=residual_spec,
        weight_spec=weight_spec,
        transfer_rate=transfer_rate,
        gamma=gamma,
        start=start,
        settings=Settings(
            visible="stored", method=method, train=train, count=count, **schedule(transfer, buffer)
        ),
        key=key,
    )
