"""Zero-shifting: alternating pulses drive every cell to its symmetric point.

Cyclic (Kim et al. 2019; eq. 31 of arXiv 2602.21321): all cells up, then all down, and so on.
Stochastic (Algorithm 1, eq. 7): each pulse of each cell is up or down with probability 1/2.
One unit of `num_pulses` is one pulse per cell (not a pair), so the budget is N per cell.

What to expect of a linear device with a = (alpha_up/tau_max + alpha_down/tau_min) / 2, response
F* at the symmetric point and pulse size dw: the error shrinks by exp(-a dw) per pulse, so
N ~ ln(error ratio) / (a dw): inverse in dw, only logarithmic in the accuracy. Cyclic pulsing ends
in a 2-cycle of width dw F* around the symmetric point, stochastic pulsing in a stationary variance
dw F*^2 / (2 a).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key, normal, uniform
from sptrack._typing import Array, Key, check_number
from sptrack.pulses.apply import check_device, check_weight, one_pulse
from sptrack.pulses.shown import show

SCHEMES = ("cyclic", "stochastic")
AVERAGES = ("none", "two_point", "tail")


class ZeroShiftResult(NamedTuple):
    """Outcome of zero-shifting.

    Attributes:
      estimate: estimated symmetric points, of the weight's shape.
      pulses: pulses spent on each cell, N; scalar integer.
      trace: what reads showed after every `record_every` pulses, shape (N // record_every, *shape),
        or None.
      weight: hidden weights at the end: where the cells physically are.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (3,))
      >>> spt.zero_shift(jax.random.key(1), device, jnp.ones(3) / 2, 40)._fields
      ('estimate', 'pulses', 'trace', 'weight')
    """

    estimate: Array
    pulses: Array
    trace: Array | None
    weight: Array


def zero_shift(
    key: Key,
    device: Any,
    w: Array,
    num_pulses: int,
    *,
    scheme: str = "cyclic",
    first: str = "up",
    average: str = "none",
    tail_fraction: float = 0.5,
    read_noise_std: float = 0.0,
    record_every: int | None = None,
) -> ZeroShiftResult:
    """Estimates every cell's symmetric point with `num_pulses` alternating pulses per cell.

    Averages:
      none: the read after the last pulse.
      two_point: mean of the reads after the last two pulses. For cyclic pulsing this removes the
        symmetric part of the 2-cycle and leaves the offset -dw F* f1 / (2 a),
        f1 = (alpha_down/tau_min - alpha_up/tau_max) / 2: zero for equal slopes.
      tail: mean of the reads after each of the last `tail_fraction` N pulses, for the stochastic
        scheme, whose last iterate alone fluctuates by sqrt(dw F*^2 / (2 a)).
    Reads show the hidden weight with the device's write noise and with `read_noise_std`.
    Gradients with respect to w and the device are pathwise (a scan, reverse-differentiable): exact
    for the noise drawn, up to the clip at the bounds.

    Args:
      key: a JAX random key (cycle, write and read noise, and the stochastic scheme's signs).
      device: a device.
      w: hidden weights to start from, of the device's shape.
      num_pulses: pulses per cell N, >= 1 (>= 2 for "two_point").
      scheme: "cyclic" or "stochastic".
      first: direction of the first pulse of the cyclic scheme, "up" or "down".
      average: "none", "two_point" or "tail".
      tail_fraction: share of the pulses that "tail" averages over, in (0, 1].
      read_noise_std: std of the noise of one read, weight units, >= 0.
      record_every: pulses between two entries of the trace; None records nothing.

    Returns:
      A `ZeroShiftResult`.

    Raises:
      TypeError: if `key` is no key, `w` not floating, or `num_pulses` no integer.
      ValueError: for an unknown option, a number out of range, or a device of another shape.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01, asymmetry_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.zero_shift(jax.random.key(1), device, jnp.array(0.0), 2000).estimate.round(2))
      0.3
    """
    w = jnp.asarray(w)
    check_options(num_pulses, scheme, first, average, tail_fraction, record_every)
    check_number("zero_shift", "read_noise_std", read_noise_std, 0.0, jnp.inf)
    check_weight(w, w, "w")
    check_device(device, w)
    key = as_key(key)
    reads_noisily = not isinstance(read_noise_std, (int, float)) or read_noise_std > 0
    tail = {"none": 1, "two_point": 2, "tail": max(1, round(tail_fraction * num_pulses))}[average]

    def read(step_key: Key, hidden: Array) -> Array:
        shown = show(step_key, device, hidden)
        return (
            shown + read_noise_std * normal(step_key, "read noise", w) if reads_noisily else shown
        )

    def pulse(carry, index):
        hidden, total = carry
        step_key = jax.random.fold_in(key, index)
        if scheme == "cyclic":
            rises = (index % 2 == 0) == (first == "up")
        else:
            rises = uniform(step_key, "zero-shift sign", w) < 0.5
        hidden = one_pulse(step_key, device, hidden, rises)
        if average != "none":
            in_tail = index >= num_pulses - tail
            total = total + jnp.where(in_tail, read(step_key, hidden), 0)
        return (hidden, total), None

    def pulses(carry, start, length):
        return jax.lax.scan(pulse, carry, start + jnp.arange(length))[0]

    def recorded(carry, block):
        carry = pulses(carry, block * record_every, record_every)
        last = jax.random.fold_in(key, (block + 1) * record_every - 1)
        return carry, read(last, carry[0])

    blocks = 0 if record_every is None else num_pulses // record_every
    carry, trace = (w, jnp.zeros_like(w)), None
    if record_every is not None:
        carry, trace = jax.lax.scan(recorded, carry, jnp.arange(blocks))
    done = blocks * (record_every or 0)
    hidden, total = pulses(carry, done, num_pulses - done)
    last_key = jax.random.fold_in(key, num_pulses - 1)
    estimate = total / tail if average != "none" else read(last_key, hidden)
    return ZeroShiftResult(estimate, jnp.asarray(num_pulses), trace, hidden)


def check_options(
    num_pulses, scheme, first="up", average="none", tail_fraction=0.5, record_every=None
) -> None:
    """Refuses options that make no sense, naming what would."""
    counts = {"num_pulses": num_pulses}
    if record_every is not None:
        counts["record_every"] = record_every
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a Python integer (it fixes shapes), got {value!r}.")
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value!r}.")
    for name, value, allowed in (
        ("scheme", scheme, SCHEMES),
        ("first", first, ("up", "down")),
        ("average", average, AVERAGES),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
    if average == "two_point" and num_pulses < 2:
        raise ValueError(f"average='two_point' needs num_pulses >= 2, got {num_pulses}.")
    check_number("zero_shift", "tail_fraction", tail_fraction, 0.0, 1.0, above=True)
