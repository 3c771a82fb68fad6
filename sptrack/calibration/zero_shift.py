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

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key, normal, uniform
from sptrack._typing import Array, Key, check_number
from sptrack.devices.compound import combine
from sptrack.devices.device import within_bounds
from sptrack.devices.sampling import is_off
from sptrack.pulses.apply import check_weight, one_pulse
from sptrack.pulses.shown import show

SCHEMES = ("cyclic", "stochastic")
AVERAGES = ("none", "two_point", "tail")


class ZeroShiftResult(NamedTuple):
    """Outcome of zero-shifting.

    Attributes:
      estimate: estimated symmetric points, of the shape of the cells.
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
    method: str = "exact",
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

    Methods, for cyclic pulsing:
      exact: one pulse at a time, N passes over the array. In single precision a pulse is rounded
        to the spacing of w, 6e-8 at 0.5: below dw_min ~ 1e-5 these roundings add up.
      aggregate: N pulses at a cost independent of N, for affine devices (constant, soft bounds,
        linear response); with a trace, per entry. All but the last pulse are one draw from their
        joint law. Without cycle noise the result is exact, clips included. With additive noise the
        law is exact as long as noise carries no cell over a bound on the way; with multiplicative
        noise the same holds for mean and variance, and the shape is taken to be Gaussian. Right in
        single precision for any dw_min and up to 2^24 pulses.
    Gradients with respect to w and the device are pathwise (reverse-differentiable): exact for the
    noise drawn, up to the clip at the bounds.

    Args:
      key: a JAX random key (cycle, write and read noise, and the stochastic scheme's signs).
      device: a device.
      w: hidden weights to start from, of the device's shape; for cells of several devices with an
        axis of parts in front (`spt.devices.program`).
      num_pulses: pulses per cell N, >= 1 (>= 2 for "two_point").
      scheme: "cyclic" or "stochastic".
      first: direction of the first pulse of the cyclic scheme, "up" or "down".
      average: "none", "two_point" or "tail".
      tail_fraction: share of the pulses that "tail" averages over, in (0, 1].
      read_noise_std: std of the noise of one read, weight units, >= 0.
      record_every: pulses between two entries of the trace; None records nothing.
      method: "exact" or "aggregate".

    Returns:
      A `ZeroShiftResult`.

    Raises:
      TypeError: if `key` is no key, `w` not floating, or `num_pulses` no integer.
      ValueError: for an unknown option, a number out of range, a device of another shape, or what
        "aggregate" has no closed form for.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01, asymmetry_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> key, w = jax.random.key(1), jnp.array(0.0)
      >>> print(spt.zero_shift(key, device, w, 2000).estimate.round(2))
      0.3
      >>> print(spt.zero_shift(key, device, w, 2000, method="aggregate").estimate.round(2))
      0.3
    """
    w = jnp.asarray(w)
    check_options(num_pulses, scheme, first, average, tail_fraction, record_every)
    _check_zero_shift_method(method, scheme, average, device)
    check_number("zero_shift", "read_noise_std", read_noise_std, 0.0, jnp.inf)
    check_weight(device, w)
    noise = None if is_off(read_noise_std) else read_noise_std
    tail = {"none": 1, "two_point": 2, "tail": max(1, round(tail_fraction * num_pulses))}[average]
    return _zero_shift(
        as_key(key), device, w, noise, num_pulses, tail, first == "up", scheme, average,
        record_every, method,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=tuple(range(4, 11)), inline=True)
