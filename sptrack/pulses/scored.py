"""Draws of pulses together with the logarithm of their probability, for score-function gradients.

Pulse counts are integers and have no derivative. Their probabilities have: with

    d/dt E[L] = E[dL/dt + L d log p / dt]

a gradient of an expectation reaches what the counts were drawn for (`spt.estimators`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import as_key
from sptrack._typing import Array, Key
from sptrack.estimators import bernoulli_log_prob
from sptrack.pulses.coincidence import check_train, count_coincidences, line_words
from sptrack.pulses.train import Lines, PulseTrain
from sptrack.pulses.update import round_to_pulses


class Draw(NamedTuple):
    """Pulse counts, and log-probabilities of what was drawn for them.

    Attributes:
      counts: signed pulses of every cell, int32.
      log_prob: logarithm of the probability of all of them together, scalar; differentiable.

    Example:
      >>> spt.pulses.Draw._fields
      ('counts', 'log_prob')
    """

    counts: Array
    log_prob: Array


def draw_rounding(key: Key, dw: Array, dw_min: Array) -> Draw:
    """`spt.pulses.round_to_pulses`, the same counts bit for bit, with their log-probability.

    A cell gets floor(r) + b pulses, r = |dw| / dw_min, and b = 1 with probability f = r - floor(r).
    The gradient is unbiased where r is no integer; there E[L] has a kink, and the score is zero.

    Args:
      key: a JAX random key.
      dw: wanted weight changes.
      dw_min: weight change of one pulse, > 0.

    Returns:
      A `Draw`; differentiable in dw and dw_min.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> draw = spt.pulses.draw_rounding(jax.random.key(0), jnp.array([0.25]), jnp.array(1.0))
      >>> print(draw.counts, jnp.exp(draw.log_prob).round(2))
      [0] 0.75
    """
    dw = jnp.asarray(dw)
    counts = round_to_pulses(as_key(key), dw, dw_min)
    r = jnp.abs(dw) / dw_min
    whole = jax.lax.stop_gradient(jnp.floor(r))
    extra = jnp.clip(jnp.abs(counts) - whole, 0, 1)
    return Draw(counts, jnp.sum(bernoulli_log_prob(extra, 1, r - whole)))


def draw_coincidences(key: Key, train: PulseTrain, lines: Lines) -> Draw:
    """`spt.pulses.count_coincidences` of one sample, the same bit for bit, with log-probability.

    The draws are the bits of the lines' slots, so the probability is that of the bits, not only of
    the counts that they make: a line's n slots of which k fired have p^k (1 - p)^(n - k).
    The gradient is unbiased at a fixed length of the train; at the values where managed trains
    become a slot longer, E[L] jumps. A line that fires surely (or never) has score zero.

    Args:
      key: a JAX random key; this sample's own.
      train: the settings; of kind "stochastic", with exact probabilities (x_res = d_res = 0).
      lines: what `spt.pulses.plan_lines` returned.

    Returns:
      A `Draw`, counts of shape (inputs, outputs); differentiable in lines.x and lines.d.

    Raises:
      TypeError: if `train` is no `spt.PulseTrain`.
      ValueError: for trains of another kind, or with rounded probabilities.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> lines = spt.pulses.Lines(jnp.array(1), jnp.array([0.5]), jnp.array([-1.0]))
      >>> draw = spt.pulses.draw_coincidences(jax.random.key(0), spt.PulseTrain(), lines)
      >>> print(jnp.exp(draw.log_prob))
      0.5
    """
    check_train(train)
    if train.kind != "stochastic" or train.x_res or train.d_res:
        raise ValueError(
            "draw_coincidences needs trains of kind 'stochastic' with x_res = d_res = 0: others "
            f"have no smooth probability; got {train}."
        )
    key = as_key(key)
    counts = count_coincidences(key, train, lines)
    total = jnp.zeros((), lines.x.dtype)
    for purpose, values in (("x pulses", lines.x), ("d pulses", lines.d)):
        p = jnp.minimum(jnp.abs(values), 1)
        words = line_words(jax.random.clone(key), purpose, p, lines.length, train.max_length)
        fired = jnp.sum(jax.lax.population_count(words), axis=0, dtype=jnp.uint32)
        total += jnp.sum(bernoulli_log_prob(fired.astype(p.dtype), lines.length, p))
    return Draw(counts, total)
