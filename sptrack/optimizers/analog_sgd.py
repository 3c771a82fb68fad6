"""Analog SGD: the gradient goes straight to the array, eq. (5) of arXiv 2602.21321."""

import optax

from sptrack._typing import Key, ScalarOrSchedule, check_rate
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.apply_device import apply_device


def analog_sgd(
    learning_rate: ScalarOrSchedule,
    *,
    weight_spec,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Analog SGD, W <- AU(W, -alpha g): a chain of `scale_by_learning_rate` and `apply_device`.

    Noise drags every weight towards its cell's symmetric point: where it comes to rest
    grad f = -E|g| G/F instead of 0. With `IdealStep()` it is plain SGD.

    Args:
      learning_rate: alpha >= 0; number or schedule.
      weight_spec: what the devices of the array are sampled from.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      train: a `PulseTrain`: how gradients that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key or `weight_spec` no spec.
      ValueError: if `learning_rate` is negative or an option unknown.

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> tx = spt.analog_sgd(0.1, weight_spec=spt.IdealStep(), key=jax.random.key(0))
      >>> params = jnp.array([1.0])
      >>> updates, state = tx.update(jnp.array([2.0]), tx.init(params), params)
      >>> print(optax.apply_updates(params, updates))
      [0.8]
    """
    check_rate("analog_sgd", "learning_rate", learning_rate)
    return optax.chain(
        optax.scale_by_learning_rate(learning_rate),
        apply_device(weight_spec, key=key, method=method, train=train, count=count),
    )
