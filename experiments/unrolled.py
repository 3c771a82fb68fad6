"""Training as a function of its numbers, to be differentiated: E-RIDER on digits.

A net of 64-16-10 is trained by E-RIDER on whole matrices, on cells of a linear response whose
symmetric points are off by 0.4 +- 0.4. What comes out is the mean training loss of the last steps,
as a function of the logarithms of rates and of parameters of the cells. With pulses of method
"mean" this is smooth in all of them but the chopper's probability, whose flips stay random; they
come out as a log-probability (`spt.estimators.score_function_grad`). With a relaxed chopper it is
smooth in the probability too.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

import sptrack as spt
from experiments import data
from experiments.nets import NetConfig
from experiments.settings import small_net
from experiments.training import TrainConfig, member, steps_per_epoch

TRAIN = TrainConfig(NetConfig((64, 16, 10), "tanh"), epochs=8, batch_size=32, digital_decay=1.0)
CHUNK = 32  # trainings of one program
TAIL = 44  # steps, an epoch, whose mean loss is the result
RATES = {  # where searches begin, and by which factor they may go up and down
    "learning_rate": (0.3, 10.0),
    "transfer_rate": (0.03, 10.0),
    "gamma": (0.3, 10.0),
    "eta": (0.03, 10.0),
    "chop_prob": (0.03, 10.0),
}
CELLS = {"dw_min": 0.004, "center_mean": 0.4, "center_std": 0.4, "dw_min_std": 0.3}


def start() -> dict[str, Any]:
    """Logarithms of `RATES`."""
    return {name: jnp.log(value) for name, (value, _) in RATES.items()}


def cells(changed: dict[str, Any]) -> Any:
    """The spec of the cells, with some fields replaced; they may be traced."""
    return spt.LinearResponse(**(CELLS | changed))


def at_knots(logarithms: Any, total: int) -> Any:
    """A number as it is; an array as a schedule, linear between knots of the logarithm."""
    if jnp.ndim(logarithms) == 0:
        return jnp.exp(logarithms)
    knots = jnp.linspace(0, total, logarithms.shape[0])
    return lambda count: jnp.exp(jnp.interp(count, knots, logarithms))


@functools.cache
def _digits() -> Any:
    return data.load("digits")


def train_config(epochs: int, *, smoke: bool = False) -> TrainConfig:
    """How the net is trained; to try, it has no hidden layer."""
    config = dataclasses.replace(TRAIN, epochs=epochs)
    return small_net(config) if smoke else config


def run(
    key: Any,
    numbers: dict[str, Any],
    *,
    method: str,
    train: TrainConfig = TRAIN,
    chopper: str = "scalar",
) -> Any:
    """Trains one net; differentiable with method "mean".

    Args:
      key: everything random: cells, start, order of examples, pulses, chopper.
      numbers: logarithms of `RATES`, scalar or at knots over the run; and fields of the cells,
        as "cells.center_mean".
      method: of pulses, as in `spt.analog_update`.
      train: net, passes over the training set, batch.
      chopper: "scalar", or "relaxed_scalar", whose probability has a pathwise derivative.

    Returns:
      (mean training loss of the last `TAIL` steps, log-probability of the chopper's flips, which
      with a relaxed one means nothing).
    """
    dataset = _digits()
    per_epoch = steps_per_epoch(train, dataset)
    total = train.epochs * per_epoch
    examples = {"x": jnp.asarray(dataset.train_images), "y": jnp.asarray(dataset.train_labels)}

    def make(key, **given):
        of_cells = {name[6:]: v for name, v in given.items() if name.startswith("cells.")}
        rates = {k: at_knots(v, total) for k, v in given.items() if not k.startswith("cells.")}
        spec = cells(of_cells)
        return spt.erider(
            residual_spec=spec, weight_spec=spec, key=key, method=method, count="none",
            chopper=chopper, wbar_ref="tracked_sp", w_ref="tracked_sp", **rates,
        )  # fmt: skip

    first, step, _ = member(make, train, dataset, key)
    state, drawn = first(key, numbers)
    flip_prob = at_knots(numbers["chop_prob"], total)

    def one(state, t):
        before = sign_of(state)
        state = step(state, numbers, t, drawn, examples)
        p = flip_prob(t) if callable(flip_prob) else flip_prob
        flipped = (sign_of(state) != before).astype(float)
        return state, (state[2], spt.estimators.bernoulli_log_prob(flipped, 1, p))

    segment = per_epoch
    _, (sums, log_probs) = spt.estimators.unroll(one, state, total, segment=segment)
    return (sums[-1] - sums[-1 - TAIL]) / TAIL, jnp.sum(log_probs)


def sign_of(state: Any) -> Any:
    """The chopper's sign, which all matrices share."""
    return jax.tree.leaves(spt.read_arrays(state[1])["chopper"])[0]


def loss(key: Any, numbers: dict[str, Any], *, method: str, train: TrainConfig = TRAIN) -> Any:
    """The first result of `run`."""
    return run(key, numbers, method=method, train=train)[0]


def batches(count: int, first: int = 0) -> list[Any]:
    """One key per seed, which depends on nothing but the seed; at most `CHUNK` at once."""
    root = spt.random.fast_key(0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(root, first + jnp.arange(count))
    return [keys[n : n + CHUNK] for n in range(0, count, CHUNK)]
