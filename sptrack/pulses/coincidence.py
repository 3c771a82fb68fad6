"""Rank-1 updates by coincidences of pulses: the update that crossbars make without a matrix.

`train.py` has the rules for lengths and probabilities. Here trains are drawn, coincidences counted
and applied. Random bits are drawn per line and slot, so their number grows with inputs + outputs;
a line's slots are the bits of one or few 32-bit words, and a cell's coincidences the number of ones
in the AND of two words.

The law is exact in these respects: a line's bit is the same for all its cells, so counts of cells
on one line are dependent; bits of different lines and slots are independent; each has probability
floor(2^32 p) / 2^32. BL is bounded by a static number, and there is no rejection.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sptrack._random import as_key, purpose_key, random_bits
from sptrack._typing import Array, Key, check_number, is_hashable
from sptrack.devices.compound import cell_shape
from sptrack.devices.device import is_continuous
from sptrack.pulses.apply import check_method, check_weight
from sptrack.pulses.factors import Factors, contract
from sptrack.pulses.straight_through import check_gradient, straight_through
from sptrack.pulses.tally import Tally, apply_counted, tally_of
from sptrack.pulses.train import (
    DEFAULT_TRAIN,
    Lines,
    PulseTrain,
    Saturation,
    plan_lines,
    round_lines,
    saturation,
)

_WORD = 32


class TrainResult(NamedTuple):
    """What a rank-1 update did.

    Attributes:
      weight: new hidden weights.
      up, down: coincidences sent to each cell that raise and lower it, apart; int32, or expected
        numbers in floating point for method "mean".
      moved_up, moved_down: those of them that changed the weight (`spt.pulses.apply_counted`); None
        where that isn't asked for.
      saturation: whether trains were too short for what was wanted.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (1, 2))
      >>> x, d = jnp.array([1.0]), jnp.array([1.0, -1.0])
      >>> result = spt.pulses.counted_coincidence_update(
      ...     jax.random.key(1), device, jnp.zeros((1, 2)), x, d, 0.3)
      >>> print(result.up, result.down)
      [[0 3]] [[3 0]]
    """

    weight: Array
    up: Array
    down: Array
    moved_up: Array | None
    moved_down: Array | None
    saturation: Saturation


def coincidence_update(
    key: Key,
    device: Any,
    w: Array,
    x: Array,
    d: Array,
    learning_rate: ArrayLike,
    *,
    train: PulseTrain = DEFAULT_TRAIN,
    method: str = "exact",
    gradient: str = "pathwise",
) -> Array:
    """Descends by the rank-1 updates of one or several samples, sent as pulse trains.

        E[counts] = learning_rate |x d| / dw_min,    pulses go down where x d > 0

    so w changes by -learning_rate x d^T in expectation, times the device's response, where no train
    saturates. The variance of a cell's change by one sample is dw_min^2 BL q (1 - q), q = p_x p_d:
    about learning_rate |x d| dw_min for small q, Assumption 3.4 of arXiv 2602.21321.

    Samples are applied one after the other (exact). With `PulseTrain(merged=True)` the coincidences
    of all samples are applied in one group of up and one of down pulses. Their numbers on every
    cell have the same law, and what is approximated is the order of up and down pulses: where a
    pair swaps, the cell ends elsewhere by dw_min^2 (|q_up'| q_down + q_up |q_down'|), so with U up
    and D down pulses it is off by about U D / 2 of that against a random order. A fair coin per
    cell decides which group comes first, so this has mean zero to first order, the samples
    themselves being in random order.

    Where x or d is not finite, all cells of its line become NaN; other cells are as if it were 0.
    A continuous device takes -learning_rate x d^T exactly.

    Gradients: method "mean" with kind "stochastic" is differentiable in w, x, d, the learning rate
    and the device: the exact gradient of what it computes, samples one after the other and each in
    first order; zero through what a saturated line loses. Otherwise none reaches x and d, unless
    `gradient="straight_through"`, which takes that of "mean" around the sampled pulses: biased as
    that of `spt.analog_update`. Unbiased ones: `spt.pulses.draw_coincidences`.

    Args:
      key: a JAX random key. Sample s uses `fold_in(key, s)`, so that a batch is the loop of its
        samples; x and d without axis of samples use `key` itself.
      device: a device.
      w: hidden weights, floating, of the device's shape (..., inputs, outputs); for cells of
        several devices with an axis of parts in front.
      x: activations, shape (inputs,) or (samples, inputs); with w of more than two axes also
        (samples, ..., inputs).
      d: gradients with respect to the outputs, shape (outputs,) or (samples, outputs).
      learning_rate: scalar; negative climbs.
      train: the settings.
      method: "exact", "aggregate" or "mean": how the coincidences of a sample, at most BL of them,
        change a cell (`spt.apply_pulses`); "mean" takes their expected numbers.
      gradient: "pathwise", that of what is computed, or "straight_through".

    Returns:
      The new hidden weights, inside the device's bounds.

    Raises:
      TypeError: if `w`, `x` or `d` is not floating or `key` no key.
      ValueError: if the shapes don't fit, `method` or `gradient` is unknown, or trains that aren't
        stochastic are asked for a straight-through gradient.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2, 1))
      >>> x, d = jnp.array([1.0, -1.0]), jnp.array([1.0])
      >>> print(spt.coincidence_update(jax.random.key(1), device, jnp.zeros((2, 1)), x, d, 0.1))
      [[-0.1]
       [ 0.1]]
    """

    def change(device, w, x, d, learning_rate, *, key=key, method=method):
        return counted_coincidence_update(
            key, device, w, x, d, learning_rate, train=train, method=method
        ).weight

    check_gradient(gradient)
    if gradient == "pathwise":
        return change(device, w, x, d, learning_rate)
    check_train(train)
    if train.kind != "stochastic":
        raise ValueError(
            f"a train of kind {train.kind!r} has no smooth mean to take a straight-through "
            "gradient of; use kind 'stochastic'."
        )
    mean = functools.partial(change, key=jax.random.clone(as_key(key)), method="mean")
    return straight_through(change, mean, device, w, x, d, learning_rate)


def counted_coincidence_update(
    key: Key,
    device: Any,
    w: Array,
    x: Array,
    d: Array,
    learning_rate: ArrayLike,
    *,
    train: PulseTrain = DEFAULT_TRAIN,
    method: str = "exact",
    count_moved: bool = False,
) -> TrainResult:
    """`coincidence_update` that also returns the coincidences and what trains were too short for.

    Args and errors are those of `coincidence_update`, and
      count_moved: whether to count the pulses that moved a weight.

    Returns:
      A `TrainResult`. A continuous device has no pulses, and its trains nothing to report.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.ConstantStep(), (1, 1))
      >>> result = spt.pulses.counted_coincidence_update(
      ...     jax.random.key(1), device, jnp.zeros((1, 1)), jnp.ones(1), jnp.ones(1), 0.062)
      >>> print(result.down, result.saturation.lost_fraction.round(3))  # 62 wanted, BL = 31
      [[31]] 0.5
    """
    check_method(method)
    check_train(train)
    if not isinstance(learning_rate, jax.Array):
        check_number("coincidence_update", "learning_rate", learning_rate, -jnp.inf, jnp.inf)
    w = jnp.asarray(w)
    check_weight(device, w)
    x, d = jnp.asarray(x), jnp.asarray(d)
    rate = jnp.asarray(learning_rate)
    # Numbers of a train decide what is computed, so they are static unless they are traced.
    update = _compiled if is_hashable(train) else _updated
    return update(as_key(key), device, w, x, d, rate, train, method, count_moved)


def _updated(
    key: Key, device: Any, w: Array, x: Array, d: Array, rate: Array, train: PulseTrain,
    method: str, count_moved: bool,
) -> TrainResult:  # fmt: skip
    """`counted_coincidence_update`, settings checked."""
    cells = jax.ShapeDtypeStruct(cell_shape(device, w), w.dtype)
    x, d, keys = _samples(key, cells, x, d)
    rate = rate.astype(x.dtype)
    if is_continuous(device):
        dw = -rate * contract(Factors(x, d)).reshape(w.shape)
        none = jnp.zeros(cells.shape, jnp.int32)
        moved = (none, none) if count_moved else (None, None)
        return TrainResult((w + dw).astype(w.dtype), none, none, *moved, _nothing(x.dtype))
    x_good, d_good = jnp.isfinite(x) & jnp.isfinite(rate), jnp.isfinite(d)
    x = jnp.where(x_good, x, 0) * jnp.where(rate < 0, -1, 1).astype(x.dtype)
    d = jnp.where(d_good, d, 0)
    rate = jnp.where(jnp.isfinite(rate), jnp.abs(rate), 0)

    def count(key, x, d):
        lines = plan_lines(train, rate, device.dw_min, x, d)
        if method == "mean":
            counts = expected_coincidences(key, train, lines).astype(w.dtype)
        else:
            counts = count_coincidences(key, train, lines)
        return counts.reshape(cells.shape), saturation(lines)

    def apply(key, w, counts):
        return apply_counted(key, device, w, counts, method=method, count_moved=count_moved)

    none = jnp.zeros(cells.shape, w.dtype if method == "mean" else jnp.int32)
    zero = tally_of(none, none if count_moved else None)
    if train.merged:
        order_key = purpose_key(key, "merged pulses")
        new, tally, report = _merged(order_key, count, apply, zero, w, (keys, x, d))
    else:
        new, tally, report = _in_sequence(count, apply, zero, w, (keys, x, d))
    good = jnp.all(x_good, 0)[:, None] & jnp.all(d_good, 0)[None]
    good = jnp.broadcast_to(good.reshape(cells.shape), w.shape)
    new = jnp.where(good, new, jnp.nan).astype(w.dtype)
    return TrainResult(new, *tally, report)


_compiled = jax.jit(_updated, static_argnums=(6, 7, 8), inline=True)  # for calls outside of jit


def check_train(train: Any) -> None:
    """Raises TypeError unless `train` is a `PulseTrain`."""
    if not isinstance(train, PulseTrain):
        raise TypeError(f"train must be a spt.PulseTrain, e.g. spt.PulseTrain(), got {train!r}.")


def count_coincidences(key: Key, train: PulseTrain, lines: Lines) -> Array:
    """Coincidences of one sample on every cell, signed: positive where they raise the weight.

    Args:
      key: a JAX random key; this sample's own.
      train: the settings.
      lines: what `spt.pulses.plan_lines` returned.

    Returns:
      int32, shape (inputs, outputs).

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> lines = spt.pulses.Lines(jnp.array(5), jnp.array([1.0, -1.0]), jnp.array([-1.0, 0.0]))
      >>> spt.pulses.count_coincidences(jax.random.key(0), spt.PulseTrain(), lines)
      Array([[ 5,  0],
             [-5,  0]], dtype=int32)
    """
    sent = round_lines(key, train, lines)
    p_x, p_d = jnp.abs(sent.x), jnp.abs(sent.d)
    if train.kind == "stochastic":
        x_words = line_words(key, "x pulses", p_x, sent.length, train.max_length)
        d_words = line_words(key, "d pulses", p_d, sent.length, train.max_length)
        both = x_words[:, :, None] & d_words[:, None, :]
        counts = jnp.sum(jax.lax.population_count(both), axis=0, dtype=jnp.uint32)
    elif train.kind == "mean_count":
        x_counts, d_counts = (jnp.floor(sent.length * p + 0.5) for p in (p_x, p_d))
        slots = jnp.maximum(sent.length, 1)
        counts = jnp.floor(x_counts[:, None] * d_counts[None] / slots + 0.5)
    else:
        counts = jnp.floor(sent.length * p_x[:, None] * p_d[None] + 0.5)
    counts = counts.astype(jnp.int32)
    rises = (sent.x < 0)[:, None] != (sent.d < 0)[None]
    return jnp.where(rises, counts, -counts)


def expected_coincidences(key: Key, train: PulseTrain, lines: Lines) -> Array:
    """What `count_coincidences` is in expectation: -BL p_x p_d with signs for kind "stochastic".

    Args are those of `count_coincidences`; the other kinds are what they are, without noise.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> lines = spt.pulses.Lines(jnp.array(4), jnp.array([0.5]), jnp.array([0.25]))
      >>> print(spt.pulses.expected_coincidences(jax.random.key(0), spt.PulseTrain(), lines))
      [[-0.5]]
    """
    if train.kind != "stochastic":
        return count_coincidences(key, train, lines).astype(lines.x.dtype)
    sent = round_lines(key, train, lines, noisy=False)
    return -sent.length * sent.x[:, None] * sent.d[None]


def _samples(key: Key, w: Any, x: Array, d: Array) -> tuple[Array, Array, Key]:
    """x (samples, inputs) and d (samples, outputs) in at least float32, and a key per sample."""
    for name, value in (("x", x), ("d", d)):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"{name} must be floating, got dtype {value.dtype}.")
    shapes = f"got w {w.shape}, x {x.shape} and d {d.shape}."
    single = d.ndim == 1
    if single:
        x, d = x[None], d[None]
    fits = w.ndim >= 1 and x.ndim >= 2 and d.ndim == 2 and x.shape[0] == d.shape[0]
    inputs = math.prod(x.shape[1:])
    if not fits or d.shape[1] != w.shape[-1] or inputs * d.shape[1] != w.size:
        raise ValueError(
            "a weight of shape (..., inputs, outputs) needs x of shape (inputs,) and d of shape "
            f"(outputs,), or both with an axis of samples in front; {shapes}"
        )
    numbers = jnp.arange(d.shape[0])
    keys = key[None] if single else jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    return x.reshape(-1, inputs).astype(dtype), d.astype(dtype), keys


def line_words(key: Key, purpose: str, p: Array, length: Array, capacity: int) -> Array:
    """The bits of all lines' slots, packed: uint32 of shape (words, lines); 0 beyond `length`."""
    words = -(-capacity // _WORD)
    threshold = (jnp.where(p < 1, p, 0) * 2.0**_WORD).astype(jnp.uint32)
    fires = (random_bits(key, purpose, (capacity, p.size)) < threshold[None]) | (p >= 1)[None]
    fires &= (jnp.arange(capacity) < length)[:, None]
    fires = jnp.pad(fires, ((0, words * _WORD - capacity), (0, 0))).reshape(words, _WORD, p.size)
    values = jnp.uint32(1) << jnp.arange(_WORD, dtype=jnp.uint32)
    return jnp.sum(jnp.where(fires, values[None, :, None], 0), axis=1, dtype=jnp.uint32)


def _in_sequence(
    count: Callable, apply: Callable, zero: Tally, w: Array, samples: tuple[Key, Array, Array]
) -> tuple[Array, Tally, Saturation]:
    """One sample after the other."""

    def sample(carry, given):
        w, total = carry
        counts, report = count(*given)
        w, moved = apply(purpose_key(given[0], "pulses"), w, counts)
        return (w, jax.tree.map(jnp.add, total, (tally_of(counts, moved), report))), None

    begin = w, (zero, _nothing(samples[1].dtype))
    (w, total), _ = jax.lax.scan(sample, begin, samples)
    return w, *total


def _merged(
    key: Key,
    count: Callable,
    apply: Callable,
    zero: Tally,
    w: Array,
    samples: tuple[Key, Array, Array],
) -> tuple[Array, Tally, Saturation]:
    """The coincidences of all samples, then their up and down pulses in two groups."""

    def collect(total, given):
        counts, report = count(*given)
        return jax.tree.map(jnp.add, total, (tally_of(counts, None), report)), None

    _, x, d = samples
    begin = (Tally(zero.up, zero.down), _nothing(x.dtype))
    (tally, report), _ = jax.lax.scan(collect, begin, samples)
    if jnp.issubdtype(zero.up.dtype, jnp.floating):  # method "mean" draws nothing
        up_first = jnp.ones(zero.up.shape, bool)
    else:
        up_first = _coins(key, x.shape[1], d.shape[1]).reshape(zero.up.shape)
    first, second = (jnp.where(up_now, tally.up, -tally.down) for up_now in (up_first, ~up_first))
    w, moved_first = apply(jax.random.fold_in(key, 0), w, first)
    w, moved_second = apply(jax.random.fold_in(key, 1), w, second)
    if moved_first is None:
        return w, tally, report
    moved_up = jnp.where(up_first, moved_first, moved_second)
    moved_down = jnp.where(up_first, moved_second, moved_first)
    return w, tally._replace(moved_up=moved_up, moved_down=moved_down), report


def _coins(key: Key, inputs: int, outputs: int) -> Array:
    """A fair coin for each cell, of fair coins of its lines: independent for any two cells."""
    x_coins, d_coins = (
        random_bits(key, f"{name} order", (size,)) & 1
        for name, size in (("x", inputs), ("d", outputs))
    )
    return x_coins[:, None] != d_coins[None]


def _nothing(dtype: Any) -> Saturation:
    """A report of no samples."""
    none = jnp.zeros((), jnp.int32)
    return Saturation(none, none, jnp.zeros((), dtype), jnp.zeros((), dtype))