def _zero_shift(
    key: Key,
    device: Any,
    w: Array,
    read_noise_std: Any,
    num_pulses: int,
    tail: int,
    up_first: bool,
    scheme: str,
    average: str,
    record_every: int | None,
    method: str,
) -> ZeroShiftResult:
    """`zero_shift`, everything checked; one program for calls outside of jit."""

    def read(index: Any, hidden: Array) -> Array:
        step_key = jax.random.fold_in(key, index)
        shown = show(step_key, device, hidden)
        if read_noise_std is None:
            return shown
        return shown + read_noise_std * normal(step_key, "read noise", shown)

    def kept(total: Array, index: Any, hidden: Array) -> Array:
        if average == "none":
            return total
        return total + jnp.where(index >= num_pulses - tail, read(index, hidden), 0)

    advance = functools.partial(
        _ADVANCE[method], key=key, device=device, kept=kept, stochastic=scheme == "stochastic"
    )

    carry, trace, done = (w, jnp.zeros_like(combine(device, w))), None, 0
    if record_every is not None:
        blocks, even = num_pulses // record_every, record_every % 2 == 0

        def recorded(carry, block):
            rises = up_first if even else (block % 2 == 0) == up_first
            carry = advance(carry, block * record_every, record_every, rises)
            return carry, read((block + 1) * record_every - 1, carry[0])

        carry, trace = jax.lax.scan(recorded, carry, jnp.arange(blocks))
        done = blocks * record_every
    if done < num_pulses:
        carry = advance(carry, done, num_pulses - done, (done % 2 == 0) == up_first)
    hidden, total = carry
    estimate = total / tail if average != "none" else read(num_pulses - 1, hidden)
    return ZeroShiftResult(estimate, jnp.asarray(num_pulses), trace, hidden)


def _one_by_one(carry, start, length, rises, *, key, device, kept, stochastic):
    """Pulses `start` to `start + length - 1`, each with its own noise and clip."""

    def pulse(carry, index, rises):
        hidden, total = carry
        step_key = jax.random.fold_in(key, index)
        if stochastic:
            rises = uniform(step_key, "zero-shift sign", total) < 0.5
        hidden = one_pulse(step_key, device, hidden, rises)
        return hidden, kept(total, index, hidden)

    def pair(carry, index):  # a compiled program knows both directions, and reads what they need
        carry = pulse(carry, index, rises)
        return pulse(carry, index + 1, rises ^ True), None

    if stochastic:
        draw = lambda carry, index: (pulse(carry, index, None), None)
        return jax.lax.scan(draw, carry, start + jnp.arange(length))[0]
    carry, _ = jax.lax.scan(pair, carry, start + 2 * jnp.arange(length // 2))
    return pulse(carry, start + length - 1, rises) if length % 2 else carry


def _at_once(carry, start, length, rises, *, key, device, kept, stochastic):
    """The same pulses: all but the last one by the device's closed form, the last one by itself.

    So the last two reads have their joint law, and the end is inside the bounds as a pulse ends.
    """
    del stochastic  # refused before
    hidden, total = carry
    last = start + length - 1
    step_key = jax.random.fold_in(key, last)
    if length > 1:
        mean, std = device.cyclic_law(hidden, length - 1, rises)
        if std is not None:
            mean = mean + std * normal(step_key, "noise of many pulses", hidden)
        hidden = within_bounds(device, mean.astype(hidden.dtype))
        total = kept(total, last - 1, hidden)
    hidden = one_pulse(step_key, device, hidden, rises if length % 2 else rises ^ True)
    return hidden, kept(total, last, hidden)


_ADVANCE = {"exact": _one_by_one, "aggregate": _at_once}


def check_integer(name: str, value: Any) -> None:
    """Refuses what is no Python integer."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a Python integer (it fixes shapes), got {value!r}.")


def check_options(
    num_pulses, scheme, first="up", average="none", tail_fraction=0.5, record_every=None
) -> None:
    """Refuses options that make no sense, naming what would."""
    counts = {"num_pulses": num_pulses}
    if record_every is not None:
        counts["record_every"] = record_every
    for name, value in counts.items():
        check_integer(name, value)
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


def _check_zero_shift_method(method: str, scheme: str, average: str, device: Any) -> None:
    """Refuses an unknown method, and what "aggregate" has no closed form for."""
    if method not in _ADVANCE:
        raise ValueError(f"method must be one of {tuple(_ADVANCE)}, got {method!r}.")
    if method == "exact":
        return
    remedy = "use method='exact'."
    if scheme != "cyclic":
        raise ValueError(
            f"method='aggregate' is for cyclic pulses, got scheme={scheme!r}; {remedy}"
        )
    if average == "tail":
        raise ValueError(
            "method='aggregate' knows only the last two reads, got average='tail'; use "
            f"average='two_point', or {remedy}"
        )
    if not hasattr(device, "cyclic_law"):
        raise ValueError(
            f"{type(device).__name__} has no closed form for alternating pulses (a method "
            f"cyclic_law, which affine devices have); {remedy}"
        )
